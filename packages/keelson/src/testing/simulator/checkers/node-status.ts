/**
 * What the status checker is told: a node's own report (what `raft.metrics()` also says), and what the run
 * lets it expect of nodes.
 */
import type { ClusterConfig } from "../../../core/config.ts";
import type { LogIndex, NodeId } from "../../../core/position.ts";

/** The part of a node's state that is checked after a step. */
export interface NodeStatus {
  readonly role: string;
  readonly term: number;
  readonly commitIndex: LogIndex;
  readonly appliedIndex: LogIndex;
  readonly lastIndex: LogIndex;
  /** Used when the node has stopped, or installs a snapshot. Absent: all of its log is durable. */
  readonly durableIndex?: LogIndex;
  /** The configuration that the node acts on. */
  readonly config: ClusterConfig;
  /** What a leader knows of the members, itself included; empty on other nodes. */
  readonly members: readonly {
    readonly id: NodeId;
    /** null: it counts nothing of this member, which has lost entries. */
    readonly match: LogIndex | null;
    readonly active: boolean;
  }[];
  readonly pendingEntries: number;
  readonly pendingBytes: number;
  /** Bytes of forwarded calls under way. Absent: the node doesn't forward. */
  readonly forwardedBytes?: number;
  /** The first entry still in the log. Absent: 1. */
  readonly firstIndex?: LogIndex;
  /** The committed entry by which the node knows that it was removed. Absent or null: it doesn't know. */
  readonly removedAt?: LogIndex | null;
  /**
   * The last entry that the newest snapshot covers; null: there is none. Absent: not checked, since the run
   * may have damaged it.
   */
  readonly newestSnapshot?: LogIndex | null | undefined;
  /** Whether the node is replacing its state and log by a snapshot that it received. Absent: it isn't. */
  readonly isInstalling?: boolean;
  /**
   * The call of its state machine, or for a snapshot's file, that hangs for the longest. Absent or null: none
   * does.
   */
  readonly hungCall?: object | null;
  /** The call for its log that hangs for the longest. Absent or null: none does. */
  readonly hungLogCall?: object | null;
}

/**
 * What a run's plan promises, so that the checker may expect more of the nodes. Times are on a node's own
 * clock.
 */
export interface ClusterExpectations {
  /** Nodes ask for pre-votes before they stand for election. */
  readonly preVote: boolean;
  readonly electionTimeoutMinMs: number;
  /** How often a leader says which forwarded calls are under way. */
  readonly electionTimeoutMaxMs: number;
  /** No two clocks drift further apart than the nodes were told. */
  readonly isDriftBounded: boolean;
  readonly pendingEntriesMax: number;
  readonly pendingBytesMax: number;
  /** A leader that hears from no majority for longer must have stepped down; Infinity: it need not. */
  readonly withoutMajorityMsMax: number;
  /** A leader whose disk doesn't finish a write for longer must have stepped down; Infinity: it need not. */
  readonly storageStallMsMax: number;
  /** A leader with a part that hangs for longer must have stepped down. */
  readonly stateStallMsMax: number;
  /** A node with a part that hangs for longer must have stopped. */
  readonly stateTimeoutMsMax: number;
  /** A node with a call for its log that hangs for longer must have stopped. */
  readonly storageTimeoutMsMax: number;
  /** Nothing limits how much of the log a leader keeps for nodes that fetch a snapshot. */
  readonly keepsLogForReceivers: boolean;
  /** How fast the fastest clock of a node runs; 1 is right. */
  readonly clockRateMax: number;
  /** A leader that has led for longer must not be deposed; Infinity: the run's faults may depose it. */
  readonly stableAfterMs: number;
}

/**
 * Up to here the store was surely given the node's log. After it, the node may have replaced entries that the
 * store still holds: a node that stopped may not have submitted its last turn, and a node that installs a
 * snapshot takes entries, but gives its store none until the installation has ended.
 */
export function storeIsGivenUpTo({ role, durableIndex = Infinity, isInstalling }: NodeStatus): LogIndex {
  return role === "stopped" || isInstalling === true ? durableIndex : Infinity;
}
