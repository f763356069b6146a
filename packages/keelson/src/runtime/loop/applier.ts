// Applies committed entries to the state machine, in log order. Owns the position up to which the state
// machine has applied, and is the only caller of `apply` and `flush`.
//
// The applier runs concurrently with the driver. While the state machine works on a command asynchronously,
// messages and heartbeats are still handled, so a slow state machine doesn't cost a leader its leadership. A
// synchronous `apply` does block the event loop while it runs.
//
// Entries are applied in batches, with one `flush` per batch, so a state machine on disk pays one write for
// many commands. The event loop gets a turn between two batches. Results are handed out, and reads served,
// only between batches: within one, the state may hold half a command, or effects that a crash would lose.
//
// Back-pressure: the applier queues nothing. It remembers the last index that it may apply, and fetches a
// batch's records when it begins that batch. Entries that wait are in the log, so a slow state machine costs
// no memory. On the leader, `limits.pendingEntriesMax` and `pendingBytesMax` count them, and refuse new
// proposals while too many wait.

import { decodeRecord, EntryKind } from "../../codec/record.ts";
import { assert } from "../../core/assert.ts";
import type { RaftNode } from "../../core/node.ts";
import type { LogIndex, LogPosition } from "../../core/position.ts";
import type { Environment } from "../../environment/environment.ts";
import { CommandRejectedError, ResultUnavailableError } from "../../errors.ts";
import type { AppliedCommand, AppliedEntry } from "../calls/index.ts";
import { checkRecords, logReadFailure, type LogRecords } from "./log-records.ts";
import {
  endOfTurn,
  isPromiseLike,
  reasonOf,
  rejectionOf,
  stateMachineFailure,
  type CodedStateMachine,
  type Failure,
  type RaftLimits,
  type ResultEncoder,
  StateMachineFailure,
} from "../shared/index.ts";
import { isSessionKind, RECORDS_MISSING, type SessionKind, type SessionApplier } from "../sessions/index.ts";

/**
 * No command is begun in a batch that has run for this many milliseconds: a longer batch would delay
 * heartbeats.
 */
const BATCH_MS_MAX = 10;

/**
 * No command is begun in a batch that has changed this many records of the session table: `flush` encodes and
 * stores all of them in one turn of the event loop. A single entry may exceed it by what `SESSION_LIMITS`
 * allows.
 */
const BATCH_SESSION_RECORDS_MAX = 2048;

/**
 * What the applier reports to the rest of the runtime, which attaches
 * itself once (`attach`), before `advance`.
 */
export interface ApplierHost<Result> {
  /** Whether a call on this node waits for what becomes of this entry. If not, its result isn't encoded. */
  isAwaited(position: LogPosition): boolean;
  /** The state machine has applied and flushed these entries, in this order. Called between two batches. */
  applied(batch: readonly AppliedEntry<Result>[]): void;
}

/** What an applier is made of. */
export interface ApplierParts<Command, Result> {
  readonly stateMachine: CodedStateMachine<Command, Result>;
  readonly logRecords: LogRecords;
  readonly core: RaftNode;
  readonly environment: Environment;
  readonly limits: RaftLimits;
  readonly sessions: SessionApplier<Result>;
  readonly results: ResultEncoder<Result>;
  /** The last entry whose effects the state machine held when it was opened. */
  readonly applied: LogPosition;
  /** Called once, when the state machine or a read from the log has failed. It stops the node. */
  readonly failed: (failure: Failure) => void;
}

/** Thrown within a batch when the node must stop; `#runLoop` reports it. */
class ApplyFailure extends Error {
  readonly failure: Failure;
  constructor(failure: Failure) {
    super(failure.message);
    this.failure = failure;
  }
}

