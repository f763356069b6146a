// `RaftNode`: the Raft algorithm as one object. This file has its inputs, its queries, and the switch that
// gives each message to its handler. The handlers and their state are in the other files of this folder.
import type { Actions } from "./action.ts";
import { assert } from "./assert.ts";
import { advanceCommit } from "./commit.ts";
import { configOf, type ClusterConfig } from "./config.ts";
import {
  countOwnVote,
  onElectionTimeout,
  onPreVote,
  onPreVoteReply,
  onRequestVote,
  onRequestVoteReply,
} from "./election.ts";
import { appendOwn, takesCommands } from "./leadership.ts";
import type { LogView } from "./log.ts";
import type { Message } from "./message.ts";
import { withDefaults, type RaftNodeOptions, type RestartOptions } from "./options.ts";
import {
  TERM_JUMP_MAX,
  TERM_MAX,
  type LogIndex,
  type LogPosition,
  type NodeId,
  type Term,
} from "./position.ts";
import type { ProgressState } from "./progress.ts";
import { advanceMembership, proposeConfig, type ConfigRefusal } from "./membership.ts";
import {
  confirmReads,
  leaseIndex,
  onReadIndex,
  onReadIndexReply,
  startRead,
  startRoundForReads,
} from "./reads.ts";
import {
  onAppendEntries,
  onAppendEntriesReply,
  onLeaderTimeout,
  quorumDeadline,
  sendAcknowledgement,
  sendAppends,
} from "./replication.ts";
import { compactLog, onInstallSnapshot, snapshotInstalled } from "./snapshot.ts";
import type { Role } from "./role.ts";
import { NodeState, type StateImage } from "./state.ts";
import { advanceTransfer, onTimeoutNow, startTransfer, type TransferRefusal } from "./transfer.ts";

/**
 * One node of a Raft group: the algorithm, and nothing else. It has no I/O, clock, timers or promises. Inputs
 * are method calls, each with the current time `now` in milliseconds, on any clock that doesn't go back.
 * Effects are what `takeActions` returns; the caller carries them out and reports what is durable. Payloads
 * stay with the caller: the node only decides the order of entries.
 *
 * Each input may throw `ProtocolViolation`. Then the node must not be used any more.
 *
 * Section marks (§) refer to the Raft paper (extended version), "dissertation" to Ongaro's.
 *
 * @example
 * ```ts
 * const node = RaftNode.start({ id: "a", random: Math.random });
 * const position = node.createCluster(["a"], 0);
 * while (node.commitStatus(position) === "in-progress") {
 *   const actions = node.takeActions();
 *   // ... write actions.hardState and actions.append to disk, send actions.messages ...
 *   node.handlePersisted(actions.persistId, 1);
 *   node.handleTimeout(1);
 * }
 * ```
 */
export class RaftNode {
  readonly #state: NodeState;
  /** The latest time that an input named, in milliseconds. Never falls. */
  #now = -Infinity;
  /**
   * Time in milliseconds at which the caller was asked to call `handleTimeout`; null: the caller wasn't asked
   * since its last call of `handleTimeout`.
   */
  #timer: number | null = null;

  private constructor(state: NodeState) {
    this.#state = state;
  }

  /**
   * A node that has never run: no term, no log, no cluster. It waits for `createCluster`, or for a leader's
   * messages.
   */
  static start(options: RaftNodeOptions): RaftNode {
    return new RaftNode(new NodeState(withDefaults(options), { term: 0, votedFor: null }));
  }

  /**
   * A node that continues from its stored term, vote and log. Throws `ProtocolViolation` if they contradict
   * each other.
   */
  static restart(options: RestartOptions): RaftNode {
    const { now, hardState, log, commitIndex } = options;
    const state = new NodeState(withDefaults(options), hardState, log, commitIndex);
    const node = new RaftNode(state);
    node.#now = now;
    // This node may have heard a leader just before it stopped, and that leader's lease relies on this node
    // to vote for no other candidate within the shortest election timeout. So it behaves as if it had heard a
    // leader now (dissertation 6.4.1).
    if (!state.isSoleVoter || state.hadOtherVoters) state.leaderHeardAt = now;
    state.resetElectionDeadline(now);
    return node;
  }

