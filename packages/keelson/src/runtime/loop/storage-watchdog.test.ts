import { describe, expect, it } from "vitest";
import { simulatedEnvironment } from "../../environment/simulated/simulated-environment.ts";
import { StorageWatchdog } from "./storage-watchdog.ts";

describe("StorageWatchdog", () => {
  it("reports an operation that exceeds the time limit, and no other", async () => {
    const environment = simulatedEnvironment();
    const stuck: string[] = [];
    const watchdog = new StorageWatchdog(environment, 1000, (what) => stuck.push(what));
    const fine = watchdog.monitor(
      "fine",
      () =>
        new Promise((resolve) =>
          environment.setTimer(900, () => {
            resolve(1);
          }),
        ),
    );
    void watchdog.monitor("stuck", () => new Promise(() => undefined));
    await environment.clock.advance(999);
    expect(stuck).toEqual([]);
    await environment.clock.advance(300);
    expect(stuck).toEqual(["stuck took more than 1000 ms"]);
    expect(await fine).toBe(1);
  });

  it("doesn't report a hang after the whole process was paused", async () => {
    const environment = simulatedEnvironment();
    const stuck: string[] = [];
    // After a pause the overdue timer fires before the disk's answer is handled.
    let check: () => void = () => undefined;
    let now = 0;
    const watchdog = new StorageWatchdog(
      {
        ...environment,
        now: () => now,
        setTimer: (_ms, callback) => {
          check = callback;
          return { cancel: () => undefined };
        },
      },
      1000,
      (what) => stuck.push(what),
    );
    const disk = Promise.withResolvers<string>();
    const write = watchdog.monitor("a write", () => disk.promise);
    now = 60_000;
    check();
    disk.resolve("written");
    expect(await write).toBe("written");
    check();
    expect(stuck).toEqual([]);
  });

  it("sets no timer while nothing is pending, or after stop", async () => {
    const environment = simulatedEnvironment();
    const watchdog = new StorageWatchdog(environment, 1000, () => undefined);
    await watchdog.monitor("quick", () => Promise.resolve());
    await environment.clock.advance(1000);
    expect(environment.clock.pendingTimers).toBe(0);
    void watchdog.monitor("slow", () => new Promise(() => undefined));
    expect(environment.clock.pendingTimers).toBe(1);
    watchdog.stop();
    expect(environment.clock.pendingTimers).toBe(0);
  });

  it("rejects with the operation's own error", async () => {
    const watchdog = new StorageWatchdog(simulatedEnvironment(), 1000, () => undefined);
    await expect(watchdog.monitor("broken", () => Promise.reject(new Error("EIO")))).rejects.toThrow("EIO");
  });
});
