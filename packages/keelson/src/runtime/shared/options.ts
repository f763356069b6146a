import type { NodeId } from "../../core/position.ts";
import type { Environment } from "../../environment/environment.ts";
import type { LogStore } from "../../storage/log-store.ts";
import type { SnapshotStore } from "../../storage/snapshot-store.ts";
import type { Transport } from "../../transport/transport.ts";
import type { StateMachine } from "./state-machine.ts";

/** How much of each thing there may be. What is over a limit is refused, dropped or waits; nothing grows without end. */
export interface RaftLimits {
  /** Bytes of one encoded command. Default 1 MiB. More: `CommandTooLargeError`. */
  readonly commandBytesMax: number;
  /** Entries proposed and not yet applied here. Default 65,536. More: `OverloadedError`. */
  readonly pendingEntriesMax: number;
  /** Bytes of those entries. Default 64 MiB. More: `OverloadedError`. */
  readonly pendingBytesMax: number;
  /** Reads waiting at once. Default 65,536. More: `OverloadedError`. */
  readonly pendingReadsMax: number;
  /** Bytes of records kept in memory for followers that are nearly up to date. Default 32 MiB. */
  readonly cacheBytesMax: number;
  /** Entries, and bytes, applied in one batch before the event loop gets a turn. Default 1,024, 4 MiB. */
  readonly applyBatchEntriesMax: number;
  readonly applyBatchBytesMax: number;
  /** Changes that a slow reader of `changes()` may lag behind before the oldest are merged away. Default 1,024. */
  readonly changesMax: number;
}

/** Milliseconds. */
export interface RaftTimings {
  /** The election timeout is drawn from [min, max) anew each time. Default 400 to 800. */
  readonly electionTimeoutMinMs: number;
  readonly electionTimeoutMaxMs: number;
  /** Default 80. */
  readonly heartbeatMs: number;
  /** How long `write` and `read` wait unless told otherwise. Default 10,000. */
  readonly callTimeoutMs: number;
  /** A write to the log that takes longer counts as failed, and the node stops. Default 30,000. */
  readonly storageTimeoutMs: number;
  /** A leader whose own log write takes longer hands leadership over, and such a node does not campaign. Default 1,600. */
  readonly storageStallMs: number;
  /** How long `addLearner` and `changeMembership` wait for new members to catch up unless told otherwise. Default 300,000. */
  readonly catchUpTimeoutMs: number;
}

/**
 * When snapshots are taken, and what is kept beside them. One is due when `everyEntries` entries or `everyBytes` bytes
 * of log were applied since the last one, and at least a quarter of that one's size: so a large state is not written
 * again and again for a little log.
 */
export interface SnapshotPolicy {
  /** Default 100,000; Infinity: never for this reason. */
  readonly everyEntries: number;
  /** Default 64 MiB; Infinity: never for this reason. */
  readonly everyBytes: number;
  /** Entries kept before a snapshot, for followers that lag behind a little: so many, or so many bytes of them, whichever is less. Default 10,000, 64 MiB. */
  readonly keepEntries: number;
  readonly keepBytes: number;
  /** Bytes of log kept at most for nodes that are fetching a snapshot. Default 256 MiB. */
  readonly transferKeepBytes: number;
  /** How fast this node fetches another's snapshot, in bytes a second. Default: without a limit. */
  readonly fetchBytesPerSecond: number;
}

/** Snapshots: where they are kept, and when they are taken. */
export interface SnapshotOptions extends Partial<SnapshotPolicy> {
  readonly store: SnapshotStore;
}

/** What `Raft.open` needs: who this node is, and the parts it runs on. */
export interface RaftOptions<Command, Result> {
  /** This node's id: 1 to 64 of `A-Z a-z 0-9 . _ -`. */
  readonly id: NodeId;
  readonly stateMachine: StateMachine<Command, Result>;
  readonly log: LogStore;
  readonly transport: Transport;
  /**
   * The cluster's name. A node with a name takes part only in a cluster that was created under it.
   * Within the name each cluster has an id of its own, made by `initialize` from its first members,
   * which is checked on disk and on every connection. Default: no name.
   */
  readonly clusterId?: string;
  /** Free text told to the other nodes, such as the addresses for clients; at most 4 KiB. Default "". */
  readonly data?: string;
  /**
   * How much this node should lead, compared with the others: a whole number from 0 on. A leader hands over to a voter
   * with a higher one that is up to date. It has no part in elections. Default 0.
   */
  readonly priority?: number;
  /**
   * Snapshots of the state machine, which needs `snapshot` and `restore`. Default: none are taken or installed, and the
   * log is kept from its beginning.
   */
  readonly snapshots?: SnapshotOptions;
  readonly limits?: Partial<RaftLimits>;
  readonly timings?: Partial<RaftTimings>;
  /**
   * Whether `write` and what concerns sessions are passed on to the leader by a node that does not lead, which
   * needs `encodeResult` and `decodeResult` of the codec. Default false: they are refused with `NotLeaderError`.
   */
  readonly forward?: boolean;
  /** Default true, both. */
  readonly preVote?: boolean;
  readonly checkQuorum?: boolean;
  /**
   * For `lease` reads: how far two nodes' clocks may drift apart, as a share of the time that passes; the same on all
   * nodes. A lease lasts `electionTimeoutMinMs * (1 - clockDriftMax) / (1 + clockDriftMax)`, counted from before its
   * heartbeats were sent. Default 0.05.
   */
  readonly clockDriftMax?: number;
  /** Default: Node's clock, disk and network. */
  readonly environment?: Environment;
  /** Where messages for people go. Default: nowhere. */
  readonly onLog?: (
    level: "info" | "warn" | "error",
    text: string,
    fields?: Readonly<Record<string, unknown>>,
  ) => void;
}
