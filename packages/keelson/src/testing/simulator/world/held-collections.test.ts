import { expect, it } from "vitest";
import { HeldCollections } from "./held-collections.ts";

it("counts what was made while it watched, and nothing else (BOUND)", () => {
  const held = new HeldCollections();
  const { Map: OwnMap, Set: OwnSet } = globalThis;
  held.begin();
  const map = new Map([[1, 1]]);
  const set = new Set<number>();
  held.end();
  expect([globalThis.Map, globalThis.Set]).toEqual([OwnMap, OwnSet]);
  const other = new Set([1, 2, 3]);
  expect([map instanceof Map, set instanceof Set, other.size]).toEqual([true, true, 3]);
  expect(held.excess(2)).toBeNull();
  for (let at = 0; at < 3; at++) map.set(at, at);
  expect(held.excess(2)).toMatch(/^3 entries in a collection that was made at .*held-collections\.test/);
  map.clear();
  for (let at = 0; at < 4; at++) set.add(at);
  expect(held.excess(3)).toMatch(/^4 entries/);
});
