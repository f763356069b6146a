import { ProtocolViolation } from "../../core/index.ts";
import {
  StepCache,
  change,
  crash,
  deliver,
  INSTALL_CRASH_EVENT,
  isHeartbeat,
  propose,
  SNAPSHOT_EVENT,
  type HostFacts,
  type NumberedStep,
} from "./group/step-cache.ts";
import { checkBounds, configsOf, type Bounds } from "./shared/bounds.ts";
import type { HostEvent } from "./host/host.ts";
import { checkGroup, checkLogMatching, checkMatch } from "./group/invariants.ts";
import { IntegerList, StateQueue } from "./shared/integer-lists.ts";
import { PairTable } from "./shared/pair-table.ts";
import { startOf, type Start } from "./group/start.ts";
import { Violation } from "./shared/violation.ts";

/**
 * A state of the whole group, as numbers: the past, the counts that are bounded, one host a place,
 * then the messages under way, ascending, each once.
 */
export type GroupState = readonly number[];
const HISTORY = 0;
const COUNTS = 1;
export const HOSTS = 2;

/** What is counted, by its place in the integer of counts. */
const COUNT_BITS = 4;
const PROPOSALS = 0;
const CRASHES = 1;
const DUPLICATES = 2;
const HEARTBEATS = 3;
const CHANGES = 4;
const SNAPSHOTS = 5;

/** One thing that can happen to the group. */
export type GroupEvent =
  | { readonly type: "host"; readonly place: number; readonly event: number }
  | { readonly type: "deliver" | "duplicate" | "drop"; readonly message: number };

const EVENT_TYPES = ["host", "deliver", "duplicate", "drop"] as const;

/** How far it has come. */
export interface Progress {
  readonly states: number;
  readonly transitions: number;
  readonly depth: number;
  /** States found and not looked at yet. */
  readonly frontier: number;
  /** Distinct states of one host, and distinct steps of one host that the core was run for. */
  readonly hosts: number;
  readonly steps: number;
}

/** What an invariant said, and the events that lead there from the beginning: as few as possible. */
export interface Found {
  readonly sentence: string;
  readonly events: readonly GroupEvent[];
}

export interface Result extends Progress {
  /** Whether every state within the bounds was visited. */
  readonly complete: boolean;
  readonly found: Found | null;
}

/** How many states are looked at between two calls of `onProgress`. */
const PROGRESS_STATES = 1 << 13;

/**
 * Visits every state that a group can reach within bounds, nearest first, and checks the
 * invariants after every step. States are known by a 64-bit hash: among ten million, two that are
 * taken for one are to be expected once in some hundred thousand runs.
 */
export class Explorer {
  readonly cache: StepCache;
  readonly #bounds: Bounds;
  readonly #statesMax: number;
  /** Whether all names can be exchanged. */
  readonly #isSymmetric: boolean;
  readonly #start: Start;
  readonly #visited = new PairTable(1 << 20);
  /** By state: the state that it was found from, and by which event. */
  readonly #parents = new IntegerList();
  readonly #events = new IntegerList();
  /** Pairs of hosts that were found to fit together. */
  readonly #checkedPairs = new PairTable();
  #level = new StateQueue();
  #next = new StateQueue();
  #depth = 0;
  #transitions = 0;
  /** The state being looked at, and whether an event found no room for its messages. */
  #state: GroupState = [];
  #number = 0;
  /** By place: the signatures of the state that is being renamed. */
  readonly #signatures: number[] = [];
  #ranOutOfRoom = false;

  constructor(bounds: Bounds, statesMax: number) {
    checkBounds(bounds);
    this.#bounds = bounds;
    this.#statesMax = statesMax;
    this.#start = startOf(bounds);
    this.cache = new StepCache(bounds);
    this.#isSymmetric = bounds.change === "none";
  }

