// One contract for the clock of production and for the simulated one, also where their readings are large.
import { afterEach, describe, expect, it, vi } from "vitest";
import type { Environment } from "./environment.ts";
import { nodeEnvironment } from "./node/node-environment.ts";
import { SimulatedClock } from "./simulated/simulated-clock.ts";
import { describeClock, type ClockRig } from "./test/clock-contract.ts";
import { webEnvironment } from "./web/web-environment.ts";

/** `environment`: one on the real clock. */
function realRig(environment: Environment): ClockRig {
  return {
    environment,
    // Then two turns, for what a timer that fired in the same turn has deferred.
    pass: async (ms) => {
      await new Promise((resolve) => setTimeout(resolve, ms));
      for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
    },
    block: (ms) => {
      const end = performance.now() + ms;
      while (performance.now() < end);
    },
    earlyMsMax: 1,
  };
}

function simulatedRig(startMs: number, earlyMsMax: number): ClockRig {
  const clock = new SimulatedClock(startMs);
  return { environment: clock, pass: (ms) => clock.advance(ms), earlyMsMax };
}

describeClock("nodeEnvironment", () => realRig(nodeEnvironment()));
describeClock("webEnvironment", () => realRig(webEnvironment()));
describeClock("SimulatedClock", () => simulatedRig(1_000, 0));
describeClock("SimulatedClock just below 2^31 ms", () => simulatedRig(2 ** 31 - 20, 0));
// There a reading has no fraction, so a timer may be early by the half millisecond that rounding takes away.
describeClock("SimulatedClock near 2^53 ms", () => simulatedRig(2 ** 53 - 100_000, 0.5));

describe.each([
  ["nodeEnvironment", nodeEnvironment],
  ["webEnvironment", webEnvironment],
])("%s", (_, environmentOf) => {
  afterEach(() => {
    vi.useRealTimers();
  });

  it.each([2 ** 31 - 1, 2 ** 31, 3 * 2 ** 31 + 5])(
    "fires a timer with a delay of %s ms at its time, and one that is cancelled on the way never [Z22]",
    (delayMs) => {
      vi.useFakeTimers();
      const environment = environmentOf();
      const seen: number[] = [];
      const start = Date.now();
      environment.setTimer(delayMs, () => seen.push(Date.now() - start));
      const cancelled = environment.setTimer(delayMs, () => seen.push(-1));
      vi.advanceTimersByTime(delayMs - 1);
      expect(seen).toEqual([]);
      cancelled.cancel();
      vi.advanceTimersByTime(1);
      expect(seen).toEqual([delayMs]);
      vi.advanceTimersByTime(2 ** 31);
      expect(seen).toHaveLength(1);
      expect(vi.getTimerCount()).toBe(0);
    },
  );
});
