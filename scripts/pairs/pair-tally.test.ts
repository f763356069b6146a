import { describe, expect, it } from "vitest";
import { commandOf, figuresOf, matrixOf, neverMet, reasonsOf } from "./pair-report.ts";
import { PairTally } from "./pair-tally.ts";

const FEATURES = ["crash", "cut", "lossy", "datagrams"] as const;
const why = (a: string, b: string): string | null => (a === "crash" && b === "cut" ? "made up" : null);

function tallyOf(runs: readonly (readonly string[])[]): PairTally {
  const tally = new PairTally(FEATURES, why);
  for (const met of runs) tally.add(met);
  return tally;
}

describe("PairTally", () => {
  const tally = tallyOf([
    ["cut", "lossy"],
    ["lossy", "cut", "unknown"],
    ["lossy", "datagrams", "crash"],
  ]);

  it("counts each pair that came together, in either order", () => {
    expect(tally.count("cut", "lossy")).toBe(2);
    expect(tally.count("datagrams", "crash")).toBe(1);
    expect(tally.count("cut", "datagrams")).toBe(0);
  });

  it("tells after how many runs a share of the possible pairs had met", () => {
    expect(tally.milestone(20).runs).toBe(1);
    expect(tally.milestone(80).runs).toBe(3);
    expect(tally.milestone(100).runs).toBeNull();
  });

  it("is printed with what never met and what can't", () => {
    expect(neverMet(tally)).toEqual(["cut: datagrams"]);
    expect(reasonsOf(tally)).toEqual(["1: made up"]);
    const runs = { from: 1, seeds: 3, isPlanned: false, isSteered: true };
    expect(figuresOf(tally, runs)[0]).toContain("5 pairs are possible, 4 met");
    expect(matrixOf(tally, FEATURES).map((line) => line.slice(14))).toEqual(["", ".", "12", "1-1"]);
  });
});

describe("commandOf", () => {
  it("names every option by which the counts came about", () => {
    const runs = { from: 7, seeds: 20, isPlanned: false, isSteered: true };
    expect(commandOf(runs)).toBe("npm run sim:pairs -- --from 7 --seeds 20 --docs");
    expect(commandOf({ ...runs, isPlanned: true, isSteered: false })).toBe(
      "npm run sim:pairs -- --from 7 --seeds 20 --planned --unsteered --docs",
    );
  });
});
