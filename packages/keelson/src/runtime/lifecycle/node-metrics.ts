import type { RaftNode } from "../../core/node.ts";
import type { LogIndex } from "../../core/position.ts";
import type { Role } from "../../core/role.ts";
import type { Applier, Driver, WriteLatency } from "../loop/index.ts";
import type { MemberDirectory, RemovalWatch } from "../members/index.ts";
import type { RaftMetrics, SessionMetrics, StallMetrics } from "../shared/index.ts";
import type { ReadHandler, ReadIndexQueue } from "../reads/index.ts";
import type { SessionApplier } from "../sessions/index.ts";
import type { SnapshotService } from "../snapshots/index.ts";
import type { CallForwarder, PendingProposals, Proposer } from "../writes/index.ts";
import type { ChangeDetector } from "./change-detector.ts";
import type { ClusterBootstrap } from "./cluster-bootstrap.ts";
import type { NodeStatus } from "./node-status.ts";

export interface NodeMetricsParts<Command, Result> {
  readonly core: RaftNode;
  readonly status: NodeStatus;
  readonly bootstrap: ClusterBootstrap;
  readonly directory: MemberDirectory;
  readonly removal: RemovalWatch;
  readonly driver: Driver;
  readonly latency: WriteLatency;
  readonly applier: Applier<Command, Result>;
  readonly detector: ChangeDetector;
  readonly sessions: SessionApplier<Result>;
  readonly pendingProposals: PendingProposals<Result>;
  readonly proposer: Proposer<Command, Result>;
  readonly forwarder: CallForwarder;
  readonly readQueue: ReadIndexQueue;
  readonly reads: ReadHandler;
  readonly snapshots: SnapshotService;
  /** The call that has stalled; null: none has. */
  readonly stalled: () => StallMetrics | null;
}

/**
 * What the simulator checks of a node after each of its turns. All of it is read without computing anything:
 * gathering all metrics instead would cost more than the turn itself.
 */
export interface ProbedState
  extends
    Pick<RaftMetrics, "term" | "commitIndex" | "appliedIndex" | "durableIndex">,
    Pick<RaftMetrics, "firstIndex" | "lastIndex" | "config" | "pendingEntries" | "pendingBytes">,
    Pick<RaftMetrics, "forwardedBytes"> {
  /** The core's role, of a removed node too. */
  readonly role: Role | "stopped";
  /** The committed entry that removed this node, by its own log; null: none did, as far as it knows. */
  readonly removedAt: LogIndex | null;
  /** The last entry that the newest snapshot covers; null: there is no snapshot, or no snapshot store. */
  readonly newestSnapshot: LogIndex | null;
  /** Whether the state and the log are being replaced by a snapshot that was received. */
  readonly isInstalling: boolean;
  /** The sessions as of the applied entry; null: a batch is being applied, or the state replaced. */
  readonly sessions: SessionMetrics | null;
}

/** A node's state for the simulator's checks, as it is now. */
export function probedStateOf<Command, Result>(parts: NodeMetricsParts<Command, Result>): ProbedState {
  const { core, status, applier, pendingProposals, forwarder, snapshots, sessions } = parts;
  const { log } = core;
  return {
    role: status.takesCalls ? core.role : "stopped",
    term: core.term,
    commitIndex: core.commitIndex,
    appliedIndex: applier.applied.index,
    durableIndex: core.durableIndex,
    firstIndex: log.base.index + 1,
    lastIndex: log.last.index,
    config: core.config,
    pendingEntries: pendingProposals.entries,
    pendingBytes: pendingProposals.bytes,
    forwardedBytes: forwarder.bytes,
    removedAt: parts.removal.evidence?.index ?? null,
    newestSnapshot: snapshots.newestIndex,
    isInstalling: snapshots.isInstalling,
    sessions: applier.isReadable ? sessions.metrics : null,
  };
}

/** Gathers the metrics of all parts of a node, as they are now. */
export function metricsOf<Command, Result>(parts: NodeMetricsParts<Command, Result>): RaftMetrics {
  const { core, status, directory, applier, pendingProposals, readQueue } = parts;
  const isStopped = !status.takesCalls;
  return {
    id: core.id,
    clusterId: parts.bootstrap.clusterId,
    role: isStopped ? "stopped" : parts.removal.isRemoved ? "removed" : core.role,
    term: core.term,
    leader: isStopped ? null : directory.leader,
    commitIndex: core.commitIndex,
    appliedIndex: applier.applied.index,
    durableIndex: core.durableIndex,
    firstIndex: core.log.base.index + 1,
    lastIndex: core.log.last.index,
    config: core.config,
    members: directory.metrics(isStopped),
    pendingEntries: pendingProposals.entries,
    pendingBytes: pendingProposals.bytes,
    pendingReads: readQueue.size,
    ...parts.forwarder.metrics,
    stalled: isStopped ? null : parts.stalled(),
    logWriteLatency: parts.latency.metrics,
    sessions: parts.sessions.metrics,
    snapshots: parts.snapshots.metrics,
    counters: {
      elections: parts.detector.elections,
      reads: parts.reads.count,
      writes: parts.proposer.count,
      readRounds: readQueue.requestCount,
      ...parts.driver.counters,
    },
  };
}
