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
  CommandRejectedError,
  InvalidOptionError,
  NotLeaderError,
  OutcomeUnknownError,
  OverloadedError,
  RaftError,
  SessionExpiredError,
  type LeaderHint,
  type Outcome,
} from "../../errors.ts";
import {
  causeOf,
  describeCancellation,
  type Call,
  type CallOptions,
  type Cancellation,
  type Calls,
} from "../calls/index.ts";
import { toError } from "../failure.ts";
import type { RaftMetrics } from "../metrics.ts";
import type { RaftLimits, RaftTimings } from "../options.ts";

/** The longest wait that a request can tell of, in milliseconds. */
const WAIT_MS_MAX = 2 ** 31 - 1;

/** What a later attempt may mend, where the last one surely did nothing: that node does not lead, or is on its way out. */
const WORTH_REPEATING = new Set([
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
  readonly limits: RaftLimits;
  readonly calls: Calls;
  readonly leader: () => LeaderHint | null;
  /** Sends, or drops; false: dropped for sure. */
  readonly send: (to: NodeId, message: ForwardRequest) => boolean;
  /** After a heartbeat's time, those are tried again that nobody could be asked; a node that leads no more has the longest election timeout to answer. */
  readonly timings: RaftTimings;
}

/** What is asked of the leader. */
export interface ForwardableCall<T> {
  readonly call: ForwardedCall;
  /** The command, or nothing. */
  readonly payload: Uint8Array;
  /** What the leader's answer means to the caller. */
  readonly read: (index: LogIndex, payload: Uint8Array) => T;
  /** Does it here, for the case that this node comes to lead. */
  readonly here: (options: CallOptions) => Promise<T>;
}

/** One call on its way. The type of its result is known to its own functions alone. */
interface Forwarded {
  /** Of the attempt under way: each has its own. */
  id: number;
  readonly asked: ForwardableCall<unknown>;
  readonly call: Call<unknown>;
  /** Whom it was sent to, as leader of which term; null: nobody has it, so nothing was done. */
  sent: { readonly to: NodeId; readonly term: Term } | null;
  /** It was proposed here. */
  isHere: boolean;
  /** When to stop waiting for a node that does not lead any more; null: it does, as far as is known. */
  orphanUntil: number | null;
}

/**
 * Passes calls on to the leader, and their answers back. A call is asked of one node at a time, and of
 * another only when it surely did nothing at the first: what was sent and not answered may have been
 * done, and its outcome is unknown (K4).
 */
export class CallForwarder {
  readonly #parts: CallForwarderParts;
  /** Tells the requests of this process from those of its former lives; null: it has made none. */
  #incarnation: number | null = null;
  readonly #calls = new Map<number, Forwarded>();
  #bytes = 0;
  #lastId = 0;
  #timer: Timer | null = null;
  #ended = false;

  constructor(parts: CallForwarderParts) {
    this.#parts = parts;
  }

  get metrics(): Pick<RaftMetrics, "forwardedCalls" | "forwardedBytes"> {
    return { forwardedCalls: this.#calls.size, forwardedBytes: this.#bytes };
  }

  /** Asks the leader, whoever and wherever it is, once it is known. */
  ask<T>(asked: ForwardableCall<T>, options: CallOptions): Promise<T> {
    this.#checkRoom(asked.payload.length);
    this.#incarnation ??= Math.floor(this.#parts.environment.random() * Number.MAX_SAFE_INTEGER);
    const forwarded: Forwarded = {
      id: ++this.#lastId,
      asked,
      call: this.#parts.calls.begin<unknown>(options, (cancellation) => {
        this.#forget(forwarded);
        return this.#cancelled(forwarded, cancellation);
      }),
      sent: null,
      isHere: false,
      orphanUntil: null,
    };
    this.#calls.set(forwarded.id, forwarded);
    this.#bytes += asked.payload.length;
    this.#try(forwarded);
    if (!isOpen(forwarded)) this.#arm();
    return forwarded.call.promise as Promise<T>;
  }

  receive({ from, incarnation, id, answer, payload }: ForwardReply): void {
    if (incarnation !== this.#incarnation) return;
    const forwarded = this.#calls.get(id);
    // Doubled, or of an attempt that is over.
    if (forwarded?.sent?.to !== from) return;
    if (answer.type === "done") {
      this.#settle(forwarded, () => forwarded.asked.read(answer.index, payload));
      return;
    }
    if (answer.outcome === "not-done" && WORTH_REPEATING.has(answer.code)) {
      this.#again(forwarded);
      return;
    }
    const error = errorOf(forwarded.asked.call, answer.code, answer.outcome, textOf(payload));
    this.#settle(forwarded, () => {
      throw error;
    });
  }

  /** Who leads may have changed. */
  leaderChanged(): void {
    const { core, environment, timings } = this.#parts;
    for (const forwarded of [...this.#calls.values()]) {
      const { sent } = forwarded;
      if (sent === null) this.#try(forwarded);
      else if (sent.to === core.leader && sent.term === core.term) forwarded.orphanUntil = null;
      else forwarded.orphanUntil ??= environment.now() + timings.electionTimeoutMaxMs;
    }
    if (this.#calls.size > 0) this.#arm();
  }

  /** The node stopped. */
  endAll(error: (outcome: Outcome) => RaftError): void {
    this.#ended = true;
    this.#timer?.cancel();
    this.#timer = null;
    for (const forwarded of [...this.#calls.values()]) {
      this.#forget(forwarded);
      forwarded.call.reject(error(isOpen(forwarded) ? "unknown" : "not-done"));
    }
  }

  #checkRoom(bytes: number): void {
    const { pendingEntriesMax, pendingBytesMax } = this.#parts.limits;
    if (bytes > RUNTIME_PAYLOAD_BYTES_MAX) {
      // It fits no message between nodes beside entries; the leader itself takes it.
      throw new NotLeaderError(this.#parts.leader());
    }
    if (this.#calls.size >= pendingEntriesMax) {
      throw new OverloadedError(
        `${String(this.#calls.size)} calls are forwarded already (limits.pendingEntriesMax); wait for some to finish`,
      );
    }
    if (this.#calls.size > 0 && this.#bytes + bytes > pendingBytesMax) {
      throw new OverloadedError(
        `calls of ${String(this.#bytes)} bytes are forwarded already (limits.pendingBytesMax); wait for some to finish`,
      );
    }
  }

  /** Asks whoever leads, if anybody does. */
  #try(forwarded: Forwarded): void {
    const { core, send } = this.#parts;
    const { leader, term } = core;
    const incarnation = this.#incarnation;
    if (forwarded.isHere || incarnation === null) return;
    if (core.role === "leader") {
      void this.#here(forwarded);
      return;
    }
    if (leader === null) return;
    const { asked, id } = forwarded;
    const request: ForwardRequest = {
      type: "forward-request",
      from: core.id,
      incarnation,
      id,
      term,
      waitMs: this.#leftMs(forwarded),
      call: asked.call,
      payload: asked.payload,
    };
    if (send(leader, request)) forwarded.sent = { to: leader, term };
  }

  /** This node leads by now. */
  async #here(forwarded: Forwarded): Promise<void> {
    forwarded.isHere = true;
    try {
      // Not in the middle of the turn in which the node comes to lead.
      await Promise.resolve();
      const result = await forwarded.asked.here({ timeoutMs: this.#leftMs(forwarded) });
      this.#settle(forwarded, () => result);
    } catch (error) {
      if (error instanceof RaftError && error.outcome === "not-done" && WORTH_REPEATING.has(error.code)) {
        this.#again(forwarded);
      } else {
        this.#settle(forwarded, () => {
          throw toError(error);
        });
      }
    }
  }

  /** It surely did nothing where it was asked: it may be asked elsewhere, a little later. */
  #again(forwarded: Forwarded): void {
    if (!this.#calls.has(forwarded.id)) return;
    forwarded.sent = null;
    forwarded.isHere = false;
    forwarded.orphanUntil = null;
    // A new number: the node that refused this one remembers it.
    this.#calls.delete(forwarded.id);
    forwarded.id = ++this.#lastId;
    this.#calls.set(forwarded.id, forwarded);
    this.#arm();
  }

  #settle(forwarded: Forwarded, result: () => unknown): void {
    if (!this.#calls.has(forwarded.id)) return;
    this.#forget(forwarded);
    try {
      forwarded.call.resolve(result());
    } catch (error) {
      forwarded.call.reject(error);
    }
  }

  #forget(forwarded: Forwarded): void {
    if (this.#calls.delete(forwarded.id)) this.#bytes -= forwarded.asked.payload.length;
  }

  #leftMs({ call }: Forwarded): number {
    return Math.min(Math.max(0, Math.ceil(call.deadline - this.#parts.environment.now())), WAIT_MS_MAX);
  }

  #cancelled(forwarded: Forwarded, cancellation: Cancellation): RaftError {
    const text = describeCancellation(cancellation);
    if (isOpen(forwarded)) {
      const message = `${text}; the leader was asked, and the command may still take effect`;
      return new AbortedError("unknown", message, causeOf(cancellation));
    }
    if (cancellation.type === "timed-out" && this.#parts.core.leader === null)
      return new NotLeaderError(null);
    return new AbortedError("not-done", text, causeOf(cancellation));
  }

  /** Looks again at those that nobody has, and at those whose leader is gone. */
  #arm(): void {
    const { environment, timings } = this.#parts;
    if (this.#timer !== null || this.#ended) return;
    this.#timer = environment.setTimer(timings.heartbeatMs, () => {
      this.#timer = null;
      if (this.#lookAgain()) this.#arm();
    });
  }

  /** True: some of them must be looked at once more. */
  #lookAgain(): boolean {
    const now = this.#parts.environment.now();
    let isWaiting = false;
    for (const forwarded of [...this.#calls.values()]) {
      if (!isOpen(forwarded)) this.#try(forwarded);
      const { sent, orphanUntil } = forwarded;
      isWaiting ||= !isOpen(forwarded) || orphanUntil !== null;
      if (sent !== null && orphanUntil !== null && orphanUntil <= now) {
        this.#settle(forwarded, () => {
          throw new OutcomeUnknownError(
            `${sent.to} was asked as leader and leads no more, and did not answer; the command may still take effect`,
          );
        });
      }
    }
    return isWaiting;
  }
}

/** Whether somebody may have done it. */
function isOpen({ sent, isHere }: Forwarded): boolean {
  return sent !== null || isHere;
}

/** What the leader's error is to the caller. */
function errorOf(call: ForwardedCall, code: string, outcome: Outcome, text: string): RaftError {
  const session = call.type === "session-write" ? call.session : { id: 0, sequence: 0 };
  switch (code) {
    case "COMMAND_REJECTED":
      return new CommandRejectedError(text);
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
