/**
 * The client of the key-value store.
 *
 * **Where a call goes.** To the leader that the last redirect (307) named; while none is known, to one of
 * `nodes`, and after each failed attempt to the next. A redirect is followed at once, but a second one in a
 * row only after a pause: two nodes that take each other for the leader would send the client back and forth.
 * With `readFrom: "any"`, reads go to all of `nodes` in turn.
 *
 * A redirect to a node that isn't in `nodes` is not followed with a token, and none from a node with TLS to
 * one without (`known-nodes.ts`).
 *
 * **How it gets there.** Over a `NodeTransport`, in the binary protocol or over HTTP.
 *
 * **What is repeated.** An attempt whose outcome is "not done" is always repeated. One whose outcome is
 * unknown is repeated only if that does no harm: a read, a write in a session (the cluster recognizes it by
 * its number), or opening or ending a session. A call ends after `timeoutMs` or `ATTEMPTS_MAX` attempts.
 *
 * **What an error says.** An error's outcome covers all attempts: if an earlier one may have taken effect, a
 * later refusal is still "unknown" (`withOutcomeOfAllAttempts`).
 */
import { isToken } from "../access/token-file.ts";
import { pause } from "../shared/pause.ts";
import { CallBudget } from "./call-budget.ts";
import { KvClientError } from "./client-error.ts";
import { ClientSession, type SessionWrite } from "./client-session.ts";
import { KnownNodes } from "./known-nodes.ts";
import type {
  CallCondition,
  CallResults,
  DeleteCall,
  KvDeleteResult,
  KvPutResult,
  KvValue,
  NodeCall,
  PutCall,
  ReadConsistency,
} from "./node-call.ts";
import { NodeTransport, type NodeProtocol } from "./node-transport.ts";
import type { ClientTls } from "./sender.ts";

/** Options of a client. */
export interface KvClientOptions {
  /**
   * HTTP addresses of some nodes or all, "host:port", or "https://host:port" for nodes with TLS; at least
   * one: with none, the constructor throws `RangeError`. With `tls`, "host:port" means a node with TLS too.
   * With `token`, name all nodes: only they get it.
   */
  readonly nodes: readonly string[];
  /** How to check nodes with TLS, and what to prove to them. Default: what Node trusts, and nothing. */
  readonly tls?: ClientTls | undefined;
  /**
   * The token to send to nodes that require one: 16 to 1024 visible ASCII characters. Without TLS, whoever
   * can read the network can read it. Default: none.
   */
  readonly token?: string | undefined;
  /**
   * The most milliseconds that a call takes, retries and the opening of a session included. Default 10,000.
   */
  readonly timeoutMs?: number | undefined;
  /**
   * Whether writes go into a session, which the client opens by itself. Then it also repeats writes whose
   * outcome is unknown, and each takes effect once. Default true.
   */
  readonly sessions?: boolean | undefined;
  /**
   * `auto`, the default: nodes that speak the binary protocol are called with it, over one connection for
   * each; others over HTTP. `http`: all calls go over HTTP, for example through a proxy.
   */
  readonly protocol?: "auto" | "http" | undefined;
  /**
   * `leader`, the default: reads go to the leader, once it is known. `any`: each read goes to the next of
   * `nodes`, which takes load off the leader. They are as linearizable: a node that doesn't lead asks the
   * leader how far its own state must be first. That takes one round trip more.
   */
  readonly readFrom?: "leader" | "any" | undefined;
  /**
   * The most calls in progress at once. A further call is rejected at once, with the code `TOO_MANY_CALLS`.
   * Default 65,536.
   */
  readonly callsMax?: number | undefined;
  /**
   * The most bytes that the calls in progress hold: their keys and values, and 1 KiB for each call. A call
   * beyond that is rejected with the code `TOO_MANY_CALLS`. Default 256 MiB.
   */
  readonly bytesMax?: number | undefined;
}

