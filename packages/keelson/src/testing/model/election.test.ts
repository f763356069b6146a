import { describe, expect, it } from "vitest";

import type { Message } from "../../core/message.ts";
import {
  ABC,
  allowed,
  campaigning,
  candidate,
  follower,
  following,
  forbidden,
  heartbeat,
  leader,
  log,
  message,
  persisted,
  send,
  take,
  timeout,
} from "./test/nodes.ts";
import { withEntries } from "./model-log.ts";

const END = { index: 3, term: 2 };

function requestVote(changes: Partial<Extract<Message, { type: "request-vote" }>> = {}, now?: number) {
  return message({ type: "request-vote", from: "b", term: 2, last: END, transfer: false, ...changes }, now);
}

function preVote(term: number, now?: number) {
  return message({ type: "pre-vote", from: "b", term, round: 5, last: END }, now);
}

function vote(from: string, term = 3) {
  return message({ type: "request-vote-reply", from, term, granted: true });
}

function preVoteReply(from: string, round = 7, granted = true) {
  return message({ type: "pre-vote-reply", from, term: 2, granted, round });
}

/** Node a asks for pre-votes in this round. */
function asking(round = 7, before = follower({}, { preVote: true })) {
  const asks = allowed(before, timeout(11_000), { role: "pre-candidate" });
  return allowed(asks, send("b", { type: "pre-vote", from: "a", term: 2, round, last: END }));
}

const CANDIDATE = { term: 3, votedFor: "a", role: "candidate" } as const;

describe("a node's term", () => {
  it("rises to the term of a message, and never falls (§5.1)", () => {
    allowed(follower(), requestVote({ term: 5 }), { term: 5 });
    allowed(follower(), requestVote({ term: 5 }));
    forbidden(follower(), requestVote({ term: 5 }), { term: 6 }, /without a message of that term/);
    forbidden(follower(), timeout(), { term: 3 }, /without a message/);
    forbidden(follower(), requestVote({ term: 1 }), { term: 1 }, /the term falls/);
  });

  it("is 1 when a node creates the cluster, unless it has heard of a later one", () => {
    const empty = { ...log([]), runs: [], configs: [], lastIndex: 0 };
    const blank = follower({ log: empty, term: 0 });
    const create = { type: "create", voters: ["a", "b", "c"], now: 0 } as const;
    allowed(blank, create, { term: 1, log: log([]) });
    forbidden(blank, create, { term: 2, log: log([]) }, /first entry has term 1/);
    allowed(follower({ log: empty, term: 5 }), create, { log: log([]) });
    forbidden(follower({ log: empty, term: 5 }), create, { term: 6, log: log([]) }, /first entry has term 1/);
    forbidden(follower({ log: log([]), term: 0 }), create, { term: 1 }, /has a log/);
  });

  it("isn't changed by a question about a read", () => {
    const read = message({ type: "read-index", from: "b", term: 5, id: 1 });
    allowed(follower(), read);
    forbidden(follower(), read, { term: 5 }, /read-index changes term/);
  });

  it("isn't taken from a candidate while the node hears its leader, unless the leader asked for it (4.2.3)", () => {
    allowed(following(), requestVote({ term: 5 }, 10_400), { term: 5, leader: null });
    allowed(following(), requestVote({ term: 3, transfer: true }, 10_399), { term: 3, leader: null });
    const text = /hears its leader/;
    const stranger = { term: 3, transfer: true, from: "z" };
    forbidden(following(), requestVote({ term: 5, transfer: true }, 10_399), { term: 5, leader: null }, text);
    forbidden(following(), requestVote(stranger, 10_399), { term: 3, leader: null }, text);
    forbidden(following(), requestVote({ term: 5 }, 10_399), { term: 5, leader: null }, /hears its leader/);
  });
});

