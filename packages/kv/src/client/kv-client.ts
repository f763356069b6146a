import * as v from "valibot";
import { ErrorBodyText, KvClientError } from "./client-error.ts";
import { ClientSession, type SessionWrite } from "./client-session.ts";
import { percentEncode } from "../http/request-syntax.ts";
import { pause } from "../shared/pause.ts";

export interface KvClientOptions {
  /** HTTP addresses of the nodes, "host:port", one or more. */
  readonly nodes: readonly string[];
  /** Milliseconds that a call may take, retries included. Default 10,000. */
  readonly timeoutMs?: number;
  /**
   * Whether writes go into a session, which the client opens by itself: then it also repeats those whose
   * outcome is unknown, and each takes effect once. Default true.
   */
  readonly sessions?: boolean;
}

export interface KvCallOptions {
  /** Ends the call; a write that was sent may still take effect. */
  readonly signal?: AbortSignal;
}

export interface KvWriteOptions extends KvCallOptions {
  /** Only if the key's version is this. */
  readonly ifVersion?: number;
  /** Only if the key has no value. */
  readonly ifAbsent?: boolean;
}

export interface KvReadOptions extends KvCallOptions {
  /**
   * Default `linearizable`: sees every write that was answered before. `lease`: the same, cheaper on the leader, as
   * long as no clock drifts beyond the servers' bound. `stale`: what the asked node holds.
   */
  readonly consistency?: "linearizable" | "lease" | "stale";
}

/** A key or value: text stands for its UTF-8. */
export type KvBytes = string | Uint8Array;

export interface KvPutResult {
  /** How many puts and deletes had been applied before. */
  readonly index: number;
  readonly version: number;
}

export interface KvDeleteResult {
  readonly index: number;
  readonly existed: boolean;
}

export interface KvValue {
  readonly value: Uint8Array;
  readonly version: number;
}

const TIMEOUT_MS_DEFAULT = 10_000;

/** Tries of one call: enough for an election, few enough to be no load. */
const ATTEMPTS_MAX = 50;
/** Between two tries, doubled each time up to the maximum. */
const PAUSE_MS_MIN = 20;
const PAUSE_MS_MAX = 250;

/** What one try may take of a call that may be repeated in any case. */
const ATTEMPT_MS_MAX = 2000;

/** Errors that say that the request never left this machine. */
const NOT_SENT = ["ECONNREFUSED", "ENOTFOUND", "EHOSTUNREACH", "ENETUNREACH", "UND_ERR_CONNECT_TIMEOUT"];

const PutResult = v.object({ index: v.number(), version: v.number() });
const SessionResult = v.object({ session: v.number() });
const DeleteResult = v.object({ index: v.number(), existed: v.boolean() });
interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Uint8Array;
}

interface Request {
  readonly method: "GET" | "PUT" | "DELETE" | "POST";
  readonly target: string;
  readonly headers?: Record<string, string>;
  readonly body?: Uint8Array;
  /** The write belongs to a session, so that it takes effect once however often it is sent. */
  readonly write?: SessionWrite;
}

