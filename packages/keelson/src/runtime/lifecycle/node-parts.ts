// What a node is made from, split into what belongs to the process and what belongs to one Raft group.
//
// A process runs one group today. Later many groups will share the process's parts: its connections, its
// clock and timers, and its disk. So parts of a group get process parts as parameters and keep no global
// state, and no process part knows a log, a term or a member.
import type { LogPosition } from "../../core/position.ts";
import type { RaftNode } from "../../core/node.ts";
import type { Environment } from "../../environment/environment.ts";
import type { LogStore, StoredLog } from "../../storage/log-store.ts";
import type { SnapshotStore } from "../../storage/snapshot-store.ts";
import type { Transport } from "../../transport/transport.ts";
import type { CallDeadlines, RetryDelays } from "../calls/index.ts";
import type { LogRecords, StallWatch, StorageWatchdog } from "../loop/index.ts";
import type { MembershipHistory } from "../members/index.ts";
import type { SessionTable } from "../sessions/index.ts";
import type { CodedStateMachine, Settings } from "../shared/index.ts";

/**
 * What belongs to the process. With many groups there will be one of each of these, and one drain per turn
 * for all groups; today the driver of the only group schedules its own.
 */
export interface ProcessParts {
  /** Clock, timers, randomness, disk and network. */
  readonly environment: Environment;
  /** Connections to other processes. Messages will name their group. */
  readonly transport: Transport;
  /** Notices disk operations that neither succeed nor fail. */
  readonly watchdog: StorageWatchdog;
  /** Time limits of calls, under one timer. */
  readonly deadlines: CallDeadlines;
  /** Waits between two attempts of a call. */
  readonly retryDelays: RetryDelays;
}

/** What belongs to one Raft group on this node: its log, its state, its members and its settings. */
export interface GroupParts<Command, Result> {
  readonly settings: Settings;
  /** Its calls are watched: one that makes no progress for `timings.stateTimeoutMs` stops the node. */
  readonly stateMachine: CodedStateMachine<Command, Result>;
  /** The group's log, term and vote on disk. */
  readonly store: LogStore;
  /** Its calls are watched as well. null: the node was opened without snapshots. */
  readonly snapshotStore: SnapshotStore | null;
  /** Notices calls to the state machine and to the snapshot store that make no progress. */
  readonly stallWatch: StallWatch;
  /**
   * What the store held when it was opened. Its `clusterId` may be null; `ClusterBootstrap` knows the current
   * one.
   */
  readonly stored: StoredLog;
  readonly core: RaftNode;
  /** The records of the log, in memory and in the store. */
  readonly logRecords: LogRecords;
  /** The memberships in the log, with addresses. */
  readonly memberships: MembershipHistory;
  /** The last entry whose effects the state machine held when it was opened. */
  readonly applied: LogPosition;
  /** The table of sessions as of the entry `applied`; the applier keeps it up to date. */
  readonly sessionTable: SessionTable;
}
