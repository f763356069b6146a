// On a node that does not lead: passes a caller's writes and session calls on to the leader, and returns its
// answers.
import {
  RUNTIME_PAYLOAD_BYTES_MAX,
  type ForwardedCall,
  type ForwardReply,
  type ForwardRequest,
} from "../../codec/frame-runtime-message.ts";
import type { RaftNode } from "../../core/node.ts";
import type { LogIndex, NodeId, Term } from "../../core/position.ts";
import type { Environment, Timer } from "../../environment/environment.ts";
import {
  AbortedError,
  AnswerForgottenError,
  CommandInvalidError,
  CommandRejectedError,
  InvalidOptionError,
  CommandTooLargeError,
  NotLeaderError,
  OutcomeUnknownError,
  OverloadedError,
  RaftError,
  ResultUnavailableError,
  SessionExpiredError,
  type LeaderHint,
  type Outcome,
} from "../../errors.ts";
import {
  causeOf,
  describeCancellation,
  type Call,
  type CallOptions,
  type CallRegistry,
  type Cancellation,
} from "../calls/index.ts";
import { toError, type RaftMetrics, type RaftLimits, type RaftTimings } from "../shared/index.ts";

/** The longest wait that a request states, in milliseconds: the longest delay that Node's timers take. */
const WAIT_MS_MAX = 2 ** 31 - 1;

/**
 * Errors after which another attempt may succeed, if the outcome is "not done": the node that was asked
 * doesn't lead, or is about to stop. All others would be the same at every leader, or ask the caller to slow
 * down.
 */
const RETRYABLE_CODES = new Set([
  "NOT_LEADER",
  "TRANSFERRING",
  "COMMAND_LOST",
  "CLOSED",
  "STORAGE_FAILED",
  "STATE_MACHINE_FAILED",
  "NODE_FAILED",
]);

export interface CallForwarderParts {
  readonly core: RaftNode;
  readonly environment: Environment;
  /** `pendingEntriesMax` and `pendingBytesMax` limit the forwarded calls too. */
  readonly limits: RaftLimits;
  readonly calls: CallRegistry;
  readonly leader: () => LeaderHint | null;
  /** False: the message was certainly not sent. */
  readonly send: (to: NodeId, message: ForwardRequest) => boolean;
  /** `heartbeatMs`: how often a call without an attempt is tried. `electionTimeoutMaxMs`: see `giveUpAt`. */
  readonly timings: RaftTimings;
}

/** A call that can run on any leader. */
export interface ForwardableCall<T> {
  readonly request: ForwardedCall;
  /** The encoded command; empty for a call without one. */
  readonly payload: Uint8Array;
  /** Makes the caller's result of a successful reply. */
  readonly decodeReply: (index: LogIndex, payload: Uint8Array) => T;
  /** Runs the call on this node, for the case that this node leads by now. */
  readonly runHere: (options: CallOptions) => Promise<T>;
}

/** A call that has not ended. Only its own functions know the type of its result. */
interface PendingForward {
  /**
   * The attempt's number, unique in this process. A reply carries it, so replies to older attempts are known.
   */
  attemptId: number;
  readonly forwardable: ForwardableCall<unknown>;
  readonly call: Call<unknown>;
  /** Where the attempt's request went, to the leader of which term; null: it was not sent. */
  sent: { readonly to: NodeId; readonly term: Term } | null;
  /** Whether the attempt runs on this node, as it leads. Never together with `sent`. */
  runsHere: boolean;
  /**
   * When to end the call as "unknown", in milliseconds of the environment's clock; null: the node that was
   * asked still leads, as far as this node knows. A node that stops leading waits for the outcomes of its
   * proposals for the longest election timeout (see `PendingProposals`), so its reply may still come within
   * that time.
   */
  giveUpAt: number | null;
}

/**
 * Forwards calls so that their callers get the same outcomes as on the leader itself.
 *
 * Requests and replies may be lost or duplicated, and leaders change. If a call were sent to a second node
 * while the first may still propose its command, the command could take effect twice (K1). So each attempt
 * asks one node, as leader of one term, and another attempt is made only when the call certainly had no
 * effect there: the request was not sent, or that very node replied "not done" to it. A call that was sent
 * and gets no reply ends as "unknown" (K4).
 */
export class CallForwarder {
  readonly #parts: CallForwarderParts;
  /**
   * A random number for this process, drawn with the first call; null: there was none. A restarted node
   * numbers its attempts from 1 again, and must not take a late reply to its predecessor for one of its own.
   */
  #incarnation: number | null = null;
  /** By `attemptId`, in the order of their last attempts. */
  readonly #pending = new Map<number, PendingForward>();
  /** Bytes of the payloads of all pending calls. */
  #bytes = 0;
  #lastAttemptId = 0;
  /** Runs while a call has no attempt, or a `giveUpAt`. */
  #timer: Timer | null = null;
  #ended = false;

