import type { ClusterConfig } from "../../core/config.ts";
import type { LogIndex, NodeId, Term } from "../../core/position.ts";
import type { Role } from "../../core/role.ts";
import type { LeaderHint } from "../../errors.ts";

/** How a node is, at one moment. A copy: it does not change. */
export interface RaftMetrics {
  readonly id: NodeId;
  /** null: the node belongs to no cluster yet. */
  readonly clusterId: string | null;
  readonly role: Role | "stopped";
  readonly term: Term;
  /** null: not known. */
  readonly leader: LeaderHint | null;
  /** The last entry known to be committed. */
  readonly commitIndex: LogIndex;
  /** The last entry whose effects the state machine holds. */
  readonly appliedIndex: LogIndex;
  /** The last entry on this node's own disk. */
  readonly durableIndex: LogIndex;
  /** The first entry that is still in this node's log, or would be: the ones before it are covered by a snapshot. */
  readonly firstIndex: LogIndex;
  /** The last entry in this node's log. */
  readonly lastIndex: LogIndex;
  readonly config: ClusterConfig;
  readonly members: readonly MemberMetrics[];
  /** Entries proposed here whose fate is not settled, and their bytes. */
  readonly pendingEntries: number;
  readonly pendingBytes: number;
  readonly pendingReads: number;
  /** Calls that were passed on to the leader, or wait for there to be one, and the bytes of their commands. */
  readonly forwardedCalls: number;
  readonly forwardedBytes: number;
  /** The sessions that are open as of the applied entry: the same on every node that has applied as much. */
  readonly sessions: SessionMetrics;
  /** null: the node was opened without `snapshots`. */
  readonly snapshots: SnapshotsMetrics | null;
  readonly counters: RaftCounters;
}

/** The table of sessions. */
export interface SessionMetrics {
  readonly open: number;
  /** What they count as in memory, with the answers that are kept for them. */
  readonly bytes: number;
  /** The time of the log, in milliseconds since 1970; 0 before the first session. */
  readonly timeMs: number;
}

/** A snapshot that this node keeps. */
export interface SnapshotMetrics {
  readonly index: LogIndex;
  readonly term: Term;
  readonly bytes: number;
}

/** A snapshot on its way to another node. */
export interface SnapshotSendMetrics {
  readonly to: NodeId;
  readonly index: LogIndex;
  readonly bytesDone: number;
  readonly bytesTotal: number;
}

/** A snapshot on its way to this node. */
export interface SnapshotFetchMetrics {
  readonly from: NodeId;
  readonly phase: "fetching" | "checking" | "installing";
  readonly bytesDone: number;
  /** null: not known yet. */
  readonly bytesTotal: number | null;
}

/** Snapshots, as they are and as they move. */
export interface SnapshotsMetrics {
  /** null: there is none. */
  readonly newest: SnapshotMetrics | null;
  /** The one that is being taken, and how much of it is written; null: none is. */
  readonly taking: { readonly index: LogIndex; readonly bytesDone: number } | null;
  readonly sending: readonly SnapshotSendMetrics[];
  readonly receiving: SnapshotFetchMetrics | null;
  /** Since the node was opened. */
  readonly taken: number;
  readonly installed: number;
}

/** One member of the cluster, as this node knows it. */
export interface MemberMetrics {
  readonly id: NodeId;
  readonly address: string;
  readonly voter: boolean;
  /** What it says of itself; null: not met yet. */
  readonly data: string | null;
  /** Entries behind the leader's last. On the leader only, elsewhere null. */
  readonly lag: number | null;
  /** The last entry known to be on its disk. On the leader only, elsewhere null. */
  readonly match: LogIndex | null;
  /** Whether it answered lately. On the leader only, elsewhere null. */
  readonly active: boolean | null;
}

/** Since the node was opened. */
export interface RaftCounters {
  /** Elections that this node began. */
  readonly elections: number;
  /** Commands that this node proposed. */
  readonly writes: number;
  /** Reads that were asked of this node, stale ones included. */
  readonly reads: number;
  /** Questions to the leader that those reads took. */
  readonly readRounds: number;
  readonly logWrites: number;
  /** Bytes of records written to the log. */
  readonly logBytes: number;
  readonly messagesSent: number;
  readonly messagesDropped: number;
  readonly messagesReceived: number;
}
