/** What a run has done so far: its trace, the trace's hash, and the first violation. */
import { createHash } from "node:crypto";

import type { SimulatedClock } from "../../../environment/simulated/simulated-clock.ts";
import { Violation } from "../checkers/violation.ts";

/** How many of the last events are kept, at least, unless all are wanted. */
const LAST_EVENTS_KEPT = 200;

/**
 * Events are hashed together when their text is this long: a call of the hash function costs more than
 * hashing a short text.
 */
const HASH_CHARS = 4_096;

/** Records the events of one run. Every part of the run writes to it, in the order in which things happen. */
export class RunRecord {
  /** Whether every event is kept. */
  readonly keepsEverything: boolean;
  readonly #clock: SimulatedClock;
  /** Events as lines, the oldest first. At most twice `LAST_EVENTS_KEPT`, unless everything is kept. */
  readonly #trace: string[] = [];
  readonly #hash = createHash("sha1");
  /** The time of the last event, and its text: several events happen at the same time. */
  #time = { at: NaN, text: "" };
  /** The text of the last events, which aren't in `#hash` yet. At most `HASH_CHARS` and one event. */
  #unhashed = "";
  /** The first violation. What breaks after it follows from it, and is not recorded. */
  #violation: Violation | null = null;

  constructor(clock: SimulatedClock, keepsEverything: boolean) {
    this.#clock = clock;
    this.keepsEverything = keepsEverything;
  }

  get violation(): Violation | null {
    return this.#violation;
  }

  /**
   * Whether a violation was recorded. A method: of a getter the compiler assumes the same answer across other
   * calls.
   */
  isBroken(): boolean {
    return this.#violation !== null;
  }

  get trace(): readonly string[] {
    return this.#trace;
  }

  /** The hash of all events. Call it once, at the end. */
  hash(): string {
    return this.#hash.update(this.#unhashed).digest("hex");
  }

  /** Adds a line with the simulated time. */
  event(text: string): void {
    const now = this.#clock.now();
    if (now !== this.#time.at) this.#time = { at: now, text: now.toFixed(3) };
    const line = `${this.#time.text} ${text}`;
    this.#unhashed += line;
    if (this.#unhashed.length > HASH_CHARS) {
      this.#hash.update(this.#unhashed);
      this.#unhashed = "";
    }
    this.#trace.push(line);
    if (!this.keepsEverything && this.#trace.length > 2 * LAST_EVENTS_KEPT)
      this.#trace.splice(0, LAST_EVENTS_KEPT);
  }

  /**
   * Records a violation. Any other error is one too, with the code CRASH: code under test, or the simulator,
   * threw.
   */
  report(error: unknown): void {
    if (this.#violation !== null) return;
    if (error instanceof Violation) this.#violation = error;
    else {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.#violation = new Violation("CRASH", text);
    }
    this.event(`broken: ${this.#violation.message}`);
  }

  /** Runs a check, and reports what it throws. */
  guard(check: () => void): void {
    try {
      check();
    } catch (error) {
      this.report(error);
    }
  }

  throwIfViolated(): void {
    if (this.#violation !== null) throw this.#violation;
  }
}
