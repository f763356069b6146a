import { describe, expect, it } from "vitest";
import { formatHistory, parseHistory } from "../linearizability/index.ts";
import { KEPT_SEEDS } from "./kept-seeds.ts";
import type { Fault } from "./plan/faults.ts";
import { planOf } from "./plan/make-plan.ts";
import { hasOnlyHarmlessFaults, type Plan } from "./plan/plan.ts";
import { shrink } from "./shrink.ts";
import { simulate, type RunResult } from "./simulate.ts";

/** Only a few: `npm run check` and `npm run sim` run whole seeds by the hundred. */
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

/** The plan of the first seed that has such a fault, and wasn't steered to have it beside others. */
function firstWith(fits: (fault: Fault) => boolean): Plan {
  for (let seed = 1; ; seed++) {
    const plan = planOf(seed, false);
    if (plan.faults.some(fits)) return plan;
  }
}

/** The reads of clients that stay with a node whatever it does, after the first such fault. */
function readersIn(trace: readonly string[], fault: Fault["type"]): string[] {
  const at = trace.findIndex((line) => line.includes(`fault {"type":"${fault}"`));
  return trace.slice(at).filter((line) => line.includes("stubborn") && line.includes(" get "));
}

describe("simulate", () => {
  it.each(["tcp", "datagrams"] as const)("gives the same trace for the same plan, over %s", async (kind) => {
    const plan = firstPlan(
      ({ transport, nodes, faults }) => transport === kind && nodes === 3 && faults.length > 5,
    );
    const [one, two] = [await simulate(plan, { fullTrace: true }), await simulate(plan, { fullTrace: true })];
    expect(one.violation).toBeNull();
    expect(one.trace.length).toBeGreaterThan(100);
    expect(two.trace).toEqual(one.trace);
    expect(two.traceHash).toBe(one.traceHash);
  });

  it("returns the history of all calls, which as text is still the same", async () => {
    const plan = firstPlan(({ nodes }) => nodes === 3);
    const { history, clients } = await simulate(plan);
    const done = history.filter(({ outcome }) => outcome === "done");
    expect(done.length).toBeGreaterThan(10);
    expect(done.length).toBeLessThanOrEqual(clients.writesDone + clients.readsDone);
    expect(parseHistory(formatHistory(history))).toEqual(history);
  });

  it("gives another trace for another seed", async () => {
    const plan = firstPlan(({ nodes }) => nodes === 3);
    const [one, two] = [await simulate(plan), await simulate({ ...plan, seed: plan.seed + 1 })];
    expect(two.traceHash).not.toBe(one.traceHash);
  });

  it("does the same with and without the reference model", async () => {
    const plan = planOf(8);
    expect(plan.checksModel).toBe(true);
    const [one, two] = [await simulate(plan), await simulate({ ...plan, checksModel: false })];
    expect(two.traceHash).toBe(one.traceHash);
  });

  it("finds no violation in some short runs, one of them without harmful faults", async () => {
    let committed = 0;
    for (let seed = 1; seed <= SEEDS; seed++) {
      const result = await simulate(shortened(planOf(seed)));
      expect(result.violation, `seed ${seed}`).toBeNull();
      committed += result.committed;
    }
    expect(committed).toBeGreaterThan(SEEDS);
    const harmless = await simulate(firstPlan((plan) => hasOnlyHarmlessFaults(plan) && plan.nodes === 3));
    expect(harmless.violation).toBeNull();
  });

  it("crashes a leader of two voters when only its own disk holds its removal (M18)", async () => {
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

  it("reads from a leader that transferred leadership and doesn't hear the new leader, without a stale answer (L6)", async () => {
    const plan = firstWith((fault) => fault.type === "deaf-handover" && fault.target === "hears");
    const { violation, trace } = await simulate(plan, { fullTrace: true });
    expect(violation).toBeNull();
    const toldAt = trace.findIndex((line) => line.includes('"type":"timeout-now"'));
    const [, old, successor] = / (n\d) to (n\d) /.exec(trace[toldAt] ?? "") ?? [];
    const ledAt = trace.findIndex((line) =>
      line.includes(` ${String(successor)} to ${String(old)} {"type":"append-entries"`),
    );
    expect(ledAt).toBeGreaterThan(toldAt);
    expect(
      trace.slice(ledAt).some((line) => line.includes("stubborn 1 r") && line.endsWith(` at ${String(old)}`)),
    ).toBe(true);
  });

  it("reads from a leader that removed itself from two voters, without a stale answer (L5)", async () => {
    const plan = firstWith((fault) => fault.type === "change" && fault.how === "bequeath");
    const { violation, trace } = await simulate(plan, { fullTrace: true });
    expect(violation).toBeNull();
    const left = trace.findIndex((line) => line.includes("wants to bequeath"));
    const [, old] = /"remove":\["(n\d)"\]/.exec(trace[left] ?? "") ?? [];
    expect(
      trace.slice(left).some((line) => line.includes("stubborn 1 r") && line.endsWith(` at ${String(old)}`)),
    ).toBe(true);
  });

  it("fails an installation, and lets a node lead next that has an older snapshot (Z9)", async () => {
    const plan = firstWith(({ type }) => type === "failed-installation");
    const fault: Fault = {
      type: "failed-installation",
      at: 500,
      error: "no-handles",
      hasOlder: true,
      ms: 300,
      pauseMs: 900,
    };
    const { violation, trace } = await simulate({ ...plan, faults: [fault] }, { fullTrace: true });
    expect(violation).toBeNull();
    const offers = trace.flatMap((line) => {
      const [, from, index] = / (n\d) to n\d \{"type":"install-snapshot".*"index":(\d+)/.exec(line) ?? [];
      return from === undefined ? [] : [{ from, index: Number(index) }];
    });
    const [first] = offers;
    const next = offers.find(({ from }) => from !== first?.from);
    expect(next?.index).toBeLessThan(first?.index ?? 0);
  });

  it("completes a snapshot at a node to which another leader has sent the entries that it covers (S18)", async () => {
    const plan = firstWith(({ type }) => type === "contested-fetch");
    const slow = { logDelayMs: 0, applyDelayMs: 20 };
    const fault: Fault = { type: "contested-fetch", at: 500, ms: 300, ...slow, until: "log", entriesLeft: 0 };
    const { violation, trace } = await simulate({ ...plan, faults: [fault] }, { fullTrace: true });
    expect(violation).toBeNull();
    const endAt = trace.findIndex((line) => line.includes('"type":"snapshot-end"'));
    const [, receiver] = / (n\d) to n\d \{"type":"snapshot-end"/.exec(trace[endAt] ?? "") ?? [];
    const before = trace.slice(0, endAt);
    const indexIn = (part: string, pattern: RegExp): number =>
      Math.max(...before.map((line) => (line.includes(part) ? Number(pattern.exec(line)?.[1] ?? 0) : 0)));
    const covered = indexIn('"type":"install-snapshot"', /"index":(\d+)/);
    const acknowledged = indexIn(` ${String(receiver)} to `, /"type":"append-entries-reply".*"match":(\d+)/);
    expect(covered).toBeGreaterThan(0);
    expect(acknowledged).toBeGreaterThanOrEqual(covered);
  });

  it("crashes a process at a call to its disk just after a snapshot's file is complete (S4)", async () => {
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

  it("tells which faults found something to strike", async () => {
    const sole = firstPlan(({ nodes, stage }) => nodes === 1 && stage === null);
    const loss = { type: "lossy", at: 10, link: null, drop: 0, duplicate: 0, ms: 50 } as const;
    const errors = { type: "disk-error", error: "io-error", powerCutAfterMs: null, node: 0 } as const;
    const faults: Fault[] = [
      loss,
      { type: "wipe", at: 20, node: 0 },
      { type: "crash", at: 100, node: 0, ms: 10 },
    ];
    const one = await simulate({ ...sole, faults });
    expect(one.faults).toEqual(new Map([...faults.map(({ type }) => [type, 1] as const)]));
    expect(one.met).toContain("one node");
    expect(one.met.filter((name) => one.faults.has(name as Fault["type"]))).toEqual(["crash"]);
    const other = await simulate({ ...sole, faults: [{ ...errors, at: 200 }] });
    expect(other.met).toContain("disk-error");
  });

  it("loses a candidate for good when another node's vote for it is durable (E11)", async () => {
    const plan = firstWith((fault) => fault.type === "destroy" && fault.atVote);
    const { violation, trace } = await simulate(plan, { fullTrace: true });
    expect(violation).toBeNull();
    const lostAt = trace.findIndex((line) => line.endsWith("is lost for good"));
    const [, lost] = / (n\d) is lost for good/.exec(trace[lostAt] ?? "") ?? [];
    const asks = (line: string): boolean =>
      line.includes(` ${String(lost)} to `) && line.includes('"request-vote"');
    expect(trace.slice(0, lostAt).some(asks)).toBe(true);
    expect(trace.slice(lostAt).some((line) => line.endsWith(` ${String(lost)} is up`))).toBe(false);
  });

  it.each(["learners", "removed"] as const)(
    "reads from a leader that hears its %s only, while the voters elect another (Q6)",
    async (hears) => {
      const plan = firstWith((fault) => fault.type === "leader-without-voters" && fault.hears === hears);
      const { violation, trace } = await simulate({ ...plan, checkQuorum: false }, { fullTrace: true });
      expect(violation).toBeNull();
      const readers = readersIn(trace, "leader-without-voters");
      expect(readers.length).toBeGreaterThan(0);
      // A read that arrives during the cut isn't answered from there.
      const cut = trace.findIndex((line) => line.includes('fault {"type":"leader-without-voters"'));
      const [asked = ""] = readers;
      const [, call] = / (r\d+) get /.exec(asked) ?? [];
      expect(
        trace.slice(cut).some((line) => line.includes(` ${String(call)} `) && !line.includes(" get ")),
      ).toBe(true);
    },
  );

  it("reads from a sole voter from the moment at which it runs again (L1)", async () => {
    const plan = firstWith(({ type }) => type === "restart-under-reads");
    const { violation, trace } = await simulate(plan, { fullTrace: true });
    expect(violation).toBeNull();
    expect(plan.nodes).toBe(1);
    expect(readersIn(trace, "restart-under-reads").length).toBeGreaterThan(0);
  });

  it.each(KEPT_SEEDS)("finds no violation in a seed kept because $why", async ({ seed }) => {
    expect((await simulate(planOf(seed))).violation).toBeNull();
  });
});

describe("a failing run", () => {
  const flip: Fault = { type: "bit-flip", at: 100, node: 0, ms: 50 };
  const quiet = (at: number): Fault => ({ type: "quiet", at, ms: 10 });
  const base: Plan = {
    ...firstPlan(({ nodes, stage }) => nodes === 1 && stage === null),
    faults: [quiet(20), flip, quiet(150), quiet(200)],
    preVote: true,
  };

  /**
   * A sole node whose damaged disk keeps it from starting, so that no leader is left. The damage does this by
   * itself, too.
   */
  async function runWithoutLeader(): Promise<RunResult> {
    for (let seed = 1; ; seed++) {
      const result = await simulate({ ...base, seed });
      const small = await simulate({ ...base, seed, faults: [flip] });
      if (result.violation !== null && small.violation !== null) return result;
    }
  }
  let running: Promise<RunResult> | null = null;
  const failing = (): Promise<RunResult> => (running ??= runWithoutLeader());

  it("names the invariant that broke, and the trace ends there", async () => {
    const { violation, trace } = await failing();
    expect(violation).toMatchObject({ code: "LIVE" });
    expect(violation?.message).toContain("n1 refused");
    expect(trace.at(-1)).toContain("broken: LIVE");
  });

  it("shrinks to one fault and one client that break the same invariant", async () => {
    const small = await shrink(await failing(), { runsMax: 12 });
    expect(small.violation?.code).toBe("LIVE");
    expect(small.plan.faults).toEqual([flip]);
    expect(small.plan.clients).toBe(1);
  });

  it("is returned as it is if no smaller run may be tried", async () => {
    const result = await failing();
    expect(await shrink(result, { runsMax: 0 })).toBe(result);
  });
});
