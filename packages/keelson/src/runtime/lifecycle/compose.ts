// The composition root: makes a node's parts and wires them together, each after the parts that it uses.
//
// Driver and applier report to parts that use them in turn. `NodeEvents` stands for these parts: it is made
// when all of them exist, and attached to driver and applier once. `NodeStatus` is made first, because every
// part reports failures to it. `NodeLifecycle`, which reacts to them, is made last.
import type { ComponentLog, LogFields } from "../../log-event.ts";
import type { RuntimeMessage } from "../../codec/frame-runtime-message.ts";
import { EntryKind } from "../../codec/record.ts";
import { encodeSessionTime } from "../../codec/session-entry.ts";
import type { NodeId } from "../../core/position.ts";
import { InvalidOptionError, NotLeaderError, RemovedError, type LeaderHint } from "../../errors.ts";
import type { Transport, TransportHost } from "../../transport/transport.ts";
import { CallRegistry, NO_CLUSTER } from "../calls/index.ts";
import {
  failureOfHang,
  ResultEncoder,
  type Failure,
  type RaftMetrics,
  type Settings,
  type StallMetrics,
} from "../shared/index.ts";
import { Applier, Driver, WriteLatency } from "../loop/index.ts";
import {
  KnownPeers,
  LeaderMaintenance,
  LeadershipTransfers,
  LostEntries,
  MemberDirectory,
  MembershipCalls,
  MembershipChanges,
  type MembershipHistory,
  type RemovalEvidence,
  RemovalWatch,
} from "../members/index.ts";
import { ReadHandler, ReadIndexQueue } from "../reads/index.ts";
import { LogClock, SessionApplier, type ResumeHost } from "../sessions/index.ts";
import { NoSnapshots, SnapshotManager, type SnapshotService } from "../snapshots/index.ts";
import { ChangeStream, CommittedStream } from "../streams/index.ts";
import {
  CallForwarder,
  CommandEncoder,
  ForwardedCallServer,
  PendingProposals,
  Proposer,
} from "../writes/index.ts";
import { ChangeDetector } from "./change-detector.ts";
import { ClusterBootstrap } from "./cluster-bootstrap.ts";
import { ClusterFormation } from "./cluster-formation.ts";
import type { PlannedCluster } from "./first-membership.ts";
import { NodeDiagnostics } from "./node-diagnostics.ts";
import { NodeEvents } from "./node-events.ts";
import { NodeLifecycle } from "./node-lifecycle.ts";
import { ElectionLog } from "./election-log.ts";
import type { NodeLogs } from "./node-log.ts";
import { metricsOf, probedStateOf, type ProbedState } from "./node-metrics.ts";
import type { GroupParts, ProcessParts } from "./node-parts.ts";
import type { NodeStatus } from "./node-status.ts";
import { shutDown } from "./shutdown.ts";
import { transportHostOf } from "./transport-host.ts";

/** The parts of a running node that its callers, and the code that opens it, use. */
export interface ComposedNode<Command, Result> {
  readonly group: GroupParts<Command, Result>;
  readonly status: NodeStatus;
  readonly lifecycle: NodeLifecycle;
  readonly bootstrap: ClusterBootstrap;
  /** null: the node was opened without `members`. */
  readonly formation: ClusterFormation | null;
  readonly driver: Driver;
  readonly proposer: Proposer<Command, Result>;
  readonly sessionHost: ResumeHost<Command, Result>;
  readonly reads: ReadHandler;
  readonly membershipChanges: MembershipChanges;
  readonly transfers: LeadershipTransfers;
  readonly membershipCalls: MembershipCalls;
  readonly directory: MemberDirectory;
  readonly removal: RemovalWatch;
  readonly snapshots: SnapshotService;
  readonly detector: ChangeDetector;
  readonly changes: ChangeStream;
  readonly committed: CommittedStream<Command>;
  readonly transportHost: TransportHost;
  /** Tells the transport the nodes that this one may have to talk to. */
  readonly updatePeers: () => void;
  readonly metrics: () => RaftMetrics;
  readonly probe: () => ProbedState;
}

/** What most parts need. It is made before all of them. */
interface Base<Command, Result> extends ProcessParts, GroupParts<Command, Result> {
  readonly status: NodeStatus;
  readonly logs: NodeLogs;
  /** The log of the component "node". */
  readonly log: ComponentLog;
  readonly warn: (text: string, fields?: LogFields) => void;
  readonly failed: (failure: Failure) => void;
  readonly diagnostics: NodeDiagnostics;
  /** The sending side of the transport. */
  readonly sender: Pick<Transport, "send">;
  readonly calls: CallRegistry;
  /** Sends a message to another node's runtime, or drops it; false: certainly dropped. */
  readonly send: (to: NodeId, message: RuntimeMessage) => boolean;
}

