import { expect, it } from "vitest";
import { configOf } from "../../../core/config.ts";
import type { RaftNode } from "../../../core/node.ts";
import type { Role } from "../../../core/role.ts";
import type { Input } from "../../model/index.ts";
import { checkStalled } from "./stall-duties.ts";

const GRANT: Input = {
  type: "message",
  message: { type: "request-vote-reply", from: "b", term: 3, granted: true },
  now: 0,
};
const STALL: Input = { type: "stall", isStalled: true, now: 0 };
const TIMEOUT: Input = { type: "timeout", now: 0 };

function step(input: Input, was: Role, is: Role, voters = ["a", "b", "c"], isStalled = true): () => void {
  const core = { id: "a", term: 3, role: is, config: configOf(voters) } as unknown as RaftNode;
  return () => {
    checkStalled(core, input, { term: 3, votedFor: null, role: was, leader: null, now: 0 }, isStalled);
  };
}

it("reports a stalled node that begins to lead or to stand for election (DUTY)", () => {
  expect(step(GRANT, "candidate", "leader")).toThrow("DUTY: a part of a has stalled, and it becomes leader");
  expect(step(TIMEOUT, "follower", "pre-candidate")).toThrow("DUTY");
  expect(step(GRANT, "candidate", "leader", ["a", "b", "c"], false)).not.toThrow();
  expect(step(GRANT, "candidate", "candidate")).not.toThrow();
});

it("reports a stalled node that doesn't give up when it can (DUTY)", () => {
  expect(step(STALL, "candidate", "candidate")).toThrow("and it goes on as candidate");
  expect(step(TIMEOUT, "leader", "leader")).toThrow("and it goes on as leader");
  expect(step(TIMEOUT, "pre-candidate", "pre-candidate")).not.toThrow();
});

it("excuses a sole voter", () => {
  expect(step(STALL, "leader", "leader", ["a"])).not.toThrow();
});
