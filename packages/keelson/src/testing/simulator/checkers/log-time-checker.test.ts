import { describe, expect, it } from "vitest";
import { LogTimeChecker } from "./log-time-checker.ts";

function at(index: number, logTimeMs: number) {
  return { index, term: 1, logTimeMs };
}

describe("LogTimeChecker", () => {
  it("accepts the same time at the same entry on all nodes, and time that stands still or passes", () => {
    const checker = new LogTimeChecker(1);
    checker.applying("a", at(3, 0), 100);
    checker.applying("a", at(4, 90), 100);
    checker.applying("a", at(7, 90), 120);
    checker.applying("b", at(3, 0), 5_000);
    checker.applying("b", at(7, 90), 5_000);
  });

  it.each([
    ["differs between two nodes", "b", at(4, 91), 5_000],
    ["differs after a restart", "a", at(3, 5_000), 5_000],
    ["falls", "a", at(5, 89), 5_000],
    ["moves by more than a step with one entry", "a", at(5, 10_091), 60_000],
    ["runs ahead of every clock", "a", at(5, 202), 200],
    ["is no whole number", "a", at(5, 90.5), 5_000],
  ])("finds log time that %s", (_what, id, context, elapsedMs) => {
    const checker = new LogTimeChecker(1);
    checker.applying("a", at(3, 0), 100);
    checker.applying("a", at(4, 90), 100);
    expect(() => {
      checker.applying(id, context, elapsedMs);
    }).toThrow(`TIME: ${id} tells its state machine`);
  });
});