/**
 * The time between two runs of `LeaderMaintenance`, in longest election timeouts. None of its work is urgent.
 */
const MAINTENANCE_ELECTION_TIMEOUTS = 2;

/**
 * Makes a node from its parts. It does nothing yet: the transport has not started, and no timer runs.
 * `planned`: the cluster of the option `members`; null: not given.
 */
export function composeNode<Command, Result>(
  process: ProcessParts,
  group: GroupParts<Command, Result>,
  status: NodeStatus,
  logs: NodeLogs,
  planned: PlannedCluster | null,
): ComposedNode<Command, Result> {
  const base = baseOf(process, group, status, logs);
  const { core, memberships } = group;
  const loop = loopOf(base);
  const bootstrap = bootstrapOf(base, loop);
  const formation =
    planned === null ? null : new ClusterFormation({ ...base, log: logs("membership"), planned, bootstrap });
  const noLeaderError = (): NotLeaderError => noLeaderErrorOf(memberships, formation);
  const streams = streamsOf(base, loop);
  const removal = new RemovalWatch(base);
  const members = membersOf(base, loop, removal, noLeaderError);
  const reads = readsOf(base, loop, removal, noLeaderError);
  const writes = writesOf(base, loop, members, removal, reads);
  const snapshots = snapshotsOf(base, loop, bootstrap, ({ index }) => {
    writes.pendingProposals.settleInstalled(index);
    reads.reads.runReady();
    streams.committed.applied();
  });
  const detector = new ChangeDetector(core, memberships, removal);
  const parts = {
    ...{ ...loop, ...members, ...writes, ...reads, ...streams },
    ...{ bootstrap, formation, snapshots, detector, removal },
  };
  const electionLog = new ElectionLog({ ...base, log: logs("election") });
  const events = new NodeEvents({
    ...parts,
    core,
    memberships,
    electionLog,
    log: logs("membership"),
    diagnostics: base.diagnostics,
  });
  removal.attach({
    removed: (evidence) => {
      streams.changes.push({ type: "removed", ...evidence });
      logs("membership")("warn", removalText(core.id, evidence), { ...evidence });
    },
    refuseCalls: () => {
      members.forwarder.removed();
      reads.readQueue.refuse(() => new RemovedError(core.id), core.commitIndex);
    },
  });
  loop.driver.attach(events);
  loop.applier.attach(events);
  base.stallWatch.attach({
    stallChanged: () => {
      // Reported at the end of the turn: a watched call may make progress while the core handles an input,
      // and the core can't take another input within that one.
      base.environment.defer(() => {
        loop.driver.reportServiceStall(base.stallWatch.stall !== null);
      });
    },
    hung: (hang) => {
      base.failed(failureOfHang(hang, "so the node stops"));
    },
  });
  const lifecycle = lifecycleOf(base, parts);
  status.attach((failure) => {
    lifecycle.onFailure(failure);
  });
  const measured = { ...parts, core, status, stalled: () => stalledCall(process, group) };
  return {
    ...parts,
    ...{ group, status, lifecycle },
    transportHost: transportHostOf(process, group, {
      ...{ ...parts, status, diagnostics: base.diagnostics },
      log: logs("transport"),
    }),
    metrics: () => metricsOf(measured),
    probe: () => probedStateOf(measured),
  };
}

/**
 * The error of a call that waited for a leader in vain. It says so if that is because there is no cluster
 * yet.
 */
function noLeaderErrorOf(memberships: MembershipHistory, formation: ClusterFormation | null): NotLeaderError {
  if (memberships.current !== null) return new NotLeaderError(null);
  const waitingFor = formation?.waitingFor ?? null;
  const why = waitingFor === null ? NO_CLUSTER : `the cluster isn't created yet: ${waitingFor}`;
  return new NotLeaderError(null, { why });
}

/** The log line of a node that learns that it was removed. */
function removalText(id: NodeId, { index, toldBy }: RemovalEvidence): string {
  const known = toldBy === null ? `by entry ${String(index)}` : `as ${toldBy} says`;
  return (
    `${id} was removed from the cluster, ${known}: it serves stale reads only. Close it; its machine can be added ` +
    "anew, with an empty directory and a new id"
  );
}

