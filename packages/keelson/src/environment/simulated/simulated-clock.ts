import type { Timer } from "../environment.ts";

/** Rounds of deferred callbacks in one instant before we call it a loop that never ends. */
const TURNS_PER_INSTANT_MAX = 100_000;

interface Entry {
  readonly at: number;
  /** Among timers of one instant, the one that was set first fires first. */
  readonly sequence: number;
  readonly callback: () => void;
  cancelled: boolean;
}

/**
 * A clock for tests and simulations: time stands still until `advance` moves it, and everything
 * that is due happens in one fixed order. It has the clock's part of `Environment`.
 *
 * One turn is: the timers that are due, in order; then the promises they settled; then what was
 * deferred; then the promises again. That is the order in which Node's event loop goes round.
 */
export class SimulatedClock {
  #now: number;
  #sequence = 0;
  readonly #timers = new TimerHeap();
  #deferred: (() => void)[] = [];
  #running = false;

  constructor(startMs = 1_000) {
    this.#now = startMs;
  }

  now(): number {
    return this.#now;
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const entry: Entry = {
      at: this.#now + Math.max(0, delayMs),
      sequence: this.#sequence++,
      callback,
      cancelled: false,
    };
    this.#timers.push(entry);
    return {
      cancel: () => {
        if (entry.cancelled) return;
        entry.cancelled = true;
        this.#timers.noteCancelled();
      },
    };
  }

  defer(callback: () => void): void {
    this.#deferred.push(callback);
  }

  /** How many timers are set: a test that closed everything expects none. */
  get pendingTimers(): number {
    return this.#timers.live;
  }

  /** Moves time by `ms`, stopping at each timer on the way, and settles promises at each stop. */
  async advance(ms: number): Promise<void> {
    await this.#exclusively(async () => {
      const end = this.#now + ms;
      while (await this.#turn(end));
      this.#now = end;
    });
  }

  /** Lets everything happen that needs no time. */
  async settle(): Promise<void> {
    await this.advance(0);
  }

  /** Moves time until `condition` holds, and throws if it does not within `limitMs`. */
  async runUntil(condition: () => boolean, limitMs: number, what = "the condition"): Promise<void> {
    await this.#exclusively(async () => {
      const end = this.#now + limitMs;
      while (!condition()) {
        if (await this.#turn(end)) continue;
        if (condition()) return;
        throw new Error(`${what} did not come about within ${String(limitMs)} ms`);
      }
    });
  }

  /** One turn at the next instant at which there is something to do, up to `end`; false: there is none. */
  async #turn(end: number): Promise<boolean> {
    await drainPromises();
    if (this.#deferred.length === 0) {
      const next = this.#timers.peek();
      if (next === undefined || next.at > end) return false;
      this.#now = Math.max(this.#now, next.at);
    }
    if (this.#runTimers()) await drainPromises();
    // What a deferred callback defers belongs to the next turn, or input would starve.
    const deferred = this.#deferred;
    this.#deferred = [];
    for (const callback of deferred) callback();
    return true;
  }

  #runTimers(): boolean {
    let ran = 0;
    for (;;) {
      const next = this.#timers.peek();
      if (next === undefined || next.at > this.#now) return ran > 0;
      if (++ran > TURNS_PER_INSTANT_MAX) throw new Error("timers without delay go on for ever");
      this.#timers.pop();
      next.callback();
    }
  }

  async #exclusively(run: () => Promise<void>): Promise<void> {
    if (this.#running) throw new Error("the clock is being advanced already: await the call before");
    this.#running = true;
    try {
      await run();
    } finally {
      this.#running = false;
    }
  }
}

/** Resolves when every promise that could settle by itself has, however long the chain. */
function drainPromises(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** A binary heap by time, then by sequence. Cancelled timers leave when they come to the top. */
class TimerHeap {
  readonly #heap: Entry[] = [];
  #cancelled = 0;

  get live(): number {
    return this.#heap.length - this.#cancelled;
  }

  noteCancelled(): void {
    this.#cancelled++;
    // Nearly every timer of a transport is cancelled; without this they would pile up.
    if (this.#cancelled > 64 && this.#cancelled * 2 > this.#heap.length) this.#sweep();
  }

  push(entry: Entry): void {
    const heap = this.#heap;
    let child = heap.length;
    heap.push(entry);
    while (child > 0) {
      const parent = (child - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || isBefore(above, entry)) break;
      heap[child] = above;
      child = parent;
    }
    heap[child] = entry;
  }

  /** The next timer that was not cancelled. */
  peek(): Entry | undefined {
    for (;;) {
      const top = this.#heap[0];
      if (top?.cancelled !== true) return top;
      this.#removeTop();
      this.#cancelled--;
    }
  }

  /** Removes what `peek` returned; it can no longer be cancelled. */
  pop(): void {
    const top = this.peek();
    if (top === undefined) return;
    this.#removeTop();
    top.cancelled = true;
  }

  #removeTop(): void {
    const last = this.#heap.pop();
    if (last === undefined || this.#heap.length === 0) return;
    this.#sink(last);
  }

  #sink(entry: Entry): void {
    const heap = this.#heap;
    let parent = 0;
    for (;;) {
      let child = 2 * parent + 1;
      const left = heap[child];
      if (left === undefined) break;
      const right = heap[child + 1];
      let smaller = left;
      if (right !== undefined && isBefore(right, left)) {
        smaller = right;
        child++;
      }
      if (isBefore(entry, smaller)) break;
      heap[parent] = smaller;
      parent = child;
    }
    heap[parent] = entry;
  }

  #sweep(): void {
    const live = this.#heap.filter((entry) => !entry.cancelled);
    this.#heap.length = 0;
    this.#cancelled = 0;
    for (const entry of live) this.push(entry);
  }
}

function isBefore(a: Entry, b: Entry): boolean {
  return a.at < b.at || (a.at === b.at && a.sequence < b.sequence);
}

/** Numbers in [0, 1) that depend on the seed alone (mulberry32: small, fast, good enough for tests). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}
