import { describe, expect, it } from "vitest";
import { SimulatedClock } from "../../../environment/simulated/simulated-clock.ts";
import { EventDelivery } from "../world/event-delivery.ts";
import { endAll, hold, Overlapping } from "./overlapping.ts";

describe("a value that overlapping faults set", () => {
  it("is that of the last fault that began, among those that last", () => {
    const delayMs = new Overlapping(0);
    const endFirst = delayMs.begin(10);
    const endSecond = delayMs.begin(20);
    expect(delayMs.value).toBe(20);
    endSecond();
    endSecond();
    expect(delayMs.value).toBe(10);
    const endThird = delayMs.begin(30);
    endFirst();
    expect(delayMs.value).toBe(30);
    endThird();
    expect(delayMs.value).toBe(0);
  });

  it("holds as a property until each fault has ended, and not after all were ended at once", () => {
    const disk = { hangs: false, extraDelayMs: 0 };
    const endFirst = hold(disk, "hangs", true, false);
    const endSecond = hold(disk, "hangs", true, false);
    const endSlow = hold(disk, "extraDelayMs", 5, 0);
    endFirst();
    expect(disk).toEqual({ hangs: true, extraDelayMs: 5 });
    endAll(disk);
    expect(disk).toEqual({ hangs: false, extraDelayMs: 0 });
    const endThird = hold(disk, "hangs", true, false);
    endSecond();
    endSlow();
    expect(disk).toEqual({ hangs: true, extraDelayMs: 0 });
    endThird();
    expect(disk.hangs).toBe(false);
  });

  it("keeps a process paused until each pause has ended", async () => {
    const clock = new SimulatedClock();
    const delivery = new EventDelivery(clock);
    const seen: string[] = [];
    const endFirst = delivery.pause();
    const endSecond = delivery.pause();
    delivery.deliver(() => seen.push("event"));
    endFirst();
    endFirst();
    await clock.advance(1);
    expect([delivery.isPaused, seen]).toEqual([true, []]);
    endSecond();
    await clock.advance(1);
    expect([delivery.isPaused, seen]).toEqual([false, ["event"]]);
  });
});
