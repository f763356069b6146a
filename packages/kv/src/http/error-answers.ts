/**
 * Answers that are errors: their form, and which error of the library gets which status.
 *
 * | status | codes                              | when                                        | outcome     |
 * | ------ | ---------------------------------- | ------------------------------------------- | ----------- |
 * | 307    | NOT_LEADER                         | another node leads: see `Location`          | not-done    |
 * | 400    | BAD_REQUEST, INVALID_OPTION        | the request isn't valid                     | not-done    |
 * | 401    | UNAUTHORIZED                       | the request needs a token and has no valid  | not-done    |
 * |        |                                    | one                                         |             |
 * | 403    | FORBIDDEN                          | the token's role isn't enough; an           | not-done    |
 * |        |                                    | operator's request from another machine, a  |             |
 * |        |                                    | web page's, or one to a wrong `Host`        |             |
 * | 404    | NOT_FOUND, NO_ROUTE                | the key has no value; there's no such path  | not-done    |
 * | 405    | METHOD_NOT_ALLOWED                 | the path has other methods: see `Allow`     | not-done    |
 * | 408    | TOO_SLOW                           | the body stopped coming, and others wait    | not-done    |
 * | 409    | CHANGE_REFUSED                     | the members can't be changed so, or not now | not-done    |
 * | 410    | SESSION_EXPIRED, ANSWER_FORGOTTEN  | the session or its answer expired           | the error's |
 * | 412    | CONDITION_FAILED                   | the write's condition doesn't hold          | not-done    |
 * | 413    | VALUE_TOO_LARGE, COMMAND_TOO_LARGE | the value is over the limit                 | not-done    |
 * | 429    | OVERLOADED                         | a limit on what is under way is reached     | not-done    |
 * | 500    | INTERNAL                           | a bug of this program                       | unknown     |
 * | 503    | STARTING, or the library's         | this node can't serve the request now       | not-done    |
 * | 504    | the library's                      | the request may take effect, or not         | unknown     |
 *
 * 409, 429 and 503 have `Retry-After`, in seconds; not so the 503 of `GET /healthz`, and that of a backup
 * whose snapshot is gone.
 */
import type { Outcome } from "keelson";
import {
  failureOf,
  NO_ROOM,
  overloadFailure,
  unavailableFailure,
  type Failure,
} from "../operations/failures.ts";

/** The body of every error answer. */
export interface ErrorBody {
  readonly error: {
    /** Stable, for programs. */
    readonly code: string;
    /** For people. */
    readonly message: string;
    /**
     * `not-done`: the request had no effect and won't have one. `unknown`: it may have one, perhaps later.
     * `done`: it took effect, although it has no result.
     */
    readonly outcome: Outcome;
  };
}

/** An error answer, before `errorResponse` encodes its body. */
export interface ErrorAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: ErrorBody;
}

/** Makes an error answer. The outcome is "not-done" unless given. */
export function errorAnswer(
  status: number,
  code: string,
  message: string,
  headers: Readonly<Record<string, string>> = {},
  outcome: Outcome = "not-done",
): ErrorAnswer {
  return { status, headers, body: { error: { code, message, outcome } } };
}

/** 403: the client may not do this, or a web page could have sent the request. */
export function forbidden(message: string): ErrorAnswer {
  return errorAnswer(403, "FORBIDDEN", message);
}

/** 503: the node can't serve the request now, and nothing was done. */
export function unavailable(code: string, message: string): ErrorAnswer {
  return answerOf(unavailableFailure(code, message));
}

/** 429: the server has reached a limit on what it does at once. */
export function overloaded(message: string): ErrorAnswer {
  return answerOf(overloadFailure(message));
}

/** 429: the budget for answers is full. */
export function noRoom(): ErrorAnswer {
  return answerOf(NO_ROOM);
}

/** The answer to a request that failed. `target`: its path and query, for the redirect to the leader. */
export function answerTo(error: unknown, target: string): ErrorAnswer {
  return answerOf(failureOf(error), target);
}

/** A failure as an answer. `target`: as for `answerTo`. */
export function answerOf(
  { status, code, message, outcome, retryAfterMs, leader, version }: Failure,
  target = "",
): ErrorAnswer {
  const headers: Record<string, string> = {};
  if (retryAfterMs > 0) headers["Retry-After"] = String(Math.ceil(retryAfterMs / 1000));
  if (leader !== null) headers["Location"] = leader + target;
  if (version !== null) headers["ETag"] = `"${version}"`;
  return errorAnswer(status, code, message, headers, outcome);
}
