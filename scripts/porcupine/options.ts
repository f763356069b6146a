import { parseArgs } from "node:util";

import type { GoLimits } from "./go-checker.ts";
import type { Kind } from "./random-histories.ts";

export interface PorcupineOptions {
  /** Files and directories to check; empty: histories are made. */
  readonly places: readonly string[];
  /** What the histories in `places` are about. */
  readonly kind: Kind;
  /** Seeds to simulate with each store, from `from` on. */
  readonly seeds: number;
  readonly from: number;
  readonly jobs: number;
  /** Random histories of each kind. */
  readonly random: number;
  /** 0: no torture. */
  readonly tortureMinutes: number;
  /** Bugs of the zoo whose histories Porcupine must refuse. */
  readonly bugs: readonly string[];
  /** Where the histories are kept; null: in a temporary directory, which is deleted. */
  readonly keep: string | null;
  readonly limits: GoLimits;
  /** Print a line for each history, not only for those that need attention. */
  readonly verbose: boolean;
}

export const PORCUPINE_HELP = `Usage: npm run porcupine -- [--seeds N] [--from S] [--jobs J] [--random N] [--torture-minutes M] [--bugs CODE,...]
                            [--keep DIR] [--steps-max N] [--seconds-max S] [--verbose]
       npm run porcupine -- [--model key-value|register] FILE|DIR ...

Checks histories for linearizability with Porcupine, a checker that this project did not write, and compares its
verdicts with those of our own. Needs Go; without it, one line says that nothing was checked.

  --seeds N            how many seeds of the simulator, with each of its two stores (default 20)
  --from S             the first seed (default 1)
  --jobs J             simulations at a time (default 1)
  --random N           how many small random histories of each model (default 2000)
  --torture-minutes M  also torture real servers for so long (default 0: not at all)
  --bugs CODE,...      bugs of the zoo that are put back; Porcupine must refuse a history of each (default L10c,
                       a stale read; "none": none)
  --keep DIR           an empty or absent directory in which all histories are kept
  --model M            what the calls of the given files are on (default key-value)
  --steps-max N        steps of the model for one key (default 5000000); a key that needs more is undecided
  --seconds-max S      seconds for one key (default 60); a key that needs more is undecided
  --verbose            a line for each history

Exits with 0 if every history has the verdict that it must have, and both checkers agree; with 1 if not; with 2 if
the command is wrong; with 3 if nothing is wrong but some history is undecided. Without Go it exits with 0.`;

/** @returns null if only the help was asked for; throws an Error that says what is wrong */
export function parsePorcupineOptions(args: readonly string[]): PorcupineOptions | null {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      seeds: { type: "string", default: "20" },
      from: { type: "string", default: "1" },
      jobs: { type: "string", default: "1" },
      random: { type: "string", default: "2000" },
      "torture-minutes": { type: "string", default: "0" },
      bugs: { type: "string", default: "L10c" },
      keep: { type: "string" },
      model: { type: "string", default: "key-value" },
      "steps-max": { type: "string", default: "5000000" },
      "seconds-max": { type: "string", default: "60" },
      verbose: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return null;
  return {
    places: positionals,
    kind: kindOf(values.model),
    seeds: whole("seeds", values.seeds, 0),
    from: whole("from", values.from, 0),
    jobs: whole("jobs", values.jobs, 1),
    random: whole("random", values.random, 0),
    tortureMinutes: minutesOf(values["torture-minutes"]),
    bugs: values.bugs === "none" ? [] : values.bugs.split(","),
    keep: values.keep ?? null,
    limits: {
      stepsMax: whole("steps-max", values["steps-max"], 1),
      secondsMax: whole("seconds-max", values["seconds-max"], 1),
    },
    verbose: values.verbose,
  };
}

function whole(name: string, text: string, min: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && Number.isSafeInteger(value)) return value;
  throw new Error(`--${name} is a whole number from ${min}, not "${text}"`);
}

function minutesOf(text: string): number {
  const value = Number(text);
  if (text !== "" && value >= 0 && Number.isFinite(value)) return value;
  throw new Error(`--torture-minutes is a number from 0, not "${text}"`);
}

function kindOf(text: string): Kind {
  if (text === "key-value" || text === "register") return text;
  throw new Error(`--model is key-value or register, not "${text}"`);
}
