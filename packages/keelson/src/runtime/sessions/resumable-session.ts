// A session that a program continues after a restart, or at another node. The caller numbers each command
// before it is sent, and keeps the number with the command: see `SessionState`. `Session` does the numbering
// itself, and ends with the program.

import { copyBytes } from "../../codec/copy-bytes.ts";
import type { LogIndex } from "../../core/position.ts";
import {
  AnswerForgottenError,
  InvalidOptionError,
  OutcomeUnknownError,
  OverloadedError,
  RaftError,
  SessionExpiredError,
} from "../../errors.ts";
import type { CallOptions, WriteResult } from "../calls/index.ts";
import { reasonOf } from "../shared/index.ts";
import { SESSION_LIMITS, type SessionProgress } from "./session-table.ts";
import {
  retryUntilKnown,
  withOutcomeOfAllAttempts,
  type OpenedSession,
  type OpenSessionOptions,
  type SessionHost,
} from "./session.ts";

/**
 * What a program keeps of a session, on its own disk, to continue it. Plain JSON.
 *
 * Hazard: a number that was used before, for another command, gets the answer of that other command, and the
 * new one has no effect. So whatever `reserve` returned must be in the kept state before the first `write`
 * with it, together with the command. And one program at a time may continue a session.
 */
export interface SessionState {
  /** The session's id. */
  readonly id: LogIndex;
  /** The number that the next `reserve` returns. No command was ever sent with it, or with a higher one. */
  readonly nextSequence: number;
  /** Reserved numbers below it whose commands may have been sent, and may take effect. In any order. */
  readonly pending: readonly number[];
}

/** What resuming a session needs besides `SessionHost`. */
export interface ResumeHost<Command, Result> extends SessionHost<Command, Result> {
  /** What the cluster knows of a session, as of a linearizable read; null: it has ended. */
  readonly progressOf: (id: LogIndex, options: CallOptions) => Promise<SessionProgress | null>;
}

/** A number that was reserved, and whose command isn't known to have taken effect. */
interface Reserved {
  /** Whether a `write` with it is under way. */
  isBusy: boolean;
  /** Whether an attempt, of this program or of the one before it, may have taken effect. Stays true. */
  mayHaveTakenEffect: boolean;
}

/**
 * A session whose commands the caller numbers, so that it can be continued after a restart, and at any node.
 * Each number's command takes effect at most once, however often it is written.
 *
 * @example
 * ```ts
 * async function begin(raft: Raft<string, string>, keep: (kept: unknown) => Promise<void>): Promise<string> {
 *   const session = await raft.openResumableSession({ ttlMs: 24 * 3_600_000 });
 *   const sequence = session.reserve();
 *   await keep({ session: session.state, sequence, command }); // durable, before the first attempt
 *   return session.write(sequence, command);
 * }
 * // After a restart: (await raft.resumeSession(kept.session)).write(kept.sequence, kept.command)
 * ```
 */
export class ResumableSession<Command, Result> {
  /** Identifies the session in the cluster: the index of the entry that opened it. */
  readonly id: LogIndex;
  /** How long the session may stay unused before it ends, in milliseconds. */
  readonly ttlMs: number;
  readonly #host: SessionHost<Command, Result>;
  /** The next number to reserve. Never falls. */
  #nextSequence: number;
  /** Ascending, as numbers are added in order. At most `windowMax` from the lowest to `#nextSequence`. */
  readonly #reserved = new Map<number, Reserved>();

  constructor({ id, ttlMs }: OpenedSession, host: SessionHost<Command, Result>, state?: SessionState) {
    this.id = id;
    this.ttlMs = ttlMs;
    this.#host = host;
    this.#nextSequence = state?.nextSequence ?? 1;
    for (const sequence of [...(state?.pending ?? [])].sort((a, b) => a - b)) {
      this.#reserved.set(sequence, { isBusy: false, mayHaveTakenEffect: true });
    }
  }

