import { describe, expect, it } from "vitest";
import type { SeenConfig } from "./cluster-history.ts";
import { MembershipChecker } from "./membership-checker.ts";

function config(
  index: number,
  voters: string[],
  learners: string[] = [],
  outgoingVoters: string[] = [],
): SeenConfig {
  return {
    index,
    membership: { config: { voters, learners, outgoingVoters }, members: new Map() },
    before: null,
  };
}

const FIRST = config(1, ["a", "b", "c"]);

describe("MembershipChecker", () => {
  it("accepts each step of a change that was asked for, and entries without a configuration between them", () => {
    const checker = new MembershipChecker();
    checker.asked({ add: { d: "d:1" }, remove: ["c"], demote: ["b"] });
    const steps = [
      FIRST,
      FIRST,
      config(4, ["a", "b", "c"], ["d"]),
      config(6, ["a", "d"], ["b"], ["a", "b", "c"]),
      config(7, ["a", "d"], ["b"]),
    ];
    for (const [at, step] of steps.entries()) checker.committed(step, steps[at - 1] ?? null);
  });

  it.each<[string, SeenConfig]>([
    ["d should join", config(5, ["a", "b", "c"], ["d"])],
    ["c should leave", config(5, ["a", "b"], [], ["a", "b", "c"])],
    ["c should demote", config(5, ["a", "b"], ["c"], ["a", "b", "c"])],
  ])("reports that nobody asked that %s (CFG)", (what, now) => {
    const checker = new MembershipChecker();
    checker.askedForLearner("e");
    expect(() => {
      checker.committed(now, FIRST);
    }).toThrow(`CFG: nobody asked that ${what}`);
  });

  it("reports a learner that becomes a voter unasked (CFG)", () => {
    const checker = new MembershipChecker();
    checker.askedForLearner("d");
    const learner = config(5, ["a", "b", "c"], ["d"]);
    checker.committed(learner, FIRST);
    expect(() => {
      checker.committed(config(6, ["a", "b", "c", "d"], [], ["a", "b", "c"]), learner);
    }).toThrow("CFG: nobody asked that d should promote");
  });
});
