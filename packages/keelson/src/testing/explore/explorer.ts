// The search: visits every state of a group within bounds, breadth first.
import { ProtocolViolation } from "../../core/index.ts";
import { CanonicalStates } from "./group/canonical-states.ts";
import { GroupStepper } from "./group/group-stepper.ts";
import { codeOf, eventOf, hashOf, type GroupEvent, type GroupState } from "./group/group-state.ts";
import { StepCache } from "./group/step-cache.ts";
import { checkBounds, type Bounds } from "./shared/bounds.ts";
import { IntegerList, StateQueue } from "./shared/integer-lists.ts";
import { PairTable } from "./shared/pair-table.ts";
import { Violation } from "./shared/violation.ts";

/** How far an exploration has come. */
export interface Progress {
  readonly states: number;
  readonly transitions: number;
  readonly depth: number;
  /** States that were found and are not yet expanded. */
  readonly frontier: number;
  /** The number of distinct hosts, and of distinct steps of a host for which the core was run. */
  readonly hosts: number;
  readonly steps: number;
}

/**
 * A violation, and the shortest sequence of events that leads to it from the start. No events: something is
 * broken already on the way to the start.
 */
export interface Found {
  readonly sentence: string;
  readonly events: readonly GroupEvent[];
}

/** The result of an exploration. */
export interface Result extends Progress {
  /**
   * Whether every state within the bounds was visited; false if a violation, `statesMax` or `onProgress`
   * ended the exploration.
   */
  readonly complete: boolean;
  readonly found: Found | null;
}

/** How many states are expanded between two calls of `onProgress`. */
const PROGRESS_STATES = 1 << 13;

/**
 * Visits every state that a group can reach within bounds, breadth first, and checks the invariants after
 * every step. Visited states are remembered as 64-bit hashes: with ten million states, a collision that hides
 * a state is expected once in some hundred thousand explorations.
 */
export class Explorer {
  /** Gives hosts, messages and histories their numbers. A trace looks up what a number means. */
  readonly cache: StepCache;
  readonly stepper: GroupStepper;
  readonly canonical: CanonicalStates;
  readonly #nodes: number;
  readonly #statesMax: number;
  /** The hashes of the states that were found. */
  readonly #visited = new PairTable(1 << 20);
  /**
   * By state, in the order in which they were found: the state it was found from, and the event that led to
   * it.
   */
  readonly #parents = new IntegerList();
  readonly #events = new IntegerList();
  /** States of the current depth that are still to be expanded, and those found one step further. */
  #level = new StateQueue();
  #next = new StateQueue();
  #depth = 0;
  #transitions = 0;
  /** The state that is being expanded, and its number in `#parents` and `#events`. */
  #state: GroupState = [];
  #number = 0;

  constructor(bounds: Bounds, statesMax: number) {
    checkBounds(bounds);
    this.cache = new StepCache(bounds);
    this.stepper = new GroupStepper(this.cache);
    this.canonical = new CanonicalStates(this.cache);
    this.#nodes = bounds.nodes;
    this.#statesMax = statesMax;
  }

  /**
   * Explores until every state is visited, a violation is found, `statesMax` is reached, or `onProgress`
   * returns false.
   */
  run(onProgress: (progress: Progress) => boolean = () => true): Result {
    const broken = this.#catching([], () => {
      this.#visit(this.initial(), 0, 0);
      return null;
    });
    if (broken !== null) return this.#result(false, broken);
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

  /** The state at which the exploration starts. */
  initial(): GroupState {
    return this.canonical.of(this.stepper.start()).state;
  }

  /** Tries every event that can happen in the state, until one leads to a violation. */
  #expand(): Found | null {
    const { stepper } = this;
    let ranOutOfRoom = false;
    for (const event of this.#eventsOf(this.#state)) {
      const found = this.#try(event);
      if (found === "no-room") ranOutOfRoom = true;
      else if (found !== null) return found;
    }
    // A lost message has the same effect as one that is never delivered, except that it makes room for
    // others. So losses are tried only where an event lacked room.
    if (!ranOutOfRoom) return null;
    for (const message of stepper.messagesOf(this.#state)) this.#try({ type: "drop", message });
    return null;
  }

  #eventsOf(state: GroupState): GroupEvent[] {
    const { stepper } = this;
    const events: GroupEvent[] = [];
    for (let place = 0; place < this.#nodes; place++) {
      for (const event of stepper.hostEventsAt(state, place)) events.push({ type: "host", place, event });
    }
    if (this.cache.bounds.leases) events.push({ type: "tick" });
    const mayDuplicate = stepper.mayDuplicate(state);
    for (const message of stepper.messagesOf(state)) {
      events.push({ type: "deliver", message });
      if (mayDuplicate) events.push({ type: "duplicate", message });
    }
    return events;
  }

  /** Visits what the event leads to. Null: no violation; `no-room`: the event needs room for its messages. */
  #try(event: GroupEvent): Found | "no-room" | null {
    return this.#catching([event], () => {
      const after = this.stepper.apply(this.#state, event);
      if (after === "impossible") return null;
      if (after === "no-room") return after;
      this.#transitions += 1;
      this.#visit(this.canonical.of(after).state, this.#number, codeOf(event));
      return null;
    });
  }

  /**
   * Runs `happen`, and returns its result; or, if it throws a violation, that violation with the events that
   * led to it: those on the way to the present state, and then `events`.
   */
  #catching<T>(events: readonly GroupEvent[], happen: () => T): Found | T {
    try {
      return happen();
    } catch (error) {
      if (!(error instanceof Violation) && !(error instanceof ProtocolViolation)) throw error;
      const sentence =
        error instanceof Violation ? error.message : `FAILSTOP: a node stopped itself: ${error.message}`;
      return { sentence, events: events.length === 0 ? [] : [...this.#path(this.#number), ...events] };
    }
  }

  #visit(state: GroupState, parent: number, event: number): void {
    const [high, low] = hashOf(state);
    if (!this.#visited.add(high, low, 0)) return;
    this.#parents.push(parent);
    this.#events.push(event);
    this.#next.push(state);
  }

  /** The events that lead from the start to a state. */
  #path(number: number): GroupEvent[] {
    const events: GroupEvent[] = [];
    for (let at = number; at > 0; at = this.#parents.at(at)) events.push(eventOf(this.#events.at(at)));
    return events.reverse();
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
