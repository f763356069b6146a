import { describe, expect, it } from "vitest";

import { CoreGroup, ofType } from "../testing/core/core-group.ts";
import { configOf, isVoter, ProtocolViolation, RaftNode, type Message, type RequestVote } from "./index.ts";
import {
  FIRST_ROUND,
  preVoteReply,
  ABC,
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
const FIVE = ["a", "b", "c", "d", "e"];

function requestVote(from: string, term: number, last: string, transfer = false): RequestVote {
  return { type: "request-vote", from, term, last: at(last), transfer };
}

function votesIn(messages: readonly Message[]): boolean[] {
  return messages.flatMap((message) => (message.type === "request-vote-reply" ? [message.granted] : []));
}

describe("a vote", () => {
  it("is refused to a candidate whose log is longer but ends in an earlier term [E1]", () => {
    const group = CoreGroup.started(THREE, { checkQuorum: false, preVote: false });
    group.isolate("a");
    for (let n = 0; n < 5; n++) group.write("a", `lost${n}`);
    group.elect("b");
    const committed = group.write("b", "kept");
    expect(group.node("c").log.contains(committed)).toBe(true);
    expect(group.node("a").log.last.index).toBeGreaterThan(group.node("c").log.last.index);
    group.crash("b");
    group.heal();
    group.timeOut("a");
    group.settle();
    group.timeOut("a");
    group.settle();
    expect(group.node("a").role).not.toBe("leader");
    group.elect("c");
    group.heartbeat();
    expect(group.node("c").commitStatus(committed)).toBe("committed");
    expect(group.node("a").commitStatus(committed)).toBe("committed");
  });

  it.each([
    ["5@2", "9@1", false],
    ["5@2", "4@2", false],
    ["5@2", "5@2", true],
    ["5@2", "6@2", true],
    ["5@2", "1@3", true],
  ])(
    "of a node whose last entry is %s is, for a candidate whose last entry is %s: %s [E1]",
    (own, last, granted) => {
      const node = restarted({ log: logOf(own === "5@2" ? "1-4@1 5@2" : ""), term: 3 });
      node.handleMessage(requestVote("b", 4, last), 1000);
      expect(votesIn(allMessagesOf(node, 1000))).toEqual([granted]);
    },
  );

  it("is sent only once it is durable [E3]", () => {
    const group = CoreGroup.started(THREE);
    group.crash("a");
    group.holdDisk("c");
    group.timeOut("b");
    group.settle();
    const replies = (): number =>
      ofType(group.sent, "request-vote-reply").filter(({ from }) => from === "c").length;
    const before = replies();
    expect(group.node("c").votedFor).toBe(group.node("b").id);
    expect(group.host("c").hardState.votedFor).not.toBe("b");
    expect(group.node("b").role).toBe("candidate");
    group.releaseDisk("c");
    group.settle();
    expect(replies()).toBe(before + 1);
    expect(group.node("b").role).toBe("leader");
  });

  it("binds the voter after a crash if it was durable, and was never sent otherwise [E3]", () => {
    const group = CoreGroup.started(THREE, { preVote: false, checkQuorum: false });
    group.crash("a");
    group.holdDisk("c");
    group.cut("b", "c");
    group.timeOut("b");
    group.settle();
    group.deliver({ to: "c", message: ofType(group.sent, "request-vote").at(-1)!, entries: [] });
    group.crash("c");
    group.restart("c");
    expect(group.node("c").votedFor).not.toBe("b");
    group.releaseDisk("c");
    group.deliver({ to: "c", message: ofType(group.sent, "request-vote").at(-1)!, entries: [] });
    group.settle();
    group.crash("c");
    group.restart("c");
    const { term } = group.node("b");
    expect(group.host("c").hardState).toEqual({ term, votedFor: "b" });
    group.inject("c", requestVote("a", term, "99@99"));
    group.settle();
    expect(group.node("c").votedFor).toBe("b");
  });

  it("is requested only once the candidate's own vote is durable [E4]", () => {
    const group = CoreGroup.started(THREE, { preVote: false, checkQuorum: false });
    group.crash("a");
    group.holdDisk("b");
    group.clearSent();
    group.timeOut("b");
    group.settle();
    expect(group.node("b").role).toBe("candidate");
    expect(ofType(group.sent, "request-vote")).toEqual([]);
    const { term } = group.node("b");
    group.crash("b");
    group.restart("b");
    group.releaseDisk("b");
    group.inject("b", requestVote("c", term, "99@99"));
    group.settle();
    expect(group.host("b").hardState).toEqual({ term, votedFor: "c" });
  });

  it("is saved with its term as one record, whatever a crash keeps [E5]", () => {
    for (const torn of [
      { whole: 0, entries: null },
      { whole: 0, entries: 0 },
      { whole: 9, entries: null },
    ]) {
      const group = CoreGroup.started(THREE, { preVote: false, checkQuorum: false });
      const { term } = group.node("c");
      group.holdDisk("c");
      group.inject("c", requestVote("b", term + 1, "99@99"));
      expect(group.host("c").pendingActions.map(({ hardState }) => hardState)).toEqual([
        { term: term + 1, votedFor: "b" },
      ]);
      group.crash("c", torn);
      const kept = group.host("c").hardState;
      expect([
        { term, votedFor: "a" },
        { term: term + 1, votedFor: "b" },
      ]).toContainEqual(kept);
      group.restart("c");
      group.releaseDisk("c");
      for (const asked of [term, term + 1]) {
        group.inject("c", requestVote("d", asked, "99@99"));
        group.settle();
      }
      // The checker throws if a durable vote ever changes.
      expect(group.host("c").hardState.term).toBe(term + 1);
      expect(group.host("c").hardState.votedFor).toBe(kept.term === term ? "d" : "b");
    }
  });

  it("is kept by a leader that steps down within its term [E6]", () => {
    const node = leading();
    const { term } = node;
    node.handleTimeout(1000 + 800);
    expect(node.role).toBe("follower");
    expect(node.progress("b")).toBeUndefined();
    expect([node.term, node.votedFor]).toEqual([term, "a"]);
    node.handleMessage(requestVote("c", term, "99@99"), 9000);
    expect(votesIn(allMessagesOf(node, 9000))).toEqual([false]);
  });

  it("is kept by a candidate that follows the leader of its term, and then loses contact with it [E6]", () => {
    const node = restarted({ log: logOf("1@1", "0@0", [{ index: 1, config: ABC }]) });
    node.handleTimeout(1000);
    node.handleMessage(preVoteReply("b", 1), 1000);
    act(node, 1000);
    const { term } = node;
    expect(node.role).toBe("candidate");
    node.handleMessage(appendEntries({ term, entries: range("1@1", "") }), 1001);
    expect(node.role).toBe("follower");
    node.handleTimeout(9000);
    expect([node.role, node.term, node.leader]).toEqual(["pre-candidate", term, null]);
    node.handleMessage(requestVote("c", term, "99@99"), 9000);
    expect(votesIn(allMessagesOf(node, 9000))).toEqual([false]);
  });

  it("that is refused still updates the term, and nothing else [E8]", () => {
    const node = restarted({ log: logOf("1-5@2"), term: 6 });
    node.handleMessage({ type: "request-vote-reply", from: "c", term: 7, granted: false }, 1000);
    expect([node.term, node.votedFor]).toEqual([7, null]);
    node.handleMessage(requestVote("c", 7, "9@1"), 1000);
    expect(votesIn(allMessagesOf(node, 1000))).toEqual([false]);
    expect(node.votedFor).toBeNull();
  });

  it("is not granted in a pre-vote to a node whose log is behind", () => {
    const node = restarted({ log: logOf("1-4@1 5@2"), term: 3 });
    for (const last of ["9@1", "4@2", "5@2"]) {
      node.handleMessage({ type: "pre-vote", from: "b", term: 3, round: 1, last: at(last) }, 1000);
    }
    const granted = allMessagesOf(node, 1000).map(
      (reply) => reply.type === "pre-vote-reply" && reply.granted,
    );
    expect(granted).toEqual([false, false, true]);
    expect(node.votedFor).toBeNull();
  });

  it("is refused by a node that knows the leader of the term", () => {
    const node = restarted({ log: logOf("1-5@2"), term: 6 });
    node.handleMessage(appendEntries({ term: 6, entries: range("5@2", "") }), 1);
    node.handleMessage(requestVote("c", 6, "9@5"), 9000);
    expect(votesIn(allMessagesOf(node, 9000))).toEqual([false]);
    expect(node.votedFor).toBeNull();
  });

  it("is granted again to the same candidate, and to no other", () => {
    const node = restarted({ log: logOf("1-5@2"), term: 6 });
    node.handleMessage(requestVote("b", 7, "5@2"), 1000);
    node.handleMessage(requestVote("c", 7, "5@2"), 1000);
    node.handleMessage(requestVote("b", 7, "5@2"), 1000);
    expect(votesIn(allMessagesOf(node, 1000))).toEqual([true, false, true]);
  });

  it("of a term that was left before the actions were taken is never sent", () => {
    const node = restarted({ log: logOf("1-5@2"), term: 6 });
    node.handleMessage(requestVote("b", 7, "5@2"), 1000);
    node.handleMessage(requestVote("c", 8, "5@2"), 1000);
    const said = allMessagesOf(node, 1000);
    expect(said).toEqual([{ type: "request-vote-reply", from: "a", term: 8, granted: true }]);
    expect([node.term, node.votedFor]).toEqual([8, "c"]);
  });

  it("is never granted in an earlier term, even after the log was truncated to earlier terms [E26]", () => {
    const node = restarted({ log: logOf("1-4@1 5-7@5"), term: 9 });
    node.handleMessage(appendEntries({ term: 9, entries: range("4@1", "5@6") }), 1);
    expect(act(node, 1).append).toEqual({ truncateFrom: 5, from: 5, to: 6 });
    expect(node.term).toBe(9);
    node.handleMessage(requestVote("c", 8, "99@8"), 9000);
    const replies = allMessagesOf(node, 9000).filter(({ type }) => type === "request-vote-reply");
    expect(replies).toEqual([{ type: "request-vote-reply", from: "a", term: 9, granted: false }]);
  });
});

describe("a candidate", () => {
  it("does not lead before its own term is durable, however many votes it has", () => {
    const node = restarted({ log: logOf("1@1", "0@0", [{ index: 1, config: ABC }]), preVote: false });
    node.handleTimeout(1000);
    const taken = node.takeActions();
    const { term } = node;
    for (const from of ["b", "c"]) {
      node.handleMessage({ type: "request-vote-reply", from, term, granted: true }, 1001);
    }
    expect(node.role).toBe("candidate");
    node.handlePersisted(taken.persistId, 1002);
    expect(node.role).toBe("leader");
  });

  it("ignores votes of other terms, refusals and duplicates", () => {
    const five = configOf(FIVE);
    const node = restarted({ log: logOf("1@1", "0@0", [{ index: 1, config: five }]), preVote: false });
    node.handleTimeout(1000);
    act(node, 1000);
    const { term } = node;
    node.handleMessage({ type: "request-vote-reply", from: "b", term: term - 1, granted: true }, 1001);
    node.handleMessage({ type: "request-vote-reply", from: "c", term, granted: false }, 1001);
    for (let n = 0; n < 3; n++) {
      node.handleMessage({ type: "request-vote-reply", from: "d", term, granted: true }, 1001);
    }
    node.handleMessage({ type: "request-vote-reply", from: "x", term, granted: true }, 1001);
    expect(node.role).toBe("candidate");
    node.handleMessage({ type: "request-vote-reply", from: "e", term, granted: true }, 1001);
    expect(node.role).toBe("leader");
  });

  it("does not count pre-votes as votes", () => {
    const node = restarted({ log: logOf("1@1", "0@0", [{ index: 1, config: ABC }]), term: 4 });
    node.handleTimeout(1000);
    expect(node.role).toBe("pre-candidate");
    node.handleMessage(preVoteReply("b", 4, false), 1000);
    expect(node.term).toBe(4);
    node.handleMessage(preVoteReply("b", 4), 1000);
    expect([node.role, node.term]).toEqual(["candidate", 5]);
  });

  it("needs pre-votes of one round: answers to an earlier round of the same term don't count", () => {
    const node = restarted({ log: logOf("1@1", "0@0", [{ index: 1, config: ABC }]), term: 4 });
    node.handleTimeout(1000);
    node.handleTimeout(3000);
    const rounds = allMessagesOf(node, 3000).flatMap((sent) =>
      sent.type === "pre-vote" ? [[sent.term, sent.round]] : [],
    );
    expect(rounds).toEqual([1, 1, 2, 2].map((round) => [4, FIRST_ROUND - 1 + round]));
    for (const from of ["b", "c"]) node.handleMessage(preVoteReply(from, 4), 3001);
    expect([node.role, node.term]).toEqual(["pre-candidate", 4]);
    node.handleMessage(preVoteReply("b", 4, true, FIRST_ROUND + 1), 3001);
    expect([node.role, node.term]).toEqual(["candidate", 5]);
  });

  it("counts pre-votes of voters in an earlier term, which stay in it", () => {
    const node = restarted({ log: logOf("1@1", "0@0", [{ index: 1, config: ABC }]), term: 4 });
    node.handleTimeout(1000);
    node.handleMessage(preVoteReply("b", 2), 1000);
    expect([node.role, node.term]).toEqual(["candidate", 5]);
  });

  it("and its voters follow the winner of the same term [E10]", () => {
    const group = CoreGroup.started(FIVE, { preVote: false, checkQuorum: false });
    group.crash("a");
    group.isolate("d", "e");
    group.timeOut("d");
    group.fire("b");
    group.settle();
    const { term } = group.node("b");
    expect([group.node("d").term, group.node("e").votedFor]).toEqual([term, "d"]);
    group.restart("a");
    group.intercept((message, to) => message.type !== "request-vote-reply" && (to === "d" || to === "e"));
    for (const { message, to } of group.sent.filter(({ message }) => message.type === "request-vote")) {
      if (to === "a" && message.from === "b") group.inject("a", message);
    }
    group.settle();
    expect(group.node("b").role).toBe("leader");
    group.intercept(null);
    group.heal();
    group.heartbeat();
    for (const id of ["d", "e"]) {
      expect(group.node(id)).toMatchObject({ role: "follower", leader: "b", term });
      expect(group.node(id).log.last).toEqual(group.node("b").log.last);
    }
  });
});

describe("a vote that arrives late", () => {
  const granted = (from: string, term: number): Message => ({
    type: "request-vote-reply",
    from,
    term,
    granted: true,
  });

  it("changes nothing on a node that leads already", () => {
    const node = leading();
    for (const from of ["b", "c", "b"]) node.handleMessage(granted(from, node.term), 1001);
    expect(node.role).toBe("leader");
  });

  it("changes nothing on a node that follows the winner", () => {
    const node = restarted({ log: logOf("1@1"), preVote: false });
    node.handleTimeout(1000);
    act(node, 1000);
    node.handleMessage(appendEntries({ term: node.term, entries: range("1@1", "") }), 1001);
    for (const from of ["b", "c"]) node.handleMessage(granted(from, node.term), 1002);
    expect(node).toMatchObject({ role: "follower", leader: "b" });
  });

  it("in a pre-vote starts no election against a leader that was heard meanwhile", () => {
    const node = restarted({ log: logOf("1@1") });
    node.handleTimeout(1000);
    const { term } = node;
    node.handleMessage(appendEntries({ term, entries: range("1@1", "") }), 1001);
    for (const from of ["b", "c"]) {
      node.handleMessage(preVoteReply(from, term), 1002);
    }
    expect(node).toMatchObject({ role: "follower", term });
  });
});

describe("a pre-candidate", () => {
  it("sends requests for votes that say the leader did not ask for the election [E17]", () => {
    const node = restarted({ log: logOf("1@1") });
    node.handleTimeout(1000);
    const { term } = node;
    allMessagesOf(node, 1000);
    node.handleMessage(preVoteReply("b", term), 1001);
    const asked = allMessagesOf(node, 1001).filter((message) => message.type === "request-vote");
    expect(asked.map(({ transfer }) => transfer)).toEqual([false, false]);
  });

  it("stays one when another node asks for pre-votes in the same or an earlier term", () => {
    const node = restarted({ log: logOf("1@2") });
    node.handleTimeout(1000);
    for (const term of [1, 2]) {
      node.handleMessage({ type: "pre-vote", from: "b", term, round: term, last: at("1@2") }, 1001);
    }
    expect(node.role).toBe("pre-candidate");
    const answers = allMessagesOf(node, 1001).flatMap((said) =>
      said.type === "pre-vote-reply" ? [said] : [],
    );
    expect(answers.map(({ round, granted }) => [round, granted])).toEqual([
      [1, false],
      [2, true],
    ]);
  });

  it.each([2, 7])("and any other node is not changed by a pre-vote, here of term %i [E15]", (term) => {
    for (const timesOut of [true, false]) {
      const node = restarted({ log: logOf("1@2"), term: 3 });
      if (timesOut) node.handleTimeout(1000);
      act(node, 1000);
      const image = (): object => ({ ...node.capture(), persistedId: null, pendingActions: null });
      const before = image();
      node.handleMessage({ type: "pre-vote", from: "b", term, round: 1, last: at("9@2") }, 1000);
      const [reply, ...others] = act(node, 1000).messages.map(({ message }) => message);
      expect([reply, others]).toEqual([preVoteReply("a", 3, term > 3, 1), []]);
      expect(image()).toEqual(before);
    }
  });

  it("fails the reads that it forwarded, and sends no acknowledgement", () => {
    const node = restarted({ log: logOf("1@1") });
    node.handleMessage(appendEntries({ term: 1, entries: range("1@1", "2@1") }), 0);
    const read = node.readIndex(900);
    const { persistId } = node.takeActions();
    node.handleTimeout(1000);
    expect(node.role).toBe("pre-candidate");
    node.handlePersisted(persistId, 1000);
    const { reads, messages } = node.takeActions();
    expect(reads).toEqual([{ id: read, index: null }]);
    expect(messages.map(({ message }) => message.type)).toEqual(["pre-vote", "pre-vote"]);
  });
});

describe("a group whose nodes are in different terms", () => {
  it("lets a node in an earlier term learn the later one from the answers to its pre-votes, and elects a leader [E11]", () => {
    const group = CoreGroup.started(THREE);
    group.isolate("c");
    const behind = group.node("c").term;
    for (const id of ["a", "b"]) {
      group.inject(id, { type: "request-vote-reply", from: "c", term: behind + 4, granted: false });
    }
    group.elect("a");
    group.write("a", "more");
    group.crash("b");
    group.heal();
    // c asks for pre-votes in its earlier term.
    group.intercept((message) => message.type === "append-entries");
    group.timeOut("c");
    group.settle();
    expect(behind).toBeLessThan(group.node("a").term);
    expect(group.node("c").term).toBe(group.node("a").term);
    group.intercept(null);
    group.advance(5000);
    expect(group.leaders).toEqual(["a"]);
    expect(group.node("c").leader).toBe("a");
  });

  it("elects a leader though one node has a later term, a shorter log and no pre-vote [E12]", () => {
    const group = CoreGroup.started(THREE, { of: { a: { preVote: false } } });
    group.elect("b");
    group.isolate("a");
    group.write("b", "more");
    for (let n = 0; n < 5; n++) group.timeOut("a");
    expect(group.node("a").term).toBeGreaterThan(group.node("b").term + 2);
    group.heal();
    group.advance(6000);
    const [leader = ""] = group.leaders;
    expect(["b", "c"]).toContain(leader);
    expect(group.node("a").leader).toBe(leader);
    expect(group.payloads("a")).toContain("more");
  });

  it("elects a leader though the nodes with the longer log are in an earlier term [E13]", () => {
    const six = ["a", "b", "c", "d", "e", "f"];
    const group = CoreGroup.started(six);
    group.isolate("a", "b", "c");
    group.propose("a", "longer");
    group.settle();
    for (const id of ["d", "e", "f"])
      group.inject(id, { type: "request-vote-reply", from: "a", term: 6, granted: false });
    group.settle();
    group.advance(2000);
    expect(group.leaders).toEqual([]);
    expect(group.node("a").term).toBeLessThan(group.node("d").term);
    group.heal();
    group.advance(8000);
    expect(group.leaders).toHaveLength(1);
    expect(THREE).toContain(group.leaders[0]);
    for (const id of six) expect(group.payloads(id)).toContain("longer");
  });
});

describe("a healthy leader", () => {
  it("is not deposed by a node that was isolated and comes back [E15]", () => {
    const group = CoreGroup.started(THREE);
    group.isolate("c");
    group.advance(50 * 800);
    group.heal();
    const { term } = group.node("a");
    group.clearSent();
    for (let n = 0; n < 20; n++) {
      group.write("a", `w${n}`);
      group.heartbeat();
    }
    expect(group.leaders).toEqual(["a"]);
    expect(group.node("a").term).toBe(term);
    expect(group.payloads("c")).toContain("w19");
  });

  it("is not deposed by a removed node that starts elections without pre-vote [E15]", () => {
    const group = CoreGroup.started(THREE);
    const { term } = group.node("a");
    for (let n = 1; n < 10; n++) {
      for (const id of THREE) group.inject(id, requestVote("x", term + n, "999@99"));
      group.heartbeat();
    }
    expect(group.leaders).toEqual(["a"]);
    expect(group.node("a").term).toBe(term);
    for (const id of THREE) expect(group.host(id).hardState.votedFor).toBe("a");
  });

  it("is not deposed by a pre-vote, even of a later term", () => {
    const node = leading();
    const { term } = node;
    node.handleMessage({ type: "pre-vote", from: "b", term: term + 5, round: 1, last: at("99@99") }, 1001);
    expect([node.role, node.term]).toEqual(["leader", term]);
    expect(allMessagesOf(node, 1001)).toContainEqual(
      expect.objectContaining({ type: "pre-vote-reply", granted: false, term }),
    );
  });

  it("is replaced by an election that it asked for itself", () => {
    const node = leading();
    const { term } = node;
    node.handleMessage(requestVote("b", term + 1, "99@99", true), 1001);
    expect([node.role, node.term, node.votedFor]).toEqual(["follower", term + 1, "b"]);
  });
});

describe("a leader with a partly failed network", () => {
  it("stays leader while one of three nodes reaches both others [E16]", () => {
    const group = CoreGroup.started(THREE);
    const { term } = group.node("a");
    group.cut("a", "c");
    group.advance(20_000);
    const written = group.write("a", "still");
    expect(group.leaders).toEqual(["a"]);
    expect(group.node("a").term).toBe(term);
    expect(group.node("a").commitStatus(written)).toBe("committed");
    expect(group.node("c").term).toBe(term);
  });

  it("steps down when it reaches only one of four other nodes [E16]", () => {
    // a, the leader, reaches only c; b, c and d reach each other; e reaches no node.
    const group = CoreGroup.started(FIVE);
    group.isolate("e");
    group.cut("a", "b");
    group.cut("a", "d");
    group.advance(6_000);
    const [leader = ""] = group.leaders;
    expect(["b", "c", "d"]).toContain(leader);
    const { term } = group.node(leader);
    const written = group.write(leader, "moved");
    expect(group.node(leader).commitStatus(written)).toBe("committed");
    group.advance(20_000);
    expect(group.leaders).toEqual([leader]);
    expect(group.node(leader).term).toBe(term);
  });

  it("steps down when its messages arrive but no answers do [E16]", () => {
    const group = CoreGroup.started(THREE);
    group.cutOneWay("b", "a");
    group.cutOneWay("c", "a");
    group.advance(5_000);
    const [leader = ""] = group.leaders;
    expect(["b", "c"]).toContain(leader);
    expect(group.node("a").role).not.toBe("leader");
    const written = group.write(leader, "moved");
    expect(group.node(leader).commitStatus(written)).toBe("committed");
  });

  it("stays leader without answers if check-quorum is off [E16]", () => {
    const group = CoreGroup.started(THREE, { checkQuorum: false });
    group.cutOneWay("b", "a");
    group.cutOneWay("c", "a");
    group.advance(5_000);
    expect(group.leaders).toEqual(["a"]);
  });
});

describe("a node without a vote", () => {
  it("never starts an election as a learner, not even after a restart [E20]", () => {
    const config = configOf(["b", "c"], ["a"]);
    const node = restarted({ log: logOf("1-3@1", "0@0", [{ index: 1, config }]), commitIndex: 1 });
    expect(isVoter(config, "a")).toBe(false);
    for (let now = 1000; now < 20_000; now += 1000) {
      node.handleTimeout(now);
      const { messages, messagesAfterPersist, timer } = act(node, now);
      expect([messages, messagesAfterPersist, timer]).toEqual([[], [], null]);
    }
    expect([node.role, node.term]).toEqual(["follower", 1]);
  });

  it("never starts an election if it belongs to no cluster [E20]", () => {
    const node = RaftNode.start({ id: "a", random: () => 0 });
    expect(node.takeActions().timer).toBeNull();
    node.handleTimeout(10_000);
    expect([node.role, node.term]).toEqual(["follower", 0]);
  });
});

describe("election timeouts", () => {
  it("are drawn anew each time, so that a leader is elected within three rounds [E23]", () => {
    let late = 0;
    const runs = 100;
    for (let seed = 1; seed <= runs; seed++) {
      const group = new CoreGroup(FIVE, { seed });
      group.host("a").createCluster(FIVE, 0);
      group.settle();
      for (const id of FIVE.slice(1)) group.host(id).createCluster(FIVE, 0);
      group.advance(3 * 800);
      if (group.leaders.length === 0) late += 1;
    }
    expect(late).toBeLessThanOrEqual(runs / 100);
  });

  it("elect a leader in a restarted cluster in the usual time [E24]", () => {
    const group = CoreGroup.started(THREE);
    for (const id of THREE) group.crash(id);
    for (const id of THREE) group.restart(id);
    group.advance(2 * 800);
    expect(group.leaders).toHaveLength(1);
  });

  it("do not delay a sole voter, not even after a restart [E24]", () => {
    const group = new CoreGroup(["a"]);
    group.host("a").createCluster(["a"], 0);
    group.advance(0);
    expect(group.node("a")).toMatchObject({ role: "leader", leader: "a", commitIndex: 2 });
    group.crash("a");
    group.restart("a");
    group.advance(0);
    expect(group.node("a")).toMatchObject({ role: "leader", leader: "a", commitIndex: 3 });
  });

  it("start no second election of a sole voter whose disk is slow", () => {
    const group = new CoreGroup(["a"]);
    group.host("a").createCluster(["a"], 0);
    group.holdDisk("a");
    group.advance(10_000);
    const { term } = group.node("a");
    expect(group.node("a").role).toBe("candidate");
    group.releaseDisk("a");
    group.advance(0);
    expect(group.node("a")).toMatchObject({ role: "leader", term });
  });
});

describe("a term", () => {
  it("has one leader: a second one stops the node before anything changes", () => {
    const node = restarted({ log: logOf("1-3@1"), term: 2 });
    node.handleMessage(appendEntries({ from: "b", term: 2, entries: range("3@1", "4@2") }), 1);
    act(node, 1);
    const before = node.capture();
    const second = appendEntries({ from: "c", term: 2, entries: range("3@1", "4-5@2") });
    expect(() => node.handleMessage(second, 1)).toThrow(ProtocolViolation);
    expect(node.capture()).toEqual(before);
    const leader = leading();
    const led = leader.capture();
    expect(() =>
      leader.handleMessage(appendEntries({ term: leader.term, entries: range("1@1", "") }), 1000),
    ).toThrow(ProtocolViolation);
    expect(leader.capture()).toEqual(led);
  });

  it("is saved before any message of it is sent", () => {
    const node = restarted({ log: logOf("1-3@1"), term: 2 });
    node.handleMessage(appendEntries({ term: 5, entries: range("3@1", "") }), 1);
    const { hardState, messages, messagesAfterPersist, persistId } = node.takeActions();
    expect(hardState).toEqual({ term: 5, votedFor: null });
    expect([...messages, ...messagesAfterPersist]).toEqual([]);
    node.handlePersisted(persistId, 1);
    expect(act(node, 1).messages).toHaveLength(1);
  });
});
