import * as v from "valibot";
import { percentEncode } from "./http-syntax.ts";

/** What a call did: `not-done`: nothing, now or later; `unknown`: perhaps something, perhaps later; `done`: it took effect. */
export type KvOutcome = "not-done" | "unknown" | "done";

/** A call that failed. `outcome` says whether it may be repeated blindly. */
export class KvClientError extends Error {
  override readonly name = "KvClientError";
  /** The server's code, or `UNREACHABLE`, `CONNECTION_LOST`, `TIMED_OUT`, `ABORTED`, `BAD_ANSWER`. */
  readonly code: string;
  readonly outcome: KvOutcome;
  /** null: there was no answer. */
  readonly status: number | null;

  constructor(
    code: string,
    outcome: KvOutcome,
    status: number | null,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.code = code;
    this.outcome = outcome;
    this.status = status;
  }
}

export interface KvClientOptions {
  /** HTTP addresses of the nodes, "host:port", one or more. */
  readonly nodes: readonly string[];
  /** Milliseconds that a call may take, retries included. Default 10,000. */
  readonly timeoutMs?: number;
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

/** What one try of a read may take. */
const READ_ATTEMPT_MS_MAX = 2000;

/** Errors that say that the request never left this machine. */
const NOT_SENT = ["ECONNREFUSED", "ENOTFOUND", "EHOSTUNREACH", "ENETUNREACH", "UND_ERR_CONNECT_TIMEOUT"];

const PutResult = v.object({ index: v.number(), version: v.number() });
const DeleteResult = v.object({ index: v.number(), existed: v.boolean() });
const ErrorBody = v.object({
  error: v.object({
    code: v.string(),
    message: v.string(),
    outcome: v.picklist(["not-done", "unknown", "done"]),
  }),
});

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Uint8Array;
}

interface Request {
  readonly method: "GET" | "PUT" | "DELETE";
  readonly target: string;
  readonly headers?: Record<string, string>;
  readonly body?: Uint8Array;
}

/**
 * A client of the key-value store. It finds the leader, and repeats a call by itself only while it
 * surely did nothing: a write whose outcome is unknown is reported as that, never sent twice.
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

  constructor({ nodes, timeoutMs = TIMEOUT_MS_DEFAULT }: KvClientOptions) {
    if (nodes.length === 0) throw new RangeError("nodes is empty: name at least one node");
    this.#nodes = nodes;
    this.#timeoutMs = timeoutMs;
  }

  /** @throws KvClientError code `CONDITION_FAILED` if the condition does not hold */
  async put(key: KvBytes, value: KvBytes, options: KvWriteOptions = {}): Promise<KvPutResult> {
    const headers = conditionHeaders(options);
    const answer = await this.#call(
      { method: "PUT", target: targetOf(key), headers, body: bytesOf(value) },
      options,
    );
    return resultIn(answer, PutResult);
  }

  /** @throws KvClientError code `CONDITION_FAILED` if the condition does not hold */
  async delete(key: KvBytes, options: KvWriteOptions = {}): Promise<KvDeleteResult> {
    const headers = conditionHeaders(options);
    const answer = await this.#call({ method: "DELETE", target: targetOf(key), headers }, options);
    return resultIn(answer, DeleteResult);
  }

  /** null: the key has no value. */
  async get(key: KvBytes, options: KvReadOptions = {}): Promise<KvValue | null> {
    const query = options.consistency === undefined ? "" : `?consistency=${options.consistency}`;
    const answer = await this.#call({ method: "GET", target: targetOf(key) + query }, options);
    if (answer.status === 404) return null;
    const { body, headers } = expectStatus(answer, 200);
    return { value: body, version: Number((headers.get("etag") ?? "").replaceAll('"', "")) };
  }

  async #call(request: Request, { signal }: KvCallOptions): Promise<Answer> {
    const deadline = performance.now() + this.#timeoutMs;
    let pauseMs = PAUSE_MS_MIN;
    let isFollowing = false;
    for (let attempt = 1; ; attempt++) {
      const node = this.#leader ?? this.#nodes[this.#turn % this.#nodes.length] ?? "";
      const result = await this.#attempt(node, request, deadline, signal);
      if (result instanceof KvClientError) this.#leader = null;
      else if (result.status !== 307) return result;
      const error = result instanceof KvClientError ? result : errorIn(result);
      const isLast = attempt >= ATTEMPTS_MAX || performance.now() + pauseMs >= deadline;
      // A read may always be repeated: it changes nothing.
      const isHarmless = error.outcome === "not-done" || request.method === "GET";
      if (!isHarmless || isLast || error.code === "ABORTED") throw error;
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
    { method, target, headers = {}, body }: Request,
    deadline: number,
    signal: AbortSignal | undefined,
  ): Promise<Answer | KvClientError> {
    const leftMs = Math.max(1, Math.ceil(deadline - performance.now()));
    // A node that hangs should not take all of a read's time: another may answer. A write is sent once.
    const timeout = AbortSignal.timeout(method === "GET" ? Math.min(leftMs, READ_ATTEMPT_MS_MAX) : leftMs);
    const init = {
      method,
      headers,
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
  const body = v.safeParse(v.pipe(v.string(), v.parseJson(), ErrorBody), textIn(answer));
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
function resultIn<Schema extends v.GenericSchema>(answer: Answer, schema: Schema): v.InferOutput<Schema> {
  const text = textIn(expectStatus(answer, 200));
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

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done);
  });
}
