import { describe, expect, it } from "vitest";

import { configOf, type ClusterConfig } from "./config.ts";
import { ProtocolViolation, type RaftNodeOptions } from "./index.ts";
import { withDefaults } from "./options.ts";
import { Progress } from "./progress.ts";
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
  durableIndex: 5,
  commitIndex: 4,
  log: logOf("3-5@2 6-7@8", "2@1", [{ index: 6, config: ABC }]),
  pendingActions: {
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
  leaderId: "b",
  leaderHeardAt: 301,
  electionDeadline: 302,
  votes: ["a", "c"],
  ownVoteId: 43,
  matchedIndex: 3,
  receivedRound: 13,
  acknowledgedRound: 11,
  acknowledgedIndex: 2,
  acknowledgementDue: true,
  progress: [
    [
      "b",
      {
        state: "replicate",
        match: 4,
        next: 7,
        inFlight: [{ last: 6, bytes: 20 }],
        probeSent: false,
        acknowledgedRound: 10,
        activeAt: 303,
        heartbeatDue: true,
        timeoutNowSentInRound: 9,
        removalNotice: null,
      },
    ],
  ],
  termStart: 6,
  heartbeatRound: 14,
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
    state.failReads();
    state.pendingActions.sendSnapshot("x");
    state.becomeFollower(12, null, 400);
    expect(IMAGE).toEqual(before);
    expect(captured).toEqual(before);
  });
});

/** A node of a, b, c with entries 1 to 3 of term 1, all committed. */
function stateOf(config: ClusterConfig = ABC, options: Partial<RaftNodeOptions> = {}): NodeState {
  return new NodeState(
    withDefaults({ id: "a", random: () => 0.5, ...options }),
    { term: 1, votedFor: null },
    logOf("1-3@1", "0@0", [{ index: 1, config }]),
    3,
  );
}

/** Takes what is to be done, and reports it durable. */
function settle(state: NodeState): void {
  const { persistId, append } = state.pendingActions.take(null);
  if (append !== null) state.appendTaken(persistId, append.to - 1, 0);
  state.persisted(persistId);
}

/** The leader of term 2 since 1000. */
function leaderOf(config?: ClusterConfig): NodeState {
  const state = stateOf(config);
  state.enterTerm(2, "a");
  settle(state);
  state.role = "candidate";
  state.votes = new Set(["a", "b"]);
  state.becomeLeader(1000);
  settle(state);
  return state;
}

describe("a term", () => {
  it("is only left for a later one, and a vote in it given once", () => {
    const state = stateOf();
    for (const term of [0, 1, 1.5, Infinity, Number.NaN]) {
      expect(() => state.enterTerm(term)).toThrow(ProtocolViolation);
    }
    expect([state.term, state.votedFor, state.pendingActions.capture().hardState]).toEqual([1, null, null]);
    state.voteFor("b");
    expect(() => state.voteFor("b")).toThrow(ProtocolViolation);
    expect(() => state.voteFor("c")).toThrow(ProtocolViolation);
    expect(state.votedFor).toBe("b");
  });

  it("is led by a candidate whose own vote is durable, and by nobody else", () => {
    const follower = stateOf();
    expect(() => follower.becomeLeader(1)).toThrow(ProtocolViolation);
    const candidate = stateOf();
    candidate.role = "candidate";
    candidate.enterTerm(2, "a");
    expect(() => candidate.becomeLeader(1)).toThrow(ProtocolViolation);
    settle(candidate);
    candidate.votes = new Set(["a", "b"]);
    candidate.becomeLeader(1);
    expect([candidate.role, candidate.leaderId, candidate.votes.size]).toEqual(["leader", "a", 0]);
    expect(candidate.termStartCommitted).toBe(false);
    candidate.commitTo(4);
    expect(candidate.termStartCommitted).toBe(true);
    candidate.becomeFollower(2, null, 2);
    expect(candidate.termStartCommitted).toBe(false);
  });

  it("begins without a leader's promises, and without anything owed to one", () => {
    expect(stateOf().capture()).toMatchObject({
      acknowledgementDue: false,
      leaseFrom: -Infinity,
      leaseIsVoid: false,
      leaderHeardAt: -Infinity,
      electionDeadline: null,
    });
  });
});

