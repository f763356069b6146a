import type { InstallSnapshot } from "../core/message.ts";
import type { Role } from "../core/state.ts";
import type { RaftNode } from "../core/node.ts";
import type { LogIndex, NodeId } from "../core/position.ts";
import type { Environment } from "../environment/environment.ts";
import { nodeEnvironment } from "../environment/node.ts";
import {
  AbortedError,
  CatchUpTimeoutError,
  ClosedError,
  InvalidOptionError,
  NotLeaderError,
  OutcomeUnknownError,
  type Outcome,
  type RaftError,
} from "../errors.ts";
import type { TransportHost } from "../transport/transport.ts";
import { Applier, type Applied } from "./applier.ts";
import { Call, causeOf, describeCancellation, type CallOptions, type Cancellation } from "./call.ts";
import { Changes, type RaftChange } from "./changes.ts";
import { Committed, type CommittedCommand } from "./committed.ts";
import { Deadlines } from "./deadlines.ts";
import { Driver } from "./driver.ts";
import { errorOf, reasonOf, toError, type Failure } from "./failure.ts";
import { Founding } from "./founding.ts";
import { LeaderChores } from "./leader-chores.ts";
import { MemberDirectory } from "./member-directory.ts";
import type { MembershipAt } from "./membership.ts";
import { MembershipChanges, type ChangeAttempt, type MembershipChange } from "./membership-changes.ts";
import type { RaftMetrics, SnapshotMetrics } from "./metrics.ts";
import { openParts, type Opened } from "./opening.ts";
import type { RaftOptions } from "./options.ts";
import { Pauses } from "./pauses.ts";
import { Peers } from "./peers.ts";
import { PendingReads, type PendingRead } from "./pending-reads.ts";
import { PendingWrites, type Written } from "./pending-writes.ts";
import { Proposals, type OpenedSession, type OpenSessionOptions, type WriteOptions } from "./proposals.ts";
import { openSession, type Session, type SessionHost } from "./session.ts";
import { SessionSteps } from "./session-steps.ts";
import { settingsOf, type Settings } from "./settings.ts";
import { Transfers } from "./transfers.ts";
import { Shutdown } from "./shutdown.ts";
import { Snapshots } from "./snapshots.ts";

/**
 * How a read relates to the writes before it. `linearizable`: it sees every write that was answered
 * before it began, anywhere in the cluster. `lease`: the same, without asking anybody if this node leads, provided
 * that no clock drifts by more than `clockDriftMax` (dissertation 6.4.1). `stale`: it sees some past state of this
 * node, at once, whoever leads; `staleness()` says how old it may be.
 */
export type Consistency = "linearizable" | "lease" | "stale";

/** What a node knows of the age of its own state. */
export interface Staleness {
  /** The last entry that the state holds. */
  readonly appliedIndex: LogIndex;
  /** The last entry that this node knows to be committed. */
  readonly commitIndex: LogIndex;
  /** Milliseconds since it heard from a leader; 0 on a leader; null: never. */
  readonly leaderHeardMsAgo: number | null;
}

/** How one read is made. */
export interface ReadOptions extends CallOptions {
  /** Default `linearizable`. */
  readonly consistency?: Consistency;
}

