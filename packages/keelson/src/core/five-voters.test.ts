import { describe, expect, it } from "vitest";
import { configOf } from "./config.ts";
import { RaftNode } from "./node.ts";
import { FIRST_ROUND } from "./test/script.ts";

/** One of five voters in term 1, after its election timeout: it asks for pre-votes. */
function preCandidate(): RaftNode {
  const base = { term: 1, index: 1 };
  const baseConfig = configOf(["a", "b", "c", "d", "e"]);
  const node = RaftNode.restart({
    id: "a",
    random: () => 0.5,
    now: 0,
    hardState: { term: 1, votedFor: null },
    log: { base, baseConfig, terms: [], configs: [], lastIndex: 1 },
  });
  node.handleTimeout(1000);
  node.handlePersisted(node.takeActions().persistId, 1000);
  return node;
}

describe("one of five voters", () => {
  it("needs two pre-votes of others, not one, before it starts an election", () => {
    const node = preCandidate();
    expect(node.role).toBe("pre-candidate");
    const yes = { type: "pre-vote-reply", term: 1, round: FIRST_ROUND, granted: true } as const;
    node.handleMessage({ ...yes, from: "b" }, 1001);
    node.handleMessage({ ...yes, from: "b" }, 1001);
    expect([node.role, node.term]).toEqual(["pre-candidate", 1]);
    node.handleMessage({ ...yes, from: "c" }, 1001);
    expect([node.role, node.term]).toEqual(["candidate", 2]);
  });
});