  /** A node that behaves exactly as the captured one would, given the same options and inputs. */
  static revive(options: RaftNodeOptions, image: NodeImage): RaftNode {
    const node = new RaftNode(NodeState.revive(withDefaults(options), image));
    node.#now = image.now;
    node.#timer = image.timer;
    return node;
  }

  /** Everything that this node holds in memory now, including actions that were not taken yet. */
  capture(): NodeImage {
    return { ...this.#state.capture(), now: this.#now, timer: this.#timer };
  }

  /** This node. */
  get id(): NodeId {
    return this.#state.id;
  }

  /** What this node is in its term. */
  get role(): Role {
    return this.#state.role.type;
  }

  /**
   * Time in milliseconds at which the caller took the oldest log write that it hasn't reported durable yet;
   * null: there is none.
   */
  get oldestWriteAt(): number | null {
    return this.#state.oldestWriteAt;
  }

  /** The latest term that this node has seen, durable or not. */
  get term(): Term {
    return this.#state.term;
  }

  /** The node that has this node's vote in `term`; null: not given yet. */
  get votedFor(): NodeId | null {
    return this.#state.votedFor;
  }

  /** The leader of `term`, which may be this node; null: not known. */
  get leader(): NodeId | null {
    return this.#state.leaderId;
  }

  /** The last entry known to be committed. Apply entries up to it once they are durable on this node too. */
  get commitIndex(): LogIndex {
    return this.#state.commitIndex;
  }

  /** The last entry known to be durable on this node. */
  get durableIndex(): LogIndex {
    return this.#state.durableIndex;
  }

  /** The configuration in force: the last one in the log, committed or not (§6). */
  get config(): ClusterConfig {
    return this.#state.config;
  }

  /** The positions and configurations of this node's log. */
  get log(): LogView {
    return this.#state.log;
  }

  /**
   * Whether this node leads and an entry of its own term is committed. Before that it answers no reads (§8).
   */
  get termStartCommitted(): boolean {
    return this.#state.termStartCommitted;
  }

  /**
   * What this leader knows about another node; undefined: this node doesn't lead, or doesn't replicate to
   * that node.
   */
  progress(id: NodeId): FollowerProgress | undefined {
    const { role } = this.#state;
    const progress = role.type === "leader" ? role.progress.get(id) : undefined;
    if (progress === undefined) return undefined;
    const { state, match, next, activeAt, lostAfter } = progress;
    const recentlyActive = this.#now - activeAt < this.#state.options.electionTimeoutMs.max;
    return { state, match, next, recentlyActive, lostAfter };
  }

  /**
   * Creates a cluster: appends its first configuration as entry 1 of term 1. Call it once in the life of a
   * cluster, on one of its voters, or on several with the same voters. Returns the position to watch with
   * `commitStatus`. Throws `ProtocolViolation` on a node that has a log, and if this node isn't among
   * `voters`.
   */
  createCluster(voters: Iterable<NodeId>, now: number): LogPosition {
    const state = this.#state;
    this.#advance(now);
    assert(state.log.last.index === 0, "a cluster is created on a node without a log");
    const config = configOf(voters);
    assert(config.voters.includes(state.id), "a node creates only a cluster that it is a voter of");
    if (state.term === 0) state.enterTerm(1);
    // Every election enters a term after 1, so no leader of term 1 can append anything else at this position.
    state.log.extendConfig(1, config);
    state.pendingActions.append(1, 2);
    state.resetElectionDeadline(this.#now);
    return state.log.last;
  }

  /**
   * Time in milliseconds at which a leader was last heard, on the clock of `now`. A node that has heard none
   * since `restart` names the time of the restart: it may have heard one just before. -Infinity: it heard
   * none, on a node that was begun with `start`, or that is the sole voter.
   */
  get leaderHeardAt(): number {
    return this.#state.leaderHeardAt;
  }

  /**
   * On a leader: removed members that it still tries to tell about their removal. Keep connections to them
   * open.
   */
  get removedMembersToNotify(): NodeId[] {
    const { role } = this.#state;
    const ids: NodeId[] = [];
    if (role.type !== "leader") return ids;
    for (const [id, { removalNotice }] of role.progress) if (removalNotice !== null) ids.push(id);
    return ids;
  }

  /**
   * On a leader: the members that have proved, in this term, that they lost entries which they had
   * acknowledged as durable. Tell the operator, and each of them.
   */
  get membersWithLostEntries(): NodeId[] {
    const { role } = this.#state;
    const ids: NodeId[] = [];
    if (role.type !== "leader") return ids;
    for (const [id, { lostAfter }] of role.progress) if (lostAfter !== null) ids.push(id);
    return ids;
  }

  /**
   * Whether commands are accepted: this node leads, is a voter, and isn't transferring its leadership. If
   * not, `proposeCommand` returns null.
   */
  get takesCommands(): boolean {
    return takesCommands(this.#state);
  }

  /** The node that this leader is transferring its leadership to; null: none. */
  get transferTarget(): NodeId | null {
    const { role } = this.#state;
    return role.type === "leader" ? (role.transfer?.to ?? null) : null;
  }

  /**
   * Appends a command and returns its position; null: not accepted (see `takesCommands`, and `leader` for
   * where to ask).
   */
  proposeCommand(now: number): LogPosition | null {
    return this.proposeCommands(1, now);
  }

  /**
   * Appends `count` commands and returns the position of the last one; null: not accepted, as in
   * `proposeCommand`.
   */
  proposeCommands(count: number, now: number): LogPosition | null {
    this.#advance(now);
    const state = this.#state;
    return takesCommands(state) ? appendOwn(state, count) : null;
  }

  /**
   * Begins a change of membership (§6) to `target`, any configuration that isn't joint. If the voters change,
   * it takes two entries: C_old,new, and C_new, which the leader appends once the first is committed. Returns
   * the position of the first entry, or why the change was refused. Watch `commitStatus` for that entry and
   * `config` for the end of the change. Throws `ProtocolViolation` if `target` has no voters, or names a node
   * twice.
   */
  proposeConfig(target: ClusterConfig, now: number): LogPosition | ConfigRefusal {
    this.#advance(now);
    return proposeConfig(this.#state, target, this.#now);
  }

  /**
   * Transfers leadership (dissertation 3.10) to the voter `to`; null: to the voter whose log is the most
   * complete. Returns the target, or why it was refused. Until another node leads, or the longest election
   * timeout has passed, no commands are accepted.
   */
  transferLeadership(to: NodeId | null, now: number): { readonly to: NodeId } | TransferRefusal {
    this.#advance(now);
    return startTransfer(this.#state, to, this.#now);
  }

  /**
   * The index at which a read may be served at once under the leader's lease (dissertation 6.4.1); null: use
   * `readIndex`. Linearizable only if no clock drifts by more than `clockDriftMax` and `checkQuorum` is on
   * for all nodes.
   */
  leaseIndex(now: number): LogIndex | null {
    this.#advance(now);
    return leaseIndex(this.#state, this.#now);
  }

  /**
   * Asks for the index at which a linearizable read may be served (dissertation 6.4). Works on every member:
   * a follower asks the leader. Returns an id, under which the answer comes in `Actions.reads` within the
   * longest election timeout.
   */
  readIndex(now: number): number {
    this.#advance(now);
    return startRead(this.#state, this.#now);
  }

  /**
   * Handles a message of another node. Throws `ProtocolViolation` if it shows a state that Raft rules out.
   */
  handleMessage(message: Message, now: number): void {
    this.#advance(now);
    const state = this.#state;
    assert(message.from !== state.id, "a node sends no messages to itself");
    assert(
      Number.isSafeInteger(message.term) && message.term >= 0 && message.term <= TERM_MAX,
      "a term is a whole number up to TERM_MAX",
    );
    if (message.term > state.term + TERM_JUMP_MAX) {
      this.#approachTerm();
      return;
    }
    switch (message.type) {
      case "pre-vote":
        onPreVote(state, message, this.#now);
        break;
      case "pre-vote-reply":
        onPreVoteReply(state, message, this.#now);
        break;
      case "request-vote":
        onRequestVote(state, message, this.#now);
        break;
      case "request-vote-reply":
        onRequestVoteReply(state, message, this.#now);
        break;
      case "append-entries":
        onAppendEntries(state, message, this.#now);
        break;
      case "append-entries-reply":
        onAppendEntriesReply(state, message, this.#now);
        break;
      case "install-snapshot":
        onInstallSnapshot(state, message, this.#now);
        break;
      case "read-index":
        onReadIndex(state, message, this.#now);
        break;
      case "read-index-reply":
        onReadIndexReply(state, message);
        break;
      case "timeout-now":
        onTimeoutNow(state, message, this.#now);
        break;
    }
    advanceMembership(state, this.#now);
    advanceTransfer(state, this.#now);
  }

  /**
   * The time that `Actions.timer` named has come. A call that comes too early does nothing, except that the
   * next actions name a time again.
   */
  handleTimeout(now: number): void {
    this.#advance(now);
    this.#timer = null;
    const state = this.#state;
    state.expireReads(this.#now);
    if (state.role.type === "leader") onLeaderTimeout(state, state.role, this.#now);
    else if (state.isEligible && this.#now >= (state.electionDeadline ?? Infinity)) {
      if (this.#now < state.stallDeadline) onElectionTimeout(state, this.#now);
      else state.resetElectionDeadline(this.#now);
    }
    advanceTransfer(state, this.#now);
  }

  /**
   * The batch `persistId` and all before it are durable. Throws `ProtocolViolation` if it was never taken.
   */
  handlePersisted(persistId: number, now: number): void {
    this.#advance(now);
    this.#state.persisted(persistId);
    countOwnVote(this.#state, persistId, this.#now);
    advanceCommit(this.#state);
    advanceMembership(this.#state, this.#now);
    advanceTransfer(this.#state, this.#now);
  }

  /**
   * Whether a part of this node outside of the log has stalled, such as the state machine, so that the node
   * can't serve. Heartbeats don't depend on such a part: without this report a leader would lead on and serve
   * nothing. A leader hands its leadership over and steps down, a candidate gives up, and no election is
   * started until `isStalled` is false again. A sole voter stays, as no other node could lead instead.
   */
  handleServiceStall(isStalled: boolean, now: number): void {
    this.#advance(now);
    const state = this.#state;
    state.serviceStalledAt = isStalled ? (state.serviceStalledAt ?? this.#now) : null;
    if (this.#now < state.stallDeadline) return;
    const { role } = state;
    if (role.type === "leader") onLeaderTimeout(state, role, this.#now);
    else if (role.type !== "follower") state.becomeFollower(state.term, null, this.#now);
  }

  /**
   * A snapshot is installed: the state machine and the log store hold it durably, and the stored log begins
   * after it. The stored log must keep the entries after `position` if it holds the entry at `position`, and
   * be empty otherwise. `config` is the configuration at `position`. Take no actions between changing the
   * stored log and this call: they would still be for the old log. A snapshot that ends before the log's base
   * changes nothing, here or in the store.
   */
  handleSnapshotInstalled(position: LogPosition, config: ClusterConfig, now: number): void {
    this.#advance(now);
    snapshotInstalled(this.#state, position, config, this.#now);
  }

  /**
   * A durable snapshot of this node's own state covers the entries up to `index`, so the log may forget them.
   */
  handleCompacted(index: LogIndex, now: number): void {
    this.#advance(now);
    compactLog(this.#state, index);
  }

  /** Everything to do since the last call, as one value. The caller must carry it out, as `Actions` says. */
  takeActions(): Actions {
    const state = this.#state;
    const { role } = state;
    if (role.type === "leader") {
      startRoundForReads(state, role, this.#now);
      confirmReads(state, role);
      sendAppends(state, role, this.#now);
    } else {
      sendAcknowledgement(state);
    }
    const deadline = this.#deadline();
    if (deadline < (this.#timer ?? Infinity)) this.#timer = deadline;
    const actions = state.pendingActions.take(this.#timer);
    if (actions.append !== null) state.appendTaken(actions.persistId, actions.append.to - 1, this.#now);
    return actions;
  }

  /** What this node knows about the entry at `position`. */
  commitStatus(position: LogPosition): CommitStatus {
    const { log, commitIndex } = this.#state;
    if (position.index <= commitIndex) {
      const term = log.termAt(position.index);
      if (term === undefined) return "unknown";
      return term === position.term ? "committed" : "rejected";
    }
    if (log.contains(position)) return "in-progress";
    // Terms never fall along a log, so an entry of an earlier term can't follow the last committed entry.
    return position.term < (log.termAt(commitIndex) ?? 0) ? "rejected" : "unknown";
  }

  /**
   * A message's term is more than `TERM_JUMP_MAX` after this node's. Hazard: if this node adopted such a
   * term, one hostile or damaged message would depose a working leader, and could use up all terms. Rule: the
   * message is dropped. A node that hears no leader raises its own term by `TERM_JUMP_MAX` instead, so that a
   * node which really missed that many elections catches up in several such steps.
   */
  #approachTerm(): void {
    const state = this.#state;
    if (state.heardLeaderRecently(this.#now)) return;
    state.becomeFollower(state.term + TERM_JUMP_MAX, null, this.#now);
  }

  /**
   * Takes over the caller's time. One that is earlier than a time already seen is ignored: time doesn't go
   * back.
   */
  #advance(now: number): void {
    if (now > this.#now) this.#now = now;
  }

  /** Time in milliseconds at which the next `handleTimeout` has something to do; Infinity: never. */
  #deadline(): number {
    return Math.min(this.#roleDeadline(), this.#state.reads.nextExpiry);
  }

  #roleDeadline(): number {
    const state = this.#state;
    const { role } = state;
    if (role.type === "leader") {
      return Math.min(
        role.heartbeatDeadline,
        quorumDeadline(state, role),
        state.stallDeadline,
        role.transfer?.until ?? Infinity,
      );
    }
    return state.isEligible ? (state.electionDeadline ?? Infinity) : Infinity;
  }
}

/**
 * What a node knows about an entry.
 * - `in-progress`: it is in the log, and not known to be committed.
 * - `committed`: it is committed.
 * - `rejected`: another entry is committed in its place, so it never will be.
 * - `unknown`: this node can't tell: it never had the entry, or has compacted that part of the log.
 */
export type CommitStatus = "in-progress" | "committed" | "rejected" | "unknown";

/** What a leader knows about one of the other members. */
export interface FollowerProgress {
  readonly state: ProgressState;
  /** The last entry known to be durable there and equal to the leader's. */
  readonly match: LogIndex;
  /** The next entry to send. */
  readonly next: LogIndex;
  /** Whether it answered within the longest election timeout. */
  readonly recentlyActive: boolean;
  /**
   * The last entry that it had acknowledged as durable when it proved that it lost entries; null: no such
   * proof. From then on the leader counts none of its answers.
   */
  readonly lostAfter: LogPosition | null;
}

/**
 * Everything that a node holds in memory, as plain values that can be compared, copied and kept:
 * `structuredClone`, or JSON if infinite times are handled. For debugging, for going back in time, and for
 * exploring what may come next. Not for restarting a node: a crash leaves only what is on disk.
 */
export interface NodeImage extends StateImage {
  readonly now: number;
  readonly timer: number | null;
}
