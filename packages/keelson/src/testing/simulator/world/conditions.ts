/**
 * How a process's disk, clock and state machine behave at the moment. Faults write these; they hold across
 * restarts.
 */

/** How the disk answers. */
export interface DiskConditions {
  /** How long each call takes without a fault, in milliseconds. From the plan. */
  readonly baseDelayMs: number;
  /** How much longer each call takes now. */
  extraDelayMs: number;
  /** How much longer each call takes now, except those for a snapshot's file. */
  logDelayMs: number;
  /** No call returns until this is false again. */
  hangs: boolean;
  /** No call for a snapshot's file returns until this is false again. */
  snapshotsHang: boolean;
  /**
   * The calls for snapshots' files that hang now, and all others. Written by `ProcessFiles`, and emptied when
   * the process starts.
   */
  readonly hungSnapshotCalls: Set<object>;
  readonly hungLogCalls: Set<object>;
  /**
   * Called before each call that changes something; `isSync`: it makes writes durable. May kill the process.
   */
  beforeWrite: ((isSync: boolean) => void) | null;
}

/** How the clock runs. */
export interface ClockConditions {
  /** How fast it runs; 1 is right. */
  readonly rate: number;
  /** Timers that are set now fire up to so many milliseconds late. */
  timersLateByMsMax: number;
  /** Each such timer is late by at least this share of `timersLateByMsMax`. */
  timersLateShareMin: number;
  /** The true time by which the last late timer will have fired. Written by `processEnvironment`. */
  timersLateUntil: number;
  /** How far the wall clock is ahead of the true time, in milliseconds. Timers don't depend on it. */
  wallOffsetMs: number;
}

/** How the state machine behaves. */
export interface MachineConditions {
  /** How long each command takes, and each chunk of a snapshot, in milliseconds. */
  delayMs: number;
  /**
   * How long it takes to restore a snapshot, in milliseconds. The state machine reports progress meanwhile.
   */
  restoreMs: number;
  /** The calls that apply a command, flush or restore fail while this is true. */
  fails: boolean;
  /** No call returns until this is false again. */
  hangs: boolean;
  /** The calls that hang now. Written by `ObservedMachine`, and emptied when the process starts. */
  readonly hungCalls: Set<object>;
  /**
   * A command is being applied, so that a query would see half of its effects. Written by `ObservedMachine`.
   */
  isApplying: boolean;
}
