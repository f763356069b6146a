// Spreads long work over several turns of the event loop.
//
// While a turn lasts, the node neither sends heartbeats nor answers them. A turn of a few hundred
// milliseconds costs a healthy leader its leadership (Z19). So work whose length grows with the state is
// written as a generator that yields after each step of a few milliseconds.

import type { Environment } from "../../environment/environment.ts";

/** Work in steps: it may be interrupted at each `yield`, and other code runs then. */
export type Steps<T> = Generator<undefined, T, undefined>;

/** Resolves at the end of this turn of the event loop, after all input that is ready now. */
export function endOfTurn(environment: Pick<Environment, "defer">): Promise<void> {
  return new Promise((resolve) => {
    environment.defer(resolve);
  });
}

/** Runs one step in each turn. Resolves with the result of the last one. */
export async function inTurns<T>(steps: Steps<T>, environment: Pick<Environment, "defer">): Promise<T> {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    await endOfTurn(environment);
  }
}

/** Runs all steps at once: for tests, and for programs that have nothing else to do. */
export function inOneTurn<T>(steps: Steps<T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}
