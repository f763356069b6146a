import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { planOf, simulate, type RunResult } from "keelson/testing";

import { failureOf, reportOf } from "./sim-report.ts";

/** Damages the disk of the only node, so that the run must fail. */
async function failingRun(): Promise<RunResult> {
  for (let seed = 1; ; seed++) {
    const plan = planOf(seed);
    if (plan.nodes !== 1) continue;
    const result = await simulate({
      ...plan,
      faultyMs: 300,
      faults: [{ type: "bit-flip", at: 100, node: 0, ms: 50 }],
    });
    if (result.violation !== null) return result;
  }
}

/** The command in a line, as script and arguments. */
function commandIn(lines: readonly string[]): string[] {
  const [, command = ""] = /again: npm run (.*)$/.exec(lines.at(-1) ?? "") ?? [];
  return command.split(" ");
}

describe("the report of a failed run", () => {
  it("names the violation, the faults that it takes, and the steps that led to it", async () => {
    const result = await failingRun();
    const { message = "" } = result.violation ?? {};
    expect(failureOf({ seed: 7, store: "sim" }, message)[0]).toBe(`seed 7 broke ${message}`);
    const text = reportOf({ seed: 7, store: "sim" }, result).join("\n");
    expect(text).toContain('{"type":"bit-flip","at":100,"node":0,"ms":50}');
    expect(text).toContain(`broke ${message}; the steps that led there:`);
    expect(text).toContain(`broken: ${message}`);
  });

  it("ends with the command that runs the seed again", async () => {
    const result = await failingRun();
    const { seed } = result.plan;
    const { scripts } = JSON.parse(
      readFileSync(path.join(import.meta.dirname, "../../package.json"), "utf8"),
    ) as { scripts: Record<string, string> };
    for (const store of ["sim", "kv"]) {
      const run = { seed, store };
      for (const lines of [failureOf(run, "x"), reportOf(run, result)]) {
        const [script = "", ...args] = commandIn(lines);
        expect(scripts[script]).toContain("scripts/sim.ts");
        const more = store === "sim" ? [] : ["--store", store];
        expect(args).toEqual(["--", "--replay", String(seed), ...more]);
      }
    }
  });
});
