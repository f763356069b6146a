import { describe, expect, it } from "vitest";
import type { ForwardRequest, RuntimeMessage } from "../../../codec/frame-runtime-message.ts";
import { RuntimeMessageChecker, type Messenger } from "./runtime-message-checker.ts";

const NO_BYTES = new Uint8Array(0);

function request(id: number, changes: Partial<ForwardRequest> = {}): ForwardRequest {
  const rest = { incarnation: 7, term: 2, waitMs: 100, call: { type: "write" }, payload: NO_BYTES } as const;
  return { type: "forward-request", from: "b", id, ...rest, ...changes };
}

const reply: RuntimeMessage = {
  ...{ type: "forward-reply", from: "a", incarnation: 7, id: 1 },
  ...{ answer: { type: "done", index: 3 }, payload: NO_BYTES },
};
const progress: RuntimeMessage = { type: "forward-progress", from: "a", incarnation: 7, ids: [1] };

function part(offset: number, bytes = 100, id: string | null = "s"): RuntimeMessage {
  return { type: "snapshot-request", from: "b", id, index: 9, offset, bytes };
}

/** Node a leads term 2; any other follows it. */
function node(id: string, says: { now?: number; leader?: string; applied?: number } = {}): Messenger {
  const { now = 0, leader = "a", applied = 0 } = says;
  const core = { role: id === leader ? "leader" : "follower", term: 2, leader } as const;
  return { id, core, appliedIndex: () => applied, now: () => now };
}

describe("RuntimeMessageChecker, forwarded calls", () => {
  it("reports an attempt with the number of another one, unless that was never sent (K1)", () => {
    const checker = new RuntimeMessageChecker(200);
    checker.sending(node("b"), "a", request(1));
    checker.notSent(node("b"), request(1));
    checker.sending(node("b"), "a", request(1));
    checker.sending(node("b"), "a", request(2));
    expect(() => {
      checker.sending(node("b"), "a", request(1));
    }).toThrow("ONCE: b gives two attempts of forwarded calls the number 1");
  });

  it("reports a process that numbers its attempts like the one before it (K1)", () => {
    const checker = new RuntimeMessageChecker(200);
    checker.sending(node("b"), "a", request(1));
    checker.started("b");
    checker.sending(node("b"), "a", request(1, { incarnation: 8 }));
    checker.started("b");
    expect(() => {
      checker.sending(node("b"), "a", request(1));
    }).toThrow("ONCE: b numbers its forwarded calls like another of its processes");
  });

  it("reports a call that is forwarded to another node than the leader, or as of another term", () => {
    const checker = new RuntimeMessageChecker(200);
    expect(() => {
      checker.sending(node("b"), "c", request(1));
    }).toThrow("KNOWN: b forwards a call to c as leader of term 2; for it, a leads term 2");
    expect(() => {
      checker.sending(node("b"), "a", request(2, { term: 1 }));
    }).toThrow("KNOWN");
  });

  it("reports an answer to what was not asked, a second one, and progress after it", () => {
    const checker = new RuntimeMessageChecker(200);
    expect(() => {
      checker.sending(node("a"), "b", reply);
    }).toThrow("KNOWN: a answers the call b/7/1, which it was not asked for");
    checker.receiving(node("a"), request(1));
    checker.sending(node("a"), "b", progress);
    checker.sending(node("a"), "b", reply);
    expect(() => {
      checker.sending(node("a"), "b", reply);
    }).toThrow("twice");
    expect(() => {
      checker.sending(node("a"), "b", progress);
    }).toThrow("KNOWN: a says that the call b/7/1 is under way, and it has ended");
  });

  it("reports a leader that says nothing of a call for long (K4)", () => {
    const checker = new RuntimeMessageChecker(200);
    checker.receiving(node("a"), request(1));
    checker.receiving(node("c"), request(1));
    checker.checkDue("a", 400);
    checker.sending(node("a", { now: 400 }), "b", progress);
    checker.checkDue("a", 800);
    checker.excuse("a", 900);
    checker.checkDue("a", 1_300);
    expect(() => {
      checker.checkDue("a", 1_301);
    }).toThrow("KNOWN: a was asked for the call b/7/1, and says nothing of it for 401 ms");
    // A node that doesn't lead, or has stopped, owes nothing.
    checker.checkDue("c", 5_000);
    checker.stopped("a");
    checker.checkDue("a", 5_000);
  });
});

describe("RuntimeMessageChecker, snapshots", () => {
  it("reports a node that asks another one for a snapshot than the one that offered it last", () => {
    const checker = new RuntimeMessageChecker(200);
    checker.offered(node("b"), "a", 9);
    checker.sending(node("b"), "a", part(0, 0, null));
    checker.offered(node("b", { now: 50 }), "c", 12);
    // In the turn of the offer, before it is taken.
    checker.sending(node("b", { now: 50 }), "a", part(100));
    expect(() => {
      checker.sending(node("b", { now: 51 }), "a", part(200));
    }).toThrow("BOUND: b asks a for a part of a snapshot, and c offered one last");
    checker.sending(node("b", { now: 51 }), "c", part(200));
    // All parts have come from a.
    checker.sending(node("b", { now: 60 }), "a", part(900, 0));
  });

  it("takes no offer into account that the node has no need of", () => {
    const checker = new RuntimeMessageChecker(200);
    checker.offered(node("b"), "a", 9);
    checker.offered(node("b", { now: 10, applied: 12 }), "c", 12);
    checker.sending(node("b", { now: 20 }), "a", part(0));
  });

  it("reports a request that is repeated too early, unless another node is asked or another transfer begins", () => {
    const checker = new RuntimeMessageChecker(200);
    checker.offered(node("b"), "a", 9);
    checker.sending(node("b"), "a", part(0));
    checker.sending(node("b", { now: 1_000 }), "a", part(0));
    checker.sending(node("b", { now: 1_010 }), "a", part(0, 0, null));
    checker.sending(node("b", { now: 1_020 }), "a", part(0));
    checker.offered(node("b", { now: 1_030 }), "c", 9);
    checker.sending(node("b", { now: 1_030 }), "c", part(0));
    expect(() => {
      checker.sending(node("b", { now: 1_500 }), "c", part(0));
    }).toThrow("BOUND: b asks c again for the part of a snapshot at 0, after 470 ms");
  });
});
