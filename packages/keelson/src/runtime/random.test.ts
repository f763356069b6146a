import { describe, expect, it } from "vitest";
import { RandomRun, type RunSummary } from "./test/random-run.ts";

/**
 * Environment variables choose the seeds: KEELSON_SEEDS=5000 runs that many, KEELSON_FIRST_SEED=1000 starts
 * there.
 */
const FIRST = Number(process.env["KEELSON_FIRST_SEED"] ?? 1);
const COUNT = Number(process.env["KEELSON_SEEDS"] ?? 120);

describe("three nodes under random faults", () => {
  it(
    "lose no acknowledged write, apply the same commands, and serve no read too early",
    { timeout: 600_000 },
    async () => {
      const total: RunSummary = {
        acknowledged: 0,
        lost: 0,
        unknown: 0,
        refused: 0,
        reads: 0,
        crashes: 0,
        terms: 0,
      };
      for (let seed = FIRST; seed < FIRST + COUNT; seed++) {
        const summary = await new RandomRun(seed).run();
        for (const key of Object.keys(total) as (keyof RunSummary)[]) total[key] += summary[key];
      }
      // Guards the test itself: every kind of event must have occurred.
      for (const [what, count] of Object.entries(total)) expect(count, what).toBeGreaterThan(0);
      if (process.env["KEELSON_SEEDS"] !== undefined) console.log(total);
    },
  );
});
