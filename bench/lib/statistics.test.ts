import { describe, expect, it } from "vitest";

import { alternate, medianOf, quantileOf, ratiosOf, spreadOf, summaryOf } from "./statistics.ts";

describe("medianOf", () => {
  it("returns the value in the middle, whatever the order", () => {
    expect(medianOf([9, 1, 5])).toBe(5);
  });

  it("returns the mean of the two values in the middle of an even number", () => {
    expect(medianOf([1, 2, 4, 100])).toBe(3);
  });

  it("compares values as numbers, not as texts", () => {
    expect(medianOf([10, 9, 100])).toBe(10);
  });

  it("is not a number for no values", () => {
    expect(medianOf([])).toBeNaN();
  });
});

describe("quantileOf", () => {
  it("interpolates between neighbours", () => {
    expect(quantileOf([0, 10], 0.25)).toBe(2.5);
    expect(quantileOf([0, 10], 1)).toBe(10);
  });
});

describe("summaryOf", () => {
  it("returns median, smallest and largest", () => {
    expect(summaryOf([3, 1, 2])).toEqual({ median: 2, min: 1, max: 3 });
  });
});

describe("ratiosOf", () => {
  it("divides the values of the same round", () => {
    expect(ratiosOf([10, 40], [5, 10])).toEqual([2, 4]);
  });

  it("leaves out rounds that one side lacks, and divisions by zero", () => {
    expect(ratiosOf([10, 40, 7], [5, 0])).toEqual([2]);
  });
});

describe("spreadOf", () => {
  it("is the width of the middle half as a part of the median", () => {
    expect(spreadOf([100, 100, 100])).toBe(0);
    expect(spreadOf([80, 90, 100, 110, 120])).toBeCloseTo(0.2);
  });
});

describe("alternate", () => {
  const limits = { min: 2, max: 5, spreadMax: 0.1 };

  it("measures each subject once a round, every second round backwards", async () => {
    const order: string[] = [];
    await alternate(["A", "B"], { ...limits, min: 3, max: 3 }, (subject, round) => {
      order.push(subject + String(round));
      return Promise.resolve(1);
    });
    expect(order).toEqual(["A0", "B0", "B1", "A1", "A2", "B2"]);
  });

  it("ends after the smallest number of rounds when the values agree", async () => {
    const values = await alternate(["A"], limits, () => Promise.resolve(7));
    expect(values.get("A")).toEqual([7, 7]);
  });

  it("goes on to the largest number of rounds when one subject's values don't agree", async () => {
    const values = await alternate(["A", "B"], limits, (subject, round) =>
      Promise.resolve(subject === "A" ? 1 : 1 + round),
    );
    expect(values.get("A")).toHaveLength(5);
  });
});
