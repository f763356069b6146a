import { describe, expect, it } from "vitest";

import { ProtocolViolation, type RaftNodeOptions } from "./index.ts";
import { withDefaults } from "./options.ts";

const random = (): number => 0;

function check(options: Partial<RaftNodeOptions>): () => unknown {
  return () => withDefaults({ id: "a", random, ...options });
}

describe("the options of a node", () => {
  it("have the documented defaults", () => {
    const { bytesBetween, ...rest } = withDefaults({ id: "a", random });
    expect(rest).toEqual({
      id: "a",
      random,
      electionTimeoutMs: { min: 400, max: 800 },
      heartbeatMs: 80,
      preVote: true,
      checkQuorum: true,
      clockDriftMax: 0.05,
      storageStallMs: 1600,
      messageEntriesMax: 4096,
      messageBytesMax: 1_048_576,
      inflightMessagesMax: 64,
      inflightBytesMax: 8_388_608,
      readsMax: 65_536,
    });
    expect(bytesBetween(1, 1000)).toBe(0);
  });

  it("are used as given", () => {
    const given: RaftNodeOptions = {
      id: "b",
      random,
      electionTimeoutMs: { min: 10, max: 20 },
      heartbeatMs: 3,
      preVote: false,
      checkQuorum: false,
      clockDriftMax: 0.5,
      storageStallMs: 7,
      messageEntriesMax: 1,
      messageBytesMax: 2,
      inflightMessagesMax: 3,
      inflightBytesMax: 4,
      readsMax: 5,
      bytesBetween: (from, to) => to - from,
    };
    expect(withDefaults(given)).toEqual(given);
  });

  it("set the stall limit to twice the longest election timeout", () => {
    expect(withDefaults({ id: "a", random, electionTimeoutMs: { min: 200, max: 300 } }).storageStallMs).toBe(
      600,
    );
  });

  it("may be at the bounds of what is allowed", () => {
    for (const right of [
      { electionTimeoutMs: { min: 1, max: 1 }, heartbeatMs: 0.5 },
      { heartbeatMs: 200 },
      { clockDriftMax: 0 },
      { clockDriftMax: 0.999 },
      { storageStallMs: 0.1 },
      { readsMax: Number.MAX_SAFE_INTEGER },
    ]) {
      expect(check(right)).not.toThrow();
    }
  });

  it.each([
    ["a node has an id", { id: "" }],
    ["electionTimeoutMs is a range", { electionTimeoutMs: { min: 0, max: 5 } }],
    ["electionTimeoutMs is a range", { electionTimeoutMs: { min: 500, max: 499 } }],
    ["electionTimeoutMs is a range", { electionTimeoutMs: { min: 500, max: Infinity } }],
    ["electionTimeoutMs is a range", { electionTimeoutMs: { min: Number.NaN, max: 500 } }],
    ["heartbeatMs", { heartbeatMs: 0 }],
    ["heartbeatMs", { heartbeatMs: 201 }],
    ["clockDriftMax", { clockDriftMax: -0.01 }],
    ["clockDriftMax", { clockDriftMax: 1 }],
    ["storageStallMs", { storageStallMs: 0 }],
    ["messageEntriesMax", { messageEntriesMax: 0 }],
    ["messageBytesMax", { messageBytesMax: 1.5 }],
    ["inflightMessagesMax", { inflightMessagesMax: -1 }],
    ["inflightBytesMax", { inflightBytesMax: Infinity }],
    ["readsMax", { readsMax: 0 }],
  ] as const)("are refused beyond them, naming %s", (name, wrong) => {
    expect(check(wrong)).toThrow(ProtocolViolation);
    expect(check(wrong)).toThrow(name);
  });
});
