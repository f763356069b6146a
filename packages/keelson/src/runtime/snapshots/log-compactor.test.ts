import { describe, expect, it } from "vitest";
import { LogCompactor, type LogCompactorParts } from "./log-compactor.ts";

/** A log of entries of ten bytes each, all applied, and a snapshot of all of them. */
function compactor({ keepEntries = 0, transferKeepBytes = 1_000 } = {}) {
  const base = { index: 0 };
  const state = { snapshot: 100, applied: 100, neededAfter: [] as number[], compacted: [] as number[] };
  const parts = {
    store: {
      get newest() {
        return state.snapshot === 0 ? null : { position: { index: state.snapshot } };
      },
    },
    applier: {
      get applied() {
        return { index: state.applied };
      },
    },
    policy: { keepEntries, keepBytes: Infinity, transferKeepBytes },
    core: { log: { base, termAt: () => 1 } },
    logRecords: { bytesBetween: (from: number, to: number) => 10 * (to - from) },
    memberships: { at: () => ({}) },
    driver: {
      compact: ({ position }: { readonly position: { readonly index: number } }) => {
        state.compacted.push(position.index);
        base.index = position.index;
      },
    },
    neededAfter: () => state.neededAfter,
  };
  return { state, made: new LogCompactor(parts as unknown as LogCompactorParts) };
}

describe("the log for nodes that fetch snapshots", () => {
  it("is kept from the earliest entry that one of them needs (S12)", () => {
    const { state, made } = compactor();
    state.neededAfter = [80, 60, 70];
    made.compact();
    expect(state.compacted).toEqual([60]);
  });

  it("is kept for one of them although another is too slow for the limit (S12)", () => {
    const { state, made } = compactor({ transferKeepBytes: 300 });
    state.neededAfter = [10, 75];
    made.compact();
    expect(state.compacted).toEqual([75]);
  });

  it("is kept for one of them although another needs entries that are gone (S12)", () => {
    const { state, made } = compactor({ transferKeepBytes: 300 });
    state.neededAfter = [75];
    made.compact();
    state.neededAfter = [10, 90];
    made.compact();
    expect(state.compacted).toEqual([75, 90]);
  });
});

describe("the log", () => {
  it("is compacted once for each newest snapshot, when the state has reached it (Q3)", () => {
    const { state, made } = compactor();
    state.snapshot = 0;
    made.compactIfReached();
    state.snapshot = 200;
    made.compactIfReached();
    state.applied = 199;
    made.compactIfReached();
    expect(state.compacted).toEqual([]);
    state.applied = 250;
    made.compactIfReached();
    made.compactIfReached();
    state.snapshot = 220;
    made.compactIfReached();
    expect(state.compacted).toEqual([200, 220]);
  });

  it("is compacted after an installation for what was reached meanwhile, and not after the node's end", () => {
    const { state, made } = compactor();
    made.suspend();
    made.compactIfReached();
    made.compact();
    expect(state.compacted).toEqual([]);
    made.resume();
    made.compactIfReached();
    expect(state.compacted).toEqual([100]);
    made.stop();
    state.snapshot = state.applied = 120;
    made.compactIfReached();
    expect(state.compacted).toEqual([100]);
  });
});
