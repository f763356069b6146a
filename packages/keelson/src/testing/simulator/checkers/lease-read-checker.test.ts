import { describe, expect, it } from "vitest";
import { configOf, type ClusterConfig } from "../../../core/config.ts";
import type { RaftNode } from "../../../core/node.ts";
import { ClusterHistory } from "./cluster-history.ts";
import { LeaseReadChecker, type LeaseVoter } from "./lease-read-checker.ts";

const TWO = { index: 2, config: configOf(["a", "b", "c"]) };

/** Node "a" leads term 2. Its log ends with these configurations; all but `uncommitted` are committed. */
function leading(config: ClusterConfig, before = config, isCommitted = true): RaftNode {
  const log = {
    base: { term: 0, index: 0 },
    last: { term: 2, index: 5 },
    configAt: (index: number) => (index >= 5 ? { index: 5, config } : { index: 1, config: before }),
  };
  return { id: "a", term: 2, log, commitIndex: isCommitted ? 5 : 4 } as unknown as RaftNode;
}

function voter(id: string, sinceLeaderMs: number, core: Partial<LeaseVoter["core"]> = {}): LeaseVoter {
  return { id, sinceLeaderMs, core: { term: 2, votedFor: "a", leader: "a", ...core } };
}

function down(id: string): LeaseVoter {
  return { id, sinceLeaderMs: Infinity, core: null };
}

function checkerOf(isDriftBounded = true) {
  const history = new ClusterHistory();
  return { history, checker: new LeaseReadChecker(history, 100, isDriftBounded) };
}

describe("LeaseReadChecker", () => {
  it("accepts a read while a majority has heard the leader recently, and no longer (LIN)", () => {
    const { checker } = checkerOf();
    const answered = (ofB: number, ofC: number) => () => {
      checker.answered(leading(TWO.config), [voter("b", ofB), voter("c", ofC), voter("z", 0)]);
    };
    expect(answered(99, 200)).not.toThrow();
    expect(answered(200, 99)).not.toThrow();
    expect(answered(102, 102)).toThrow("LIN: a answers a lease read in term 2, and only a z of");
  });

  it("takes a node that is down for bound, unless it has voted in a later term (LIN)", () => {
    const { history, checker } = checkerOf();
    const others = [down("b"), voter("c", 200)];
    const answered = () => {
      checker.answered(leading(TWO.config), others);
    };
    expect(answered).not.toThrow();
    history.node("b").hardState = { term: 3, votedFor: null };
    expect(answered).not.toThrow();
    history.node("b").hardState = { term: 3, votedFor: "c" };
    expect(answered).toThrow("LIN");
  });

  it("doesn't take a node for bound that votes or follows in a later term (LIN)", () => {
    const { checker } = checkerOf();
    const answered = (core: Partial<LeaseVoter["core"]>) => () => {
      checker.answered(leading(TWO.config), [voter("b", 1, core), voter("c", 200)]);
    };
    expect(answered({ term: 3, votedFor: null, leader: null })).not.toThrow();
    expect(answered({ term: 3, votedFor: "c", leader: null })).toThrow("LIN");
    expect(answered({ term: 3, votedFor: null, leader: "c" })).toThrow("LIN");
  });

  it("needs a majority that blocks each configuration that may be in force (LIN)", () => {
    const { checker } = checkerOf();
    const joint = { ...configOf(["a", "d", "e"]), outgoingVoters: ["a", "b", "c"] };
    const answered =
      (leader: RaftNode, ...bound: string[]) =>
      () => {
        checker.answered(
          leader,
          bound.map((id) => voter(id, 1)),
        );
      };
    expect(answered(leading(joint, TWO.config, false), "b")).not.toThrow();
    expect(answered(leading(joint), "d")).not.toThrow();
    expect(answered(leading(joint, TWO.config, false), "d")).toThrow("LIN");
    expect(answered(leading(configOf(["a", "d", "e"]), joint, false), "b")).toThrow("LIN");
    expect(answered(leading(configOf(["a"])))).not.toThrow();
  });

  it("reports a read of a leader that has asked another node to take over (LIN)", () => {
    const { checker } = checkerOf(false);
    checker.sending({ type: "timeout-now", from: "a", term: 1 });
    const answered = () => {
      checker.answered(leading(TWO.config), []);
    };
    expect(answered).not.toThrow();
    checker.sending({ type: "timeout-now", from: "a", term: 2 });
    expect(answered).toThrow("has asked another node to take over in term 2");
  });
});
