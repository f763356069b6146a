/** Holds Porcupine's verdicts against those of our own checker, and counts them. */
import { readFileSync } from "node:fs";

import { checkLinearizability, keyValueModel, parseHistory, registerModel } from "keelson/testing";
import type { KeyValueInput, KeyValueOutput, RegisterInput, RegisterOutput } from "keelson/testing";

import type { GoResult, Verdict } from "./go-checker.ts";
import type { Kind } from "./random-histories.ts";

/** One history with both verdicts. */
export interface Checked extends GoResult {
  /** Of the checker in `keelson/testing`. */
  readonly ours: Verdict;
}

/** What our own checker says about a history in a file. */
export function ourVerdict(kind: Kind, file: string): Verdict {
  const text = readFileSync(file, "utf8");
  const { verdict } =
    kind === "register"
      ? checkLinearizability(registerModel(), parseHistory<RegisterInput, RegisterOutput>(text))
      : checkLinearizability(keyValueModel(), parseHistory<KeyValueInput, KeyValueOutput>(text));
  return verdict === "illegal" ? "not linearizable" : verdict;
}

/** Both decided, and not the same: one of the two checkers is wrong. */
export function disagree({ verdict, ours }: Checked): boolean {
  return verdict !== "undecided" && ours !== "undecided" && verdict !== ours;
}

/** How many histories have which verdict of Porcupine, and how many operations they have. */
export class Counts {
  histories = 0;
  operations = 0;
  unknown = 0;
  /** Milliseconds that Porcupine took. */
  ms = 0;
  /** How many both checkers decided, alike or not. */
  agreements = 0;
  disagreements = 0;
  readonly verdicts: Record<Verdict, number> = { linearizable: 0, "not linearizable": 0, undecided: 0 };

  add(checked: Checked): void {
    this.histories += 1;
    this.operations += checked.operations;
    this.unknown += checked.unknown;
    this.ms += checked.ms;
    this.verdicts[checked.verdict] += 1;
    if (disagree(checked)) this.disagreements += 1;
    else if (checked.verdict !== "undecided" && checked.ours !== "undecided") this.agreements += 1;
  }

  /** `20 histories: 20 linearizable, 0 not linearizable, 0 undecided; ...`. */
  get text(): string {
    const verdicts = Object.entries(this.verdicts).map(([verdict, count]) => `${count} ${verdict}`);
    return (
      `${this.histories} histories: ${verdicts.join(", ")}; ${this.operations} operations ` +
      `(${this.unknown} of unknown outcome) in ${(this.ms / 1000).toFixed(2)} s; our own checker agrees on ${this.agreements}` +
      (this.disagreements === 0 ? "" : ` and DISAGREES on ${this.disagreements}`)
    );
  }
}
