import { describe, expect, it } from "vitest";
import { KEPT_SEEDS } from "../kept-seeds.ts";
import { FAULT_NAMES, featuresOf, whyNever, WORKLOAD_NAMES, type Feature } from "./features.ts";
import type { FaultType } from "./faults.ts";
import { planOf } from "./make-plan.ts";
import { combinations, isSteered, PAIRED_EVERY } from "./paired-plans.ts";

/** What some runs of every kind get besides. */
const ADDED_TO_ANY: readonly FaultType[] = ["clock-jump", "second-process", "begin-anew", "hostile-peer"];

describe("combinations", () => {
  it("contain each pair of faults and workloads that a run can have, and no other", () => {
    const features: readonly Feature[] = [...FAULT_NAMES, ...WORKLOAD_NAMES];
    const all = combinations().map(({ faults, workloads }) => new Set<Feature>([...faults, ...workloads]));
    for (const [at, a] of features.entries())
      for (const b of features.slice(at + 1)) {
        const together = all.some((one) => one.has(a) && one.has(b));
        expect(together, `${a} and ${b}`).toBe(whyNever(a, b) === null);
      }
  });
});

describe("steered plans", () => {
  it("have the faults and workloads of the combination whose turn it is", () => {
    const all = combinations();
    const seeds = Array.from({ length: PAIRED_EVERY * all.length }, (_, seed) => seed).filter(isSteered);
    for (const seed of seeds) {
      const plan = planOf(seed);
      expect(plan.stage).toBeNull();
      const { faults = [], workloads = [] } = all[Math.floor(seed / PAIRED_EVERY)] ?? {};
      expect(featuresOf(plan), `seed ${String(seed)}`).toEqual(
        expect.arrayContaining([...faults, ...workloads]),
      );
      const types = new Set(plan.faults.map(({ type }) => type));
      expect([...types].filter((type) => ![...faults, ...ADDED_TO_ANY].includes(type))).toEqual([]);
    }
    expect(seeds.length).toBeGreaterThanOrEqual(all.length - 1);
  });

  it("leave the seeds that were kept as they were", () => {
    expect(KEPT_SEEDS.filter(({ seed }) => isSteered(seed))).toEqual([]);
  });
});
