/** What a run has done so far: its trace, the trace's hash, and the first violation. */
import { createHash } from "node:crypto";

import type { SimulatedClock } from "../../../environment/simulated/simulated-clock.ts";
import { Violation } from "../checkers/violation.ts";

/** How many of the last events are kept, at least, unless all are wanted. */
const LAST_EVENTS_KEPT = 200;

/** Records the events of one run. Every part of the run writes to it, in the order in which things happen. */
export class RunRecord {
  /** Whether every event is kept. */
  readonly keepsEverything: boolean;
  readonly #clock: SimulatedClock;
  /** Events as lines, the oldest first. At most twice `LAST_EVENTS_KEPT`, unless everything is kept. */
  readonly #trace: string[] = [];
  readonly #hash = createHash("sha1");
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
    return this.#hash.digest("hex");
  }

  /** Adds a line with the simulated time. */
  event(text: string): void {
    const line = `${this.#clock.now().toFixed(3)} ${text}`;
    this.#hash.update(line);
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
