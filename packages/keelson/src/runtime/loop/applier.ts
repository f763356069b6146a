import { decodeRecord, EntryKind } from "../../codec/record.ts";
import type { RaftNode } from "../../core/node.ts";
import type { LogIndex, LogPosition } from "../../core/position.ts";
import type { Environment } from "../../environment/environment.ts";
import { CommandRejectedError, type RaftError } from "../../errors.ts";
import { checkRecords, type LogRecords } from "./log-records.ts";
import { reasonOf, type Failure } from "../failure.ts";
import type { RaftLimits } from "../options.ts";
import { logReadFailure } from "./message-sender.ts";
import { isSessionKind, type SessionKind, type SessionApplier } from "../sessions/session-applier.ts";
import { StateMachineFailure, type StateMachine } from "../state-machine.ts";

/** A batch ends after this many milliseconds, so that slow commands do not keep heartbeats waiting. */
const BATCH_MS_MAX = 10;

/** What became of one entry that somebody may wait for. */
export type AppliedEntry<Result> =
  | {
      readonly position: LogPosition;
      readonly type: "done";
      readonly result: Result;
    }
  /** A retry: the command took effect at `index`, earlier, and this is what it was answered then. */
  | {
      readonly position: LogPosition;
      readonly type: "answered";
      readonly index: LogIndex;
      readonly result: () => Result;
    }
  | { readonly position: LogPosition; readonly type: "rejected"; readonly error: RaftError }
  | { readonly position: LogPosition; readonly type: "session-opened" | "session-closed" };

export interface ApplierHost<Result> {
  /** These took effect, in this order, and the state machine has flushed them. */
  applied(batch: readonly AppliedEntry<Result>[]): void;
  failed(failure: Failure): void;
}

export interface ApplierParts<Command, Result> {
  readonly stateMachine: StateMachine<Command, Result>;
  readonly logRecords: LogRecords;
  readonly core: RaftNode;
  readonly environment: Environment;
  readonly limits: RaftLimits;
  readonly sessions: SessionApplier<Result>;
  /** What the state machine holds already. */
  readonly applied: LogPosition;
}

/** Thrown inside the applier to end the node. */
class ApplyFailure extends Error {
  readonly failure: Failure;
  constructor(failure: Failure) {
    super(failure.message);
    this.failure = failure;
  }
}

/**
 * Applies committed entries in order, each once, beside the driver: however slow the state machine
 * is, messages and heartbeats go on. It works in batches, and the event loop gets a turn between
 * two of them.
 */
export class Applier<Command, Result> {
  readonly #parts: ApplierParts<Command, Result>;
  readonly #host: ApplierHost<Result>;
  #applied: LogPosition;
  #applyThrough: LogIndex;
  /** The loop runs, and will see a target that moves. */
  #loopRunning = false;
  #loopEnded: Promise<void> | null = null;
  /** A batch is under way, so the state may be in the middle of a command. */
  #batchRunning = false;
  /** The state is being replaced: no batch begins. */
  #pausedForRestore = false;
  /** What waits for the end of the batch under way. */
  #afterBatch: (() => void)[] = [];
  #stopped = false;

  constructor(parts: ApplierParts<Command, Result>, host: ApplierHost<Result>) {
    this.#parts = parts;
    this.#host = host;
    this.#applied = parts.applied;
    this.#applyThrough = parts.applied.index;
  }

  /** The last entry whose effects the state machine holds and has flushed. */
  get applied(): LogPosition {
    return this.#applied;
  }

  /** False while a batch is being applied, or a snapshot restored: a read then waits for the end of it. */
  get isReadable(): boolean {
    return !this.#batchRunning && !this.#pausedForRestore;
  }

  /** Whether the state is being replaced. */
  get isRestoring(): boolean {
    return this.#pausedForRestore;
  }