/** The stalled call; null: none has stalled. */
function stalledCall<Command, Result>(
  { environment }: ProcessParts,
  { core, settings, stallWatch }: GroupParts<Command, Result>,
): StallMetrics | null {
  if (stallWatch.stall !== null) return stallWatch.stall;
  if (core.oldestWriteAt === null) return null;
  const ms = environment.now() - core.oldestWriteAt;
  return ms < settings.timings.storageStallMs ? null : { part: "log", call: "writing to it", ms };
}

function baseOf<Command, Result>(
  process: ProcessParts,
  group: GroupParts<Command, Result>,
  status: NodeStatus,
  logs: NodeLogs,
): Base<Command, Result> {
  const log = logs("node");
  const { environment, deadlines, transport } = process;
  const diagnostics = new NodeDiagnostics(group.settings.id, environment.diagnostics);
  const sender = diagnostics.senderOf(transport);
  return {
    ...process,
    ...group,
    ...{ status, logs, log },
    warn: (text, fields) => {
      log("warn", text, fields);
    },
    failed: status.fail,
    calls: new CallRegistry({
      ...{ environment, deadlines },
      timeoutMs: group.settings.timings.callTimeoutMs,
      refusal: () => status.refusal,
    }),
    ...{ diagnostics, sender },
    send: (to, message) => sender.send(to, { message, records: [] }),
  };
}

interface Loop<Command, Result> {
  readonly driver: Driver;
  readonly latency: WriteLatency;
  readonly sessions: SessionApplier<Result>;
  readonly results: ResultEncoder<Result>;
  readonly logClock: LogClock;
  readonly applier: Applier<Command, Result>;
}

function loopOf<Command, Result>(base: Base<Command, Result>): Loop<Command, Result> {
  const { core, logRecords, memberships, store, watchdog, sender, diagnostics, environment } = base;
  const { stateMachine, applied, failed, logs } = base;
  const { limits, timings } = base.settings;
  const latency = new WriteLatency({ environment, timings, log: logs("storage") });
  const warn = (text: string, fields?: LogFields): void => {
    logs("transport")("warn", text, fields);
  };
  const results = new ResultEncoder(stateMachine.codec);
  const sessions = new SessionApplier(base.sessionTable, results);
  return {
    driver: new Driver({
      ...{ core, logRecords, memberships, store, watchdog, latency, environment, failed, warn },
      transport: sender,
      written: (write, ms) => {
        diagnostics.written(write, ms);
      },
    }),
    latency,
    sessions,
    results,
    logClock: new LogClock({
      ...{ core, environment, table: base.sessionTable },
      stepMs: stateMachine.logTimeStepMs ?? null,
    }),
    applier: new Applier({
      ...{ stateMachine, logRecords, core, environment, limits, applied, sessions, results, failed },
    }),
  };
}

interface Members {
  readonly peers: KnownPeers;
  readonly directory: MemberDirectory;
  readonly membershipChanges: MembershipChanges;
  readonly transfers: LeadershipTransfers;
  readonly forwarder: CallForwarder;
  readonly membershipCalls: MembershipCalls;
  readonly maintenance: LeaderMaintenance;
  readonly lostEntries: LostEntries;
  readonly updatePeers: () => void;
}

