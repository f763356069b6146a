// Computes the state of the group after an event, and checks the invariants.
import { configsOf, nameOf, type Bounds } from "../shared/bounds.ts";
import { PairTable } from "../shared/pair-table.ts";
import { invariant } from "../shared/violation.ts";
import {
  change,
  crash,
  deliver,
  INSTALL_CRASH,
  isHeartbeat,
  propose,
  read,
  SNAPSHOT,
  TICK,
  transfer,
} from "./event-numbers.ts";
import {
  addCount,
  CHANGES,
  countedAs,
  countOf,
  CRASHES,
  DUPLICATES,
  HEARTBEATS,
  HISTORY,
  HOSTS,
  PROPOSALS,
  READ_ARRIVALS,
  READS,
  SNAPSHOTS,
  TRANSFERS,
  type GroupEvent,
  type GroupState,
} from "./group-state.ts";
import { checkGroup, checkLogMatching, checkMatch } from "./invariants.ts";
import { checkStart, startOf } from "./start.ts";
import type { NumberedStep, StepCache } from "./step-cache.ts";

/**
 * What an event leads to, before names are made canonical. `impossible`: the event can't happen, or changes
 * nothing. `no-room`: there would be more messages in transit than the bounds allow.
 */
export type Outcome = GroupState | "impossible" | "no-room";

/** Lets events happen to states of the group, and checks the invariants after each. */
export class GroupStepper {
  readonly #cache: StepCache;
  readonly #bounds: Bounds;
  /** Where the messages begin in a state. */
  readonly #firstMessage: number;
  /** Pairs of hosts for which `#checkPair` has found that its invariants hold. */
  readonly #checkedPairs = new PairTable();

  constructor(cache: StepCache) {
    this.#cache = cache;
    this.#bounds = cache.bounds;
    checkStart(cache.bounds);
    this.#firstMessage = HOSTS + cache.bounds.nodes;
  }

