/**
 * DUTY: a leader keeps its cluster going, without waiting for a further message or heartbeat.
 *
 * - It commits what a majority holds, and takes the next step of a change of membership.
 * - It replicates to every member. Each heartbeat round goes to all of them, and the next one follows in
 *   time. What a member lacks is sent as far as the window allows; a member that is known to hold what the
 *   log begins after is not left waiting for a snapshot.
 * - It looks for where two logs agree only where the last refusal allows it. It sends no entries to a member
 *   whose log it still compares with its own (`probe`) and that hasn't answered for the longest election
 *   timeout.
 * - With check-quorum, it steps down when no quorum has answered it for the longest election timeout.
 * - It steps down only if it was removed, hears no majority, or a part of it has stalled. If it still hears a
 *   majority, it asks another voter to take over, provided that one which it hears holds every committed
 *   entry.
 */
import type { Actions, AddressedMessage } from "../../../core/action.ts";
import { isJoint, membersOf } from "../../../core/config.ts";
import type { AppendEntries, AppendEntriesReply } from "../../../core/message.ts";
import type { FollowerProgress, RaftNode } from "../../../core/node.ts";
import type { NodeId } from "../../../core/position.ts";
import type { Input } from "../../model/index.ts";
import { duty, type DutySettings } from "./duty.ts";
import { LeaseDuties } from "./lease-duties.ts";
import { RemovalDuties } from "./removal-duties.ts";
import { TransferDuties } from "./transfer-duties.ts";
import { hasVote, isQuorum } from "./votes.ts";

/** What was seen of one node that the leader sends to. */
interface Peer {
  /** When it answered last; at first, when the leader began to send to it. */
  heardAt: number;
  /** The latest heartbeat round that was sent to it. */
  roundSent: number;
  /**
   * For each message with entries that was sent to it and isn't acknowledged, the index of the last entry.
   */
  unacknowledged: number[];
  /** The highest index that it has acknowledged. */
  match: number;
  /** The next entry to send to it, as of its last answer or the last actions. */
  next: number;
  /** It refused a message while it waits for a snapshot: the next actions must offer it one. */
  needsOffer: boolean;
}

/** What a leader owes the others when it steps down by itself. */
export interface HandOver {
  /** It must ask one of them to take over. */
  readonly isDue: boolean;
  /** Those that it may ask. */
  readonly successors: ReadonlySet<NodeId>;
}

type Refusal = Extract<AppendEntriesReply["outcome"], { accepted: false }>;

/** The core's defaults, which the runtime uses. No run has as many bytes in flight. */
const DEFAULT_WINDOW = { inflightMessagesMax: 64, inflightBytesMax: 8 * 1024 * 1024 };

/** See the file's header. Made anew for each term that the node leads. */
export class LeaderDuties {
  readonly #core: RaftNode;
  readonly #settings: DutySettings;
  readonly #leases: LeaseDuties;
  readonly #removals: RemovalDuties;
  readonly #transfers: TransferDuties;
  readonly #peers = new Map<NodeId, Peer>();
  /** Members that have lost entries: nothing that they say counts. */
  readonly #lost = new Set<NodeId>();
  #round = 0;
  /** When the first message of the round was handed out, or the node began to lead. */
  #roundAt: number;
  /** The target of a transfer since actions were last taken: the caller may have named it. null: none. */
  #named: NodeId | null = null;
  /** A heartbeat was due at the last call of `handleTimeout`. */
  #mustBeat = false;

  constructor(core: RaftNode, settings: DutySettings, now: number) {
    this.#core = core;
    this.#settings = settings;
    this.#roundAt = now;
    this.#leases = new LeaseDuties(core, settings, now);
    this.#removals = new RemovalDuties(core, settings);
    this.#transfers = new TransferDuties(core);
    for (const id of this.#others()) this.#peer(id, now);
  }

  #others(): NodeId[] {
    return membersOf(this.#core.config).filter((id) => id !== this.#core.id);
  }

  #peer(id: NodeId, now: number): Peer {
    let peer = this.#peers.get(id);
    if (peer === undefined) {
      const next = this.#core.progress(id)?.next ?? 0;
      peer = { heardAt: now, roundSent: 0, unacknowledged: [], match: 0, next, needsOffer: false };
      this.#peers.set(id, peer);
    }
    return peer;
  }