describe("an election", () => {
  it("is in the next term, and the candidate votes for itself (§5.2)", () => {
    allowed(follower(), timeout(), CANDIDATE);
    forbidden(follower(), timeout(), { ...CANDIDATE, term: 4 }, /an election in term 4 follows 2/);
    forbidden(follower(), timeout(), { ...CANDIDATE, votedFor: "b" }, /votes for itself/);
    forbidden(follower({ votedFor: "a" }), timeout(), { role: "candidate" }, /without a new term/);
  });

  it("begins at a timeout, with pre-votes, or when the leader asks (§5.2, 9.6, 3.10)", () => {
    const timeoutNow = message({ type: "timeout-now", from: "b", term: 2 });
    allowed(follower({}, { preVote: true }), timeoutNow, CANDIDATE);
    forbidden(follower(), persisted(0), CANDIDATE, /a persisted starts an election/);
    const late = message({ type: "timeout-now", from: "b", term: 1 });
    forbidden(follower(), late, CANDIDATE, /TimeoutNow of an earlier term/);
    forbidden(leader(), timeout(), { ...CANDIDATE, term: 4 }, /a leader becomes a candidate/);
  });

  it("doesn't begin while a leader may read under its lease (6.4.1)", () => {
    const text = /may have heard a leader at 10000/;
    const stands = { ...CANDIDATE, leader: null };
    allowed(following(), timeout(10_400), stands);
    forbidden(following(), timeout(10_399), stands, text);
    const asked = { role: "pre-candidate", leader: null } as const;
    forbidden(following({}, { preVote: true }), timeout(10_399), asked, text);
  });

  it("needs the pre-votes of a majority (9.6)", () => {
    allowed(asking(), preVoteReply("b"), CANDIDATE);
    const text = /without a majority of pre-votes/;
    forbidden(asking(), timeout(), CANDIDATE, text);
    forbidden(asking(), preVoteReply("b", 7, false), CANDIDATE, text);
  });

  it("needs them in one round (9.6)", () => {
    const text = /without a majority of pre-votes/;
    forbidden(asking(), preVoteReply("b", 6), CANDIDATE, text);
    const answered = allowed(asking(), preVoteReply("b"));
    forbidden(asking(8, answered), timeout(12_000), CANDIDATE, text);
    const heard = allowed(answered, heartbeat(), { role: "follower", leader: "b" });
    const again = allowed(heard, timeout(12_000), { role: "pre-candidate" });
    forbidden(again, timeout(13_000), CANDIDATE, text);
    forbidden(again, preVoteReply("b"), CANDIDATE, text);
  });

  it("is for voters, and for former voters whose removal isn't committed (§6)", () => {
    const without = { ...ABC, voters: ["b", "c"] };
    forbidden(follower({ log: log([2], without) }), timeout(), CANDIDATE, /without a vote campaigns/);
    const removed = {
      ...log([2]),
      configs: [
        { index: 1, config: ABC },
        { index: 2, config: without },
      ],
    };
    allowed(follower({ log: removed, commit: 1 }), timeout(), CANDIDATE);
    forbidden(follower({ log: removed, commit: 2 }), timeout(), CANDIDATE, /without a vote campaigns/);
  });

  it("is preceded by a pre-vote at a timeout only, and never on a leader (9.6)", () => {
    allowed(follower(), timeout(), { role: "pre-candidate" });
    forbidden(follower(), persisted(0), { role: "pre-candidate" }, /a persisted starts a pre-vote/);
    forbidden(leader(), timeout(), { role: "pre-candidate" }, /a leader starts a pre-vote/);
  });
});

