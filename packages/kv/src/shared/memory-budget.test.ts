import { afterEach, expect, it, vi } from "vitest";
import { MemoryBudget, SMALL_BYTES, STALLED_MS } from "./memory-budget.ts";
import { PieceBuffer } from "./piece-buffer.ts";

afterEach(() => {
  vi.useRealTimers();
});

it("counts what is held until it is dropped, and refuses more than the limit [Z18]", () => {
  const budget = new MemoryBudget(100);
  const [a, b] = [budget.open(), budget.open()];
  expect([a.take(60), b.take(60), b.take(40), budget.bytes]).toEqual([true, false, true, 100]);
  a.close();
  a.close();
  expect([budget.bytes, b.take(60), budget.bytes]).toEqual([40, true, 100]);
});

it("takes the place of the client that has stalled longest, but not of one that moves or isn't waited for", () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  const budget = new MemoryBudget(100);
  const evicted: string[] = [];
  const open = (name: string, waits: boolean): ReturnType<MemoryBudget["open"]> => {
    const account = budget.open();
    if (waits) account.waitForClient(() => evicted.push(name));
    account.take(25);
    return account;
  };
  open("busy with us", false);
  open("stalled", true);
  vi.advanceTimersByTime(10);
  open("stalled later", true);
  const moving = open("moving", true);
  vi.advanceTimersByTime(STALLED_MS - 10);
  moving.progress();
  const next = budget.open();
  expect([next.take(25), evicted]).toEqual([true, ["stalled"]]);
  expect([budget.open().take(25), evicted]).toEqual([false, ["stalled"]]);
  vi.advanceTimersByTime(10);
  expect([budget.open().take(25), evicted]).toEqual([true, ["stalled", "stalled later"]]);
});

it("reserves a part for accounts that hold little, and none for one that grows out of it [Z18]", () => {
  const budget = new MemoryBudget(10 * SMALL_BYTES, 2 * SMALL_BYTES);
  const [large, small, growing] = [budget.open(), budget.open(), budget.open()];
  expect(large.take(8 * SMALL_BYTES + 1)).toBe(false);
  expect(large.take(8 * SMALL_BYTES)).toBe(true);
  expect(budget.open().take(SMALL_BYTES + 1)).toBe(false);
  expect([small.take(SMALL_BYTES), growing.take(SMALL_BYTES - 1)]).toEqual([true, true]);
  // Its bytes count as a whole, not each piece.
  expect([growing.take(2), growing.take(1)]).toEqual([false, true]);
  expect([budget.open().take(1), budget.bytes]).toEqual([false, 10 * SMALL_BYTES]);
});

it("a buffer of pieces is charged for its capacity, never more than twice its content plus a minimum", () => {
  const budget = new MemoryBudget(1_000_000);
  const pieces = new PieceBuffer(budget.open(), 100_000);
  const piece = Buffer.from("x");
  for (let at = 0; at < 50_000; at++) expect(pieces.push(piece)).toBe(true);
  expect(pieces.length).toBe(50_000);
  expect(budget.bytes).toBeLessThanOrEqual(100_000);
  expect(pieces.take()).toEqual(Buffer.alloc(50_000, "x"));
  expect(budget.bytes).toBeGreaterThan(50_000);
  pieces.drop();
  expect(budget.bytes).toBe(0);
});

it("a piece is copied: its sender may reuse it", () => {
  const pieces = new PieceBuffer(new MemoryBudget(100).open(), 100);
  const piece = Buffer.from("a");
  pieces.push(piece);
  piece.write("b");
  pieces.push(piece);
  expect(pieces.take().toString()).toBe("ab");
});

it("a piece that is the whole is kept without a copy, and charged for all of the memory that it keeps", () => {
  const budget = new MemoryBudget(10_000);
  const pieces = new PieceBuffer(budget.open(), 5000);
  const read = Buffer.from(new ArrayBuffer(1100));
  expect(pieces.keep(read.subarray(100))).toBe(true);
  expect(budget.bytes).toBe(1100);
  expect(pieces.take().buffer).toBe(read.buffer);
  pieces.drop();
  expect(budget.bytes).toBe(0);
});

it("a small piece of a large memory isn't kept, nor one for which there is no room, nor behind another", () => {
  const budget = new MemoryBudget(3000);
  const pieces = new PieceBuffer(budget.open(), 5000);
  expect(pieces.keep(Buffer.from(new ArrayBuffer(2000)).subarray(1900))).toBe(false);
  expect(pieces.keep(Buffer.from(new ArrayBuffer(3001)).subarray(100))).toBe(false);
  expect(budget.bytes).toBe(0);
  pieces.push(Buffer.from("a"));
  expect(pieces.keep(Buffer.from(new ArrayBuffer(10)))).toBe(false);
  expect(pieces.take().toString()).toBe("a");
});