  /** Explores until all is seen, something is found, or there are `statesMax` states; or `onProgress` says false. */
  run(onProgress: (progress: Progress) => boolean = () => true): Result {
    this.#visit(this.initial(), 0, 0);
    for (let number = 0; ; number++) {
      if (this.#level.isEmpty) {
        if (this.#next.isEmpty) return this.#result(true, null);
        [this.#level, this.#next] = [this.#next, this.#level];
        this.#depth += 1;
      }
      this.#state = this.#level.shift();
      this.#number = number;
      const found = this.#expand();
      if (found !== null) return this.#result(false, found);
      if (this.#parents.length >= this.#statesMax) return this.#result(false, null);
      if (number % PROGRESS_STATES === 0 && !onProgress(this.#progress())) return this.#result(false, null);
    }
  }

  initial(): GroupState {
    const { hosts, history, messages } = this.#start;
    return this.canonical([
      this.cache.histories.numberOf(history),
      0,
      ...hosts.map((host) => this.cache.hosts.numberOf(host)),
      ...messages.map((message) => this.cache.messages.numberOf(message)),
    ]).state;
  }

  /**
   * What an event leads to: the state before names are made canonical; undefined: it cannot happen,
   * or would change nothing. Throws what breaks.
   */
  apply(state: GroupState, event: GroupEvent): GroupState | undefined {
    if (event.type === "drop") return this.#after(state, [], event.message);
    if (event.type === "host") return this.#applyHostEvent(state, event.place, event.event);
    const place = this.cache.receiverOf(event.message);
    const host = state[HOSTS + place] ?? -1;
    if (this.#beginsTooLateTerm(host, event.message)) return undefined;
    const move = this.cache.step(host, deliver(event.message));
    // A message that does nothing may as well stay under way.
    if (move.host === host && !this.#isCurrentRefusal(state, move.messages)) return undefined;
    if (this.#bounds.redelivery) return this.#stepped(state, place, move, 0, null);
    if (event.type === "deliver") return this.#stepped(state, place, move, 0, event.message);
    return this.#stepped(state, place, move, one(DUPLICATES), null);
  }

  #applyHostEvent(state: GroupState, place: number, event: number): GroupState | undefined {
    const host = state[HOSTS + place] ?? -1;
    const move = this.cache.step(host, event);
    const type = this.cache.eventOf(event).type;
    // A change that is refused is no change.
    if (type === "change" && move.host === host) return undefined;
    return this.#stepped(state, place, move, countedAs(type), null);
  }

  /** A leader that was removed asks another to campaign: that, too, ends with the last term. */
  #beginsTooLateTerm(host: number, message: number): boolean {
    if (this.#bounds.changes === 0) return false;
    const { type } = this.cache.messages.at(message).message;
    return type === "timeout-now" && this.cache.facts(host).term > this.#bounds.terms;
  }

  /** The state after a host's step, if there is room for what it wants; the group's invariants hold there. */
  #stepped(
    state: GroupState,
    place: number,
    move: NumberedStep,
    counted: number,
    received: number | null,
  ): GroupState | undefined {
    if (this.cache.facts(move.host).writes > this.#bounds.writes) return undefined;
    const after = this.#after(state, move.messages, received);
    const before = after[HOSTS + place] ?? -1;
    after[HOSTS + place] = move.host;
    after[COUNTS] = (after[COUNTS] ?? 0) + counted;
    if (before !== move.host) this.#check(after, place, before);
    if (this.#bounds.redelivery || after.length - HOSTS - this.#bounds.nodes <= this.#bounds.messages)
      return after;
    this.#ranOutOfRoom = true;
    return undefined;
  }

  /** The state with messages sent and one taken off; one that is under way already is not doubled. */
  #after(state: GroupState, sent: readonly number[], received: number | null): number[] {
    const after =
      received === null
        ? state.slice()
        : state.filter((value, at) => !this.#isMessage(at) || value !== received);
    for (const message of sent) {
      if (!after.includes(message, HOSTS + this.#bounds.nodes)) after.push(message);
    }
    return after;
  }

  #isCurrentRefusal(state: GroupState, messages: readonly number[]): boolean {
    if (!this.#bounds.redelivery) return messages.length > 0;
    for (const message of messages) if (!state.includes(message, HOSTS + this.#bounds.nodes)) return true;
    return false;
  }

  #isMessage(at: number): boolean {
    return at >= HOSTS + this.#bounds.nodes;
  }

  // --- One state ---------------------------------------------------------------------------------

  #expand(): Found | null {
    this.#ranOutOfRoom = false;
    for (let place = 0; place < this.#bounds.nodes; place++) {
      const found = this.#expandHost(place);
      if (found !== null) return found;
    }
    const duplicates = this.#left(DUPLICATES, this.#bounds.duplicates);
    for (let at = HOSTS + this.#bounds.nodes; at < this.#state.length; at++) {
      const message = this.#state[at] ?? -1;
      const found =
        this.#try({ type: "deliver", message }) ??
        (duplicates ? this.#try({ type: "duplicate", message }) : null);
      if (found !== null) return found;
    }
    this.#loseMessages();
    return null;
  }

  /** Losing a message is the same as never delivering it, but for the room that it takes. */
  #loseMessages(): void {
    if (!this.#ranOutOfRoom) return;
    for (const message of this.#state.slice(HOSTS + this.#bounds.nodes)) this.#try({ type: "drop", message });
  }

  #expandHost(place: number): Found | null {
    const facts = this.cache.facts(this.#state[HOSTS + place] ?? -1);
    for (const event of this.#eventsOf(facts)) {
      const found = this.#try({ type: "host", place, event });
      if (found !== null) return found;
    }
    return null;
  }

  #eventsOf(facts: HostFacts): number[] {
    const { proposals, crashes, heartbeats, changes, snapshots } = this.#bounds;
    const mayBeat = this.#left(HEARTBEATS, heartbeats);
    const events = facts.events.filter((event) => !isHeartbeat(event) || mayBeat);
    if (facts.leads && this.#left(PROPOSALS, proposals)) events.push(propose(this.#count(PROPOSALS) + 1));
    if (this.#left(CRASHES, crashes)) {
      for (let steps = 0; steps <= facts.writeSteps; steps++) events.push(crash(steps));
      if (facts.installs) events.push(INSTALL_CRASH_EVENT);
    }
    if (facts.mayChange && this.#left(CHANGES, changes)) {
      for (const target of configsOf(this.#bounds).targets.keys()) events.push(change(target));
    }
    if (facts.maySnapshot && this.#left(SNAPSHOTS, snapshots)) events.push(SNAPSHOT_EVENT);
    return events;
  }

  #count(what: number): number {
    return ((this.#state[COUNTS] ?? 0) >> (what * COUNT_BITS)) & ((1 << COUNT_BITS) - 1);
  }

  #left(what: number, max: number): boolean {
    return this.#count(what) < max;
  }

  #try(event: GroupEvent): Found | null {
    try {
      const after = this.apply(this.#state, event);
      if (after === undefined) return null;
      this.#transitions += 1;
      this.#visit(this.canonical(after).state, this.#number, codeOf(event));
      return null;
    } catch (error) {
      if (!(error instanceof Violation) && !(error instanceof ProtocolViolation)) throw error;
      const sentence =
        error instanceof Violation ? error.message : `FAILSTOP: a node stopped itself: ${error.message}`;
      return { sentence, events: [...this.#path(this.#number), event] };
    }
  }

  #visit(state: GroupState, parent: number, event: number): void {
    const [high, low] = hash(state);
    if (!this.#visited.add(high, low, 0)) return;
    this.#parents.push(parent);
    this.#events.push(event);
    this.#next.push(state);
  }

  /** The events that lead to a state. */
  #path(number: number): GroupEvent[] {
    const events: GroupEvent[] = [];
    for (let at = number; at > 0; at = this.#parents.at(at)) events.push(eventOf(this.#events.at(at)));
    return events.reverse();
  }

  // --- The group's invariants --------------------------------------------------------------------

  /** Sets the new past. Most steps change nothing that an invariant speaks about, and cost little here. */
  #check(state: number[], place: number, before: number): void {
    const { cache } = this;
    const after = state[HOSTS + place] ?? -1;
    for (let at = 0; at < this.#bounds.nodes; at++) {
      if (at !== place) this.#checkPair(after, state[HOSTS + at] ?? -1);
    }
    const old = cache.facts(before);
    const now = cache.facts(after);
    const leadsAnew = now.leads && !(old.leads && old.term === now.term);
    if (now.commit === old.commit && now.memory === old.memory && !leadsAnew) return;
    const hosts = state.slice(HOSTS, HOSTS + this.#bounds.nodes).map((number) => cache.hosts.at(number));
    const past = cache.histories.at(state[HISTORY] ?? -1);
    const future = checkGroup(past, hosts, place, cache.hosts.at(before));
    if (future !== past) state[HISTORY] = cache.histories.numberOf(future);
  }

  /** What must hold between any two hosts; of a pair that was met before, it is known. */
  #checkPair(one: number, other: number): void {
    if (this.#checkedPairs.get(one + 1, other + 1) !== undefined) return;
    const { hosts } = this.cache;
    checkLogMatching(hosts.at(one), hosts.at(other));
    checkMatch(hosts.at(one), hosts.at(other));
    checkMatch(hosts.at(other), hosts.at(one));
    this.#checkedPairs.add(one + 1, other + 1, 1);
  }

  // --- Names do not matter -----------------------------------------------------------------------

  /** Of all states that differ only in names, one: the least of those whose hosts are in order of their signatures. */
  canonical(state: GroupState): { state: GroupState; renaming: number } {
    const { nodes } = this.#bounds;
    let best: number[] | null = null;
    let bestRenaming = 0;
    for (let place = 0; place < nodes; place++) {
      this.#signatures[place] = this.cache.facts(state[HOSTS + place] ?? -1).signature;
    }
    for (const [by, renaming] of this.cache.renamings.entries()) {
      // Not every renaming may be allowed; then there may be none that brings about the order.
      if (this.#isSymmetric && !this.#isOrdered(by)) continue;
      const candidate = this.#renamed(state, by, renaming);
      if (best !== null && !isLess(candidate, best)) continue;
      best = candidate;
      bestRenaming = by;
    }
    return { state: best ?? state, renaming: bestRenaming };
  }

  /** Whether a renaming puts the hosts in order of their signatures. */
  #isOrdered(by: number): boolean {
    const origin = this.cache.inverses[by] ?? [];
    for (let place = 1; place < origin.length; place++) {
      const before = this.#signatures[origin[place - 1] ?? -1] ?? 0;
      if (before > (this.#signatures[origin[place] ?? -1] ?? 0)) return false;
    }
    return true;
  }

  #renamed(state: GroupState, by: number, renaming: readonly number[]): number[] {
    const { hosts, messages, histories } = this.cache;
    const first = HOSTS + this.#bounds.nodes;
    const after = [histories.renamed(by, state[HISTORY] ?? -1), state[COUNTS] ?? 0];
    for (let place = 0; place < this.#bounds.nodes; place++) {
      after[HOSTS + (renaming[place] ?? -1)] = hosts.renamed(by, state[HOSTS + place] ?? -1);
    }
    for (let at = first; at < state.length; at++) {
      const message = messages.renamed(by, state[at] ?? -1);
      let to = at;
      for (; to > first && (after[to - 1] ?? -1) > message; to--) after[to] = after[to - 1] ?? -1;
      after[to] = message;
    }
    return after;
  }

  #progress(): Progress {
    return {
      states: this.#parents.length,
      transitions: this.#transitions,
      depth: this.#depth,
      frontier: this.#level.length + this.#next.length,
      hosts: this.cache.hosts.size,
      steps: this.cache.stepCount,
    };
  }

  #result(complete: boolean, found: Found | null): Result {
    return { ...this.#progress(), complete, found };
  }
}

/** What an event adds to the counts. */
function countedAs(type: HostEvent["type"]): number {
  switch (type) {
    case "propose":
      return one(PROPOSALS);
    case "crash":
    case "install-crash":
      return one(CRASHES);
    case "heartbeat":
    case "unanswered-heartbeat":
      return one(HEARTBEATS);
    case "change":
      return one(CHANGES);
    case "snapshot":
      return one(SNAPSHOTS);
    default:
      return 0;
  }
}

const one = (what: number): number => 1 << (what * COUNT_BITS);

function codeOf(event: GroupEvent): number {
  const value = event.type === "host" ? event.event * 8 + event.place : event.message;
  return value * EVENT_TYPES.length + EVENT_TYPES.indexOf(event.type);
}

function eventOf(code: number): GroupEvent {
  const type = EVENT_TYPES[code % EVENT_TYPES.length] ?? "host";
  const value = Math.floor(code / EVENT_TYPES.length);
  return type === "host" ? { type, place: value % 8, event: value >> 3 } : { type, message: value };
}

function isLess(a: GroupState, b: GroupState): boolean {
  for (let at = 0; at < a.length; at++) {
    const difference = (a[at] ?? 0) - (b[at] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}

/** Two 32-bit hashes of one state, as independent as two seeds make them. */
function hash(state: GroupState): [number, number] {
  let high = 0x2545f491;
  let low = 0x9e3779b9;
  for (let at = 0; at < state.length; at++) {
    const value = state[at] ?? 0;
    high = Math.imul(high ^ value, 0xcc9e2d51);
    high = Math.imul((high << 15) | (high >>> 17), 0x1b873593);
    low = Math.imul(low ^ (value + 0x7ed55d16), 0x85ebca6b);
    low ^= low >>> 13;
    low = Math.imul(low, 0xc2b2ae35) ^ (low >>> 16);
  }
  high ^= high >>> 16;
  high = Math.imul(high, 0x85ebca6b);
  return [(high ^ (high >>> 13)) >>> 0, low >>> 0];
}
