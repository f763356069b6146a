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
import { BadRequestError } from "./request-syntax.ts";

/** What the body of every answer that is an error holds. */
export interface ErrorBody {
  readonly error: {
    /** Stable. */
    readonly code: string;
    readonly message: string;
    /** What became of the request: `not-done`: nothing, now or later; `unknown`: perhaps something, perhaps later. */
    readonly outcome: Outcome;
  };
}

/** An answer that is an error. */
export interface ErrorAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: ErrorBody;
}

/** Seconds. An election takes about one. */
const RETRY_AFTER = { "Retry-After": "1" };

export function errorAnswer(
  status: number,
  code: string,
  message: string,
  headers: Readonly<Record<string, string>> = {},
  outcome: Outcome = "not-done",
): ErrorAnswer {
  return { status, headers, body: { error: { code, message, outcome } } };
}

/** The node does not serve at the moment, and nothing was done. */
export function unavailable(code: string, message: string): ErrorAnswer {
  return errorAnswer(503, code, message, RETRY_AFTER);
}

/** More is under way than the server takes on. */
export function overloaded(message: string): ErrorAnswer {
  return errorAnswer(429, "OVERLOADED", message, RETRY_AFTER);
}

/** The answer to a request that failed. `target`: its path and query, for the way to the leader. */
export function answerTo(error: unknown, target: string): ErrorAnswer {
  if (error instanceof BadRequestError) return errorAnswer(400, "BAD_REQUEST", error.message);
  if (error instanceof NotLeaderError) return toLeader(error, target);
  if (!(error instanceof RaftError)) {
    // Nothing of ours: a mistake in this program. What it did cannot be told.
    return errorAnswer(500, "INTERNAL", "the server made a mistake; its log says more", {}, "unknown");
  }
  const { code, message, outcome } = error;
  if (error instanceof CommandTooLargeError) return errorAnswer(413, code, message);
  if (error instanceof OverloadedError) return overloaded(message);
  // The only options that come from a client are those of a change of members.
  if (error instanceof InvalidOptionError) return errorAnswer(400, code, message);
  if (error instanceof ChangeRefusedError) return errorAnswer(409, code, message, RETRY_AFTER);
  if (error instanceof InvalidOptionError) return errorAnswer(400, code, message);
  // What the client wants is not there any more, and will not be.
  if (error instanceof SessionExpiredError || error instanceof AnswerForgottenError) {
    return errorAnswer(410, code, message, {}, outcome);
  }
  if (outcome === "unknown") {
    return errorAnswer(504, code, `the outcome is unknown: ${message}`, {}, outcome);
  }
  // The state machine itself says what it refuses, as a result; so nothing of ours is "done" and yet an error.
  if (outcome === "done") return errorAnswer(500, code, message, {}, outcome);
  return unavailable(code, message);
}

function toLeader({ code, leader, message }: NotLeaderError, target: string): ErrorAnswer {
  const addresses = clientAddressesOf(leader);
  if (addresses === null)
    return unavailable(code, leader === null ? message : `${message}, whose address is not known yet`);
  return errorAnswer(307, code, message, { Location: `http://${addresses.http}${target}` });
}
