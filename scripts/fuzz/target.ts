import { DecodeError } from "keelson";

import type { Chance } from "../lib/chance.ts";

/** The result of an input: it was `taken` as valid, or `refused` in the documented way. */
export type Verdict = "taken" | "refused";

/** Code that reads bytes from outside the process. */
export interface Target {
  readonly name: string;
  /** How many of a thousand inputs this target gets when all are fuzzed; slow targets get fewer. */
  readonly share: number;
  /** A valid input, which must be taken. */
  valid(chance: Chance): Uint8Array;
  /** Recomputes checksums after a mutation, so that the code behind the checksum test is reached. */
  repair?(bytes: Uint8Array): void;
  /** Feeds an input. Throws if the code doesn't behave as documented. */
  run(input: Uint8Array, chance: Chance): Verdict | Promise<Verdict>;
  close?(): Promise<void>;
}

/** Thrown if an input shows a bug of the program. */
export class Finding extends Error {
  override readonly name = "Finding";
}

export function expectThat(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Finding(what);
}

/** Runs a decoder, which refuses input with a `DecodeError`. */
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
