import { describe, expect, it } from "vitest";

import { CoreGroup } from "../testing/core/core-group.ts";
import { configOf, type Message, type RaftNode } from "./index.ts";
import { ABC, accepted, act, appendEntries, leading, logOf, range, restarted } from "./test/script.ts";

const THREE = ["a", "b", "c"];
const MIN_MS = 400;
const DRIFT = 0.05;

/** The index at which a leader may read under its lease now; null: it has no lease. */
function lease(group: CoreGroup, id = "a"): number | null {
  return group.node(id).leaseIndex(group.now);
}

describe("a lease", () => {
  it("serves no read before an entry of the leader's own term is committed [L1]", () => {
    const node = leading({ log: logOf("1-7@1", "0@0", [{ index: 1, config: ABC }]), commitIndex: 5 });
    // b has answered the leader's first heartbeat round, and lacks its blank entry at 8.
    node.handleMessage(accepted("b", node.term, 7), 1001);
    expect(node.leaseIndex(1001)).toBeNull();
    node.handleMessage(accepted("b", node.term, 8), 1001);
    expect(node.leaseIndex(1001)).toBe(8);
  });

  it("has ended before another leader can commit anything, whatever links failed [L5]", () => {
    for (let seed = 1; seed <= 40; seed++) {
      const group = CoreGroup.started(THREE, { seed });
      // First c is cut off, until it starts a pre-vote. Then a is, and c asks b, which heard a last.
      group.isolate("c");
      group.advance(seed * 37);
      group.heal();
      group.isolate("a");
      let held = 0;
      for (let n = 0; n < 400; n++) {
        group.advance(5);
        const index = lease(group);
        if (index === null) continue;
        held += 1;
        expect(index, `seed ${seed}`).toBe(group.checker.committedCount);
        const others = group.leaders.filter((id) => id !== "a" && group.node(id).termStartCommitted);
        expect(others, `seed ${seed}, a holds its lease`).toEqual([]);
      }
      expect(held).toBeGreaterThan(0);
      expect(group.leaders[0], `seed ${seed}`).not.toBe("a");
    }
  });

  it("has ended on the slowest clock when the fastest clock allows a vote for another node [L5]", () => {
    const [slow, fast] = [1 - DRIFT, 1 + DRIFT];
    const config = { index: 1, config: ABC };
    let [served, granted] = [0, 0];
    for (let realMs = 0; realMs <= 2 * MIN_MS; realMs += 1) {
      const leader = leading();
      leader.handleMessage(accepted("b", leader.term, leader.log.last.index), 1000);
      leader.handleTimeout(1000 + 100);
      const check = sentTo("b", leader, 1100);
      const follower = restarted({ id: "b", log: logOf("1@1 2@2", "0@0", [config]), term: leader.term });
      // Messages take no time here, so the lease is as long as it can ever be.
      follower.handleMessage(check, 5000);
      for (const { message } of act(follower, 5000).messages) leader.handleMessage(message, 1100);
      const reads = leader.leaseIndex(1100 + realMs * slow) !== null;
      const { term } = follower;
      follower.handleMessage(
        { type: "request-vote", from: "c", term: term + 1, last: follower.log.last, transfer: false },
        5000 + realMs * fast,
      );
      const helps = follower.votedFor === "c";
      expect(reads && helps, `after ${realMs} ms`).toBe(false);
      if (reads) served += 1;
      if (helps) granted += 1;
    }
    // Both happen, and at nearly every moment one of the two.
    expect(served + granted).toBeGreaterThan(2 * MIN_MS - 5);
    expect(Math.min(served, granted)).toBeGreaterThan(MIN_MS / 2);
  });

  it("is respected by a follower that an answer of a third node told the next term [L5]", () => {
    for (const [heardMsAgo, transfer, granted] of [
      [MIN_MS - 1, false, false],
      [MIN_MS, false, true],
      [MIN_MS - 1, true, true],
    ] as const) {
      const follower = restarted({ id: "b", log: logOf("1@1", "0@0", [{ index: 1, config: ABC }]) });
      const heartbeat = appendEntries({ from: "a", term: 1, entries: range("1@1", "") });
      follower.handleMessage(heartbeat, 5000);
      act(follower, 5000);
      // c stands for election in term 2, and answers a question that b asked before it heard a.
      const answer = { type: "pre-vote-reply", from: "c", term: 2, round: 1, granted: false } as const;
      follower.handleMessage(answer, 5000);
      act(follower, 5000);
      expect(follower).toMatchObject({ term: 2, votedFor: null, leader: null });
      const { last } = follower.log;
      const request: Message = { type: "request-vote", from: "c", term: 2, last, transfer };
      follower.handleMessage(request, 5000 + heardMsAgo);
      expect(follower.votedFor === "c").toBe(granted);
    }
  });

  it("has ended before a majority of five votes, whatever third nodes answered [L5]", () => {
    const soon = { electionTimeoutMs: { min: MIN_MS, max: MIN_MS + 1 } };
    const group = CoreGroup.started(["a", "b", "c", "d", "e"], { of: { b: soon, d: soon } });
    const isLate = ({ type, from }: Message, to: string): boolean =>
      (type === "pre-vote" && from === "b" && to === "e") ||
      (type === "pre-vote-reply" && (to === "b" || to === "d")) ||
      (type === "request-vote" && to === "b");
    // Nobody hears a for a while, and b and d ask for pre-votes. All of that is late.
    group.isolate("a");
    group.now += MIN_MS + 1;
    group.intercept(isLate);
    group.fire("b");
    group.fire("d");
    group.settle();
    // Now b and c hear a again, which has a lease by their answers.
    group.heal();
    group.isolate("d", "e");
    group.fire("a");
    group.settle();
    expect(lease(group)).not.toBeNull();
    // d has the pre-votes of b and c from before, and stands for election. Only e votes for it.
    group.heal();
    group.isolate("a");
    deliver(group, "pre-vote-reply", "d");
    // e answers b's question, and b learns the term from the answer. Then the request for its vote comes.
    deliver(group, "pre-vote", "e");
    deliver(group, "pre-vote-reply", "b");
    expect(group.node("b").term).toBe(group.node("d").term);
    deliver(group, "request-vote", "b");
    expect(group.node("e").votedFor).toBe("d");
    expect(lease(group)).not.toBeNull();
    expect(group.leaders).toEqual(["a"]);
  });

  describe("of a leader whose removal leaves a sole voter", () => {
    const [AB, B] = [configOf(["a", "b"]), configOf(["b"])];
    const joint = { index: 2, config: { ...B, outgoingVoters: AB.voters } };
    const log = logOf("1-2@1", "0@0", [{ index: 1, config: AB }, joint]);
    const last = appendEntries({
      from: "a",
      term: 1,
      entries: range("2@1", "3@1", [{ index: 3, config: B }]),
    });

    it("is respected by the sole voter, though it needs no other vote [L5]", () => {
      const soleVoter = restarted({ id: "b", log });
      soleVoter.handleMessage(last, 1000);
      act(soleVoter, 1000);
      soleVoter.handleMessage(appendEntries({ from: "a", term: 1, entries: range("3@1", "") }), 1100);
      expect(act(soleVoter, 1100).timer).toBeGreaterThanOrEqual(1100 + MIN_MS);
      soleVoter.handleTimeout(1100 + MIN_MS - 1);
      expect(soleVoter).toMatchObject({ role: "follower", term: 1 });
      soleVoter.handleTimeout(1100 + MIN_MS);
      expect(soleVoter).toMatchObject({ role: "candidate", term: 2 });
    });

    it("is respected by a sole voter that restarts, because it may just have heard the leader [L5]", () => {
      const config = { index: 3, config: B };
      const soleVoter = restarted({ id: "b", log: { ...log, ...logOf("1-3@1", "0@0", [joint, config]) } });
      soleVoter.handleTimeout(MIN_MS - 1);
      expect(soleVoter).toMatchObject({ role: "follower", term: 1 });
      soleVoter.handleTimeout(MIN_MS);
      expect(soleVoter).toMatchObject({ role: "candidate", term: 2 });
    });

    it("does not delay a node that was always the sole voter, or has been one for long [E24]", () => {
      const configs = [1, 2].map((index) => ({ index, config: B }));
      const alone = { ...logOf("1-3@1", "0@0", configs), baseConfig: configOf([]) };
      const compacted = { ...logOf("4@1", "3@1"), baseConfig: B };
      for (const image of [alone, compacted]) {
        const node = restarted({ id: "b", log: image });
        node.handleTimeout(0);
        expect(node).toMatchObject({ role: "candidate", term: 2 });
      }
    });
  });

  it("is void once TimeoutNow was sent, whichever answers arrive afterwards [L6]", () => {
    const group = CoreGroup.started(THREE);
    group.heartbeat();
    expect(lease(group)).not.toBeNull();
    group.intercept((message) => message.type === "timeout-now");
    group.node("a").transferLeadership("b", group.now);
    expect(lease(group)).toBeNull();
    group.settle();
    group.heartbeat();
    expect(group.node("a").progress("c")?.recentlyActive).toBe(true);
    expect(lease(group)).toBeNull();
    group.isolate("a");
    group.deliverIntercepted();
    group.settle();
    group.write("b", "x");
    expect(group.node("a").role).toBe("leader");
    expect(lease(group)).toBeNull();
    expect(lease(group, "b")).not.toBeNull();
  });

  it("stays void in this term if the transfer fails after TimeoutNow was sent [L6]", () => {
    const group = CoreGroup.started(THREE);
    group.intercept((message) => message.type === "timeout-now");
    group.node("a").transferLeadership("b", group.now);
    group.settle();
    group.advance(group.electionMsMax + 2 * group.heartbeatMs);
    expect(group.node("a")).toMatchObject({ role: "leader", transferTarget: null });
    expect(lease(group)).toBeNull();
    group.isolate("a");
    group.deliverIntercepted();
    group.settle();
    group.write("b", "x");
    expect(group.node("a").role).toBe("leader");
    expect(lease(group)).toBeNull();
  });

  it("counts from when the heartbeat was sent, however late its answer arrives [L7]", () => {
    const group = CoreGroup.started(THREE);
    group.advance(2 * MIN_MS);
    group.isolate("c");
    group.intercept((message, to) => message.type === "append-entries-reply" && to === "a");
    const sent = group.now;
    group.node("a").handleTimeout(sent + group.heartbeatMs);
    group.now = sent + group.heartbeatMs;
    group.drain(group.host("a"));
    for (const sent of group.inTransit.splice(0)) group.deliver(sent);
    group.settle();
    const late = Math.floor(0.9 * MIN_MS * (1 - DRIFT));
    group.now += late;
    group.deliverIntercepted();
    const leaseMs = (MIN_MS * (1 - DRIFT)) / (1 + DRIFT);
    const left = sent + group.heartbeatMs + leaseMs;
    expect(group.now).toBeLessThan(left);
    expect(group.node("a").leaseIndex(left - 1)).not.toBeNull();
    expect(group.node("a").leaseIndex(left + 1)).toBeNull();
  });

  it("needs both majorities while the configuration is joint", () => {
    const group = CoreGroup.started(THREE);
    for (const id of ["d", "e"]) group.add(id);
    group.change("a", THREE, ["d", "e"]);
    group.heartbeat();
    expect(lease(group)).not.toBeNull();
    // The joint configuration cannot be committed, because d and e do not answer.
    for (const id of ["d", "e"]) group.isolate(id);
    group.proposeConfig("a", ["a", "d", "e"]);
    group.advance(MIN_MS);
    expect(group.node("a").role).toBe("leader");
    expect(lease(group)).toBeNull();
    group.heal();
    group.heartbeat();
    group.heartbeat();
    expect(group.node("a").config.voters).toEqual(["a", "d", "e"]);
    expect(lease(group)).not.toBeNull();
  });
});

/** Delivers the intercepted messages of one type to one node, and what follows. */
function deliver(group: CoreGroup, type: Message["type"], to: string): void {
  const isIt = (sent: { readonly to: string; readonly message: Message }): boolean =>
    sent.to === to && sent.message.type === type;
  const due = group.intercepted.filter(isIt);
  group.intercepted = group.intercepted.filter((sent) => !isIt(sent));
  for (const sent of due) group.deliver(sent);
  group.settle();
}

/** What a leader's heartbeat tells one member. */
function sentTo(id: string, leader: RaftNode, now: number): Message {
  const sent = act(leader, now).messages.find(({ to }) => to === id);
  return sent?.message ?? appendEntries({ from: "a", term: leader.term, entries: range("2@2", "") });
}
