import type { RaftNode } from "../../core/node.ts";
import type { Applier, Driver } from "../loop/index.ts";
import type { MemberDirectory } from "../members/index.ts";
import type { RaftMetrics, StallMetrics } from "../shared/index.ts";
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
  readonly driver: Driver;
  readonly applier: Applier<Command, Result>;
  readonly detector: ChangeDetector;
  readonly sessions: SessionApplier<Result>;
  readonly pendingProposals: PendingProposals<Result>;
  readonly proposer: Proposer<Command, Result>;
  readonly forwarder: CallForwarder;
  readonly readQueue: ReadIndexQueue;
  readonly reads: ReadHandler;
  readonly snapshots: SnapshotService;
  /** null: no call has stalled. */
  readonly stalled: () => StallMetrics | null;
}

/** Gathers the metrics of all parts of a node, as they are now. */
export function metricsOf<Command, Result>(parts: NodeMetricsParts<Command, Result>): RaftMetrics {
  const { core, status, directory, applier, pendingProposals, readQueue } = parts;
  const isStopped = status.refusal !== null;
  return {
    id: core.id,
    clusterId: parts.bootstrap.clusterId,
    role: isStopped ? "stopped" : core.role,
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
