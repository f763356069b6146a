import { describe, expect, it } from "vitest";
import { KEPT_SEEDS } from "./kept-seeds.ts";
import type { Fault } from "./plan/faults.ts";
import { planOf } from "./plan/make-plan.ts";
import { hasOnlyHarmlessFaults, type Plan } from "./plan/plan.ts";
import { shrink } from "./shrink.ts";
import { simulate, type RunResult } from "./simulate.ts";

/** Whole seeds are run by the hundred elsewhere (`npm run check`, `npm run sim`). */
const SEEDS = 5;

const SHORT = { faultyMs: 500, clients: 2, thinkMs: 20 } as const;

function shortened(plan: Plan): Plan {
  return { ...plan, ...SHORT, faults: plan.faults.filter(({ at }) => at < SHORT.faultyMs) };
}

function firstPlan(fits: (plan: Plan) => boolean): Plan {
  for (let seed = 1; ; seed++) {
    const plan = planOf(seed);
    if (fits(plan)) return shortened(plan);
  }
}

/** The plan of the first seed that has such a fault. */
function firstWith(fits: (fault: Fault) => boolean): Plan {
  for (let seed = 1; ; seed++) {
    const plan = planOf(seed);
    if (plan.faults.some(fits)) return plan;
  }
}

describe("a simulation", () => {
  it.each(["tcp", "datagrams"] as const)(
    "does the same things at the same times again, over %s",
    async (kind) => {
      const plan = firstPlan(
        ({ transport, nodes, faults }) => transport === kind && nodes === 3 && faults.length > 5,
      );
      const [one, two] = [
        await simulate(plan, { fullTrace: true }),
        await simulate(plan, { fullTrace: true }),
      ];
      expect(one.violation).toBeNull();
      expect(one.trace.length).toBeGreaterThan(100);
      expect(two.trace).toEqual(one.trace);
      expect(two.traceHash).toBe(one.traceHash);
    },
  );

  it("does other things with another seed", async () => {
    const plan = firstPlan(({ nodes }) => nodes === 3);
    const [one, two] = [await simulate(plan), await simulate({ ...plan, seed: plan.seed + 1 })];
    expect(two.traceHash).not.toBe(one.traceHash);
  });

  it("finds that nothing broke in some short runs, a calm one among them", async () => {
    let committed = 0;
    for (let seed = 1; seed <= SEEDS; seed++) {
      const result = await simulate(shortened(planOf(seed)));
      expect(result.violation, `seed ${seed}`).toBeNull();
      committed += result.committed;
    }
    expect(committed).toBeGreaterThan(SEEDS);
    const calm = await simulate(firstPlan((plan) => hasOnlyHarmlessFaults(plan) && plan.nodes === 3));
    expect(calm.violation).toBeNull();
  });

  it("M18: lets a leader of two die over its own removal, which nobody else has heard of", async () => {
    const isStaged = (fault: Fault): boolean => fault.type === "change" && fault.how === "retire";
    let seed = 1;
    while (!planOf(seed).faults.every(isStaged) || planOf(seed).faults.length === 0) seed++;
    const { violation, trace } = await simulate(planOf(seed), { fullTrace: true });
    expect(violation).toBeNull();
    const asked = trace.findIndex((line) => line.includes("wants to retire"));
    const leaver = /"remove":\["(n\d)"\]/.exec(trace[asked] ?? "")?.[1];
    const ends = trace.slice(asked).filter((line) => / is (dead|up)$|the members are/.test(line));
    expect(ends[0]).toContain(`${String(leaver)} is dead`);
    expect(ends[1]).toContain(`${String(leaver)} is up`);
  });

  it("L6: asks a leader that handed over and does not hear who leads now, and gets no old answer", async () => {
    const plan = firstWith(({ type }) => type === "deaf-handover");
    const { violation, trace } = await simulate(plan, { fullTrace: true });
    expect(violation).toBeNull();
    const toldAt = trace.findIndex((line) => line.includes('"type":"timeout-now"'));
    const [, old, heir] = / (n\d) to (n\d) /.exec(trace[toldAt] ?? "") ?? [];
    const ledAt = trace.findIndex((line) =>
      line.includes(` ${String(heir)} to ${String(old)} {"type":"append-entries"`),
    );
    expect(ledAt).toBeGreaterThan(toldAt);
    expect(
      trace.slice(ledAt).some((line) => line.includes("stubborn 1 r") && line.endsWith(` at ${String(old)}`)),
    ).toBe(true);
  });

  it("L5: asks a leader that leaves everything to one heir, and gets no old answer", async () => {
    const plan = firstWith((fault) => fault.type === "change" && fault.how === "bequeath");
    const { violation, trace } = await simulate(plan, { fullTrace: true });
    expect(violation).toBeNull();
    const left = trace.findIndex((line) => line.includes("wants to bequeath"));
    const [, old] = /"remove":\["(n\d)"\]/.exec(trace[left] ?? "") ?? [];
    expect(
      trace.slice(left).some((line) => line.includes("stubborn 1 r") && line.endsWith(` at ${String(old)}`)),
    ).toBe(true);
  });

  it("S4: lets a process die at a call to its disk, soon after the file of a snapshot was complete", async () => {
    const plan = firstWith(({ type }) => type === "crash-at-snapshot");
    const faults = plan.faults.filter(({ type }) => type === "crash-at-snapshot" || type === "snapshot");
    const { violation, trace } = await simulate({ ...plan, faults }, { fullTrace: true });
    expect(violation).toBeNull();
    const faulty = trace.slice(
      0,
      trace.findIndex((line) => line.endsWith(" heal")),
    );
    expect(faulty.some((line) => line.endsWith(" is dead"))).toBe(true);
  });

  it.each(KEPT_SEEDS)("holds where it once did not: $why", async ({ seed }) => {
    expect((await simulate(planOf(seed))).violation).toBeNull();
  });
});

describe("a run that fails", () => {
  const flip: Fault = { type: "bit-flip", at: 100, node: 0, ms: 50 };
  const quiet = (at: number): Fault => ({ type: "quiet", at, ms: 10 });
  const base: Plan = {
    ...firstPlan(({ nodes }) => nodes === 1),
    faults: [quiet(20), flip, quiet(150), quiet(200)],
    preVote: true,
  };

  /** One node, and its disk is damaged where it hurts: nobody is left to lead. */
  async function lostRun(): Promise<RunResult> {
    for (let seed = 1; ; seed++) {
      const result = await simulate({ ...base, seed });
      if (result.violation !== null) return result;
    }
  }
  let running: Promise<RunResult> | null = null;
  const lost = (): Promise<RunResult> => (running ??= lostRun());

  it("says what broke, and when", async () => {
    const { violation, trace } = await lost();
    expect(violation).toMatchObject({ code: "LIVE" });
    expect(violation?.message).toContain("n1 refused");
    expect(trace.at(-1)).toContain("broken: LIVE");
  });

  it("is made smaller, and breaks the same", async () => {
    const small = await shrink(await lost(), { runsMax: 12 });
    expect(small.violation?.code).toBe("LIVE");
    expect(small.plan.faults).toEqual([flip]);
    expect(small.plan.clients).toBe(1);
  });

  it("is left as it is when no smaller one may be tried", async () => {
    const result = await lost();
    expect(await shrink(result, { runsMax: 0 })).toBe(result);
  });
});