  /** What to keep, to continue the session after a restart. */
  get state(): SessionState {
    return { id: this.id, nextSequence: this.#nextSequence, pending: [...this.#reserved.keys()] };
  }

  /**
   * The number for one new command. It stays pending until its command has taken effect, or `release`.
   *
   * @throws OverloadedError 1,024 numbers were reserved since the oldest that is still pending
   */
  reserve(): number {
    if (this.#nextSequence - this.#lowestPending >= SESSION_LIMITS.windowMax) {
      throw new OverloadedError(
        `${String(SESSION_LIMITS.windowMax)} numbers of the session were reserved since the oldest that is pending; write or release it`,
      );
    }
    const sequence = this.#nextSequence++;
    this.#reserved.set(sequence, { isBusy: false, mayHaveTakenEffect: false });
    return sequence;
  }

  /**
   * Writes the command of this number, and repeats it while its outcome is unknown, up to the time limit. It
   * takes effect at most once, also if an earlier `write` or an earlier program sent it; then the result is
   * that of the first time. An error's outcome covers all of these attempts. After an error whose outcome
   * isn't `done` the number stays pending: write it again, after `unknown` with the same command, or release
   * it.
   *
   * @throws InvalidOptionError the number was never reserved; AnswerForgottenError it isn't pending any more;
   *   OutcomeUnknownError a write with it is under way; SessionExpiredError the session has ended; otherwise
   *   the errors of `Session.write`
   */
  async write(sequence: number, command: Command, options: CallOptions = {}): Promise<Result> {
    return (await this.writeWithIndex(sequence, command, options)).result;
  }

  /** Like `write`, with the index of the entry that took effect. */
  async writeWithIndex(
    sequence: number,
    command: Command,
    options: CallOptions = {},
  ): Promise<WriteResult<Result>> {
    const reserved = this.#reservedFor(sequence);
    // No error may say "not done" of a command that may take effect by another call (K4).
    if (reserved.isBusy) throw new OutcomeUnknownError(`${this.#nameOf(sequence)} is being written already`);
    reserved.isBusy = true;
    const call = { isEncoded: false };
    try {
      const written = await this.#host.proposals.encode(command, options, (bytes, rest) => {
        call.isEncoded = true;
        return this.#writeEncoded(copyBytes(bytes, "what encode returns"), sequence, reserved, rest);
      });
      this.#reserved.delete(sequence);
      return written;
    } catch (error) {
      // The outcome of an error of `#writeEncoded` covers the attempts before this call. That of an error of
      // the encoding covers none (K4).
      const ending = call.isEncoded ? error : endingOf(error, reserved.mayHaveTakenEffect);
      if (ending instanceof RaftError && ending.outcome === "done") this.#reserved.delete(sequence);
      if (!(ending instanceof RaftError) || ending.outcome === "unknown")
        reserved.mayHaveTakenEffect ||= call.isEncoded;
      throw ending;
    } finally {
      reserved.isBusy = false;
    }
  }

  /**
   * Gives a pending number up, so that the cluster need not keep its answer: the caller won't write it again.
   * A command that was sent with it may have taken effect, or may still do so.
   *
   * @throws InvalidOptionError the number was never reserved, or a write with it is under way;
   *   AnswerForgottenError it isn't pending any more
   */
  release(sequence: number): void {
    if (this.#reservedFor(sequence).isBusy) {
      throw new InvalidOptionError(`${this.#nameOf(sequence)} is being written; wait for the end of that`);
    }
    this.#reserved.delete(sequence);
  }

  /** Ends the session, for every program. One that is left open ends by its time to live. */
  close(options: CallOptions = {}): Promise<void> {
    return retryUntilKnown(this.#host, options, (rest) => this.#host.proposals.closeSession(this.id, rest));
  }

  #writeEncoded(
    bytes: Uint8Array,
    sequence: number,
    { mayHaveTakenEffect }: Reserved,
    options: CallOptions,
  ): Promise<WriteResult<Result>> {
    const attempt = (rest: CallOptions): Promise<WriteResult<Result>> => {
      const session = { id: this.id, sequence, lowestUnanswered: this.#lowestPending };
      return this.#host.proposals.writeEncoded(bytes, { ...rest, session });
    };
    return retryUntilKnown(this.#host, options, attempt, mayHaveTakenEffect);
  }

  /** @throws InvalidOptionError it was never reserved; AnswerForgottenError it isn't pending any more */
  #reservedFor(sequence: number): Reserved {
    const reserved = this.#reserved.get(sequence);
    if (reserved !== undefined) return reserved;
    // Its command may have taken effect.
    if (Number.isSafeInteger(sequence) && sequence >= 1 && sequence < this.#nextSequence)
      throw new AnswerForgottenError(this.id, sequence, "unknown");
    throw new InvalidOptionError(`${this.#nameOf(sequence)} is not reserved: reserve one for each command`);
  }

  #nameOf(sequence: number): string {
    return `number ${String(sequence)} of session ${String(this.id)}`;
  }

  /** Below this number the client needs no answers. */
  get #lowestPending(): number {
    const [lowest = this.#nextSequence] = this.#reserved.keys();
    return lowest;
  }
}

