// The options of `Raft.open`. `settings.ts` checks them and fills in the defaults.
import type { LogEvent } from "../../log-event.ts";
import type { NodeId } from "../../core/position.ts";
import type { Environment } from "../../environment/environment.ts";
import type { LogStore } from "../../storage/log-store.ts";
import type { SnapshotStore } from "../../storage/snapshot-store.ts";
import type { PeerSecret, PeerTls } from "../../transport/tcp/peer-security.ts";
import type { Transport } from "../../transport/transport.ts";
import type { StateMachine } from "./state-machine.ts";

/**
 * Limits on what a node holds at once. Without them a slow disk, state machine or peer would let memory grow
 * until the process dies. What exceeds a limit is refused with an error or waits.
 */
export interface RaftLimits {
  /** Bytes of one encoded command. Larger ones are refused with `CommandTooLargeError`. Default 1 MiB. */
  readonly commandBytesMax: number;
  /**
   * Entries that this node proposed and has not applied yet. More are refused with `OverloadedError`. It also
   * limits the calls that wait for a leader or were forwarded to it. Default 65,536.
   */
  readonly pendingEntriesMax: number;
  /**
   * Bytes of those entries, and of those calls' commands. More are refused with `OverloadedError`. Default 64
   * MiB.
   */
  readonly pendingBytesMax: number;
  /** Reads that wait at once. More are refused with `OverloadedError`. Default 65,536. */
  readonly pendingReadsMax: number;
  /**
   * Memory for the log's newest records, in bytes, with the 128 or so that each record takes besides its own.
   * A follower that lags by more is sent records that are read from the log, which is slower. Records that
   * are not written to the log yet come on top. Default 16 MiB.
   */
  readonly cacheBytesMax: number;
  /** Entries applied in one batch. After each batch the event loop gets a turn. Default 1,024. */
  readonly applyBatchEntriesMax: number;
  /** Bytes of the entries applied in one batch. Default 4 MiB. */
  readonly applyBatchBytesMax: number;
  /**
   * Changes queued for one reader of `changes()`. When there are more, the oldest ones that a later change of
   * the same type has overtaken are dropped. Default 1,024.
   */
  readonly changesMax: number;
}

/** Time limits and intervals, in milliseconds. The defaults suit nodes in one data centre. */
export interface RaftTimings {
  /**
   * The election timeout is drawn at random from [min, max), anew each time, so that followers seldom
   * campaign at once (§5.2). A follower that hears nothing from a leader for that long campaigns. Default
   * 400.
   */
  readonly electionTimeoutMinMs: number;
  /** See `electionTimeoutMinMs`; best twice that. Default 800. */
  readonly electionTimeoutMaxMs: number;
  /** How often a leader sends heartbeats; at most half of `electionTimeoutMinMs`. Default 80. */
  readonly heartbeatMs: number;
  /** The time limit of calls that name none. Default 10,000. */
  readonly callTimeoutMs: number;
  /** An operation of the log that takes longer counts as failed: the node stops. Default 30,000. */
  readonly storageTimeoutMs: number;
  /**
   * A call of the state machine or the snapshot store that makes no progress for so long has stalled. A
   * leader then hands its leadership over, and the node doesn't campaign until the call goes on: it could
   * lead, and serve nothing. Every node applies the same commands, so a single command that takes longer than
   * this costs an election. Default 8,000.
   */
  readonly stateStallMs: number;
  /**
   * A call of the state machine or the snapshot store that makes no progress for so long hangs: the node
   * stops. Taking in and giving out chunks of a snapshot is progress, so a snapshot may take longer in total.
   * A restart applies the command again, so this must be longer than any command takes. Default 60,000.
   */
  readonly stateTimeoutMs: number;
  /**
   * A leader whose own log write takes longer than this transfers its leadership, and a node with such a
   * write doesn't campaign: the cluster would be as slow as its disk. Less than `storageTimeoutMs`. Default
   * 1,600.
   */
  readonly storageStallMs: number;
  /** The time limit of `addLearner` and `changeMembership` calls that name none. Default 300,000. */
  readonly catchUpTimeoutMs: number;
}