  /** Runs `look` between two batches: the state is then exactly that after `applied`. */
  runBetweenBatches(look: () => void): void {
    if (this.#batchRunning) this.#afterBatch.push(look);
    else look();
  }

  /** Begins no further batch; resolves when the one under way has ended. */
  async pauseForRestore(): Promise<void> {
    this.#pausedForRestore = true;
    await this.#loopEnded;
  }

  /** Goes on after `applied`, which is what the state holds now. */
  resumeAfterRestore(applied: LogPosition): void {
    this.#pausedForRestore = false;
    this.#applied = applied;
    this.#applyThrough = Math.max(this.#applyThrough, applied.index);
    this.#startLoop();
  }

  /** Entries up to here are committed, and durable on this node. */
  advance(target: LogIndex): void {
    if (target <= this.#applyThrough || this.#stopped) return;
    this.#applyThrough = target;
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

  /** Begins no further batch; resolves when the one under way has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#loopEnded;
    // Whoever waits to look finds out that it is too late.
    for (const look of this.#afterBatch.splice(0)) look();
  }

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
        for (const look of this.#afterBatch.splice(0)) look();
        if (this.#applied.index >= this.#applyThrough || this.#isHalted()) return;
        await this.#endOfTurn();
        if (this.#isHalted()) return;
      }
    } catch (error) {
      if (this.#isStopped()) return;
      this.#stopped = true;
      this.#host.failed(error instanceof ApplyFailure ? error.failure : logReadFailure(error));
    } finally {
      this.#loopRunning = false;
    }
  }

  /** The records of the next batch: from memory at once, or from the store. */
  async #nextBatch(): Promise<readonly Uint8Array[]> {
    const { logRecords, core, limits } = this.#parts;
    const from = this.#applied.index + 1;
    const to = Math.min(this.#applyThrough + 1, from + limits.applyBatchEntriesMax);
    const records =
      logRecords.buffer.slice(from, to, limits.applyBatchBytesMax) ??
      (await logRecords.readFromStore(from, to, limits.applyBatchBytesMax));
    // What is committed is never cut off, so the log says the same now as when the records were asked for.
    checkRecords(records, from, (index) => core.log.termAt(index));
    return records;
  }

  async #applyBatch(records: readonly Uint8Array[]): Promise<AppliedEntry<Result>[]> {
    const { environment } = this.#parts;
    const begun = environment.now();
    const batch: AppliedEntry<Result>[] = [];
    let last = this.#applied;
    for (const record of records) {
      const { index, term, kind, payload } = decodeRecord(record);
      last = { index, term };
      if (kind === EntryKind.command) {
        const applying = this.#apply(payload, last);
        // Waiting for what is there already would cost a turn of the promise queue for each command.
        batch.push(applying instanceof Promise ? await applying : applying);
      } else if (isSessionKind(kind)) {
        const applying = this.#applySession(kind, payload, last);
        batch.push(applying instanceof Promise ? await applying : applying);
      }
      if (environment.now() - begun >= BATCH_MS_MAX || this.#stopped) break;
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

  #apply(payload: Uint8Array, position: LogPosition): AppliedEntry<Result> | Promise<AppliedEntry<Result>> {
    const { stateMachine } = this.#parts;
    const command = this.#decode(payload, position);
    try {
      const result = stateMachine.apply(command, position);
      if (!isPromiseLike(result)) return { position, type: "done", result };
      return Promise.resolve(result).then(
        (value) => ({ position, type: "done", result: value }),
        (error: unknown) => rejectedEntry(error, position),
      );
    } catch (error) {
      return rejectedEntry(error, position);
    }
  }

  /** An entry of a session; a command in it is applied unless an earlier entry carried it already. */
  #applySession(
    kind: SessionKind,
    payload: Uint8Array,
    position: LogPosition,
  ): AppliedEntry<Result> | Promise<AppliedEntry<Result>> {
    const { sessions } = this.#parts;
    const step = failNodeOnThrow(position, () => sessions.beginEntry(kind, payload, position));
    if (step.type === "settled") return step.applied;
    const keep = (applied: AppliedEntry<Result>): AppliedEntry<Result> =>
      failNodeOnThrow(position, () => sessions.recordAnswer(step.id, applied));
    const applying = this.#apply(step.command, position);
    return applying instanceof Promise ? applying.then(keep) : keep(applying);
  }

  #decode(payload: Uint8Array, { index }: LogPosition): Command {
    try {
      return this.#parts.stateMachine.codec.decode(payload);
    } catch (error) {
      // Another version of the program may know this command: skipping it here would fork the state.
      throw new ApplyFailure(stateMachineFailure(`it cannot decode the command at ${String(index)}`, error));
    }
  }

  /** Asked anew after each wait. */
  #isStopped(): boolean {
    return this.#stopped;
  }

  #isHalted(): boolean {
    return this.#stopped || this.#pausedForRestore;
  }

  #endOfTurn(): Promise<void> {
    return new Promise((resolve) => {
      this.#parts.environment.defer(resolve);
    });
  }
}

/** A throw is the command's result, unless it says that this node itself has failed. */
function rejectedEntry<Result>(error: unknown, position: LogPosition): AppliedEntry<Result> {
  if (error instanceof StateMachineFailure) {
    throw new ApplyFailure(stateMachineFailure(`it could not apply entry ${String(position.index)}`, error));
  }
  return { position, type: "rejected", error: new CommandRejectedError(error) };
}

/** What this node cannot do for sessions it must not leave out either: its state would not be that of the others. */
function failNodeOnThrow<T>({ index }: LogPosition, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw new ApplyFailure(
      stateMachineFailure(`it cannot keep the session of entry ${String(index)}`, error),
    );
  }
}

function stateMachineFailure(what: string, error: unknown): Failure {
  const message = `the state machine failed, so the node stops: ${what}: ${reasonOf(error)}`;
  return { kind: "state-machine", message, cause: error };
}

function isPromiseLike<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}
