// What happens in the runtime after an input to the core, at the end of a turn, and after a batch was
// applied.
//
// The driver and the applier report to this class, and it passes each event on to the parts concerned, in a
// fixed order. So no part passes an event to another one directly. The class is made after all the parts that
// it calls, and attached to driver and applier once, before the first input.
import type { ComponentLog } from "../../log-event.ts";
import type { RuntimeMessage } from "../../codec/frame-runtime-message.ts";
import type { ReadAction } from "../../core/action.ts";
import { describeConfig } from "../../core/trace.ts";
import type { InstallSnapshot } from "../../core/message.ts";
import type { RaftNode } from "../../core/node.ts";
import type { LogPosition, NodeId } from "../../core/position.ts";
import type { AppliedEntry } from "../calls/index.ts";
import type { Applier, ApplierHost, DriverHost } from "../loop/index.ts";
import type {
  LeaderMaintenance,
  LeadershipTransfers,
  LostEntries,
  MemberDirectory,
  MembershipChanges,
  MembershipAt,
  MembershipHistory,
  RemovalWatch,
} from "../members/index.ts";
import type { ReadHandler, ReadIndexQueue } from "../reads/index.ts";
import type { SnapshotService } from "../snapshots/index.ts";
import type { ChangeStream, CommittedStream } from "../streams/index.ts";
import type { CallForwarder, ForwardedCallServer, PendingProposals } from "../writes/index.ts";
import { membershipChange, NO_CHANGE, type ChangeDetector, type CoreChange } from "./change-detector.ts";
import type { ClusterBootstrap } from "./cluster-bootstrap.ts";
import type { ElectionLog } from "./election-log.ts";
import type { NodeDiagnostics } from "./node-diagnostics.ts";

/** The parts that events are passed on to. */
export interface NodeEventsParts<Command, Result> {
  readonly core: RaftNode;
  readonly memberships: MembershipHistory;
  readonly applier: Applier<Command, Result>;
  readonly detector: ChangeDetector;
  readonly directory: MemberDirectory;
  readonly membershipChanges: MembershipChanges;
  readonly transfers: LeadershipTransfers;
  readonly maintenance: LeaderMaintenance;
  readonly lostEntries: LostEntries;
  readonly removal: RemovalWatch;
  readonly pendingProposals: PendingProposals<Result>;
  readonly forwarder: CallForwarder;
  readonly forwardedCalls: ForwardedCallServer<Command, Result>;
  readonly readQueue: ReadIndexQueue;
  readonly reads: ReadHandler;
  readonly snapshots: SnapshotService;
  readonly bootstrap: ClusterBootstrap;
  readonly changes: ChangeStream;
  readonly electionLog: ElectionLog;
  readonly diagnostics: NodeDiagnostics;
  /** The log of the component "membership". */
  readonly log: ComponentLog;
  readonly committed: CommittedStream<Command>;
  /** Tells the transport the nodes that this one may have to talk to. */
  readonly updatePeers: () => void;
}

/** Passes the events of driver and applier on to the parts of the node. */
export class NodeEvents<Command, Result> implements DriverHost, ApplierHost<Result> {
  readonly #parts: NodeEventsParts<Command, Result>;
  /** The members that were logged last, with their addresses; empty: none were. */
  #loggedMembers = "";

  constructor(parts: NodeEventsParts<Command, Result>) {
    this.#parts = parts;
  }

  /** After each input to the core. What is reported to callers and streams here has happened already. */
  coreChanged(): void {
    const { core, pendingProposals, membershipChanges, transfers, maintenance, lostEntries } = this.#parts;
    const { detector, forwardedCalls, forwarder, readQueue, removal } = this.#parts;
    const change = detector.detect();
    if (change.leadershipEnded) pendingProposals.leadershipEnded();
    if (change !== NO_CHANGE) this.#publish(change);
    pendingProposals.committed();
    membershipChanges.afterCoreInput();
    transfers.afterCoreInput();
    maintenance.afterCoreInput();
    lostEntries.afterCoreInput();
    forwardedCalls.afterCoreInput();
    if (change.leaderChanged) forwarder.leaderChanged();
    if (change.leaderChanged && core.leader !== null) readQueue.retry();
    // Last: a change that this node made as the leader, and that removes it, has its outcome by now.
    removal.afterCoreInput();
  }

  isAwaited(position: LogPosition): boolean {
    return this.#parts.pendingProposals.has(position);
  }

  beforeDrain(): void {
    this.#parts.readQueue.endTurn();
  }

  afterDrain(answers: readonly ReadAction[]): void {
    const { core, readQueue, bootstrap, applier, reads } = this.#parts;
    readQueue.onReadIndex(answers);
    bootstrap.afterDrain();
    applier.advance(Math.min(core.commitIndex, core.durableIndex));
    reads.runReady();
  }

  runtimeMessage(message: RuntimeMessage): void {
    const { forwardedCalls, forwarder, snapshots, lostEntries } = this.#parts;
    if (message.type === "forward-request") forwardedCalls.onRequest(message);
    else if (message.type === "forward-reply") forwarder.onReply(message);
    else if (message.type === "forward-progress") forwarder.onProgress(message);
    else if (message.type === "entries-lost") lostEntries.onEntriesLost(message);
    else snapshots.onMessage(message);
  }

  snapshotsNeeded(followers: readonly NodeId[]): void {
    this.#parts.snapshots.snapshotsNeeded(followers);
  }

  snapshotOffered(offer: InstallSnapshot): void {
    this.#parts.snapshots.snapshotOffered(offer);
  }

  /**
   * After each batch. Results go out before reads are served, and both before a snapshot of this state is
   * begun: beginning one may take the state machine some time.
   */
  applied(batch: readonly AppliedEntry<Result>[]): void {
    const { pendingProposals, reads, committed, snapshots } = this.#parts;
    pendingProposals.applied(batch);
    reads.runReady();
    committed.applied();
    snapshots.applied();
  }

  /** Tells the streams and the transport what changed. */
  #publish(change: CoreChange): void {
    const { core, memberships, changes, directory, diagnostics, electionLog, updatePeers } = this.#parts;
    const { roleChanged, leaderChanged, membershipChanged, removedMembersChanged } = change;
    const { role, term, leader } = core;
    if (change.leadershipChanged) {
      electionLog.changed();
      diagnostics.leadershipChanged(core);
    }
    if (roleChanged) changes.push({ type: "role", role, term });
    if (leaderChanged) changes.push({ type: "leader", leader, term });
    if (membershipChanged) directory.forgetUnknownSenders();
    if (membershipChanged || leaderChanged || removedMembersChanged) updatePeers();
    if (!membershipChanged || memberships.current === null) return;
    changes.push(membershipChange(memberships.current));
    this.#logMembers(memberships.current);
  }

  /** The leader also writes memberships that differ in the members' stores alone: those aren't logged. */
  #logMembers({ index, membership }: MembershipAt): void {
    const { voters, outgoingVoters, learners } = membership.config;
    const addresses = Object.fromEntries([...membership.members].map(([id, { address }]) => [id, address]));
    const described = describeConfig(membership.config);
    const members = `${described} ${JSON.stringify(addresses)}`;
    if (members === this.#loggedMembers) return;
    this.#loggedMembers = members;
    const text = `the members from entry ${String(index)} on: ${described}`;
    this.#parts.log("info", text, { index, voters, outgoingVoters, learners, addresses });
  }
}