  constructor(parts: CallForwarderParts) {
    this.#parts = parts;
  }

  /** Bytes of the commands of calls under way. */
  get bytes(): number {
    return this.#bytes;
  }

  get metrics(): Pick<RaftMetrics, "forwardedCalls" | "forwardedBytes"> {
    return { forwardedCalls: this.#pending.size, forwardedBytes: this.#bytes };
  }

  /** Passes the call on to the leader; waits for one while none is known. Throws if the call is refused. */
  forward<T>(forwardable: ForwardableCall<T>, options: CallOptions): Promise<T> {
    this.#checkRoom(forwardable.payload.length);
    this.#incarnation ??= Math.floor(this.#parts.environment.random() * Number.MAX_SAFE_INTEGER);
    const pending: PendingForward = {
      attemptId: ++this.#lastAttemptId,
      forwardable,
      call: this.#parts.calls.begin<unknown>("forwarded", options, {
        onCancel: (cancellation) => {
          this.#remove(pending);
          return this.#cancellationError(pending, cancellation);
        },
        outcomeAtNodeEnd: () => (mayTakeEffect(pending) ? "unknown" : "not-done"),
      }),
      sent: null,
      runsHere: false,
      giveUpAt: null,
    };
    this.#pending.set(pending.attemptId, pending);
    this.#bytes += forwardable.payload.length;
    this.#attempt(pending);
    if (!mayTakeEffect(pending)) this.#armTimer();
    return pending.call.promise as Promise<T>;
  }

  onReply({ from, incarnation, id, answer, payload }: ForwardReply): void {
    if (incarnation !== this.#incarnation) return;
    const pending = this.#pending.get(id);
    // Ignored: a duplicate, the reply to an earlier attempt (its number is gone), or to a call that has
    // ended.
    if (pending?.sent?.to !== from) return;
    if (answer.type === "done") {
      this.#settle(pending, () => pending.forwardable.decodeReply(answer.index, payload));
      return;
    }
    if (answer.outcome === "not-done" && RETRYABLE_CODES.has(answer.code)) {
      this.#prepareRetry(pending);
      return;
    }
    const error = errorOf(pending.forwardable.request, answer.code, answer.outcome, textOf(payload));
    this.#settle(pending, () => {
      throw error;
    });
  }

  /** The leader, or its term, may be another one now, or unknown. */
  leaderChanged(): void {
    const { core, environment, timings } = this.#parts;
    for (const pending of [...this.#pending.values()]) {
      const { sent } = pending;
      if (sent === null) this.#attempt(pending);
      else if (sent.to === core.leader && sent.term === core.term) pending.giveUpAt = null;
      else pending.giveUpAt ??= environment.now() + timings.electionTimeoutMaxMs;
    }
    if (this.#pending.size > 0) this.#armTimer();
  }

  /** The node stops. The registry of calls has ended the calls. */
  stop(): void {
    this.#ended = true;
    this.#timer?.cancel();
    this.#timer = null;
    this.#pending.clear();
    this.#bytes = 0;
  }

  #checkRoom(bytes: number): void {
    const { pendingEntriesMax, pendingBytesMax } = this.#parts.limits;
    if (bytes > RUNTIME_PAYLOAD_BYTES_MAX) {
      const what = "for a command that is passed on to the leader; it can be written on the leader itself";
      throw new CommandTooLargeError(bytes, RUNTIME_PAYLOAD_BYTES_MAX, what);
    }
    if (this.#pending.size >= pendingEntriesMax) {
      throw new OverloadedError(
        `${String(this.#pending.size)} calls are forwarded already (limits.pendingEntriesMax); wait for some to finish`,
      );
    }
    if (this.#pending.size > 0 && this.#bytes + bytes > pendingBytesMax) {
      throw new OverloadedError(
        `calls of ${String(this.#bytes)} bytes are forwarded already (limits.pendingBytesMax); wait for some to finish`,
      );
    }
  }

  /** Sends the call to the leader, or runs it here if this node leads. Without a leader it stays as it is. */
  #attempt(pending: PendingForward): void {
    const { core, send } = this.#parts;
    const { leader, term } = core;
    const incarnation = this.#incarnation;
    if (pending.runsHere || incarnation === null) return;
    if (core.role === "leader") {
      void this.#runHere(pending);
      return;
    }
    if (leader === null) return;
    const { forwardable, attemptId } = pending;
    const request: ForwardRequest = {
      type: "forward-request",
      from: core.id,
      incarnation,
      id: attemptId,
      term,
      waitMs: this.#remainingMs(pending),
      call: forwardable.request,
      payload: forwardable.payload,
    };
    if (send(leader, request)) pending.sent = { to: leader, term };
  }

  async #runHere(pending: PendingForward): Promise<void> {
    pending.runsHere = true;
    try {
      // This may be called while the core's election result is still being handled: propose after that.
      await Promise.resolve();
      const result = await pending.forwardable.runHere({ timeoutMs: this.#remainingMs(pending) });
      this.#settle(pending, () => result);
    } catch (error) {
      if (error instanceof RaftError && error.outcome === "not-done" && RETRYABLE_CODES.has(error.code)) {
        this.#prepareRetry(pending);
      } else {
        this.#settle(pending, () => {
          throw toError(error);
        });
      }
    }
  }

  /** The last attempt certainly had no effect. The timer, or the next change of leader, makes another. */
  #prepareRetry(pending: PendingForward): void {
    if (!this.#pending.has(pending.attemptId)) return;
    pending.sent = null;
    pending.runsHere = false;
    pending.giveUpAt = null;
    // The node that replied ignores every further request with the old number.
    this.#pending.delete(pending.attemptId);
    pending.attemptId = ++this.#lastAttemptId;
    this.#pending.set(pending.attemptId, pending);
    this.#armTimer();
  }

  #settle(pending: PendingForward, result: () => unknown): void {
    if (!this.#pending.has(pending.attemptId)) return;
    this.#remove(pending);
    try {
      pending.call.resolve(result());
    } catch (error) {
      pending.call.reject(error);
    }
  }

  #remove(pending: PendingForward): void {
    if (this.#pending.delete(pending.attemptId)) this.#bytes -= pending.forwardable.payload.length;
  }

  #remainingMs({ call }: PendingForward): number {
    return Math.min(Math.max(0, Math.ceil(call.deadline - this.#parts.environment.now())), WAIT_MS_MAX);
  }

  /** The error of a call whose time limit or signal ended the wait. */
  #cancellationError(pending: PendingForward, cancellation: Cancellation): RaftError {
    const text = describeCancellation(cancellation);
    if (mayTakeEffect(pending)) {
      const message = `${text}; the leader was asked, and the command may still take effect`;
      return new AbortedError("unknown", message, causeOf(cancellation));
    }
    if (cancellation.type === "timed-out" && this.#parts.core.leader === null)
      return new NotLeaderError(null);
    return new AbortedError("not-done", text, causeOf(cancellation));
  }

  #armTimer(): void {
    const { environment, timings } = this.#parts;
    if (this.#timer !== null || this.#ended) return;
    this.#timer = environment.setTimer(timings.heartbeatMs, () => {
      this.#timer = null;
      if (this.#retryAndGiveUp()) this.#armTimer();
    });
  }

  /**
   * Attempts the calls that have no attempt, and ends those whose `giveUpAt` has come. True: some calls still
   * wait for either.
   */
  #retryAndGiveUp(): boolean {
    const now = this.#parts.environment.now();
    let isWaiting = false;
    for (const pending of [...this.#pending.values()]) {
      if (!mayTakeEffect(pending)) this.#attempt(pending);
      const { sent, giveUpAt } = pending;
      isWaiting ||= !mayTakeEffect(pending) || giveUpAt !== null;
      if (sent !== null && giveUpAt !== null && giveUpAt <= now) {
        this.#settle(pending, () => {
          throw new OutcomeUnknownError(
            `${sent.to} was asked as leader and leads no more, and did not answer; the command may still take effect`,
          );
        });
      }
    }
    return isWaiting;
  }
}

