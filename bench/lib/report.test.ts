import { describe, expect, it } from "vitest";

import { chartOf } from "./chart.ts";
import { replaceSection } from "./documents.ts";
import { bestRivalOf, tablesOf, type Measure, type Report } from "./report.ts";

const RATE: Measure = { name: "Writes", unit: "per second", better: "higher", digits: 0, hasChart: true };
const P99: Measure = { name: "p99", unit: "ms", better: "lower", digits: 1, hasChart: true };

const REPORT: Report = {
  part: "library",
  title: "The library",
  command: "npm run bench -- library",
  commit: "abc",
  date: "2026-01-01",
  machine: "two cores",
  subjects: { keelson: "Keelson", slow: "Slow & Co", fast: "Fast 2" },
  measures: [RATE, P99],
  rows: [
    {
      measure: "Writes",
      point: "16",
      values: { keelson: [3000, 2000, 4000], slow: [10, 10, 10], fast: [1000, 1000, 1000] },
      target: 2,
    },
    {
      measure: "p99",
      point: "16",
      values: { keelson: [8, 8], slow: [9, 9], fast: [4, 4] },
      target: 1,
    },
  ],
  notes: [],
};

describe("bestRivalOf", () => {
  it("is the rival with the best median, by the direction of the measure", () => {
    expect(REPORT.rows.map((row) => bestRivalOf(REPORT, row))).toEqual(["fast", "fast"]);
  });
});

describe("tablesOf", () => {
  it("shows medians with spread, the ratio to the best rival and whether the target is met", () => {
    expect(tablesOf(REPORT)).toContain(
      "| 16 | 3,000 (2,000 to 4,000) | 10 (10 to 10) | 1,000 (1,000 to 1,000) | 3.00 (2.00 to 4.00) fast | 2 met |",
    );
  });

  it("calls a target missed whose ratio is on the wrong side", () => {
    expect(tablesOf(REPORT)).toContain("2.00 (2.00 to 2.00) fast | 1 missed |");
  });
});

describe("chartOf", () => {
  it("draws a line for each subject, and escapes names", () => {
    const svg = chartOf(REPORT, RATE);
    expect(svg.match(/<polyline/g)).toHaveLength(3);
    expect(svg).toContain("Slow &amp; Co");
    expect(svg).not.toContain("NaN");
  });
});

describe("replaceSection", () => {
  const page = "a\n\n<!-- generated: one -->\n\nold\n\n<!-- end: one -->\n\nb\n";

  it("replaces what stands between a part's marks, and nothing else", () => {
    expect(replaceSection(page, "one", "new")).toBe(page.replace("old", "new"));
  });

  it("refuses a page without the part's marks", () => {
    expect(() => replaceSection(page, "two", "new")).toThrow("two");
  });
});
