import { describe, expect, it } from "vitest";

import { CoreGroup, seededRandom } from "../testing/core/core-group.ts";
import { configOf, ProtocolViolation, RaftNode, type Actions, type Message } from "./index.ts";
import {
  ABC,
  accepted,
  act,
  appendEntries,
  at,
  leading,
  logOf,
  range,
  restarted,
  allMessagesOf,
} from "./test/script.ts";

const THREE = ["a", "b", "c"];
const FIRST = [{ index: 1, config: ABC }];

function said({ messages, messagesAfterPersist }: Actions): Message[] {
  return [...messages, ...messagesAfterPersist].map(({ message }) => message);
}

describe("the timer", () => {
  it("is not changed when a heartbeat moves the deadline later; the early call names the new time", () => {
    const node = restarted({ log: logOf("1-3@1", "0@0", FIRST), term: 1 });
    const { timer } = node.takeActions();
    expect(timer).toBe(600);
    for (let now = 80; now <= 560; now += 80) {
      node.handleMessage(appendEntries({ term: 1, entries: range("3@1", "") }), now);
      expect(act(node, now).timer).toBe(timer);
    }
    node.handleTimeout(600);
    expect(node.role).toBe("follower");
    expect(act(node, 600).timer).toBe(560 + 600);
  });

  it("is changed at once by an earlier deadline", () => {
    const node = restarted({ log: logOf("1@1", "0@0", FIRST), preVote: false });
    node.handleTimeout(1000);
    expect(act(node, 1000).timer).toBe(1600);
    node.handleMessage({ type: "request-vote-reply", from: "b", term: node.term, granted: true }, 1100);
    expect(act(node, 1100).timer).toBe(1180);
  });

  it("may fire early, late, twice, or with a clock that went back", () => {
    const node = restarted({ log: logOf("1-3@1", "0@0", FIRST), term: 1 });
    act(node);
    for (const early of [1, 300, 200, 599, -5]) {
      node.handleTimeout(early);
      expect(act(node, early).timer).toBe(600);
      expect(node.role).toBe("follower");
    }
    node.handleTimeout(5000);
    expect(node.role).toBe("pre-candidate");
    const { timer } = act(node, 5000);
    expect(timer).toBe(5000 + 600);
    node.handleTimeout(5000);
    node.handleTimeout(700);
    expect(said(act(node, 700))).toEqual([]);
    expect(node.term).toBe(1);
  });

  it("is never set for an idle sole voter that leads", () => {
    const group = new CoreGroup(["a"]);
    group.host("a").createCluster(["a"], 0);
    group.advance(10_000);
    expect(group.node("a").role).toBe("leader");
    expect(group.host("a").timer).toBeNull();
  });

  it("is set for a sole voter with a learner, for the learner's heartbeats", () => {
    const config = configOf(["a"], ["l"]);
    const log = { ...logOf("1@1", "0@0", [{ index: 1, config }]), baseConfig: configOf([]) };
    const node = restarted({ log });
    node.handleTimeout(0);
    allMessagesOf(node);
    expect(node.role).toBe("leader");
    expect(node.takeActions().timer).toBe(80);
    node.handleTimeout(80);
    expect(said(act(node, 80)).map(({ type }) => type)).toEqual(["append-entries"]);
    node.handleTimeout(80_000);
    expect(node.role).toBe("leader");
  });

  it("of a leader is the next heartbeat, or the time to step down if that is earlier", () => {
    const node = leading();
    expect(node.takeActions().timer).toBe(1080);
    for (let now = 1080; now < 1800; now += 80) {
      node.handleTimeout(now);
      node.takeActions();
    }
    expect(node.role).toBe("leader");
    const { timer } = node.takeActions();
    expect(timer).toBe(1800);
    node.handleTimeout(1800);
    expect(node.role).toBe("follower");
  });
});

describe("a leader's heartbeats", () => {
  it("cost an idle group one message and one answer per follower and interval, and no write", () => {
    const group = CoreGroup.started(THREE);
    group.advance(200);
    group.clearSent();
    group.advance(10 * group.heartbeatMs);
    expect(group.sent).toHaveLength(10 * 2 * 2);
    for (const host of group.hosts) expect(host.pendingWrites).toBe(0);
  });

  it("keep its followers from starting an election", () => {
    const group = CoreGroup.started(THREE);
    const { term } = group.node("a");
    group.clearSent();
    group.advance(60_000);
    expect(group.sent.filter(({ message }) => message.type === "pre-vote")).toEqual([]);
    expect(group.node("c").term).toBe(term);
  });
});

