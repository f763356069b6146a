import { beforeEach, describe, expect, it } from "vitest";
import {
  simulatedEnvironment,
  type SimulatedEnvironment,
} from "../../environment/simulated/simulated-environment.ts";
import { DEFAULT_TIMINGS } from "../shared/index.ts";
import { StallWatch, type WatchedCall } from "./stall-watch.ts";

const NEVER = new Promise<never>(() => undefined);

let environment: SimulatedEnvironment;
let watch: StallWatch;
/** What the watch reported, in order. */
let events: string[];

beforeEach(() => {
  environment = simulatedEnvironment();
  events = [];
  watch = watchOn(environment);
});

function watchOn(on: SimulatedEnvironment): StallWatch {
  const timings = { ...DEFAULT_TIMINGS, stateStallMs: 1000, stateTimeoutMs: 5000 };
  const made = new StallWatch(on, timings, (level, text) => events.push(`${level}: ${text}`));
  made.attach({
    stallChanged: (isStalled) => events.push(isStalled ? "stalled" : "goes on"),
    hung: ({ message }) => events.push(message),
  });
  return made;
}

describe("StallWatch", () => {
  it("reports a stall, its end, and a hang, by the part and the call", async () => {
    const slow = Promise.withResolvers<number>();
    const call = watch.monitor("state-machine", "applying entry 7", () => slow.promise);
    await environment.clock.advance(1000);
    expect([events, watch.stall]).toEqual([[], null]);
    await environment.clock.advance(250);
    expect(events).toEqual([
      "warn: the state machine makes no progress: applying entry 7 has taken more than 1000 ms",
      "stalled",
    ]);
    expect(watch.stall).toEqual({ part: "state-machine", call: "applying entry 7", ms: 1250 });
    events.length = 0;
    slow.resolve(1);
    expect(await call).toBe(1);
    expect(events).toEqual(["info: the state machine goes on after a stall: applying entry 7", "goes on"]);
    expect(watch.stall).toBeNull();
    events.length = 0;
    void watch.monitor("snapshot-store", "writing to a snapshot", () => NEVER);
    await environment.clock.advance(60_000);
    expect(events.slice(2)).toEqual([
      "the snapshot store hangs: writing to a snapshot has made no progress for 5000 ms",
    ]);
  });

  it("counts the time since the last progress, of the call itself or of its part", async () => {
    let own: WatchedCall | undefined;
    void watch.monitor("state-machine", "restoring", (call) => {
      own = call;
      return NEVER;
    });
    void watch.monitor("snapshot-store", "checking", () => NEVER);
    void watch.monitor("snapshot-store", "syncing a file", () => NEVER, { sharesProgress: false });
    for (let n = 0; n < 20; n++) {
      await environment.clock.advance(900);
      own?.progress();
      watch.progress("snapshot-store");
    }
    // An operation of its own isn't excused by others of its part.
    expect(events.filter((event) => event.startsWith("the "))).toEqual([
      "the snapshot store hangs: syncing a file has made no progress for 5000 ms",
    ]);
    expect(watch.stall).toMatchObject({ call: "syncing a file" });
  });

  it("doesn't count a wait for another part", async () => {
    let own: WatchedCall | undefined;
    void watch.monitor("state-machine", "restoring", (call) => {
      own = call;
      call.wait();
      return NEVER;
    });
    await environment.clock.advance(60_000);
    watch.progress("state-machine");
    await environment.clock.advance(60_000);
    expect(events).toEqual([]);
    own?.progress();
    await environment.clock.advance(1300);
    expect(events).toContain("stalled");
  });

  it("reports the end of a stall only when no call is stalled any more", async () => {
    const calls = [Promise.withResolvers<undefined>(), Promise.withResolvers<undefined>()];
    for (const { promise } of calls) void watch.monitor("state-machine", "flushing", () => promise);
    await environment.clock.advance(1300);
    expect(events.filter((event) => event === "stalled")).toHaveLength(1);
    calls[0]?.resolve(undefined);
    await environment.clock.advance(1);
    expect(events).not.toContain("goes on");
    calls[1]?.resolve(undefined);
    await environment.clock.advance(1);
    expect(events.at(-1)).toBe("goes on");
  });

  it("tells a new host of a stall that it didn't see begin", async () => {
    void watch.monitor("state-machine", "opening it", () => NEVER);
    await environment.clock.advance(1300);
    const told: boolean[] = [];
    watch.attach({ stallChanged: (isStalled) => told.push(isStalled), hung: () => undefined });
    expect(told).toEqual([true]);
  });

  it("doesn't report a stall after the whole process was paused", async () => {
    // After a pause the overdue timer fires before the answer is handled.
    let check: () => void = () => undefined;
    let now = 0;
    const paused = watchOn({
      ...environment,
      now: () => now,
      setTimer: (_ms, callback) => {
        check = callback;
        return { cancel: () => undefined };
      },
    });
    const answer = Promise.withResolvers<string>();
    const call = paused.monitor("state-machine", "applying", () => answer.promise);
    now = 60_000;
    check();
    answer.resolve("applied");
    expect(await call).toBe("applied");
    check();
    expect(events).toEqual([]);
  });

  it("sets no timer after stop, and rejects with the call's own error", async () => {
    await expect(watch.monitor("state-machine", "x", () => Promise.reject(new Error("EIO")))).rejects.toThrow(
      "EIO",
    );
    await environment.clock.advance(1000);
    expect(environment.clock.pendingTimers).toBe(0);
    void watch.monitor("state-machine", "slow", () => NEVER);
    expect(environment.clock.pendingTimers).toBe(1);
    watch.stop();
    expect(environment.clock.pendingTimers).toBe(0);
  });
});
