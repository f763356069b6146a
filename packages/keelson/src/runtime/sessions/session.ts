// The client's side of a session: numbers its commands, and repeats each until its outcome is known (§8;
// dissertation 6.3). The replicated side is session-table.ts.
/// <reference lib="esnext.disposable" preserve="true" />

import { copyBytes } from "../../codec/copy-bytes.ts";
import type { SessionCommandId } from "../../codec/session-entry.ts";
import type { LogIndex } from "../../core/position.ts";
import {
  NotLeaderError,
  type ErrorCode,
  OutcomeUnknownError,
  OverloadedError,
  RaftError,
  SessionExpiredError,
} from "../../errors.ts";
import type { WriteResult, CallOptions } from "../calls/index.ts";
import { reasonOf } from "../shared/index.ts";
import { SESSION_LIMITS } from "./session-table.ts";

/** How a session is opened. */
export interface OpenSessionOptions extends CallOptions {
  /**
   * How long the session may stay unused before it ends, in milliseconds, from 1 s to 7 days. Default 60,000.
   */
  readonly ttlMs?: number | undefined;
}

/** A session that was opened. */
export interface OpenedSession {
  /** The index of the entry that opened it. */
  readonly id: LogIndex;
  /** How long the session may stay unused before it ends, in milliseconds. */
  readonly ttlMs: number;
}

/**
 * The entries that a session asks its node to put into the log. Each method may throw instead of rejecting.
 */
export interface SessionProposals<Command, Result> {
  /**
   * Passes the encoded command to `use`, which must copy the bytes if it keeps them after it has returned.
   */
  encode<T>(
    command: Command,
    options: CallOptions,
    use: (bytes: Uint8Array, rest: CallOptions) => Promise<T>,
  ): Promise<T>;
  writeEncoded(
    bytes: Uint8Array,
    options: CallOptions & { readonly session: SessionCommandId },
  ): Promise<WriteResult<Result>>;
  openSession(options: OpenSessionOptions): Promise<OpenedSession>;
  closeSession(id: LogIndex, options: CallOptions): Promise<void>;
}

/** What a session needs from the node that it was opened at. */
export interface SessionHost<Command, Result> {
  /** Each call may make several attempts itself; the outcome of its error covers all of them. */
  readonly proposals: SessionProposals<Command, Result>;
  /** Monotonic time, in ms. */
  readonly now: () => number;
  /** The time limit of calls that don't give one, all attempts together, in ms. */
  readonly timeoutMs: number;
  /** Resolves when the next attempt may be made; at once when the signal aborts, or the node stops. */
  readonly retryDelay: (signal: AbortSignal | undefined) => Promise<void>;
}

/**
 * One client's session (§8; dissertation 6.3). `write` repeats a command automatically while its outcome is
 * unknown, and the command still takes effect at most once. Commands may be in flight concurrently, and then
 * take effect in any order: await one before you write the next if the order matters.
 *
 * @example
 * ```ts
 * async function transfer(raft: Raft<string, string>): Promise<string> {
 *   await using session = await raft.openSession();
 *   return session.write(command);
 * }
 * ```
 */
export class Session<Command, Result> implements AsyncDisposable {
  /** Identifies the session in the cluster: the index of the entry that opened it. */
  readonly id: LogIndex;
  /** How long the session may stay unused before it ends, in milliseconds. */
  readonly ttlMs: number;
  readonly #host: SessionHost<Command, Result>;
  /** The sequence number of the next command. Never reused. */
  #nextSequence = 1;
  /** Sequence numbers of the commands that callers still wait for, ascending, as they are added in order. */
  readonly #unanswered = new Set<number>();

  constructor({ id, ttlMs }: OpenedSession, host: SessionHost<Command, Result>) {
    this.id = id;
    this.ttlMs = ttlMs;
    this.#host = host;
  }

  /**
   * Writes a command that takes effect at most once. Where `Raft.write` would reject because the leader
   * changed or the outcome is unknown, this method tries again, up to the time limit.
   *
   * @throws SessionExpiredError the session has ended; open another
   * @throws AbortedError, OutcomeUnknownError the outcome is still unknown at the time limit, or when the
   *   signal aborts; AnswerForgottenError; otherwise the errors of `Raft.write`
   */
  async write(command: Command, options: CallOptions = {}): Promise<Result> {
    return (await this.writeWithIndex(command, options)).result;
  }