describe("several writes under way", () => {
  it("release each message only when its own batch is durable", () => {
    const node = restarted({ log: logOf("1-3@1", "0@0", FIRST), term: 1 });
    node.handleMessage({ type: "request-vote", from: "b", term: 5, last: at("3@1"), transfer: false }, 1000);
    const first = node.takeActions();
    node.handleMessage({ type: "request-vote", from: "c", term: 6, last: at("3@1"), transfer: false }, 1000);
    const second = node.takeActions();
    node.handleMessage(appendEntries({ from: "c", term: 6, entries: range("3@1", "4@6") }), 1001);
    const third = node.takeActions();
    expect(said(first)).toEqual([{ type: "request-vote-reply", from: "a", term: 5, granted: true }]);
    expect(said(second)).toEqual([{ type: "request-vote-reply", from: "a", term: 6, granted: true }]);
    expect([first.messages, second.messages, third.messages]).toEqual([[], [], []]);
    node.handlePersisted(first.persistId, 1002);
    expect(said(node.takeActions())).toEqual([]);
    node.handlePersisted(second.persistId, 1003);
    expect(said(node.takeActions())).toEqual([accepted("a", 6, 3)]);
    node.handlePersisted(third.persistId, 1004);
    expect(said(node.takeActions())).toEqual([accepted("a", 6, 4)]);
  });

  it("let a candidate count its own vote once it is durable, and not in a later election", () => {
    const node = restarted({ log: logOf("1@1", "0@0", FIRST), preVote: false });
    node.handleTimeout(1000);
    const first = node.takeActions();
    node.handleTimeout(2000);
    const second = node.takeActions();
    expect(node.term).toBe(3);
    node.handlePersisted(first.persistId, 2001);
    node.handleMessage({ type: "request-vote-reply", from: "b", term: 3, granted: true }, 2001);
    expect(node.role).toBe("candidate");
    node.handlePersisted(second.persistId, 2002);
    expect(node.role).toBe("leader");
  });

  it("do not make a leader of a node that follows another when its own vote becomes durable", () => {
    const node = restarted({ log: logOf("1@1", "0@0", FIRST), preVote: false });
    node.handleTimeout(1000);
    const { persistId } = node.takeActions();
    const { term } = node;
    node.handleMessage(appendEntries({ from: "b", term, entries: range("1@1", "") }), 1001);
    for (const from of ["b", "c"]) {
      node.handleMessage({ type: "request-vote-reply", from, term, granted: true }, 1001);
    }
    node.handlePersisted(persistId, 1002);
    expect([node.role, node.leader]).toEqual(["follower", "b"]);
  });
});

describe("actions that were not taken across a change of leaders", () => {
  it("merge into one write that leaves the last leader's log", () => {
    const node = restarted({ log: logOf("1-4@1"), term: 1 });
    node.handleMessage(appendEntries({ from: "b", term: 2, entries: range("4@1", "5-9@2") }), 1);
    node.handleMessage(appendEntries({ from: "c", term: 3, entries: range("6@2", "7@3") }), 1);
    node.handleMessage(appendEntries({ from: "b", term: 4, entries: range("2@1", "3@4") }), 1);
    const { append, hardState } = act(node, 1);
    expect(append).toEqual({ truncateFrom: 3, from: 3, to: 4 });
    expect(hardState).toEqual({ term: 4, votedFor: null });
    expect(node.log.last).toEqual(at("3@4"));
    expect(node.durableIndex).toBe(3);
  });

  it("of a leader that stepped down write its entries and send them to no node", () => {
    const node = leading();
    const { term } = node;
    for (const id of ["b", "c"]) node.handleMessage(accepted(id, term, 2), 1001);
    act(node, 1001);
    node.proposeCommands(5, 1002);
    node.handleMessage({ type: "request-vote-reply", from: "c", term: term + 1, granted: false }, 1002);
    const actions = node.takeActions();
    expect(actions.append).toEqual({ truncateFrom: null, from: 3, to: 8 });
    expect(said(actions)).toEqual([]);
    node.handlePersisted(actions.persistId, 1003);
    expect(node.durableIndex).toBe(7);
    expect(node.commitIndex).toBe(2);
  });

  it("of a leader that is elected again use no match and no answer of its first term", () => {
    const group = CoreGroup.started(THREE);
    group.write("a", "x");
    const old = group.sent.filter(({ to, message }) => to === "a" && message.type === "append-entries-reply");
    group.inject("a", { type: "request-vote-reply", from: "c", term: 50, granted: false });
    group.settle();
    group.intercept((message) => message.type === "append-entries-reply");
    group.elect("a");
    for (const sent of old) group.deliver(sent);
    expect(group.node("a").progress("b")).toMatchObject({ match: 0, state: "probe" });
    expect(group.node("a").termStartCommitted).toBe(false);
    group.intercept(null);
    group.heartbeat();
    group.heartbeat();
    expect(group.node("a").termStartCommitted).toBe(true);
  });
});

