import { describe, expect, it } from "vitest";
import { IntegerList, StateQueue } from "./integer-lists.ts";
import { PairTable } from "./pair-table.ts";

describe("PairTable", () => {
  it("keeps its entries when it grows, and adds each key once", () => {
    const table = new PairTable(8);
    for (let at = 1; at <= 5_000; at++) expect(table.add(at % 7, at, at * 2)).toBe(true);
    for (let at = 1; at <= 5_000; at++) expect(table.add(at % 7, at, 0)).toBe(false);
    expect(table.size).toBe(5_000);
    for (let at = 1; at <= 5_000; at++) expect(table.get(at % 7, at)).toBe(at * 2);
    expect(table.get(8, 1)).toBeUndefined();
  });

  it("distinguishes keys that use all 32 bits", () => {
    const table = new PairTable(8);
    expect(table.add(0xffffffff, 0, 1)).toBe(true);
    expect(table.add(0, 0xffffffff, 2)).toBe(true);
    expect([table.get(0xffffffff, 0), table.get(0, 0xffffffff)]).toEqual([1, 2]);
  });

  it("refuses (0, 0), which marks a free slot", () => {
    expect(() => new PairTable().add(0, 0, 1)).toThrow("(0, 0)");
  });
});

describe("StateQueue", () => {
  it("returns states in the order in which they were added, and can be filled again", () => {
    const queue = new StateQueue();
    for (const round of [1, 2]) {
      queue.push([round, 2, 3]);
      queue.push([]);
      expect(queue.length).toBe(2);
      expect([queue.shift(), queue.shift()]).toEqual([[round, 2, 3], []]);
      expect(queue.isEmpty).toBe(true);
    }
    expect(() => queue.shift()).toThrow("empty");
  });
});

describe("IntegerList", () => {
  it("keeps its values when it grows", () => {
    const list = new IntegerList();
    for (let at = 0; at < 200_000; at++) list.push(at);
    expect([list.length, list.at(0), list.at(199_999)]).toEqual([200_000, 0, 199_999]);
    expect(() => list.at(200_000)).toThrow("nothing at");
  });
});
