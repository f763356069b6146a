import { assert } from "./assert.ts";
import type { HardState } from "./action.ts";
import { isVoter, membersOf, type ClusterConfig } from "./config.ts";
import { Log, EMPTY_LOG, type LogImage } from "./log.ts";
import type { Message } from "./message.ts";
import type { Options } from "./options.ts";
import { PendingActions, type PendingActionsImage } from "./pending-actions.ts";
import type { LogIndex, LogPosition, NodeId, Term } from "./position.ts";
import { Progress, type ProgressImage } from "./progress.ts";
import { ReadIndexRequests, type ReadIndexRequestsImage, type ReadOrigin } from "./read-index-requests.ts";
import type { LeaseProbe, Role, Transfer } from "./role.ts";

/** An append that was taken and not yet reported durable. */
interface AppendInFlight {
  readonly persistId: number;
  /** Entries up to here are durable when it completes; lowered when some of them are overwritten. */
  upTo: LogIndex;
  readonly takenAt: number;
}

/** How many of the longest election timeouts a leader tries to tell a member that it was removed. */
const REMOVAL_NOTICE_TIMEOUTS = 4;

/** A `NodeState` as plain values. Sets and maps are arrays here, in their order. */
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
  readonly role: Role;
  readonly leaderId: NodeId | null;
  readonly leaderHeardAt: number;
  readonly electionDeadline: number | null;
  readonly votes: readonly NodeId[];
  readonly ownVoteId: number | null;
  readonly matchedIndex: LogIndex;
  readonly receivedRound: number;
  readonly acknowledgedRound: number;
  readonly acknowledgedIndex: LogIndex;
  readonly acknowledgementDue: boolean;
  readonly progress: readonly (readonly [NodeId, ProgressImage])[];
  readonly termStart: LogIndex;
  readonly heartbeatRound: number;
  readonly heartbeatDeadline: number;
  readonly transfer: Transfer | null;
  readonly leaseFrom: number;
  readonly leaseProbe: LeaseProbe | null;
  readonly leaseIsVoid: boolean;
}

/**
 * All that a node knows, and the few steps that every part of the algorithm shares. The parts
 * (election, replication, ...) are functions over it, one file each.
 *
 * Invariants: commitIndex <= log.last; durableIndex <= log.last; a leader leads in `term` and its own
 * `hardState` for that term is durable.
 */
export class NodeState {
  readonly id: NodeId;
  readonly options: Options;
  readonly log: Log;
  readonly pendingActions = new PendingActions();
  readonly reads: ReadIndexRequests;

  // Figure 2: persistent state. Changed by `enterTerm` and `voteFor` alone, so that both always travel as one record.
  #term: Term;
  #votedFor: NodeId | null;
  /** The batch that saves the newest term and vote. */
  #hardStateId = 0;
  /** The last batch known to be durable. */
  #persistedId = 0;
  #appendsInFlight: AppendInFlight[] = [];
  #durableIndex: LogIndex;
  #commitIndex: LogIndex;

  role: Role = "follower";
  /** Whom this node follows, or itself; null: unknown. */
  leaderId: NodeId | null = null;
  /** When the leader was last heard; a promise not to help depose it for an election timeout. */
  leaderHeardAt = -Infinity;
  /** When to campaign, unless something is heard; kept only while the node may campaign. */
  electionDeadline: number | null = null;

  /** A candidate's or pre-candidate's supporters. */
  votes = new Set<NodeId>();
  /** The batch that makes a candidate's own vote durable; it counts only then. */
  ownVoteId: number | null = null;

  // A follower's view of the leader of this term.
  /** The log is known to equal the leader's up to here. */
  matchedIndex: LogIndex = 0;
  receivedRound = 0;
  acknowledgedRound = 0;
  acknowledgedIndex: LogIndex = 0;
  acknowledgementDue = false;

  // A leader's state.
  progress = new Map<NodeId, Progress>();
  /** The index of the blank entry that this leader began with. */
  termStart: LogIndex = 0;
  heartbeatRound = 0;
  heartbeatDeadline = Infinity;
  transfer: Transfer | null = null;
  /** The last time at which a majority is known to have promised not to vote anybody else in for a while. */
  leaseFrom = -Infinity;
  /** The next check that will extend the lease. One at a time: its answers come well before the lease ends. */
  leaseProbe: LeaseProbe | null = null;
  /** This leader asked somebody to depose it, so in this term no promise holds any more (dissertation 3.10). */
  leaseIsVoid = false;

