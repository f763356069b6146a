/** What one run does, decided before it begins, so that it can be printed, repeated, and shrunk. */
import type { CoreWindow } from "../../../runtime/lifecycle/index.ts";
import type { SessionLimits } from "../../../runtime/sessions/index.ts";
import type { Fault, FaultType } from "./faults.ts";

/**
 * A whole run. Times are in milliseconds; lists with an element for each node are in the order of the nodes.
 */
export interface Plan {
  readonly seed: number;
  /** The part of the protocol that the plan concentrates on (`stages.ts`); null: it is no stage. */
  readonly stage: string | null;
  readonly nodes: number;
  /** The last so many of the nodes aren't members at first. The operator may add them. */
  readonly spares: number;
  /**
   * `tcp`: the real transport over byte streams; `datagrams`: messages that are lost, duplicated and
   * reordered singly.
   */
  readonly transport: "tcp" | "datagrams";
  /**
   * The state machine keeps its state on a disk of its own. Otherwise it rebuilds it from the log at each
   * start.
   */
  readonly durableState: boolean;

  // How the nodes are configured.
  readonly preVote: boolean;
  readonly checkQuorum: boolean;
  readonly electionTimeoutMs: { readonly min: number; readonly max: number };
  readonly heartbeatMs: number;
  /** The option `clockDriftMax`: how far each clock's rate may be from 1. */
  readonly clockDriftMax: number;
  /** The option `priority` of each node. Empty: 0 everywhere. */
  readonly priorities: readonly number[];
  /** The option `storageStallMs`. */
  readonly storageStallMs: number;
  /** `StateMachine.logTimeStepMs`; null: the state machine doesn't use log time. */
  readonly logTimeStepMs: number | null;
  readonly segmentBytes: number;
  /** The option `cacheBytesMax`: how much of the log is kept in memory. */
  readonly cacheBytes: number;
  /** How much a leader sends in one message, and ahead of a follower's answers; null: the core's defaults. */
  readonly window: CoreWindow | null;
  readonly pendingEntriesMax: number;
  readonly pendingBytesMax: number;
  /** null: no snapshots are taken. */
  readonly snapshots: SnapshotPlan | null;

  // The world that they run in.
  /** Where clocks and terms begin. */
  readonly start: StartValues;
  /** How fast each node's clock runs; 1 is right. */
  readonly clockRates: readonly number[];
  /** How far each node's wall clock is ahead of the true time. Timers don't depend on it. */
  readonly wallOffsetsMs: readonly number[];
  /**
   * How long each call to the disk takes without a fault. Above 0, other events happen between a write and
   * its sync.
   */
  readonly diskMs: number;
  /** Reads of the log return fewer entries than asked for, as a log store may. */
  readonly shortReads: boolean;
  readonly linkDelayMs: { readonly min: number; readonly max: number };
  /**
   * Copies of old messages arrive when their receiver has entered a later term, or leads one. Only with
   * datagrams: byte streams deliver each message once.
   */
  readonly replayOldMessages: boolean;

  /**
   * Each step of each core is compared with the reference model and with what the node owes, and each
   * answered read with the rounds of heartbeats that confirmed it. It changes nothing in the run.
   */
  readonly checksModel: boolean;