/** Applies committed entries in batches, and pauses while a snapshot replaces the state. */
export class Applier<Command, Result> {
  readonly #parts: ApplierParts<Command, Result>;
  /** Set once, by `attach`. */
  #attachedHost: ApplierHost<Result> | null = null;
  /** The last entry that the state machine has applied and flushed. Never moves back. */
  #applied: LogPosition;
  /**
   * Entries up to this index may be applied: they are committed, and durable on this node. Set by `advance`.
   */
  #applyThrough: LogIndex;
  /**
   * Whether `#runLoop` is running. It rereads `#applyThrough` after each batch, so
   * `advance` need not start another.
   */
  #loopRunning = false;
  /** Resolves when the loop that was started last has ended; null: none was started yet. */
  #loopEnded: Promise<void> | null = null;
  /** True from a batch's first command to the end of its flush: the state may hold half a command. */
  #batchRunning = false;
  /**
   * True while a snapshot replaces the state: no batch begins. Set
   * by `pauseForRestore`, cleared by `resumeAfterRestore`.
   */
  #pausedForRestore = false;
  /** Callbacks of `runBetweenBatches` that wait for the end of the running batch. */
  #afterBatch: (() => void)[] = [];
  /** Set once, by `stop` or by a failure. No batch begins, and no outcome is reported, after that. */
  #stopped = false;

  constructor(parts: ApplierParts<Command, Result>) {
    this.#parts = parts;
    this.#applied = parts.applied;
    this.#applyThrough = parts.applied.index;
  }

