/**
 * DUTY: elections go as fast as they can.
 *
 * - A voter that hears no leader for the longest election timeout stands for election, and asks to be woken
 *   in time. That time starts anew when it hears the leader, gives a vote, changes its role, stands for
 *   election, creates its cluster or has installed a snapshot, and at a timeout while a part of it has
 *   stalled.
 * - It waits for the shortest election timeout, too, after it heard a leader or gave a vote.
 * - A node that hears no leader grants each vote and pre-vote that it may grant.
 */
import type { Actions, AddressedMessage } from "../../../core/action.ts";
import type { Message, RequestVote } from "../../../core/message.ts";
import type { RaftNode } from "../../../core/node.ts";
import { isUpToDate, type Input } from "../../model/index.ts";
import { duty, type CoreBefore, type DutySettings } from "./duty.ts";
import { hasVote, isSoleVoter } from "./votes.ts";
import { WinDuties } from "./win-duties.ts";

/** See the file's header. */
export class ElectionDuties {
  readonly #core: RaftNode;
  readonly #settings: DutySettings;
  readonly #wins: WinDuties;
  /** When the election timeout began to run. */
  #waitsSince: number;
  /** When a leader was heard last, or the process began. */
  #heardAt: number;
  /**
   * When the election timeout began anew for a reason that leaves no choice: the leader was heard, a vote was
   * given, or the role has changed. -Infinity: the node was a sole voter then, which waits for nobody.
   */
  #restartedAt: number;
  /**
   * The election timeout was over at the last call of `handleTimeout`: the next actions must ask for votes.
   */
  #mustStand = false;
  /** Pre-votes that the next actions must grant. */
  #grants: { readonly to: string; readonly round: number; readonly term: number }[] = [];

  constructor(core: RaftNode, settings: DutySettings, now: number) {
    this.#core = core;
    this.#settings = settings;
    this.#waitsSince = now;
    this.#heardAt = now;
    this.#restartedAt = -Infinity;
    this.#wins = new WinDuties(core);
    this.#restart(now);
  }

  stepped(input: Input, before: CoreBefore, now: number, isStalled: boolean): void {
    const core = this.#core;
    const hears = this.#hearsLeader(before, now);
    const since = this.#waitsSince;
    this.#wins.stepped(input, before, isStalled);
    if (input.type === "timeout") this.#checkPatience(before, now);
    if (core.role !== before.role) this.#restart(now);
    if (core.role !== before.role || (core.role === "candidate" && core.term !== before.term))
      this.#waitsSince = now;
    // The core drops requests for votes of an earlier term before they are sent.
    if (core.term !== before.term) this.#mustStand = false;
    switch (input.type) {
      case "message":
        this.#received(input.message, before, now, hears);
        break;
      case "timeout":
        this.#timedOut(before, since, now, isStalled);
        break;
      case "installed":
      case "create":
        this.#waitsSince = now;
        break;
      default:
    }
  }

  #hearsLeader(before: CoreBefore, now: number): boolean {
    return before.role === "leader" || now < this.#heardAt + this.#settings.electionTimeoutMinMs;
  }

  #received(message: Message, before: CoreBefore, now: number, hears: boolean): void {
    const core = this.#core;
    const isOfTerm = message.term === core.term;
    if ((message.type === "append-entries" || message.type === "install-snapshot") && isOfTerm) {
      this.#heardAt = now;
      this.#waitsSince = now;
      this.#restart(now);
    } else if (message.type === "request-vote") {
      this.#checkVote(message, before, hears);
      if (!isOfTerm || core.votedFor !== message.from) return;
      this.#waitsSince = now;
      if (isUpToDate(message.last, core.log.last)) this.#restart(now);
    } else if (message.type === "pre-vote" && !hears && message.term >= core.term) {
      if (!isUpToDate(message.last, core.log.last)) return;
      this.#grants.push({ to: message.from, round: message.round, term: core.term });
    }
  }

  /** §5.2: checks that the node gives a vote that it may give. */
  #checkVote({ from, term, last }: RequestVote, before: CoreBefore, hears: boolean): void {
    const core = this.#core;
    const keepsLeader = hears && this.#settings.checkQuorum;
    const isNext = term > before.term && !keepsLeader;
    const isFirst = before.votedFor === null && before.leader === null && !keepsLeader;
    const isFree = before.votedFor === from || isFirst;
    const mayVote = (isNext || (term === before.term && isFree)) && term === core.term;
    duty(
      !mayVote || !isUpToDate(last, core.log.last) || core.votedFor === from,
      () => `${core.id} refuses ${from} a vote in term ${String(term)} that it may give`,
    );
  }

  #restart(now: number): void {
    const { config, id } = this.#core;
    this.#restartedAt = isSoleVoter(config, id) ? -Infinity : now;
  }

  /**
   * §5.2: checks that a follower waits for the shortest election timeout at least, after it heard its leader
   * or gave a vote: the candidate that got the vote may just be about to lead.
   */
  #checkPatience(before: CoreBefore, now: number): void {
    const { id, role } = this.#core;
    const stands = before.role === "follower" && (role === "pre-candidate" || role === "candidate");
    duty(
      !stands || now >= this.#restartedAt + this.#settings.electionTimeoutMinMs,
      () =>
        `${id} stands for election at ${String(now)} ms, and has heard a leader or given a vote at ` +
        String(this.#restartedAt),
    );
  }

  /** `since`: when the election timeout began, as of before the input. */
  #timedOut(before: CoreBefore, since: number, now: number, isStalled: boolean): void {
    if (before.role === "leader" || !this.#waits()) return;
    if (isStalled) this.#waitsSince = now;
    else this.#mustStand ||= now >= since + this.#settings.electionTimeoutMaxMs;
  }

  /** Whether an election timeout runs on this node: it is one of several voters, and doesn't lead. */
  #waits(): boolean {
    const { role, config, id } = this.#core;
    return role !== "leader" && hasVote(config, id) && !isSoleVoter(config, id);
  }

  taken(actions: Actions, messages: readonly AddressedMessage[], now: number): void {
    const { timer } = actions;
    const core = this.#core;
    this.#wins.taken(actions);
    for (const { message } of messages) if (message.type === "pre-vote") this.#wins.asked(message.round);
    const mustStand = this.#mustStand;
    this.#mustStand = false;
    const stands = messages.some(({ message: { type } }) => type === "pre-vote" || type === "request-vote");
    if (stands) this.#waitsSince = now;
    this.#checkGrants(messages);
    if (!this.#waits()) return;
    duty(
      !mustStand || stands,
      () => `${core.id} has heard no leader in its election timeout, and doesn't stand for election`,
    );
    const latest = Math.max(now, this.#waitsSince + this.#settings.electionTimeoutMaxMs);
    duty(
      timer !== null && timer <= latest,
      () =>
        `${core.id} wants to be woken at ${String(timer)}; its election timeout ends by ${String(latest)}`,
    );
  }

  #checkGrants(messages: readonly AddressedMessage[]): void {
    const grants = this.#grants;
    this.#grants = [];
    for (const { to, round, term } of grants) {
      if (term !== this.#core.term) continue;
      const isGranted = messages.some(
        ({ to: receiver, message }) =>
          receiver === to && message.type === "pre-vote-reply" && message.round === round && message.granted,
      );
      duty(
        isGranted,
        () => `${this.#core.id} hears no leader, and refuses ${to} a pre-vote that it may grant`,
      );
    }
  }
}
