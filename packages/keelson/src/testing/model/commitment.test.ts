import { describe, it } from "vitest";

import type { ClusterConfig } from "../../core/config.ts";
import { withConfig, withEntries } from "./model-log.ts";
import {
  ABC,
  acknowledgement,
  allowed,
  candidate,
  committedLeader,
  forbidden,
  leader,
  log,
  message,
  persisted,
  timeout,
} from "./test/nodes.ts";

const JOINT: ClusterConfig = { voters: ["a", "b", "d"], outgoingVoters: ["a", "b", "c"], learners: [] };

function change(target: ClusterConfig, index = 5) {
  return { type: "change", target, answer: { index, term: 3 }, now: 10_000 } as const;
}

describe("a leader's commit index", () => {
  it("rises when a majority holds the entry durably (§5.3)", () => {
    const durable = allowed(leader(), persisted(2));
    allowed(durable, acknowledgement("b", 4), { commit: 4 });
    forbidden(durable, acknowledgement("b", 3), { commit: 4 }, /commits 4 without a majority/);
    forbidden(durable, timeout(), { commit: 4 }, /commits 4 without a majority/);
    forbidden(durable, acknowledgement("x", 4), { commit: 4 }, /commits 4 without a majority/);
  });

  it("doesn't count its own entries before they are durable", () => {
    forbidden(leader(), acknowledgement("b", 4), { commit: 4 }, /commits 4 without a majority/);
    const two = allowed(leader(), acknowledgement("b", 4));
    allowed(two, acknowledgement("c", 4), { commit: 4 });
  });

  it("counts no acknowledgement that was given in another term", () => {
    const durable = allowed(leader(), persisted(2));
    forbidden(durable, acknowledgement("b", 4, 0, 2), { commit: 4 }, /commits 4 without a majority/);
  });

  it("counts only entries of its own term; those before them are committed with them (§5.4.2)", () => {
    const durable = allowed(leader(), persisted(2));
    forbidden(durable, acknowledgement("b", 3), { commit: 3 }, /commits 3 of an earlier term/);
  });

  it("needs both majorities while the configuration is joint (§6)", () => {
    const before = leader({ log: log([1, 2], JOINT) });
    const durable = allowed(before, persisted(2));
    forbidden(durable, acknowledgement("c", 4), { commit: 4 }, /commits 4 without a majority/);
    allowed(allowed(durable, acknowledgement("c", 4)), acknowledgement("d", 4), { commit: 4 });
  });

  it("is at most what it knows of each follower (Figure 2)", () => {
    allowed(leader(), acknowledgement("b", 3), { match: { b: 3 } });
    forbidden(leader(), acknowledgement("b", 3), { match: { b: 4 } }, /counts 4 of b, which acknowledged 3/);
    forbidden(leader(), acknowledgement("b", 3, 0, 2), { match: { b: 3 } }, /counts 3 of b/);
  });
});

describe("a new leader", () => {
  it("begins its term with a blank entry (§8)", () => {
    const vote = message({ type: "request-vote-reply", from: "b", term: 3, granted: true });
    forbidden(candidate(), vote, { role: "leader", leader: "a" }, /the log is/);
  });
});

describe("a change of the configuration", () => {
  const target = { ...ABC, voters: ["a", "b", "d"] };

  it("of voters begins with C_old,new (§6)", () => {
    const before = committedLeader();
    allowed(before, change(target), { log: withConfig(before.log, 3, JOINT) });
    forbidden(before, change(target), { log: withConfig(before.log, 3, target) }, /allowed is/);
    const reversed = { ...JOINT, voters: JOINT.outgoingVoters, outgoingVoters: JOINT.voters };
    forbidden(before, change(target), { log: withConfig(before.log, 3, reversed) }, /allowed is/);
  });

  it("of learners takes one entry", () => {
    const before = committedLeader();
    const learners = { ...ABC, learners: ["d"] };
    allowed(before, change(learners), { log: withConfig(before.log, 3, learners) });
    const voter = { ...ABC, voters: ["a", "b", "c", "d"] };
    forbidden(before, change(learners), { log: withConfig(before.log, 3, voter) }, /allowed is/);
  });

  it("waits until the change before it and an entry of the leader's term are committed (§6)", () => {
    const before = leader({ commit: 1 });
    forbidden(before, change(target), { log: withConfig(before.log, 3, JOINT) }, /its own term is committed/);
    const first = allowed(committedLeader(), change(target), {
      log: withConfig(committedLeader().log, 3, JOINT),
    });
    const twice = { log: withConfig(first.log, 3, { ...JOINT, learners: ["e"] }) };
    forbidden(first, change({ ...target, learners: ["e"] }, 6), twice, /while the change at 5 is under way/);
  });

  it("leaves voters", () => {
    const before = committedLeader();
    const none = { ...ABC, voters: [] };
    const joint = withConfig(before.log, 3, { ...none, outgoingVoters: ABC.voters });
    forbidden(before, change(none), { log: joint }, /without voters/);
  });

  it("ends with C_new, once C_old,new is committed (§6)", () => {
    const before = leader({ log: log([1, 2], JOINT) });
    const durable = allowed(allowed(before, persisted(2)), acknowledgement("c", 4));
    const after = withConfig(before.log, 3, target);
    allowed(durable, acknowledgement("d", 4), { commit: 4, log: after });
    forbidden(durable, timeout(), { log: after }, /the log is/);
    const other = withConfig(before.log, 3, { ...target, voters: ["a", "b", "c"] });
    forbidden(durable, acknowledgement("d", 4), { commit: 4, log: other }, /allowed is/);
    forbidden(durable, acknowledgement("d", 4), { commit: 4, log: withEntries(before.log, 3, 1) }, /allowed/);
  });
});
