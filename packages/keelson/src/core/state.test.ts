import { describe, expect, it } from "vitest";

import { withDefaults } from "./options.ts";
import { NodeState, type StateImage } from "./state.ts";
import { accepted, ABC, at, logOf, offer } from "./test/script.ts";

/** Each part differs from what a new node has, and from all others. */
const IMAGE: StateImage = {
  term: 9,
  votedFor: "c",
  hardStateId: 41,
  persistedId: 40,
  appendsInFlight: [
    { persistId: 41, upTo: 6, takenAt: 101 },
    { persistId: 42, upTo: 7, takenAt: 102 },
  ],
  durable: 5,
  commit: 4,
  log: logOf("3-5@2 6-7@8", "2@1", [{ index: 6, config: ABC }]),
  outbox: {
    persistId: 43,
    hardState: { term: 9, votedFor: "c" },
    append: { truncateFrom: null, from: 6, to: 8 },
    messages: [{ to: "b", message: accepted("a", 9, 3) }],
    messagesAfterPersist: [{ to: "c", message: accepted("a", 9, 4) }],
    commit: at("4@2"),
    reads: [{ id: 21, index: 4 }],
    snapshots: ["b"],
    installSnapshot: offer("30@8", { term: 9 }),
  },
  reads: {
    lastId: 77,
    pending: [
      { id: 31, from: null, expiresAt: 201 },
      { id: 32, from: "c", expiresAt: 202, confirm: { index: 4, round: 12 } },
    ],
    forwarded: [{ id: 33, expiresAt: 203 }],
  },
  role: "candidate",
  leader: "b",
  leaderHeardAt: 301,
  electionDeadline: 302,
  votes: ["a", "c"],
  ownVoteId: 43,
  verified: 3,
  roundSeen: 13,
  roundAcked: 11,
  acked: 2,
  ackOwed: true,
  progress: [
    [
      "b",
      {
        state: "replicate",
        match: 4,
        next: 7,
        inFlight: [{ last: 6, bytes: 20 }],
        waiting: false,
        roundAcked: 10,
        activeAt: 303,
        heartbeatDue: true,
        toldInRound: 9,
        departure: null,
      },
    ],
  ],
  termStart: 6,
  round: 14,
  heartbeatDeadline: 304,
  transfer: { to: "c", until: 305 },
  leaseFrom: 306,
  leaseProbe: { round: 15, at: 307 },
  leaseIsVoid: true,
};

describe("a state", () => {
  it("that is revived from an image and captured again is that image, in each of its parts", () => {
    const options = withDefaults({ id: "a", random: () => 0.5 });
    const state = NodeState.revive(options, structuredClone(IMAGE));
    expect(state.capture()).toEqual(IMAGE);
  });

  it("shares nothing with its image", () => {
    const options = withDefaults({ id: "a", random: () => 0.5 });
    const state = NodeState.revive(options, IMAGE);
    const before = structuredClone(IMAGE);
    const captured = state.capture();
    state.persisted(42);
    state.truncate(5);
    state.reads.takeForwarded(33);
    state.reads.failAll(state);
    state.outbox.sendSnapshot("x");
    state.becomeFollower(12, null, 400);
    expect(IMAGE).toEqual(before);
    expect(captured).toEqual(before);
  });
});
