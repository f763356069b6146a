// On a node that does not lead: holds callers' calls until a leader is known, passes them on to it, and
// returns its answers.
import {
  RUNTIME_PAYLOAD_BYTES_MAX,
  type ForwardedCall,
  type ForwardProgress,
  type ForwardReply,
  type ForwardRequest,
} from "../../codec/frame-runtime-message.ts";
import type { RaftNode } from "../../core/node.ts";
import type { NodeId, Term } from "../../core/position.ts";
import type { Environment, Timer } from "../../environment/environment.ts";
import {
  AbortedError,
  AnswerForgottenError,
  CatchUpTimeoutError,
  ChangeRefusedError,
  ClosedError,
  CommandInvalidError,
  CommandLostError,
  CommandRejectedError,
  ForwardedCallError,
  InvalidOptionError,
  CommandTooLargeError,
  LostEntriesError,
  NodeFailedError,
  NotLeaderError,
  OutcomeUnknownError,
  OverloadedError,
  RaftError,
  ResultUnavailableError,
  SessionExpiredError,
  StateMachineFailedError,
  StorageFailedError,
  TransferFailedError,
  TransferringError,
  type ErrorCode,
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
  type ForwardableCall,
  type LeaderCalls,
  type RemovalStatus,
} from "../calls/index.ts";
import {
  rejectionOfText,
  toError,
  type RaftMetrics,
  type RaftLimits,
  type RaftTimings,
} from "../shared/index.ts";

/** The longest wait that a request states, in milliseconds: the longest delay that Node's timers take. */
const WAIT_MS_MAX = 2 ** 31 - 1;

/**
 * How long an attempt lasts without a word from the leader about it, in longest election timeouts. The leader
 * reports its progress once in each (`ForwardedCallServer`), so that much silence means that the request, the
 * reply or two reports in a row were lost, or that the leader is gone.
 */
const SILENT_ELECTION_TIMEOUTS_MAX = 3;

/**
 * Calls that are attempted or ended in one turn of the event loop; the rest follows in the next turns. Each
 * sends a message, proposes an entry or makes an error with its stack, and up to `limits.pendingEntriesMax`
 * may wait for the same leader: all in one turn would delay its heartbeats (Z19).
 */
const CALLS_PER_TURN = 128;

/**
 * Errors after which another attempt may succeed, if the outcome is "not done": the node that was asked
 * doesn't lead, or is about to stop. All others would be the same at every leader, or ask the caller to slow
 * down.
 */
const RETRYABLE_CODES = new Set<ErrorCode>([
  "NOT_LEADER",
  "TRANSFERRING",
  "COMMAND_LOST",
  "CLOSED",
  "STORAGE_FAILED",
  "STATE_MACHINE_FAILED",
  "NODE_FAILED",
]);

/**
 * Errors with which a busy leader refuses a new call, which its caller should give up or make later. A call
 * whose outcome is open is attempted again, to learn it: the change that is under way may be its own.
 */
const BUSY_CODES = new Set<ErrorCode>(["OVERLOADED", "CHANGE_REFUSED"]);

export interface CallForwarderParts {
  readonly core: RaftNode;
  readonly environment: Environment;
  /** `pendingEntriesMax` and `pendingBytesMax` limit the calls that wait here too. */
  readonly limits: RaftLimits;
  readonly calls: CallRegistry;
  readonly leader: () => LeaderHint | null;
  /** Why no leader serves this node's calls any more; null: one may. */
  readonly removal: RemovalStatus;
  /** The error of a call that waited for a leader in vain. */
  readonly noLeaderError: () => NotLeaderError;
  /** False: the message was certainly not sent. */
  readonly send: (to: NodeId, message: ForwardRequest) => boolean;
  /** `heartbeatMs`: how often a call without an attempt is tried. `electionTimeoutMaxMs`: see `giveUpAt`. */
  readonly timings: RaftTimings;
}