describe("answers in unusual orders", () => {
  it("to a refused and an accepted message of one turn are both right", () => {
    const node = restarted({ log: logOf("1-3@1"), term: 1 });
    node.handleMessage(appendEntries({ term: 1, entries: range("9@1", "10@1") }), 1);
    node.handleMessage(appendEntries({ term: 1, entries: range("3@1", "4@1") }), 1);
    const outcomes = allMessagesOf(node, 1).flatMap((message) =>
      message.type === "append-entries-reply" ? [message.outcome] : [],
    );
    expect(outcomes[0]).toEqual({ accepted: false, refused: 9, hint: at("3@1") });
    expect(outcomes.at(-1)).toEqual({ accepted: true, match: 4 });
  });

  it("of a node that hears of a later term in the same turn do not go to the earlier leader", () => {
    const node = restarted({ log: logOf("1-3@1"), term: 1 });
    node.handleMessage(appendEntries({ from: "b", term: 2, entries: range("3@1", "4@2") }), 1);
    node.handleMessage({ type: "request-vote-reply", from: "c", term: 7, granted: false }, 1);
    const all = allMessagesOf(node, 1);
    expect(all).toEqual([]);
    expect([node.term, node.leader]).toEqual([7, null]);
    expect(node.log.last).toEqual(at("4@2"));
  });

  it("to a deposed leader carry the later term, and change nothing on this node", () => {
    const node = restarted({ log: logOf("1-3@1"), term: 5 });
    act(node);
    const { log } = node.capture();
    node.handleMessage(appendEntries({ from: "b", term: 4, entries: range("3@1", "4-9@4"), commit: 9 }), 1);
    node.handleMessage(
      { type: "install-snapshot", from: "b", term: 4, last: at("9@4"), config: ABC, round: 1 },
      1,
    );
    const actions = act(node, 1);
    expect(said(actions).map(({ term }) => term)).toEqual([5, 5]);
    expect(actions.installSnapshot).toBeNull();
    expect(node.capture().log).toEqual(log);
    expect([node.leader, node.commitIndex]).toEqual([null, 0]);
    const old = leading();
    for (const message of said(actions)) old.handleMessage({ ...message, from: "b" }, 1001);
    expect([old.role, old.term]).toEqual(["follower", 5]);
  });
});

