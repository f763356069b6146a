import type { Model } from "../model.ts";

/** Calls of a counter. All of them return the sum as it is then. */
export type CounterInput = "look" | `add ${number}`;

export function amountOf(input: CounterInput): number {
  return input === "look" ? 0 : Number(input.slice("add ".length));
}

/** A counter from 0. Many of its calls have equal inputs. */
export const counterModel: Model<number, CounterInput, number> = {
  initial: 0,
  keyOf: () => "counter",
  step: (sum, input, output) => {
    const after = sum + amountOf(input);
    return output === undefined || output === after ? after : undefined;
  },
  fingerprint: String,
  isEffectless: (input) => input === "look",
  overwrites: () => false,
  describe: (input) => input,
  describeOutput: (_input, output) => String(output),
  expected: (sum, input) => String(sum + amountOf(input)),
};