  /** The state at which the exploration starts. Throws a `Violation` if the way there breaks an invariant. */
  start(): GroupState {
    const { hosts, history, messages } = startOf(this.#bounds);
    const { hosts: numbered, histories, messages: sent } = this.#cache;
    return [
      histories.numberOf(history),
      0,
      0,
      ...hosts.map((host) => numbered.numberOf(host)),
      ...messages.map((message) => sent.numberOf(message)),
    ];
  }

  /** The messages in transit, by number. */
  messagesOf(state: GroupState): readonly number[] {
    return state.slice(this.#firstMessage);
  }

  /** Whether one more duplicate may arrive. */
  mayDuplicate(state: GroupState): boolean {
    return countOf(state, DUPLICATES) < this.#bounds.duplicates;
  }

  /** The events other than messages that can happen at a place, by number. */
  hostEventsAt(state: GroupState, place: number): number[] {
    const facts = this.#cache.facts(state[HOSTS + place] ?? -1);
    const { proposals, crashes, heartbeats, changes, snapshots, reads, transfers } = this.#bounds;
    const left = (kind: number, max: number): boolean => countOf(state, kind) < max;
    const mayBeat = left(HEARTBEATS, heartbeats);
    const events = facts.events.filter((event) => !isHeartbeat(event) || mayBeat);
    if (facts.leads && left(PROPOSALS, proposals)) events.push(propose(countOf(state, PROPOSALS) + 1));
    if (left(CRASHES, crashes)) {
      for (let steps = 0; steps <= facts.writeSteps; steps++) events.push(crash(steps));
      if (facts.installs) events.push(INSTALL_CRASH);
    }
    if (facts.mayChange && left(CHANGES, changes)) {
      for (const target of configsOf(this.#bounds).targets.keys()) events.push(change(target));
    }
    if (facts.maySnapshot && left(SNAPSHOTS, snapshots)) events.push(SNAPSHOT);
    if (facts.mayRead && left(READS, reads)) events.push(read(this.#committedIn(state)));
    if (facts.mayTransfer && left(TRANSFERS, transfers)) {
      for (let target = 0; target < this.#bounds.nodes; target++) {
        if (target !== place) events.push(transfer(target));
      }
    }
    return events;
  }

  /** How many entries are committed anywhere. */
  #committedIn(state: GroupState): number {
    return this.#cache.histories.at(state[HISTORY] ?? -1).committed.length;
  }

  /** What an event leads to. Throws a `Violation`, or what the core throws. */
  apply(state: GroupState, event: GroupEvent): Outcome {
    if (event.type === "tick") return this.#tick(state);
    if (event.type === "drop") return this.#after(state, [], event.message);
    if (event.type === "host") return this.#applyHostEvent(state, event.place, event.event);
    const place = this.#cache.receiverOf(event.message);
    const host = state[HOSTS + place] ?? -1;
    if (this.#beginsTooLateTerm(host, event.message)) return "impossible";
    const asksForRead = this.#cache.messages.at(event.message).message.type === "read-index";
    if (asksForRead && countOf(state, READ_ARRIVALS) >= 2 * this.#bounds.reads) return "impossible";
    const move = this.#cache.step(host, deliver(event.message));
    // Delivering a message that changes nothing is the same as leaving it in transit.
    if (move.host === host && !this.#isCurrentRefusal(state, move.messages)) return "impossible";
    const counted = asksForRead ? READ_ARRIVALS : null;
    if (this.#bounds.redelivery) return this.#stepped(state, place, move, counted, null);
    if (event.type === "deliver") return this.#stepped(state, place, move, counted, event.message);
    return this.#stepped(state, place, move, counted ?? DUPLICATES, null);
  }

  /** The state when all clocks have advanced by the shortest election timeout. */
  #tick(state: GroupState): Outcome {
    const after = state.slice();
    let isNew = false;
    for (let at = HOSTS; at < this.#firstMessage; at++) {
      const host = state[at] ?? -1;
      const { host: aged } = this.#cache.step(host, TICK);
      after[at] = aged;
      isNew ||= aged !== host;
    }
    if (!isNew) return "impossible";
    this.#checkLeases(after);
    return after;
  }

  #applyHostEvent(state: GroupState, place: number, event: number): Outcome {
    const host = state[HOSTS + place] ?? -1;
    const move = this.#cache.step(host, event);
    const type = this.#cache.eventOf(event).type;
    // The leader refused: nothing happened that has to be counted.
    if ((type === "change" || type === "transfer") && move.host === host) return "impossible";
    return this.#stepped(state, place, move, countedAs(type), null);
  }

  /**
   * Whether the message would start a campaign for a term beyond the bounds. A TimeoutNow starts a campaign
   * without the event `timeout`, so the limit on terms is also checked here.
   */
  #beginsTooLateTerm(host: number, message: number): boolean {
    if (this.#bounds.changes + this.#bounds.transfers === 0) return false;
    const { type } = this.#cache.messages.at(message).message;
    return type === "timeout-now" && this.#cache.facts(host).term > this.#bounds.terms;
  }

  /**
   * The state after a host's step, if its writes and messages are within the bounds. Checks the group's
   * invariants.
   */
  #stepped(
    state: GroupState,
    place: number,
    move: NumberedStep,
    counted: number | null,
    received: number | null,
  ): Outcome {
    if (this.#cache.facts(move.host).writes > this.#bounds.writes) return "impossible";
    const after = this.#after(state, move.messages, received);
    const before = after[HOSTS + place] ?? -1;
    after[HOSTS + place] = move.host;
    addCount(after, counted);
    if (before !== move.host) this.#check(after, place, before);
    if (this.#bounds.redelivery || after.length - this.#firstMessage <= this.#bounds.messages) return after;
    return "no-room";
  }

  /**
   * The state with messages sent and one received; a message that is in transit already is not added twice.
   */
  #after(state: GroupState, sent: readonly number[], received: number | null): number[] {
    const after =
      received === null
        ? state.slice()
        : state.filter((value, at) => at < this.#firstMessage || value !== received);
    for (const message of sent) {
      if (!after.includes(message, this.#firstMessage)) after.push(message);
    }
    return after;
  }

  #isCurrentRefusal(state: GroupState, messages: readonly number[]): boolean {
    if (!this.#bounds.redelivery) return messages.length > 0;
    for (const message of messages) if (!state.includes(message, this.#firstMessage)) return true;
    return false;
  }

  /**
   * Checks the group after a step of the host at `place`, and brings the state's history up to date. The
   * history can only change if the host's log or commit index changed, or it became leader; otherwise that
   * check is left out.
   */
  #check(state: number[], place: number, before: number): void {
    const cache = this.#cache;
    const after = state[HOSTS + place] ?? -1;
    for (let at = 0; at < this.#bounds.nodes; at++) {
      if (at !== place) this.#checkPair(after, state[HOSTS + at] ?? -1);
    }
    const old = cache.facts(before);
    const now = cache.facts(after);
    const leadsAnew = now.leads && !(old.leads && old.term === now.term);
    if (now.commit === old.commit && now.memory === old.memory && !leadsAnew) {
      if (now.leaseIndex !== null) this.#checkLeases(state);
      return;
    }
    const hosts = state.slice(HOSTS, this.#firstMessage).map((number) => cache.hosts.at(number));
    const past = cache.histories.at(state[HISTORY] ?? -1);
    const future = checkGroup(past, hosts, place, cache.hosts.at(before));
    if (future !== past) state[HISTORY] = cache.histories.numberOf(future);
    this.#checkLeases(state);
  }

  /** LIN: what a leader would answer to a lease read now holds everything that is committed anywhere. */
  #checkLeases(state: GroupState): void {
    if (!this.#bounds.leases) return;
    const committed = this.#committedIn(state);
    for (let place = 0; place < this.#bounds.nodes; place++) {
      const { leaseIndex } = this.#cache.facts(state[HOSTS + place] ?? -1);
      invariant(
        leaseIndex === null || leaseIndex >= committed,
        () =>
          `LIN: ${nameOf(place)} answers a lease read at ${String(leaseIndex)}; ${committed} is committed`,
      );
    }
  }

  /** Checks what must hold between any two hosts, once for each pair. */
  #checkPair(one: number, other: number): void {
    if (this.#checkedPairs.get(one + 1, other + 1) !== undefined) return;
    const { hosts } = this.#cache;
    checkLogMatching(hosts.at(one), hosts.at(other));
    checkMatch(hosts.at(one), hosts.at(other));
    checkMatch(hosts.at(other), hosts.at(one));
    this.#checkedPairs.add(one + 1, other + 1, 1);
  }
}
