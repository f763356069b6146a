import { describe, expect, it } from "vitest";
import { SimulatedClock } from "../../../environment/simulated/simulated-clock.ts";
import { planOf } from "../plan/make-plan.ts";
import type { SimProcess } from "../world/sim-process.ts";
import { OpenCalls } from "./open-calls.ts";

const PLAN = planOf(1);
/**
 * A write on a node that doesn't lead must have ended after this time, and a call with a time limit of 5 s
 * after the second.
 */
const STEP_DOWN_MS = PLAN.electionTimeoutMs.max + 300;
const TIMEOUT_MS = 5_000;
const OVERDUE_MS = TIMEOUT_MS + 1_000;

function setUp() {
  const clock = new SimulatedClock(0);
  const checker = { chains: { used: () => undefined } };
  const plan = { ...PLAN, usage: { ...PLAN.usage, listeners: null } };
  const calls = new OpenCalls({ plan, clock, checker, trace: () => undefined } as never);
  const process = {
    ...{ id: "n1", isPaused: false, timersAreLate: false, resumedAt: -Infinity },
    clockConditions: { rate: 1 },
    announced: { role: "leader" },
    core: { leader: "n1" as string | null },
    state: () => ({ appliedIndex: 5, commitIndex: 5 }),
  };
  const begin = (isWrite: boolean, waitsForLeader = false) =>
    calls.begin({
      ...{ process: process as unknown as SimProcess, op: "w1", isWrite, name: null, open: null },
      ...{ timeoutMs: TIMEOUT_MS, waitsForLeader, ended: () => undefined },
    });
  /** As at the end of each turn, of which there is one in 10 ms. */
  const pass = async (ms: number): Promise<void> => {
    for (let at = 0; at < ms; at += 10) {
      await clock.advance(10);
      calls.checkBounds();
    }
  };
  return { calls, process, begin, pass };
}

describe("OpenCalls", () => {
  it("reports a write that stays open on a node which stopped leading (KNOWN)", async () => {
    const { process, begin, pass } = setUp();
    begin(true);
    await pass(STEP_DOWN_MS * 2);
    process.announced.role = "follower";
    await pass(STEP_DOWN_MS);
    await expect(pass(20)).rejects.toThrow("KNOWN: n1 has not led");
  });

  it("counts the time without leadership anew when the node has led again, and for each write", async () => {
    const { calls, process, begin, pass } = setUp();
    const first = begin(true);
    process.announced.role = "follower";
    await pass(STEP_DOWN_MS - 50);
    process.announced.role = "leader";
    await pass(20);
    process.announced.role = "follower";
    await pass(STEP_DOWN_MS - 50);
    begin(true);
    calls.end(first, "unknown", "");
    await pass(STEP_DOWN_MS - 50);
    await expect(pass(100)).rejects.toThrow("KNOWN: n1 has not led");
  });

  it("lets a write wait that was made on a node without leader, and only until that node knows one", async () => {
    const { process, begin, pass } = setUp();
    process.announced.role = "follower";
    process.core.leader = null;
    begin(true, true);
    await pass(STEP_DOWN_MS * 3);
    process.core.leader = "n2";
    await pass(STEP_DOWN_MS);
    await expect(pass(20)).rejects.toThrow("KNOWN: n1 has not led");
  });

  it("reports a write that its node proposed as leader, though no leader is known since", async () => {
    const { process, begin, pass } = setUp();
    begin(true);
    process.announced.role = "follower";
    process.core.leader = null;
    await pass(STEP_DOWN_MS);
    await expect(pass(20)).rejects.toThrow("KNOWN: n1 has not led");
  });

  it("reports a call that is open long after its time limit, and none before (KNOWN)", async () => {
    const { calls, process, begin, pass } = setUp();
    calls.end(begin(false), "done", "");
    await pass(OVERDUE_MS - 500);
    begin(false);
    await pass(OVERDUE_MS);
    process.isPaused = true;
    await pass(100);
    process.isPaused = false;
    await expect(pass(20)).rejects.toThrow("KNOWN: w1 at n1 has not ended");
  });
});
