import { describe, expect, it } from "vitest";

import { CoreGroup } from "../testing/core/core-group.ts";
import { configOf, ProtocolViolation, RaftNode, type Message } from "./index.ts";
import {
  ABC,
  accepted,
  act,
  appendEntries,
  at,
  leading,
  logOf,
  offer,
  range,
  restarted,
  allMessagesOf,
} from "./test/script.ts";

const THREE = ["a", "b", "c"];
const FIVE = ["a", "b", "c", "d", "e"];
const FIRST = [{ index: 1, config: ABC }];

describe("a committed entry", () => {
  it("of an earlier term is committed only with one of the leader's own term [C1]", () => {
    const five = configOf(FIVE);
    const log = logOf("1@1 2@2", "0@0", [{ index: 1, config: five }]);
    const node = leading({ log, term: 3 }, ["b", "c"]);
    const { term } = node;
    expect(term).toBe(4);
    node.handleMessage(accepted("b", term, 2), 1001);
    node.handleMessage(accepted("c", term, 2), 1001);
    node.handleMessage(accepted("d", term, 2), 1001);
    expect(node.commitIndex).toBe(0);
    expect(node.commitStatus(at("2@2"))).toBe("in-progress");
    node.handleMessage(accepted("b", term, 3), 1002);
    expect(node.commitIndex).toBe(0);
    node.handleMessage(accepted("c", term, 3), 1002);
    expect(node.commitIndex).toBe(3);
    expect(node.commitStatus(at("2@2"))).toBe("committed");
  });

  it("survives Figure 8 with five nodes [C1]", () => {
    const group = CoreGroup.started(FIVE, { preVote: false, checkQuorum: false, messageEntriesMax: 1 });
    // (a) a appends an entry that only b receives.
    group.isolate("a", "b");
    const old = group.write("a", "figure 8");
    group.crash("a");
    // (b) e leads without it and appends another one at the same index, which no other node receives.
    group.isolate("e", "c", "d");
    group.intercept((message) => message.type === "append-entries");
    group.elect("e");
    group.write("e", "the other");
    group.crash("e");
    // (c) a leads again. c receives the old entry, but not a's new one.
    group.heal();
    group.restart("a");
    const isNew = (message: Message, to: string): boolean =>
      message.type === "append-entries" &&
      message.entries.lastIndex > old.index &&
      group.host(to).memory.some(({ index, term }) => index === old.index && term === old.term);
    group.intercept(isNew);
    group.timeOut("a"); // In e's term, which a learns of and leaves.
    group.settle();
    group.elect("a");
    group.advance(200);
    expect(THREE.map((id) => group.node(id).log.contains(old))).toEqual([true, true, true]);
    group.intercepted = [];
    expect(group.node("a").commitStatus(old)).toBe("in-progress");
    // (d) e may win now, and overwrites the old entry.
    group.crash("a");
    group.restart("e");
    group.intercept(null);
    group.timeOut("e");
    group.settle();
    group.elect("e");
    group.restart("a");
    group.advance(1000);
    for (const id of FIVE) expect(group.payloads(id)).not.toContain("figure 8");
    expect(group.node("b").commitStatus(old)).toBe("rejected");
  });

  it("needs a quorum that excludes a leader without a vote [C3]", () => {
    const leader = leading();
    const image = leader.capture();
    const config = configOf(["b", "c"]);
    const log = { ...image.log, configs: [{ index: 1, config }] };
    const node = RaftNode.revive({ id: "a", random: () => 0.5 }, { ...image, log });
    expect(node.proposeCommand(1001)).toBeNull();
    act(node, 1001);
    node.handleMessage(accepted("b", node.term, 2), 1002);
    expect(node.durableIndex).toBe(2);
    expect(node.commitIndex).toBe(0);
    node.handleMessage(accepted("c", node.term, 2), 1003);
    expect(node.commitIndex).toBe(2);
  });

  it("is not decided by a node that does not lead, even if it is the only voter", () => {
    const log = { ...logOf("1-3@1"), baseConfig: configOf(["a"]) };
    const node = restarted({ log, term: 1 });
    node.handlePersisted(node.takeActions().persistId, 1);
    expect([node.role, node.commitIndex]).toEqual(["follower", 0]);
  });

  it("of a sole voter waits for its own disk [C5]", () => {
    const group = new CoreGroup(["a"]);
    group.host("a").createCluster(["a"], 0);
    group.advance(0);
    group.holdDisk("a");
    const position = group.write("a", "x");
    expect(group.node("a").commitStatus(position)).toBe("in-progress");
    expect(group.host("a").applied).toHaveLength(2);
    group.crash("a");
    group.restart("a");
    group.releaseDisk("a");
    group.advance(0);
    expect(group.node("a").commitStatus(position)).not.toBe("committed");
    expect(group.payloads("a")).not.toContain("x");
  });

  it("needs a durable quorum, in which the leader counts only what its own disk holds [C5]", () => {
    const group = CoreGroup.started(THREE);
    group.crash("c");
    group.holdDisk("a");
    const position = group.write("a", "x");
    expect(group.node("a").progress("b")!.match).toBe(position.index);
    expect(group.node("a").commitStatus(position)).toBe("in-progress");
    group.releaseDisk("a");
    group.settle();
    expect(group.node("a").commitStatus(position)).toBe("committed");
  });

  it("may be committed before it is durable on the leader, but is not applied there before [C5]", () => {
    const group = CoreGroup.started(THREE);
    group.holdDisk("a");
    const position = group.write("a", "x");
    expect(group.node("a").commitStatus(position)).toBe("committed");
    expect(group.node("a").durableIndex).toBe(position.index - 1);
    expect(group.host("a").applied).toHaveLength(position.index - 1);
    group.releaseDisk("a");
    group.settle();
    expect(group.host("a").applied.at(-1)).toMatchObject({ payload: "x" });
  });

  it("includes what the state machine held at a restart [S17]", () => {
    const node = restarted({ log: logOf("1-9@1", "0@0", FIRST), term: 1, commitIndex: 7 });
    expect(node.commitIndex).toBe(7);
    expect(node.commitStatus(at("7@1"))).toBe("committed");
    expect(() => restarted({ log: logOf("1-9@1"), commitIndex: 10 })).toThrow(ProtocolViolation);
    expect(() => restarted({ log: logOf("6-9@1", "5@1"), commitIndex: 4 })).toThrow(ProtocolViolation);
  });
});