  constructor(
    options: Options,
    hardState: HardState,
    image: LogImage = EMPTY_LOG,
    commitIndex = image.base.index,
    reads = new ReadIndexRequests(options.readsMax, options.random),
  ) {
    this.id = options.id;
    this.options = options;
    this.log = new Log(image);
    this.reads = reads;
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

  /** A state that goes on exactly as the captured one would have. */
  static revive(options: Options, image: StateImage): NodeState {
    const { term, votedFor, log, commitIndex } = image;
    const reads = ReadIndexRequests.revive(options.readsMax, image.reads);
    const state = new NodeState(options, { term, votedFor }, log, commitIndex, reads);
    state.#hardStateId = image.hardStateId;
    state.#persistedId = image.persistedId;
    state.#appendsInFlight = image.appendsInFlight.map((append) => ({ ...append }));
    state.#durableIndex = image.durableIndex;
    state.pendingActions.restore(image.pendingActions);
    state.role = image.role;
    state.leaderId = image.leaderId;
    state.leaderHeardAt = image.leaderHeardAt;
    state.electionDeadline = image.electionDeadline;
    state.votes = new Set(image.votes);
    state.ownVoteId = image.ownVoteId;
    state.matchedIndex = image.matchedIndex;
    state.receivedRound = image.receivedRound;
    state.acknowledgedRound = image.acknowledgedRound;
    state.acknowledgedIndex = image.acknowledgedIndex;
    state.acknowledgementDue = image.acknowledgementDue;
    state.progress = new Map(image.progress.map(([id, progress]) => [id, Progress.revive(progress)]));
    state.termStart = image.termStart;
    state.heartbeatRound = image.heartbeatRound;
    state.heartbeatDeadline = image.heartbeatDeadline;
    state.transfer = image.transfer;
    state.leaseFrom = image.leaseFrom;
    state.leaseProbe = image.leaseProbe;
    state.leaseIsVoid = image.leaseIsVoid;
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
      role: this.role,
      leaderId: this.leaderId,
      leaderHeardAt: this.leaderHeardAt,
      electionDeadline: this.electionDeadline,
      votes: [...this.votes],
      ownVoteId: this.ownVoteId,
      matchedIndex: this.matchedIndex,
      receivedRound: this.receivedRound,
      acknowledgedRound: this.acknowledgedRound,
      acknowledgedIndex: this.acknowledgedIndex,
      acknowledgementDue: this.acknowledgementDue,
      progress: [...this.progress].map(([id, progress]) => [id, progress.capture()]),
      termStart: this.termStart,
      heartbeatRound: this.heartbeatRound,
      heartbeatDeadline: this.heartbeatDeadline,
      transfer: this.transfer,
      leaseFrom: this.leaseFrom,
      leaseProbe: this.leaseProbe,
      leaseIsVoid: this.leaseIsVoid,
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

  /** Whether nobody else has a vote, so that no election can be lost. */
  get isSoleVoter(): boolean {
    const { voters, outgoingVoters } = this.config;
    return voters.length > 0 && [...voters, ...outgoingVoters].every((id) => id === this.id);
  }

  /** Whether others had a vote before the last change: one of them may still lead, and trust its lease. */
  get hadOtherVoters(): boolean {
    const { index } = this.log.config;
    // What the log forgot of it was committed, and a leader that knows this is on its way out, and trusts no lease.
    if (index <= this.log.base.index) return false;
    const { voters, outgoingVoters } = this.log.configAt(index - 1).config;
    return [...voters, ...outgoingVoters].some((id) => id !== this.id);
  }

  /**
   * Whether this node may stand for election: if it is a voter, or was one and does not know its removal to be
   * committed. A leader that crashed over its own removal may be the only one with the longest log, without which
   * nobody can win. Learners and strangers would disturb for nothing.
   */
  get isEligible(): boolean {
    if (this.isVoter) return true;
    const { index } = this.log.config;
    // The one before the last is committed: no change begins before the one before it is done.
    return index > this.#commitIndex && isVoter(this.log.configAt(index - 1).config, this.id);
  }

  /** Whether new commands are taken: not while leadership is handed over, nor by a leader that is on its way out. */
  get takesCommands(): boolean {
    return this.role === "leader" && this.transfer === null && this.isVoter;
  }

  /** When the oldest write to the log will have taken too long: a node whose disk hangs should not lead. */
  get stallDeadline(): number {
    const oldest = this.#appendsInFlight[0];
    // A sole voter has nobody to hand over to, and can still serve reads.
    if (oldest === undefined || this.isSoleVoter) return Infinity;
    return oldest.takenAt + this.options.storageStallMs;
  }

  /** On the leader: whether an entry of its own term is committed, before which it knows nothing (§8). */
  get termStartCommitted(): boolean {
    return this.role === "leader" && this.#commitIndex >= this.termStart;
  }

  /** Enters a later term, in which this node has not voted. */
  enterTerm(term: Term, votedFor: NodeId | null = null): void {
    assert(Number.isSafeInteger(term) && term > this.#term, "a term is only ever left for a later one");
    this.#term = term;
    this.#votedFor = votedFor;
    this.#forgetLeader();
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

  /** Enters `term` if it is later; in any case follows `leaderId` (null: nobody yet). Keeps the vote within a term. */
  becomeFollower(term: Term, leaderId: NodeId | null, now: number): void {
    if (term > this.#term) this.enterTerm(term);
    if (this.role !== "follower") this.resetElectionDeadline(now);
    this.role = "follower";
    this.votes.clear();
    this.ownVoteId = null;
    this.progress.clear();
    this.pendingActions.dropSnapshotOffers();
    this.heartbeatDeadline = Infinity;
    this.transfer = null;
    if (leaderId !== this.leaderId) this.failReads();
    this.leaderId = leaderId;
    this.electionDeadline ??= this.#drawElectionDeadline(now);
  }

  /** What was known to equal the log of an earlier term's leader says nothing about the next one's. */
  #forgetLeader(): void {
    this.matchedIndex = 0;
    this.receivedRound = 0;
    this.acknowledgedRound = 0;
    this.acknowledgedIndex = 0;
    this.acknowledgementDue = false;
  }

  becomeLeader(now: number): void {
    assert(
      this.role === "candidate" && this.hardStateIsDurable,
      "only a candidate whose vote is durable can win",
    );
    this.role = "leader";
    this.leaderId = this.id;
    this.votes.clear();
    this.ownVoteId = null;
    this.electionDeadline = null;
    this.heartbeatRound = 0;
    this.leaseFrom = -Infinity;
    this.leaseProbe = null;
    this.leaseIsVoid = false;
    this.#followMembership(now);
    // §8: entries of earlier terms are known to be committed only when one of this term is.
    this.termStart = this.log.last.index + 1;
    this.appendOwn(1);
    this.startHeartbeatRound(now);
  }

  /** Appends entries of this leader's term; they leave with the next actions. */
  appendOwn(count: number): LogPosition {
    const from = this.log.last.index + 1;
    this.log.extend(this.#term, count);
    this.pendingActions.append(from, from + count);
    return this.log.last;
  }

  /** Appends a configuration of this leader's term, which is in force from now on (§6). */
  appendConfig(config: ClusterConfig, now: number): LogPosition {
    this.log.extendConfig(this.#term, config);
    const { last } = this.log;
    this.pendingActions.append(last.index, last.index + 1);
    this.#followMembership(now);
    this.startHeartbeatRound(now);
    return last;
  }

  /** Watches over those who are members now, and for a while over those who are not any more. */
  #followMembership(now: number): void {
    const members = new Set(membersOf(this.config));
    for (const id of members) {
      const known = this.progress.get(id);
      if (known !== undefined) known.removalNotice = null;
      // §5.3: at first the leader supposes that every log equals its own.
      else if (id !== this.id) this.progress.set(id, new Progress(this.log.last.index + 1, now));
    }
    const until = now + REMOVAL_NOTICE_TIMEOUTS * this.options.electionTimeoutMs.max;
    for (const [id, progress] of this.progress) {
      if (!members.has(id)) progress.removalNotice ??= { index: this.log.last.index, until, round: null };
    }
  }

  /** Lets go of removed members that know it, or that cannot be told. */
  #dropNotifiedMembers(now: number): void {
    for (const [id, progress] of this.progress) {
      const { removalNotice } = progress;
      if (removalNotice === null) continue;
      const knows = removalNotice.round !== null && progress.acknowledgedRound >= removalNotice.round;
      if (knows || now >= removalNotice.until || progress.state === "snapshot") this.progress.delete(id);
      else if (
        removalNotice.round === null &&
        removalNotice.index <= this.#commitIndex &&
        progress.match >= removalNotice.index
      ) {
        progress.removalNotice = { ...removalNotice, round: this.heartbeatRound };
      }
    }
  }

  /** Begins a check of leadership: every member is owed a heartbeat that carries its number. */
  startHeartbeatRound(now: number): void {
    this.heartbeatRound += 1;
    this.leaseProbe ??= { round: this.heartbeatRound, at: now };
    this.#dropNotifiedMembers(now);
    this.heartbeatDeadline = this.progress.size === 0 ? Infinity : now + this.options.heartbeatMs;
    for (const progress of this.progress.values()) progress.heartbeatDue = true;
  }

  /** Removes entries from `index` on; writes of them that are under way count for nothing any more. */
  truncate(index: LogIndex): void {
    assert(index > this.#commitIndex, "a committed entry is never removed (§5.4)");
    this.log.truncate(index);
    this.pendingActions.truncate(index);
    this.#durableIndex = Math.min(this.#durableIndex, index - 1);
    for (const append of this.#appendsInFlight) append.upTo = Math.min(append.upTo, index - 1);
  }

  /** The log was replaced by what a snapshot covers; `base` is durable. */
  replaceLog(base: LogPosition, config: ClusterConfig): void {
    assert(base.index > this.#commitIndex, "a snapshot never takes back what is committed");
    this.log.reset(base, config);
    this.pendingActions.dropAppend();
    this.#appendsInFlight = [];
    this.#durableIndex = base.index;
  }

  /** A snapshot covers the log up to `index`, durably: these entries need not be written any more. */
  discardCoveredLog(index: LogIndex): void {
    this.log.compact(index);
    this.pendingActions.dropCovered(index);
    this.#durableIndex = Math.max(this.#durableIndex, index);
  }

  /** A batch leaves: what it appends counts as durable only when `persisted` says so. */
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

  /** Moves the commit index on; never back. */
  commitTo(index: LogIndex): void {
    if (index <= this.#commitIndex) return;
    const term = this.log.termAt(index);
    assert(term !== undefined, "only what is in the log can be committed");
    this.#commitIndex = index;
    this.pendingActions.commit({ term, index });
  }

  /** Sends now, or, while the newest term or vote is not durable, as soon as it is (§5.1: answer only after storage). */
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

  /** Fails all reads: the leader that would have confirmed them is gone. */
  failReads(): void {
    for (const read of this.reads.takeAll()) this.answerRead(read, null);
  }

  /** Fails the reads that have waited for too long. */
  expireReads(now: number): void {
    for (const read of this.reads.takeExpired(now)) this.answerRead(read, null);
  }

  /** Whether a leader was heard so lately that deposing it would be a disturbance (dissertation 4.2.3). */
  heardLeaderRecently(now: number): boolean {
    if (this.role === "leader") return true;
    return now < this.leaderHeardAt + this.options.electionTimeoutMs.min;
  }

  /** §5.2: each node draws its timeout anew each time, so that few ever campaign together. */
  resetElectionDeadline(now: number): void {
    this.electionDeadline = this.#drawElectionDeadline(now);
  }

  #drawElectionDeadline(now: number): number {
    const { min, max } = this.options.electionTimeoutMs;
    // There is nobody to collide with; but a leader that is on its way out may trust its lease, to which its only heir
    // gave the promise that every follower gives (dissertation 6.4.1).
    if (this.isSoleVoter) return Math.max(now, this.leaderHeardAt + min);
    return now + min + this.options.random() * (max - min);
  }
}
