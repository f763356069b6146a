import { describe, expect, it } from "vitest";

import { emptyTally, feed, inputOf } from "./runner.ts";
import type { Target } from "./target.ts";
import { TARGETS } from "./targets.ts";

const SEED = 1;
/**
 * The number of inputs for each target. All targets together take a few seconds; `npm run fuzz` feeds
 * millions.
 */
const INPUTS: Readonly<Record<string, number>> = { wal: 60, http: 60 };
const INPUTS_DEFAULT = 1500;

describe("the fuzzer", () => {
  it.each(Object.keys(TARGETS))(
    "finds nothing in a first look at %s, and reaches both verdicts",
    async (name) => {
      const target = targetOf(name);
      const tally = emptyTally();
      const inputs = INPUTS[name] ?? INPUTS_DEFAULT;
      for (let number = 0; number < inputs; number++)
        expect(await feed(target, SEED, number, tally)).toBeNull();
      await target.close?.();
      expect(tally.inputs).toBe(inputs);
      expect(tally.taken).toBeGreaterThan(inputs / 20);
      expect(tally.refused).toBeGreaterThan(inputs / 20);
    },
  );

  it("makes the same input from the same seed and number, and different inputs otherwise", () => {
    const target = targetOf("frames");
    const text = (seed: number, number: number): string =>
      Buffer.from(inputOf(target, seed, number).input).toString("hex");
    const inputs = Array.from({ length: 50 }, (_, number) => text(1, number));
    expect(inputs).toEqual(inputs.map((_, number) => text(1, number)));
    expect(new Set([...inputs, text(2, 0), text(2, 1)]).size).toBeGreaterThan(45);
  });

  it("reports a crash, a rejected promise, and a valid input that is refused", async () => {
    const base = { name: "made up", share: 1, valid: () => Uint8Array.of(1) };
    const crashing: Target = {
      ...base,
      run: () => {
        throw new RangeError("offset out of range");
      },
    };
    expect((await feed(crashing, 7, 3, emptyTally()))?.error).toContain("RangeError: offset out of range");
    const rejecting: Target = { ...base, run: () => Promise.reject(new TypeError("x is undefined")) };
    expect(await feed(rejecting, 7, 3, emptyTally())).toMatchObject({
      target: "made up",
      seed: 7,
      number: 3,
    });
    const refusing: Target = { ...base, run: () => "refused" };
    const failures = await Promise.all(
      Array.from({ length: 60 }, (_, number) => feed(refusing, 7, number, emptyTally())),
    );
    const valid = Array.from({ length: 60 }, (_, number) => inputOf(refusing, 7, number).isValid);
    expect(failures.map((failure) => failure !== null)).toEqual(valid);
    expect(valid).toContain(true);
  });
});

function targetOf(name: string): Target {
  const make = TARGETS[name];
  if (make === undefined) throw new Error(`no target ${name}`);
  return make();
}
