// What every clock with timers must do, whether it is Node's or simulated: the tests that hold an
// `Environment` to what environment.ts promises of `now`, `setTimer` and `defer`.
import { describe, expect, it } from "vitest";
import type { Environment } from "../environment.ts";

/** An environment under test, and how to let its time pass. */
export interface ClockRig {
  readonly environment: Pick<Environment, "now" | "setTimer" | "defer">;
  /** Resolves when about `ms` have passed, and everything that was due in them has happened. */
  pass(ms: number): Promise<void>;
  /**
   * Lets about `ms` pass without a turn of the event loop, as a long calculation or a stopped process does.
   * undefined: this environment's time doesn't pass within a turn.
   */
  readonly block?: (ms: number) => void;
  /** How much time the process's clock may lack when a timer fires, in milliseconds. */
  readonly earlyMsMax: number;
}

/** Longer than the longest delay that Node's `setTimeout` takes, which is 2^31 - 1 ms. */
const LONG_DELAYS_MS = [2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 32 + 5, 2 ** 53, Infinity];

/** Declares the tests. `makeRig` makes a fresh environment for each. */
export function describeClock(name: string, makeRig: () => ClockRig): void {
  describe(`${name}, as an environment's clock`, () => {
    it("has a time that never goes back", async () => {
      const { environment, pass, block } = makeRig();
      let before = environment.now();
      const check = (): void => {
        const now = environment.now();
        expect(now).toBeGreaterThanOrEqual(before);
        before = now;
      };
      for (let n = 0; n < 20; n++) {
        environment.setTimer(n % 4, check);
        environment.defer(check);
        block?.(1);
        check();
        await pass(1);
        check();
      }
    });

    it("fires no timer early, however long the turn has lasted in which it is set", async () => {
      const { environment, pass, block, earlyMsMax } = makeRig();
      const lacking: number[] = [];
      for (const delayMs of [0, 0.3, 1, 1.7, 5, 12.5, 30]) {
        block?.(10);
        const dueAt = environment.now() + delayMs;
        environment.setTimer(delayMs, () => lacking.push(dueAt - environment.now()));
      }
      await pass(150);
      expect(lacking).toHaveLength(7);
      expect(Math.max(...lacking)).toBeLessThanOrEqual(earlyMsMax);
    });

    it("never calls back within the call", async () => {
      const { environment, pass } = makeRig();
      const seen: string[] = [];
      environment.setTimer(0, () => seen.push("timer"));
      environment.setTimer(-5, () => seen.push("timer of the past"));
      environment.defer(() => seen.push("deferred"));
      expect(seen).toEqual([]);
      await pass(10);
      expect(seen.sort()).toEqual(["deferred", "timer", "timer of the past"]);
    });

    it("fires timers with equal delays in the order in which they were set", async () => {
      const { environment, pass } = makeRig();
      const seen: number[] = [];
      for (let n = 0; n < 50; n++) environment.setTimer(5, () => seen.push(n));
      await pass(40);
      expect(seen).toEqual(Array.from({ length: 50 }, (_, n) => n));
    });

    it("fires a timer that is due clearly before another first", async () => {
      const { environment, pass } = makeRig();
      const seen: number[] = [];
      for (const delayMs of [60, 20, 40]) environment.setTimer(delayMs, () => seen.push(delayMs));
      await pass(120);
      expect(seen).toEqual([20, 40, 60]);
    });

    it("fires no timer that was cancelled, not even one that is due, or by another that is due as well", async () => {
      const { environment, pass, block } = makeRig();
      const seen: string[] = [];
      const early = environment.setTimer(10, () => seen.push("cancelled before it was due"));
      const due = environment.setTimer(1, () => seen.push("cancelled when it was due"));
      environment.setTimer(5, () => {
        seen.push("first");
        second.cancel();
      });
      const second = environment.setTimer(5, () => seen.push("cancelled by the first"));
      const fired = environment.setTimer(1, () => seen.push("fired"));
      early.cancel();
      block?.(4);
      due.cancel();
      due.cancel();
      await pass(30);
      fired.cancel();
      expect(seen).toEqual(["fired", "first"]);
    });

    it("fires each timer once", async () => {
      const { environment, pass } = makeRig();
      let fired = 0;
      environment.setTimer(1, () => (fired += 1));
      await pass(20);
      await pass(20);
      expect(fired).toBe(1);
    });

    it.each(LONG_DELAYS_MS)("waits for a delay of %s ms, and doesn't fire at once [Z22]", async (delayMs) => {
      const { environment, pass } = makeRig();
      let fired = 0;
      const timer = environment.setTimer(delayMs, () => (fired += 1));
      await pass(30);
      timer.cancel();
      expect(fired).toBe(0);
    });

    it("runs what is deferred once, in order, and what a callback defers in a later turn", async () => {
      const { environment, pass } = makeRig();
      const seen: string[] = [];
      environment.defer(() => {
        seen.push("a");
        environment.defer(() => seen.push("c"));
      });
      environment.defer(() => seen.push("b"));
      await pass(5);
      expect(seen).toEqual(["a", "b", "c"]);
    });

    it("runs promises that a callback settles before what it deferred", async () => {
      const { environment, pass } = makeRig();
      const seen: string[] = [];
      environment.setTimer(1, () => {
        environment.defer(() => seen.push("deferred"));
        void (async () => {
          for (let hop = 0; hop < 20; hop++) await Promise.resolve();
          seen.push("promise");
        })();
      });
      await pass(10);
      expect(seen).toEqual(["promise", "deferred"]);
    });

    it("fires the timers that became due while nothing ran, each once, and only then", async () => {
      const { environment, pass, block } = makeRig();
      if (block === undefined) return;
      const seen: number[] = [];
      for (const delayMs of [5, 10, 15]) environment.setTimer(delayMs, () => seen.push(delayMs));
      block(40);
      expect(seen).toEqual([]);
      await pass(20);
      expect(seen.sort((a, b) => a - b)).toEqual([5, 10, 15]);
    });
  });
}
