import type { Model } from "./model.ts";

/** The value of a register; null: none yet. */
export type RegisterValue = string | number | boolean | null;

/** Operations on registers; those without a `key` share one. */
export type RegisterInput =
  | { readonly type: "read"; readonly key?: string }
  | { readonly type: "write"; readonly key?: string; readonly value: RegisterValue }
  | {
      readonly type: "compare-and-set";
      readonly key?: string;
      readonly from: RegisterValue;
      readonly to: RegisterValue;
    };

/** What an operation returned: `value` of a read, `swapped` of a compare-and-set, and nothing of a write. */
export interface RegisterOutput {
  readonly value?: RegisterValue;
  readonly swapped?: boolean;
}

/**
 * Registers with read, write and compare-and-set, which hold `initial` at first (default: null). A field that
 * is left out of an output isn't checked.
 */
export function registerModel(
  options: { readonly initial?: RegisterValue } = {},
): Model<RegisterValue, RegisterInput, RegisterOutput> {
  return {
    initial: options.initial ?? null,
    keyOf: (input) => input.key ?? "",
    step,
    fingerprint: (state) => JSON.stringify(state),
    isEffectless: (input, output) =>
      input.type === "read" || (input.type === "compare-and-set" && output?.swapped === false),
    overwrites: (input) => input.type === "write",
    describe,
    describeOutput: (input, output) => {
      if (input.type === "read") return "value" in output ? text(output.value ?? null) : "something";
      if (input.type === "write" || output.swapped === undefined) return "done";
      return output.swapped ? "swapped" : "not swapped";
    },
    expected: (state, input) => {
      if (input.type === "read") return text(state);
      if (input.type === "write") return "done";
      return state === input.from ? "swapped" : "not swapped";
    },
  };
}

function step(
  state: RegisterValue,
  input: RegisterInput,
  output: RegisterOutput | undefined,
): RegisterValue | undefined {
  switch (input.type) {
    case "read":
      return output?.value === undefined || output.value === state ? state : undefined;
    case "write":
      return input.value;
    case "compare-and-set": {
      const swaps = state === input.from;
      if (output?.swapped !== undefined && output.swapped !== swaps) return undefined;
      return swaps ? input.to : state;
    }
  }
}

function describe(input: RegisterInput): string {
  const key = input.key === undefined ? "" : ` ${input.key}`;
  switch (input.type) {
    case "read":
      return `read${key}`;
    case "write":
      return `write${key} ${text(input.value)}`;
    case "compare-and-set":
      return `compare-and-set${key} ${text(input.from)} to ${text(input.to)}`;
  }
}

function text(value: RegisterValue): string {
  return value === null ? "nothing" : JSON.stringify(value);
}
