// Notices storage that hangs. An operation that neither succeeds nor fails raises no error, so without a
// watchdog its node would wait without end, and keep its callers and its cluster waiting.
//
// An operation counts as hung once several checks in a row have found it pending. Hazard: the whole
// process can be paused (a debugger, a suspended machine), and by the clock every operation then took
// a minute. So the watchdog counts checks, not time. A pause adds one check, and the disk's answers
// are handled before the next.

import type { Environment, Timer } from "../../environment/environment.ts";

/** Checks during one time limit. A hang is noticed up to one check interval after the limit. */
const CHECKS_PER_TIMEOUT = 4;

interface PendingOperation {
  /** What the operation is, for the failure's message: "a write to the log". */
  readonly description: string;
  /** How many checks have found it pending. */
  checksSeen: number;
}

/** Reports the first storage operation that takes longer than the time limit. */
export class StorageWatchdog {
  readonly #environment: Environment;
  /** The time limit of an operation, in ms. */
  readonly #timeoutMs: number;
  readonly #onHang: (message: string) => void;
  /** The operations in flight, oldest first. */
  readonly #pending = new Set<PendingOperation>();
  /** Fires at the next check; null: nothing is pending, so an idle node has no timer. */
  #timer: Timer | null = null;
  /** Set once, by `stop`. No check happens after that. */
  #stopped = false;

  /** `onHang` is given a clause that names the operation and the time limit. */
  constructor(environment: Environment, timeoutMs: number, onHang: (message: string) => void) {
    this.#environment = environment;
    this.#timeoutMs = timeoutMs;
    this.#onHang = onHang;
  }

  /** Runs the operation, watches it until it settles, and settles with its outcome. A hang doesn't end it. */
  async monitor<T>(description: string, operation: () => Promise<T>): Promise<T> {
    const pending: PendingOperation = { description, checksSeen: 0 };
    this.#pending.add(pending);
    this.#startTimer();
    try {
      return await operation();
    } finally {
      this.#pending.delete(pending);
    }
  }

  /** Ends all watching, for good: a node that has stopped reports no hang. */
  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#timer = null;
  }

  #startTimer(): void {
    if (this.#timer !== null || this.#stopped) return;
    this.#timer = this.#environment.setTimer(this.#timeoutMs / CHECKS_PER_TIMEOUT, () => {
      this.#timer = null;
      this.#check();
    });
  }

  #check(): void {
    for (const pending of this.#pending) {
      pending.checksSeen += 1;
      if (pending.checksSeen <= CHECKS_PER_TIMEOUT) continue;
      this.#onHang(`${pending.description} took more than ${String(this.#timeoutMs)} ms`);
      return;
    }
    if (this.#pending.size > 0) this.#startTimer();
  }
}
