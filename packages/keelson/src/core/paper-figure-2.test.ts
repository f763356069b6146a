// A test for each rule of Figure 2 of the Raft paper (extended version). Each is named by the rule, in our
// words. paper.test.ts continues with §§5 to 8.
import { describe, expect, it } from "vitest";

import { CoreGroup } from "../testing/core/core-group.ts";
import { RaftNode, type Message } from "./index.ts";
import {
  FIRST_CONFIG,
  LATER,
  answer,
  appendsTo,
  heardLeader,
  nodeWith,
  requestVote,
  votesIn,
} from "./test/paper.ts";
import {
  accepted,
  act,
  appendEntries,
  at,
  leading,
  logOf,
  offer,
  range,
  refused,
  repliesIn,
  allMessagesOf,
} from "./test/script.ts";

const THREE = ["a", "b", "c"];
describe("Figure 2, state", () => {
  it("currentTerm begins at 0, never falls, and is saved before any message of it is sent", () => {
    const node = RaftNode.start({ id: "a", random: () => 0 });
    expect(node.term).toBe(0);
    node.handleMessage(requestVote("b", 4, "1@1"), 1);
    const actions = node.takeActions();
    expect(actions.hardState).toEqual({ term: 4, votedFor: "b" });
    expect(actions.messages).toEqual([]);
    expect(actions.messagesAfterPersist).toHaveLength(1);
    node.handlePersisted(actions.persistId, 1);
    node.handleMessage(requestVote("c", 3, "9@3"), 2);
    expect(node.term).toBe(4);
  });

  it("votedFor survives a restart, and is empty in each new term", () => {
    const node = nodeWith("1@1", { term: 3, votedFor: "b" });
    expect(votesIn(answer(node, requestVote("c", 3, "9@3")))).toEqual([false]);
    node.handleMessage(appendEntries({ term: 4, entries: range("1@1", "") }), LATER);
    expect(node.votedFor).toBeNull();
  });

  it("the log begins at index 1, and each entry has the term in which its leader received it", () => {
    const group = CoreGroup.started(THREE);
    group.write("a", "x");
    group.elect("b");
    group.write("b", "y");
    const [first, ...rest] = group.host("c").memory;
    expect(first?.index).toBe(1);
    expect(rest.find(({ payload }) => payload === "x")?.term).toBe(2);
    expect(rest.find(({ payload }) => payload === "y")?.term).toBe(3);
  });

  it("commitIndex begins at the end of the snapshot, and never falls", () => {
    expect(nodeWith("1-5@1").commitIndex).toBe(0);
    const node = nodeWith("1-5@1", { commitIndex: 3 });
    answer(node, appendEntries({ term: 2, entries: range("5@1", ""), commit: 1 }));
    expect(node.commitIndex).toBe(3);
  });

  it("nextIndex begins after the leader's last entry and matchIndex at 0, in each election", () => {
    const node = leading({ log: logOf("1-7@1", "0@0", FIRST_CONFIG) });
    for (const id of ["b", "c"]) expect(node.progress(id)).toMatchObject({ match: 0, next: 8 });
  });

  it("matchIndex never falls", () => {
    const node = heardLeader();
    node.handleMessage(accepted("b", 2, 1), LATER);
    expect(node.progress("b")?.match).toBe(2);
  });
});

describe("Figure 2, AppendEntries, receiver", () => {
  it("1: refuses a leader of an earlier term, and tells it the later term", () => {
    const node = nodeWith("1-3@1", { term: 5 });
    const replies = repliesIn(answer(node, appendEntries({ term: 4, entries: range("3@1", "4@4") })));
    expect(replies).toMatchObject([{ term: 5, outcome: { accepted: false } }]);
    expect(node.log.last).toEqual(at("3@1"));
    expect(node.leader).toBeNull();
  });

  it.each([
    ["lacks the entry before", "1-3@1", "5@1", "6@2"],
    ["has another term there", "1-3@1 4@2", "4@3", "5@3"],
  ])("2: refuses entries when its log %s them", (_, log, prev, entries) => {
    const node = nodeWith(log, { term: 3 });
    const replies = repliesIn(answer(node, appendEntries({ term: 4, entries: range(prev, entries) })));
    expect(replies).toMatchObject([{ outcome: { accepted: false, refused: at(prev).index } }]);
    expect(node.log.last.index).toBeLessThan(5);
  });

  it("3: removes an entry that differs in term, and all after it", () => {
    const node = nodeWith("1-2@1 3-6@2", { term: 2 });
    answer(node, appendEntries({ term: 4, entries: range("2@1", "3@3") }));
    expect(node.log.last).toEqual(at("3@3"));
    expect(node.log.termAt(4)).toBeUndefined();
  });

  it("3: removes nothing where nothing differs, though the message ends earlier", () => {
    const node = nodeWith("1-6@1", { term: 2 });
    node.handleMessage(appendEntries({ term: 2, entries: range("1@1", "2@1") }), LATER);
    expect(node.log.last).toEqual(at("6@1"));
    expect(node.takeActions().append).toBeNull();
  });

  it("4: appends the entries that it lacks, each once", () => {
    const node = nodeWith("1-3@1", { term: 2 });
    node.handleMessage(appendEntries({ term: 2, entries: range("1@1", "2-3@1 4-5@2") }), LATER);
    expect(node.takeActions().append).toEqual({ truncateFrom: null, from: 4, to: 6 });
    expect(node.log.last).toEqual(at("5@2"));
  });

  it.each([
    ["the leader's commit index", 3, 3],
    ["the last new entry", 9, 4],
  ])("5: commits up to the smaller index, here %s", (_, commit, expected) => {
    const node = nodeWith("1-6@1", { term: 2 });
    answer(node, appendEntries({ term: 2, entries: range("2@1", "3-4@1"), commit }));
    expect(node.commitIndex).toBe(expected);
  });
});