  // What is done with them.
  /** The nodes that call `initialize`, all at the same time. */
  readonly initializers: readonly number[];
  /** How long after the start of the run they call it. */
  readonly initializeAfterMs: number;
  readonly clients: number;
  /** How many keys the clients share. */
  readonly keys: number;
  /** The mean pause between two calls of one client. */
  readonly thinkMs: number;
  readonly callTimeoutMs: number;
  /** The share of reads among the calls that aren't stale reads. */
  readonly readShare: number;
  /** The share of lease reads among the reads that aren't stale. The others are linearizable. */
  readonly leaseShare: number;
  /** The share of stale reads among calls. */
  readonly staleShare: number;
  readonly valueBytesMax: number;
  /** So many of the clients write in sessions with this time to live; null: none does. */
  readonly sessions: { readonly clients: number; readonly ttlMs: number } | null;
  /** How much the session table holds. The real limits are far beyond what a run can fill. null: those. */
  readonly sessionLimits: SessionLimits | null;
  /** Each node's committed stream is read, and opened anew after so many commands; null: it isn't read. */
  readonly reopenCommittedAfter: number | null;
  readonly usage: Usage;
  /**
   * After healing, once a leader is known, all nodes must have caught up with it within so many milliseconds;
   * null: the usual time to recover (`patienceMs`) is allowed.
   */
  readonly catchUpMs: number | null;
  /** After healing, nobody writes until all nodes hold the same and the cluster is at rest. */
  readonly restsBeforeWriting: boolean;
  /** At the end of the run all nodes are restarted, and must hold the same as before. */
  readonly restartsAtEnd: boolean;
  /**
   * How long there are faults, in milliseconds from the start of the clients. Then the run heals: no fault
   * goes on or begins, links work, and stopped nodes are started; what was destroyed or damaged stays so.
   * What is checked after that may expect a cluster that recovers.
   */
  readonly faultyMs: number;
  /** In order of time. */
  readonly faults: readonly Fault[];
}

/** The values that a run begins with. Programs go wrong where numbers stop being small ones. */
export interface StartValues {
  /** What every clock says when the run begins, in milliseconds. Its zero is arbitrary. */
  readonly clockMs: number;
  /** The term in which all nodes are once the cluster is created; 0: that in which it was created. */
  readonly term: number;
}

/** When snapshots are taken, and what is kept beside them. */
export interface SnapshotPlan {
  readonly everyEntries: number;
  readonly keepEntries: number;
  /** How much of the log is kept for a node that fetches a snapshot. */
  readonly transferKeepBytes: number;
  /** Makes every snapshot so much larger, so that fetching takes several chunks. */
  readonly ballastBytes: number;
  readonly fetchBytesPerSecond: number;
}

/** As `transferKeepBytes`, this keeps the whole log, as the log of a run never gets as large. */
export const WHOLE_LOG_BYTES: number = 16 * 1024 * 1024;

/** In which ways callers use the nodes. None of it is a fault, and every answer must be as right as ever. */
export interface Usage {
  /** The option `forward`: nodes that don't lead forward calls to the leader. */
  readonly forward: boolean;
  /** The share of calls that their callers abort by a signal, some before they are made. */
  readonly abortShare: number;
  readonly pendingReadsMax: number;
  /** How long each query of a read takes. */
  readonly queryMs: number;
  /**
   * Readers of the change stream pause `pauseMs` after each change, and open the stream anew after
   * `leaveAfter` changes; null: they read at once, and stay.
   */
  readonly listeners: {
    readonly changesMax: number;
    readonly pauseMs: number;
    readonly leaveAfter: number;
  } | null;
  /**
   * Clients with sessions use the library's `Session`. Otherwise they number and repeat commands themselves.
   */
  readonly librarySessions: boolean;
  /** These clients continue their sessions after a restart (`ResumableSession`), and never close them. */
  readonly resumesSessions: boolean;
  /** The probability that a session is closed after an answer. */
  readonly closeShare: number;
}

/** What most runs do. */
export const PLAIN_USAGE: Usage = {
  forward: false,
  abortShare: 0,
  pendingReadsMax: 65_536,
  queryMs: 0,
  listeners: null,
  librarySessions: false,
  resumesSessions: false,
  closeShare: 0,
};

/** Faults that must never cost a leader its leadership. */
export const HARMLESS_FAULTS = ["slow-apply", "quiet"] as const;

/**
 * Whether the run has no fault that may cost a leader its leadership. Then the checker also requires stable
 * leaders.
 */
export function hasOnlyHarmlessFaults({ faults }: Plan): boolean {
  const harmless: readonly FaultType[] = [...HARMLESS_FAULTS, "clock-jump", "second-process"];
  return faults.every(({ type }) => harmless.includes(type));
}
