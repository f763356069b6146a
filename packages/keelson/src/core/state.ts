import { assert } from "./assert.ts";
import type { HardState } from "./action.ts";
import { isVoter, membersOf, type ClusterConfig } from "./config.ts";
import { Log, EMPTY_LOG, type LogImage } from "./log.ts";
import type { Message } from "./message.ts";
import type { Options } from "./options.ts";
import { Outbox, type OutboxImage } from "./outbox.ts";
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
const DEPARTURE_TIMEOUTS = 4;

/** A `NodeState` as plain values. Sets and maps are arrays here, in their order. */
export interface StateImage {
  readonly term: Term;
  readonly votedFor: NodeId | null;
  readonly hardStateId: number;
  readonly persistedId: number;
  readonly appendsInFlight: readonly Readonly<AppendInFlight>[];
  readonly durable: LogIndex;
  readonly commit: LogIndex;
  readonly log: LogImage;
  readonly outbox: OutboxImage;
  readonly reads: ReadIndexRequestsImage;
  readonly role: Role;
  readonly leader: NodeId | null;
  readonly leaderHeardAt: number;
  readonly electionDeadline: number | null;
  readonly votes: readonly NodeId[];
  readonly ownVoteId: number | null;
  readonly verified: LogIndex;
  readonly roundSeen: number;
  readonly roundAcked: number;
  readonly acked: LogIndex;
  readonly ackOwed: boolean;
  readonly progress: readonly (readonly [NodeId, ProgressImage])[];
  readonly termStart: LogIndex;
  readonly round: number;
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
 * Invariants: commit <= log.last; durable <= log.last; a leader leads in `term` and its own
 * `hardState` for that term is durable.
 */
export class NodeState {
  readonly id: NodeId;
  readonly options: Options;
  readonly log: Log;
  readonly outbox = new Outbox();
  readonly reads: ReadIndexRequests;

  // Figure 2: persistent state. Changed by `enterTerm` and `voteFor` alone, so that both always travel as one record.
  #term: Term;
  #votedFor: NodeId | null;
  /** The batch that saves the newest term and vote. */
  #hardStateId = 0;
  /** The last batch known to be durable. */
  #persistedId = 0;
  #appendsInFlight: AppendInFlight[] = [];
  #durable: LogIndex;
  #commit: LogIndex;

  role: Role = "follower";
  /** Whom this node follows, or itself; null: unknown. */
  leader: NodeId | null = null;
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
  verified: LogIndex = 0;
  roundSeen = 0;
  roundAcked = 0;
  acked: LogIndex = 0;
  ackOwed = false;

