import * as fc from "fast-check";
import { describe, expect, it } from "vitest";

import { configOf, type ClusterConfig } from "./config.ts";
import { hasQuorum, quorumValue } from "./quorum.ts";

const IDS = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"];

const anyConfig: fc.Arbitrary<ClusterConfig> = fc.record({
  voters: fc.uniqueArray(fc.constantFrom(...IDS), { minLength: 1, maxLength: 9 }),
  outgoingVoters: fc.oneof(
    fc.constant([]),
    fc.uniqueArray(fc.constantFrom(...IDS), { minLength: 1, maxLength: 9 }),
  ),
  learners: fc.uniqueArray(fc.constantFrom("l", "m", "n")),
});

/** Small numbers, so that many are equal. */
const anyValues = fc.dictionary(fc.constantFrom(...IDS, "l", "m", "n"), fc.nat(6));

/** By definition: a value that more than half of the group reach. */
function isReachedByMajority(
  voters: readonly string[],
  values: Record<string, number>,
  value: number,
): boolean {
  return voters.filter((id) => (values[id] ?? 0) >= value).length * 2 > voters.length;
}

describe("a quorum", () => {
  it("reaches the greatest value that more than half of each group of voters reach [C2]", () => {
    fc.assert(
      fc.property(anyConfig, anyValues, (config, values) => {
        const reached = [0, 1, 2, 3, 4, 5, 6].filter(
          (value) =>
            isReachedByMajority(config.voters, values, value) &&
            (config.outgoingVoters.length === 0 || isReachedByMajority(config.outgoingVoters, values, value)),
        );
        expect(quorumValue(config, (id) => values[id] ?? 0)).toBe(reached.at(-1));
      }),
      { numRuns: 1000 },
    );
  });

  it("is in favour exactly if more than half of each group of voters are [C2]", () => {
    fc.assert(
      fc.property(anyConfig, fc.uniqueArray(fc.constantFrom(...IDS, "l", "m", "n")), (config, inFavour) => {
        const values = Object.fromEntries(inFavour.map((id) => [id, 1]));
        const expected =
          isReachedByMajority(config.voters, values, 1) &&
          (config.outgoingVoters.length === 0 || isReachedByMajority(config.outgoingVoters, values, 1));
        expect(hasQuorum(config, (id) => inFavour.includes(id))).toBe(expected);
      }),
      { numRuns: 1000 },
    );
  });

  it("overlaps with every other quorum of the configuration [C2]", () => {
    fc.assert(
      fc.property(anyConfig, fc.uniqueArray(fc.constantFrom(...IDS)), (config, side) => {
        const one = hasQuorum(config, (id) => side.includes(id));
        const other = hasQuorum(config, (id) => !side.includes(id));
        expect(one && other).toBe(false);
      }),
      { numRuns: 1000 },
    );
  });

  it("needs two of two, two of three, and three of four and of five [C2]", () => {
    for (const [count, needed] of [
      [1, 1],
      [2, 2],
      [3, 2],
      [4, 3],
      [5, 3],
    ] as const) {
      const config = configOf(IDS.slice(0, count));
      for (let votes = 0; votes <= count; votes++) {
        expect(hasQuorum(config, (id) => IDS.indexOf(id) < votes)).toBe(votes >= needed);
      }
    }
  });

  it("does not exist without voters, and does not count learners", () => {
    expect(hasQuorum({ voters: [], outgoingVoters: [], learners: ["l"] }, () => true)).toBe(false);
    expect(quorumValue(configOf(["a", "b", "c"], ["l", "m"]), (id) => (id > "k" ? 9 : 0))).toBe(0);
  });
});