function membersOf<Command, Result>(
  base: Base<Command, Result>,
  { driver, logClock }: Loop<Command, Result>,
  removal: RemovalWatch,
  noLeaderError: () => NotLeaderError,
): Members {
  const { core, memberships, stored, environment, transport, calls, send, logs, failed } = base;
  const { timings, limits, info, priority, reachAt } = base.settings;
  const log = logs("membership");
  const peers = new KnownPeers((text, fields) => {
    log("warn", text, fields);
  });
  const lostEntries = new LostEntries({
    ...{ core, send, log, failed },
    storeIdOf: (id) => peers.storeIdOf(id),
  });
  const directory = new MemberDirectory(core, memberships, peers, lostEntries, info, reachAt);
  const leader = (): LeaderHint | null => directory.leader;
  const membershipChanges = new MembershipChanges({
    ...{ core, memberships, calls, leader },
    propose: (target) => driver.proposeMembership(target),
    timeoutMs: timings.catchUpTimeoutMs,
    storeIdOf: (id) => (id === core.id ? stored.storeId : peers.storeIdOf(id)),
    isLostStore: (id, storeId) => lostEntries.isLostStore(id, storeId),
    refusalAt: async (id, address) => (await transport.refusalAt?.(id, address)) ?? null,
  });
  const transfers = new LeadershipTransfers(core, {
    ...{ calls, leader },
    begin: (to) => driver.transferLeadership(to),
  });
  const forwarder = new CallForwarder({
    ...{ core, environment, limits, timings, calls, leader, removal, send, noLeaderError },
  });
  const membershipCalls = new MembershipCalls({
    ...{ core, calls, membershipChanges, transfers, leaderCalls: forwarder },
    forwardRefusal: forwardRefusalOf(base.settings),
    changeTimeoutMs: timings.catchUpTimeoutMs,
  });
  const maintenance = new LeaderMaintenance({
    ...{ core, environment, priority },
    everyMs: MAINTENANCE_ELECTION_TIMEOUTS * timings.electionTimeoutMaxMs,
    priorityOf: (id) => peers.priorityOf(id),
    recordStoreIds: () => {
      membershipChanges.recordStoreIds();
    },
    beginTime: () => {
      logClock.begin();
    },
    tellTime: () => {
      if (!logClock.isTickDue) return;
      driver.propose(EntryKind.sessionTime, encodeSessionTime({ clock: logClock.read() }));
    },
    tellLostMembers: () => {
      lostEntries.tellAll();
    },
    transferTo: (id) => {
      driver.transferLeadership(id);
    },
  });
  const updatePeers = (): void => {
    transport.setPeers(directory.addresses);
  };
  return {
    ...{ peers, directory, membershipChanges, transfers, forwarder, membershipCalls, maintenance },
    ...{ lostEntries, updatePeers },
  };
}

function bootstrapOf<Command, Result>(
  base: Base<Command, Result>,
  { driver }: Loop<Command, Result>,
): ClusterBootstrap {
  const { settings, stored, store, watchdog, core, memberships, calls, status, failed } = base;
  return new ClusterBootstrap({
    ...{ store, watchdog, core, memberships, driver, calls, failed },
    id: settings.id,
    clusterName: settings.clusterId,
    clusterId: stored.clusterId,
    refusal: () => status.refusal,
  });
}

interface Writes<Command, Result> {
  readonly pendingProposals: PendingProposals<Result>;
  readonly proposer: Proposer<Command, Result>;
  readonly forwardedCalls: ForwardedCallServer<Command, Result>;
  readonly sessionHost: ResumeHost<Command, Result>;
}

function writesOf<Command, Result>(
  base: Base<Command, Result>,
  { driver, sessions, results, logClock }: Loop<Command, Result>,
  { directory, forwarder, membershipChanges, transfers }: Members,
  removal: RemovalWatch,
  { reads }: Reads,
): Writes<Command, Result> {
  const { core, environment, calls, send, status, retryDelays, settings } = base;
  const { limits, timings } = settings;
  const { codec, schema } = base.stateMachine;
  const leader = (): LeaderHint | null => directory.leader;
  const pendingProposals = new PendingProposals<Result>(
    core,
    environment,
    limits,
    timings.electionTimeoutMaxMs,
  );
  const proposer = new Proposer<Command, Result>({
    ...{ core, driver, results, sessions, logClock, leader, calls, removal },
    encoder: new CommandEncoder<Command>({ codec, schema, limits, calls, environment }),
    pending: pendingProposals,
    leaderCalls: forwarder,
    forwardRefusal: forwardRefusalOf(settings),
    refusal: () => status.refusal,
  });
  const forwardedCalls = new ForwardedCallServer<Command, Result>({
    ...{ core, environment, proposer, results, send, changes: membershipChanges, transfers },
    progressMs: timings.electionTimeoutMaxMs,
  });
  const sessionHost: ResumeHost<Command, Result> = {
    proposals: proposer,
    progressOf: async (id, options) => {
      const { missingSupport } = sessions;
      if (missingSupport !== null) throw new InvalidOptionError(missingSupport);
      return reads.read(() => sessions.table.progressOf(id), options);
    },
    now: () => environment.now(),
    timeoutMs: timings.callTimeoutMs,
    retryDelay: (signal) => retryDelays.wait(timings.heartbeatMs, signal),
  };
  return { pendingProposals, proposer, forwardedCalls, sessionHost };
}

/** Why the node doesn't forward calls to the leader; null: it does. */
function forwardRefusalOf({ forward }: Settings): string | null {
  return forward ? null : "this node doesn't forward calls, because it was opened with forward: false";
}

