// Everything that a node knows, and the few steps that all parts of the algorithm share. The parts (election,
// replication, ...) are functions over this state, one file each. What belongs to one role alone is in
// `role.ts`.
import { assert } from "./assert.ts";
import type { HardState } from "./action.ts";
import { isVoter, type ClusterConfig } from "./config.ts";
import { newFollowing, type Following } from "./following.ts";
import { Log, EMPTY_LOG, type LogImage } from "./log.ts";
import type { Message } from "./message.ts";
import type { Options } from "./options.ts";
import { PendingActions, type PendingActionsImage } from "./pending-actions.ts";
import {
  FIRST_NUMBER_MAX,
  TERM_MAX,
  type LogIndex,
  type LogPosition,
  type NodeId,
  type Term,
} from "./position.ts";
import { ReadIndexRequests, type ReadIndexRequestsImage, type ReadOrigin } from "./read-index-requests.ts";
import { captureRole, FOLLOWER, reviveRole, type RoleImage, type RoleState } from "./role.ts";

/** A write to the log that the caller has taken and not yet reported durable. */
interface AppendInFlight {
  /** The number of the batch that contains the write (`Actions.persistId`). */
  readonly persistId: number;
  /** Entries up to here are durable when the batch is. Lowered when entries are truncated meanwhile. */
  upTo: LogIndex;
  /** Time in milliseconds at which the caller took it. */
  readonly takenAt: number;
}

/** A `NodeState` as plain values. */
export interface StateImage {
  readonly term: Term;
  readonly votedFor: NodeId | null;
  readonly hardStateId: number;
  readonly persistedId: number;
  readonly appendsInFlight: readonly Readonly<AppendInFlight>[];
  readonly durableIndex: LogIndex;
  readonly commitIndex: LogIndex;
  readonly log: LogImage;
  readonly pendingActions: PendingActionsImage;
  readonly reads: ReadIndexRequestsImage;
  readonly role: RoleImage;
  readonly leaderId: NodeId | null;
  readonly leaderHeardAt: number;
  readonly electionDeadline: number | null;
  readonly preVoteRound: number;
  readonly serviceStalledAt: number | null;
  readonly following: Readonly<Following>;
}

/**
 * The state of one node.
 *
 * Invariants: log.base.index <= commitIndex <= log.last.index; log.base.index <= durableIndex <=
 * log.last.index; a leader's own term and vote are durable.
 */
export class NodeState {
  readonly id: NodeId;
  readonly options: Options;
  /** Positions and configurations of the entries. `durableIndex` tells which of them are durable. */
  readonly log: Log;
  /** What the caller has to do and has not taken yet. */
  readonly pendingActions: PendingActions = new PendingActions();
  /** Reads of this node's clients, and on a leader of other nodes, that are not answered yet. */
  readonly reads: ReadIndexRequests;

  // Persistent state (Figure 2).

  /**
   * The current term: never falls. Set with `#votedFor` by `enterTerm`, so that both are always saved as one
   * record.
   */
  #term: Term;
  /**
   * The node that has this node's vote in `#term`; null: not given yet. Given once per term: by `voteFor`,
   * or, to this node itself, by `enterTerm`.
   */
  #votedFor: NodeId | null;

  // Durability: batches are numbered, and each is durable only when all before it are.

  /**
   * The number of the batch that saves the current term and vote; 0: they are those from which the node
   * started.
   */
  #hardStateId = 0;
  /** The number of the last batch known to be durable; 0: none yet. Raised by `persisted`. */
  #persistedId = 0;
  /** Appends in the order in which they were taken; those in batches up to `#persistedId` are removed. */
  #appendsInFlight: AppendInFlight[] = [];
  /**
   * The last entry known to be on this node's disk. Raised by `persisted` and by installed snapshots; lowered
   * when durable entries are truncated, because their replacements are not durable yet.
   */
  #durableIndex: LogIndex;
  /** The last entry known to be committed: never falls. Raised by `commitTo`. */
  #commitIndex: LogIndex;

  // Volatile state.

