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
import type { LogIndex, LogPosition, NodeId, Term } from "./position.ts";
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
 * What became of an entry. `rejected`: another entry was committed in its stead, so it never will
 * be. `unknown`: this node cannot tell: it never had the entry, no longer has it, or has forgotten
 * (compacted) that part of the log.
 */
export type CommitStatus = "in-progress" | "committed" | "rejected" | "unknown";

/** What a leader knows about one of the other members. */
export interface FollowerProgress {
  readonly state: ProgressState;
  /** The last entry that is known to be durable there. */
  readonly match: LogIndex;
  /** The next entry to send. */
  readonly next: LogIndex;
  /** Whether it answered within the longest election timeout. */
  readonly recentlyActive: boolean;
}

/**
 * All that a node holds in memory at one moment, as plain values that can be compared, copied and
 * kept (`structuredClone`, or JSON if infinite times are seen to). For debugging, for going back in
 * time and for exploring what might come next; never a way to restart a node, which has only its disk.
 */
export interface NodeImage extends StateImage {
  readonly now: number;
  readonly timer: number | null;
}

/**
 * One node of a Raft group: the algorithm, and nothing else. It does no I/O and has no clock, no
 * timers and no promises. Inputs go in by method calls, each with the time `now` in milliseconds on
 * any clock that does not go back; effects come out of `takeActions`, to be carried out by the
 * caller. The payloads of entries stay with the caller: the node decides their order alone.
 *
 * Section marks refer to the Raft paper (extended version), "dissertation" to Ongaro's.
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
  #now = -Infinity;
  /** When the caller will call `handleTimeout`, as far as it was told. */
  #timer: number | null = null;

  private constructor(state: NodeState) {
    this.#state = state;
  }

  /** A node that has never run: no term, no log, no cluster. It waits for `createCluster`, or for a leader to call. */
  static start(options: RaftNodeOptions): RaftNode {
    return new RaftNode(new NodeState(withDefaults(options), { term: 0, votedFor: null }));
  }

  /** A node as its stored term, vote and log say. Throws `ProtocolViolation` if they contradict each other. */
  static restart(options: RestartOptions): RaftNode {
    const { now, hardState, log, commitIndex } = options;
    const state = new NodeState(withDefaults(options), hardState, log, commitIndex);
    const node = new RaftNode(state);
    node.#now = now;
    // It may have heard the leader just before it stopped, and promised then not to help depose it.
    if (!state.isSoleVoter || state.hadOtherVoters) state.leaderHeardAt = now;
    state.resetElectionDeadline(now);
    return node;
  }

  /** A node that does from here on exactly what the captured one would do, given the same options and inputs. */
  static revive(options: RaftNodeOptions, image: NodeImage): RaftNode {
    const node = new RaftNode(NodeState.revive(withDefaults(options), image));
    node.#now = image.now;
    node.#timer = image.timer;
    return node;
  }

  /** All that this node holds at the moment, effects that nobody took yet included. Changes nothing. */
  capture(): NodeImage {
    return { ...this.#state.capture(), now: this.#now, timer: this.#timer };
  }

  get id(): NodeId {
    return this.#state.id;
  }

  get role(): Role {
    return this.#state.role.type;
  }

  get term(): Term {
    return this.#state.term;
  }

  /** Who got this node's vote in `term`. */
  get votedFor(): NodeId | null {
    return this.#state.votedFor;
  }

  /** The leader of `term`, this node included; null: not known. */
  get leader(): NodeId | null {
    return this.#state.leaderId;
  }

  /** The last entry known to be committed. Apply it only once it is also durable here. */
  get commitIndex(): LogIndex {
    return this.#state.commitIndex;
  }

  /** The last entry known to be on this node's own disk. */
  get durableIndex(): LogIndex {
    return this.#state.durableIndex;
  }

  /** The configuration in force: the last one in the log, committed or not (§6). */
  get config(): ClusterConfig {
    return this.#state.config;
  }

  get log(): LogView {
    return this.#state.log;
  }

  /** Whether this node leads and an entry of its own term is committed; before that, no read is answered (§8). */
  get termStartCommitted(): boolean {
    return this.#state.termStartCommitted;
  }

  /** On the leader, what it knows about another member; otherwise undefined. */
  progress(id: NodeId): FollowerProgress | undefined {
    const { role } = this.#state;
    const progress = role.type === "leader" ? role.progress.get(id) : undefined;
    if (progress === undefined) return undefined;
    const { state, match, next, activeAt } = progress;
    const recentlyActive = this.#now - activeAt < this.#state.options.electionTimeoutMs.max;
    return { state, match, next, recentlyActive };
  }

  /**
   * Writes the first configuration as entry 1 of term 1, to be called once in the life of a cluster:
   * on one of its nodes, or on several with the same voters. Throws `ProtocolViolation` on a node that has a log, and
   * if `voters` lacks this node. Returns the position to watch with `commitStatus`.
   */
  createCluster(voters: Iterable<NodeId>, now: number): LogPosition {
    const state = this.#state;
    this.#advance(now);
    assert(state.log.last.index === 0, "a cluster is created on a node without a log");
    const config = configOf(voters);
    assert(config.voters.includes(state.id), "a node creates only a cluster that it is a voter of");
    if (state.term === 0) state.enterTerm(1);
    // No leader ever has term 1: each election begins a later one. So entry 1@1 is the same wherever it is written.
    state.log.extendConfig(1, config);
    state.pendingActions.append(1, 2);
    state.resetElectionDeadline(this.#now);
    return state.log.last;
  }

  /** When a leader was last heard, on the clock of `now`; -Infinity: never. */
  get leaderHeardAt(): number {
    return this.#state.leaderHeardAt;
  }

  /** On a leader: removed members that are still told of their removal. */
  get removedMembersToNotify(): NodeId[] {
    const { role } = this.#state;
    if (role.type !== "leader") return [];
    return [...role.progress].flatMap(([id, { removalNotice }]) => (removalNotice === null ? [] : [id]));
  }

  /** Whether commands are taken: this node leads, is not handing its leadership over, and is not on its way out. */
  get takesCommands(): boolean {
    return takesCommands(this.#state);
  }

  /** To whom leadership is being handed over; null: to nobody. */
  get transferTarget(): NodeId | null {
    const { role } = this.#state;
    return role.type === "leader" ? (role.transfer?.to ?? null) : null;
  }

  /** Appends a command, whose payload stays with the caller; null: no commands are taken here (`leader` may know where). */
  proposeCommand(now: number): LogPosition | null {
    return this.proposeCommands(1, now);
  }

  /** Appends `count` commands, one after another, and returns the position of the last; null: no commands are taken here. */
  proposeCommands(count: number, now: number): LogPosition | null {
    this.#advance(now);
    const state = this.#state;
    return takesCommands(state) ? appendOwn(state, count) : null;
  }

  /**
   * Begins a change of membership (§6) to `target`, any configuration that is not joint. If the voters change it goes
   * through C_old,new, which the leader of the day leaves by itself. Returns the position of the first entry of the
   * change, or why it was not begun. `config` tells what is in force, `commitStatus` whether a step is committed.
   * Throws `ProtocolViolation` for a target without voters, or with a member in two parts.
   */
  proposeConfig(target: ClusterConfig, now: number): LogPosition | ConfigRefusal {
    this.#advance(now);
    return proposeConfig(this.#state, target, this.#now);
  }

  /**
   * Hands leadership over (dissertation 3.10) to the voter `to`, or, null, to the one whose log is the most complete.
   * Until another leader is heard of, or the longest election timeout is over, no commands are taken.
   */
  transferLeadership(to: NodeId | null, now: number): { readonly to: NodeId } | TransferRefusal {
    this.#advance(now);
    return startTransfer(this.#state, to, this.#now);
  }

  /**
   * The index at which a read may be served at once on the strength of the leader's lease (dissertation 6.4.1), provided
   * that no clock drifts by more than `clockDriftMax` and that all nodes check quorums; null: use `readIndex`.
   */
  leaseIndex(now: number): LogIndex | null {
    this.#advance(now);
    return leaseIndex(this.#state, this.#now);
  }

  /**
   * Asks at which index a linearizable read may be served (dissertation 6.4), on any member. The answer comes as
   * `Actions.reads` under the id returned, within the longest election timeout: an index to wait for, or null: ask again.
   */
  readIndex(now: number): number {
    this.#advance(now);
    return startRead(this.#state, this.#now);
  }

  /** Takes in a message. Throws `ProtocolViolation` if it shows what cannot be: the node must stop. */
  handleMessage(message: Message, now: number): void {
    this.#advance(now);
    const state = this.#state;
    assert(message.from !== state.id, "a node sends no messages to itself");
    assert(Number.isSafeInteger(message.term) && message.term >= 0, "a term is a safe integer");
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

  /** The time that `Actions.timer` named has come. Early calls do nothing but name the right time. */
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

  /** The batch `persistId` and all before it are durable. Throws `ProtocolViolation` for one that was never taken. */
  handlePersisted(persistId: number, now: number): void {
    this.#advance(now);
    this.#state.persisted(persistId);
    countOwnVote(this.#state, persistId, this.#now);
    advanceCommit(this.#state);
    advanceMembership(this.#state, this.#now);
    advanceTransfer(this.#state, this.#now);
  }

  /**
   * The state machine and the log store hold this snapshot now, durably, and the stored log begins after it: it is
   * empty, unless it held the entry at `position`. `config` is the configuration at `position`. Between replacing the
   * log and this call no actions may be taken: they would write on the log that is gone. A snapshot older than the
   * one that the log begins after changes nothing, here or in the store.
   */
  handleSnapshotInstalled(position: LogPosition, config: ClusterConfig, now: number): void {
    this.#advance(now);
    snapshotInstalled(this.#state, position, config, this.#now);
  }

  /** The log up to `index` is covered by a snapshot of this node's own, and may be forgotten. */
  handleCompacted(index: LogIndex, now: number): void {
    this.#advance(now);
    compactLog(this.#state, index);
  }

  /** Everything to do since the last call, as one value. Taking it is a promise to do it, in order. */
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

  /** What became of the entry at `position`, as far as this node can tell. */
  commitStatus(position: LogPosition): CommitStatus {
    const { log, commitIndex } = this.#state;
    if (position.index <= commitIndex) {
      const term = log.termAt(position.index);
      if (term === undefined) return "unknown";
      return term === position.term ? "committed" : "rejected";
    }
    if (log.contains(position)) return "in-progress";
    // Terms never fall along a log: after a committed entry of a later term, this one has no place any more.
    return position.term < (log.termAt(commitIndex) ?? 0) ? "rejected" : "unknown";
  }

  /** Time never goes back, whatever the caller's clock does. */
  #advance(now: number): void {
    if (now > this.#now) this.#now = now;
  }

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