/** Whether an attempt was made whose outcome is not known yet. If not, the call certainly had no effect. */
function mayTakeEffect({ sent, runsHere }: PendingForward): boolean {
  return sent !== null || runsHere;
}

/** Makes of the leader's error the one that the caller would have got on the leader. */
function errorOf(call: ForwardedCall, code: string, outcome: Outcome, text: string): RaftError {
  const session = call.type === "session-write" ? call.session : { id: 0, sequence: 0 };
  switch (code) {
    case "COMMAND_REJECTED":
      return new CommandRejectedError(text);
    case "COMMAND_INVALID":
      return new CommandInvalidError([{ path: [], message: `at the leader: ${text}` }]);
    case "RESULT_UNAVAILABLE":
    case "RESULT_NOT_SENT": // by earlier versions of the leader
      return new ResultUnavailableError(text);
    case "OVERLOADED":
      return new OverloadedError(text);
    case "INVALID_OPTION":
      return new InvalidOptionError(text);
    case "SESSION_EXPIRED":
      return new SessionExpiredError(session.id, outcome);
    case "ANSWER_FORGOTTEN":
      return new AnswerForgottenError(session.id, session.sequence, outcome === "done" ? "done" : "unknown");
    default:
      if (outcome === "unknown") return new OutcomeUnknownError(`at the leader: ${text}`);
      return new RaftError(code, outcome, `at the leader: ${text}`);
  }
}

function textOf(payload: Uint8Array): string {
  return new TextDecoder().decode(payload);
}
