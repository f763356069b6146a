import type { SessionCommandId } from "../../codec/session-entry.ts";
import type { LogIndex } from "../../core/position.ts";
import { OutcomeUnknownError, OverloadedError, RaftError, SessionExpiredError } from "../../errors.ts";
import type { Written, CallOptions } from "../calls/index.ts";
import { SESSION_LIMITS } from "./session-table.ts";

/** How a session is opened. */
export interface OpenSessionOptions extends CallOptions {
  /** How long the session may stay unused before it ends, in milliseconds, from 1 s to 7 days. Default 60,000. */
  readonly ttlMs?: number;
}

/** A session that was opened. */
export interface OpenedSession {
  /** The index of the entry that opened it. */
  readonly id: LogIndex;
  /** How long the session may stay unused before it ends, in milliseconds. */
  readonly ttlMs: number;
}

/** The entries that a session asks its node to put into the log. Each method may throw instead of rejecting. */
export interface SessionProposals<Command, Result> {
  write(
    command: Command,
    options: CallOptions & { readonly session: SessionCommandId },
  ): Promise<Written<Result>>;
  openSession(options: OpenSessionOptions): Promise<OpenedSession>;
  closeSession(id: LogIndex, options: CallOptions): Promise<void>;
}

/** What a session needs of the node that it was opened at. */
export interface SessionHost<Command, Result> {
  /** What is proposed may be refused by a throw, too. */
  readonly proposals: SessionProposals<Command, Result>;
  readonly now: () => number;
  /** How long a call may take that names no limit. */
  readonly timeoutMs: number;
  /** Waits a little before the next attempt; at most until the signal. */
  readonly retryDelay: (signal: AbortSignal | undefined) => Promise<void>;
}

/**
 * One client's session (§8; dissertation 6.3). `write` repeats a command by itself for as long as it
 * is not known what became of it, and the command takes effect once all the same. Commands may be
 * under way side by side, in no promised order; await one before the next where the order matters.
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
  /** The session's name in the cluster: the index of the entry that opened it. */
  readonly id: LogIndex;
  /** How long it lives unused, in milliseconds. */
  readonly ttlMs: number;
  readonly #host: SessionHost<Command, Result>;
  #nextSequence = 1;
  /** Ascending, because numbers are given out in order. */
  readonly #unanswered = new Set<number>();

  constructor({ id, ttlMs }: OpenedSession, host: SessionHost<Command, Result>) {
    this.id = id;
    this.ttlMs = ttlMs;
    this.#host = host;
  }

  /**
   * Writes a command, exactly once: where `Raft.write` would end with "another leader now" or
   * "outcome unknown", it asks again, up to the time limit.
   *
   * @throws SessionExpiredError the session has ended; open another
   * @throws AbortedError, OutcomeUnknownError the time was not enough; CommandRejectedError,
   *   CommandTooLargeError, OverloadedError, ClosedError, StorageFailedError
   */
  async write(command: Command, options: CallOptions = {}): Promise<Result> {
    return (await this.writeAt(command, options)).result;
  }

  /** Like `write`, with the index of the entry that took effect. */
  async writeAt(command: Command, options: CallOptions = {}): Promise<Written<Result>> {
    if (this.#nextSequence - this.#lowestUnanswered >= SESSION_LIMITS.windowMax) {
      throw new OverloadedError(
        `${String(SESSION_LIMITS.windowMax)} commands of the session were begun since the oldest that waits; wait for it`,
      );
    }
    const sequence = this.#nextSequence++;
    this.#unanswered.add(sequence);
    try {
      return await retryUntilKnown(this.#host, options, (rest) => {
        const session = { id: this.id, sequence, lowestUnanswered: this.#lowestUnanswered };
        return this.#host.proposals.write(command, { ...rest, session });
      });
    } finally {
      // Also when its caller gave up: nobody is left to ask for its answer.
      this.#unanswered.delete(sequence);
    }
  }

  /** Ends the session: its commands are refused from now on. One that is left open ends by itself. */
  close(options: CallOptions = {}): Promise<void> {
    return retryUntilKnown(this.#host, options, (rest) => this.#host.proposals.closeSession(this.id, rest));
  }

  /** Ends the session if that can be done; if not, it ends by itself. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.close();
    } catch {
      // There is nothing that its owner could do about it, and nothing is lost.
    }
  }

  get #lowestUnanswered(): number {
    const [lowest = this.#nextSequence] = this.#unanswered;
    return lowest;
  }
}

/** Opens a session, and asks again until it is known to be open. One that nobody heard of ends by itself. */
export async function openSession<Command, Result>(
  host: SessionHost<Command, Result>,
  { ttlMs, ...options }: OpenSessionOptions,
): Promise<Session<Command, Result>> {
  const opened = await retryUntilKnown(host, options, (rest) =>
    host.proposals.openSession(ttlMs === undefined ? rest : { ...rest, ttlMs }),
  );
  return new Session(opened, host);
}

/** What a later attempt may mend: nobody leads at the moment, or somebody else does, or it was not heard what came of it. */
const RETRYABLE_CODES = new Set(["NOT_LEADER", "TRANSFERRING", "COMMAND_LOST", "OUTCOME_UNKNOWN"]);

/** Repeats an attempt that may be repeated until it is known what came of it, or the time is over. */
async function retryUntilKnown<T, Command, Result>(
  host: SessionHost<Command, Result>,
  { signal, timeoutMs = host.timeoutMs }: CallOptions,
  attempt: (options: CallOptions) => Promise<T>,
): Promise<T> {
  const deadline = host.now() + timeoutMs;
  // Whether an attempt that ended without an answer may have taken effect.
  let isOpen = false;
  for (;;) {
    try {
      const call = { timeoutMs: Math.max(0, deadline - host.now()) };
      return await attempt(signal === undefined ? call : { ...call, signal });
    } catch (error) {
      if (!(error instanceof RaftError)) throw error;
      if (!isRetryable(error, isOpen) || host.now() >= deadline)
        throw withOutcomeOfAllAttempts(error, isOpen);
      isOpen ||= error.outcome === "unknown";
    }
    await host.retryDelay(signal);
  }
}

/** Too much is under way: a new command is not pressed on the node, one that was sent already is. */
function isRetryable({ code }: RaftError, isOpen: boolean): boolean {
  return RETRYABLE_CODES.has(code) || (code === "OVERLOADED" && isOpen);
}

/** K4: the last attempt did nothing, and an earlier one may have. */
function withOutcomeOfAllAttempts(error: RaftError, isOpen: boolean): RaftError {
  if (!isOpen || error.outcome !== "not-done") return error;
  const options = { cause: error };
  if (error instanceof SessionExpiredError) return new SessionExpiredError(error.session, "unknown", options);
  return new OutcomeUnknownError(
    `an earlier attempt may have taken effect, and the last one ended so: ${error.message}`,
    options,
  );
}
