import type { RuntimeMessage } from "../codec/frame-runtime-message.ts";
import type { InstallSnapshot } from "../core/message.ts";
import type { Role } from "../core/role.ts";
import type { RaftNode } from "../core/node.ts";
import type { LogIndex, NodeId } from "../core/position.ts";
import type { Environment } from "../environment/environment.ts";
import { nodeEnvironment } from "../environment/node/node-environment.ts";
import { ClosedError, InvalidOptionError, type LeaderHint, type Outcome, type RaftError } from "../errors.ts";
import type { TransportHost } from "../transport/transport.ts";
import {
  CallRegistry,
  CallDeadlines,
  RetryDelays,
  type AppliedEntry,
  type CallOptions,
  type WriteResult,
} from "./calls/index.ts";
import { asPromise, errorOf, reasonOf, type Failure } from "./failure.ts";
import { ClusterBootstrap, openParts, Shutdown, type Opened } from "./lifecycle/index.ts";
import { Applier, Driver } from "./loop/index.ts";
import {
  LeaderMaintenance,
  MemberDirectory,
  MembershipChanges,
  KnownPeers,
  LeadershipTransfers,
  type MembershipAt,
  type MembershipChange,
} from "./members/index.ts";
import type { RaftMetrics, SnapshotMetrics } from "./metrics.ts";
import type { RaftOptions } from "./options.ts";
import { ReadHandler, ReadIndexQueue, type ReadOptions, type Staleness } from "./reads/index.ts";
import {
  openSession,
  SessionApplier,
  type OpenedSession,
  type OpenSessionOptions,
  type Session,
  type SessionHost,
} from "./sessions/index.ts";
import { settingsOf, type Settings } from "./settings.ts";
import { SnapshotManager } from "./snapshots/index.ts";
import { ChangeStream, CommittedStream, type CommittedCommand, type RaftChange } from "./streams/index.ts";
import {
  ForwardedCallServer,
  CallForwarder,
  PendingProposals,
  Proposer,
  type WriteOptions,
} from "./writes/index.ts";

/** What of the node was last told to the others who want to know. */
interface Seen {
  role: Role;
  term: number;
  leader: NodeId | null;
  membership: MembershipAt | null;
  /** How many removed members are still told of it. */
  removedMembersToNotify: number;
}

/**
 * One node of a cluster that replicates a state machine.
 *
 * @example
 * ```ts
 * await using raft = await Raft.open({ id: "a", stateMachine, log: wal("./data/a"), transport: tcp({ listen: "127.0.0.1:7001" }) });
 * await raft.initialize({ a: "127.0.0.1:7001", b: "127.0.0.1:7002", c: "127.0.0.1:7003" });
 * const result = await raft.write(command);
 * const value = await raft.read(() => state.get("x"));
 * ```
 */
export class Raft<Command, Result> implements AsyncDisposable {
  readonly #options: RaftOptions<Command, Result>;
  readonly #settings: Settings;
  readonly #environment: Environment;
  readonly #opened: Opened;
  readonly #core: RaftNode;
  readonly #driver: Driver;
  readonly #applier: Applier<Command, Result>;
  readonly #writes: PendingProposals<Result>;
  readonly #sessions: SessionApplier<Result>;
  readonly #proposals: Proposer<Command, Result>;
  readonly #forwarding: CallForwarder;
  readonly #forwardedCalls: ForwardedCallServer<Command, Result>;
  readonly #sessionHost: SessionHost<Command, Result>;
  readonly #reads: ReadIndexQueue;
  readonly #deadlines: CallDeadlines;
  readonly #calls: CallRegistry;
  readonly #reading: ReadHandler;
  readonly #pauses: RetryDelays;
  readonly #changes: ChangeStream;
  readonly #committed: CommittedStream<Command>;
  readonly #founding: ClusterBootstrap;
  readonly #membershipChanges: MembershipChanges;
  readonly #transfers: LeadershipTransfers;
  readonly #chores: LeaderMaintenance;
  readonly #peers: KnownPeers;
  readonly #directory: MemberDirectory;
  readonly #shutdown: Shutdown;
  /** null: the node was opened without. */
  readonly #snapshots: SnapshotManager<Command, Result> | null;
  #refusedOffers = 0;
  readonly #stopped = Promise.withResolvers<RaftError | undefined>();
  #elections = 0;
  readonly #seen: Seen;
  #failure: Failure | null = null;
  #closing: Promise<void> | null = null;
  /** No input is taken any more, and every call has its answer. */
  #ended = false;
  #released: Promise<void> | null = null;

