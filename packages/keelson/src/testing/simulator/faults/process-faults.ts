/** Carries out the faults of single processes: crashes at chosen moments, slow turns, damaged files. */
import type { Chance } from "../plan/chance.ts";
import type { Fault } from "../plan/faults.ts";
import { isSnapshotFile, type SimProcess } from "../world/sim-process.ts";
import { endAll } from "./overlapping.ts";

/** How long it takes until a process that ended is started again, in milliseconds. */
export const RESTART_DELAY_MS = 200;

/** A busy event loop handles what arrived for so long, in milliseconds, before it is busy again. */
const SHORT_TURN_MS = 1;

/** How often to check whether another node fetches a snapshot. */
const TRANSFER_POLL_MS = 20;

export interface ProcessFaultsParts {
  readonly chance: Chance;
  readonly trace: (text: string) => void;
  /** Calls back after a time, unless the run has healed by then. */
  readonly after: (ms: number, then: () => void) => void;
}

/** See the file's header. */
export class ProcessFaults {
  readonly #parts: ProcessFaultsParts;

  constructor(parts: ProcessFaultsParts) {
    this.#parts = parts;
  }

  /** Kills the process and starts it again after `ms`. With `power`, what it had not synced is lost too. */
  crash(process: SimProcess, ms: number, power: boolean = this.#parts.chance.happens(0.5)): void {
    process.kill(power);
    clearFaults(process);
    this.#parts.after(ms, () => {
      process.start();
    });
  }

  /** Crashes the process at its n-th call that changes the disk from now on. */
  crashAtCall(process: SimProcess, calls: number, ms: number): void {
    this.#countCalls(process, calls, false, () => {
      this.crash(process, ms);
    });
  }

  /**
   * Lets the power fail at the first sync from the n-th write or sync on, and again while the process starts
   * from what that left. Each element of `calls` is the n of one power failure.
   */
  crashInLoop(process: SimProcess, calls: readonly number[], ms: number): void {
    const [left, ...later] = calls;
    if (left === undefined) return;
    this.#countCalls(process, left, true, () => {
      this.crash(process, ms, true);
      this.crashInLoop(process, later, ms);
    });
  }

  /** Alternates between turns of the event loop that take `turnMs` and short ones. */
  stall(process: SimProcess, turnMs: number, ms: number): void {
    if (ms <= 0 || process.isPaused) return;
    const resume = process.pause();
    this.#parts.after(turnMs, () => {
      resume();
      this.#parts.after(SHORT_TURN_MS, () => {
        this.stall(process, turnMs, ms - turnMs);
      });
    });
  }

  /** Damages one bit of a file while the process is down. */
  flipBit(process: SimProcess, ms: number): void {
    process.kill(true);
    clearFaults(process);
    this.#damageOneOf(process, process.disk.paths());
    this.#parts.after(ms, () => {
      process.start();
    });
  }

  /**
   * Damages a snapshot, if possible while another node fetches it: then the receiver must notice, and so must
   * this process if it restarts. If nobody fetches it for `patienceMs`, it is damaged all the same.
   */
  damageSnapshot(process: SimProcess, fault: Extract<Fault, { type: "spoil-snapshot" }>): void {
    const { patienceMs, crashShare } = fault;
    const sending = process.raft?.metrics().snapshots?.sending ?? [];
    if (sending.length === 0 && patienceMs > 0) {
      this.#parts.after(TRANSFER_POLL_MS, () => {
        this.damageSnapshot(process, { ...fault, patienceMs: patienceMs - TRANSFER_POLL_MS });
      });
      return;
    }
    this.#damageOneOf(process, process.disk.paths().filter(isSnapshotFile));
    if (this.#parts.chance.happens(crashShare)) this.crash(process, RESTART_DELAY_MS / 4, false);
  }

  /**
   * Calls `then` just before the n-th write or sync; with `beforeSync`, just before the first sync from there
   * on, when the most data isn't durable yet.
   */
  #countCalls(process: SimProcess, calls: number, beforeSync: boolean, then: () => void): void {
    let left = calls;
    process.diskConditions.beforeWrite = (isSync) => {
      left -= 1;
      if (left > 0 || (beforeSync && !isSync)) return;
      process.diskConditions.beforeWrite = null;
      then();
    };
  }

  #damageOneOf(process: SimProcess, paths: readonly string[]): void {
    const { chance, trace } = this.#parts;
    const path = chance.pick(paths.length === 0 ? [""] : paths);
    const bytes = path === "" ? new Uint8Array(0) : process.disk.contents(path);
    const used = bytes.findLastIndex((byte) => byte !== 0) + 1;
    if (used === 0) return;
    const at = chance.whole(0, used - 1);
    process.disk.damage(path, at, Uint8Array.of((bytes[at] ?? 0) ^ (1 << chance.whole(0, 7))));
    process.hasDamagedData = true;
    trace(`flipped a bit in byte ${String(at)} of ${path}`);
  }
}

/** Ends every fault that is set on the process, so that it starts again without any. */
export function clearFaults(process: SimProcess): void {
  process.onVoteDurable = null;
  process.onOwnRemoval = null;
  process.onConfigAppended = null;
  process.onTimeoutNowSent = null;
  process.onSnapshotRename = null;
  process.diskFaults.next = null;
  process.diskConditions.beforeWrite = null;
  endAll(process.diskFaults);
  endAll(process.diskConditions);
  endAll(process.clockConditions);
  endAll(process.machineConditions);
}
