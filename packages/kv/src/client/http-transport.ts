/** Carries calls over HTTP: one request and one response for each attempt (`http/http-server.ts`). */
import * as v from "valibot";
import { authorization } from "../access/token-file.ts";
import { SEQUENCE_HEADER, SESSION_HEADER, targetOfKey, UNANSWERED_HEADER } from "../http/request-syntax.ts";
import { ErrorBodyText, KvClientError } from "./client-error.ts";
import type {
  AttemptLimits,
  CallCondition,
  CallResults,
  NodeAnswer,
  NodeCall,
  SessionPlace,
  Transport,
} from "./node-call.ts";
import { NotConnectedError, type Sender } from "./sender.ts";
import { unreachable } from "./unreachable.ts";

/** Error codes that prove that the request was never sent. */
const NOT_SENT = ["ECONNREFUSED", "ENOTFOUND", "EHOSTUNREACH", "ENETUNREACH", "UND_ERR_CONNECT_TIMEOUT"];

const PutResult = v.object({ index: v.number(), version: v.number() });
const SessionResult = v.object({ session: v.number() });
const DeleteResult = v.object({ index: v.number(), existed: v.boolean() });

/** A response, received completely. */
interface Received {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Uint8Array;
}

/** A call as a request. */
interface CallRequest {
  readonly method: "GET" | "PUT" | "DELETE" | "POST";
  readonly target: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
}

/** Sends each call as a request of its own. */
export class HttpTransport implements Transport {
  readonly #sender: Sender;
  /** The header with the token, if there is one. */
  readonly #authorization: Readonly<Record<string, string>>;

  constructor(sender: Sender, token: string | null) {
    this.#sender = sender;
    this.#authorization = authorization(token);
  }

  async attempt<Call extends NodeCall>(
    node: string,
    call: Call,
    { timeoutMs, signal }: AttemptLimits,
  ): Promise<NodeAnswer<CallResults[Call["type"]]>> {
    const { method, target, headers, body } = requestOf(call);
    const timeout = AbortSignal.timeout(timeoutMs);
    const init = {
      method,
      headers: { ...this.#authorization, ...headers },
      body,
      signal: signal === undefined ? timeout : AbortSignal.any([timeout, signal]),
    } as const;
    let received: Received;
    try {
      const response = await this.#sender.send(node, target, init);
      received = {
        status: response.status,
        headers: response.headers,
        body: new Uint8Array(await response.arrayBuffer()),
      };
    } catch (cause) {
      return { type: "failed", error: attemptError(cause, node, timeout, signal) };
    }
    return answerOf(call, received);
  }
}

function requestOf(call: NodeCall): CallRequest {
  switch (call.type) {
    case "put":
      return {
        method: "PUT",
        target: targetOfKey(call.key),
        headers: { ...conditionHeaders(call.condition), ...placeHeaders(call.place?.()) },
        body: call.value,
      };
    case "delete":
      return {
        method: "DELETE",
        target: targetOfKey(call.key),
        headers: { ...conditionHeaders(call.condition), ...placeHeaders(call.place?.()) },
      };
    case "get": {
      const query = call.consistency === undefined ? "" : `?consistency=${call.consistency}`;
      return { method: "GET", target: targetOfKey(call.key) + query };
    }
    case "open-session":
      return { method: "POST", target: "/sessions" };
    case "end-session":
      return { method: "DELETE", target: `/sessions/${call.session}` };
  }
}

function conditionHeaders({ ifVersion, ifAbsent }: CallCondition): Record<string, string> {
  if (ifVersion !== undefined) return { "If-Match": `"${ifVersion}"` };
  return ifAbsent ? { "If-None-Match": "*" } : {};
}

function placeHeaders(place: SessionPlace | undefined): Record<string, string> {
  if (place === undefined) return {};
  return {
    [SESSION_HEADER]: String(place.session),
    [SEQUENCE_HEADER]: String(place.sequence),
    [UNANSWERED_HEADER]: String(place.unanswered),
  };
}

/** The statuses that answer a call once and for all. */
const NOT_FOUND = 404;
const CONDITION_FAILED = 412;

/** What the response says of the call. */
function answerOf<Call extends NodeCall>(
  call: Call,
  received: Received,
): NodeAnswer<CallResults[Call["type"]]> {
  const { status, headers } = received;
  if (status === 429 || status >= 500) return { type: "failed", error: errorOf(received) };
  if (status === 307)
    return { type: "redirect", error: errorOf(received), location: headers.get("location") };
  if (status >= 400 && status !== NOT_FOUND && status !== CONDITION_FAILED)
    return { type: "refused", error: errorOf(received) };
  try {
    return { type: "done", result: resultOf(call, received) as CallResults[Call["type"]] };
  } catch (error) {
    if (!(error instanceof KvClientError)) throw error;
    return { type: "verdict", error };
  }
}

/** @throws KvClientError the response is an error, or no response of a node */
function resultOf(call: NodeCall, received: Received): CallResults[NodeCall["type"]] {
  switch (call.type) {
    case "put":
      return jsonOf(received, PutResult);
    case "delete":
      return jsonOf(received, DeleteResult);
    case "get": {
      if (received.status === NOT_FOUND) return null;
      const { body, headers, status } = expectStatus(received, 200);
      const version = /^"([1-9]\d{0,15})"$/.exec(headers.get("etag") ?? "")?.[1];
      if (version === undefined) throw notOurs(status);
      return { value: body, version: Number(version) };
    }
    case "open-session":
      return jsonOf(received, SessionResult, 201).session;
    case "end-session":
      // 404 is no answer of a node, but then there is nothing left to end either.
      return null;
  }
}

/** The error of an attempt that got no response. */
function attemptError(
  cause: unknown,
  node: string,
  timeout: AbortSignal,
  signal: AbortSignal | undefined,
): KvClientError {
  const options = { cause };
  if (cause instanceof NotConnectedError && cause.cause instanceof Error)
    return new KvClientError("UNREACHABLE", "not-done", null, unreachable(node, cause), options);
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

/** The error that an error response describes. */
function errorOf(received: Received): KvClientError {
  const { status } = received;
  const body = v.safeParse(ErrorBodyText, textOf(received));
  if (!body.success) {
    const message = `an answer with status ${status} that says nothing more`;
    return new KvClientError("BAD_ANSWER", "unknown", status, message);
  }
  const { code, outcome, message } = body.output.error;
  return new KvClientError(code, outcome, status, message);
}

/** The response if it has this status; else throws the error that it describes. */
function expectStatus(received: Received, status: number): Received {
  if (received.status === status) return received;
  throw errorOf(received);
}

/** The JSON body of a successful response, checked. Throws if the response is an error. */
function jsonOf<Schema extends v.GenericSchema>(
  received: Received,
  schema: Schema,
  status = 200,
): v.InferOutput<Schema> {
  const text = textOf(expectStatus(received, status));
  const result = v.safeParse(v.pipe(v.string(), v.parseJson(), schema), text);
  if (result.success) return result.output;
  throw notOurs(received.status);
}

function notOurs(status: number): KvClientError {
  return new KvClientError("BAD_ANSWER", "unknown", status, "an answer that no node would give");
}

function textOf({ body }: Received): string {
  return Buffer.from(body).toString("utf8");
}