  private constructor(
    options: RaftOptions<Command, Result>,
    settings: Settings,
    environment: Environment,
    opened: Opened,
  ) {
    const { core, logRecords, memberships, watchdog, applied, stored } = opened;
    const { limits, timings } = settings;
    const { log: store, transport, stateMachine } = options;
    this.#options = options;
    this.#settings = settings;
    this.#environment = environment;
    this.#opened = opened;
    this.#core = core;
    this.#seen = {
      role: core.role,
      term: core.term,
      leader: core.leader,
      membership: memberships.current,
      removedMembersToNotify: 0,
    };
    const failed = this.#fail.bind(this);
    this.#deadlines = new CallDeadlines(environment);
    this.#calls = new CallRegistry({
      environment,
      deadlines: this.#deadlines,
      timeoutMs: timings.callTimeoutMs,
      refusal: () => this.#refusal(),
    });
    this.#pauses = new RetryDelays(environment);
    this.#changes = new ChangeStream(limits.changesMax);
    this.#peers = new KnownPeers((text, fields) => {
      this.#log("warn", text, fields);
    });
    this.#directory = new MemberDirectory(core, memberships, this.#peers, settings.data);
    this.#driver = new Driver(
      { core, logRecords, memberships, store, watchdog, transport, environment },
      {
        coreChanged: () => {
          this.#changed();
        },
        beforeDrain: () => {
          this.#reads.endTurn();
        },
        afterDrain: (reads) => {
          this.#reads.onReadIndex(reads);
          this.#founding.persisted();
          this.#applier.advance(Math.min(core.commitIndex, core.durableIndex));
          this.#reading.runReady();
        },
        runtimeMessage: (message) => {
          if (message.type === "forward-request") this.#forwardedCalls.onRequest(message);
          else if (message.type === "forward-reply") this.#forwarding.onReply(message);
          else this.#snapshots?.receive(message);
        },
        snapshotsNeeded: (followers) => this.#snapshots?.wanted(followers),
        snapshotOffered: (offer) => {
          this.#offered(offer);
        },
        failed,
        warn: (text, fields) => {
          this.#log("warn", text, fields);
        },
      },
    );
    const sessions = new SessionApplier(opened.sessions, stateMachine.codec);
    this.#sessions = sessions;
    this.#applier = new Applier(
      { stateMachine, logRecords, core, environment, limits, applied, sessions },
      {
        applied: (batch) => {
          this.#applied(batch);
        },
        failed,
      },
    );
    this.#writes = new PendingProposals(core, environment, limits, timings.electionTimeoutMaxMs);
    const send = (to: NodeId, message: RuntimeMessage): boolean =>
      transport.send(to, { message, records: [] });
    const leader = (): LeaderHint | null => this.#directory.leader;
    const calls = this.#calls;
    this.#forwarding = new CallForwarder({ core, environment, limits, timings, calls, leader, send });
    const { codec } = stateMachine;
    this.#proposals = new Proposer({
      ...{ core, codec, environment, limits, leader, calls, sessions },
      driver: this.#driver,
      pending: this.#writes,
      forwarder: settings.forward ? this.#forwarding : null,
      refusal: () => this.#refusal(),
    });
    this.#forwardedCalls = new ForwardedCallServer({ core, proposer: this.#proposals, codec, send });
    this.#sessionHost = {
      proposals: this.#proposals,
      now: () => environment.now(),
      timeoutMs: timings.callTimeoutMs,
      retryDelay: (signal) => this.#pauses.wait(timings.heartbeatMs, signal),
    };
    this.#reads = new ReadIndexQueue({
      environment,
      readsMax: limits.pendingReadsMax,
      retryMs: timings.heartbeatMs,
      requestIndex: () => this.#driver.readIndex(),
      scheduleDrain: () => {
        this.#driver.scheduleDrain();
      },
    });
    this.#reading = new ReadHandler({
      core,
      environment,
      calls: this.#calls,
      queue: this.#reads,
      state: this.#applier,
      isMember: () => this.initialized,
    });
    this.#committed = new CommittedStream({
      logRecords,
      log: core.log,
      decode: (payload) => stateMachine.codec.decode(payload),
      appliedIndex: () => this.#applier.applied.index,
    });
    this.#founding = new ClusterBootstrap({
      id: settings.id,
      clusterName: settings.clusterId,
      clusterId: stored.clusterId,
      store,
      watchdog,
      core,
      memberships,
      driver: this.#driver,
      refusal: () => this.#refusal(),
      failed,
    });
    this.#membershipChanges = new MembershipChanges({
      core,
      memberships,
      propose: (target) => this.#driver.proposeMembership(target),
      calls: this.#calls,
      timeoutMs: timings.catchUpTimeoutMs,
      leader: () => this.#directory.leader,
      storeIdOf: (id) => (id === core.id ? stored.storeId : this.#peers.storeIdOf(id)),
    });
    this.#chores = new LeaderMaintenance({
      core,
      environment,
      everyMs: CHORES_ELECTION_TIMEOUTS * timings.electionTimeoutMaxMs,
      priority: settings.priority,
      priorityOf: (id) => this.#peers.priorityOf(id),
      recordStoreIds: () => {
        this.#membershipChanges.recordStoreIds();
      },
      transferTo: (id) => {
        this.#driver.transferLeadership(id);
      },
    });
    this.#transfers = new LeadershipTransfers(core, {
      calls: this.#calls,
      begin: (to) => this.#driver.transferLeadership(to),
      leader: () => this.#directory.leader,
    });
    this.#shutdown = new Shutdown(environment, (text, fields) => {
      this.#log("warn", text, fields);
    });
    this.#snapshots = this.#makeSnapshots();
  }

  #makeSnapshots(): SnapshotManager<Command, Result> | null {
    const { snapshots, stateMachine, transport } = this.#options;
    const { id, snapshots: policy } = this.#settings;
    if (snapshots === undefined || policy === null) return null;
    const { core, logRecords, memberships, sessions } = this.#opened;
    return new SnapshotManager({
      ...{ id, store: snapshots.store, policy, stateMachine, sessions, core, logRecords, memberships },
      ...{ applier: this.#applier, driver: this.#driver, environment: this.#environment },
      calls: this.#calls,
      clusterId: () => this.#founding.clusterId,
      send: (to, message) => transport.send(to, { message, records: [] }),
      installed: ({ index }) => {
        this.#writes.settleInstalled(index);
        this.#reading.runReady();
        this.#committed.grew();
      },
      failed: this.#fail.bind(this),
      log: (level, text, fields) => {
        this.#log(level, text, fields);
      },
    });
  }

  /**
   * Opens the log and the state machine, and starts to listen. A node that belongs to a cluster
   * takes part in it from now on; one that does not waits for `initialize`, or to be reached.
   *
   * @throws InvalidOptionError, CorruptLogError, WrongIdentityError, DirectoryLockedError, StorageFailedError
   */
  static async open<Command, Result>(options: RaftOptions<Command, Result>): Promise<Raft<Command, Result>> {
    const settings = settingsOf(options);
    const environment = options.environment ?? nodeEnvironment();
    // A read that hangs while the node opens has no node to stop yet; then this does nothing.
    let onHang = (_what: string): void => undefined;
    const opened = await openParts(options, settings, environment, (what) => {
      onHang(what);
    });
    const raft = new Raft(options, settings, environment, opened);
    onHang = (what) => {
      raft.#fail({ kind: "storage", message: `${what}, so the node stops`, cause: null });
    };
    try {
      await options.transport.start(raft.#transportHost());
    } catch (error) {
      await raft.close();
      throw error;
    }
    raft.#setPeers();
    raft.#snapshots?.begin();
    raft.#driver.scheduleDrain();
    return raft;
  }

  /**
   * Creates the cluster with these first members (id to address, as other nodes reach it), this
   * node included. All of them may call it, at the same time, with the same members, or one alone.
   * The same members again, also after a restart, change nothing. Resolves when the cluster's first
   * entry is durable on this node, which is before there is a leader.
   *
   * @throws AlreadyInitializedError the node belongs to a cluster that began with other members
   * @throws InvalidOptionError
   */
  initialize(members: Readonly<Record<NodeId, string>>): Promise<void> {
    const refusal = this.#refusal();
    return refusal === null ? this.#founding.initialize(members) : Promise.reject(refusal);
  }

  /** Whether the node belongs to a cluster: it knows its members. */
  get initialized(): boolean {
    return this.#opened.memberships.current !== null;
  }

  /**
   * Proposes a command, and resolves with the state machine's result once it is committed and applied on
   * the leader: this node, or, with the option `forward`, whichever it is. A rejection's `outcome` says
   * whether the command may have taken effect, or may yet.
   *
   * @throws NotLeaderError, OverloadedError, CommandTooLargeError, CommandRejectedError,
   *   CommandLostError, OutcomeUnknownError, AbortedError, ClosedError, StorageFailedError
   */
  async write(command: Command, options: WriteOptions = {}): Promise<Result> {
    return (await this.writeWithIndex(command, options)).result;
  }

  /**
   * Opens a session, in which each command takes effect exactly once however often it is sent (§8;
   * dissertation 6.3). It ends by itself when it is not used for `ttlMs` in the time of the log
   * (default 60 s), and may give way to others when very many are open. Waits for a leader to be
   * known, up to the time limit.
   *
   * @throws InvalidOptionError the state machine lacks what sessions need; the errors of `write`
   */
  openSession(options: OpenSessionOptions = {}): Promise<Session<Command, Result>> {
    return openSession(this.#sessionHost, options);
  }

  /**
   * Opens a session for a caller who keeps count and repeats by themselves, such as a client of a
   * server: `write` takes its commands. Like `write`, it is for the leader, and one attempt.
   *
   * @throws InvalidOptionError the state machine lacks what sessions need; the errors of `write`
   */
  beginSession(options: OpenSessionOptions = {}): Promise<OpenedSession> {
    return asPromise(() => this.#proposals.openSession(options));
  }

  /** Ends a session before its time; fine if it has ended already. The errors are those of `write`. */
  endSession(id: LogIndex, options: CallOptions = {}): Promise<void> {
    return asPromise(() => this.#proposals.closeSession(id, options));
  }

  /** Like `write`, with the index of the command's entry; of the first, where this was a retry in a session. */
  writeWithIndex(command: Command, options: WriteOptions = {}): Promise<WriteResult<Result>> {
    return asPromise(() => this.#proposals.write(command, options));
  }

  /**
   * Runs `query` on this node's own state, on any node, once that state holds every write that was
   * answered before the call. While no leader is known it waits for one, up to the time limit.
   * The query runs between two commands; what it does after an `await` of its own may see later ones.
   *
   * @throws NotLeaderError no leader emerged; OverloadedError, AbortedError, ClosedError; whatever `query` throws
   */
  read<T>(query: () => T | Promise<T>, options: ReadOptions = {}): Promise<T> {
    return asPromise(() => this.#reading.read(query, options));
  }

  /**
   * Adds a member that is sent the log and has no vote, and waits until it has caught up; for a learner, changes its
   * address. To be called on the leader. The new node must have been opened, with an empty log.
   *
   * @throws CatchUpTimeoutError it is a learner, and still catching up after `timeoutMs`
   *   (default `timings.catchUpTimeoutMs`); NotLeaderError, ChangeRefusedError, OutcomeUnknownError, InvalidOptionError
   */
  addLearner(id: NodeId, address: string, options: CallOptions = {}): Promise<void> {
    return this.#membershipChanges.addLearner(id, address, options);
  }

  /**
   * Changes who takes part, any number of members at once, the leader too (§6). New voters are learners first, and the
   * change waits until they have caught up; then it happens as a whole, or not at all. Resolves when it is committed
   * and the joint configuration is left. To be called on the leader.
   *
   * @throws CatchUpTimeoutError new members are learners, and still catching up after `timeoutMs`
   *   (default `timings.catchUpTimeoutMs`); NotLeaderError, ChangeRefusedError, OutcomeUnknownError, InvalidOptionError
   */
  changeMembership(change: MembershipChange, options: CallOptions = {}): Promise<void> {
    return this.#membershipChanges.change(change, options);
  }

  /**
   * Hands leadership to the voter `to`, or to the one whose log is the most complete (dissertation 3.10), and resolves
   * with the id of the next leader. Meanwhile writes are refused with `TransferringError`. Gives up after an election
   * timeout, and this node leads on.
   *
   * @throws TransferFailedError, NotLeaderError, ClosedError
   */
  transferLeadership(to?: NodeId, options: CallOptions = {}): Promise<NodeId> {
    return this.#transfers.transfer(to ?? null, options);
  }

  /**
   * Takes a snapshot of this node's state now, whatever the policy says, and forgets the log that it covers but for
   * `snapshots.keepEntries`. Writes go on meanwhile. Resolves when it is durable; there is no time limit unless one is
   * given, and giving up the wait does not stop it.
   *
   * @throws SnapshotFailedError, InvalidOptionError the node was opened without `snapshots`; AbortedError, ClosedError
   */
  snapshot(options: CallOptions = {}): Promise<SnapshotMetrics> {
    if (this.#snapshots !== null) return this.#snapshots.request(options);
    return Promise.reject(
      new InvalidOptionError("the node takes no snapshots: give Raft.open the option `snapshots`"),
    );
  }

  /** How old the state may be that a `stale` read sees. There is no bound: a node that is cut off cannot know. */
  staleness(): Staleness {
    return this.#reading.staleness;
  }

  /** How this node is, as a plain object: a copy. */
  metrics(): RaftMetrics {
    const core = this.#core;
    const isStopped = this.#refusal() !== null;
    return {
      id: this.#settings.id,
      clusterId: this.#founding.clusterId,
      role: isStopped ? "stopped" : core.role,
      term: core.term,
      leader: isStopped ? null : this.#directory.leader,
      commitIndex: core.commitIndex,
      appliedIndex: this.#applier.applied.index,
      durableIndex: core.durableIndex,
      firstIndex: core.log.base.index + 1,
      lastIndex: core.log.last.index,
      config: core.config,
      members: this.#directory.metrics(isStopped),
      pendingEntries: this.#writes.entries,
      pendingBytes: this.#writes.bytes,
      pendingReads: this.#reads.size,
      ...this.#forwarding.metrics,
      sessions: this.#sessions.metrics,
      snapshots: this.#snapshots?.metrics ?? null,
      counters: {
        elections: this.#elections,
        reads: this.#reading.count,
        writes: this.#proposals.count,
        readRounds: this.#reads.requestCount,
        ...this.#driver.counters,
      },
    };
  }

  /**
   * Role, leader and membership as they are now, then each time they change, then the end of the
   * node. A reader who lags behind by more than `limits.changesMax` misses changes that later ones
   * have overtaken, never the last.
   */
  changes(): AsyncIterableIterator<RaftChange> {
    const { role, term, leader } = this.#core;
    const state: RaftChange[] = [
      { type: "role", role, term },
      { type: "leader", leader, term },
    ];
    const membership = this.#opened.memberships.current;
    if (membership !== null) state.push(membershipChange(membership));
    return this.#changes.subscribe(state);
  }

  /**
   * The commands of the log in order, once they are applied on this node, from the entry `from` on
   * (default: from the log's beginning), and on as they come. Ends when the node closes; throws the
   * node's error when it fails.
   *
   * @throws InvalidOptionError the log does not reach back to `from`
   */
  committed(options: { readonly from?: LogIndex } = {}): AsyncIterableIterator<CommittedCommand<Command>> {
    return this.#committed.open(options.from);
  }

  /** Resolves when the node has stopped: with undefined after `close`, with the error after a failure. Never rejects. */
  get stopped(): Promise<RaftError | undefined> {
    return this.#stopped.promise;
  }

  /**
   * Stops the node and lets go of everything it holds. A leader hands its leadership over first, for which it takes a
   * moment; calls under way then end, each with an outcome. Resolves within about a second and a half, even if a disk
   * or the state machine hangs. Idempotent.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const handingOver = this.#ended ? null : this.#transfers.handOver();
    if (handingOver !== null) await handingOver;
    if (!this.#ended) this.#endCalls((outcome) => new ClosedError(outcome), null);
    await this.#release();
    this.#stopped.resolve(undefined);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #applied(batch: readonly AppliedEntry<Result>[]): void {
    this.#writes.applied(batch);
    this.#reading.runReady();
    this.#committed.grew();
    this.#snapshots?.applied();
  }

  #offered(offer: InstallSnapshot): void {
    if (this.#snapshots !== null) {
      this.#snapshots.offered(offer);
      return;
    }
    this.#refusedOffers += 1;
    // It comes again with every heartbeat.
    if (this.#refusedOffers > 1) return;
    this.#log(
      "warn",
      "this node lacks entries that are gone from the leader's log, and cannot fetch a snapshot: open it with the option `snapshots`",
      { leader: offer.from },
    );
  }

  /** Why the node takes no calls any more; null: it does. */
  #refusal(): RaftError | null {
    if (this.#failure !== null) return errorOf(this.#failure, "not-done");
    return this.#closing === null && !this.#ended ? null : new ClosedError("not-done");
  }

  /** After each input to the core. What is told here has happened already. */
  #changed(): void {
    const { role, term, leader } = this.#core;
    const before = this.#seen;
    const membership = this.#opened.memberships.current;
    if (before.role === "leader" && (role !== "leader" || term !== before.term))
      this.#writes.leadershipEnded();
    if (role === "candidate" && (before.role !== "candidate" || term !== before.term)) this.#elections += 1;
    const roleChanged = role !== before.role;
    const leaderChanged = leader !== before.leader || (leader !== null && term !== before.term);
    const membershipChanged = membership !== before.membership;
    before.role = role;
    before.term = term;
    before.leader = leader;
    before.membership = membership;
    if (roleChanged) this.#changes.push({ type: "role", role, term });
    if (leaderChanged) this.#changes.push({ type: "leader", leader, term });
    const removedMembersToNotify = this.#core.removedMembersToNotify.length;
    if (membershipChanged) this.#directory.forgetCallers();
    if (membershipChanged || leaderChanged || removedMembersToNotify !== before.removedMembersToNotify)
      this.#setPeers();
    before.removedMembersToNotify = removedMembersToNotify;
    if (membershipChanged && membership !== null) this.#changes.push(membershipChange(membership));
    this.#writes.committed();
    this.#membershipChanges.afterCoreInput();
    this.#transfers.afterCoreInput();
    this.#chores.afterCoreInput();
    this.#forwardedCalls.afterCoreInput();
    if (leaderChanged) this.#forwarding.leaderChanged();
    if (leaderChanged && leader !== null) this.#reads.retry();
  }

  #setPeers(): void {
    this.#options.transport.setPeers(this.#directory.addresses);
  }

  #transportHost(): TransportHost {
    const { id, data, priority } = this.#settings;
    return {
      environment: this.#environment,
      self: { id, storeId: this.#opened.stored.storeId, data, priority },
      clusterId: () => this.#founding.clusterId,
      adoptClusterId: (clusterId) => this.#founding.adopt(clusterId),
      refusalOf: (peer) => this.#directory.refusalOf(peer),
      onPeer: (peer) => {
        this.#peers.met(peer);
        // It may be elsewhere than this node's log says.
        if (this.#refusal() === null) this.#setPeers();
      },
      receive: (transportMessage) => {
        if (this.#refusal() === null && this.#directory.noteSender(transportMessage.message))
          this.#setPeers();
        this.#driver.receive(transportMessage);
      },
      log: (level, text, fields) => {
        this.#log(level, text, fields);
      },
    };
  }

  /** Stops at once, on purpose: nothing is sent, written or acknowledged after this. */
  #fail(failure: Failure): void {
    if (this.#ended) return;
    this.#failure = failure;
    const error = errorOf(failure, "unknown");
    this.#log("error", failure.message, { cause: reasonOf(failure.cause) });
    this.#endCalls((outcome) => errorOf(failure, outcome), error);
    const released = this.#release().then(() => {
      this.#stopped.resolve(error);
    });
    this.#closing ??= released;
  }

  #endCalls(error: (outcome: Outcome) => RaftError, stoppedBy: RaftError | null): void {
    this.#ended = true;
    this.#driver.stop();
    this.#opened.watchdog.stop();
    // A proposed command may be on its way to a majority already. A read changes nothing in any case.
    this.#writes.endAll(() => error("unknown"));
    this.#forwarding.endAll(error);
    this.#reads.endAll(() => error("not-done"));
    this.#founding.end(() => error("unknown"));
    this.#membershipChanges.endAll(() => error("unknown"));
    this.#transfers.endAll(() => error("unknown"));
    this.#chores.stop();
    this.#snapshots?.end(error("not-done"));
    this.#deadlines.stop();
    this.#pauses.stop();
    this.#changes.stop(stoppedBy);
    this.#committed.end(stoppedBy);
  }

  #release(): Promise<void> {
    this.#released ??= this.#releaseParts();
    return this.#released;
  }

  #releaseParts(): Promise<void> {
    const { transport, stateMachine, log } = this.#options;
    return this.#shutdown.run([
      { what: "the transport", close: () => transport.close() },
      {
        what: "the state machine",
        close: async () => {
          // It may be in the middle of a command, and must not be closed under it.
          await this.#applier.stop();
          await this.#snapshots?.stop();
          await stateMachine.close?.();
        },
      },
      { what: "the snapshots", close: async () => this.#snapshots?.close() },
      { what: "the log", close: () => log.close() },
    ]);
  }

  #log(level: "info" | "warn" | "error", text: string, fields?: Readonly<Record<string, unknown>>): void {
    try {
      this.#options.onLog?.(level, text, { id: this.#settings.id, ...fields });
    } catch {
      // A logger that throws must not take a node with it, and there is nobody else to tell.
    }
  }
}

/** How often a leader looks after its members, in the longest election timeouts: what it does then is never urgent. */
const CHORES_ELECTION_TIMEOUTS = 2;

function membershipChange({ index, membership }: MembershipAt): RaftChange {
  return { type: "membership", index, config: membership.config };
}
