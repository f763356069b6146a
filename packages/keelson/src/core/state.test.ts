import { describe, expect, it } from "vitest";

import { configOf, type ClusterConfig } from "./config.ts";
import { ProtocolViolation, type RaftNodeOptions } from "./index.ts";
import { withDefaults } from "./options.ts";
import { appendConfig, appendOwn, becomeLeader, startHeartbeatRound, takesCommands } from "./leadership.ts";
import { Progress } from "./progress.ts";
import type { Candidate, Leader, LeaderImage, RoleImage } from "./role.ts";
import { NodeState, type StateImage } from "./state.ts";
import { accepted, ABC, at, logOf, offer } from "./test/script.ts";

/** Each field differs from a new node's, and from all others. */
const IMAGE: Omit<StateImage, "role"> = {
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
  leaderId: "b",
  leaderHeardAt: 301,
  electionDeadline: 302,
  preVoteRound: 51,
  serviceStalledAt: 303,
  following: {
    matchedIndex: 3,
    receivedRound: 13,
    acknowledgedRound: 11,
    acknowledgedIndex: 2,
    acknowledgementDue: true,
  },
};

const LEADER: LeaderImage = {
  type: "leader",
  progress: [
    [
      "b",
      {
        state: "replicate",
        match: 4,
        next: 7,
        inFlight: [{ last: 6, bytes: 20 }],
        inFlightBytes: 20,
        probeSent: false,
        matchedInRound: 9,
        lostAfter: null,
        acknowledgedRound: 10,
        activeAt: 303,
        heartbeatDue: true,
        timeoutNowSentInRound: 9,
        removalNotice: null,
      },
    ],
  ],
  termStartIndex: 6,
  heartbeatRound: 14,
  heartbeatDeadline: 304,
  transfer: { to: "c", until: 305 },
  leaseFrom: 306,
  leaseProbe: { round: 15, at: 307 },
  leaseIsVoid: true,
};

const ROLES: readonly RoleImage[] = [
  { type: "follower" },
  { type: "pre-candidate", round: 51, votes: ["a", "c"] },
  { type: "candidate", votes: ["a", "c"], ownVoteId: 43 },
  LEADER,
];