  /**
   * What this node is at the moment, with the state of that role. While the role lasts, its state changes in
   * place. A change of role replaces the whole object, so that nothing of the earlier role survives.
   */
  role: RoleState = FOLLOWER;
  /**
   * The leader of the current term, this node included; null: not known. A candidate or pre-candidate has
   * none.
   */
  leaderId: NodeId | null = null;
  /**
   * Time in milliseconds at which a leader was last heard. A restart sets it to the time of the restart,
   * because the node may have heard one just before. -Infinity: no leader was heard, on a new node, or on one
   * that restarted as the sole voter (but see `hadOtherVoters`). For the shortest election timeout after that
   * time, this node grants no pre-vote, and with `checkQuorum` it gives no new vote either, except to a
   * candidate that the leader asked to take over. The leader's lease relies on it.
   */
  leaderHeardAt: number = -Infinity;
  /**
   * Time in milliseconds at which this node starts an election unless it hears a leader before. null: never,
   * because it leads, is a sole voter that waits for its own vote to be durable, or belongs to no cluster
   * yet. Ignored while the node isn't eligible.
   */
  electionDeadline: number | null = null;
  /**
   * The number of the last round of pre-votes that this node began. It starts at a random number, so that no
   * late answer to a round before a restart is taken for one to a round of this process.
   */
  preVoteRound: number;
  /**
   * Time in milliseconds at which the caller reported that this node can't serve commands, because a part of
   * it outside of the log has stalled; null: it can. Written by `RaftNode.handleServiceStall`.
   */
  serviceStalledAt: number | null = null;
  /** What was received from this term's leader. Replaced with each term, by `enterTerm`. */
  following: Following = newFollowing();

  constructor(
    options: Options,
    hardState: HardState,
    image: LogImage = EMPTY_LOG,
    commitIndex: LogIndex = image.base.index,
    reads: ReadIndexRequests = new ReadIndexRequests(options.readsMax, options.random),
    preVoteRound: number = Math.floor(options.random() * FIRST_NUMBER_MAX),
  ) {
    this.id = options.id;
    this.options = options;
    this.log = new Log(image);
    this.reads = reads;
    this.preVoteRound = preVoteRound;
    assert(
      Number.isSafeInteger(hardState.term) && hardState.term >= this.log.last.term,
      "the saved term is not older than the log's last entry",
    );
    assert(
      commitIndex >= image.base.index && commitIndex <= image.lastIndex,
      "what is known to be committed is in the log or covered by its snapshot",
    );
    this.#term = hardState.term;
    this.#votedFor = hardState.votedFor;
    this.#durableIndex = image.lastIndex;
    this.#commitIndex = commitIndex;
  }

  /** A state that behaves exactly as the captured one would have. */
  static revive(options: Options, image: StateImage): NodeState {
    const { term, votedFor, log, commitIndex, preVoteRound } = image;
    const reads = ReadIndexRequests.revive(options.readsMax, image.reads);
    const state = new NodeState(options, { term, votedFor }, log, commitIndex, reads, preVoteRound);
    state.#hardStateId = image.hardStateId;
    state.#persistedId = image.persistedId;
    state.#appendsInFlight = image.appendsInFlight.map((append) => ({ ...append }));
    state.#durableIndex = image.durableIndex;
    state.pendingActions.restore(image.pendingActions);
    state.role = reviveRole(image.role);
    state.leaderId = image.leaderId;
    state.leaderHeardAt = image.leaderHeardAt;
    state.electionDeadline = image.electionDeadline;
    state.serviceStalledAt = image.serviceStalledAt;
    state.following = { ...image.following };
    return state;
  }

  capture(): StateImage {
    return {
      term: this.#term,
      votedFor: this.#votedFor,
      hardStateId: this.#hardStateId,
      persistedId: this.#persistedId,
      appendsInFlight: this.#appendsInFlight.map((append) => ({ ...append })),
      durableIndex: this.#durableIndex,
      commitIndex: this.#commitIndex,
      log: this.log.capture(),
      pendingActions: this.pendingActions.capture(),
      reads: this.reads.capture(),
      role: captureRole(this.role),
      leaderId: this.leaderId,
      leaderHeardAt: this.leaderHeardAt,
      electionDeadline: this.electionDeadline,
      preVoteRound: this.preVoteRound,
      serviceStalledAt: this.serviceStalledAt,
      following: { ...this.following },
    };
  }

  get term(): Term {
    return this.#term;
  }

  get votedFor(): NodeId | null {
    return this.#votedFor;
  }

  get commitIndex(): LogIndex {
    return this.#commitIndex;
  }

  get durableIndex(): LogIndex {
    return this.#durableIndex;
  }

  /** The configuration in force: the last in the log, committed or not (§6). */
  get config(): ClusterConfig {
    return this.log.config.config;
  }

