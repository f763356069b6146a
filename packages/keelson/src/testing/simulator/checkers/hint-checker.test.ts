import { describe, expect, it } from "vitest";
import { configOf } from "../../../core/config.ts";
import { NotLeaderError, OverloadedError } from "../../../errors.ts";
import { ClusterHistory } from "./cluster-history.ts";
import { HintChecker } from "./hint-checker.ts";

const LEADER = { id: "b", address: "b:1", info: null };

describe("HintChecker", () => {
  it("accepts a node that led, and refusals that name no leader", () => {
    const history = new ClusterHistory();
    history.leaders.set(3, "b");
    const checker = new HintChecker(history);
    checker.refused("a", new NotLeaderError(LEADER), false);
    checker.refused("a", new NotLeaderError(null), true);
    checker.refused("a", new OverloadedError("busy"), true);
  });

  it.each([
    ["a node that never led", "a", LEADER, false, "which never led and is no member"],
    ["the node itself", "b", LEADER, false, "sends a caller to b"],
    ["another leader, though it forwards calls", "a", { ...LEADER, id: "c" }, true, "a forwards calls"],
  ])("reports a refusal that names %s", (_name, id, leader, forwards, reason) => {
    const history = new ClusterHistory();
    history.leaders.set(4, "c");
    if (id === "b") history.leaders.set(3, "b");
    const checker = new HintChecker(history);
    expect(() => {
      checker.refused(id, new NotLeaderError(leader), forwards);
    }).toThrow(reason);
  });

  describe("of the leader that a node names", () => {
    /** `b` leads term 3. In term 4, `a` and `b` have voted for `c`, and nobody was seen to lead. */
    function checkerOf(): HintChecker {
      const history = new ClusterHistory();
      history.leaders.set(3, "b");
      for (const voter of ["a", "b"]) history.recordVote(voter, { term: 4, votedFor: "c" });
      history.recordVote("b", { term: 5, votedFor: "c" });
      const membership = { config: configOf(["a", "b", "c"]), members: new Map() };
      const inForce = { index: 1, membership, before: null };
      history.node("a").submitted = [{ term: 1, chain: 1, isCommand: false, inForce }];
      return new HintChecker(history);
    }

    it("accepts the leader of the term, one that a majority voted for and that was not seen, and none", () => {
      const checker = checkerOf();
      checker.named("a", { leader: "b", term: 3, role: "follower" });
      checker.named("b", { leader: "b", term: 3, role: "leader" });
      checker.named("b", { leader: "b", term: 3, role: "stopped" });
      checker.named("a", { leader: "b", term: 3 });
      checker.named("a", { leader: "c", term: 4, role: "follower" });
      checker.named("a", { leader: null, term: 5, role: "candidate" });
    });

    it.each([
      ["the leader of an earlier term", "a", { leader: "b", term: 4 }, "term 4; nobody leads it"],
      ["another node than the leader", "a", { leader: "c", term: 3 }, "term 3; b leads it"],
      ["a candidate without a majority", "a", { leader: "c", term: 5 }, "term 5; nobody leads it"],
      ["itself, before it leads", "c", { leader: "c", term: 4, role: "candidate" }, "and is a candidate"],
      ["itself, after it stepped down", "b", { leader: "b", term: 3, role: "follower" }, "and is a follower"],
    ])("reports %s", (_name, id, named, reason) => {
      expect(() => {
        checkerOf().named(id, named);
      }).toThrow(reason);
    });
  });
});
