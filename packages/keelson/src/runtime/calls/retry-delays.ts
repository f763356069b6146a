import type { Environment } from "../../environment/environment.ts";

/**
 * Waits between two attempts of a call. When the node ends, all waits end, so that each call makes its next
 * attempt, which is refused, and ends too.
 */
export class RetryDelays {
  readonly #environment: Environment;
  /** Ends one wait each. */
  readonly #ends = new Set<() => void>();
  #stopped = false;

  constructor(environment: Environment) {
    this.#environment = environment;
  }

  /** Resolves after `ms`, or earlier: when the signal is aborted, or the node ends. */
  wait(ms: number, signal: AbortSignal | undefined): Promise<void> {
    if (this.#stopped || signal?.aborted === true) return Promise.resolve();
    return new Promise((resolve) => {
      const end = (): void => {
        timer.cancel();
        signal?.removeEventListener("abort", end);
        this.#ends.delete(end);
        resolve();
      };
      const timer = this.#environment.setTimer(ms, end);
      signal?.addEventListener("abort", end);
      this.#ends.add(end);
    });
  }

  /** The node ends: no wait takes any time from now on. */
  stop(): void {
    this.#stopped = true;
    for (const end of [...this.#ends]) end();
  }
}
