import type { Environment } from "../../environment/environment.ts";

/** Waits between two attempts. They end with the node, so that nothing goes on after it and nobody waits for nothing. */
export class RetryDelays {
  readonly #environment: Environment;
  readonly #ends = new Set<() => void>();
  #stopped = false;

  constructor(environment: Environment) {
    this.#environment = environment;
  }

  /** Resolves after `ms`, or earlier: with the signal, or the end of the node. */
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

  stop(): void {
    this.#stopped = true;
    for (const end of [...this.#ends]) end();
  }
}