describe("the image of a state", () => {
  it.each(ROLES)("keeps every field of a $type", (role) => {
    const options = withDefaults({ id: "a", random: () => 0.5 });
    const image = { ...IMAGE, role };
    const state = NodeState.revive(options, structuredClone(image));
    expect(state.capture()).toEqual(image);
  });

  it.each(ROLES)("shares nothing with the state of a $type", (role) => {
    const options = withDefaults({ id: "a", random: () => 0.5 });
    const image = { ...IMAGE, role };
    const state = NodeState.revive(options, image);
    const before = structuredClone(image);
    const captured = state.capture();
    state.persisted(42);
    state.truncate(5);
    state.reads.takeForwarded(33);
    state.failReads();
    state.pendingActions.sendSnapshot("x");
    state.following.matchedIndex = 1;
    if (state.role.type === "leader") state.role.progress.clear();
    if ("votes" in state.role) state.role.votes.add("x");
    state.becomeFollower(12, null, 400);
    expect(image).toEqual(before);
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

/** Takes the actions and reports them durable. */
function settle(state: NodeState): void {
  const { persistId, append } = state.pendingActions.take(null);
  if (append !== null) state.appendTaken(persistId, append.to - 1, 0);
  state.persisted(persistId);
}

/** A node that has led term 2 since 1000, and its role. */
function leaderOf(config?: ClusterConfig): { readonly state: NodeState; readonly leader: Leader } {
  const state = stateOf(config);
  state.enterTerm(2, "a");
  settle(state);
  state.role = candidate();
  becomeLeader(state, 1000);
  settle(state);
  return { state, leader: leaderRole(state) };
}

function candidate(): Candidate {
  return { type: "candidate", votes: new Set(["a", "b"]), ownVoteId: null };
}

function leaderRole({ role }: NodeState): Leader {
  if (role.type !== "leader") throw new Error("the node does not lead");
  return role;
}

describe("a term", () => {
  it("is only left for a later one, and has at most one vote", () => {
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

  it("is led only by a candidate whose own vote is durable", () => {
    expect(() => becomeLeader(stateOf(), 1)).toThrow(ProtocolViolation);
    const state = stateOf();
    state.role = candidate();
    state.enterTerm(2, "a");
    expect(() => becomeLeader(state, 1)).toThrow(ProtocolViolation);
    settle(state);
    becomeLeader(state, 1);
    expect([leaderRole(state).type, state.leaderId, state.electionDeadline]).toEqual(["leader", "a", null]);
    expect(state.termStartCommitted).toBe(false);
    state.commitTo(4);
    expect(state.termStartCommitted).toBe(true);
    state.becomeFollower(2, null, 2);
    expect(state.termStartCommitted).toBe(false);
  });

  it("starts without anything received from a leader", () => {
    const nothing = {
      matchedIndex: 0,
      receivedRound: 0,
      acknowledgedRound: 0,
      acknowledgedIndex: 0,
      acknowledgementDue: false,
    };
    const state = stateOf();
    expect(state.capture()).toMatchObject({
      following: nothing,
      leaderHeardAt: -Infinity,
      electionDeadline: null,
    });
    for (const key of Object.keys(nothing)) Object.assign(state.following, { [key]: 3 });
    state.becomeFollower(1, "b", 1);
    expect(state.following.matchedIndex).toBe(3);
    state.becomeFollower(2, "b", 2);
    expect(state.following).toEqual(nothing);
  });

  it("is led without a lease at first", () => {
    const { leader } = leaderOf();
    expect([leader.leaseFrom, leader.leaseIsVoid, leader.transfer]).toEqual([-Infinity, false, null]);
  });
});

describe("a leader that becomes a follower", () => {
  it("drops its offers of snapshots and waits for a whole election timeout", () => {
    const { state } = leaderOf();
    state.pendingActions.sendSnapshot("b");
    state.electionDeadline = 1;
    state.becomeFollower(3, "b", 2000);
    expect([state.role.type, state.leaderId]).toEqual(["follower", "b"]);
    expect(state.pendingActions.capture().snapshots).toEqual([]);
    expect(state.electionDeadline).toBe(2600);
  });
});

describe("a follower that follows again", () => {
  it("keeps its election deadline, and draws one if it has none", () => {
    const state = stateOf();
    state.becomeFollower(1, "b", 100);
    expect(state.electionDeadline).toBe(700);
    state.becomeFollower(1, "b", 200);
    expect(state.electionDeadline).toBe(700);
  });
});

describe("a node", () => {
  it("takes commands while it leads, is a voter, and isn't transferring its leadership", () => {
    expect(takesCommands(stateOf())).toBe(false);
    const { state, leader } = leaderOf();
    expect(takesCommands(state)).toBe(true);
    leader.transfer = { to: "b", until: 5 };
    expect(takesCommands(state)).toBe(false);
    leader.transfer = null;
    appendConfig(state, leader, configOf(["b", "c"]), 1001);
    expect(takesCommands(state)).toBe(false);
  });

  it("may start an election while its removal is not committed, and not after that [M18]", () => {
    const { state, leader } = leaderOf();
    state.commitTo(4);
    appendConfig(state, leader, configOf(["b", "c"]), 1001);
    expect([state.isVoter, state.isEligible]).toEqual([false, true]);
    state.commitTo(5);
    expect(state.isEligible).toBe(false);
    expect(stateOf(configOf(["b", "c"], ["a"])).isEligible).toBe(false);
  });

  it("is the sole voter only if it has a vote and no other node has one", () => {
    expect(stateOf(configOf(["a"])).isSoleVoter).toBe(true);
    expect(stateOf(configOf([])).isSoleVoter).toBe(false);
    expect(stateOf(configOf(["b"])).isSoleVoter).toBe(false);
    expect(stateOf({ voters: ["a"], outgoingVoters: ["a", "b"], learners: [] }).isSoleVoter).toBe(false);
  });

  it("counts a leader as heard recently for the shortest election timeout [E15]", () => {
    const state = stateOf();
    expect(state.heardLeaderRecently(0)).toBe(false);
    state.leaderHeardAt = 100;
    expect([state.heardLeaderRecently(499), state.heardLeaderRecently(500)]).toEqual([true, false]);
    expect(leaderOf().state.heardLeaderRecently(1_000_000)).toBe(true);
  });

  it("has a stall deadline from its oldest write under way, unless it is the sole voter [D11]", () => {
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
  function withoutC(): { readonly state: NodeState; readonly leader: Leader; readonly c: () => Progress } {
    const { state, leader } = leaderOf();
    state.commitTo(4);
    appendConfig(state, leader, configOf(["a", "b"]), 1100);
    return { state, leader, c: () => leader.progress.get("c") ?? new Progress(0, 0) };
  }

  it("is sent the log until it has the entry and has acknowledged that it is committed", () => {
    const { state, leader, c } = withoutC();
    expect(c().removalNotice).toEqual({ index: 5, until: 1100 + 4 * 800, round: null });
    c().recordAccepted(4, 0, 0);
    state.commitTo(5);
    startHeartbeatRound(state, leader, 1101);
    expect(c().removalNotice?.round).toBe(null);
    c().recordAccepted(5, 0, 0);
    startHeartbeatRound(state, leader, 1102);
    const told = leader.heartbeatRound;
    expect(c().removalNotice).toEqual({ index: 5, until: 4300, round: told });
    c().acknowledgedRound = told - 1;
    startHeartbeatRound(state, leader, 1103);
    expect(c().removalNotice?.round).toBe(told);
    c().acknowledgedRound = told;
    startHeartbeatRound(state, leader, 1104);
    expect([...leader.progress.keys()]).toEqual(["b"]);
  });

  it("is not told before its removal is committed", () => {
    const { state, leader, c } = withoutC();
    c().recordAccepted(5, 0, 0);
    c().acknowledgedRound = leader.heartbeatRound + 9;
    startHeartbeatRound(state, leader, 1101);
    expect(c().removalNotice?.round).toBe(null);
  });

  it("is sent nothing more after a while, or if it needs a snapshot", () => {
    const silent = withoutC();
    startHeartbeatRound(silent.state, silent.leader, 4299);
    expect(silent.leader.progress.has("c")).toBe(true);
    startHeartbeatRound(silent.state, silent.leader, 4300);
    expect(silent.leader.progress.has("c")).toBe(false);

    const { state, leader, c } = withoutC();
    c().becomeSnapshot();
    startHeartbeatRound(state, leader, 1101);
    expect([...leader.progress.keys()]).toEqual(["b"]);
  });

  it("keeps its progress if it is added again meanwhile; a new member starts at the end of the log", () => {
    const { state, leader, c } = withoutC();
    c().recordAccepted(5, 0, 0);
    state.commitTo(5);
    const position = appendConfig(state, leader, configOf(["a", "b", "c"], ["d"]), 1200);
    expect(position).toEqual(at("6@2"));
    expect(c().removalNotice).toBe(null);
    expect(c().match).toBe(5);
    expect(leader.progress.get("d")).toMatchObject({ match: 0, next: 7, removalNotice: null });
    expect(state.pendingActions.capture().append).toEqual({ truncateFrom: null, from: 5, to: 7 });
    expect([...leader.progress.values()].map(({ heartbeatDue }) => heartbeatDue)).toEqual([true, true, true]);
    expect(leader.progress.has("a")).toBe(false);
  });
});

describe("the log of a state", () => {
  it("is replaced only by a snapshot that goes beyond the commit index", () => {
    const { state } = leaderOf();
    appendOwn(state, 3);
    for (const index of [2, 3]) {
      expect(() => state.replaceLog({ index, term: 1 }, ABC)).toThrow(ProtocolViolation);
    }
    expect(state.pendingActions.capture().append).not.toBe(null);
    state.replaceLog({ index: 20, term: 2 }, ABC);
    expect([state.durableIndex, state.log.last]).toEqual([20, at("20@2")]);
    expect(state.pendingActions.capture().append).toBe(null);
  });

  it("is durable up to the latest report, in whichever order the reports arrive", () => {
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

  it("reports each new commit index once", () => {
    const { state } = leaderOf();
    state.commitTo(4);
    expect(state.pendingActions.take(null).commit).toEqual(at("4@2"));
    state.commitTo(4);
    state.commitTo(2);
    expect([state.commitIndex, state.pendingActions.take(null).commit]).toEqual([4, null]);
    expect(() => state.commitTo(9)).toThrow(ProtocolViolation);
  });
});
