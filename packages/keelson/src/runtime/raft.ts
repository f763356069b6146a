// The public API of a node. Each method hands its call to the part that does the work; `lifecycle/compose.ts`
// shows these parts and how they are wired.
/// <reference lib="esnext.disposable" preserve="true" />
import type { LogIndex, NodeId } from "../core/position.ts";
import type { LeaderHint, RaftError } from "../errors.ts";
import type { CallOptions, WriteResult } from "./calls/index.ts";
import { asPromise, type RaftMetrics, type SnapshotMetrics, type RaftOptions } from "./shared/index.ts";
import { openNode, type ComposedNode } from "./lifecycle/index.ts";
import type { MembershipChange } from "./members/index.ts";
import type { ReadOptions, Staleness } from "./reads/index.ts";
import {
  openResumableSession,
  openSession,
  resumeSession,
  type OpenedSession,
  type OpenSessionOptions,
  type ResumableSession,
  type Session,
  type SessionState,
} from "./sessions/index.ts";
import type { CommittedCommand, RaftChange } from "./streams/index.ts";
import type { WriteOptions } from "./writes/index.ts";

/**
 * One node of a cluster that replicates a state machine.
 *
 * Every call has one of three outcomes: it succeeded, it definitely had no effect, or this node can't tell. A
 * rejection's `outcome` says which (`RaftError`). A call takes an `AbortSignal` and a time limit
 * (`CallOptions`), and is ended when the node closes or fails. Only `initialize` takes neither, and
 * `snapshot` has no time limit by default.
 *
 * Any node takes any call. Until a leader is known the call waits, up to its time limit; then it runs at the
 * leader, unless the option `forward` rules that out: then the call is refused with `NotLeaderError`. The
 * query of a read runs on the node that is called.
 *
 * @example
 * ```ts
 * const members = { a: "10.0.0.1:7001", b: "10.0.0.2:7001", c: "10.0.0.3:7001" };
 * await using raft = await Raft.open({ id: "a", members, data: "./data", stateMachine });
 * const result = await raft.write(command);
 * const value = await raft.read(() => state.get("x"));
 * ```
 */
export class Raft<Command, Result> implements AsyncDisposable {
  readonly #node: ComposedNode<Command, Result>;

  private constructor(node: ComposedNode<Command, Result>) {
    this.#node = node;
  }

  /**
   * Opens the log and the state machine, and starts to listen. A node that belongs to a cluster takes part in
   * it from now on. One that doesn't creates the cluster of the option `members` as soon as all of them
   * agree, or waits for `initialize`, or for a member of a cluster to reach it. Doesn't wait for a leader.
   *
   * @throws InvalidOptionError, CorruptLogError, CorruptSnapshotError, WrongIdentityError,
   *   DirectoryLockedError, StorageFailedError, StateMachineFailedError, ListenFailedError; whatever the
   *   state machine's `open` or `restore` throws
   */
  static async open<Command, Result>(options: RaftOptions<Command, Result>): Promise<Raft<Command, Result>> {
    return new Raft(await openNode(options));
  }

  // --- Bootstrap and members -----------------------------------------------------------------------

