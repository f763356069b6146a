/**
 * Doublings after which the delay no longer grows: keeps `2 ** failures` finite, however long an outage
 * lasts.
 */
const DOUBLINGS_MAX = 20;

/**
 * Only a connection that lasted this many milliseconds resets the delay. Two nodes with the same id take each
 * other's connections over, and would otherwise do so at the smallest delay for as long as both run.
 */
const STABLE_MS = 1_000;

/**
 * How long to wait before the next attempt to connect. The delay doubles with each failure up to a maximum,
 * so that a peer that is down costs little, and is found soon after it is back (W5). Each delay is chosen at
 * random from the upper half, so that nodes that lost the same peer don't reconnect in step.
 */
export class Backoff {
  readonly #minMs: number;
  readonly #maxMs: number;
  readonly #random: () => number;
  /** Failures since the last connection that lasted `STABLE_MS`. */
  #failures = 0;
  /** When the current connection was established, on the clock of `now`; null: there is none. */
  #succeededAt: number | null = null;

  /** `random` gives numbers in [0, 1). */
  constructor(minMs: number, maxMs: number, random: () => number) {
    this.#minMs = minMs;
    this.#maxMs = maxMs;
    this.#random = random;
  }

  /** The connection is established. */
  succeeded(now: number): void {
    this.#succeededAt = now;
  }

  /**
   * An attempt failed, or the connection ended. Returns the delay before the next attempt, in milliseconds.
   */
  failed(now: number): number {
    if (this.#succeededAt !== null && now - this.#succeededAt >= STABLE_MS) this.#failures = 0;
    this.#succeededAt = null;
    const fullMs = Math.min(this.#maxMs, this.#minMs * 2 ** Math.min(this.#failures, DOUBLINGS_MAX));
    this.#failures++;
    return fullMs * (0.5 + this.#random() / 2);
  }
}
