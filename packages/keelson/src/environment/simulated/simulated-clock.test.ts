import { describe, expect, it } from "vitest";
import { SimulatedClock, seededRandom } from "./simulated-clock.ts";

describe("SimulatedClock", () => {
  it("stands still until it is advanced, and fires timers in the order of their times, then of their setting", async () => {
    const clock = new SimulatedClock(0);
    const seen: string[] = [];
    clock.setTimer(20, () => seen.push(`c@${String(clock.now())}`));
    clock.setTimer(10, () => seen.push(`a@${String(clock.now())}`));
    clock.setTimer(10, () => seen.push(`b@${String(clock.now())}`));
    await clock.settle();
    expect(seen).toEqual([]);
    await clock.advance(15);
    expect(seen).toEqual(["a@10", "b@10"]);
    expect(clock.now()).toBe(15);
    await clock.advance(5);
    expect(seen).toEqual(["a@10", "b@10", "c@20"]);
  });

  it("fires a thousand timers in order, without the half that was cancelled", async () => {
    const clock = new SimulatedClock(0);
    const random = seededRandom(7);
    const fired: number[] = [];
    const expected: number[] = [];
    for (let n = 0; n < 1_000; n++) {
      const delay = Math.floor(random() * 500);
      const timer = clock.setTimer(delay, () => fired.push(clock.now()));
      if (n % 2 === 0) timer.cancel();
      else expected.push(delay);
    }
    expect(clock.pendingTimers).toBe(500);
    await clock.advance(500);
    expect(fired).toEqual(expected.sort((a, b) => a - b));
    expect(clock.pendingTimers).toBe(0);
  });

  it("settles all promises of a turn before the next, however many turns and promises there are", async () => {
    const clock = new SimulatedClock(0);
    const seen: string[] = [];
    const settleLater = async (name: string): Promise<void> => {
      for (let n = 0; n < 50; n++) await Promise.resolve();
      seen.push(name);
    };
    const expected: string[] = [];
    for (let n = 0; n < 300; n++) {
      clock.setTimer(n, () => {
        seen.push(`timer ${String(n)}`);
        void settleLater(`promise ${String(n)}`);
        clock.defer(() => {
          seen.push(`deferred ${String(n)}`);
          void settleLater(`last ${String(n)}`);
        });
      });
      for (const what of ["timer", "promise", "deferred", "last"]) expected.push(`${what} ${String(n)}`);
    }
    await clock.advance(300);
    expect(seen).toEqual(expected);
  });

  it("counts a cancelled timer once, however often and whenever it is cancelled", async () => {
    const clock = new SimulatedClock(0);
    const timers = Array.from({ length: 10_000 }, (_, n) => clock.setTimer(n, () => undefined));
    await clock.advance(99);
    for (const timer of timers) {
      timer.cancel();
      timer.cancel();
    }
    expect(clock.pendingTimers).toBe(0);
  });

  it("settles promises before the next time, and before deferred callbacks", async () => {
    const clock = new SimulatedClock(0);
    const seen: string[] = [];
    const note = async (name: string): Promise<void> => {
      for (let hop = 0; hop < 20; hop++) await Promise.resolve();
      seen.push(name);
    };
    clock.setTimer(1, () => {
      clock.defer(() => seen.push("deferred"));
      void note("promise");
    });
    clock.setTimer(2, () => seen.push("timer"));
    await clock.advance(2);
    expect(seen).toEqual(["promise", "deferred", "timer"]);
  });

  it("runs until a condition holds, or throws with its name", async () => {
    const clock = new SimulatedClock(0);
    let done = false;
    clock.setTimer(30, () => (done = true));
    clock.setTimer(40, () => undefined);
    await clock.runUntil(() => done, 100);
    expect(clock.now()).toBe(30);
    await expect(clock.runUntil(() => false, 100, "a leader")).rejects.toThrow(
      "a leader did not come about within 100 ms",
    );
  });

  it("refuses to be advanced from within itself", async () => {
    const clock = new SimulatedClock(0);
    const advancing = clock.advance(1);
    await expect(clock.advance(1)).rejects.toThrow("advanced already");
    await advancing;
  });
});

describe("seededRandom", () => {
  it("gives the same evenly spread numbers in [0, 1) for the same seed, and others for another", () => {
    const draw = (seed: number): number[] => Array.from({ length: 1_000 }, seededRandom(seed));
    expect(draw(1)).toEqual(draw(1));
    expect(draw(1)).not.toEqual(draw(2));
    const numbers = draw(3);
    expect(numbers.every((number) => number >= 0 && number < 1)).toBe(true);
    const mean = numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
    expect(Math.abs(mean - 0.5)).toBeLessThan(0.05);
  });
});