/** Opens a session, and tries again until one is known to be open. */
export async function openResumableSession<Command, Result>(
  host: SessionHost<Command, Result>,
  { ttlMs, ...options }: OpenSessionOptions,
): Promise<ResumableSession<Command, Result>> {
  const opened = await retryUntilKnown(host, options, (rest) =>
    host.proposals.openSession(ttlMs === undefined ? rest : { ...rest, ttlMs }),
  );
  return new ResumableSession(opened, host);
}

/**
 * Continues a session from what was kept of it.
 *
 * A kept state that is older than the session would use numbers again. That is refused, as far as the cluster
 * can see it: a command that was sent with such a number and isn't applied yet is not seen.
 */
export async function resumeSession<Command, Result>(
  host: ResumeHost<Command, Result>,
  state: SessionState,
  options: CallOptions,
): Promise<ResumableSession<Command, Result>> {
  checkState(state);
  const { id, nextSequence, pending } = state;
  const progress = await host.progressOf(id, options);
  if (progress === null) throw new SessionExpiredError(id, pending.length > 0 ? "unknown" : "not-done");
  if (progress.nextSequence > nextSequence) {
    throw new InvalidOptionError(
      `the kept state of session ${String(id)} is older than the session: its next number is ${String(nextSequence)}, ` +
        `and the cluster knows a command with number ${String(progress.nextSequence - 1)}. Commands would be taken ` +
        "for repetitions of others; open another session",
    );
  }
  return new ResumableSession({ id, ttlMs: progress.ttlMs }, host, state);
}

/** @throws InvalidOptionError the state is none that `ResumableSession.state` returns */
function checkState(state: SessionState): void {
  const { id, nextSequence, pending } = state;
  const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) >= 1;
  const isPending = (value: unknown): boolean => isCount(value) && Number(value) < nextSequence;
  const isState =
    isCount(id) &&
    isCount(nextSequence) &&
    Array.isArray(pending) &&
    pending.every(isPending) &&
    new Set(pending).size === pending.length &&
    pending.every((sequence) => nextSequence - sequence <= SESSION_LIMITS.windowMax);
  if (isState) return;
  throw new InvalidOptionError(
    `the session's state is ${JSON.stringify(state)}; it should be what ResumableSession.state returned`,
  );
}

/** The error of a write, with an outcome that covers attempts before this call too. */
function endingOf(error: unknown, mayHaveTakenEffect: boolean): unknown {
  if (error instanceof RaftError) return withOutcomeOfAllAttempts(error, mayHaveTakenEffect);
  if (!mayHaveTakenEffect) return error;
  return new OutcomeUnknownError(
    `an earlier attempt may have taken effect, and the last one ended so: ${reasonOf(error)}`,
    { cause: error },
  );
}