describe("commitStatus", () => {
  const node = restarted({ log: logOf("4-6@2 7-8@4", "3@1"), term: 5, commitIndex: 7 });

  it.each([
    ["5@2", "committed", "it is in the log, below the commit index"],
    ["7@4", "committed", "it is the newest committed entry"],
    ["3@1", "committed", "it is the log's base"],
    ["8@4", "in-progress", "it is in the log, above the commit index"],
    ["5@1", "rejected", "another entry is committed in its place"],
    ["7@2", "rejected", "another entry is committed in its place"],
    ["8@2", "rejected", "its term is over: a later one has committed before its place"],
    ["9@3", "rejected", "its term is over: a later one has committed before its place"],
    ["8@5", "unknown", "it may be on other nodes"],
    ["8@9", "unknown", "a later leader may commit it"],
    ["9@4", "unknown", "the leader of its term may have written it elsewhere"],
    ["2@1", "unknown", "that part of the log is forgotten"],
  ] as const)("of %s is %s: %s", (position, status, _) => {
    expect(node.commitStatus(at(position))).toBe(status);
  });

  it('is not "rejected" for an overwritten entry that can still be committed elsewhere [K4]', () => {
    const group = CoreGroup.started(FIVE, { preVote: false, checkQuorum: false });
    // Only b receives a's last entry; then c leads and overwrites it on b, without committing anything.
    group.isolate("a", "b");
    const pending = group.write("a", "pending");
    group.heal();
    group.isolate("a");
    group.cut("b", "d");
    group.cut("b", "e");
    group.holdDisk("b");
    group.intercept((message, to) => message.type === "append-entries" && to !== "b");
    group.elect("c");
    group.settle();
    expect(group.positions("b")).not.toContain(`${pending.index}@${pending.term}`);
    expect(group.node("b").commitStatus(pending)).toBe("unknown");
    group.crash("c");
    group.crash("b");
    group.intercept(null);
    group.intercepted = [];
    group.heal();
    group.restart("b");
    group.releaseDisk("b");
    group.heartbeat(); // a, which still leads its old term, learns that it is over.
    // b's overwrite was never durable, so the old leader may win again and commit its entry.
    for (let n = 0; n < 3 && group.node("a").role !== "leader"; n++) {
      group.timeOut("a");
      group.settle();
    }
    group.advance(200);
    expect(group.leaders).toEqual(["a"]);
    expect(group.node("a").commitStatus(pending)).toBe("committed");
    expect(group.node("b").commitStatus(pending)).toBe("committed");
  });

  it("agrees with the final log whenever it is certain [K4]", () => {
    // The random test checks this too, among much else.
    const group = CoreGroup.started(THREE, { preVote: false, checkQuorum: false });
    const positions = [];
    const verdicts: (readonly [number, string])[] = [];
    for (let n = 0; n < 12; n++) {
      const [leader = "a", next = "b"] = [THREE[n % 3], THREE[(n + 1) % 3]];
      if (n % 2 === 0) group.isolate(leader);
      positions.push(group.write(leader, `w${n}`));
      for (const { node } of group.hosts) {
        for (const [which, position] of positions.entries()) {
          const status = node.commitStatus(position);
          if (status === "committed" || status === "rejected") verdicts.push([which, status]);
        }
      }
      if (n % 2 === 0) {
        group.elect(next);
        group.heal();
      } else {
        group.crash(leader);
        group.restart(leader);
        group.elect(next);
      }
      group.heartbeat();
    }
    group.advance(2000);
    const [leader = ""] = group.leaders;
    const final = positions.map((position) => group.node(leader).commitStatus(position));
    expect(final).toContain("committed");
    expect(final).toContain("rejected");
    for (const [which, status] of verdicts) expect(status).toBe(final[which]);
  });
});