describe("Figure 2, RequestVote, receiver", () => {
  it("1: refuses a candidate of an earlier term, and tells it the later term", () => {
    const node = nodeWith("1@1", { term: 5 });
    expect(answer(node, requestVote("b", 4, "9@4"))).toMatchObject([{ granted: false, term: 5 }]);
  });

  it("2: votes for an up-to-date candidate if it has no vote in the term, or voted for the same one", () => {
    const node = nodeWith("1@1");
    expect(votesIn(answer(node, requestVote("b", 3, "1@1")))).toEqual([true]);
    expect(votesIn(answer(node, requestVote("b", 3, "1@1")))).toEqual([true]);
    expect(votesIn(answer(node, requestVote("c", 3, "1@1")))).toEqual([false]);
    expect(votesIn(answer(node, requestVote("c", 4, "0@0")))).toEqual([false]);
    expect(votesIn(answer(node, requestVote("b", 4, "1@1")))).toEqual([true]);
  });
});

describe("Figure 2, rules for all servers", () => {
  it("apply committed entries, in log order, each once", () => {
    const group = CoreGroup.started(THREE);
    for (const text of ["x", "y", "z"]) group.write("a", text);
    group.heartbeat();
    for (const id of THREE) {
      const applied = group.host(id).applied.map(({ index }) => index);
      expect(applied).toEqual(applied.map((_, n) => n + 1));
      expect(
        group
          .host(id)
          .applied.map(({ payload }) => payload)
          .slice(-3),
      ).toEqual(["x", "y", "z"]);
    }
  });

  it.each<[string, (term: number) => Message]>([
    ["a request for a vote", (term) => requestVote("b", term, "0@0")],
    ["a vote", (term) => ({ type: "request-vote-reply", from: "b", term, granted: false })],
    ["entries", (term) => appendEntries({ term, entries: range("1@1", "") })],
    ["an acknowledgement", (term) => accepted("b", term, 1)],
    ["a snapshot", (term) => offer("5@3", { term })],
  ])("a later term in %s makes a candidate and a leader a follower in it", (_, message) => {
    const candidate = nodeWith("1@1");
    candidate.handleTimeout(LATER);
    expect(candidate.role).toBe("candidate");
    for (const node of [candidate, leading({ checkQuorum: false })]) {
      const later = node.term + 3;
      node.handleMessage(message(later), LATER);
      expect([node.role, node.term]).toEqual(["follower", later]);
    }
  });
});

describe("Figure 2, rules for followers", () => {
  it("they answer leaders and candidates, and send nothing on their own", () => {
    const node = nodeWith("1@1", { term: 2 });
    expect(allMessagesOf(node)).toEqual([]);
    expect(answer(node, appendEntries({ term: 2, entries: range("1@1", "") }))).toHaveLength(1);
  });

  it("they become candidates if they hear no leader and grant no vote before the election timeout", () => {
    const node = nodeWith("1@1", { random: () => 0 });
    node.handleTimeout(399);
    expect(node.role).toBe("follower");
    answer(node, appendEntries({ term: 2, entries: range("1@1", "") }), 399);
    node.handleTimeout(399 + 399);
    expect(node.role).toBe("follower");
    expect(votesIn(answer(node, requestVote("b", 3, "1@1"), 399 + 400))).toEqual([true]);
    node.handleTimeout(399 + 400 + 399);
    expect(node.role).toBe("follower");
    node.handleTimeout(399 + 400 + 400);
    expect(node.role).toBe("candidate");
  });
});

