import { describe, expect, it } from "vitest";
import { configOf, type ClusterConfig } from "../../../core/config.ts";
import { ClusterHistory } from "./cluster-history.ts";
import { ReadChecker, type AskedAt } from "./read-checker.ts";

/** Node "a" leads term 2 and acts on this configuration. */
function clusterOf(parts: Partial<ClusterConfig>) {
  const history = new ClusterHistory();
  const inForce = {
    index: 1,
    membership: { config: { ...configOf([]), ...parts }, members: new Map() },
    before: null,
  };
  history.node("a").submitted.push({ term: 1, chain: 1, isCommand: false, inForce });
  const checker = new ReadChecker(history);
  const entries = { prev: { term: 1, index: 1 }, lastIndex: 1, terms: [], configs: [] };
  const outcome = { accepted: true, match: 1 } as const;
  return {
    checker,
    history,
    heartbeat: (round: number) => {
      checker.sending("b", { type: "append-entries", from: "a", term: 2, round, commit: 1, entries });
    },
    answer: (from: string, round: number, term = 2) => {
      checker.sending("a", { type: "append-entries-reply", from, term, round, outcome });
    },
    answersAfter:
      (since: AskedAt, isLease = false) =>
      () => {
        checker.answered("b", since, isLease);
      },
  };
}

describe("ReadChecker", () => {
  it("accepts a read whose leader has lost its disk since it confirmed it", () => {
    const { checker, history, heartbeat, answer, answersAfter } = clusterOf({ voters: ["a", "b", "c"] });
    const since = checker.asked();
    heartbeat(7);
    history.node("a").submitted = [];
    expect(answersAfter(since)).toThrow("LIN");
    answer("b", 7);
    expect(answersAfter(since)).not.toThrow();
  });

  it("accepts a read once a majority answered a round that began after it was asked for", () => {
    const { checker, heartbeat, answer, answersAfter } = clusterOf({ voters: ["a", "b", "c"] });
    const since = checker.asked();
    heartbeat(7);
    expect(answersAfter(since)).toThrow("LIN: b answers a read that no leader confirmed");
    answer("b", 7, 1);
    answer("b", 6);
    expect(answersAfter(since)).toThrow("LIN");
    answer("b", 7);
    expect(answersAfter(since)).not.toThrow();
  });

  it("reports a read that only an earlier round confirmed (LIN)", () => {
    const { checker, heartbeat, answer, answersAfter } = clusterOf({ voters: ["a", "b", "c"] });
    heartbeat(7);
    const since = checker.asked();
    answer("b", 7);
    heartbeat(7);
    expect(answersAfter(since)).toThrow("LIN");
    heartbeat(8);
    answer("c", 8);
    expect(answersAfter(since)).not.toThrow();
  });

  it("counts no learner, and needs both majorities of a joint configuration (LIN)", () => {
    const { checker, heartbeat, answer, answersAfter } = clusterOf({
      ...{ voters: ["a", "b"], outgoingVoters: ["a", "c"], learners: ["d"] },
    });
    const since = checker.asked();
    heartbeat(1);
    answer("d", 1);
    answer("b", 1);
    expect(answersAfter(since)).toThrow("LIN");
    answer("c", 1);
    expect(answersAfter(since)).not.toThrow();
  });

  it("accepts a lease read if its node's lease held after the read was asked for, and no other read", () => {
    const { checker, answersAfter } = clusterOf({ voters: ["a", "b", "c"] });
    const before = checker.asked();
    checker.leaseHeld("b");
    const since = checker.asked();
    expect(answersAfter(before, true)).not.toThrow();
    expect(answersAfter(before)).toThrow("LIN");
    checker.leaseHeld("a");
    expect(answersAfter(since, true)).toThrow("LIN");
  });

  it("accepts the reads of a sole voter, which needs no answer", () => {
    const { checker, answersAfter } = clusterOf({ voters: ["a"] });
    expect(answersAfter(checker.asked())).not.toThrow();
  });
});