/**
 * A client of the key-value store. It finds the leader, and repeats calls by itself up to their time
 * limit. Its writes take effect exactly once: they go into a session of the cluster, which answers a
 * repeated write as it did the first time. Without sessions, a write whose outcome is unknown is
 * reported as that and never sent twice.
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
  readonly #timeoutMs: number;
  /** Where the leader was last; null: not known. */
  #leader: string | null = null;
  /** The node that is asked while the leader is not known. */
  #turn = 0;
  /** null: writes go without. */
  readonly #session: ClientSession | null;

  constructor({ nodes, timeoutMs = TIMEOUT_MS_DEFAULT, sessions = true }: KvClientOptions) {
    if (nodes.length === 0) throw new RangeError("nodes is empty: name at least one node");
    this.#nodes = nodes;
    this.#timeoutMs = timeoutMs;
    this.#session = sessions ? new ClientSession(() => this.#openSession()) : null;
  }

  /** Ends the session, if there is one. It would end by itself; this makes room earlier. Later writes open another. */
  async close(): Promise<void> {
    const id = this.#session?.leave() ?? null;
    if (id === null) return;
    const deadline = performance.now() + this.#timeoutMs;
    await this.#call({ method: "DELETE", target: `/sessions/${id}` }, deadline, undefined);
  }

  /** @throws KvClientError code `CONDITION_FAILED` if the condition does not hold */
  async put(key: KvBytes, value: KvBytes, options: KvWriteOptions = {}): Promise<KvPutResult> {
    const headers = conditionHeaders(options);
    const request = { method: "PUT", target: targetOf(key), headers, body: bytesOf(value) } as const;
    const answer = await this.#write(request, options);
    return resultIn(answer, PutResult);
  }

  /** @throws KvClientError code `CONDITION_FAILED` if the condition does not hold */
  async delete(key: KvBytes, options: KvWriteOptions = {}): Promise<KvDeleteResult> {
    const headers = conditionHeaders(options);
    const answer = await this.#write({ method: "DELETE", target: targetOf(key), headers }, options);
    return resultIn(answer, DeleteResult);
  }

  /** null: the key has no value. */
  async get(key: KvBytes, options: KvReadOptions = {}): Promise<KvValue | null> {
    const query = options.consistency === undefined ? "" : `?consistency=${options.consistency}`;
    const deadline = performance.now() + this.#timeoutMs;
    const request = { method: "GET", target: targetOf(key) + query } as const;
    const answer = await this.#call(request, deadline, options.signal);
    if (answer.status === 404) return null;
    const { body, headers } = expectStatus(answer, 200);
    return { value: body, version: Number((headers.get("etag") ?? "").replaceAll('"', "")) };
  }

  async #write(request: Request, { signal }: KvWriteOptions): Promise<Answer> {
    const deadline = performance.now() + this.#timeoutMs;
    if (this.#session === null) return this.#call(request, deadline, signal);
    for (;;) {
      const write = await orAborted(this.#session.begin(), signal);
      try {
        return await this.#call({ ...request, write }, deadline, signal);
      } catch (error) {
        if (!(error instanceof KvClientError) || error.code !== SESSION_EXPIRED) throw error;
        write.expired();
        // It did nothing in that session, and never will: it may go into another.
        if (error.outcome !== "not-done" || performance.now() >= deadline) throw error;
      } finally {
        write.end();
      }
    }
  }

  /** Resolves with the session's id. One that nobody hears of ends by itself, so asking again does no harm. */
  async #openSession(): Promise<number> {
    try {
      const request = { method: "POST", target: "/sessions" } as const;
      const answer = await this.#call(request, performance.now() + this.#timeoutMs, undefined);
      return resultIn(answer, SessionResult, 201).session;
    } catch (error) {
      if (!(error instanceof KvClientError)) throw error;
      const message = `no session could be opened: ${error.message}`;
      throw new KvClientError(error.code, "not-done", error.status, message, { cause: error });
    }
  }

  async #call(request: Request, deadline: number, signal: AbortSignal | undefined): Promise<Answer> {
    let pauseMs = PAUSE_MS_MIN;
    let isFollowing = false;
    // Whether an attempt that ended without an answer may have taken effect.
    let isOpen = false;
    for (let attempt = 1; ; attempt++) {
      const node = this.#leader ?? this.#nodes[this.#turn % this.#nodes.length] ?? "";
      const result = await this.#attempt(node, request, deadline, signal);
      if (result instanceof KvClientError) this.#leader = null;
      else if (result.status === GONE) throw honest(errorIn(result), isOpen);
      else if (result.status !== 307) return result;
      const error = result instanceof KvClientError ? result : errorIn(result);
      const isLast = attempt >= ATTEMPTS_MAX || performance.now() + pauseMs >= deadline;
      const mayRepeat = error.outcome === "not-done" || isHarmless(request);
      if (!mayRepeat || isLast || error.code === "ABORTED") throw honest(error, isOpen);
      isOpen ||= error.outcome === "unknown";
      // To where the leader is said to be at once, unless that node sends us on too; to another after a pause.
      const wasFollowing = isFollowing;
      isFollowing = this.#follow(node, result);
      if (isFollowing && !wasFollowing) continue;
      if (!isFollowing) this.#turn += 1;
      await pause(pauseMs, signal);
      pauseMs = Math.min(pauseMs * 2, PAUSE_MS_MAX);
    }
  }

  /** Whether the answer names a leader that is not the node that gave it. */
  #follow(node: string, result: Answer | KvClientError): boolean {
    const location = result instanceof KvClientError ? null : result.headers.get("location");
    const leader = location === null ? null : new URL(location).host;
    this.#leader = leader === node ? null : leader;
    return this.#leader !== null;
  }

  /** One try: the answer if it is for the caller or names the leader, and otherwise an error. */
  async #attempt(
    node: string,
    request: Request,
    deadline: number,
    signal: AbortSignal | undefined,
  ): Promise<Answer | KvClientError> {
    const { method, target, headers, body, write } = request;
    const leftMs = Math.max(1, Math.ceil(deadline - performance.now()));
    // A node that hangs should not take all of the time: another may answer.
    const timeout = AbortSignal.timeout(isHarmless(request) ? Math.min(leftMs, ATTEMPT_MS_MAX) : leftMs);
    const init = {
      method,
      headers: { ...headers, ...write?.headers() },
      redirect: "manual",
      signal: signal === undefined ? timeout : AbortSignal.any([timeout, signal]),
    } as const;
    try {
      const response = await fetch(`http://${node}${target}`, body === undefined ? init : { ...init, body });
      const answer = {
        status: response.status,
        headers: response.headers,
        body: new Uint8Array(await response.arrayBuffer()),
      };
      return answer.status === 429 || answer.status >= 500 ? errorIn(answer) : answer;
    } catch (cause) {
      return lostCall(cause, node, timeout, signal);
    }
  }
}

