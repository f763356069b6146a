/** Doublings after which the wait no longer grows; without a bound, the power would overflow one day. */
const DOUBLINGS_MAX = 20;

/** A connection that held for less did not count: two nodes that throw each other out must not do it all day. */
const STABLE_MS = 1_000;

/** How long to wait before trying again: doubling, capped, and random, so that peers do not knock in step. */
export class Backoff {
  readonly #minMs: number;
  readonly #maxMs: number;
  readonly #random: () => number;
  #failures = 0;
  #succeededAt: number | null = null;

  constructor(minMs: number, maxMs: number, random: () => number) {
    this.#minMs = minMs;
    this.#maxMs = maxMs;
    this.#random = random;
  }

  /** The connection is up. */
  succeeded(now: number): void {
    this.#succeededAt = now;
  }

  /** An attempt failed, or the connection ended. Returns the wait before the next attempt. */
  failed(now: number): number {
    if (this.#succeededAt !== null && now - this.#succeededAt >= STABLE_MS) this.#failures = 0;
    this.#succeededAt = null;
    const fullMs = Math.min(this.#maxMs, this.#minMs * 2 ** Math.min(this.#failures, DOUBLINGS_MAX));
    this.#failures++;
    // From half to all of it.
    return fullMs * (0.5 + this.#random() / 2);
  }
}