describe("who steps down", () => {
  it("forgets its supporters and the snapshots that it offered, and waits for a whole timeout", () => {
    const state = leaderOf();
    state.pendingActions.sendSnapshot("b");
    state.votes.add("b");
    state.electionDeadline = 1;
    state.becomeFollower(3, "b", 2000);
    expect([state.role, state.leaderId, state.votes.size]).toEqual(["follower", "b", 0]);
    expect(state.pendingActions.capture().snapshots).toEqual([]);
    expect(state.electionDeadline).toBe(2600);
  });

  it("keeps its time to campaign if it followed already, and gets one if it had none", () => {
    const state = stateOf();
    state.becomeFollower(1, "b", 100);
    expect(state.electionDeadline).toBe(700);
    state.becomeFollower(1, "b", 200);
    expect(state.electionDeadline).toBe(700);
  });
});

describe("what a node may do", () => {
  it("is to take commands while it leads, is a voter, and hands nothing over", () => {
    expect(stateOf().takesCommands).toBe(false);
    const state = leaderOf();
    expect(state.takesCommands).toBe(true);
    state.transfer = { to: "b", until: 5 };
    expect(state.takesCommands).toBe(false);
    state.transfer = null;
    state.appendConfig(configOf(["b", "c"]), 1001);
    expect(state.takesCommands).toBe(false);
  });

  it("M18: is to stand for election while its removal is not committed, and not after", () => {
    const state = leaderOf();
    state.commitTo(4);
    state.appendConfig(configOf(["b", "c"]), 1001);
    expect([state.isVoter, state.isEligible]).toEqual([false, true]);
    state.commitTo(5);
    expect(state.isEligible).toBe(false);
    expect(stateOf(configOf(["b", "c"], ["a"])).isEligible).toBe(false);
  });

  it("is to be alone only with a vote, and nobody else with one", () => {
    expect(stateOf(configOf(["a"])).isSoleVoter).toBe(true);
    expect(stateOf(configOf([])).isSoleVoter).toBe(false);
    expect(stateOf(configOf(["b"])).isSoleVoter).toBe(false);
    expect(stateOf({ voters: ["a"], outgoingVoters: ["a", "b"], learners: [] }).isSoleVoter).toBe(false);
  });

  it("E15: is to refuse other candidates for the shortest election timeout after it heard its leader", () => {
    const state = stateOf();
    expect(state.heardLeaderRecently(0)).toBe(false);
    state.leaderHeardAt = 100;
    expect([state.heardLeaderRecently(499), state.heardLeaderRecently(500)]).toEqual([true, false]);
    expect(leaderOf().heardLeaderRecently(1_000_000)).toBe(true);
  });

  it("D11: is to lead until its oldest write has taken too long, unless nobody else could", () => {
    const state = stateOf();
    expect(state.stallDeadline).toBe(Infinity);
    state.appendTaken(state.pendingActions.take(null).persistId, 4, 70);
    state.appendTaken(state.pendingActions.take(null).persistId, 5, 90);
    expect(state.stallDeadline).toBe(70 + 1600);
    state.persisted(1);
    expect(state.stallDeadline).toBe(90 + 1600);
    const alone = stateOf(configOf(["a"]));
    alone.appendTaken(alone.pendingActions.take(null).persistId, 4, 70);
    expect(alone.stallDeadline).toBe(Infinity);
  });
});

