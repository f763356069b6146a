import type { Environment } from "../../environment/environment.ts";
import { reasonOf } from "../shared/index.ts";

/** Milliseconds that a node takes to close at most, even if its parts hang. */
const CLOSE_MS_MAX = 1000;

/** How much of `CLOSE_MS_MAX` one part may use, so that a part that hangs leaves time for those after it. */
const STEP_MS_MAX = 400;

/** A part of a node that has to be closed. */
export interface ClosingStep {
  /** Its name, for messages. */
  readonly what: string;
  readonly close: () => Promise<void>;
}

/**
 * Closes parts one after another. It doesn't wait for a part that hangs, and ignores one that fails, but
 * reports both.
 */
export async function shutDown(
  steps: readonly ClosingStep[],
  environment: Environment,
  warn: (text: string) => void,
): Promise<void> {
  const end = environment.now() + CLOSE_MS_MAX;
  for (const { what, close } of steps) {
    const leftMs = Math.max(0, Math.min(STEP_MS_MAX, end - environment.now()));
    const closed = (async () => {
      try {
        await close();
      } catch (error) {
        warn(`${what} did not close well: ${reasonOf(error)}`);
      }
    })();
    const isInTime = await withinTime(closed, leftMs, environment);
    if (!isInTime) warn(`closing goes on without waiting for ${what}`);
  }
}

/** Resolves when the promise does, or after `ms`; false: the time was over first. */
async function withinTime(promise: Promise<unknown>, ms: number, environment: Environment): Promise<boolean> {
  const late = Promise.withResolvers<false>();
  const timer = environment.setTimer(ms, () => {
    late.resolve(false);
  });
  try {
    return await Promise.race([promise.then(() => true), late.promise]);
  } finally {
    timer.cancel();
  }
}
