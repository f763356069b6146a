import { describe, it } from "vitest";

import type { Message } from "../../core/message.ts";
import { prefix, withEntries } from "./model-log.ts";
import type { ModelState } from "./model-state.ts";
import {
  ABC,
  acknowledgement,
  allowed,
  campaigning,
  candidate,
  committedLeader,
  entries,
  follower,
  following,
  forbidden,
  heartbeat,
  leader,
  log,
  message,
  send,
  take,
  timeout,
} from "./test/nodes.ts";

const END = { index: 3, term: 2 };
const SAVED = { hardState: { term: 3, votedFor: "a" }, needsPersist: true };

function requestVote(changes: object = {}): Message {
  return { type: "request-vote", from: "a", term: 3, last: END, transfer: false, ...changes };
}

function voteReply(term: number, granted = true): Message {
  return { type: "request-vote-reply", from: "a", term, granted };
}

function reply(match: number, round = 0): Message {
  const outcome = { accepted: true, match } as const;
  return { type: "append-entries-reply", from: "a", term: 2, round, outcome };
}

describe("a message", () => {
  it("is in the sender's own name and term", () => {
    allowed(candidate(), send("b", requestVote()));
    forbidden(candidate(), send("b", requestVote({ from: "c" })), {}, /in the name of c/);
    forbidden(candidate(), send("b", requestVote({ term: 2 })), {}, /of term 2 in term 3/);
  });

  it("leaves once its term is durable (Figure 2)", () => {
    const refusal = { to: "b", message: voteReply(3, false) };
    allowed(campaigning(), take({ ...SAVED, messagesAfterPersist: [refusal] }));
    forbidden(campaigning(), take({ ...SAVED, messages: [refusal] }), {}, /before its term is durable/);
  });

  it("may have been decided in an earlier term, if it could have left then", () => {
    const voted = allowed(follower({ votedFor: "b" }), timeout(), {
      term: 3,
      votedFor: "a",
      role: "candidate",
    });
    allowed(voted, take({ ...SAVED, messages: [{ to: "b", message: voteReply(2) }] }));
    const other = { to: "c", message: voteReply(2) };
    forbidden(voted, take({ ...SAVED, messages: [other] }), {}, /a vote that b has/);
    const unsaved = allowed(
      follower(),
      message({ type: "request-vote", from: "b", term: 2, last: END, transfer: false }),
      { votedFor: "b" },
    );
    const next = allowed(unsaved, timeout(), { term: 3, votedFor: "a", role: "candidate" });
    const waits = (granted: boolean) =>
      take({ ...SAVED, messagesAfterPersist: [{ to: "b", message: voteReply(2, granted) }] });
    allowed(next, waits(false));
    forbidden(next, waits(true), {}, /of a vote before it is durable/);
    const old = { to: "b", message: voteReply(1, false) };
    forbidden(voted, take({ ...SAVED, messages: [old] }), {}, /of term 1 in term 3/);
  });
});

