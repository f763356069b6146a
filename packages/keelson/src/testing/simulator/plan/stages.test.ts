import { describe, expect, it } from "vitest";
import { KEPT_SEEDS } from "../kept-seeds.ts";
import { EVEN_STAGES, isTurnOf } from "./stages.ts";

describe("stages that come at even distances", () => {
  it.each(EVEN_STAGES)("are one seed in every %i", (every, constant) => {
    for (let block = 0; block < 20; block++) {
      const seeds = Array.from({ length: every }, (_, at) => block * every + at);
      expect(seeds.filter((seed) => isTurnOf(seed, every, constant))).toHaveLength(1);
    }
  });

  it.each(EVEN_STAGES)("leave the seeds that were kept as they were, one in %i", (every, constant) => {
    const taken = KEPT_SEEDS.filter(({ seed }) => isTurnOf(seed, every, constant));
    expect(taken).toEqual([]);
  });
});