describe("a member that is removed", () => {
  /** A leader that removed c at entry 5. */
  function withoutC(): { readonly state: NodeState; readonly c: () => Progress } {
    const state = leaderOf();
    state.commitTo(4);
    state.appendConfig(configOf(["a", "b"]), 1100);
    return { state, c: () => state.progress.get("c") ?? new Progress(0, 0) };
  }

  it("is sent the log until it knows: it has the entry, and was told that it is committed", () => {
    const { state, c } = withoutC();
    expect(c().removalNotice).toEqual({ index: 5, until: 1100 + 4 * 800, round: null });
    c().recordAccepted(4, 0);
    state.commitTo(5);
    state.startHeartbeatRound(1101);
    expect(c().removalNotice?.round).toBe(null);
    c().recordAccepted(5, 0);
    state.startHeartbeatRound(1102);
    const told = state.heartbeatRound;
    expect(c().removalNotice).toEqual({ index: 5, until: 4300, round: told });
    c().acknowledgedRound = told - 1;
    state.startHeartbeatRound(1103);
    expect(c().removalNotice?.round).toBe(told);
    c().acknowledgedRound = told;
    state.startHeartbeatRound(1104);
    expect([...state.progress.keys()]).toEqual(["b"]);
  });

  it("is not told before its removal is committed", () => {
    const { state, c } = withoutC();
    c().recordAccepted(5, 0);
    c().acknowledgedRound = state.heartbeatRound + 9;
    state.startHeartbeatRound(1101);
    expect(c().removalNotice?.round).toBe(null);
  });

  it("is let go of when it cannot be told: after a while, or if it lacks what is compacted away", () => {
    const silent = withoutC().state;
    silent.startHeartbeatRound(4299);
    expect(silent.progress.has("c")).toBe(true);
    silent.startHeartbeatRound(4300);
    expect(silent.progress.has("c")).toBe(false);

    const { state, c } = withoutC();
    c().becomeSnapshot();
    state.startHeartbeatRound(1101);
    expect([...state.progress.keys()]).toEqual(["b"]);
  });

  it("is one like the others if it comes back meanwhile, where it was; a new one begins at the end", () => {
    const { state, c } = withoutC();
    c().recordAccepted(5, 0);
    state.commitTo(5);
    const position = state.appendConfig(configOf(["a", "b", "c"], ["d"]), 1200);
    expect(position).toEqual(at("6@2"));
    expect(c().removalNotice).toBe(null);
    expect(c().match).toBe(5);
    expect(state.progress.get("d")).toMatchObject({ match: 0, next: 7, removalNotice: null });
    expect(state.pendingActions.capture().append).toEqual({ truncateFrom: null, from: 5, to: 7 });
    expect([...state.progress.values()].map(({ heartbeatDue }) => heartbeatDue)).toEqual([true, true, true]);
    expect(state.progress.has("a")).toBe(false);
  });
});

describe("the log of a state", () => {
  it("is replaced only by what goes beyond all that is committed, and then as a whole", () => {
    const state = leaderOf();
    state.appendOwn(3);
    for (const index of [2, 3]) {
      expect(() => state.replaceLog({ index, term: 1 }, ABC)).toThrow(ProtocolViolation);
    }
    expect(state.pendingActions.capture().append).not.toBe(null);
    state.replaceLog({ index: 20, term: 2 }, ABC);
    expect([state.durableIndex, state.log.last, state.pendingActions.capture().append]).toEqual([
      20,
      at("20@2"),
      null,
    ]);
  });

  it("is as durable as the latest report says, whichever comes late", () => {
    const state = stateOf();
    state.enterTerm(2);
    const first = state.pendingActions.take(null).persistId;
    const second = state.pendingActions.take(null).persistId;
    state.persisted(second);
    expect(state.hardStateIsDurable).toBe(true);
    state.persisted(first);
    expect(state.hardStateIsDurable).toBe(true);
    state.enterTerm(3);
    expect(state.hardStateIsDurable).toBe(false);
    expect(state.capture().persistedId).toBe(second);
  });

  it("is committed step by step, each told once", () => {
    const state = leaderOf();
    state.commitTo(4);
    expect(state.pendingActions.take(null).commit).toEqual(at("4@2"));
    state.commitTo(4);
    state.commitTo(2);
    expect([state.commitIndex, state.pendingActions.take(null).commit]).toEqual([4, null]);
    expect(() => state.commitTo(9)).toThrow(ProtocolViolation);
  });
});
