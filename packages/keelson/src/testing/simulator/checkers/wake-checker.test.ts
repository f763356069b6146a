import { expect, it } from "vitest";
import type { Actions } from "../../../core/action.ts";
import type { Input } from "../../model/index.ts";
import { WakeChecker, type WakeTimes } from "./wake-checker.ts";

const inTime: WakeTimes = { now: 0, resumedAt: -Infinity, timersAreLate: false };
const timeout = (now: number): Input => ({ type: "timeout", now });
const read = (now: number): Input => ({ type: "read", id: 1, now });
const taken = (timer: number | null): Input => ({ type: "take", actions: { timer } as Actions });

/** Gives the inputs to a checker, the last one at these times. */
function given(inputs: readonly Input[], times: WakeTimes = inTime): () => void {
  return () => {
    const checker = new WakeChecker("a");
    for (const [at, input] of inputs.entries())
      checker.stepped(input, at === inputs.length - 1 ? times : inTime);
  };
}

it("reports a core that isn't woken at the time that it asked for (DUTY)", () => {
  expect(given([read(10), taken(50), timeout(50), read(90)])).not.toThrow();
  expect(given([read(10), taken(50), read(52)])).not.toThrow();
  expect(given([read(10), taken(50), read(53)])).toThrow("DUTY: a was to be woken at 50 ms");
  expect(given([read(10), taken(50), timeout(53)])).toThrow("DUTY");
  expect(given([read(10), taken(null), read(90)])).not.toThrow();
});

it("counts from when a deadline was said that was over by then", () => {
  expect(given([read(100), taken(50), read(102)])).not.toThrow();
  expect(given([read(100), taken(50), read(103)])).toThrow("DUTY");
});

it("excuses a process that was paused, or whose timers are late", () => {
  const late = [read(10), taken(50), read(90)];
  expect(given(late, { ...inTime, resumedAt: 70 })).not.toThrow();
  expect(given(late, { ...inTime, timersAreLate: true })).not.toThrow();
});
