// Time and randomness for tests and simulations: a clock that only moves when told, and numbers from a seed.
import type { Timer } from "../environment.ts";

/**
 * The clock, timers and `defer` of a simulated environment. Time stands still until `advance` moves it, and
 * everything that is due then happens in a fixed order, so a test or a seed runs the same every time.
 *
 * One turn is: the timers that are due, in order; then the promises that they settled; then the deferred
 * callbacks; then the promises that those settled. Node's event loop has the same order.
 */
export class SimulatedClock {
  /** The time in milliseconds. Never falls. */
  #now: number;
  readonly #startMs: number;
  /** How many timers were set so far. */
  #sequence = 0;
  /** The timers that have not fired. */
  readonly #timers = new TimerHeap();
  /** The callbacks for the end of the current turn, in the order of the calls to `defer`. */
  #deferred: (() => void)[] = [];
  readonly #promises = new PromiseDrain();
  /** Whether `advance` or `runUntil` is running. */
  #running = false;

  constructor(startMs = 1_000) {
    this.#now = startMs;
    this.#startMs = startMs;
  }

  /** The time since the clock was made, in milliseconds. */
  get elapsedMs(): number {
    return this.#now - this.#startMs;
  }

  /** As `Environment.now`: simulated milliseconds. */
  now(): number {
    return this.#now;
  }

  /** As `Environment.setTimer`. */
  setTimer(delayMs: number, callback: () => void): Timer {
    const entry: TimerEntry = {
      dueAt: this.#now + Math.max(0, delayMs),
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

  /** As `Environment.defer`. */
  defer(callback: () => void): void {
    this.#deferred.push(callback);
  }

  /** How many timers have neither fired nor been cancelled. A test that closed everything expects 0. */
  get pendingTimers(): number {
    return this.#timers.live;
  }

  /** Moves time forward by `ms`, from timer to timer, and runs a whole turn at each. */
  async advance(ms: number): Promise<void> {
    await this.#exclusively(async () => {
      const end = this.#now + ms;
      while (await this.#turn(end));
      this.#now = end;
    });
  }

  /** Runs turns until nothing is left to do at the current time. */
  async settle(): Promise<void> {
    await this.advance(0);
  }

  /** Moves time forward until `condition` holds after a turn; throws if it does not within `limitMs`. */
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

  /**
   * Runs one turn at the next time at which there is something to do, up to `end`; false: there is no such
   * time.
   */
  async #turn(end: number): Promise<boolean> {
    await this.#promises.drained();
    if (this.#deferred.length === 0) {
      const next = this.#timers.peek();
      if (next === undefined || next.dueAt > end) return false;
      this.#now = Math.max(this.#now, next.dueAt);
    }
    if (this.#runTimers()) await this.#promises.drained();
    // What a deferred callback defers belongs to the next turn. Run at once, it could keep timers from
    // firing.
    const deferred = this.#deferred;
    this.#deferred = [];
    for (const callback of deferred) callback();
    return true;
  }

  /** Fires the timers that are due, also those that are set meanwhile; false: there were none. */
  #runTimers(): boolean {
    let ran = 0;
    for (;;) {
      const next = this.#timers.peek();
      if (next === undefined || next.dueAt > this.#now) return ran > 0;
      if (++ran > TIMERS_PER_INSTANT_MAX) throw new Error("timers without delay go on for ever");
      this.#timers.pop();
      next.callback();
    }
  }

  /** Runs `run`, and refuses other calls meanwhile: two at once would both move time. */
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

/**
 * How many immediates are set at once. `drained` waits for one immediate, because Node settles all promises
 * that need no input before it runs the next one. Immediates that were set together run in one turn of Node's
 * event loop. So this many calls of `drained` cost one such turn in all, instead of one each, which would
 * cost about as much as the simulated turns themselves.
 */
const IMMEDIATES_AT_ONCE = 64;

/** Waits until no promise is left that settles without time or input, however long the chain of them. */
class PromiseDrain {
  /** How many immediates are set and haven't fired. */
  #ready = 0;
  /** Called by the next immediate that fires; null: nobody waits, so the immediate does nothing. */
  #resolve: (() => void) | null = null;

  /** One call at a time. */
  drained(): Promise<void> {
    return new Promise((resolve) => {
      this.#resolve = resolve;
      if (this.#ready > 0) return;
      this.#ready = IMMEDIATES_AT_ONCE;
      for (let n = 0; n < IMMEDIATES_AT_ONCE; n++) setImmediate(this.#fired);
    });
  }

  readonly #fired = (): void => {
    this.#ready -= 1;
    const resolve = this.#resolve;
    this.#resolve = null;
    resolve?.();
  };
}

interface TimerEntry {
  /** When it fires, in milliseconds of the clock. */
  readonly dueAt: number;
  /**
   * Its number among all timers. Of two that are due at the same time, the one that was set first fires
   * first.
   */
  readonly sequence: number;
  readonly callback: () => void;
  /** Cancelled, or fired: it does nothing any more. */
  cancelled: boolean;
}

/** A binary heap of timers, the next one at the top. Cancelled timers stay in it until they reach the top. */
class TimerHeap {
  readonly #heap: TimerEntry[] = [];
  /** How many timers in the heap are cancelled. */
  #cancelled = 0;

  get live(): number {
    return this.#heap.length - this.#cancelled;
  }

  /** One of the timers in the heap was cancelled. */
  noteCancelled(): void {
    this.#cancelled++;
    // Nearly all timers of a transport are cancelled long before they are due. Without this, they would pile
    // up.
    if (this.#cancelled > 64 && this.#cancelled * 2 > this.#heap.length) this.#sweep();
  }

  push(entry: TimerEntry): void {
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
  peek(): TimerEntry | undefined {
    for (;;) {
      const top = this.#heap[0];
      if (top?.cancelled !== true) return top;
      this.#removeTop();
      this.#cancelled--;
    }
  }

  /** Removes the timer that `peek` returns. Cancelling it has no effect any more. */
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

  #sink(entry: TimerEntry): void {
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

function isBefore(a: TimerEntry, b: TimerEntry): boolean {
  return a.dueAt < b.dueAt || (a.dueAt === b.dueAt && a.sequence < b.sequence);
}

/**
 * The most timers that may fire at one time. More than that count as a loop of timers without delay, which
 * would never end.
 */
const TIMERS_PER_INSTANT_MAX = 100_000;

/**
 * A function whose numbers, in [0, 1), depend only on the seed (mulberry32: small, fast, good enough for
 * tests).
 */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}
