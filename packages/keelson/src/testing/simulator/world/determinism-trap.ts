/**
 * Traps real clocks, timers and random numbers while the user's code runs in a simulation.
 *
 * The hazard: a state machine whose `apply` reads `Date.now()` gives each node another state. In a simulation
 * it also reads the real clock instead of the simulated one, so a seed that fails doesn't fail again.
 *
 * The rule: code of a state machine, a query or a subject that calls such a function gets an error, and the
 * run reports it (DET). The cost is one run of an `AsyncLocalStorage` for each call of the user's code.
 */
import { runWatched } from "#real-sources";
import { Violation } from "../checkers/violation.ts";

/** Runs user's code of one simulated run. See the file's header. */
export class DeterminismTrap {
  readonly #report: (violation: Violation) => void;
  readonly #isOn: boolean;

  /** `report` gives a violation to the run. `isOn` false: nothing is trapped. */
  constructor(report: (violation: Violation) => void, isOn: boolean) {
    this.#report = report;
    this.#isOn = isOn;
  }

  /** Runs code of the state machine. `what`: the method. */
  inMachine<T>(what: string, run: () => T): T {
    return this.#run(what, "take time and randomness from the command", run);
  }

  /** Runs code of the subject. `what`: the method. */
  inSubject<T>(what: string, run: () => T): T {
    return this.#run(what, "take randomness from `context.chance`", run);
  }

  /** The same iteration, each step of which is code of the state machine. */
  iterationInMachine<T>(what: string, items: AsyncIterable<T>): AsyncIterable<T> {
    return {
      [Symbol.asyncIterator]: (): AsyncIterator<T> => {
        const iterator = this.inMachine(what, () => items[Symbol.asyncIterator]());
        return {
          next: () => this.inMachine(what, () => iterator.next()),
          return: async () =>
            (await this.inMachine(what, () => iterator.return?.())) ?? { done: true, value: undefined },
        };
      },
    };
  }

  #run<T>(what: string, advice: string, run: () => T): T {
    if (!this.#isOn) return run();
    return runWatched((shown) => {
      this.#spring(what, shown, advice);
    }, run);
  }

  /** DET: reports and throws. */
  #spring(what: string, shown: string, advice: string): never {
    const violation = new Violation(
      "DET",
      `${what} may not be deterministic: it calls ${shown}, which gives something else on each node and in each ` +
        `run; ${advice}${placeOf(new Error().stack)}`,
    );
    this.#report(violation);
    throw violation;
  }
}

/** Where the user's code called the function, as a line of the stack. */
function placeOf(stack: string | undefined): string {
  const [, ...frames] = (stack ?? "").split("\n");
  const place = frames.find((frame) => !OUR_FILES.test(frame))?.trim();
  return place === undefined ? "" : `\n    ${place}`;
}

/** The files between the call and this one, as sources or built. */
const OUR_FILES = /determinism-trap\.[jt]s|real-sources\.[jt]s|async_local_storage/;