interface Reads {
  readonly readQueue: ReadIndexQueue;
  readonly reads: ReadHandler;
}

function readsOf<Command, Result>(
  base: Base<Command, Result>,
  { driver, applier }: Loop<Command, Result>,
  removal: RemovalWatch,
  noLeaderError: () => NotLeaderError,
): Reads {
  const { core, environment, calls, failed } = base;
  const { limits, timings } = base.settings;
  const readQueue = new ReadIndexQueue({
    environment,
    readsMax: limits.pendingReadsMax,
    retryMs: timings.heartbeatMs,
    requestIndex: () => driver.readIndex(),
    scheduleDrain: () => {
      driver.scheduleDrain();
    },
  });
  const reads = new ReadHandler({
    ...{ core, environment, calls, failed, removal, noLeaderError },
    queue: readQueue,
    state: applier,
  });
  return { readQueue, reads };
}

interface Streams<Command> {
  readonly changes: ChangeStream;
  readonly committed: CommittedStream<Command>;
}

function streamsOf<Command, Result>(
  { core, logRecords, stateMachine, settings }: Base<Command, Result>,
  { applier }: Loop<Command, Result>,
): Streams<Command> {
  const committed = new CommittedStream<Command>({
    logRecords,
    log: core.log,
    decode: (payload) => stateMachine.codec.decode(payload),
    appliedIndex: () => applier.applied.index,
  });
  return { changes: new ChangeStream(settings.limits.changesMax), committed };
}

function snapshotsOf<Command, Result>(
  base: Base<Command, Result>,
  { driver, applier }: Loop<Command, Result>,
  bootstrap: ClusterBootstrap,
  installed: (position: { readonly index: number }) => void,
): SnapshotService {
  const { snapshotStore, settings, stateMachine, sessionTable, core, logRecords, memberships } = base;
  const { environment, calls, send, failed, logs, warn } = base;
  if (snapshotStore === null || settings.snapshots === null) return new NoSnapshots(warn);
  return new SnapshotManager<Command, Result>({
    ...{ id: settings.id, store: snapshotStore, policy: settings.snapshots, sessions: sessionTable },
    ...{ stateMachine, applier, core, logRecords, memberships, driver, environment, calls },
    ...{ send, installed, failed, log: logs("snapshot") },
    clusterId: () => bootstrap.clusterId,
  });
}

/** The parts that hold calls, streams, timers or the state machine, and so have to end with the node. */
interface EndingParts<Command, Result>
  extends Loop<Command, Result>, Members, Writes<Command, Result>, Reads, Streams<Command> {
  readonly bootstrap: ClusterBootstrap;
  readonly formation: ClusterFormation | null;
  readonly snapshots: SnapshotService;
}

function lifecycleOf<Command, Result>(
  base: Base<Command, Result>,
  parts: EndingParts<Command, Result>,
): NodeLifecycle {
  const { status, log, calls, watchdog, deadlines, retryDelays, environment } = base;
  const { transport, stateMachine, store } = base;
  const { driver, applier, snapshots, pendingProposals, forwarder, readQueue, bootstrap, formation } = parts;
  const { forwardedCalls, membershipChanges, transfers, maintenance, changes, committed } = parts;
  return new NodeLifecycle({
    ...{ status, log },
    handOver: () => transfers.handOver(),
    end: (error, streamError) => {
      driver.stop();
      watchdog.stop();
      base.stallWatch.stop();
      calls.endAll(error);
      pendingProposals.stop();
      forwarder.stop();
      forwardedCalls.stop();
      readQueue.stop();
      formation?.stop();
      bootstrap.stop();
      membershipChanges.stop();
      transfers.stop();
      maintenance.stop();
      snapshots.stop();
      // These are parts of the process, not of the group. They end here because the process has only this
      // group.
      deadlines.stop();
      retryDelays.stop();
      changes.stop(streamError);
      committed.stop(streamError);
    },
    release: () =>
      shutDown(
        [
          { what: "the transport", close: () => transport.close() },
          {
            what: "the state machine",
            close: async () => {
              // It may be applying a command, or writing a snapshot: it isn't closed before that has ended.
              await applier.stop();
              await snapshots.finish();
              await stateMachine.close?.();
            },
          },
          { what: "the snapshots", close: () => snapshots.close() },
          { what: "the log", close: () => store.close() },
        ],
        environment,
        base.warn,
      ),
  });
}
