import { describe, expect, it } from "vitest";

import { ProtocolViolation, TERM_JUMP_MAX, TERM_MAX, type Message, type RaftNode } from "./index.ts";
import {
  accepted,
  act,
  appendEntries,
  leading,
  logOf,
  offer,
  range,
  refused,
  restarted,
} from "./test/script.ts";

const FAR = 5 * TERM_JUMP_MAX + 7;

/** Every type of message by which a node learns a later term. */
const MESSAGES: readonly ((term: number) => Message)[] = [
  (term) => ({ type: "pre-vote", from: "b", term, round: 1, last: { term: term - 1, index: 9 } }),
  (term) => ({ type: "pre-vote-reply", from: "b", term, round: 1, granted: false }),
  (term) => ({ type: "request-vote", from: "b", term, last: { term: term - 1, index: 9 }, transfer: false }),
  (term) => ({ type: "request-vote", from: "b", term, last: { term: term - 1, index: 9 }, transfer: true }),
  (term) => ({ type: "request-vote-reply", from: "b", term, granted: false }),
  (term) => appendEntries({ term, entries: range("1@1", "") }),
  (term) => accepted("b", term, 1, 0),
  (term) => refused("b", term, 1, "1@1", 0),
  (term) => offer(`9@${String(term - 1)}`, { term }),
];

/** A follower that has just heard its leader c. */
function following(): RaftNode {
  const node = restarted({ log: logOf("1@1") });
  node.handleMessage(appendEntries({ from: "c", term: 3, entries: range("1@1", "") }), 5_000);
  act(node, 5_000);
  return node;
}

describe("a message with a term far ahead [Z17]", () => {
  it.each([FAR, TERM_MAX])(
    "(%s) changes nothing on a leader, or on a follower that hears its leader",
    (term) => {
      for (const message of MESSAGES) {
        const leader = leading();
        const ledTerm = leader.term;
        leader.handleMessage(message(term), 1_001);
        expect([leader.role, leader.term]).toEqual(["leader", ledTerm]);
        const follower = following();
        follower.handleMessage(message(term), 5_001);
        expect([follower.leader, follower.term]).toEqual(["c", 3]);
        expect(act(follower, 5_001).hardState).toBeNull();
      }
    },
  );

  it("takes a node that hears no leader no further than one message may", () => {
    for (const message of MESSAGES) {
      const node = following();
      node.handleMessage(message(TERM_MAX), 50_000);
      expect([node.term, node.leader, node.role]).toEqual([3 + TERM_JUMP_MAX, null, "follower"]);
      expect(act(node, 50_000).messages).toEqual([]);
    }
  });

  it("lets a node that was away for so long catch up with its leader", () => {
    const node = following();
    let heartbeats = 0;
    while (node.leader !== "b" && heartbeats < 10) {
      node.handleMessage(appendEntries({ term: FAR, entries: range("1@1", "") }), 50_000 + heartbeats);
      act(node, 50_000 + heartbeats);
      heartbeats += 1;
    }
    expect([node.term, node.leader, heartbeats]).toEqual([FAR, "b", 6]);
  });

  it("is handled as any other at the limit of what one message may do", () => {
    const node = following();
    node.handleMessage(appendEntries({ term: 3 + TERM_JUMP_MAX, entries: range("1@1", "") }), 5_001);
    expect([node.term, node.leader]).toEqual([3 + TERM_JUMP_MAX, "b"]);
  });

  it("is refused above TERM_MAX, before anything changes", () => {
    const node = following();
    expect(() => {
      node.handleMessage(
        { type: "request-vote-reply", from: "b", term: TERM_MAX + 1, granted: false },
        6_000,
      );
    }).toThrow(ProtocolViolation);
    expect(node.term).toBe(3);
  });
});

describe("a candidate that says that the leader asked it to take over [Z17]", () => {
  const asked = (from: string, term: number): Message => ({
    ...{ type: "request-vote", from, term, transfer: true, last: { term: 3, index: 9 } },
  });

  it("is believed if it is a voter, in the next term", () => {
    const node = following();
    node.handleMessage(asked("b", 4), 5_001);
    expect([node.term, node.votedFor]).toEqual([4, "b"]);
  });

  it.each([
    ["is not a voter here", "x", 4],
    ["stands in a later term than the next", "b", 5],
  ])("is not believed if it %s", (_why, from, term) => {
    const node = following();
    node.handleMessage(asked(from, term), 5_001);
    expect([node.term, node.leader]).toEqual([3, "c"]);
  });
});