  get hardStateIsDurable(): boolean {
    return this.#hardStateId <= this.#persistedId;
  }

  get isVoter(): boolean {
    return isVoter(this.config, this.id);
  }

  /** Whether this node is the only one with a vote, so that it wins every election. */
  get isSoleVoter(): boolean {
    const { voters, outgoingVoters } = this.config;
    const isThisNode = (id: NodeId): boolean => id === this.id;
    return voters.length > 0 && voters.every(isThisNode) && outgoingVoters.every(isThisNode);
  }

  /**
   * Whether the configuration before the one in force had other voters. One of them may still lead and serve
   * reads under its lease, so a node that has become the sole voter must not lead at once.
   */
  get hadOtherVoters(): boolean {
    const { index } = this.log.config;
    // The entry is compacted, so it is committed. If another node led and committed it, that node stepped
    // down then, because it is no voter any more (`advanceMembership`), so it serves no reads under its
    // lease.
    if (index <= this.log.base.index) return false;
    const { voters, outgoingVoters } = this.log.configAt(index - 1).config;
    return [...voters, ...outgoingVoters].some((id) => id !== this.id);
  }

  /**
   * Whether this node may start an election: it is a voter, or it was one and doesn't know its removal to be
   * committed. A leader that crashed after appending its own removal may hold the only log that is complete
   * enough to win, so it must be able to. Learners and non-members would only disturb the cluster.
   */
  get isEligible(): boolean {
    if (this.isVoter) return true;
    const { index } = this.log.config;
    // No change of membership begins before the previous one is committed (§6). So only the last
    // configuration is uncommitted here, and the one before it is the last committed one.
    return index > this.#commitIndex && isVoter(this.log.configAt(index - 1).config, this.id);
  }

  /**
   * Time in milliseconds at which the oldest write under way has taken `storageStallMs`, or another part of
   * the node was reported as stalled. From then on the node should neither lead nor start an election.
   */
  get stallDeadline(): number {
    // No other node could lead instead of a sole voter, and it can still serve reads.
    if (this.isSoleVoter) return Infinity;
    const oldest = this.#appendsInFlight[0]?.takenAt ?? Infinity;
    return Math.min(oldest + this.options.storageStallMs, this.serviceStalledAt ?? Infinity);
  }

  /**
   * Time in milliseconds at which the caller took the oldest log write that it hasn't reported durable yet;
   * null: there is none.
   */
  get oldestWriteAt(): number | null {
    return this.#appendsInFlight[0]?.takenAt ?? null;
  }

  /**
   * Whether this node leads and an entry of its own term is committed. Before, it may not know the commit
   * index (§8).
   */
  get termStartCommitted(): boolean {
    return this.role.type === "leader" && this.#commitIndex >= this.role.termStartIndex;
  }