/**
 * When snapshots are taken, and which part of the log they leave. A snapshot is due when `everyEntries`
 * entries or `everyBytes` bytes of log were applied since the last one, and these bytes are at least a
 * quarter of that one's size: otherwise a large state would be written again and again for a few entries.
 */
export interface SnapshotPolicy {
  /** Entries applied since the last snapshot. Infinity: this makes none due. Default 100,000. */
  readonly everyEntries: number;
  /** Bytes of log applied since the last snapshot. Infinity: this makes none due. Default 64 MiB. */
  readonly everyBytes: number;
  /**
   * Entries kept in the log although a snapshot covers them. A follower that lags by less is sent these, and
   * not the whole state. Both this limit and `keepBytes` hold. Default 10,000.
   */
  readonly keepEntries: number;
  /** Bytes of those entries. Default 64 MiB. */
  readonly keepBytes: number;
  /**
   * Bytes of log kept at most for nodes that are fetching a snapshot, which will need the entries after it.
   * Default 256 MiB.
   */
  readonly transferKeepBytes: number;
  /** Bytes per second at which this node fetches a snapshot from another. Default Infinity: no limit. */
  readonly fetchBytesPerSecond: number;
}

/** Any fields of `T`. One that is left out or undefined has its default. */
export type Given<T> = { readonly [Name in keyof T]?: T[Name] | undefined };

/** Where snapshots are kept, and when they are taken. */
export interface SnapshotOptions extends Given<SnapshotPolicy> {
  /**
   * Where snapshots are kept. Default: files in the directory `snapshots` in the directory that
   * `RaftOptions.data` names. One of the two must be given.
   */
  readonly store?: SnapshotStore | undefined;
}

/**
 * What `Raft.open` needs: the node's id, its state machine, and what it runs on. `data` and `members` are
 * enough; `log`, `transport` and `snapshots.store` take the place of what would be made from them.
 */
