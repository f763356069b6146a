// The types of what `Raft.metrics()` returns.
import type { ClusterConfig } from "../../core/config.ts";
import type { LogIndex, NodeId, Term } from "../../core/position.ts";
import type { Role } from "../../core/role.ts";
import type { LeaderHint } from "../../errors.ts";

/** The state of a node at one moment. It is a copy and doesn't change. */
export interface RaftMetrics {
  readonly id: NodeId;
  /** null: the node belongs to no cluster yet. */
  readonly clusterId: string | null;
  /**
   * "stopped": the node was closed, is closing, or has failed. "removed": it was removed from the cluster, as
   * far as it knows (`RaftChange`), and serves stale reads alone.
   */
  readonly role: Role | "removed" | "stopped";
  readonly term: Term;
  /** null: this node knows no leader, or is stopped. */
  readonly leader: LeaderHint | null;
  /** The last entry that this node knows to be committed. */
  readonly commitIndex: LogIndex;
  /** The last entry whose effects the state machine holds. */
  readonly appliedIndex: LogIndex;
  /** The last entry that is durable in this node's log. */
  readonly durableIndex: LogIndex;
  /**
   * The first entry that this node's log holds, or will hold if it is empty. A snapshot covers those before
   * it.
   */
  readonly firstIndex: LogIndex;
  /** The last entry in this node's log, durable or not. */
  readonly lastIndex: LogIndex;
  /** The configuration in force: the last one in the log, committed or not (§6). */
  readonly config: ClusterConfig;
  /** The members of that configuration. */
  readonly members: readonly MemberMetrics[];
  /** Entries that this node proposed and whose outcome is not known yet. */
  readonly pendingEntries: number;
  /** Bytes of those entries. */
  readonly pendingBytes: number;
  /**
   * Reads that wait, or whose query runs, including some whose callers have stopped waiting
   * (`limits.pendingReadsMax` counts them too).
   */
  readonly pendingReads: number;
  /** Calls that were forwarded to the leader, or wait for a leader to be known. */
  readonly forwardedCalls: number;
  /** Bytes of the commands of those calls. */
  readonly forwardedBytes: number;
  /** The stalled call of the log, the state machine or the snapshot store; null: none has stalled. */
  readonly stalled: StallMetrics | null;
  /** How long the writes to this node's log take, until they are durable. */
  readonly logWriteLatency: LatencyMetrics;
  /** The sessions as of the applied entry: the same on every node that has applied as much. */
  readonly sessions: SessionMetrics;
  /** null: the node was opened without `snapshots`. */
  readonly snapshots: SnapshotsMetrics | null;
  /** Totals since the node was opened. */
  readonly counters: RaftCounters;
}

/** How long operations took since the node was opened, in milliseconds. Those that failed don't count. */
export interface LatencyMetrics {
  /** Operations that ended. */
  readonly count: number;
  /** The sum of their times: divided by `count`, the mean. */
  readonly sumMs: number;
  /** The time of the last one; 0: there was none. */
  readonly lastMs: number;
  /** The longest of the last 10 to 20 seconds, the one under way included. */
  readonly recentMaxMs: number;
  /**
   * How many took at most `toMs`, by `toMs`: each includes those before it. The rest took longer than the
   * last.
   */
  readonly buckets: readonly { readonly toMs: number; readonly count: number }[];
}

/** A part of a node that the node watches: its calls must make progress. */
export type WatchedPart = "log" | "state-machine" | "snapshot-store";

/**
 * A call that has made no progress for `storageStallMs` (the log) or `stateStallMs` (the other parts). Such a
 * node neither leads nor campaigns, unless it is the only voter.
 */
export interface StallMetrics {
  readonly part: WatchedPart;
  /** What the call is, such as "applying entry 17". */
  readonly call: string;
  /** Milliseconds since it began, or last made progress. */
  readonly ms: number;
}

/** The table of sessions. */
export interface SessionMetrics {
  /** Open sessions. */
  readonly open: number;
  /** Bytes in memory that the sessions and their stored answers count as. */
  readonly bytes: number;
  /**
   * Log time, in milliseconds: it begins at 0 in a new cluster, and moves with the entries of sessions.
   * Sessions expire by it.
   */
  readonly timeMs: number;
}

