import { describe, expect, it } from "vitest";

import { closingLine, tallyTests, wasSkipped } from "./tally.ts";

const GREEN = { numPassedTests: 5, numFailedTests: 0, numFailedTestSuites: 0 };

describe("tallyTests", () => {
  it("counts test cases", () => {
    expect(tallyTests(GREEN, 0)).toEqual({ passed: 5, failed: 0 });
    expect(tallyTests({ ...GREEN, numFailedTests: 2, numFailedTestSuites: 1 }, 1)).toEqual({
      passed: 5,
      failed: 2,
    });
  });

  it("counts a run that failed without a failing test as failed", () => {
    expect(tallyTests(GREEN, 1).failed).toBe(1);
    expect(tallyTests({ ...GREEN, numFailedTestSuites: 1 }, 0).failed).toBe(1);
  });

  it("counts a run without tests or without a report as failed", () => {
    expect(tallyTests({ ...GREEN, numPassedTests: 0 }, 0).failed).toBe(1);
    expect(tallyTests(null, 0).failed).toBe(1);
  });
});

describe("a check that was skipped", () => {
  it("is recognized by a line of its output", () => {
    expect(wasSkipped("SKIPPED: Go is not installed\n")).toBe(true);
    expect(wasSkipped("some line\nSKIPPED: Go is not installed")).toBe(true);
    expect(wasSkipped("no history was SKIPPED: all are there")).toBe(false);
    expect(wasSkipped("")).toBe(false);
  });

  it("is named in the closing line, which otherwise stays as it is", () => {
    expect(closingLine({ passed: 5, failed: 1 }, 0)).toBe("5 passed, 1 failed");
    expect(closingLine({ passed: 5, failed: 0 }, 1)).toBe("5 passed, 0 failed, 1 skipped");
  });
});