describe("a vote", () => {
  it("goes to the candidate that asks for it, in its term (§5.2)", () => {
    allowed(follower(), requestVote(), { votedFor: "b" });
    allowed(follower(), requestVote());
    forbidden(follower(), requestVote(), { votedFor: "c" }, /b asks, and c gets the vote/);
    forbidden(follower(), timeout(), { votedFor: "b" }, /who didn't ask/);
    forbidden(follower(), requestVote({ term: 1 }), { votedFor: "b" }, /in another term/);
  });

  it("is given once in a term (§5.2)", () => {
    const voted = follower({ votedFor: "c" });
    allowed(voted, requestVote({ term: 3 }), { term: 3, votedFor: "b" });
    forbidden(voted, requestVote(), { votedFor: "b" }, /the vote for c becomes one for b/);
    forbidden(voted, requestVote(), { votedFor: null }, /the vote for c becomes one for null/);
  });

  it("isn't given while the node hears its leader, though an answer told it the later term (6.4.1)", () => {
    const inLaterTerm = allowed(following(), vote("c"), { term: 3, leader: null });
    const asked = { term: 3, transfer: true };
    allowed(inLaterTerm, requestVote({ term: 3 }, 10_400), { votedFor: "b" });
    allowed(inLaterTerm, requestVote(asked, 10_399), { votedFor: "b" });
    forbidden(inLaterTerm, requestVote({ term: 3 }, 10_399), { votedFor: "b" }, /while it hears its leader/);
  });

  it("needs a log that is at least as up-to-date (§5.4.1)", () => {
    allowed(follower(), requestVote({ last: { index: 1, term: 3 } }), { votedFor: "b" });
    const shorter = requestVote({ last: { index: 2, term: 2 } });
    forbidden(follower(), shorter, { votedFor: "b" }, /less up-to-date/);
    const older = requestVote({ last: { index: 9, term: 1 } });
    forbidden(follower(), older, { votedFor: "b" }, /less up-to-date/);
  });
});

describe("a leader", () => {
  const longer = withEntries(log([1, 2]), 3, 1);
  const LEADER = { role: "leader", leader: "a", log: longer } as const;

  it("has the votes of a majority of its own term (§5.2)", () => {
    allowed(candidate(), vote("b"), LEADER);
    forbidden(candidate(), persisted(1), LEADER, /with the votes of a only/);
    forbidden(candidate(), vote("b", 2), LEADER, /with the votes of a only/);
    forbidden(candidate(), vote("x"), LEADER, /with the votes of a x only/);
    const joint = { voters: ["a", "b", "c"], outgoingVoters: ["a", "d", "e"], learners: [] };
    const asking = candidate({ log: log([1, 2], joint) });
    const jointLeader = { ...LEADER, log: withEntries(asking.log, 3, 1) };
    const half = allowed(asking, vote("b"));
    forbidden(half, persisted(1), jointLeader, /with the votes of a b only/);
    allowed(half, vote("d"), jointLeader);
  });

  it("was a candidate, and ends its election with a vote (§5.2)", () => {
    const alone = { ...ABC, voters: ["a"] };
    const restarted = follower({ log: log([1, 2], alone), votedFor: "a", term: 3 });
    const ofAlone = { ...LEADER, log: withEntries(restarted.log, 3, 1) };
    forbidden(restarted, persisted(0), ofAlone, /a follower becomes the leader without an election/);
    const voted = allowed(candidate(), vote("b"));
    forbidden(voted, timeout(), LEADER, /a timeout ends an election/);
  });

  it("leads once its own vote is durable (Figure 2)", () => {
    const voted = allowed(campaigning(), vote("b"));
    const hardState = { term: 3, votedFor: "a" };
    const taken = allowed(voted, take({ hardState, needsPersist: true }));
    allowed(taken, persisted(1), LEADER);
    forbidden(taken, vote("c"), LEADER, /before its term and its own vote are durable/);
  });

  it("is the only one of its term (§5.2)", () => {
    const other = message({
      ...{ type: "append-entries", from: "c", term: 2, commit: 0, round: 0 },
      entries: { prev: { index: 9, term: 2 }, lastIndex: 9, terms: [], configs: [] },
    });
    forbidden(following(), other, { leader: "c" }, /b led term 2, and now c does/);
    forbidden(follower(), requestVote(), { leader: "b" }, /takes b for the leader/);
  });
});

describe("a pre-vote", () => {
  it("changes nothing on its receiver (9.6)", () => {
    allowed(candidate(), preVote(3));
    forbidden(follower(), preVote(4), { term: 4 }, /a pre-vote changes term/);
    forbidden(candidate(), preVote(3), { role: "follower" }, /a pre-vote changes role/);
    forbidden(following(), preVote(2), { leader: null }, /a pre-vote changes leader/);
    expect(allowed(follower(), preVote(2)).unsaid.preVotes.has("b 5")).toBe(true);
  });
});