  /** Like `write`, with the index of the entry that took effect. */
  async writeWithIndex(command: Command, options: CallOptions = {}): Promise<WriteResult<Result>> {
    if (this.#nextSequence - this.#lowestUnanswered >= SESSION_LIMITS.windowMax) {
      throw new OverloadedError(
        `${String(SESSION_LIMITS.windowMax)} commands of the session were begun since the oldest that waits; wait for it`,
      );
    }
    const sequence = this.#nextSequence++;
    this.#unanswered.add(sequence);
    try {
      return await this.#host.proposals.encode(command, options, (bytes, restOfCall) =>
        this.#writeEncoded(copyBytes(bytes, "what encode returns"), sequence, restOfCall),
      );
    } finally {
      // Also if the caller gave up: no one will retry this command, so its answer need not be kept.
      this.#unanswered.delete(sequence);
    }
  }

  /**
   * Sends the same bytes with each attempt: the caller may change its command meanwhile, and the first
   * attempt may have taken effect.
   */
  #writeEncoded(bytes: Uint8Array, sequence: number, options: CallOptions): Promise<WriteResult<Result>> {
    return retryUntilKnown(this.#host, options, (rest) => {
      const session = { id: this.id, sequence, lowestUnanswered: this.#lowestUnanswered };
      return this.#host.proposals.writeEncoded(bytes, { ...rest, session });
    });
  }

  /**
   * Ends the session: its commands are refused from then on. A session that is left open ends
   * by its time to live.
   */
  close(options: CallOptions = {}): Promise<void> {
    return retryUntilKnown(this.#host, options, (rest) => this.#host.proposals.closeSession(this.id, rest));
  }

  /** Ends the session if possible, and otherwise leaves that to its time to live. Never rejects. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.close();
    } catch {
      // The owner could do nothing about it, and the session ends later by itself.
    }
  }

  /** Below this number the client needs no answers: the table may discard them. */
  get #lowestUnanswered(): number {
    const [lowest = this.#nextSequence] = this.#unanswered;
    return lowest;
  }
}

/**
 * Opens a session, and tries again until one is known to be open. An attempt whose answer was lost may leave
 * a session that no one uses; it ends by its time to live.
 */
export async function openSession<Command, Result>(
  host: SessionHost<Command, Result>,
  { ttlMs, ...options }: OpenSessionOptions,
): Promise<Session<Command, Result>> {
  const opened = await retryUntilKnown(host, options, (rest) =>
    host.proposals.openSession(ttlMs === undefined ? rest : { ...rest, ttlMs }),
  );
  return new Session(opened, host);
}

/**
 * Errors after which another attempt may succeed: no leader, a lost leadership, or an answer that was lost.
 */
const RETRYABLE_CODES = new Set<ErrorCode>(["NOT_LEADER", "TRANSFERRING", "COMMAND_LOST", "OUTCOME_UNKNOWN"]);

/**
 * Repeats an attempt until its outcome is known, it fails in a way that no retry can change, or
 * the time limit is over. `mayHaveBefore`: attempts before this call may have taken effect.
 */
export async function retryUntilKnown<T, Command, Result>(
  host: SessionHost<Command, Result>,
  { signal, timeoutMs = host.timeoutMs }: CallOptions,
  attempt: (options: CallOptions) => Promise<T>,
  mayHaveBefore = false,
): Promise<T> {
  const deadline = host.now() + timeoutMs;
  // True once an attempt has ended with an unknown outcome. From then on "not done" can't be said any more.
  let mayHaveTakenEffect = mayHaveBefore;
  for (;;) {
    try {
      const call = { timeoutMs: Math.max(0, deadline - host.now()) };
      return await attempt(signal === undefined ? call : { ...call, signal });
    } catch (error) {
      if (!(error instanceof RaftError)) {
        // No error of the library, so it has no outcome; and an earlier attempt may have taken effect.
        if (!mayHaveTakenEffect) throw error;
        throw new OutcomeUnknownError(
          `an earlier attempt may have taken effect, and the last one ended so: ${reasonOf(error)}`,
          { cause: error },
        );
      }
      if (!isRetryable(error, mayHaveTakenEffect) || host.now() >= deadline)
        throw withOutcomeOfAllAttempts(error, mayHaveTakenEffect);
      mayHaveTakenEffect ||= error.outcome === "unknown";
    }
    await host.retryDelay(signal);
  }
}

/**
 * Whether to try again after this error. An overloaded node refuses a new command, and its caller
 * should slow down. But a command that may already have taken effect is retried, because giving up
 * would leave its outcome unknown.
 */
function isRetryable(error: RaftError, mayHaveTakenEffect: boolean): boolean {
  if (mayHaveTakenEffect) return RETRYABLE_CODES.has(error.code) || error.code === "OVERLOADED";
  // Another node leads, and this one doesn't forward calls: its caller is to ask the leader.
  if (error instanceof NotLeaderError && error.leader !== null) return false;
  return RETRYABLE_CODES.has(error.code);
}

/**
 * An error's outcome covers all attempts: if an earlier one went unanswered, a later refusal is still
 * "unknown", though the last attempt itself did nothing (K4).
 *
 * The reverse holds for an ended session. The cluster can't know whether there was an earlier attempt, so it
 * says "unknown" (Z6). This client is the only one that uses the command's number, and knows: if no earlier
 * attempt may have taken effect, none has.
 */
export function withOutcomeOfAllAttempts(error: RaftError, mayHaveTakenEffect: boolean): RaftError {
  if (!mayHaveTakenEffect && error instanceof SessionExpiredError) {
    return new SessionExpiredError(error.session, "not-done", { cause: error });
  }
  if (!mayHaveTakenEffect || error.outcome !== "not-done") return error;
  const options = { cause: error };
  if (error instanceof SessionExpiredError) return new SessionExpiredError(error.session, "unknown", options);
  return new OutcomeUnknownError(
    `an earlier attempt may have taken effect, and the last one ended so: ${error.message}`,
    options,
  );
}