/** Options of any call. */
export interface KvCallOptions {
  /**
   * Ends the call early, with a `KvClientError` of the code `ABORTED`. A write that was sent may still take
   * effect; the error's `outcome` says whether that is possible.
   */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Options of a write. At most one of the two conditions may be given; with both, the call fails with the code
 * `INVALID_OPTION`.
 */
export interface KvWriteOptions extends KvCallOptions {
  /** The write takes effect only if this is the key's version. */
  readonly ifVersion?: number | undefined;
  /** The write takes effect only if the key has no value. */
  readonly ifAbsent?: boolean | undefined;
}

/** Options of a read. */
export interface KvReadOptions extends KvCallOptions {
  /**
   * `linearizable`, the default: the read sees every write that was answered before it began. `lease`: the
   * same, with less work for the leader, provided that no clock drifts by more than the servers' bound.
   * `stale`: what the asked node holds, which may be older than writes that were answered.
   */
  readonly consistency?: ReadConsistency | undefined;
}

/** A key or a value. A string stands for its UTF-8 bytes, so it must not hold half of a surrogate pair. */
export type KvBytes = string | Uint8Array;

const TIMEOUT_MS_DEFAULT = 10_000;

/** The most attempts of one call. With the pauses between them, they outlast an election by far. */
const ATTEMPTS_MAX = 50;
/** The pause between two attempts: doubled each time, up to the maximum. */
const PAUSE_MS_MIN = 20;
const PAUSE_MS_MAX = 250;

/** The most milliseconds of an attempt that may be repeated whatever its outcome. */
const ATTEMPT_MS_MAX = 2000;

/**
 * A client of the key-value store. It finds the leader and repeats calls within their time limit. Its writes
 * take effect exactly once: they go into a session of the cluster, which answers a repeated write as the
 * first time. Without sessions, the client never repeats a write whose outcome is unknown.
 *
 * @example
 * ```ts
 * const client = new KvClient({ nodes: ["127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:9003"] });
 * const { version } = await client.put("ship", "Argo");
 * await client.put("ship", "Argo II", { ifVersion: version });
 * ```
 */
export class KvClient {
  readonly #nodes: readonly string[];
  readonly #known: KnownNodes;
  readonly #transport: NodeTransport;
  readonly #budget: CallBudget;
  readonly #timeoutMs: number;
  /** The address of the last known leader. null: not known. Written by `#call`. */
  #leader: string | null = null;
  /** Whether reads go to all nodes in turn. */
  readonly #spreadsReads: boolean;
  /** Reads that were sent to a node in turn. Picks the node of the next one. */
  #readsInTurn = 0;
  /** Failed attempts without a redirect so far. Picks the node to ask while no leader is known. */
  #failedAttempts = 0;
  /** null: writes go without a session. */
  readonly #session: ClientSession | null;

  constructor(options: KvClientOptions) {
    const { nodes, timeoutMs = TIMEOUT_MS_DEFAULT, sessions = true, tls, token } = options;
    if (nodes.length === 0) throw new RangeError("nodes is empty: name at least one node");
    // The message doesn't quote it, and nor may an error of the HTTP client.
    if (token !== undefined && !isToken(token))
      throw new RangeError("the token is not 16 to 1024 visible ASCII characters without spaces");
    this.#nodes = nodes.map((node) => nodeIn(node, tls !== undefined));
    this.#known = new KnownNodes(this.#nodes, token !== undefined);
    this.#transport = new NodeTransport(tls, token ?? null, options.protocol === "http");
    this.#budget = new CallBudget(options.callsMax, options.bytesMax);
    this.#timeoutMs = timeoutMs;
    this.#spreadsReads = options.readFrom === "any";
    this.#session = sessions ? new ClientSession(() => this.#openSession()) : null;
  }

  /**
   * Ends the session in the cluster, if there is one, and closes connections that no call uses. A session
   * would end by itself later; this frees its memory sooner. Later calls open others. Rejects with a
   * `KvClientError` if no node carries out the request within `timeoutMs`; the session then ends by itself.
   */
  async close(): Promise<void> {
    const id = this.#session?.detach() ?? null;
    const deadline = performance.now() + this.#timeoutMs;
    try {
      if (id !== null) await this.#call({ type: "end-session", session: id }, deadline, undefined);
    } finally {
      this.#transport.closeIdle();
    }
  }

  /** The protocol with which each node is called at present. Nodes that were not called yet are missing. */
  protocols(): Map<string, NodeProtocol> {
    return this.#transport.protocols();
  }

  /**
   * Gives the key a value.
   *
   * @throws KvClientError with the code `CONDITION_FAILED` if the condition doesn't hold
   */
  async put(key: KvBytes, value: KvBytes, options: KvWriteOptions = {}): Promise<KvPutResult> {
    const condition = conditionOf(options);
    return this.#write({ type: "put", key: bytesOf(key), value: bytesOf(value), condition }, options);
  }

  /**
   * Removes the key's value.
   *
   * @throws KvClientError with the code `CONDITION_FAILED` if the condition doesn't hold
   */
  async delete(key: KvBytes, options: KvWriteOptions = {}): Promise<KvDeleteResult> {
    const condition = conditionOf(options);
    return this.#write({ type: "delete", key: bytesOf(key), condition }, options);
  }

  /**
   * Reads a key's value. Resolves with null if the key has none. Rejects with a `KvClientError` if no node
   * answers the read.
   */
  async get(key: KvBytes, { consistency, signal }: KvReadOptions = {}): Promise<KvValue | null> {
    const deadline = performance.now() + this.#timeoutMs;
    const call = { type: "get", key: bytesOf(key), consistency } as const;
    const bytes = this.#budget.take(call);
    try {
      return await this.#call(call, deadline, signal);
    } finally {
      this.#budget.give(bytes);
    }
  }

