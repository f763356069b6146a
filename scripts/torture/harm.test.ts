import { expect, it } from "vitest";

import { Harm, type NodeState } from "./harm.ts";

function nodesOf(states: Record<string, NodeState>): { id: string; state: NodeState }[] {
  return Object.entries(states).map(([id, state]) => ({ id, state }));
}

it("harms a minority at once, and others when those are well again", () => {
  const nodes = nodesOf({ a: "member", b: "member", c: "member", d: "member" });
  const harm = new Harm(() => nodes);
  expect(harm.claim(["a", "b"])).toBe(false);
  expect(harm.claim(["a"])).toBe(true);
  expect(harm.claim(["a"])).toBe(false);
  expect(harm.claim(["b"])).toBe(false);
  harm.release(["a"]);
  expect(harm.claim(["b"])).toBe(true);
});

it("counts in every configuration that may be in force while members change", () => {
  const claims = (states: Record<string, NodeState>, ...ids: string[]): boolean =>
    new Harm(() => nodesOf(states)).claim(ids);
  const three = { a: "member", b: "member", c: "member" } as const;
  // Of five voters two may be harmed, but if those that leave have left, two of three are too many.
  expect(claims({ ...three, d: "member", e: "member" }, "a", "b")).toBe(true);
  expect(claims({ ...three, d: "leaving", e: "leaving" }, "a", "b")).toBe(false);
  // A node that lost its disk is harmed as long as its vote may count.
  expect(claims({ ...three, d: "member", e: "lost" }, "a")).toBe(true);
  expect(claims({ ...three, d: "member", e: "lost" }, "a", "b")).toBe(false);
  expect(claims({ ...three, d: "lost" }, "a")).toBe(false);
  // The one that joins is no voter yet, perhaps, so it does not help.
  expect(claims({ ...three, d: "joining", e: "joining" }, "a", "b")).toBe(false);
  expect(claims({ ...three, d: "joining" }, "a", "d")).toBe(false);
});

it("lets a voter leave only if the rest bears the harm that there is", () => {
  const nodes = nodesOf({ a: "member", b: "member", c: "member", d: "member", e: "member" });
  const harm = new Harm(() => nodes);
  expect(harm.claim(["a", "b"])).toBe(true);
  expect(harm.mayLeave("c")).toBe(false);
  expect(harm.mayLeave("a")).toBe(true);
});

it("takes all only when nobody is harmed", () => {
  const nodes = nodesOf({ a: "member", b: "member", c: "member" });
  const harm = new Harm(() => nodes);
  expect(harm.claim(["b"])).toBe(true);
  expect(harm.claimAll()).toBeNull();
  harm.release(["b"]);
  expect(harm.claimAll()).toEqual(["a", "b", "c"]);
  expect(harm.claim(["a"])).toBe(false);
});
