import { describe, expect, it } from "vitest";

import {
  configOf,
  isJoint,
  isVoter,
  leaveJoint,
  membersOf,
  sameConfig,
  stepTowards,
  type ClusterConfig,
} from "./config.ts";
import { ProtocolViolation } from "./index.ts";

const JOINT: ClusterConfig = { voters: ["b", "c"], outgoingVoters: ["a", "b"], learners: ["d"] };

describe("a configuration", () => {
  it("holds its voters and learners in order, each once", () => {
    expect(configOf(["c", "a", "c"], ["e", "d", "e"])).toEqual({
      voters: ["a", "c"],
      outgoingVoters: [],
      learners: ["d", "e"],
    });
    expect(() => configOf(["a", "b"], ["c", "b"])).toThrow(ProtocolViolation);
  });

  it("gives a vote to its voters and outgoing voters only", () => {
    expect(["a", "b", "c", "d", "x"].map((id) => isVoter(JOINT, id))).toEqual([
      true,
      true,
      true,
      false,
      false,
    ]);
  });

  it("lists all members, each once", () => {
    expect(membersOf(JOINT)).toEqual(["b", "c", "a", "d"]);
  });

  it("equals another with the same members in the same parts, in any order", () => {
    const turned = { voters: ["c", "b"], outgoingVoters: ["b", "a"], learners: ["d"] };
    expect(sameConfig(JOINT, turned)).toBe(true);
    for (const other of [
      { ...JOINT, voters: ["b", "x"] },
      { ...JOINT, voters: ["b"] },
      { ...JOINT, voters: ["b", "c", "x"] },
      { ...JOINT, outgoingVoters: ["a"] },
      { ...JOINT, learners: [] },
    ]) {
      expect([other, sameConfig(JOINT, other), sameConfig(other, JOINT)]).toEqual([other, false, false]);
    }
  });
});

describe("a change of configuration", () => {
  it("goes through a joint configuration if the voters change (§6)", () => {
    const joint = stepTowards(configOf(["a", "b"]), configOf(["b", "c"], ["d"]));
    expect(joint).toEqual(JOINT);
    expect(isJoint(joint)).toBe(true);
    expect(leaveJoint(joint)).toEqual(configOf(["b", "c"], ["d"]));
    expect(isJoint(leaveJoint(joint))).toBe(false);
  });

  it("is one step if only the learners change", () => {
    const target = configOf(["a", "b"], ["d"]);
    expect(stepTowards(configOf(["b", "a"], ["c"]), target)).toEqual(target);
  });
});