  async #write<Call extends PutCall | DeleteCall>(
    call: Call,
    { signal }: KvWriteOptions,
  ): Promise<CallResults[Call["type"]]> {
    const deadline = performance.now() + this.#timeoutMs;
    const bytes = this.#budget.take(call);
    try {
      if (this.#session === null) return await this.#call(call, deadline, signal);
      return await this.#writeInSession(this.#session, call, deadline, signal);
    } finally {
      this.#budget.give(bytes);
    }
  }

  async #writeInSession<Call extends PutCall | DeleteCall>(
    session: ClientSession,
    call: Call,
    deadline: number,
    signal: AbortSignal | undefined,
  ): Promise<CallResults[Call["type"]]> {
    for (;;) {
      const write = session.beginNow() ?? (await this.#begin(session, deadline, signal));
      try {
        return await this.#call({ ...call, place: write.place }, deadline, signal);
      } catch (error) {
        if (!(error instanceof KvClientError) || error.code !== SESSION_EXPIRED) throw error;
        write.expired();
        // The write had no effect in that session and can't have one later, so it may go into a new session.
        if (error.outcome !== "not-done" || performance.now() >= deadline) throw error;
      } finally {
        write.end();
      }
    }
  }

  /** Gives the write its number in the session, unless the caller aborts or the time is up first. */
  async #begin(
    session: ClientSession,
    deadline: number,
    signal: AbortSignal | undefined,
  ): Promise<SessionWrite> {
    const beginning = session.begin();
    const timeout = AbortSignal.timeout(Math.max(1, Math.ceil(deadline - performance.now())));
    try {
      return await unlessAborted(beginning, timeout, signal);
    } catch (error) {
      // `begin` may still hand out a number. No write will use it, so end it at once: a number that never
      // ends would fill the session's window.
      beginning.then(
        (write) => {
          write.end();
        },
        () => undefined,
      );
      throw error;
    }
  }

  /** Resolves with the session's id. Repeating it does no harm: an unused session ends by itself. */
  async #openSession(): Promise<number> {
    try {
      return await this.#call({ type: "open-session" }, performance.now() + this.#timeoutMs, undefined);
    } catch (error) {
      if (!(error instanceof KvClientError)) throw error;
      const message = `no session could be opened: ${error.message}`;
      throw new KvClientError(error.code, "not-done", error.status, message, { cause: error });
    }
  }

  /**
   * Sends the call until an answer settles it. Resolves with the result; throws the error that settles it, or
   * that of the last attempt.
   */
  async #call<Call extends NodeCall>(
    call: Call,
    deadline: number,
    signal: AbortSignal | undefined,
  ): Promise<CallResults[Call["type"]]> {
    let pauseMs = PAUSE_MS_MIN;
    let isFollowing = false;
    // Whether an earlier attempt may have taken effect.
    let mayHaveTakenEffect = false;
    for (let attempt = 1; ; attempt++) {
      // A read that was redirected goes to the leader.
      const isInTurn: boolean = this.#spreadsReads && call.type === "get" && !isFollowing;
      const node: string = isInTurn
        ? this.#nextInTurn()
        : (this.#leader ?? this.#nodeAt(this.#failedAttempts));
      const leftMs = Math.max(1, Math.ceil(deadline - performance.now()));
      // A node that hangs shouldn't use up all of the time: another may answer.
      const timeoutMs = isRepeatable(call) ? Math.min(leftMs, ATTEMPT_MS_MAX) : leftMs;
      const answer = await this.#transport.attempt(node, call, { timeoutMs, signal });
      if (answer.type === "done") return answer.result;
      const { error } = answer;
      if (answer.type === "verdict") throw error;
      if (answer.type === "refused") throw withOutcomeOfAllAttempts(error, mayHaveTakenEffect);
      // Another call may have found another leader meanwhile, of which this failure says nothing.
      if (answer.type === "failed" && this.#leader === node) this.#leader = null;
      const isLast = attempt >= ATTEMPTS_MAX || performance.now() + pauseMs >= deadline;
      const mayRepeat = error.outcome === "not-done" || isRepeatable(call);
      if (!mayRepeat || isLast || error.code === "ABORTED")
        throw withOutcomeOfAllAttempts(error, mayHaveTakenEffect);
      mayHaveTakenEffect ||= error.outcome === "unknown";
      // Follow a redirect at once, but not two in a row. Otherwise pause, and ask another node.
      const wasFollowing = isFollowing;
      isFollowing = answer.type === "redirect" && this.#follow(node, answer.location, mayHaveTakenEffect);
      if (isFollowing && !wasFollowing) continue;
      if (!isFollowing && !isInTurn) this.#failedAttempts += 1;
      await pause(pauseMs, signal);
      pauseMs = Math.min(pauseMs * 2, PAUSE_MS_MAX);
    }
  }

  #nextInTurn(): string {
    return this.#nodeAt(this.#readsInTurn++);
  }

  #nodeAt(number: number): string {
    return this.#nodes[number % this.#nodes.length] ?? "";
  }

  /**
   * Notes the leader that the answer names. False: it names none, or the node that gave the answer.
   *
   * @throws KvClientError the client may not follow there; another node would name the same leader
   */
  #follow(node: string, location: string | null, mayHaveTakenEffect: boolean): boolean {
    try {
      const leader = location === null ? null : this.#known.follow(node, location);
      this.#leader = leader === node ? null : leader;
    } catch (error) {
      if (!(error instanceof KvClientError)) throw error;
      throw withOutcomeOfAllAttempts(error, mayHaveTakenEffect);
    }
    return this.#leader !== null;
  }
}

