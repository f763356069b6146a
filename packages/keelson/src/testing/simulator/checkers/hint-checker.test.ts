import { describe, expect, it } from "vitest";
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
});
