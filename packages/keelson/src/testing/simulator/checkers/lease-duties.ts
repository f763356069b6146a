/**
 * DUTY: a leader that a majority answers has a lease, so reads under it cost no messages (dissertation
 * 6.4.1).
 *
 * The leader may extend its lease by one round at a time: it waits until a majority has answered that round
 * before it takes the next one. So the lease begins no earlier than round R if a majority answered R, then a
 * further round began, and a majority answered that one, too. Until such a lease is over, a lease read is
 * answered at once, unless the leader is transferring its leadership or has asked another node to take over.
 *
 * A lease that is lost does no harm to safety: each read then costs a round, and nothing else shows it.
 */
import type { AddressedMessage } from "../../../core/action.ts";
import type { RaftNode } from "../../../core/node.ts";
import type { NodeId } from "../../../core/position.ts";
import type { Input } from "../../model/index.ts";
import { duty, type DutySettings } from "./duty.ts";
import { isQuorum, isSoleVoter } from "./votes.ts";

/** A heartbeat round, which began at this time or later. */
interface Round {
  readonly round: number;
  readonly at: number;
}

/**
 * A majority has answered a round that began at `at`. Once a majority also answers round `next`, the lease
 * counts from `at`.
 */
interface Confirmed {
  readonly at: number;
  readonly next: number;
}

/** Rounds that are kept. More are under way only if no majority answers, and then there is no lease. */
const ROUNDS_KEPT = 1_024;

/** See the file's header. Made anew for each term that the node leads. */
export class LeaseDuties {
  readonly #core: RaftNode;
  readonly #settings: DutySettings;
  /** Ascending: the latest round that a majority has answered, and those after it. */
  #rounds: Round[] = [];
  /** The latest round that each node has answered. */
  readonly #answered = new Map<NodeId, number>();
  /** The start of the latest round that a majority has answered since actions were last taken; null: none. */
  #answeredNow: number | null = null;
  #confirmed: Confirmed[] = [];
  /** By the answers so far, the lease counts from this time or a later one. */
  #leaseFrom = -Infinity;
  /** The time of the first input since actions were last taken; null: none has come. */
  #turnBeganAt: number | null = null;
  /** The node has asked another one to take over. */
  #isVoid = false;

  constructor(core: RaftNode, settings: DutySettings, now: number) {
    this.#core = core;
    this.#settings = settings;
    this.#turnBeganAt = now;
  }

  stepped(input: Input, now: number): void {
    if (input.type !== "take") this.#turnBeganAt ??= now;
    if (input.type === "lease-read" && input.answer === null) this.#checkRefused(now);
  }

  /**
   * Extends the lease by this member's answer to this round. To be called only for members whose answers
   * count.
   */
  answered(from: NodeId, round: number): void {
    const { config, id } = this.#core;
    this.#answered.set(from, Math.max(this.#answered.get(from) ?? 0, round));
    // The leader has forgotten the answers of a node that left, and counts none of one that lost entries.
    for (const member of this.#answered.keys())
      if (this.#core.progress(member)?.lostAfter !== null) this.#answered.delete(member);
    const hasAnswered = (least: number) => (voter: NodeId) =>
      voter === id || (this.#answered.get(voter) ?? 0) >= least;
    const last = this.#rounds.findLastIndex((one) => isQuorum(config, hasAnswered(one.round)));
    const latest = this.#rounds[last];
    if (latest === undefined) return;
    this.#rounds = this.#rounds.slice(last);
    this.#answeredNow = latest.at;
    for (const { at, next } of this.#confirmed)
      if (next <= latest.round) this.#leaseFrom = Math.max(this.#leaseFrom, at);
    this.#confirmed = this.#confirmed.filter(({ next }) => next > latest.round);
  }

  /** `round`: the latest round of which messages were handed out. */
  taken(messages: readonly AddressedMessage[], round: number): void {
    const last = this.#rounds.at(-1)?.round ?? 0;
    if (round > last && this.#turnBeganAt !== null) this.#rounds.push({ round, at: this.#turnBeganAt });
    if (this.#rounds.length > ROUNDS_KEPT) this.#rounds.shift();
    // The further round must begin after the majority's answer. The latest round may have begun before it, in
    // the same turn, so wait for the one after that.
    if (this.#answeredNow !== null) this.#confirmed.push({ at: this.#answeredNow, next: round + 1 });
    if (this.#confirmed.length > ROUNDS_KEPT) this.#confirmed.shift();
    this.#answeredNow = null;
    this.#turnBeganAt = null;
    this.#isVoid ||= messages.some(({ message: { type } }) => type === "timeout-now");
  }

  #checkRefused(now: number): void {
    const { id, config, termStartCommitted, transferTarget } = this.#core;
    if (!termStartCommitted || transferTarget !== null || this.#isVoid) return;
    duty(!isSoleVoter(config, id), () => `${id} is the sole voter, and takes a lease read for another read`);
    const { checkQuorum, clockDriftMax, electionTimeoutMinMs } = this.#settings;
    if (!checkQuorum) return;
    const leaseMs = (electionTimeoutMinMs * (1 - clockDriftMax)) / (1 + clockDriftMax);
    duty(
      now >= this.#leaseFrom + leaseMs,
      () =>
        `${id} has no lease at ${String(now)} ms, and a majority has answered the rounds since ` +
        String(this.#leaseFrom),
    );
  }
}