  stepped(input: Input, now: number): void {
    const { heartbeatMs } = this.#settings;
    if (input.type === "timeout" && this.#others().length > 0)
      this.#mustBeat ||= now >= this.#roundAt + heartbeatMs;
    if (input.type === "timeout") this.#checkHeard(now);
    this.#named = this.#core.transferTarget ?? this.#named;
    this.#transfers.stepped(input);
    this.#leases.stepped(input, now);
    if (input.type !== "message" || input.message.type !== "append-entries-reply") return;
    if (input.message.term === this.#core.term) this.#answered(input.message, now);
  }

  #answered({ from, outcome, round }: AppendEntriesReply, now: number): void {
    const progress = this.#core.progress(from);
    if (progress === undefined) return;
    if (progress.lostAfter !== null) this.#lost.add(from);
    if (this.#lost.has(from)) return;
    const peer = this.#peer(from, now);
    peer.heardAt = now;
    this.#removals.answered(from, round);
    this.#leases.answered(from, round);
    const before = peer.next;
    peer.next = progress.next;
    if (!outcome.accepted) {
      peer.needsOffer ||= progress.state === "snapshot";
      if (progress.state === "probe") this.#checkProbe(from, progress, outcome, before);
      return;
    }
    const { match } = outcome;
    peer.match = Math.max(peer.match, match);
    peer.unacknowledged = peer.unacknowledged.filter((last) => last > match);
    duty(
      progress.match >= match && progress.state !== "probe",
      () =>
        `${this.#core.id} hears that ${from} holds ${String(match)}, and counts ${String(progress.match)}`,
    );
  }

  taken(actions: Actions, messages: readonly AddressedMessage[], now: number): void {
    for (const { to, message } of messages)
      if (message.type === "append-entries") this.#sent(to, message, now);
    this.#checkRounds(actions, now);
    this.#checkCommit();
    this.#checkChange();
    for (const id of this.#others()) this.#checkMember(id, actions);
    this.#removals.taken(messages, now);
    this.#transfers.taken(messages, this.#round);
    this.#named = this.#core.transferTarget;
    this.#leases.taken(messages, this.#round);
  }

  #sent(to: NodeId, { entries, round }: AppendEntries, now: number): void {
    const peer = this.#peer(to, now);
    if (round > this.#round) {
      this.#round = round;
      this.#roundAt = now;
      this.#mustBeat = false;
    }
    peer.roundSent = Math.max(peer.roundSent, round);
    const progress = this.#core.progress(to);
    const { lastIndex, prev } = entries;
    if (lastIndex === prev.index) return;
    peer.unacknowledged.push(lastIndex);
    const isSilent = now - peer.heardAt >= this.#settings.electionTimeoutMaxMs;
    duty(
      !isSilent || progress?.state !== "probe",
      () => `${this.#core.id} sends ${to} entries, and has not heard it since ${String(peer.heardAt)} ms`,
    );
  }

  /**
   * §5.3: a refusal rules out where the logs could agree: what lies after the hint, and all entries of later
   * terms than the hint's. The leader doesn't try these. `before`: the next entry to send as it was before
   * the refusal.
   */
  #checkProbe(from: NodeId, { next, match }: FollowerProgress, outcome: Refusal, before: number): void {
    const { id, log } = this.#core;
    const { refused, hint } = outcome;
    const prev = next - 1;
    const isRuledOut = prev > hint.index || (log.termAt(prev) ?? 0) > hint.term;
    // Only trying the log's base shows whether the follower needs a snapshot.
    const isTriedAnyway = prev <= Math.max(match, log.base.index);
    duty(
      next === before || isTriedAnyway || !isRuledOut,
      () =>
        `${id} tries ${from} after ${String(prev)}, which its hint ${String(hint.index)}@${String(hint.term)} rules out`,
    );
    duty(
      refused !== prev || prev <= match,
      () => `${id} tries ${from} after ${String(prev)} again, which it has refused`,
    );
  }

  /** Checks that the latest round went to all members, and that the timer is set in time for the next one. */
  #checkRounds({ timer }: Actions, now: number): void {
    const { id } = this.#core;
    const others = this.#others();
    if (others.length === 0) return;
    duty(!this.#mustBeat, () => `${id} owes a heartbeat since ${String(this.#roundAt)} ms, and sends none`);
    for (const other of others) {
      const sent = this.#peers.get(other)?.roundSent ?? 0;
      duty(
        sent === this.#round,
        () =>
          `${id} has begun round ${String(this.#round)}, and sends ${other} nothing since ${String(sent)}`,
      );
    }
    const dueAt = Math.max(now, this.#roundAt + this.#settings.heartbeatMs);
    duty(
      timer !== null && timer <= dueAt,
      () => `${id} wants to be woken at ${String(timer)}, and its next heartbeat is due at ${String(dueAt)}`,
    );
  }

  /**
   * §5.3: checks that what a majority holds is committed. Asks for the commit only where majorities of both
   * the last configuration and the one before it hold the entry, so that it doesn't matter which of them
   * counts.
   */
  #checkCommit(): void {
    const { id, log, term, commitIndex } = this.#core;
    const { last } = log;
    const { index, config } = log.configAt(last.index);
    const before = index > log.base.index ? log.configAt(index - 1).config : config;
    const holds =
      (at: number) =>
      (voter: NodeId): boolean =>
        voter === id ? this.#core.durableIndex >= at : this.#countedMatch(voter) >= at;
    const candidates = [this.#core.durableIndex, ...this.#others().map((other) => this.#countedMatch(other))];
    for (const at of candidates) {
      if (at <= commitIndex || log.termAt(at) !== term) continue;
      const isHeld =
        config.voters.length > 0 &&
        isQuorum(config, holds(at)) &&
        (before.voters.length === 0 || isQuorum(before, holds(at)));
      duty(!isHeld, () => `${id} has ${String(at)} on a majority, and has committed ${String(commitIndex)}`);
    }
  }

  #countedMatch(id: NodeId): number {
    const progress = this.#core.progress(id);
    return progress === undefined || progress.lostAfter !== null ? 0 : progress.match;
  }

  /**
   * §6: once C_old,new is committed, the leader must append C_new, and once its own removal is committed, it
   * must stop leading.
   */
  #checkChange(): void {
    const { id, log, commitIndex, termStartCommitted } = this.#core;
    const { index, config } = log.configAt(log.last.index);
    if (index > commitIndex || !termStartCommitted) return;
    duty(
      !isJoint(config),
      () => `${id} has committed C_old,new at ${String(index)}, and doesn't append C_new`,
    );
    duty(hasVote(config, id), () => `${id} leads on, and its removal at ${String(index)} is committed`);
  }

