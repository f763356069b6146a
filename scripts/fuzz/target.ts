import { DecodeError } from "keelson";

import type { Chance } from "../lib/chance.ts";

/** What became of an input: `taken` as something valid, or `refused` in the documented way. */
export type Verdict = "taken" | "refused";

/** Something that reads bytes from the outside. */
export interface Target {
  readonly name: string;
  /** How many of a thousand inputs are for this one when all are fuzzed: less for those that are slow. */
  readonly share: number;
  /** An input that is valid, and must be taken. */
  valid(chance: Chance): Uint8Array;
  /** Makes checksums right again after a mutation, so that what lies behind them is reached. */
  repair?(bytes: Uint8Array): void;
  /** Throws if anything happens but what is documented. */
  run(input: Uint8Array, chance: Chance): Verdict | Promise<Verdict>;
  close?(): Promise<void>;
}

/** The input shows a mistake in the program. */
export class Finding extends Error {
  override readonly name = "Finding";
}

export function expectThat(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Finding(what);
}

/** For decoders: `DecodeError` is how they refuse. */
export function decoded(decode: () => void): Verdict {
  try {
    decode();
    return "taken";
  } catch (error) {
    if (error instanceof DecodeError) return "refused";
    throw error;
  }
}

/** Equal as values, in the form in which they are shown too. */
export function shown(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) => {
    if (part instanceof Uint8Array) return Buffer.from(part).toString("base64");
    return part instanceof Map ? [...part] : part;
  });
}