  /**
   * Creates the cluster with these first members (id to address, as other nodes reach it), this node
   * included. The option `members` does so by itself, and also asks the others first: call this only for new
   * nodes, never at every start of a program, or members that lost their disks begin without the entries that
   * other members still have (M11). All of them may call it, at the same time, with the same members, or one
   * alone. Calling it again with the same members, also after a restart, changes nothing. Resolves when the
   * cluster's first entry is durable on this node, which is before there is a leader.
   *
   * @throws AlreadyInitializedError the node belongs to a cluster that began with other members; ClosedError;
   *   the node's error if it fails
   * @throws InvalidOptionError
   */
  initialize(members: Readonly<Record<NodeId, string>>): Promise<void> {
    return asPromise(() => this.#node.bootstrap.initialize(members));
  }

  /** Whether the node belongs to a cluster: it knows its members. */
  get initialized(): boolean {
    return this.#node.group.memberships.current !== null;
  }

  /**
   * Adds a learner: a member that is sent the log and has no vote. For a node that is a member already,
   * voters included, changes its address. A new node must have been opened, with an empty log.
   *
   * Resolves when the membership is committed and the node has caught up (`MemberMetrics.caughtUp`): at most
   * 1,024 entries of the leader's log aren't known to be durable there. So it may still lack entries that
   * were written before this call; a linearizable read on it waits for them.
   *
   * @throws CatchUpTimeoutError it is a learner, and still catching up after `timeoutMs` (default
   *   `timings.catchUpTimeoutMs`); NotLeaderError, RemovedError, ChangeRefusedError, OverloadedError,
   *   OutcomeUnknownError, InvalidOptionError, AbortedError, ClosedError; the node's error if it fails
   */
  addLearner(id: NodeId, address: string, options: CallOptions = {}): Promise<void> {
    return this.#node.membershipCalls.addLearner(id, address, options);
  }

  /**
   * Changes the members, any number at once, the leader included (§6). New voters are learners first, and the
   * change waits until they have caught up, as `addLearner` does; then it happens as a whole, or not at all.
   * Resolves when the change is committed and the joint configuration is left. A change that is so already
   * succeeds, so it can be made again.
   *
   * @throws CatchUpTimeoutError new members are learners, and still catching up after `timeoutMs` (default
   *   `timings.catchUpTimeoutMs`); the other errors of `addLearner`
   *
   * @example
   * ```ts
   * await raft.changeMembership({ add: { d: "127.0.0.1:7004" }, remove: ["a"] });
   * ```
   */
  changeMembership(change: MembershipChange, options: CallOptions = {}): Promise<void> {
    return this.#node.membershipCalls.change(change, options);
  }

  /**
   * Transfers leadership to the voter `to`, or to the voter whose log is the most complete (dissertation
   * 3.10), and resolves with the id of the next leader. Meanwhile the leader refuses writes with
   * `TransferringError`. If the voter doesn't take over within the longest election timeout, the leader gives
   * up and leads on.
   *
   * @throws TransferFailedError, NotLeaderError, RemovedError, InvalidOptionError, OverloadedError,
   *   OutcomeUnknownError, AbortedError, ClosedError; the node's error if it fails
   */
  transferLeadership(to?: NodeId, options: CallOptions = {}): Promise<NodeId> {
    return this.#node.membershipCalls.transfer(to ?? null, options);
  }

  // --- Writes --------------------------------------------------------------------------------------

  /**
   * Proposes a command, and resolves with the state machine's result once it is committed and applied on the
   * leader: this node, or whichever node leads. A rejection's `outcome` says whether the command may have
   * taken effect, or may still do so.
   *
   * @throws NotLeaderError, RemovedError, TransferringError, OverloadedError, InvalidOptionError,
   *   CommandInvalidError, CommandTooLargeError, CommandRejectedError, ResultUnavailableError,
   *   CommandLostError, OutcomeUnknownError, AbortedError, ClosedError; with the option `session` also
   *   SessionExpiredError and AnswerForgottenError; ForwardedCallError if the leader runs another version;
   *   the error of this node or of the leader if it fails
   */
  write(command: Command, options: WriteOptions = {}): Promise<Result> {
    // Not an async function: it would keep the command until the call has ended.
    return this.writeWithIndex(command, options).then(resultOf);
  }

  /**
   * Like `write`, with the index of the command's entry; for a retry in a session, of the entry that took
   * effect.
   */
  writeWithIndex(command: Command, options: WriteOptions = {}): Promise<WriteResult<Result>> {
    return asPromise(() => this.#node.proposer.write(command, options));
  }

  // --- Sessions ------------------------------------------------------------------------------------

  /**
   * Opens a session, in which each command takes effect at most once however often it is sent (§8;
   * dissertation 6.3). A session ends when it isn't used for `ttlMs` in the time of the log (default 60 s).
   * If the cluster's sessions exceed `SESSION_LIMITS`, those that were used least recently end before that.
   * Waits for a leader to be known, up to the time limit.
   *
   * @throws InvalidOptionError the state machine lacks what sessions need; the errors of `write`
   */
  openSession(options: OpenSessionOptions = {}): Promise<Session<Command, Result>> {
    return openSession(this.#node.sessionHost, options);
  }

  /**
   * Opens a session that `resumeSession` can continue after a restart of the program, and at other nodes.
   *
   * @throws InvalidOptionError the state machine lacks what sessions need; the errors of `write`
   */
  openResumableSession(options: OpenSessionOptions = {}): Promise<ResumableSession<Command, Result>> {
    return openResumableSession(this.#node.sessionHost, options);
  }

  /**
   * Continues a session from the state that was kept of it (`ResumableSession.state`), on any node. It must
   * not be used by another program at the same time. Asks the cluster, as a linearizable read, whether the
   * session is still open; that doesn't count as a use.
   *
   * @throws SessionExpiredError the session has ended. Outcome `unknown` if the state has pending numbers:
   *   their commands may have taken effect, and the cluster doesn't know any more; InvalidOptionError the
   *   state isn't valid or older than the session, or the state machine lacks what sessions need; the errors
   *   of `read`
   */
  resumeSession(state: SessionState, options: CallOptions = {}): Promise<ResumableSession<Command, Result>> {
    return asPromise(() => resumeSession(this.#node.sessionHost, state, options));
  }

  /**
   * Opens a session for a caller that numbers and repeats commands itself, such as a client of a server: pass
   * the session's id and the numbers to `write`.
   *
   * @throws InvalidOptionError the state machine lacks what sessions need; the errors of `write`
   */
  beginSession(options: OpenSessionOptions = {}): Promise<OpenedSession> {
    return asPromise(() => this.#node.proposer.openSession(options));
  }

  /**
   * Ends a session before its time. Resolves also if it has ended already. The errors are those of `write`.
   */
  endSession(id: LogIndex, options: CallOptions = {}): Promise<void> {
    return asPromise(() => this.#node.proposer.closeSession(id, options));
  }

  // --- Reads ---------------------------------------------------------------------------------------

  /**
   * Runs `query` on this node's own state, on any node, once that state holds every write that was answered
   * before the call. `consistency` chooses a weaker guarantee. While no leader is known the read waits for
   * one, up to the time limit, also on a node that belongs to no cluster. A `stale` read needs no leader. The
   * query runs between two commands; after an `await` of its own it may see later ones.
   *
   * @throws NotLeaderError no leader became known within the time limit, and the message says so if the node
   *   belongs to no cluster; RemovedError; OverloadedError, AbortedError, ClosedError, InvalidOptionError;
   *   the node's error if it fails; whatever `query` throws
   *
   * @example
   * ```ts
   * const value = await raft.read(() => state.get("x"), { consistency: "lease" });
   * ```
   */
  read<T>(query: () => T | Promise<T>, options: ReadOptions = {}): Promise<T> {
    return asPromise(() => this.#node.reads.read(query, options));
  }

  /**
   * How old the state may be that a `stale` read sees. There is no bound: a node that is cut off can't know.
   */
  staleness(): Staleness {
    return this.#node.reads.staleness;
  }

  // --- What a program can follow -------------------------------------------------------------------

  /**
   * The leader, as far as this node knows; null: it knows none. The same as `metrics().leader`, for little
   * work; but a node that is closing or has stopped goes on naming the leader it knew last.
   */
  get leader(): LeaderHint | null {
    return this.#node.directory.leader;
  }

  /**
   * Whether this node was removed from its cluster, as far as it knows. It learns it from its log, once the
   * removal is committed, or from a member that refuses its connections for this reason; while it can hear
   * neither, it doesn't know. A removed node fails calls that need a leader with `RemovedError`. It still
   * serves stale reads and `snapshot`, and runs until `close`.
   */
  get removed(): boolean {
    return this.#node.removal.isRemoved;
  }

  /** The node's state and counters at this moment: a plain object that doesn't change. */
  metrics(): RaftMetrics {
    return this.#node.metrics();
  }

  /**
   * Role, leader and membership as they are now, then each change of them, and that the node was removed;
   * then the end of the node. A reader that lags behind by more than `limits.changesMax` misses changes that
   * later ones of the same type have overtaken, but never the last one.
   *
   * @example
   * ```ts
   * for await (const change of raft.changes()) {
   *   if (change.type === "leader") console.log(`the leader is ${change.leader ?? "unknown"}`);
   * }
   * ```
   */
  changes(): AsyncIterableIterator<RaftChange> {
    const { changes, detector } = this.#node;
    return changes.subscribe(detector.current);
  }

  /**
   * The commands of the log in order, each when this node has applied it, from the entry `from` on (default:
   * the oldest that is kept). Commands of sessions that had no effect are among them: see `CommittedCommand`.
   * Ends when the node closes; throws the node's error when it fails.
   *
   * @throws InvalidOptionError `from` is not a whole number, or is compacted. The iteration throws
   *   LogCompactedError if the entry to read next was compacted meanwhile.
   */
  committed(
    options: { readonly from?: LogIndex | undefined } = {},
  ): AsyncIterableIterator<CommittedCommand<Command>> {
    return this.#node.committed.open(options.from);
  }

  // --- Snapshots -----------------------------------------------------------------------------------

  /**
   * Takes a snapshot of this node's state now, whether the policy calls for one or not, and deletes the log
   * that it covers, except for the entries that the policy keeps for other nodes (`SnapshotPolicy`). Writes
   * continue meanwhile. Resolves when the snapshot is durable. There is no time limit unless `timeoutMs` is
   * given; a caller that stops waiting doesn't stop the snapshot.
   *
   * @throws SnapshotFailedError, also if nothing is applied yet; InvalidOptionError the node was opened
   *   without `snapshots`; AbortedError, ClosedError; the node's error if it fails
   */
  snapshot(options: CallOptions = {}): Promise<SnapshotMetrics> {
    return this.#node.snapshots.take(options);
  }

  // --- The end -------------------------------------------------------------------------------------

  /**
   * Resolves when the node has stopped: with undefined after `close`, with the error after a failure. Never
   * rejects. A node that was removed from its cluster hasn't stopped: see `removed`.
   */
  get stopped(): Promise<RaftError | undefined> {
    return this.#node.lifecycle.stopped;
  }

  /**
   * Stops the node and releases everything it holds. A leader transfers its leadership first, for at most 400
   * ms; calls under way then end, each with an outcome. Resolves within about a second and a half, even if a
   * disk or the state machine hangs. Idempotent.
   */
  close(): Promise<void> {
    return this.#node.lifecycle.close();
  }

  /** Calls `close`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function resultOf<Result>({ result }: WriteResult<Result>): Result {
  return result;
}
