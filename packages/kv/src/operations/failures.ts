/**
 * What clients are told of a call that failed, whichever protocol they speak: status, code, message, outcome.
 * http/error-answers.ts has the table.
 */
import {
  AnswerForgottenError,
  ChangeRefusedError,
  CommandTooLargeError,
  InvalidOptionError,
  NotLeaderError,
  OverloadedError,
  RaftError,
  SessionExpiredError,
  type Outcome,
} from "keelson";
import { clientAddressesOf } from "../shared/addresses.ts";
import { BadRequestError } from "./checks.ts";
import { VALUE_BYTES_MAX, type ConditionFailed } from "../store/commands.ts";

/** Why a call failed. */
export interface Failure {
  /** As HTTP has it. */
  readonly status: number;
  /** Stable, for programs. */
  readonly code: string;
  /** For people. */
  readonly message: string;
  readonly outcome: Outcome;
  /** After how many milliseconds another attempt makes sense. 0: not said. */
  readonly retryAfterMs: number;
  /** With 307: the leader's URL, without a path. null: none is told. */
  readonly leader: string | null;
  /** With CONDITION_FAILED: the key's version. null: it has no value. With other codes: null. */
  readonly version: number | null;
}

/** An election takes about that long. */
const RETRY_AFTER_MS = 1000;

/** A failure with nothing but a code and a message. Nothing was done, unless `outcome` says otherwise. */
export function failure(
  status: number,
  code: string,
  message: string,
  outcome: Outcome = "not-done",
): Failure {
  return { status, code, message, outcome, retryAfterMs: 0, leader: null, version: null };
}

/** 503: the node can't serve the request now, and nothing was done. */
export function unavailableFailure(code: string, message: string): Failure {
  return { ...failure(503, code, message), retryAfterMs: RETRY_AFTER_MS };
}

/** 429: the server has reached a limit on what it does at once. */
export function overloadFailure(message: string): Failure {
  return { ...failure(429, "OVERLOADED", message), retryAfterMs: RETRY_AFTER_MS };
}

/** The budget for answers is full. */
export const NO_ROOM: Failure = overloadFailure(
  "clients have not read the answers that they asked for, which take all room; try again",
);

/** The node isn't open yet, or closing. */
export const STARTING: Failure = unavailableFailure("STARTING", "the node is starting or closing; try again");

export const NOT_FOUND: Failure = failure(404, "NOT_FOUND", "the key has no value");

export const VALUE_TOO_LARGE: Failure = failure(
  413,
  "VALUE_TOO_LARGE",
  `a value has at most ${VALUE_BYTES_MAX} bytes`,
);

export function conditionFailure({ version }: ConditionFailed): Failure {
  const has = version === null ? "the key has no value" : `the key's version is ${version}`;
  return { ...failure(412, "CONDITION_FAILED", `the condition does not hold: ${has}`), version };
}

/** What a client is told of an error of the node, or of a request that isn't valid. */
export function failureOf(error: unknown): Failure {
  if (error instanceof BadRequestError) return failure(400, "BAD_REQUEST", error.message);
  if (error instanceof NotLeaderError) return toLeader(error);
  if (!(error instanceof RaftError)) {
    // Neither the client's mistake nor an error of the library: a bug of ours, so the outcome is unknown.
    return failure(500, "INTERNAL", "the server made a mistake; its log says more", "unknown");
  }
  const { code, message, outcome } = error;
  if (error instanceof CommandTooLargeError) return failure(413, code, message);
  if (error instanceof OverloadedError) return overloadFailure(message);
  // A client sets some options of the library, such as those of a change of members and a session's `ttlMs`,
  // so its request isn't valid.
  if (error instanceof InvalidOptionError) return failure(400, code, message);
  if (error instanceof ChangeRefusedError)
    return { ...failure(409, code, message), retryAfterMs: RETRY_AFTER_MS };
  if (error instanceof SessionExpiredError || error instanceof AnswerForgottenError)
    return failure(410, code, message, outcome);
  if (outcome === "unknown") return failure(504, code, `the outcome is unknown: ${message}`, outcome);
  // The state machine returns refusals as results, so no error should have the outcome "done".
  if (outcome === "done") return failure(500, code, message, outcome);
  return unavailableFailure(code, message);
}

function toLeader({ code, leader, message }: NotLeaderError): Failure {
  const addresses = clientAddressesOf(leader);
  if (addresses === null) {
    const text = leader === null ? message : `${message}, whose address is not known yet`;
    return unavailableFailure(code, text);
  }
  const url = `${addresses.tls === true ? "https" : "http"}://${addresses.http}`;
  return { ...failure(307, code, message), leader: url };
}