  /**
   * Names the host that hears of applied entries. The parts behind it use the applier,
   * so it can't exist before.
   */
  attach(host: ApplierHost<Result>): void {
    assert(this.#attachedHost === null, "an applier has one host");
    this.#attachedHost = host;
  }

  get #host(): ApplierHost<Result> {
    assert(this.#attachedHost !== null, "a host is attached before anything is applied");
    return this.#attachedHost;
  }

  /** The last entry that the state machine has applied and flushed. */
  get applied(): LogPosition {
    return this.#applied;
  }

  /**
   * Whether the state is exactly that after `applied`. False during a batch or a restore:
   * reads wait for its end.
   */
  get isReadable(): boolean {
    return !this.#batchRunning && !this.#pausedForRestore;
  }

  /**
   * Calls back between two batches, when the state is exactly that after `applied`; at once
   * if no batch is running.
   */
  runBetweenBatches(callback: () => void): void {
    if (this.#batchRunning) this.#afterBatch.push(callback);
    else callback();
  }

  /** Begins no further batch until `resumeAfterRestore`. Resolves when the running batch has ended. */
  async pauseForRestore(): Promise<void> {
    this.#pausedForRestore = true;
    await this.#loopEnded;
  }

  /** Continues after `applied`, the last entry that the state now holds. */
  resumeAfterRestore(applied: LogPosition): void {
    this.#pausedForRestore = false;
    this.#applied = applied;
    this.#applyThrough = Math.max(this.#applyThrough, applied.index);
    this.#startLoop();
  }

  /**
   * Allows entries up to `index` to be applied. The caller guarantees that they are committed, and
   * durable on this node. If only others had them on disk, a crash could leave a state machine on disk
   * ahead of its own log (C7).
   */
  advance(index: LogIndex): void {
    if (index <= this.#applyThrough || this.#stopped) return;
    this.#applyThrough = index;
    this.#startLoop();
  }

  #startLoop(): void {
    if (
      this.#loopRunning ||
      this.#pausedForRestore ||
      this.#stopped ||
      this.#applied.index >= this.#applyThrough
    )
      return;
    this.#loopRunning = true;
    this.#loopEnded = this.#runLoop();
  }

  /**
   * Begins no further batch, for good. Resolves when the running one has ended: the state
   * machine may then be closed.
   */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#loopEnded;
    // Code that waits for the end of a batch is called back too, so that its promise settles. It sees that
    // the node has stopped.
    for (const callback of this.#afterBatch.splice(0)) callback();
  }

  /** Applies batch after batch until nothing may be applied, or the applier is paused or stopped. */
  async #runLoop(): Promise<void> {
    try {
      for (;;) {
        const records = await this.#nextBatch();
        if (this.#isHalted()) return;
        this.#batchRunning = true;
        const batch = await this.#applyBatch(records);
        this.#batchRunning = false;
        if (this.#isStopped()) return;
        this.#host.applied(batch);
        for (const callback of this.#afterBatch.splice(0)) callback();
        if (this.#applied.index >= this.#applyThrough || this.#isHalted()) return;
        await endOfTurn(this.#parts.environment);
        if (this.#isHalted()) return;
      }
    } catch (error) {
      if (this.#isStopped()) return;
      this.#stopped = true;
      this.#parts.failed(error instanceof ApplyFailure ? error.failure : logReadFailure(error));
    } finally {
      this.#loopRunning = false;
    }
  }

  /** The records of the next batch: from the buffer without waiting, or else from the store. */
  async #nextBatch(): Promise<readonly Uint8Array[]> {
    const { logRecords, core, limits } = this.#parts;
    const from = this.#applied.index + 1;
    const to = Math.min(this.#applyThrough + 1, from + limits.applyBatchEntriesMax);
    const records =
      logRecords.buffer.slice(from, to, limits.applyBatchBytesMax) ??
      (await logRecords.readFromStore(from, to, limits.applyBatchBytesMax));
    // Committed entries are never truncated, so the log's terms haven't changed since the read began.
    checkRecords(records, from, (index) => core.log.termAt(index));
    return records;
  }

  /**
   * Applies records one after another, and then flushes them. If the batch reaches one of its limits, the
   * rest is left to the next batch. `#applied` moves only after the flush.
   */
  async #applyBatch(records: readonly Uint8Array[]): Promise<AppliedEntry<Result>[]> {
    const { environment, sessions } = this.#parts;
    const begun = environment.now();
    const batch: AppliedEntry<Result>[] = [];
    let last = this.#applied;
    for (const record of records) {
      const { index, term, kind, payload } = decodeRecord(record);
      last = { index, term };
      if (kind === EntryKind.command) {
        const applying = this.#apply(payload, last);
        // Await only real promises: an `await` costs a turn of the microtask queue, which is
        // most of a fast command.
        batch.push(this.#forCaller(applying instanceof Promise ? await applying : applying));
      } else if (isSessionKind(kind)) {
        const applying = this.#applySession(kind, payload, last);
        batch.push(applying instanceof Promise ? await applying : applying);
      }
      if (environment.now() - begun >= BATCH_MS_MAX || this.#stopped) break;
      if (sessions.table.changes >= BATCH_SESSION_RECORDS_MAX) break;
    }
    await this.#flush(last);
    this.#applied = last;
    return batch;
  }

  async #flush(last: LogPosition): Promise<void> {
    const { stateMachine, sessions } = this.#parts;
    if (stateMachine.flush === undefined) {
      sessions.table.discardChanges();
      return;
    }
    try {
      const flushing = stateMachine.flush(last, sessions.table.takeChanges());
      if (flushing !== undefined) await flushing;
    } catch (error) {
      throw new ApplyFailure(stateMachineFailure(`it could not flush entry ${String(last.index)}`, error));
    }
  }

  /**
   * The outcome of a command of no session, for its caller. The result is encoded now: `ResultEncoder` says
   * why.
   */
  #forCaller(applied: AppliedCommand<Result>): AppliedEntry<Result> {
    const { results } = this.#parts;
    if (applied.type === "rejected") return applied;
    const { position, result } = applied;
    const { index } = position;
    if (!results.isAvailable || !this.#host.isAwaited(position)) {
      return { position, type: "done", index, bytes: null, result: () => result };
    }
    const encoded = failNodeOnThrow(`it could not encode the result of entry ${String(index)}`, () =>
      results.encode(result),
    );
    if (encoded.type === "encoded") {
      const { bytes } = encoded;
      return { position, type: "done", index, bytes, result: () => results.decode(bytes) };
    }
    const message = `the command took effect, and its result could not be encoded: ${reasonOf(encoded.reason)}`;
    const error = new ResultUnavailableError(message, { cause: encoded.reason });
    return { position, type: "rejected", error };
  }

  /** Returns the outcome itself, not a promise, when the state machine answers synchronously. */
  #apply(
    payload: Uint8Array,
    position: LogPosition,
  ): AppliedCommand<Result> | Promise<AppliedCommand<Result>> {
    const { stateMachine, sessions } = this.#parts;
    const command = this.#decode(payload, position);
    const { index, term } = position;
    if (stateMachine.logTimeStepMs !== undefined && !sessions.table.isKnown) {
      // It would be told 0, and the other nodes' state machines the right time.
      const cause = new Error(RECORDS_MISSING);
      throw new ApplyFailure(stateMachineFailure(`it has no log time for entry ${String(index)}`, cause));
    }
    try {
      // The table's log time, which the entries up to this one have moved. An entry's own clock reading may
      // be below it, after a change of leader, or far above.
      const result = stateMachine.apply(command, { index, term, logTimeMs: sessions.table.logTimeMs });
      if (!isPromiseLike(result)) return { position, type: "done", result };
      return Promise.resolve(result).then(
        (value) => ({ position, type: "done", result: value }),
        (error: unknown) => rejectedEntry(error, position),
      );
    } catch (error) {
      return rejectedEntry(error, position);
    }
  }

  /**
   * Applies an entry of a session. A command in it is applied unless an earlier
   * entry carried the same command.
   */
  #applySession(
    kind: SessionKind,
    payload: Uint8Array,
    position: LogPosition,
  ): AppliedEntry<Result> | Promise<AppliedEntry<Result>> {
    const { sessions } = this.#parts;
    const what = `it cannot keep the session of entry ${String(position.index)}`;
    const step = failNodeOnThrow(what, () => sessions.beginEntry(kind, payload, position));
    if (step.type === "settled") return step.applied;
    const keep = (applied: AppliedCommand<Result>): AppliedEntry<Result> =>
      failNodeOnThrow(what, () => sessions.recordAnswer(step.id, applied));
    const applying = this.#apply(step.command, position);
    return applying instanceof Promise ? applying.then(keep) : keep(applying);
  }

  #decode(payload: Uint8Array, { index }: LogPosition): Command {
    try {
      return this.#parts.stateMachine.codec.decode(payload);
    } catch (error) {
      // Nodes that run a later version may know this command. Skipping it here would make the states differ.
      throw new ApplyFailure(stateMachineFailure(`it cannot decode the command at ${String(index)}`, error));
    }
  }

  /** A method, because TypeScript would otherwise assume that the field is unchanged after an `await`. */
  #isStopped(): boolean {
    return this.#stopped;
  }

  /** Whether the loop must end before the next batch. */
  #isHalted(): boolean {
    return this.#stopped || this.#pausedForRestore;
  }
}

/**
 * The outcome of a command that threw. It is the same on every node. A `StateMachineFailure` is a failure of
 * this node alone, so this function throws then, and the node stops.
 */
function rejectedEntry<Result>(error: unknown, position: LogPosition): AppliedCommand<Result> {
  if (error instanceof StateMachineFailure) {
    throw new ApplyFailure(stateMachineFailure(`it could not apply entry ${String(position.index)}`, error));
  }
  return { position, type: "rejected", error: new CommandRejectedError(rejectionOf(error)) };
}

/**
 * Runs a step after a command; a throw stops the node. A node that can't decode the entry, or
 * encode a result, must not skip the step: its session table would differ from the other nodes', and a
 * retry might be applied twice.
 */
function failNodeOnThrow<T>(what: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw new ApplyFailure(stateMachineFailure(what, error));
  }
}