describe("a completed write", () => {
  it("of entries that were overwritten twice does not make their successors durable [D8]", () => {
    const node = restarted({ log: logOf("1-4@1"), term: 1 });
    node.handleMessage(appendEntries({ term: 1, entries: range("4@1", "5-6@1") }), 1);
    const first = node.takeActions();
    node.handleMessage(appendEntries({ from: "c", term: 2, entries: range("4@1", "5@2") }), 2);
    const second = node.takeActions();
    node.handleMessage(appendEntries({ from: "b", term: 3, entries: range("4@1", "5@3") }), 3);
    const third = node.takeActions();
    expect(third.append).toEqual({ truncateFrom: 5, from: 5, to: 6 });
    node.handlePersisted(first.persistId, 4);
    expect(node.durableIndex).toBe(4);
    node.handlePersisted(second.persistId, 5);
    expect(node.durableIndex).toBe(4);
    const early = node.takeActions();
    expect([...early.messages, ...early.messagesAfterPersist]).toEqual([]);
    node.handlePersisted(third.persistId, 6);
    expect(node.durableIndex).toBe(5);
    expect(allMessagesOf(node, 6)).toEqual([accepted("a", 3, 5)]);
  });

  it("does not make entries at the same index durable that were not in its batch [D8]", () => {
    const node = restarted({ log: logOf("1-4@1"), term: 1 });
    node.handleMessage(appendEntries({ term: 1, entries: range("4@1", "5-9@1") }), 1);
    const first = node.takeActions();
    node.handleMessage(appendEntries({ from: "c", term: 2, entries: range("6@1", "7@2") }), 2);
    node.handlePersisted(first.persistId, 3);
    expect(node.durableIndex).toBe(6);
    act(node, 4);
    expect(node.durableIndex).toBe(7);
  });

  it("no longer counts as durable for the entries that are overwritten [R8]", () => {
    const node = restarted({ log: logOf("1-3@1 4-9@2"), term: 2 });
    expect(node.durableIndex).toBe(9);
    node.handleMessage(appendEntries({ term: 3, entries: range("5@2", "6-7@3") }), 1);
    expect(node.durableIndex).toBe(5);
    const { persistId } = node.takeActions();
    expect(node.durableIndex).toBe(5);
    node.handlePersisted(persistId, 2);
    expect(node.durableIndex).toBe(7);
    expect(allMessagesOf(node, 2)).toEqual([accepted("a", 3, 7)]);
  });

  it("is acknowledged to the new leader only for entries that stayed durable [R8]", () => {
    const node = restarted({ log: logOf("1-3@1 4-9@2"), term: 3 });
    node.handleMessage(appendEntries({ term: 3, entries: range("5@2", "6-7@3") }), 1);
    const actions = node.takeActions();
    expect(actions.messages.map(({ message }) => message)).toEqual([accepted("a", 3, 5)]);
  });

  it("includes all batches before it, in whatever order completions are reported", () => {
    const node = leading();
    const ids = [];
    for (let n = 0; n < 4; n++) {
      node.proposeCommand(1001);
      ids.push(node.takeActions().persistId);
    }
    expect(node.durableIndex).toBe(2);
    node.handlePersisted(ids[2]!, 1002);
    expect(node.durableIndex).toBe(5);
    node.handlePersisted(ids[0]!, 1002);
    node.handlePersisted(ids[2]!, 1002);
    expect(node.durableIndex).toBe(5);
    node.handlePersisted(ids[3]!, 1002);
    expect(node.durableIndex).toBe(6);
  });

  it("that was never requested stops the node before anything changes", () => {
    const node = leading();
    node.proposeCommand(1001);
    const before = node.capture();
    const { persistId } = before.pendingActions;
    expect(() => node.handlePersisted(persistId, 1000)).toThrow(ProtocolViolation);
    expect(() => node.handlePersisted(persistId + 7, 1000)).toThrow(ProtocolViolation);
    expect(node.capture()).toEqual(before);
  });

  it("is needed for a term, a vote and entries, but not for a commit index alone [D12]", () => {
    const node = restarted({ log: logOf("1-5@1"), term: 2 });
    node.handleMessage(appendEntries({ term: 2, entries: range("5@1", "") }), 1);
    act(node, 1);
    node.handleMessage(appendEntries({ term: 2, entries: range("5@1", ""), commit: 4 }), 1);
    const commitOnly = node.takeActions();
    expect(commitOnly.commit).toEqual(at("4@1"));
    expect(commitOnly.needsPersist).toBe(false);
    node.handleMessage({ type: "request-vote-reply", from: "b", term: 3, granted: false }, 1000);
    expect(act(node, 1000)).toMatchObject({
      needsPersist: true,
      hardState: { term: 3, votedFor: null },
      append: null,
    });
    node.handleMessage({ type: "request-vote", from: "b", term: 3, last: at("9@2"), transfer: false }, 9000);
    expect(act(node, 9000)).toMatchObject({ needsPersist: true, hardState: { term: 3, votedFor: "b" } });
    node.handleMessage(appendEntries({ term: 3, entries: range("5@1", "6@3") }), 9000);
    expect(act(node, 9000)).toMatchObject({
      needsPersist: true,
      hardState: null,
      append: { from: 6, to: 7 },
    });
    node.handleTimeout(9001);
    expect(act(node, 9001).needsPersist).toBe(false);
  });
});