/** What of the node was last told to the others who want to know. */
interface Seen {
  role: Role;
  term: number;
  leader: NodeId | null;
  membership: MembershipAt | null;
  /** How many removed members are still told of it. */
  departing: number;
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
  readonly #writes: PendingWrites<Result>;
  readonly #sessions: SessionSteps<Result>;
  readonly #proposals: Proposals<Command, Result>;
  readonly #sessionHost: SessionHost<Command, Result>;
  readonly #reads: PendingReads;
  readonly #deadlines: Deadlines;
  readonly #pauses: Pauses;
  readonly #changes: Changes;
  readonly #committed: Committed<Command>;
  readonly #founding: Founding;
  readonly #membershipChanges: MembershipChanges;
  readonly #transfers: Transfers;
  readonly #chores: LeaderChores;
  readonly #peers: Peers;
  readonly #directory: MemberDirectory;
  readonly #shutdown: Shutdown;
  /** null: the node was opened without. */
  readonly #snapshots: Snapshots<Command, Result> | null;
  #refusedOffers = 0;
  readonly #stopped = Promise.withResolvers<RaftError | undefined>();
  readonly #counters = { elections: 0, reads: 0 };
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
    const { core, entries, memberships, watch, applied, stored } = opened;
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
      departing: 0,
    };
    const failed = (failure: Failure): void => {
      this.#fail(failure);
    };
    this.#deadlines = new Deadlines(environment);
    this.#pauses = new Pauses(environment);
    this.#changes = new Changes(limits.changesMax);
    this.#peers = new Peers((text, fields) => {
      this.#log("warn", text, fields);
    });
    this.#directory = new MemberDirectory(core, memberships, this.#peers, settings.data);
    this.#driver = new Driver(
      { core, entries, memberships, store, watch, transport, environment },
      {
        changed: () => {
          this.#changed();
        },
        turnEnding: () => {
          this.#reads.turnEnding();
        },
        turnEnded: (reads) => {
          this.#reads.answered(reads);
          this.#founding.persisted();
          this.#applier.advance(Math.min(core.commitIndex, core.durableIndex));
          this.#serveReads();
        },
        service: (message) => this.#snapshots?.receive(message),
        snapshotsWanted: (followers) => this.#snapshots?.wanted(followers),
        snapshotOffered: (offer) => {
          this.#offered(offer);
        },
        failed,
        warn: (text, fields) => {
          this.#log("warn", text, fields);
        },
      },
    );
    const sessions = new SessionSteps(opened.sessions, stateMachine.codec);
    this.#sessions = sessions;
    this.#applier = new Applier(
      { stateMachine, entries, core, environment, limits, applied, sessions },
      {
        applied: (batch) => {
          this.#applied(batch);
        },
        failed,
      },
    );
    this.#writes = new PendingWrites(core, environment, limits, timings.electionTimeoutMaxMs);
    this.#proposals = new Proposals({
      core,
      driver: this.#driver,
      codec: stateMachine.codec,
      writes: this.#writes,
      sessions,
      environment,
      limits,
      leader: () => this.#directory.leader,
      check: (callOptions) => {
        this.#checkCall(callOptions);
      },
      refusal: () => this.#refusal(),
      call: (callOptions, onCancel) => this.#call(callOptions, onCancel),
    });
    this.#sessionHost = {
      proposals: this.#proposals,
      now: () => environment.now(),
      timeoutMs: timings.callTimeoutMs,
      pause: (signal) => this.#pauses.wait(timings.heartbeatMs, signal),
    };
    this.#reads = new PendingReads({
      environment,
      readsMax: limits.pendingReadsMax,
      retryMs: timings.heartbeatMs,
      ask: () => this.#driver.readIndex(),
      schedule: () => {
        this.#driver.schedule();
      },
    });
    this.#committed = new Committed({
      entries,
      log: core.log,
      decode: (payload) => stateMachine.codec.decode(payload),
      appliedIndex: () => this.#applier.applied.index,
    });
    this.#founding = new Founding({
      id: settings.id,
      clusterName: settings.clusterId,
      clusterId: stored.clusterId,
      store,
      watch,
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
      leader: () => this.#directory.leader,
      diskOf: (id) => (id === core.id ? stored.storeId : this.#peers.diskOf(id)),
    });
    this.#chores = new LeaderChores({
      core,
      environment,
      everyMs: CHORES_ELECTION_TIMEOUTS * timings.electionTimeoutMaxMs,
      priority: settings.priority,
      priorityOf: (id) => this.#peers.priorityOf(id),
      recordDisks: () => {
        this.#membershipChanges.recordDisks();
      },
      transferTo: (id) => {
        this.#driver.transferLeadership(id);
      },
    });
    this.#transfers = new Transfers(core, {
      begin: (to) => this.#driver.transferLeadership(to),
      leader: () => this.#directory.leader,
    });
    this.#shutdown = new Shutdown(environment, (text, fields) => {
      this.#log("warn", text, fields);
    });
    this.#snapshots = this.#makeSnapshots();
  }

  #makeSnapshots(): Snapshots<Command, Result> | null {
    const { snapshots, stateMachine, transport } = this.#options;
    const { id, snapshots: policy } = this.#settings;
    if (snapshots === undefined || policy === null) return null;
    const { core, entries, memberships, sessions } = this.#opened;
    return new Snapshots({
      ...{ id, store: snapshots.store, policy, stateMachine, sessions, core, entries, memberships },
      ...{ applier: this.#applier, driver: this.#driver, environment: this.#environment },
      clusterId: () => this.#founding.clusterId,
      send: (to, message) => transport.send(to, { message, records: [] }),
      installed: ({ index }) => {
        this.#writes.covered(index);
        this.#serveReads();
        this.#committed.grew();
      },
      failed: (failure) => {
        this.#fail(failure);
      },
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
    let onStuck = (_what: string): void => undefined;
    const opened = await openParts(options, settings, environment, (what) => {
      onStuck(what);
    });
    const raft = new Raft(options, settings, environment, opened);
    onStuck = (what) => {
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
    raft.#driver.schedule();
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
   * Proposes a command, and resolves with the state machine's result once it is committed and
   * applied on this node, which must be the leader. A rejection's `outcome` says whether the
   * command may have taken effect, or may yet.
   *
   * @throws NotLeaderError, OverloadedError, CommandTooLargeError, CommandRejectedError,
   *   CommandLostError, OutcomeUnknownError, AbortedError, ClosedError, StorageFailedError
   */
  async write(command: Command, options: WriteOptions = {}): Promise<Result> {
    return (await this.writeAt(command, options)).result;
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
    try {
      return this.#proposals.openSession(options);
    } catch (error) {
      return Promise.reject(toError(error));
    }
  }

  /** Ends a session before its time; fine if it has ended already. The errors are those of `write`. */
  endSession(id: LogIndex, options: CallOptions = {}): Promise<void> {
    try {
      return this.#proposals.closeSession(id, options);
    } catch (error) {
      return Promise.reject(toError(error));
    }
  }

  /** Like `write`, with the index of the command's entry; of the first, where this was a retry in a session. */
  writeAt(command: Command, options: WriteOptions = {}): Promise<Written<Result>> {
    try {
      return this.#proposals.write(command, options);
    } catch (error) {
      return Promise.reject(toError(error));
    }
  }

  /**
   * Runs `query` on this node's own state, on any node, once that state holds every write that was
   * answered before the call. While no leader is known it waits for one, up to the time limit.
   * The query runs between two commands; what it does after an `await` of its own may see later ones.
   *
   * @throws NotLeaderError no leader emerged; OverloadedError, AbortedError, ClosedError; whatever `query` throws
   */
  read<T>(query: () => T | Promise<T>, options: ReadOptions = {}): Promise<T> {
    try {
      return this.#read(query, options);
    } catch (error) {
      return Promise.reject(toError(error));
    }
  }

  /**
   * Adds a member that is sent the log and has no vote, and waits until it has caught up; for a learner, changes its
   * address. To be called on the leader. The new node must have been opened, with an empty log.
   *
   * @throws CatchUpTimeoutError it is a learner, and still catching up after `timeoutMs`
   *   (default `timings.catchUpTimeoutMs`); NotLeaderError, ChangeRefusedError, OutcomeUnknownError, InvalidOptionError
   */
  addLearner(id: NodeId, address: string, options: CallOptions = {}): Promise<void> {
    return this.#changeMembers(options, (attempt) =>
      this.#membershipChanges.addLearner(id, address, attempt),
    );
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
    return this.#changeMembers(options, (attempt) => this.#membershipChanges.change(change, attempt));
  }

  /**
   * Hands leadership to the voter `to`, or to the one whose log is the most complete (dissertation 3.10), and resolves
   * with the id of the next leader. Meanwhile writes are refused with `TransferringError`. Gives up after an election
   * timeout, and this node leads on.
   *
   * @throws TransferFailedError, NotLeaderError, ClosedError
   */
  transferLeadership(to?: NodeId, options: CallOptions = {}): Promise<NodeId> {
    try {
      this.#checkCall(options);
      const call = this.#call<NodeId>(
        options,
        (cancellation) =>
          new OutcomeUnknownError(
            `${describeCancellation(cancellation)}; leadership may still be handed over`,
            causeOf(cancellation),
          ),
      );
      this.#transfers.start(to ?? null, call);
      return call.promise;
    } catch (error) {
      return Promise.reject(toError(error));
    }
  }

  /**
   * Takes a snapshot of this node's state now, whatever the policy says, and forgets the log that it covers but for
   * `snapshots.keepEntries`. Writes go on meanwhile. Resolves when it is durable; there is no time limit unless one is
   * given, and giving up the wait does not stop it.
   *
   * @throws SnapshotFailedError, InvalidOptionError the node was opened without `snapshots`; AbortedError, ClosedError
   */
  snapshot(options: CallOptions = {}): Promise<SnapshotMetrics> {
    try {
      this.#checkCall(options);
      if (this.#snapshots === null) {
        throw new InvalidOptionError("the node takes no snapshots: give Raft.open the option `snapshots`");
      }
      const call = this.#call<SnapshotMetrics>({ timeoutMs: Infinity, ...options }, (cancellation) => {
        const what = `${describeCancellation(cancellation)}; the snapshot may still be taken`;
        return new AbortedError("unknown", what, causeOf(cancellation));
      });
      this.#snapshots.take().then(
        (snapshot) => {
          call.resolve(snapshot);
        },
        (error: unknown) => {
          call.reject(error);
        },
      );
      return call.promise;
    } catch (error) {
      return Promise.reject(toError(error));
    }
  }

  /** How old the state may be that a `stale` read sees. There is no bound: a node that is cut off cannot know. */
  staleness(): Staleness {
    const { commitIndex, role } = this.#core;
    const heardAt = role === "leader" ? this.#environment.now() : this.#core.leaderHeardAt;
    return {
      appliedIndex: this.#applier.applied.index,
      commitIndex,
      leaderHeardMsAgo: Number.isFinite(heardAt) ? this.#environment.now() - heardAt : null,
    };
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
      sessions: this.#sessions.metrics,
      snapshots: this.#snapshots?.metrics ?? null,
      counters: {
        ...this.#counters,
        writes: this.#proposals.count,
        readRounds: this.#reads.rounds,
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
    const handingOver = this.#handOver();
    if (handingOver !== null) await handingOver;
    if (!this.#ended) this.#endCalls((outcome) => new ClosedError(outcome), null);
    await this.#release();
    this.#stopped.resolve(undefined);
  }

  /** Leadership goes to another voter, if one is there to take it; null: there is nothing to hand over. */
  #handOver(): Promise<void> | null {
    if (this.#core.role !== "leader" || this.#ended) return null;
    const begun = this.#driver.transferLeadership(null);
    if (begun === null || typeof begun === "string") return null;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const timer = this.#environment.setTimer(HAND_OVER_MS_MAX, () => {
      resolve(undefined);
    });
    const call = this.#call<NodeId>({ timeoutMs: Infinity }, () => new ClosedError("not-done"));
    this.#transfers.watch(begun.to, call);
    call.promise.then(
      () => {
        resolve(undefined);
      },
      () => {
        resolve(undefined);
      },
    );
    return promise.finally(() => {
      timer.cancel();
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  // --- Writes ------------------------------------------------------------------------------------

  #applied(batch: readonly Applied<Result>[]): void {
    this.#writes.applied(batch);
    this.#serveReads();
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

  // --- Reads -------------------------------------------------------------------------------------

  #read<T>(query: () => T | Promise<T>, options: ReadOptions): Promise<T> {
    this.#checkCall(options);
    const { consistency = "linearizable" } = options;
    if (!CONSISTENCIES.includes(consistency)) {
      throw new InvalidOptionError(
        `consistency is ${JSON.stringify(consistency)}; it should be one of ${CONSISTENCIES.join(", ")}`,
      );
    }
    const isStale = consistency === "stale";
    if (!isStale && !this.initialized) throw new NotLeaderError(null);
    const refusal = this.#reads.refusal();
    if (refusal !== null) throw refusal;
    this.#counters.reads += 1;
    const call = this.#call<T>(options, (cancellation) => {
      const { type } = cancellation;
      if (type === "timed-out" && !isStale && this.#core.leader === null) return new NotLeaderError(null);
      return new AbortedError("not-done", describeCancellation(cancellation), causeOf(cancellation));
    });
    const read: PendingRead = {
      run: () => runQuery(query, call),
      isSettled: () => call.settled,
      reject: (error) => {
        call.reject(error);
      },
    };
    const leaseIndex = consistency === "lease" ? this.#core.leaseIndex(this.#environment.now()) : null;
    if (isStale && this.#applier.paused) this.#reads.await(0, read);
    else if (isStale) this.#reads.runNow(read);
    else if (leaseIndex === null) this.#reads.add(read);
    else {
      this.#reads.await(leaseIndex, read);
      this.#serveReads();
    }
    return call.promise;
  }

  /** Between two batches only: within one the state may be in the middle of a command. */
  #serveReads(): void {
    if (!this.#applier.busy) this.#reads.serve(this.#applier.applied.index);
  }

  // --- Members -------------------------------------------------------------------------------------

  #changeMembers(options: CallOptions, run: (attempt: ChangeAttempt) => Promise<void>): Promise<void> {
    try {
      this.#checkCall(options);
      const { catchUpTimeoutMs } = this.#settings.timings;
      const call = this.#call<undefined>({ timeoutMs: catchUpTimeoutMs, ...options }, (cancellation) =>
        attempt.isCatchingUp
          ? new CatchUpTimeoutError(
              `${describeCancellation(cancellation)}; the new members are learners now and go on catching up: ` +
                "call again to go on, or remove them",
              causeOf(cancellation),
            )
          : new OutcomeUnknownError(
              `${describeCancellation(cancellation)}; the change may still take place`,
              causeOf(cancellation),
            ),
      );
      const attempt: ChangeAttempt = { call, isCatchingUp: false };
      run(attempt).then(
        () => {
          call.resolve(undefined);
        },
        (error: unknown) => {
          call.reject(error);
        },
      );
      return call.promise;
    } catch (error) {
      return Promise.reject(toError(error));
    }
  }

  // --- What calls have in common -------------------------------------------------------------------

  /** Why the node takes no calls any more; null: it does. */
  #refusal(): RaftError | null {
    if (this.#failure !== null) return errorOf(this.#failure, "not-done");
    return this.#closing === null && !this.#ended ? null : new ClosedError("not-done");
  }

  #checkCall({ signal, timeoutMs }: CallOptions): void {
    const refusal = this.#refusal();
    if (refusal !== null) throw refusal;
    if (timeoutMs !== undefined && !(timeoutMs >= 0)) {
      throw new InvalidOptionError(
        `timeoutMs is ${String(timeoutMs)}; it should be a number of milliseconds`,
      );
    }
    if (signal?.aborted === true) {
      throw new AbortedError("not-done", "the caller's signal was aborted before the call", {
        cause: signal.reason,
      });
    }
  }

  #call<T>(options: CallOptions, onCancel: (cancellation: Cancellation) => RaftError): Call<T> {
    return new Call({
      deadlines: this.#deadlines,
      now: this.#environment.now(),
      timeoutMs: options.timeoutMs ?? this.#settings.timings.callTimeoutMs,
      signal: options.signal,
      onCancel,
    });
  }

  // --- What happens to the node --------------------------------------------------------------------

  /** After each input to the core. What is told here has happened already. */
  #changed(): void {
    const { role, term, leader } = this.#core;
    const before = this.#seen;
    const membership = this.#opened.memberships.current;
    if (before.role === "leader" && (role !== "leader" || term !== before.term))
      this.#writes.leadershipEnded();
    if (role === "candidate" && (before.role !== "candidate" || term !== before.term))
      this.#counters.elections += 1;
    const roleChanged = role !== before.role;
    const leaderChanged = leader !== before.leader || (leader !== null && term !== before.term);
    const membershipChanged = membership !== before.membership;
    before.role = role;
    before.term = term;
    before.leader = leader;
    before.membership = membership;
    if (roleChanged) this.#changes.push({ type: "role", role, term });
    if (leaderChanged) this.#changes.push({ type: "leader", leader, term });
    const departing = this.#core.departing.length;
    if (membershipChanged || leaderChanged || departing !== before.departing) this.#setPeers();
    before.departing = departing;
    if (membershipChanged && membership !== null) this.#changes.push(membershipChange(membership));
    this.#writes.committed();
    this.#membershipChanges.look();
    this.#transfers.look();
    this.#chores.look();
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
        if (this.#refusal() === null && !this.initialized) this.#setPeers();
      },
      receive: (parcel) => {
        this.#driver.receive(parcel);
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
    this.#opened.watch.stop();
    // A proposed command may be on its way to a majority already. A read changes nothing in any case.
    this.#writes.endAll(() => error("unknown"));
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

/** How long a leader that closes waits for its successor; an idle cluster needs two round trips and a sync. */
const HAND_OVER_MS_MAX = 400;

/** How often a leader looks after its members, in the longest election timeouts: what it does then is never urgent. */
const CHORES_ELECTION_TIMEOUTS = 2;

const CONSISTENCIES: readonly Consistency[] = ["linearizable", "lease", "stale"];

/** Settles the call with what the query returns or throws. */
function runQuery<T>(query: () => T | Promise<T>, call: Call<T>): Promise<void> | undefined {
  try {
    const answer = query();
    if (!(answer instanceof Promise)) {
      call.resolve(answer);
      return undefined;
    }
    return answer.then(
      (value) => {
        call.resolve(value);
      },
      (error: unknown) => {
        call.reject(error);
      },
    );
  } catch (error) {
    call.reject(error);
    return undefined;
  }
}

function membershipChange({ index, membership }: MembershipAt): RaftChange {
  return { type: "membership", index, config: membership.config };
}