  // A leader's state.
  progress = new Map<NodeId, Progress>();
  /** The index of the blank entry that this leader began with. */
  termStart: LogIndex = 0;
  round = 0;
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
    commit = image.base.index,
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
      commit >= image.base.index && commit <= image.lastIndex,
      "what is known to be committed is in the log or covered by its snapshot",
    );
    this.#term = hardState.term;
    this.#votedFor = hardState.votedFor;
    this.#durable = image.lastIndex;
    this.#commit = commit;
  }

  /** A state that goes on exactly as the captured one would have. */
  static revive(options: Options, image: StateImage): NodeState {
    const { term, votedFor, log, commit } = image;
    const reads = ReadIndexRequests.revive(options.readsMax, image.reads);
    const state = new NodeState(options, { term, votedFor }, log, commit, reads);
    state.#hardStateId = image.hardStateId;
    state.#persistedId = image.persistedId;
    state.#appendsInFlight = image.appendsInFlight.map((append) => ({ ...append }));
    state.#durable = image.durable;
    state.outbox.restore(image.outbox);
    state.role = image.role;
    state.leader = image.leader;
    state.leaderHeardAt = image.leaderHeardAt;
    state.electionDeadline = image.electionDeadline;
    state.votes = new Set(image.votes);
    state.ownVoteId = image.ownVoteId;
    state.verified = image.verified;
    state.roundSeen = image.roundSeen;
    state.roundAcked = image.roundAcked;
    state.acked = image.acked;
    state.ackOwed = image.ackOwed;
    state.progress = new Map(image.progress.map(([id, progress]) => [id, Progress.revive(progress)]));
    state.termStart = image.termStart;
    state.round = image.round;
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
      durable: this.#durable,
      commit: this.#commit,
      log: this.log.capture(),
      outbox: this.outbox.capture(),
      reads: this.reads.capture(),
      role: this.role,
      leader: this.leader,
      leaderHeardAt: this.leaderHeardAt,
      electionDeadline: this.electionDeadline,
      votes: [...this.votes],
      ownVoteId: this.ownVoteId,
      verified: this.verified,
      roundSeen: this.roundSeen,
      roundAcked: this.roundAcked,
      acked: this.acked,
      ackOwed: this.ackOwed,
      progress: [...this.progress].map(([id, progress]) => [id, progress.capture()]),
      termStart: this.termStart,
      round: this.round,
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

  get commit(): LogIndex {
    return this.#commit;
  }

  get durable(): LogIndex {
    return this.#durable;
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
  get inheritsVotes(): boolean {
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
    return index > this.#commit && isVoter(this.log.configAt(index - 1).config, this.id);
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
    return this.role === "leader" && this.#commit >= this.termStart;
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
    this.outbox.saveHardState({ term: this.#term, votedFor: this.#votedFor });
    this.#hardStateId = this.outbox.persistId;
  }

  /** Enters `term` if it is later; in any case follows `leader` (null: nobody yet). Keeps the vote within a term. */
  becomeFollower(term: Term, leader: NodeId | null, now: number): void {
    if (term > this.#term) this.enterTerm(term);
    if (this.role !== "follower") this.resetElectionDeadline(now);
    this.role = "follower";
    this.votes.clear();
    this.ownVoteId = null;
    this.progress.clear();
    this.outbox.forgetSnapshots();
    this.heartbeatDeadline = Infinity;
    this.transfer = null;
    if (leader !== this.leader) this.failReads();
    this.leader = leader;
    this.electionDeadline ??= this.#drawElectionDeadline(now);
  }

  /** What was known to equal the log of an earlier term's leader says nothing about the next one's. */
  #forgetLeader(): void {
    this.verified = 0;
    this.roundSeen = 0;
    this.roundAcked = 0;
    this.acked = 0;
    this.ackOwed = false;
  }

  becomeLeader(now: number): void {
    assert(
      this.role === "candidate" && this.hardStateIsDurable,
      "only a candidate whose vote is durable can win",
    );
    this.role = "leader";
    this.leader = this.id;
    this.votes.clear();
    this.ownVoteId = null;
    this.electionDeadline = null;
    this.round = 0;
    this.leaseFrom = -Infinity;
    this.leaseProbe = null;
    this.leaseIsVoid = false;
    this.#followMembership(now);
    // §8: entries of earlier terms are known to be committed only when one of this term is.
    this.termStart = this.log.last.index + 1;
    this.appendOwn(1);
    this.startRound(now);
  }

  /** Appends entries of this leader's term; they leave with the next actions. */
  appendOwn(count: number): LogPosition {
    const from = this.log.last.index + 1;
    this.log.extend(this.#term, count);
    this.outbox.append(from, from + count);
    return this.log.last;
  }

  /** Appends a configuration of this leader's term, which is in force from now on (§6). */
  appendConfig(config: ClusterConfig, now: number): LogPosition {
    this.log.extendConfig(this.#term, config);
    const { last } = this.log;
    this.outbox.append(last.index, last.index + 1);
    this.#followMembership(now);
    this.startRound(now);
    return last;
  }

  /** Watches over those who are members now, and for a while over those who are not any more. */
  #followMembership(now: number): void {
    const members = new Set(membersOf(this.config));
    for (const id of members) {
      const known = this.progress.get(id);
      if (known !== undefined) known.departure = null;
      // §5.3: at first the leader supposes that every log equals its own.
      else if (id !== this.id) this.progress.set(id, new Progress(this.log.last.index + 1, now));
    }
    const until = now + DEPARTURE_TIMEOUTS * this.options.electionTimeoutMs.max;
    for (const [id, progress] of this.progress) {
      if (!members.has(id)) progress.departure ??= { index: this.log.last.index, until, round: null };
    }
  }

  /** Lets go of removed members that know it, or that cannot be told. */
  #dropDeparted(now: number): void {
    for (const [id, progress] of this.progress) {
      const { departure } = progress;
      if (departure === null) continue;
      const knows = departure.round !== null && progress.roundAcked >= departure.round;
      if (knows || now >= departure.until || progress.state === "snapshot") this.progress.delete(id);
      else if (
        departure.round === null &&
        departure.index <= this.#commit &&
        progress.match >= departure.index
      ) {
        progress.departure = { ...departure, round: this.round };
      }
    }
  }

  /** Begins a check of leadership: every member is owed a heartbeat that carries its number. */
  startRound(now: number): void {
    this.round += 1;
    this.leaseProbe ??= { round: this.round, at: now };
    this.#dropDeparted(now);
    this.heartbeatDeadline = this.progress.size === 0 ? Infinity : now + this.options.heartbeatMs;
    for (const progress of this.progress.values()) progress.heartbeatDue = true;
  }

  /** Removes entries from `index` on; writes of them that are under way count for nothing any more. */
  truncate(index: LogIndex): void {
    assert(index > this.#commit, "a committed entry is never removed (§5.4)");
    this.log.truncate(index);
    this.outbox.truncate(index);
    this.#durable = Math.min(this.#durable, index - 1);
    for (const append of this.#appendsInFlight) append.upTo = Math.min(append.upTo, index - 1);
  }

  /** The log was replaced by what a snapshot covers; `base` is durable. */
  replaceLog(base: LogPosition, config: ClusterConfig): void {
    assert(base.index > this.#commit, "a snapshot never takes back what is committed");
    this.log.reset(base, config);
    this.outbox.forgetAppend();
    this.#appendsInFlight = [];
    this.#durable = base.index;
  }

  /** A snapshot covers the log up to `index`, durably: these entries need not be written any more. */
  coverLog(index: LogIndex): void {
    this.log.compact(index);
    this.outbox.cover(index);
    this.#durable = Math.max(this.#durable, index);
  }

  /** A batch leaves: what it appends counts as durable only when `persisted` says so. */
  appendTaken(persistId: number, upTo: LogIndex, takenAt: number): void {
    this.#appendsInFlight.push({ persistId, upTo, takenAt });
  }

  /** This batch and all before it are durable. */
  persisted(persistId: number): void {
    assert(persistId < this.outbox.persistId, "only a batch that was taken can be durable");
    if (persistId <= this.#persistedId) return;
    this.#persistedId = persistId;
    while ((this.#appendsInFlight[0]?.persistId ?? Infinity) <= persistId) {
      const append = this.#appendsInFlight.shift();
      if (append !== undefined) this.#durable = Math.max(this.#durable, append.upTo);
    }
  }

  /** Moves the commit index on; never back. */
  commitTo(index: LogIndex): void {
    if (index <= this.#commit) return;
    const term = this.log.termAt(index);
    assert(term !== undefined, "only what is in the log can be committed");
    this.#commit = index;
    this.outbox.commit({ term, index });
  }

  /** Sends now, or, while the newest term or vote is not durable, as soon as it is (§5.1: answer only after storage). */
  send(to: NodeId, message: Message): void {
    if (this.hardStateIsDurable) this.outbox.send(to, message);
    else this.outbox.sendAfterPersist(to, message);
  }

  /** Answers a read: to the node that asked, or to this node's client. `index` null: the read failed. */
  answerRead(read: ReadOrigin, index: LogIndex | null): void {
    if (read.from === null) this.outbox.read(read.id, index);
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
  leaderIsFresh(now: number): boolean {
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