describe("a node", () => {
  it("behaves the same after it was captured and revived", () => {
    const group = CoreGroup.started(THREE);
    group.holdDisk("b");
    for (let n = 0; n < 3; n++) group.propose("a", `w${n}`);
    group.node("a").readIndex(group.now);
    group.settle();
    for (const id of THREE) {
      const [random, other] = [seededRandom(7), seededRandom(7)];
      const image = structuredClone(group.node(id).capture());
      const one = RaftNode.revive({ id, random }, image);
      const two = RaftNode.revive({ id, random: other }, structuredClone(one.capture()));
      for (const node of [one, two]) {
        node.handleTimeout(group.now + 80);
        node.proposeCommand(group.now + 80);
        node.handleMessage(
          { type: "request-vote-reply", from: "x", term: 99, granted: false },
          group.now + 81,
        );
      }
      expect(two.takeActions()).toStrictEqual(one.takeActions());
      expect(two.capture()).toEqual(one.capture());
    }
  });

  it("waits for the same write after it was captured and revived", () => {
    const node = restarted({ log: logOf("1-3@1", "0@0", FIRST), term: 1 });
    node.handleMessage({ type: "request-vote-reply", from: "b", term: 5, granted: false }, 1000);
    const { persistId } = node.takeActions();
    const twin = RaftNode.revive({ id: "a", random: () => 0.5 }, structuredClone(node.capture()));
    for (const each of [node, twin]) {
      each.handleMessage(appendEntries({ term: 5, entries: range("3@1", "") }), 1000);
      expect(said(each.takeActions())).toEqual([]);
      each.handlePersisted(persistId, 1001);
      expect(said(each.takeActions())).toEqual([accepted("a", 5, 3)]);
    }
  });

  it("refuses options that would not work", () => {
    const random = (): number => 0;
    for (const wrong of [
      { id: "" },
      { electionTimeoutMs: { min: 0, max: 5 } },
      { electionTimeoutMs: { min: 500, max: 400 } },
      { heartbeatMs: 300 },
      { heartbeatMs: 0 },
      { inflightMessagesMax: 0 },
      { messageEntriesMax: 1.5 },
    ]) {
      expect(() => RaftNode.start({ id: "a", random, ...wrong })).toThrow(ProtocolViolation);
    }
  });

  it("takes the time from every input, and ignores an earlier one", () => {
    const inputs: readonly ((node: RaftNode, now: number) => unknown)[] = [
      (node, now) => node.proposeCommand(now),
      (node, now) => node.proposeCommands(2, now),
      (node, now) => node.proposeConfig(ABC, now),
      (node, now) => node.transferLeadership("b", now),
      (node, now) => node.leaseIndex(now),
      (node, now) => node.readIndex(now),
      (node, now) => node.handleMessage(accepted("b", node.term, 2), now),
      (node, now) => node.handleTimeout(now),
      (node, now) => node.handlePersisted(1, now),
      (node, now) => node.handleCompacted(0, now),
      (node, now) => node.handleSnapshotInstalled(at("1@1"), ABC, now),
    ];
    for (const input of inputs) {
      const node = leading();
      input(node, 1010);
      expect([String(input), node.capture().now]).toEqual([String(input), 1010]);
      input(node, 990);
      expect(node.capture().now).toBe(1010);
    }
    const fresh = RaftNode.start({ id: "a", random: () => 0 });
    fresh.createCluster(["a"], 77);
    expect(fresh.capture().now).toBe(77);
  });

  it("that restarted helps no candidate to depose a leader that it may just have heard [E15]", () => {
    const ask = { type: "request-vote", from: "c", term: 2, last: at("9@1"), transfer: false } as const;
    for (const [now, granted] of [
      [399, [false]],
      [400, [true]],
    ] as const) {
      const node = restarted({ log: logOf("1-3@1", "0@0", FIRST) });
      node.handleMessage(ask, now);
      const answers = allMessagesOf(node, now).filter(({ type }) => type === "request-vote-reply");
      expect([now, answers.map((answer) => "granted" in answer && answer.granted)]).toEqual([now, granted]);
    }
  });

  it("starts no election while a write is stalled, and does afterwards [D11]", () => {
    const node = restarted({ log: logOf("1@1", "0@0", FIRST), preVote: false, storageStallMs: 100 });
    node.handleMessage(appendEntries({ term: 1, entries: range("1@1", "2@1") }), 10);
    const { persistId } = node.takeActions();
    const deadline = node.capture().electionDeadline ?? 0;
    expect(deadline).toBeGreaterThan(110);
    node.handleTimeout(deadline);
    expect([node.role, node.term]).toEqual(["follower", 1]);
    const later = node.capture().electionDeadline ?? 0;
    expect(later).toBeGreaterThan(deadline);
    node.handlePersisted(persistId, later - 1);
    node.handleTimeout(later);
    expect([node.role, node.term]).toEqual(["candidate", 2]);
  });

  it("gives up a candidacy when a part of the node hangs, and wins none that it began before [Z15]", () => {
    for (const preVote of [true, false]) {
      const node = restarted({ log: logOf("1@1", "0@0", FIRST), preVote });
      node.handleTimeout(1000);
      act(node, 1000);
      expect(node.role).toBe(preVote ? "pre-candidate" : "candidate");
      const { term, preVoteRound: round } = node.capture();
      node.handleServiceStall(true, 1001);
      expect(node.role).toBe("follower");
      for (const from of ["b", "c"]) {
        node.handleMessage({ type: "request-vote-reply", from, term, granted: true }, 1002);
        node.handleMessage({ type: "pre-vote-reply", from, term, round, granted: true }, 1002);
      }
      expect([node.role, node.term]).toEqual(["follower", term]);
    }
  });

  it("stays a candidate when it is told that nothing hangs [Z15]", () => {
    for (const preVote of [true, false]) {
      const node = restarted({ log: logOf("1@1", "0@0", FIRST), preVote });
      node.handleTimeout(1000);
      node.handleServiceStall(false, 1001);
      expect(node.role).toBe(preVote ? "pre-candidate" : "candidate");
    }
  });

  it("still knows its leader as a follower with a part that hangs since the time named [Z15]", () => {
    const node = restarted({ log: logOf("1@1", "0@0", FIRST) });
    node.handleMessage(appendEntries({ term: 1, entries: range("1@1", "2@1") }), 10);
    node.handleServiceStall(true, 20);
    expect(node.leader).not.toBeNull();
    expect(node.capture().serviceStalledAt).toBe(20);
  });

  it("says since when its oldest write has been under way", () => {
    const node = restarted({ log: logOf("1@1", "0@0", FIRST) });
    expect(node.oldestWriteAt).toBeNull();
    node.handleMessage(appendEntries({ term: 1, entries: range("1@1", "2@1") }), 10);
    const { persistId } = node.takeActions();
    node.handleMessage(appendEntries({ term: 1, entries: range("2@1", "3@1") }), 20);
    node.takeActions();
    expect(node.oldestWriteAt).toBe(10);
    node.handlePersisted(persistId, 30);
    expect(node.oldestWriteAt).toBe(20);
  });

  it("begins no election on pre-votes that come while a write is stalled [D11]", () => {
    const node = restarted({ log: logOf("1@1", "0@0", FIRST), storageStallMs: 700 });
    node.handleMessage(appendEntries({ term: 1, entries: range("1@1", "2@1") }), 10);
    node.takeActions();
    const deadline = node.capture().electionDeadline ?? 0;
    expect(deadline).toBeLessThan(710);
    node.handleTimeout(deadline);
    expect(node.role).toBe("pre-candidate");
    const { preVoteRound: round } = node.capture();
    for (const from of ["b", "c"]) {
      node.handleMessage({ type: "pre-vote-reply", from, term: 1, round, granted: true }, 710);
    }
    expect([node.role, node.term]).toEqual(["pre-candidate", 1]);
  });

  it("starts an election at once when its leader asks it to", () => {
    const node = restarted({ log: logOf("1@1", "0@0", FIRST) });
    node.handleMessage(appendEntries({ term: 1, entries: range("1@1", "") }), 10);
    expect([node.leaderHeardAt, node.removedMembersToNotify]).toEqual([10, []]);
    node.handleMessage({ type: "timeout-now", from: "b", term: 1 }, 11);
    expect([node.role, node.term]).toEqual(["candidate", 2]);
  });

  it("sends TimeoutNow as soon as the target's acknowledgement shows that its log is complete", () => {
    const node = leading();
    node.handleMessage(accepted("b", node.term, 1), 1001);
    expect(node.transferLeadership("b", 1002)).toEqual({ to: "b" });
    expect([node.transferTarget, node.takesCommands]).toEqual(["b", false]);
    expect(said(act(node, 1002)).map(({ type }) => type)).not.toContain("timeout-now");
    node.handleMessage(accepted("b", node.term, 2), 1003);
    expect(said(act(node, 1003)).map(({ type }) => type)).toContain("timeout-now");
  });

  it("leaves a joint configuration as soon as it is committed, by an answer or by its own disk", () => {
    const target = configOf(["a", "b"]);
    for (const ownDiskLast of [false, true]) {
      const node = leading();
      node.handleMessage(accepted("b", node.term, 2), 1001);
      act(node, 1001);
      expect(node.proposeConfig(target, 1002)).toEqual({ index: 3, term: node.term });
      const { persistId } = node.takeActions();
      expect(node.config.outgoingVoters).toEqual(["a", "b", "c"]);
      if (ownDiskLast) {
        node.handleMessage(accepted("b", node.term, 3), 1003);
        expect(node.config.outgoingVoters).toEqual(["a", "b", "c"]);
        node.handlePersisted(persistId, 1004);
      } else {
        node.handlePersisted(persistId, 1003);
        expect(node.config.outgoingVoters).toEqual(["a", "b", "c"]);
        node.handleMessage(accepted("b", node.term, 3), 1004);
      }
      expect([node.commitIndex, node.config]).toEqual([3, target]);
      expect(node.removedMembersToNotify).toEqual(["c"]);
    }
  });

  it("refuses messages whose term is not a valid term", () => {
    for (const term of [-1, 1.5, Number.NaN, Infinity, 2 ** 53 - 1]) {
      const node = restarted({ log: logOf("1@1") });
      expect(() => node.handleMessage({ ...accepted("b", term, 1) }, 1)).toThrow("a term is a whole number");
    }
    const node = restarted({ log: logOf("1@1") });
    expect(() => node.handleMessage({ ...accepted("b", 0, 1) }, 1)).not.toThrow();
  });

  it("knows while it leads how far the other nodes are, and whether they answered recently", () => {
    const node = leading();
    expect(node.progress("x")).toBeUndefined();
    node.handleMessage(accepted("b", node.term, 2), 1100);
    expect(node.progress("b")).toEqual({
      ...{ state: "replicate", match: 2, next: 3, recentlyActive: true },
      lostAfter: null,
    });
    // Every input moves the node's time.
    node.readIndex(1899);
    expect(node.progress("b")?.recentlyActive).toBe(true);
    node.readIndex(1900);
    expect(node.progress("b")?.recentlyActive).toBe(false);
    expect(restarted({ log: logOf("1@1") }).progress("b")).toBeUndefined();
  });

  it("reports the status of an entry only as far as it can know it", () => {
    const node = restarted({ log: logOf("4-6@2 7-9@4", "3@1"), term: 5, commitIndex: 7 });
    const statuses = ["3@1", "5@2", "5@1", "7@4", "8@4", "8@3", "8@5", "10@3", "10@4", "2@1"].map((text) => [
      text,
      node.commitStatus(at(text)),
    ]);
    expect(statuses).toEqual([
      ["3@1", "committed"],
      ["5@2", "committed"],
      ["5@1", "rejected"],
      ["7@4", "committed"],
      ["8@4", "in-progress"],
      // Another entry is at its index, uncommitted. But a later term has committed, so it never will be.
      ["8@3", "rejected"],
      ["8@5", "unknown"],
      ["10@3", "rejected"],
      ["10@4", "unknown"],
      ["2@1", "unknown"],
    ]);
  });

  it("creates a cluster in its current term, or in term 1, and waits for its election timeout", () => {
    const fresh = RaftNode.start({ id: "a", random: () => 0 });
    expect(fresh.createCluster(["a", "b", "c"], 10)).toEqual(at("1@1"));
    expect([fresh.term, fresh.votedFor, fresh.role]).toEqual([1, null, "follower"]);
    const actions = act(fresh, 10);
    expect(actions).toMatchObject({
      timer: 410,
      hardState: { term: 1, votedFor: null },
      append: { truncateFrom: null, from: 1, to: 2 },
    });
    expect(fresh.log.configAt(1)).toEqual({ index: 1, config: ABC });

    const older = RaftNode.start({ id: "a", random: () => 0 });
    older.handleMessage({ type: "request-vote-reply", from: "b", term: 3, granted: false }, 1);
    older.createCluster(["a", "b"], 2);
    expect([older.term, older.log.last]).toEqual([3, at("1@1")]);
  });

  it("refuses messages from itself", () => {
    const node = restarted({ log: logOf("1@1") });
    expect(() => node.handleMessage({ ...accepted("a", 1, 1) }, 1)).toThrow(ProtocolViolation);
  });
});
