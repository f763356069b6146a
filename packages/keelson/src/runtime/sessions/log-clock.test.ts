import { describe, expect, it } from "vitest";
import { LOG_TIME_STEP_MS_MAX } from "../../codec/session-entry.ts";
import { TestCluster } from "../test/test-cluster.ts";
import { LogClock } from "./log-clock.ts";

const HOUR = 3_600_000;

describe("the log's clock", () => {
  it("adds the time that the node has led to the log's time at the start of its term", () => {
    const parts = { now: 50 };
    const table = { logTimeMs: 1000, size: 1, isKnown: true };
    const clock = new LogClock({
      ...{ core: { term: 1 }, table, stepMs: null },
      environment: { now: () => parts.now },
    });
    clock.begin();
    parts.now += 300.7;
    expect(clock.read()).toBe(1300);
    parts.now += 0.3;
    expect(clock.read()).toBe(1301);
  });

  it("starts anew with each term, so time stands still during an election", () => {
    const parts = { now: 50 };
    const core = { term: 1 };
    const table = { logTimeMs: 1000, size: 1, isKnown: true };
    const clock = new LogClock({ ...{ core, table, stepMs: null }, environment: { now: () => parts.now } });
    clock.begin();
    parts.now += 5000;
    core.term = 3;
    clock.begin();
    parts.now += 10;
    expect(clock.read()).toBe(1010);
  });

  it("stays within one step of the applied time, however long nothing could be proposed (Z13)", () => {
    const parts = { now: 50 };
    const table = { logTimeMs: 1000, size: 1, isKnown: true };
    const clock = new LogClock({
      ...{ core: { term: 1 }, table, stepMs: null },
      environment: { now: () => parts.now },
    });
    clock.begin();
    parts.now += HOUR;
    expect(clock.read()).toBe(1000 + LOG_TIME_STEP_MS_MAX);
    table.logTimeMs += LOG_TIME_STEP_MS_MAX;
    expect(clock.read()).toBe(1000 + LOG_TIME_STEP_MS_MAX);
  });

  it("is due to be told while sessions are open", () => {
    const parts = { now: 50 };
    const table = { logTimeMs: 1000, size: 1, isKnown: true };
    const clock = new LogClock({
      ...{ core: { term: 1 }, table, stepMs: null },
      environment: { now: () => parts.now },
    });
    clock.begin();
    expect(clock.isTickDue).toBe(false);
    parts.now += LOG_TIME_STEP_MS_MAX / 2;
    expect(clock.isTickDue).toBe(true);
    table.size = 0;
    expect(clock.isTickDue).toBe(false);
  });

  it("is due to be told while the state machine uses it, and a step before a command", () => {
    const parts = { now: 50 };
    const core = { term: 1 };
    const table = { logTimeMs: 1000, size: 0, isKnown: true };
    const clock = new LogClock({ ...{ core, table, stepMs: 100 }, environment: { now: () => parts.now } });
    clock.begin();
    parts.now += 99;
    expect(clock.isStepDue).toBe(false);
    parts.now += 1;
    expect(clock.isStepDue).toBe(true);
    expect(clock.isTickDue).toBe(false);
    expect(clock.read()).toBe(1100);
    expect(clock.isStepDue).toBe(false);
    parts.now += LOG_TIME_STEP_MS_MAX / 2;
    expect(clock.isTickDue).toBe(true);
    // A new leader counts from its own first call on.
    core.term = 2;
    expect(clock.isStepDue).toBe(false);
  });

  it("is never due where the table isn't known, since the entry would stop the node", () => {
    const parts = { now: 50 };
    const table = { logTimeMs: 0, size: 0, isKnown: false };
    const clock = new LogClock({
      ...{ core: { term: 1 }, table, stepMs: 100 },
      environment: { now: () => parts.now },
    });
    clock.begin();
    parts.now += HOUR;
    expect([clock.isStepDue, clock.isTickDue]).toEqual([false, false]);
  });
});

describe("the sessions of a cluster", () => {
  it.each([
    ["an hour ahead", HOUR],
    ["ten years ahead", 10 * 365 * 24 * HOUR],
    ["an hour back", -HOUR],
  ])("neither end early nor live on when the wall clocks jump %s (Z13)", async (_what, jumpMs) => {
    let offsetMs = 0;
    const cluster = new TestCluster();
    const own = cluster.world.environment.bind(cluster.world);
    cluster.world.environment = (...args: Parameters<typeof own>) => {
      const environment = own(...args);
      return { ...environment, wallClock: () => environment.wallClock() + offsetMs };
    };
    for (const id of ["a", "b", "c"]) await cluster.open(id);
    await cluster.finish(cluster.raft("a").initialize(cluster.members()));
    const { raft } = await cluster.leader();
    const session = await cluster.finish(raft.openSession({ ttlMs: 15_000 }));
    const idle = await cluster.finish(raft.openSession({ ttlMs: 15_000 }));
    offsetMs = jumpMs;
    await cluster.advance(1000);
    expect(await cluster.finish(session.write("x"))).toBe(1);
    expect(await cluster.finish(idle.write("y"))).toBe(2);
    // Without any call, too: the leader tells the log the time.
    await cluster.advance(30_000);
    expect(raft.metrics().sessions.open).toBe(0);
    expect(await cluster.failure(session.write("z"))).toMatchObject({ code: "SESSION_EXPIRED" });
  });
});