/** A call that has not ended. Only its own functions know the type of its result. */
interface PendingForward {
  /**
   * The attempt's number, unique in this process. A reply carries it, so replies to older attempts are known.
   */
  attemptId: number;
  readonly forwardable: ForwardableCall<unknown>;
  readonly call: Call<unknown>;
  /** Also ends the call's run on this node, which may have further steps. */
  readonly signal: AbortSignal | undefined;
  /** Where the attempt's request went, to the leader of which term; null: it was not sent. */
  sent: { readonly to: NodeId; readonly term: Term } | null;
  /** Whether the attempt runs on this node, as it leads. Never together with `sent`. */
  runsHere: boolean;
  /**
   * When the leader's last word about the attempt came, or else when its request was sent, in milliseconds of
   * the environment's clock. Of no meaning while `sent` is null.
   */
  heardAt: number;
  /**
   * When to end the attempt as "unknown", in milliseconds of the environment's clock; null: the node that was
   * asked still leads, as far as this node knows. A node that stops leading waits for the outcomes of its
   * proposals for the longest election timeout (see `PendingProposals`), so its reply may still come within
   * that time.
   */
  giveUpAt: number | null;
  /** The term of the last attempt that got no reply; null: there was none. Its request may still arrive. */
  silentTerm: Term | null;
  /** Whether an earlier attempt ended as "unknown". Then no error of the call says "not done" (K4). */
  mayHaveTakenEffect: boolean;
}

/**
 * Makes calls at the leader, so that their callers get the same outcomes as on the leader itself. While no
 * leader is known, calls wait. Where the call isn't to be forwarded, and another node leads, it is refused.
 *
 * Requests and replies may be lost or duplicated, and leaders change. If a call were sent to a second node
 * while the first may still propose its command, the command could take effect twice (K1). So each attempt
 * asks one node, as leader of one term, and another attempt is made only
 *
 * - when the call certainly had no effect there: the request was not sent, or that very node replied "not
 *   done" to it; or
 * - when a second effect can't be: a command of a session, or a call that states what should be
 *   (`isRepeatable`).
 *
 * A change of members is not made again at the leader of the same term after silence: the first request could
 * arrive late, and undo another change that was made since. A leader ignores requests of other terms.
 *
 * Any other call that was sent and gets no reply ends as "unknown" (K4). A lost request or reply costs one
 * attempt: `SILENT_ELECTION_TIMEOUTS_MAX` of silence.
 */
export class CallForwarder implements LeaderCalls {
  readonly #parts: CallForwarderParts;
  /** Milliseconds of silence after which an attempt has ended. */
  readonly #silenceMsMax: number;
  /**
   * A random number for this process, drawn with the first call; null: there was none. A restarted node
   * numbers its attempts from 1 again, and must not take a late reply to its predecessor for one of its own.
   */
  #incarnation: number | null = null;
  /** By `attemptId`, in the order of their last attempts. */
  readonly #pending = new Map<number, PendingForward>();
  /** Of those the calls without an attempt. */
  readonly #unsent = new Set<PendingForward>();
  /** Bytes of the payloads of all pending calls. */
  #bytes = 0;
  #lastAttemptId = 0;
  /** Runs while a call is pending. */
  #timer: Timer | null = null;
  /** Whether a pass over the calls goes on in the next turn. */
  #passGoesOn = false;
  #ended = false;

  constructor(parts: CallForwarderParts) {
    this.#parts = parts;
    this.#silenceMsMax = SILENT_ELECTION_TIMEOUTS_MAX * parts.timings.electionTimeoutMaxMs;
  }

  /** Bytes of the commands of calls under way. */
  get bytes(): number {
    return this.#bytes;
  }

  get metrics(): Pick<RaftMetrics, "forwardedCalls" | "forwardedBytes"> {
    return { forwardedCalls: this.#pending.size, forwardedBytes: this.#bytes };
  }

  forward<T>(forwardable: ForwardableCall<T>, options: CallOptions): Promise<T> {
    const refusal = this.#refusalOf(forwardable);
    if (refusal !== null) throw refusal;
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
      signal: options.signal,
      sent: null,
      runsHere: false,
      heardAt: 0,
      giveUpAt: null,
      silentTerm: null,
      mayHaveTakenEffect: false,
    };
    this.#pending.set(pending.attemptId, pending);
    this.#unsent.add(pending);
    this.#bytes += forwardable.payload.length;
    this.#attempt(pending);
    this.#armTimer();
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
    this.#attemptFailed(pending, errorOf(pending.forwardable, answer.code, answer.outcome, textOf(payload)));
  }