  #checkMember(other: NodeId, { snapshots }: Actions): void {
    const { id, log } = this.#core;
    const progress = this.#core.progress(other);
    duty(progress !== undefined, () => `${id} replicates nothing to the member ${other}`);
    const { state, match, next, lostAfter } = progress;
    const peer = this.#peers.get(other);
    const needsOffer = peer?.needsOffer === true && state === "snapshot" && lostAfter === null;
    if (peer !== undefined) peer.needsOffer = false;
    duty(
      !needsOffer || snapshots.some(({ to }) => to === other),
      () => `${id} hears that ${other} still needs a snapshot, and offers it none`,
    );
    duty(
      state !== "snapshot" || match < log.base.index,
      () => `${id} lets ${other} wait for a snapshot, and could send it what follows ${String(match)}`,
    );
    if (peer !== undefined) peer.next = next;
    const underWay = peer?.unacknowledged.filter((last) => last > match).length ?? 0;
    const { inflightMessagesMax, inflightBytesMax } = this.#settings.window ?? DEFAULT_WINDOW;
    // How many bytes are under way isn't known here. One message may fill a small limit on them.
    const isBytesLimitSmall = inflightBytesMax < DEFAULT_WINDOW.inflightBytesMax;
    const mayBeFull = underWay >= inflightMessagesMax || (underWay > 0 && isBytesLimitSmall);
    duty(
      state !== "replicate" || next > log.last.index || mayBeFull,
      () =>
        `${id} sends ${other} nothing from ${String(next)} on, and ${String(underWay)} messages are under way`,
    );
  }

  /**
   * Checks that the node, which leads no longer in the same term, had a reason. Returns what it owes the
   * others.
   */
  resigned(input: Input, now: number, isStalled: boolean): HandOver {
    if (input.type === "message" && input.message.type === "append-entries-reply")
      this.#lastAnswer(input.message, now);
    const { id, log, commitIndex, term } = this.#core;
    const { index, config } = log.configAt(log.last.index);
    const isRemoved = index <= commitIndex && !hasVote(config, id);
    const isHeard = isQuorum(config, (voter) => voter === id || this.#hears(voter, now));
    duty(
      isRemoved || isStalled || !isHeard,
      () => `${id} gives up term ${String(term)}, and a majority answers it`,
    );
    // A voter that lacks a committed entry can't win an election.
    const canWin = (voter: NodeId): boolean => (this.#peers.get(voter)?.match ?? 0) >= commitIndex;
    const able = config.voters.filter((voter) => canWin(voter) && this.#hears(voter, now));
    const named = this.#named === null ? [] : [this.#named];
    return { isDue: isHeard && able.length > 0, successors: new Set([...able, ...named]) };
  }

  /**
   * Diss. 6.2: a leader that has heard no quorum for the longest election timeout steps down, or its clients
   * would wait at it while another leader may serve them. In a joint configuration it needs both majorities.
   */
  #checkHeard(now: number): void {
    const { id, config } = this.#core;
    duty(
      !this.#settings.checkQuorum || isQuorum(config, (voter) => voter === id || this.#mayHear(voter, now)),
      () => `${id} leads on, and no quorum has answered it for the longest election timeout`,
    );
  }

  /** As `#hears`, and a member that the leader has just begun to send to counts as heard. */
  #mayHear(id: NodeId, now: number): boolean {
    return this.#hears(id, now) || !this.#peers.has(id);
  }

  /** An answer after which the node leads no longer: it may have committed the leader's removal. */
  #lastAnswer({ from, term, outcome }: AppendEntriesReply, now: number): void {
    const peer = this.#peers.get(from);
    if (peer === undefined || term !== this.#core.term) return;
    peer.heardAt = now;
    if (outcome.accepted) peer.match = Math.max(peer.match, outcome.match);
  }

  #hears(id: NodeId, now: number): boolean {
    const peer = this.#peers.get(id);
    return (
      peer !== undefined && !this.#lost.has(id) && now < peer.heardAt + this.#settings.electionTimeoutMaxMs
    );
  }
}