  /**
   * Enters a later term. `votedFor`: this node itself, if it stands for election in that term, and so has
   * given its vote in it; null: the vote isn't given yet.
   */
  enterTerm(term: Term, votedFor: NodeId | null = null): void {
    assert(Number.isSafeInteger(term) && term > this.#term, "a term is only ever left for a later one");
    assert(term <= TERM_MAX, "terms end at TERM_MAX");
    this.#term = term;
    this.#votedFor = votedFor;
    this.following = newFollowing();
    this.#saveHardState();
  }

  voteFor(candidate: NodeId): void {
    assert(this.#votedFor === null, "a vote in a term is given once (§5.2)");
    this.#votedFor = candidate;
    this.#saveHardState();
  }

  #saveHardState(): void {
    this.pendingActions.saveHardState({ term: this.#term, votedFor: this.#votedFor });
    this.#hardStateId = this.pendingActions.persistId;
  }

  /**
   * Becomes a follower of `leaderId` (null: not known yet) in `term`, or in the current term if that is
   * later. The vote of the current term stays as it is: forgetting it would allow a second one.
   */
  becomeFollower(term: Term, leaderId: NodeId | null, now: number): void {
    if (term > this.#term) this.enterTerm(term);
    if (this.role.type !== "follower") {
      this.resetElectionDeadline(now);
      this.role = FOLLOWER;
      this.pendingActions.dropSnapshotOffers();
    }
    if (leaderId !== this.leaderId) this.failReads();
    this.leaderId = leaderId;
    this.electionDeadline ??= this.#drawElectionDeadline(now);
  }

  /** Removes the entries from `index` on. Writes of them that are under way no longer make them durable. */
  truncate(index: LogIndex): void {
    assert(index > this.#commitIndex, "a committed entry is never removed (§5.4)");
    this.log.truncate(index);
    this.pendingActions.truncate(index);
    this.#durableIndex = Math.min(this.#durableIndex, index - 1);
    for (const append of this.#appendsInFlight) append.upTo = Math.min(append.upTo, index - 1);
  }

  /** An installed snapshot has replaced the whole log: it is empty, and durable up to `base`. */
  replaceLog(base: LogPosition, config: ClusterConfig): void {
    assert(base.index > this.#commitIndex, "a snapshot never takes back what is committed");
    this.log.reset(base, config);
    this.pendingActions.dropAppend();
    this.#appendsInFlight = [];
    this.#durableIndex = base.index;
  }

  /** An installed snapshot durably covers the entries up to `index`: they need not be written or kept. */
  discardCoveredLog(index: LogIndex): void {
    this.log.compact(index);
    this.pendingActions.dropCovered(index);
    this.#durableIndex = Math.max(this.#durableIndex, index);
  }

  /**
   * The caller has taken a batch that appends entries up to `upTo`; `persisted` will say when they are
   * durable.
   */
  appendTaken(persistId: number, upTo: LogIndex, takenAt: number): void {
    this.#appendsInFlight.push({ persistId, upTo, takenAt });
  }

  /** This batch and all before it are durable. */
  persisted(persistId: number): void {
    assert(persistId < this.pendingActions.persistId, "only a batch that was taken can be durable");
    if (persistId <= this.#persistedId) return;
    this.#persistedId = persistId;
    while ((this.#appendsInFlight[0]?.persistId ?? Infinity) <= persistId) {
      const append = this.#appendsInFlight.shift();
      if (append !== undefined) this.#durableIndex = Math.max(this.#durableIndex, append.upTo);
    }
  }

  /** Raises the commit index to `index`. A lower one, of a message that arrives late, changes nothing. */
  commitTo(index: LogIndex): void {
    if (index <= this.#commitIndex) return;
    const term = this.log.termAt(index);
    assert(term !== undefined, "only what is in the log can be committed");
    this.#commitIndex = index;
    this.pendingActions.commit({ term, index });
  }

  /**
   * Sends a message: at once, or, while the current term or vote is not durable, when it is. A message
   * asserts its sender's term, so a crash after sending must not be able to undo it (§5.1).
   */
  send(to: NodeId, message: Message): void {
    if (this.hardStateIsDurable) this.pendingActions.send(to, message);
    else this.pendingActions.sendAfterPersist(to, message);
  }

  /** Answers a read: to the node that asked, or to this node's client. `index` null: the read failed. */
  answerRead(read: ReadOrigin, index: LogIndex | null): void {
    if (read.from === null) this.pendingActions.read(read.id, index);
    else {
      const { id: from, term } = this;
      this.send(read.from, { type: "read-index-reply", from, term, id: read.id, index });
    }
  }

  /** Fails all reads: the leader that would have confirmed them is no longer known to lead. */
  failReads(): void {
    for (const read of this.reads.takeAll()) this.answerRead(read, null);
  }

  /** Fails the reads whose time limit (`expiresAt`) is over, so that every read is answered. */
  expireReads(now: number): void {
    for (const read of this.reads.takeExpired(now)) this.answerRead(read, null);
  }

  /**
   * Whether this node heard a leader within the shortest election timeout, or leads itself. Such a node helps
   * no candidate, so that a node with a bad network doesn't depose a leader that works (dissertation 4.2.3).
   */
  heardLeaderRecently(now: number): boolean {
    if (this.role.type === "leader") return true;
    return now < this.leaderHeardAt + this.options.electionTimeoutMs.min;
  }

  /** §5.2: the timeout is drawn anew each time, so that nodes seldom start elections at the same moment. */
  resetElectionDeadline(now: number): void {
    this.electionDeadline = this.#drawElectionDeadline(now);
  }

  #drawElectionDeadline(now: number): number {
    const { min, max } = this.options.electionTimeoutMs;
    // Sole voter: no other candidate, so no random delay. It still waits out the minimum timeout, because the
    // leader that it replaces may serve lease reads until then (dissertation 6.4.1).
    if (this.isSoleVoter) return Math.max(now, this.leaderHeardAt + min);
    return now + min + this.options.random() * (max - min);
  }
}