  /** The leader is still working on these calls. */
  onProgress({ from, incarnation, ids }: ForwardProgress): void {
    if (incarnation !== this.#incarnation) return;
    const now = this.#parts.environment.now();
    for (const id of ids) {
      const pending = this.#pending.get(id);
      if (pending?.sent?.to === from) pending.heardAt = now;
    }
  }

  /** The leader, or its term, may be another one now, or unknown. */
  leaderChanged(): void {
    const { core, environment, timings } = this.#parts;
    for (const pending of this.#pending.values()) {
      const { sent } = pending;
      if (sent === null) continue;
      if (sent.to === core.leader && sent.term === core.term) pending.giveUpAt = null;
      else pending.giveUpAt ??= environment.now() + timings.electionTimeoutMaxMs;
    }
    this.#pass();
  }

  /**
   * This node was removed. Its calls that wait for a leader end. Those that were sent may still be answered:
   * a change that removes the node that asked for it is done by then, and its reply is on the way.
   */
  removed(): void {
    const { environment, timings } = this.#parts;
    for (const pending of this.#pending.values()) {
      if (pending.sent !== null) pending.giveUpAt ??= environment.now() + timings.electionTimeoutMaxMs;
    }
    this.#pass();
  }

  /** The node stops. The registry of calls has ended the calls. */
  stop(): void {
    this.#ended = true;
    this.#timer?.cancel();
    this.#timer = null;
    this.#pending.clear();
    this.#unsent.clear();
    this.#bytes = 0;
  }

  /** Why this call can't be made at the leader that is known now; null: it can, or no leader is known. */
  #refusalOf({ refusal, payload }: ForwardableCall<unknown>): RaftError | null {
    const { core, leader, removal } = this.#parts;
    if (core.role === "leader") return null;
    const removed = removal.refusal;
    if (removed !== null || core.leader === null) return removed;
    if (refusal !== null) return new NotLeaderError(leader(), { why: refusal });
    if (payload.length <= RUNTIME_PAYLOAD_BYTES_MAX) return null;
    const what = "for a command that is passed on to the leader; it can be written on the leader itself";
    return new CommandTooLargeError(payload.length, RUNTIME_PAYLOAD_BYTES_MAX, what);
  }

  /** Why the call isn't made again in this term; null: it may be. */
  #lateRequestRefusal({ forwardable, silentTerm }: PendingForward): RaftError | null {
    if (forwardable.mayUndo !== true || silentTerm !== this.#parts.core.term) return null;
    return new OutcomeUnknownError(
      `the leader did not answer; ${whatOf(forwardable.request)} may still take effect. Ask for the members to see`,
    );
  }

