import { expect, it } from "vitest";

import { FaultQuota, type NodeState } from "./fault-quota.ts";

function nodesOf(states: Record<string, NodeState>): { id: string; state: NodeState }[] {
  return Object.entries(states).map(([id, state]) => ({ id, state }));
}

it("allows faults on a minority at a time, and on other nodes once those have recovered", () => {
  const nodes = nodesOf({ a: "member", b: "member", c: "member", d: "member" });
  const quota = new FaultQuota(() => nodes);
  expect(quota.claim(["a", "b"])).toBe(false);
  expect(quota.claim(["a"])).toBe(true);
  expect(quota.claim(["a"])).toBe(false);
  expect(quota.claim(["b"])).toBe(false);
  quota.release(["a"]);
  expect(quota.claim(["b"])).toBe(true);
});

it("counts in every configuration that may be in force during a change of members", () => {
  const claims = (states: Record<string, NodeState>, ...ids: string[]): boolean =>
    new FaultQuota(() => nodesOf(states)).claim(ids);
  const three = { a: "member", b: "member", c: "member" } as const;
  // Two of five voters may be faulty. But two of them are leaving, and two faulty voters of the remaining
  // three are too many.
  expect(claims({ ...three, d: "member", e: "member" }, "a", "b")).toBe(true);
  expect(claims({ ...three, d: "leaving", e: "leaving" }, "a", "b")).toBe(false);
  // A node that lost its disk counts as faulty as long as it may be a voter.
  expect(claims({ ...three, d: "member", e: "lost" }, "a")).toBe(true);
  expect(claims({ ...three, d: "member", e: "lost" }, "a", "b")).toBe(false);
  expect(claims({ ...three, d: "lost" }, "a")).toBe(false);
  // The joining node may not be a voter yet, so it isn't counted as a healthy one.
  expect(claims({ ...three, d: "joining", e: "joining" }, "a", "b")).toBe(false);
  expect(claims({ ...three, d: "joining" }, "a", "d")).toBe(false);
});

it("lets a voter leave only if the faulty voters are still a minority of the rest", () => {
  const nodes = nodesOf({ a: "member", b: "member", c: "member", d: "member", e: "member" });
  const quota = new FaultQuota(() => nodes);
  expect(quota.claim(["a", "b"])).toBe(true);
  expect(quota.mayLeave("c")).toBe(false);
  expect(quota.mayLeave("a")).toBe(true);
});

it("takes all nodes only when none is faulty", () => {
  const nodes = nodesOf({ a: "member", b: "member", c: "member" });
  const quota = new FaultQuota(() => nodes);
  expect(quota.claim(["b"])).toBe(true);
  expect(quota.claimAll()).toBeNull();
  quota.release(["b"]);
  expect(quota.claimAll()).toEqual(["a", "b", "c"]);
  expect(quota.claim(["a"])).toBe(false);
});
