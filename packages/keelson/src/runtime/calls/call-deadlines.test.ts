import { describe, expect, it } from "vitest";
import { simulatedEnvironment } from "../../environment/simulated/simulated-environment.ts";
import { CallDeadlines, type Expiring } from "./call-deadlines.ts";

function watcher(): {
  environment: ReturnType<typeof simulatedEnvironment>;
  expired: string[];
  item: (name: string, afterMs: number) => Expiring;
} {
  const environment = simulatedEnvironment();
  const expired: string[] = [];
  return {
    environment,
    expired,
    item: (name, afterMs) => ({
      deadline: environment.now() + afterMs,
      expire: () => expired.push(name),
    }),
  };
}

describe("deadlines", () => {
  it("expire in order, up to a step late and never early, under one timer", async () => {
    const { environment, expired, item } = watcher();
    const deadlines = new CallDeadlines(environment);
    for (const ms of [90, 10, 50, 1000, 11]) deadlines.add(item(String(ms), ms));
    expect(environment.clock.pendingTimers).toBe(1);
    await environment.clock.advance(9);
    expect(expired).toEqual([]);
    await environment.clock.advance(22);
    expect(expired).toEqual(["10", "11"]);
    await environment.clock.advance(80);
    expect(expired).toEqual(["10", "11", "50", "90"]);
    await environment.clock.advance(1000);
    expect(expired.at(-1)).toBe("1000");
    expect([deadlines.size, environment.clock.pendingTimers]).toEqual([0, 0]);
  });

  it("that are reached together expire in several turns, each limited, and all of them (Z19)", () => {
    const timers: (() => void)[] = [];
    let now = 0;
    const deadlines = new CallDeadlines({
      ...simulatedEnvironment(),
      now: () => now,
      setTimer: (_delayMs, callback) => {
        timers.push(callback);
        return { cancel: () => undefined };
      },
    });
    let expired = 0;
    const item = (): Expiring => ({
      deadline: 50,
      expire: () => {
        expired += 1;
      },
    });
    for (let at = 0; at < 3000; at++) deadlines.add(item());
    now = 100;
    const afterEach: number[] = [];
    for (const fire of timers) {
      fire();
      afterEach.push(expired);
    }
    expect(afterEach).toEqual(Array.from({ length: 24 }, (_, turn) => Math.min(3000, (turn + 1) * 128)));
    expect(deadlines.size).toBe(0);
  });

  it("do not expire when they were deleted or are infinite", async () => {
    const { environment, expired, item } = watcher();
    const deadlines = new CallDeadlines(environment);
    const taken = item("taken back", 50);
    deadlines.add(taken);
    deadlines.add(item("kept", 50));
    deadlines.add(item("never", Infinity));
    deadlines.delete(taken);
    await environment.clock.advance(10_000);
    expect(expired).toEqual(["kept"]);
  });

  it("may be added while others expire", async () => {
    const { environment, expired, item } = watcher();
    const deadlines = new CallDeadlines(environment);
    deadlines.add({
      deadline: environment.now() + 10,
      expire: () => {
        deadlines.add(item("next", 30));
      },
    });
    await environment.clock.advance(100);
    expect(expired).toEqual(["next"]);
  });

  it("leave no timer when they are stopped", () => {
    const { environment, item } = watcher();
    const deadlines = new CallDeadlines(environment);
    deadlines.add(item("x", 10));
    deadlines.stop();
    expect([deadlines.size, environment.clock.pendingTimers]).toEqual([0, 0]);
  });
});