  #checkRoom(bytes: number): void {
    const { pendingEntriesMax, pendingBytesMax } = this.#parts.limits;
    if (this.#pending.size >= pendingEntriesMax) {
      throw new OverloadedError(
        `${String(this.#pending.size)} calls wait for the leader already (limits.pendingEntriesMax); wait for some to finish`,
      );
    }
    if (this.#pending.size > 0 && this.#bytes + bytes > pendingBytesMax) {
      throw new OverloadedError(
        `calls of ${String(this.#bytes)} bytes wait for the leader already (limits.pendingBytesMax); wait for some to finish`,
      );
    }
  }

  /** Sends the call to the leader, or runs it here if this node leads. Without a leader it stays as it is. */
  #attempt(pending: PendingForward): void {
    const { core, send, environment } = this.#parts;
    const { leader, term } = core;
    const incarnation = this.#incarnation;
    if (incarnation === null) return;
    if (core.role === "leader") {
      this.#unsent.delete(pending);
      void this.#runHere(pending);
      return;
    }
    const { forwardable, attemptId } = pending;
    const refusal =
      this.#refusalOf(forwardable) ?? (leader === null ? null : this.#lateRequestRefusal(pending));
    if (refusal !== null) {
      this.#fail(pending, refusal);
      return;
    }
    if (leader === null) return;
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
    if (!send(leader, request)) return;
    this.#unsent.delete(pending);
    pending.sent = { to: leader, term };
    pending.heardAt = environment.now();
  }

  async #runHere(pending: PendingForward): Promise<void> {
    pending.runsHere = true;
    try {
      // This may be called while the core's election result is still being handled: propose after that.
      await Promise.resolve();
      const { signal, forwardable } = pending;
      const timeoutMs = this.#remainingMs(pending);
      const options = signal === undefined ? { timeoutMs } : { timeoutMs, signal };
      const result = await forwardable.runHere(options);
      this.#settle(pending, () => result);
    } catch (error) {
      this.#attemptFailed(pending, toError(error));
    }
  }

  /** Makes another attempt if that is safe and may help; else ends the call with the attempt's error. */
  #attemptFailed(pending: PendingForward, error: Error): void {
    if (!(error instanceof RaftError)) {
      this.#fail(pending, error);
      return;
    }
    const { code, outcome } = error;
    if (outcome === "not-done" && RETRYABLE_CODES.has(code)) {
      this.#prepareRetry(pending);
    } else if (outcome === "unknown" && code === "OUTCOME_UNKNOWN" && pending.forwardable.isRepeatable) {
      pending.mayHaveTakenEffect = true;
      this.#prepareRetry(pending);
    } else if (pending.mayHaveTakenEffect && BUSY_CODES.has(code)) {
      this.#prepareRetry(pending);
    } else {
      this.#fail(pending, error);
    }
  }

  /** The last attempt is over. The timer, or the next change of leader, makes another. */
  #prepareRetry(pending: PendingForward): void {
    if (!this.#pending.has(pending.attemptId)) return;
    pending.sent = null;
    pending.runsHere = false;
    pending.giveUpAt = null;
    // The node that replied ignores every further request with the old number.
    this.#pending.delete(pending.attemptId);
    pending.attemptId = ++this.#lastAttemptId;
    this.#pending.set(pending.attemptId, pending);
    this.#unsent.add(pending);
    this.#armTimer();
  }

  #fail(pending: PendingForward, error: Error): void {
    this.#settle(pending, () => {
      throw withOutcomeOfAllAttempts(error, pending);
    });
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
    this.#unsent.delete(pending);
    if (this.#pending.delete(pending.attemptId)) this.#bytes -= pending.forwardable.payload.length;
  }

  #remainingMs({ call }: PendingForward): number {
    return Math.min(Math.max(0, Math.ceil(call.deadline - this.#parts.environment.now())), WAIT_MS_MAX);
  }

  /** The error of a call whose time limit or signal ended the wait. */
  #cancellationError(pending: PendingForward, cancellation: Cancellation): RaftError {
    const { core, noLeaderError } = this.#parts;
    const text = describeCancellation(cancellation);
    if (mayTakeEffect(pending)) {
      const message = `${text}; the leader was asked, and ${whatOf(pending.forwardable.request)} may still take effect`;
      return new AbortedError("unknown", message, causeOf(cancellation));
    }
    if (cancellation.type === "timed-out" && core.leader === null) {
      return noLeaderError();
    }
    return new AbortedError("not-done", text, causeOf(cancellation));
  }

  #armTimer(): void {
    const { environment, timings } = this.#parts;
    if (this.#timer !== null || this.#ended || this.#pending.size === 0) return;
    this.#timer = environment.setTimer(timings.heartbeatMs, () => {
      this.#timer = null;
      this.#pass();
    });
  }

  /**
   * Attempts the calls that have no attempt, and ends the attempts that got no reply, at most
   * `CALLS_PER_TURN` in this turn. If there are more, the next turn goes on.
   */
  #pass(): void {
    if (this.#passGoesOn || this.#ended) return;
    const { core, environment, removal } = this.#parts;
    const mayAttempt = core.role === "leader" || core.leader !== null || removal.isRemoved;
    const due = [...this.#silentSince(environment.now()), ...(mayAttempt ? this.#unsent : [])];
    const step = (): void => {
      this.#passGoesOn = false;
      if (this.#ended) return;
      for (const pending of due.splice(0, CALLS_PER_TURN)) {
        // It may have ended since, or had an attempt or a reply.
        if (!this.#pending.has(pending.attemptId)) continue;
        if (this.#unsent.has(pending)) this.#attempt(pending);
        else if (this.#isSilent(pending, environment.now())) this.#giveUp(pending);
      }
      if (due.length === 0) {
        this.#armTimer();
        return;
      }
      this.#passGoesOn = true;
      environment.defer(step);
    };
    step();
  }

  #silentSince(now: number): PendingForward[] {
    return [...this.#pending.values()].filter((pending) => this.#isSilent(pending, now));
  }

  /** Whether the attempt's reply has not come in time. */
  #isSilent({ sent, giveUpAt, heardAt }: PendingForward, now: number): boolean {
    return sent !== null && ((giveUpAt !== null && giveUpAt <= now) || now - heardAt >= this.#silenceMsMax);
  }

  /** The attempt's outcome will not become known. */
  #giveUp(pending: PendingForward): void {
    const { sent, giveUpAt } = pending;
    if (sent === null) return;
    pending.silentTerm = sent.term;
    const who = giveUpAt === null ? "as leader" : "as leader and leads no more";
    this.#attemptFailed(
      pending,
      new OutcomeUnknownError(
        `${sent.to} was asked ${who}, and did not answer; ${whatOf(pending.forwardable.request)} may still take effect`,
      ),
    );
  }
}

/** Whether an attempt was made whose outcome is not known. If not, the call certainly had no effect. */
function mayTakeEffect({ sent, runsHere, mayHaveTakenEffect }: PendingForward): boolean {
  return sent !== null || runsHere || mayHaveTakenEffect;
}

/**
 * An error's outcome covers all attempts: if an earlier one went unanswered, a later refusal is still
 * "unknown" (K4). So is the end of a session, which alone would let a client that sent the command once
 * conclude that it had no effect (Z6): the client doesn't know how often its node sent it.
 */
function withOutcomeOfAllAttempts(error: Error, { mayHaveTakenEffect }: PendingForward): Error {
  if (!mayHaveTakenEffect) return error;
  if (error instanceof RaftError && error.outcome !== "not-done" && !(error instanceof SessionExpiredError))
    return error;
  return new OutcomeUnknownError(
    `an earlier attempt may have taken effect, and the last one ended so: ${error.message}`,
    { cause: error },
  );
}

/** What a request asks for, for an error's text. */
function whatOf({ type }: ForwardedCall): string {
  switch (type) {
    case "write":
    case "session-write":
      return "the command";
    case "open-session":
    case "close-session":
      return "the call";
    case "add-learner":
    case "change-membership":
      return "the change";
    case "transfer-leadership":
      return "the transfer";
  }
}

/** Makes of the leader's error the one that the caller would have got on the leader. */
function errorOf(
  { request, payload }: ForwardableCall<unknown>,
  code: string,
  outcome: Outcome,
  text: string,
): RaftError {
  const session = request.type === "session-write" ? request.session : { id: 0, sequence: 0 };
  switch (code) {
    case "COMMAND_REJECTED":
      return new CommandRejectedError(rejectionOfText(text));
    case "COMMAND_INVALID":
      return new CommandInvalidError([{ path: [], message: `at the leader: ${text}` }]);
    case "RESULT_UNAVAILABLE":
    case "RESULT_NOT_SENT": // by earlier versions of the leader
      return new ResultUnavailableError(text);
    case "COMMAND_TOO_LARGE":
      return new CommandTooLargeError(payload.length, null);
    case "OVERLOADED":
      return new OverloadedError(text);
    case "INVALID_OPTION":
      return new InvalidOptionError(text);
    case "CHANGE_REFUSED":
      return new ChangeRefusedError(text);
    case "CATCH_UP_TIMEOUT":
      return new CatchUpTimeoutError(text, outcome === "not-done" ? "not-done" : "unknown");
    case "TRANSFER_FAILED":
      return new TransferFailedError(text, outcome === "not-done" ? "not-done" : "unknown");
    case "SESSION_EXPIRED":
      return new SessionExpiredError(session.id, outcome);
    case "ANSWER_FORGOTTEN":
      return new AnswerForgottenError(session.id, session.sequence, outcome === "done" ? "done" : "unknown");
    default:
      if (outcome === "unknown") return new OutcomeUnknownError(`at the leader: ${text}`);
      return refusalOf(code, text) ?? new ForwardedCallError(code, outcome, text);
  }
}

/** The error for a call that certainly had no effect, for a reason that is about the node that was asked. */
function refusalOf(code: string, text: string): RaftError | null {
  const message = `at the leader: ${text}`;
  switch (code) {
    case "NOT_LEADER":
      return new NotLeaderError(null);
    case "TRANSFERRING":
      return new TransferringError(message);
    case "COMMAND_LOST":
      return new CommandLostError(message);
    case "CLOSED":
      return new ClosedError();
    case "STORAGE_FAILED":
      return new StorageFailedError(message, "not-done");
    case "STATE_MACHINE_FAILED":
      return new StateMachineFailedError(message, "not-done");
    case "NODE_FAILED":
      return new NodeFailedError(message, "not-done");
    case "LOST_ENTRIES":
      return new LostEntriesError(message, "not-done");
    case "ABORTED":
      return new AbortedError("not-done", message);
    default:
      return null;
  }
}

function textOf(payload: Uint8Array): string {
  return new TextDecoder().decode(payload);
}
