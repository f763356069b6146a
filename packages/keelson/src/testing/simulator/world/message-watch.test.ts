import { describe, expect, it } from "vitest";
import { configOf } from "../../../core/config.ts";
import type { AppendEntries, Message } from "../../../core/message.ts";
import { RaftNode } from "../../../core/node.ts";
import { ClusterChecker } from "../checkers/cluster-checker.ts";
import { planOf } from "../plan/make-plan.ts";
import { MessageWatch } from "./message-watch.ts";

const EXPECTATIONS = {
  ...{ electionTimeoutMinMs: 100, electionTimeoutMaxMs: 200, isDriftBounded: true },
  ...{ preVote: true, pendingEntriesMax: 1, pendingBytesMax: 1, withoutMajorityMsMax: 1 },
  ...{
    storageStallMsMax: 1,
    stateStallMsMax: 1,
    stateTimeoutMsMax: 1,
    storageTimeoutMsMax: Infinity,
    stableAfterMs: 1,
  },
  ...{ keepsLogForReceivers: true, clockRateMax: 1 },
};

const ENTRIES: AppendEntries = {
  ...{ type: "append-entries", from: "a", term: 0, commit: 0, round: 1 },
  entries: { prev: { term: 0, index: 0 }, lastIndex: 1, terms: [], configs: [] },
};

/** Watches node "a". What its core says of itself is set by the test. */
function watched(says: Partial<Record<keyof RaftNode, unknown>> = {}, hasLostDisk = false) {
  const core = RaftNode.start({ id: "a", random: () => 0.5 });
  const say = (more: typeof says): void => {
    for (const [name, value] of Object.entries(more))
      Object.defineProperty(core, name, { value, configurable: true });
  };
  say(says);
  const reported: string[] = [];
  const watch = new MessageWatch({
    process: {
      ...{ id: "a", core, hasLostDisk, onTimeoutNowSent: null },
      ...{ appliedIndex: () => null, now: () => 0, state: () => null, sinceLeaderMs: () => 0 },
    },
    plan: { ...planOf(1), electionTimeoutMs: { min: 100, max: 200 }, checkQuorum: true },
    checker: new ClusterChecker(EXPECTATIONS),
    report: (error) => reported.push(String(error)),
    sending: () => undefined,
  });
  const handle = (message: Message, then: typeof says): void => {
    watch.receiving(message);
    say(then);
    watch.received(message);
  };
  return { watch, reported, handle };
}

describe("MessageWatch", () => {
  it("reports a message without the records of its entries (LM)", () => {
    const { watch, reported } = watched();
    watch.sending("b", { message: ENTRIES, records: [] });
    expect(reported).toEqual([expect.stringContaining("LM: a sends 0 records for 1 entries")]);
  });

  it("reports what a node with an empty disk asserts as if it were the member (ES)", () => {
    const { watch, reported } = watched({}, true);
    const outcome = { accepted: true, match: 0 } as const;
    const message = { type: "append-entries-reply", from: "a", term: 0, round: 0, outcome } as const;
    watch.sending("b", { message, records: [] });
    expect(reported).toEqual([expect.stringContaining("ES: a lost its disk, and b has")]);
  });

  it("reports a leader that counts an answer to a leader of an earlier term (CQ)", () => {
    const knowing = (match: number) => ({ progress: () => ({ match, lostAfter: null }) });
    const leader = { role: "leader", term: 3, config: configOf(["a", "b", "c"]), ...knowing(0) };
    const outcome = { accepted: true, match: 4 } as const;
    const answer = { type: "append-entries-reply", from: "b", round: 1, outcome } as const;
    const { handle, reported } = watched(leader);
    handle({ ...answer, term: 2 }, {});
    handle({ ...answer, term: 3 }, knowing(4));
    expect(reported).toEqual([]);
    handle({ ...answer, term: 2 }, knowing(5));
    expect(reported).toEqual([expect.stringContaining("CQ: a counts an answer of b to a leader")]);
  });

  it("reports a node that a pre-vote, or a request that it must refuse, changes (STABLE)", () => {
    const preVote = { type: "pre-vote", from: "b", term: 3, round: 1, last: { term: 1, index: 1 } } as const;
    const vote = { type: "request-vote", from: "b", term: 4, last: preVote.last, transfer: false } as const;
    const voter = watched();
    voter.handle(preVote, {});
    // Nothing binds a node that hears no leader.
    voter.handle(vote, { term: 4 });
    expect(voter.reported).toEqual([]);
    voter.handle(preVote, { term: 5 });
    expect(voter.reported).toEqual([expect.stringContaining("STABLE: a is changed by a pre-vote of b")]);
    const leader = watched({ role: "leader", term: 3 });
    leader.handle(vote, { role: "follower" });
    expect(leader.reported).toEqual([expect.stringContaining("STABLE: a is changed by a request-vote of b")]);
  });
});