/** A node of `KvClientOptions.nodes` as `Sender` takes it. */
function nodeIn(text: string, hasTls: boolean): string {
  const isPlain = text.startsWith("http://");
  const address = text.replace(/^https?:\/\//, "").replace(/\/$/, "");
  return text.startsWith("https://") || (hasTls && !isPlain) ? `https://${address}` : address;
}

/** The code of the error if the write's session has ended. */
const SESSION_EXPIRED = "SESSION_EXPIRED";

/**
 * Whether the call may be repeated if its outcome is unknown: a repetition does no harm (see the file's
 * header).
 */
function isRepeatable(call: NodeCall): boolean {
  return (call.type !== "put" && call.type !== "delete") || call.place !== undefined;
}

/**
 * The error to throw when `error` ended the last attempt. A last attempt with "not done" proves nothing about
 * an earlier one whose outcome is unknown, so then the call's outcome is unknown.
 *
 * The reverse holds for an ended session: the cluster can't know whether the write was sent before, and says
 * "unknown". This client can: if no earlier attempt may have taken effect, none has (Z6).
 */
function withOutcomeOfAllAttempts(error: KvClientError, mayHaveTakenEffect: boolean): KvClientError {
  if (!mayHaveTakenEffect && error.code === SESSION_EXPIRED) {
    return new KvClientError(error.code, "not-done", error.status, error.message, { cause: error });
  }
  if (!mayHaveTakenEffect || error.outcome !== "not-done") return error;
  const message = `an earlier attempt may have taken effect, and the last one ended so: ${error.message}`;
  return new KvClientError(error.code, "unknown", error.status, message, { cause: error });
}

/** Settles as the promise does, or rejects as soon as the time is up or the caller aborts. */
async function unlessAborted<T>(
  promise: Promise<T>,
  timeout: AbortSignal,
  signal: AbortSignal | undefined,
): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const either = signal === undefined ? timeout : AbortSignal.any([timeout, signal]);
  const abort = (): void => {
    const isCaller = signal?.aborted === true;
    const [code, message] = isCaller
      ? ["ABORTED", "the call was aborted"]
      : ["TIMED_OUT", "no session could be opened in time"];
    aborted.reject(new KvClientError(code, "not-done", null, message, { cause: either.reason }));
  };
  if (either.aborted) abort();
  else either.addEventListener("abort", abort);
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    either.removeEventListener("abort", abort);
  }
}

function conditionOf({ ifVersion, ifAbsent = false }: KvWriteOptions): CallCondition {
  if (ifVersion !== undefined && ifAbsent)
    throw badCall("ifVersion and ifAbsent can't both hold: give one of them");
  return { ifVersion, ifAbsent };
}

/**
 * The bytes of a key or value, as they are now: the caller may change its array while the call is in
 * progress, and a repeated attempt must be the same as the first. Refuses a string with half of a surrogate
 * pair, which UTF-8 can't encode: Node would write U+FFFD instead, and so change the key or value.
 */
function bytesOf(bytes: KvBytes): Uint8Array {
  if (typeof bytes !== "string") return Buffer.from(bytes);
  if (bytes.isWellFormed()) return Buffer.from(bytes, "utf8");
  const at = Array.from(bytes).findIndex((character) => !character.isWellFormed());
  throw badCall(
    `a key or value has half of a surrogate pair (character ${at + 1}), which no UTF-8 stands for; give it as bytes`,
  );
}

/** The call isn't valid, and no request was sent. */
function badCall(message: string): KvClientError {
  return new KvClientError("INVALID_OPTION", "not-done", null, message);
}
