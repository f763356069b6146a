import { describe, expect, it } from "vitest";
import type { Message, PreVote, RequestVote } from "../../../core/message.ts";
import { TERM_JUMP_MAX } from "../../../core/position.ts";
import { GrantChecker, type Voter } from "./grant-checker.ts";

const VOTER: Voter = {
  ...{ id: "a", term: 3, votedFor: null, leader: null, isLeader: false },
  ...{ last: { term: 3, index: 9 }, sinceLeaderMs: 200 },
};

const asksForVote = (term: number, index = 9): RequestVote => ({
  ...{ type: "request-vote", from: "b", term, last: { term: 3, index }, transfer: false },
});

const asksForPreVote = (round: number, index = 9): PreVote => ({
  ...{ type: "pre-vote", from: "b", term: 3, round, last: { term: 3, index } },
});

const refusal = (round: number): Message => ({
  ...{ type: "pre-vote-reply", from: "a", term: 3, round, granted: false },
});

function handled(request: RequestVote, before: Voter, after: Partial<Voter>): () => void {
  const checker = new GrantChecker(100);
  return () => {
    checker.receiving(request, before);
    checker.received(request, { ...before, ...after });
  };
}

describe("GrantChecker", () => {
  it("reports a vote that isn't given for no reason (LIVE)", () => {
    expect(handled(asksForVote(4), VOTER, { term: 4, votedFor: "b" })).not.toThrow();
    expect(handled(asksForVote(4), VOTER, { term: 4 })).toThrow("LIVE: a gives b no vote in term 4");
    expect(handled(asksForVote(4), VOTER, {})).toThrow("LIVE");
    expect(handled(asksForVote(3), VOTER, {})).toThrow("LIVE");
  });

  it.each<[string, RequestVote, Partial<Voter>]>([
    ["hears its leader", asksForVote(4), { sinceLeaderMs: 99 }],
    ["leads", asksForVote(4), { isLeader: true }],
    ["has a longer log", asksForVote(4, 8), {}],
    ["has voted for another in that term", asksForVote(3), { votedFor: "c" }],
    ["knows that term's leader", asksForVote(3), { leader: "c" }],
    ["is in a later term", asksForVote(2), {}],
    ["is further behind than one message may take it", asksForVote(4 + TERM_JUMP_MAX), {}],
  ])("accepts that a node gives no vote if it %s", (_why, request, more) => {
    expect(handled(request, { ...VOTER, ...more }, {})).not.toThrow();
  });

  it("reports a pre-vote that is refused for no reason, unless one of its copies could be (LIVE)", () => {
    const checker = new GrantChecker(100);
    checker.receiving(asksForPreVote(1), VOTER);
    expect(() => {
      checker.sending("b", refusal(1));
    }).toThrow("LIVE: a refuses b a pre-vote");
    checker.receiving(asksForPreVote(2), { ...VOTER, sinceLeaderMs: 50 });
    checker.receiving(asksForPreVote(2), VOTER);
    checker.receiving(asksForPreVote(3, 8), VOTER);
    for (const round of [2, 3]) {
      expect(() => {
        checker.sending("b", refusal(round));
      }).not.toThrow();
    }
  });
});
