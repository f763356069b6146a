import { Chance } from "../lib/chance.ts";
import { mutate, randomBytes } from "./mutate.ts";
import type { Target, Verdict } from "./target.ts";

/** The shares of inputs that stay valid and that are random; the others are mutated. */
const VALID_OFTEN = 0.1;
const RANDOM_OFTEN = 0.15;
const REPAIRED_OFTEN = 0.5;

/** The results of one target. */
export interface Tally {
  inputs: number;
  taken: number;
  refused: number;
  bytes: number;
  /** The longest time of one input, in milliseconds. */
  longestMs: number;
}

export interface Failure {
  readonly target: string;
  readonly seed: number;
  readonly number: number;
  readonly input: string;
  readonly error: string;
}

export function emptyTally(): Tally {
  return { inputs: 0, taken: 0, refused: 0, bytes: 0, longestMs: 0 };
}

/** The input with this number of a seed; always the same. */
export function inputOf(
  target: Target,
  seed: number,
  number: number,
): { input: Uint8Array; isValid: boolean; chance: Chance } {
  const chance = new Chance(seed, number);
  const how = chance.next();
  if (how < VALID_OFTEN) return { input: target.valid(chance), isValid: true, chance };
  if (how < VALID_OFTEN + RANDOM_OFTEN) return { input: randomBytes(chance), isValid: false, chance };
  const input = mutate(target.valid(chance), target.valid(chance), chance);
  if (chance.often(REPAIRED_OFTEN)) target.repair?.(input);
  return { input, isValid: false, chance };
}

/** Feeds one input to the target. null: the target behaved as documented. */
export async function feed(
  target: Target,
  seed: number,
  number: number,
  tally: Tally,
): Promise<Failure | null> {
  const { input, isValid, chance } = inputOf(target, seed, number);
  const begun = performance.now();
  let error: string | null = null;
  try {
    const result = target.run(input, chance);
    // A promise for each of millions of inputs would cost more than most of them.
    const verdict: Verdict = typeof result === "string" ? result : await result;
    tally[verdict] += 1;
    if (isValid && verdict === "refused") error = "a valid input is refused";
  } catch (thrown) {
    error = thrown instanceof Error ? String(thrown.stack) : String(thrown);
  }
  tally.inputs += 1;
  tally.bytes += input.length;
  tally.longestMs = Math.max(tally.longestMs, performance.now() - begun);
  if (error === null) return null;
  return { target: target.name, seed, number, input: Buffer.from(input).toString("base64"), error };
}