describe("Figure 2, rules for candidates", () => {
  it("an election is a new term, an own vote, a new timeout, and a request to every other voter", () => {
    const node = nodeWith("1-3@1");
    node.handleTimeout(LATER);
    expect(node).toMatchObject({ role: "candidate", term: 2, votedFor: "a" });
    const { timer, hardState, messagesAfterPersist } = node.takeActions();
    expect(hardState).toEqual({ term: 2, votedFor: "a" });
    expect(timer).toBeGreaterThanOrEqual(LATER + 400);
    expect(messagesAfterPersist.map(({ to }) => to)).toEqual(["b", "c"]);
    expect(messagesAfterPersist[0]?.message).toMatchObject({ term: 2, last: at("3@1") });
  });

  it("votes of a majority make a leader", () => {
    const node = nodeWith("1@1");
    node.handleTimeout(LATER);
    act(node, LATER);
    expect(node.role).toBe("candidate");
    answer(node, { type: "request-vote-reply", from: "c", term: 2, granted: true });
    expect(node).toMatchObject({ role: "leader", leader: "a" });
  });

  it("entries from the new leader make it a follower, which keeps its vote", () => {
    const node = nodeWith("1@1");
    node.handleTimeout(LATER);
    act(node, LATER);
    answer(node, appendEntries({ from: "c", term: 2, entries: range("1@1", "") }));
    expect(node).toMatchObject({ role: "follower", leader: "c", votedFor: "a" });
  });

  it("an election without a winner is followed by another", () => {
    const node = nodeWith("1@1");
    node.handleTimeout(LATER);
    act(node, LATER);
    node.handleTimeout(LATER + 800);
    expect([node.role, node.term]).toEqual(["candidate", 3]);
  });
});

describe("Figure 2, rules for leaders", () => {
  it("they send heartbeats at once, and after each idle interval", () => {
    const node = nodeWith("1@1");
    node.handleTimeout(LATER);
    act(node, LATER);
    node.handleMessage({ type: "request-vote-reply", from: "b", term: 2, granted: true }, LATER);
    const { messages, timer } = act(node, LATER);
    expect(messages.map(({ to, message }) => [to, message.type])).toEqual([
      ["b", "append-entries"],
      ["c", "append-entries"],
    ]);
    expect(timer).toBe(LATER + 80);
    node.handleTimeout(LATER + 80);
    expect(act(node, LATER + 80).messages).toHaveLength(2);
  });

  it("they append a command to their log, and apply it once it is committed", () => {
    const group = CoreGroup.started(THREE);
    group.isolate("a");
    const position = group.write("a", "x");
    expect(group.positions("a").at(-1)).toBe(`${position.index}@${position.term}`);
    expect(group.node("a").commitStatus(position)).toBe("in-progress");
    group.heal();
    group.heartbeat();
    expect(group.node("a").commitStatus(position)).toBe("committed");
    expect(group.host("a").applied.at(-1)?.payload).toBe("x");
  });

  it("they send each follower the entries from its nextIndex on", () => {
    const node = heardLeader();
    node.proposeCommands(3, LATER);
    expect(appendsTo("b", node)).toMatchObject([{ entries: { prev: at("2@2"), lastIndex: 5 } }]);
  });

  it("success raises matchIndex and nextIndex", () => {
    const node = heardLeader();
    node.proposeCommands(3, LATER);
    act(node, LATER);
    node.handleMessage(accepted("b", 2, 4), LATER);
    expect(node.progress("b")).toMatchObject({ match: 4, next: 6 });
    node.handleMessage(accepted("b", 2, 5), LATER);
    expect(node.progress("b")).toMatchObject({ match: 5, next: 6 });
  });

  it("a refusal lowers nextIndex, and they try again", () => {
    const node = leading({ log: logOf("1-7@1", "0@0", FIRST_CONFIG) });
    node.handleMessage(refused("b", 2, 7, "4@1"), LATER);
    expect(node.progress("b")?.next).toBe(5);
    expect(appendsTo("b", node)).toMatchObject([{ entries: { prev: at("4@1") } }]);
  });

  it("they commit up to the last entry of their own term that a majority has", () => {
    const node = heardLeader();
    node.proposeCommands(4, LATER);
    act(node, LATER);
    node.handleMessage(accepted("b", 2, 4), LATER);
    expect(node.commitIndex).toBe(4);
    node.handleMessage(accepted("c", 2, 5), LATER);
    expect(node.commitIndex).toBe(5);
  });
});