export interface RaftOptions<Command, Result> {
  /**
   * This node's id in the cluster: 1 to 64 of the characters `A-Z a-z 0-9 . _ -`. An id belongs to one store
   * for good.
   */
  readonly id: NodeId;
  /** The state that is replicated. */
  readonly stateMachine: StateMachine<Command, Result>;
  /**
   * The first members of the cluster, this node included: "host:port" by id, as the other nodes reach it.
   * While the node has no log, it asks the others, and creates the cluster once all of them agree. All first
   * members may have the same option, at every start; a node that has a log ignores it, and warns (`onLog`)
   * if its cluster has other members by now.
   *
   * A node whose disk was lost doesn't create the cluster anew: members that have a log object. Therefore all
   * first members must be up for a moment before the first write; `initialize` creates a cluster without
   * that.
   *
   * Also the address at which the node listens, unless `listen` or `transport` is given. Default: the node
   * waits for `initialize`, or until a member of a cluster reaches it.
   */
  readonly members?: Readonly<Record<NodeId, string>> | undefined;
  /**
   * A directory that belongs to this node alone: its log is in `log` below it, and its snapshots in
   * `snapshots`, if the state machine has `snapshot` and `restore`. It is made if it isn't there. Default:
   * none; then `log` is required.
   */
  readonly data?: string | undefined;
  /**
   * Where to listen, "host:port", if not at this node's address in `members`: for example "0.0.0.0:7001" in a
   * container whose name others dial. Without `members`, also where others reach it. Default: the address in
   * `members`.
   */
  readonly listen?: string | undefined;
  /**
   * Certificates for the connections between nodes (TLS, on both sides). All nodes need them. Default: none,
   * and then everyone who reaches the node's port can read and change everything, unless `peerSecret` is
   * given.
   */
  readonly peerTls?: PeerTls | undefined;
  /**
   * A secret that all nodes of the cluster have and prove to each other, without TLS or in addition to it.
   * Without TLS, nothing is encrypted. Default: none.
   */
  readonly peerSecret?: PeerSecret | undefined;
  /** Where the node keeps its log, term and vote. The node opens and closes it. Default: a log in `data`. */
  readonly log?: LogStore | undefined;
  /**
   * How the node reaches the others, and listens. The node starts and closes it. Default: TCP at its address
   * in `members`, with `peerTls` and `peerSecret`.
   */
  readonly transport?: Transport | undefined;
  /**
   * The cluster's name. A node with a name takes part only in a cluster that was created under that name.
   * Each cluster also has an id of its own, made by `initialize` from the name and the first members, which
   * is stored in the log and checked on every connection. Default: no name.
   */
  readonly clusterId?: string | undefined;
  /**
   * Free text about this node that other nodes can read (`metrics().members`, `LeaderHint`), for example
   * addresses for clients; at most 4 KiB of UTF-8. Default "".
   */
  readonly info?: string | undefined;
  /**
   * Where other nodes are now ("host:port" by id), if not where the log says: for members that all got other
   * addresses at once. They are tried first. Once there is a leader again, the membership itself is
   * changed by `changeMembership({ addresses })`. Default: none.
   */
  readonly reachAt?: Readonly<Record<NodeId, string>> | undefined;
  /**
   * How much this node should lead, compared with the others: a whole number from 0 on. A leader transfers
   * its leadership to an up-to-date voter with a higher priority. It does not influence elections. Default 0.
   */
  readonly priority?: number | undefined;
  /**
   * Turns snapshots on; the state machine needs `snapshot` and `restore`. Default: on with the default policy
   * if the state machine has both and `data` is given. Otherwise none are taken or installed, and the log
   * keeps all entries.
   */
  readonly snapshots?: SnapshotOptions | undefined;
  /** Limits that differ from the defaults. */
  readonly limits?: Given<RaftLimits> | undefined;
  /** Timings that differ from the defaults. */
  readonly timings?: Given<RaftTimings> | undefined;
  /**
   * Whether a node that doesn't lead passes calls on to the leader. Writes need a codec with `encodeResult`
   * and `decodeResult` for that; with a codec without them, `forward: true` is refused, and the default
   * forwards all calls but writes. A call that isn't forwarded fails at once with `NotLeaderError` if another
   * node is known to lead; while no leader is known it waits for one like every other. Default true.
   */
  readonly forward?: boolean | undefined;
  /**
   * Pre-vote (dissertation 9.6): a node campaigns only if a majority would vote for it, so a node that was
   * cut off does not disrupt the leader when it returns. Default true.
   */
  readonly preVote?: boolean | undefined;
  /**
   * Check-quorum (dissertation 6.2): a leader that hears from no majority steps down, and a follower that
   * hears from its leader refuses other candidates. Lease reads need it. Default true.
   */
  readonly checkQuorum?: boolean | undefined;
  /**
   * For lease reads: how far two nodes' clocks may drift apart, as a share of the time that passes; the same
   * on all nodes. A lease lasts `electionTimeoutMinMs * (1 - clockDriftMax) / (1 + clockDriftMax)` ms from
   * the moment at which its heartbeats were sent. If clocks drift by more, a lease read may miss a write.
   * Default 0.05.
   */
  readonly clockDriftMax?: number | undefined;
  /** Clock, timers, randomness, disk and network. Default: those of Node. */
  readonly environment?: Environment | undefined;
  /**
   * Called with what the node, its log, its snapshots and its transport have to tell people: elections and
   * roles, members, connections, slow and failing disks, the node's end. What it throws is ignored. It must
   * not take long: the node waits for it. Default: none.
   */
  readonly onLog?: ((event: LogEvent) => void) | undefined;
}