/** The answer of a server to a write in a session that has ended. */
const GONE = 410;
const SESSION_EXPIRED = "SESSION_EXPIRED";

/** Whether a request may be sent again, whatever became of it: it changes nothing, or does what it does once. */
function isHarmless({ method, target, write }: Request): boolean {
  return method === "GET" || write !== undefined || target.startsWith("/sessions");
}

/** The last attempt did nothing, and an earlier one may have. */
function honest(error: KvClientError, isOpen: boolean): KvClientError {
  if (!isOpen || error.outcome !== "not-done") return error;
  const message = `an earlier attempt may have taken effect, and the last one ended so: ${error.message}`;
  return new KvClientError(error.code, "unknown", error.status, message, { cause: error });
}

/** What the promise says, unless the caller ends the call first. */
async function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => {
    aborted.reject(
      new KvClientError("ABORTED", "not-done", null, "the call was aborted", { cause: signal.reason }),
    );
  };
  if (signal.aborted) abort();
  else signal.addEventListener("abort", abort);
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

function lostCall(
  cause: unknown,
  node: string,
  timeout: AbortSignal,
  signal: AbortSignal | undefined,
): KvClientError {
  const options = { cause };
  if (signal?.aborted === true)
    return new KvClientError("ABORTED", "unknown", null, "the call was aborted", options);
  if (timeout.aborted)
    return new KvClientError("TIMED_OUT", "unknown", null, `no answer from ${node} in time`, options);
  const reason = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
  const code = reason instanceof Error && "code" in reason ? String(reason.code) : "";
  if (NOT_SENT.includes(code)) {
    return new KvClientError("UNREACHABLE", "not-done", null, `${node} cannot be reached (${code})`, options);
  }
  return new KvClientError("CONNECTION_LOST", "unknown", null, `the connection to ${node} was lost`, options);
}

/** What an answer that is an error says. */
function errorIn(answer: Answer): KvClientError {
  const { status } = answer;
  const body = v.safeParse(ErrorBodyText, textIn(answer));
  if (!body.success) {
    const message = `an answer with status ${status} that says nothing more`;
    return new KvClientError("BAD_ANSWER", "unknown", status, message);
  }
  const { code, outcome, message } = body.output.error;
  return new KvClientError(code, outcome, status, message);
}

function expectStatus(answer: Answer, status: number): Answer {
  if (answer.status === status) return answer;
  throw errorIn(answer);
}

/** What a successful answer to a write says. */
function resultIn<Schema extends v.GenericSchema>(
  answer: Answer,
  schema: Schema,
  status = 200,
): v.InferOutput<Schema> {
  const text = textIn(expectStatus(answer, status));
  const result = v.safeParse(v.pipe(v.string(), v.parseJson(), schema), text);
  if (result.success) return result.output;
  throw new KvClientError("BAD_ANSWER", "unknown", answer.status, "an answer that no node would give");
}

function textIn({ body }: Answer): string {
  return Buffer.from(body).toString("utf8");
}

function conditionHeaders({ ifVersion, ifAbsent = false }: KvWriteOptions): Record<string, string> {
  if (ifVersion !== undefined) return { "If-Match": `"${ifVersion}"` };
  return ifAbsent ? { "If-None-Match": "*" } : {};
}

function targetOf(key: KvBytes): string {
  return `/kv/${percentEncode(bytesOf(key))}`;
}

function bytesOf(bytes: KvBytes): Uint8Array {
  return typeof bytes === "string" ? Buffer.from(bytes, "utf8") : bytes;
}