/** A snapshot that this node keeps. */
export interface SnapshotMetrics {
  /** The last entry whose effects it holds. */
  readonly index: LogIndex;
  /** The term of that entry. */
  readonly term: Term;
  /** The size of the whole file. */
  readonly bytes: number;
}

/** A snapshot that another node is fetching from this one. */
export interface SnapshotSendMetrics {
  readonly to: NodeId;
  readonly index: LogIndex;
  /** The end of the furthest chunk that was sent to that node, in bytes from the beginning of the file. */
  readonly bytesDone: number;
  readonly bytesTotal: number;
}

/** A snapshot that this node is fetching from another. */
export interface SnapshotFetchMetrics {
  readonly from: NodeId;
  readonly phase: "fetching" | "checking" | "installing";
  readonly bytesDone: number;
  /** null: not known yet. */
  readonly bytesTotal: number | null;
}

/** The snapshots that this node keeps, takes, sends and fetches. */
export interface SnapshotsMetrics {
  /** null: there is none. */
  readonly newest: SnapshotMetrics | null;
  /** The snapshot that is being taken, and the bytes of the state that are written so far; null: none. */
  readonly taking: { readonly index: LogIndex; readonly bytesDone: number } | null;
  readonly sending: readonly SnapshotSendMetrics[];
  /** null: none is being fetched. */
  readonly receiving: SnapshotFetchMetrics | null;
  /** Snapshots taken since the node was opened. */
  readonly taken: number;
  /** Snapshots of other nodes installed since the node was opened. */
  readonly installed: number;
}

/** One member of the cluster, as this node knows it. */
export interface MemberMetrics {
  readonly id: NodeId;
  /** Its address in the membership in force. */
  readonly address: string;
  /**
   * Whether it is a voter, in the old or the new configuration while they are joint; otherwise it is a
   * learner.
   */
  readonly voter: boolean;
  /**
   * The text that it gave as the option `info`; null: since it was opened, this node has not been connected
   * with it.
   */
  readonly info: string | null;
  /**
   * How many of the entries in the leader's log aren't known to be durable there: the leader's last index
   * less `match`. Under steady writes it is seldom 0, because it counts entries that are on their way. null:
   * this node isn't the leader, or it found out, as the leader, that the member lost entries.
   */
  readonly lag: number | null;
  /**
   * The last entry known to be durable there. null: this node isn't the leader, or it found out, as the
   * leader, that the member lost entries.
   */
  readonly match: LogIndex | null;
  /**
   * Whether it has answered within the longest election timeout; the leader itself counts as active. null:
   * this node isn't the leader.
   */
  readonly active: boolean | null;
  /**
   * Whether it has caught up, by the rule for which `addLearner` and `changeMembership` wait: it is sent
   * entries and no snapshot, is `active`, and has a `lag` of at most 1,024. null: as for `lag`.
   */
  readonly caughtUp: boolean | null;
  /**
   * Whether it lost entries that it had acknowledged as durable, so that nothing of it counts any more: its
   * directory was replaced by an older copy, or its disk forgot writes. Remove it, and add its machine anew,
   * with an empty directory and a new id. true: this node found out as leader, or a leader wrote it into the
   * membership. null: this node isn't the leader, and the membership doesn't say it.
   */
  readonly lostEntries: boolean | null;
}

/** Totals since the node was opened. */
export interface RaftCounters {
  /** Elections that this node started. */
  readonly elections: number;
  /** Entries that this node proposed for callers: commands, and the opening and closing of sessions. */
  readonly writes: number;
  /** Reads that this node was asked for, stale ones included. */
  readonly reads: number;
  /** Read indexes that were requested for those reads; reads of one turn share one. */
  readonly readRounds: number;
  /** Batches written to the log. */
  readonly logWrites: number;
  /** Bytes of the records in them. */
  readonly logBytes: number;
  /** Raft's messages that the transport accepted. Forwarded calls and parts of snapshots aren't counted. */
  readonly messagesSent: number;
  /** Raft's messages that could not be sent. */
  readonly messagesDropped: number;
  /** All messages that arrived, forwarded calls and parts of snapshots included. */
  readonly messagesReceived: number;
}
