import type { Environment } from "../../environment/environment.ts";
import { reasonOf } from "../shared/index.ts";

/** How long a node takes to close, however its parts hang: a caller who closes wants to leave. */
const CLOSE_MS_MAX = 1000;

/** The share of that which one step may use, so that a part that hangs leaves time for those after it. */
const STEP_MS_MAX = 400;

export interface Closing {
  readonly what: string;
  readonly close: () => Promise<void>;
}

/** Closes the parts of a node one step after another, and goes on without those that hang or fail. */
export class Shutdown {
  readonly #environment: Environment;
  readonly #warn: (text: string, fields?: Readonly<Record<string, unknown>>) => void;

  constructor(
    environment: Environment,
    warn: (text: string, fields?: Readonly<Record<string, unknown>>) => void,
  ) {
    this.#environment = environment;
    this.#warn = warn;
  }

  /** One after another; the next one begins when the one before it is closed, or late. */
  async run(parts: readonly Closing[]): Promise<void> {
    const end = this.#environment.now() + CLOSE_MS_MAX;
    for (const part of parts) {
      const left = Math.max(0, Math.min(STEP_MS_MAX, end - this.#environment.now()));
      const inTime = await this.#within(this.#close(part), left);
      if (!inTime) this.#warn(`closing goes on without waiting for ${part.what}`);
    }
  }

  async #close({ what, close }: Closing): Promise<void> {
    try {
      await close();
    } catch (error) {
      this.#warn(`${what} did not close well: ${reasonOf(error)}`);
    }
  }

  /** False: it was not over in time. */
  async #within(promise: Promise<unknown>, ms: number): Promise<boolean> {
    const late = Promise.withResolvers<false>();
    const timer = this.#environment.setTimer(ms, () => {
      late.resolve(false);
    });
    try {
      return await Promise.race([promise.then(() => true), late.promise]);
    } finally {
      timer.cancel();
    }
  }
}