describe("a node that restarts", () => {
  it("refuses a saved term that is older than its log", () => {
    expect(() => restarted({ log: logOf("1@1 2@5"), term: 4 })).toThrow(ProtocolViolation);
    expect(() => restarted({ log: logOf("", "7@5"), term: 4 })).toThrow(ProtocolViolation);
  });

  it("refuses to create a cluster if it has a log, or if it would not be a voter", () => {
    expect(() => restarted({ log: logOf("1@1") }).createCluster(THREE, 1)).toThrow(ProtocolViolation);
    expect(() => restarted({ log: logOf("", "5@1") }).createCluster(THREE, 1)).toThrow(ProtocolViolation);
    expect(() => RaftNode.start({ id: "x", random: () => 0 }).createCluster(THREE, 1)).toThrow(
      ProtocolViolation,
    );
  });

  it("belongs to its cluster whether or not the other nodes created it too", () => {
    const group = new CoreGroup(THREE);
    for (const id of THREE) group.host(id).createCluster(THREE, 0);
    group.advance(2000);
    expect(group.leaders).toHaveLength(1);
    const other = RaftNode.start({ id: "b", random: () => 0 });
    other.createCluster(["b", "c"], 0);
    act(other);
    const config = configOf(THREE);
    const entries = range("0@0", "1@1 2@2", [{ index: 1, config }]);
    expect(() => other.handleMessage(appendEntries({ from: "a", term: 2, entries }), 1)).toThrow(
      ProtocolViolation,
    );
  });

  it("accepts a snapshot with an empty log", () => {
    const node = RaftNode.start({ id: "x", random: () => 0 });
    node.handleMessage(offer("9@3", { term: 4 }), 1);
    act(node, 1);
    node.handleSnapshotInstalled(at("9@3"), ABC, 2);
    expect(node.config).toEqual(ABC);
    expect(allMessagesOf(node, 2)).toEqual([accepted("x", 4, 9)]);
  });
});