describe("a request for votes", () => {
  it("comes from a candidate, with its log (§5.2)", () => {
    forbidden(follower({ term: 3, votedFor: "a" }), send("b", requestVote()), {}, /isn't a candidate/);
    const longer = requestVote({ last: { index: 4, term: 2 } });
    forbidden(candidate(), send("b", longer), {}, /with another log/);
  });

  it("leaves once the candidate's own vote is durable (Figure 2)", () => {
    const request = { to: "b", message: requestVote() };
    allowed(campaigning(), take({ ...SAVED, messagesAfterPersist: [request] }));
    const term = { hardState: { term: 3, votedFor: null }, durable: 3 };
    const unsaved = { ...campaigning(), disk: { ...campaigning().disk, ...term } };
    forbidden(unsaved, take({ ...SAVED, messages: [request] }), {}, /before it is durable/);
  });

  it("names a transfer only if the leader asked for it (3.10)", () => {
    const asked = allowed(following(), message({ type: "timeout-now", from: "b", term: 2 }), {
      ...{ term: 3, votedFor: "a", role: "candidate", leader: null },
    });
    const request = { to: "b", message: requestVote({ transfer: true }) };
    allowed(asked, take({ ...SAVED, messagesAfterPersist: [request] }));
    forbidden(candidate(), send("b", requestVote({ transfer: true })), {}, /claims that the leader asked/);
  });
});

describe("a vote", () => {
  it("goes to the node that has it, once it is durable (§5.2, Figure 2)", () => {
    const ask = message({ type: "request-vote", from: "b", term: 2, last: END, transfer: false });
    const voted = allowed(follower(), ask, { votedFor: "b" });
    const saved = { hardState: { term: 2, votedFor: "b" }, needsPersist: true };
    const granted = { to: "b", message: voteReply(2) };
    allowed(voted, take({ ...saved, messagesAfterPersist: [granted] }));
    forbidden(voted, take({ ...saved, messages: [granted] }), {}, /of a vote before it is durable/);
    const other = { to: "c", message: voteReply(2) };
    forbidden(voted, take({ ...saved, messagesAfterPersist: [other] }), {}, /tells c of a vote that b has/);
  });
});

describe("a pre-vote", () => {
  const preVote = (index: number): Message => ({
    ...{ type: "pre-vote", from: "a", term: 2, round: 1, last: { index, term: 2 } },
  });
  const grant = send("b", { type: "pre-vote-reply", from: "a", term: 2, granted: true, round: 5 });
  const asked = (state: ModelState, term: number, index: number, now = 10_000): ModelState =>
    allowed(state, message({ type: "pre-vote", from: "b", term, round: 5, last: { index, term: 2 } }, now));

  it("is asked for by a pre-candidate, with its log (9.6)", () => {
    const asking = allowed(follower(), timeout(), { role: "pre-candidate" });
    allowed(asking, send("b", preVote(3)));
    forbidden(asking, send("b", preVote(4)), {}, /with another log/);
    forbidden(follower(), send("b", preVote(3)), {}, /in another role/);
  });

  it("is granted as the vote would be (9.6)", () => {
    allowed(asked(follower(), 2, 3), grant);
    forbidden(follower(), grant, {}, /that it wouldn't give/);
    forbidden(asked(follower(), 2, 2), grant, {}, /that it wouldn't give/);
    forbidden(asked(follower(), 0, 3), grant, {}, /that it wouldn't give/);
    const other = send("b", { type: "pre-vote-reply", from: "a", term: 2, granted: true, round: 4 });
    forbidden(asked(follower(), 2, 3), other, {}, /that it wouldn't give/);
  });

  it("isn't granted while the node hears its leader (4.2.3)", () => {
    allowed(asked(following(), 2, 3, 10_400), grant);
    forbidden(asked(following(), 2, 3, 10_399), grant, {}, /that it wouldn't give/);
    const reply = send("b", { type: "pre-vote-reply", from: "a", term: 3, granted: true, round: 5 });
    const last = { index: 9, term: 3 };
    const asksLeader = message({ type: "pre-vote", from: "b", term: 3, round: 5, last }, 90_000);
    forbidden(allowed(leader(), asksLeader), reply, {}, /that it wouldn't give/);
  });
});

describe("entries", () => {
  const append = (changes: object = {}): Message => ({
    ...{ type: "append-entries", from: "a", term: 3, commit: 0, round: 0 },
    ...{ entries: entries(leader().log, 2) },
    ...changes,
  });

  it("are sent by the leader, from its log (§5.3)", () => {
    allowed(leader(), send("b", append()));
    forbidden(candidate(), send("b", append({ entries: entries(log([1, 2]), 2) })), {}, /doesn't lead/);
    const other = entries(withEntries(log([1, 1]), 3, 1), 2);
    forbidden(leader(), send("b", append({ entries: other })), {}, /that its log doesn't hold/);
    const longer = entries(withEntries(leader().log, 3, 1), 2);
    forbidden(leader(), send("b", append({ entries: longer })), {}, /that its log doesn't hold/);
    const prev = { ...entries(leader().log, 2), prev: { index: 2, term: 2 } };
    forbidden(leader(), send("b", append({ entries: prev })), {}, /that its log doesn't hold/);
  });

  it("go with a commit index that is at most the leader's (Figure 2)", () => {
    allowed(committedLeader(), send("b", append({ commit: 4 })));
    forbidden(leader(), send("b", append({ commit: 1 })), {}, /names 1 as committed, not 0/);
  });
});

describe("an acknowledgement", () => {
  const OWN = log([1, 1, 2]);
  const compared = (index: number): ModelState => {
    const append = message({
      ...{ type: "append-entries", from: "b", term: 2, commit: 0, round: 5 },
      entries: entries(prefix(OWN, index), 1),
    });
    return allowed(follower({ log: OWN }), append, { leader: "b" });
  };

  it("covers what was compared with the log of this term's leader (§5.3)", () => {
    allowed(compared(3), send("b", reply(3)));
    forbidden(compared(3), send("b", reply(4)), {}, /acknowledges 4; only 3 equals/);
    forbidden(compared(3), send("c", reply(3)), {}, /to c, which doesn't lead/);
  });

  it("covers what is durable, now or when it leaves (Figure 2)", () => {
    const longer = withEntries(OWN, 2, 1);
    const append = message({
      ...{ type: "append-entries", from: "b", term: 2, commit: 0, round: 0 },
      entries: entries(longer, 4),
    });
    const before = allowed(follower({ log: OWN }), append, { leader: "b", log: longer });
    const write = { append: { truncateFrom: null, from: 5, to: 6 }, needsPersist: true };
    const acknowledged = { to: "b", message: reply(5) };
    allowed(before, take({ ...write, messagesAfterPersist: [acknowledged] }));
    forbidden(before, take({ ...write, messages: [acknowledged] }), {}, /acknowledges 5; durable is 4/);
  });

  it("answers a round that was heard from its leader (6.4)", () => {
    allowed(compared(3), send("b", reply(3, 5)));
    forbidden(compared(3), send("b", reply(3, 6)), {}, /answers round 6 of b; the latest it heard is 5/);
    const outcome = { accepted: false, refused: 9, hint: END } as const;
    const refusal: Message = { type: "append-entries-reply", from: "a", term: 2, round: 1, outcome };
    allowed(following(), send("b", refusal));
    forbidden(following(), send("c", refusal), {}, /answers round 1 of c/);
  });

  it("forgets with the term what was compared in it (§5.3)", () => {
    const next = allowed(compared(3), message({ ...requestVote({ from: "c" }) }, 20_000), {
      ...{ term: 3, leader: null },
    });
    const heard = message({
      type: "append-entries",
      from: "c",
      term: 3,
      commit: 0,
      round: 0,
      entries: {
        ...{ prev: { index: 9, term: 3 }, lastIndex: 9, terms: [], configs: [] },
      },
    });
    const follows = allowed(next, heard, { leader: "c" });
    const saved = { hardState: { term: 3, votedFor: null }, needsPersist: true };
    const old = { to: "c", message: { ...reply(3), term: 3 } as Message };
    forbidden(follows, take({ ...saved, messagesAfterPersist: [old] }), {}, /only 0 equals/);
  });
});

describe("leadership", () => {
  const timeoutNow: Message = { type: "timeout-now", from: "a", term: 3 };

  it("is handed over by a leader to a voter that holds its whole log (3.10)", () => {
    allowed(committedLeader(), send("b", timeoutNow));
    forbidden(
      committedLeader(),
      send("c", timeoutNow),
      {},
      /c to take over, which doesn't hold the whole log/,
    );
    for (const input of [timeout(20_000), { type: "stall", isStalled: true, now: 20_000 } as const]) {
      const stepsDown = allowed(committedLeader(), input, { role: "follower", leader: null });
      allowed(stepsDown, send("c", timeoutNow));
    }
    const learner = allowed(
      leader({ log: log([1, 2], { ...ABC, learners: ["d"] }) }),
      acknowledgement("d", 4),
    );
    forbidden(learner, send("d", timeoutNow), {}, /or d has no vote/);
    forbidden(candidate(), send("b", timeoutNow), {}, /and doesn't lead/);
  });

  it("is transferred to a voter only (3.10)", () => {
    const transfer = { type: "transfer", to: "b", answer: { to: "b" }, now: 10_000 } as const;
    allowed(committedLeader(), transfer, { transferTarget: "b" });
    forbidden(committedLeader(), transfer, { transferTarget: "d" }, /which has no vote/);
    const transfers = allowed(committedLeader(), transfer, { transferTarget: "b" });
    const late = { type: "read", id: 1, now: 90_000 } as const;
    allowed(transfers, late, { transferTarget: null });
    forbidden(transfers, late, { transferTarget: "c" }, /a read changes transferTarget to c/);
  });
});

describe("a snapshot", () => {
  it("is offered by a leader (§7)", () => {
    const offer: Message = {
      ...{ type: "install-snapshot", from: "a", term: 3, last: END, config: ABC, round: 0 },
    };
    allowed(leader(), send("b", offer));
    forbidden(candidate(), send("b", offer), {}, /offers a snapshot and doesn't lead/);
  });
});

describe("taking what was decided", () => {
  it("changes nothing", () => {
    forbidden(follower(), take({}), { votedFor: "b" }, /a take changes votedFor/);
    forbidden(following(), heartbeat(2), { leader: "c" }, /b led term 2/);
  });
});
