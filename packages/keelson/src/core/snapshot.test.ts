import { describe, expect, it } from "vitest";

import { CoreGroup } from "../testing/core/core-group.ts";
import { configOf, ProtocolViolation } from "./index.ts";
import {
  preVoteReply,
  ABC,
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
  restarted,
  allMessagesOf,
} from "./test/script.ts";

describe("a follower that installs a snapshot", () => {
  it("drops its whole log if its entry at the snapshot's last index differs [S1]", () => {
    const node = restarted({ log: logOf("1-10@1 11-60@2"), term: 3 });
    node.handleMessage(offer("50@3", { term: 3 }), 1);
    expect(act(node, 1).installSnapshot?.last).toEqual(at("50@3"));
    node.handleSnapshotInstalled(at("50@3"), ABC, 2);
    expect(node.log.last).toEqual(at("50@3"));
    node.handleMessage(appendEntries({ term: 3, entries: range("50@3", "51@3"), commit: 50 }), 3);
    expect(repliesIn(allMessagesOf(node, 3)).at(-1)?.outcome).toEqual({ accepted: true, match: 51 });
  });

  it("keeps the entries after the snapshot if its entry at the last index is the same [S1]", () => {
    const node = restarted({ log: logOf("1-10@1 11-60@2"), term: 3 });
    node.handleMessage(offer("50@2", { term: 3 }), 1);
    act(node, 1);
    node.handleSnapshotInstalled(at("50@2"), ABC, 2);
    expect(node.log.base).toEqual(at("50@2"));
    expect(node.log.last).toEqual(at("60@2"));
    expect(node.durableIndex).toBe(60);
  });

  it("does not change an acknowledgement that waits for the disk [S16]", () => {
    const node = restarted({ log: logOf("1-3@3"), term: 3 });
    node.handleMessage(offer("10@5", { term: 5 }), 1);
    node.handleMessage({ type: "pre-vote", from: "c", term: 5, round: 1, last: at("1@1") }, 1);
    const before = node.takeActions();
    node.handleMessage({ type: "pre-vote", from: "c", term: 5, round: 1, last: at("1@1") }, 1);
    node.handlePersisted(before.persistId, 1);
    node.handleSnapshotInstalled(at("10@5"), ABC, 2);
    const after = node.takeActions();
    const said = [...before.messagesAfterPersist, ...after.messagesAfterPersist].map(
      ({ message }) => message,
    );
    expect(said).toHaveLength(2);
    for (const message of said) expect(message).toMatchObject({ type: "pre-vote-reply", term: 5, round: 1 });
  });

  it("does not acknowledge the snapshot to the leader of an earlier term [S16]", () => {
    const node = restarted({ log: logOf("1-4@3"), term: 3 });
    node.handleMessage(appendEntries({ term: 3, entries: range("4@3", "") }), 1);
    node.handleMessage(offer("10@5", { from: "c", term: 5 }), 1);
    const taken = act(node, 1);
    node.handleSnapshotInstalled(at("10@5"), ABC, 2);
    const said = [...taken.messages, ...taken.messagesAfterPersist, ...act(node, 2).messages];
    expect(said).toEqual([{ to: "c", message: { ...accepted("a", 5, 10), round: 1 } }]);
  });

  it("knows at once, and after a restart, that the entries it covers are committed [S17]", () => {
    const node = restarted({ log: logOf("1-5@1"), term: 2, commitIndex: 5 });
    node.handleMessage(offer("100@2", { term: 2 }), 1);
    act(node, 1);
    node.handleSnapshotInstalled(at("100@2"), ABC, 2);
    expect(node.commitIndex).toBe(100);
    expect(node.durableIndex).toBe(100);
    expect(act(node, 2).commit).toEqual(at("100@2"));
    expect(node.commitStatus(at("100@2"))).toBe("committed");
    expect(node.commitStatus(at("100@1"))).toBe("rejected");
    expect(node.commitStatus(at("99@2"))).toBe("unknown");
    expect(restarted({ log: logOf("", "100@2"), term: 2 }).commitIndex).toBe(100);
  });

  it("uses the snapshot's configuration, though its own was at a higher index [M7]", () => {
    const stale = configOf(["a", "b", "c"]);
    const real = configOf(["d", "e", "f"], ["a"]);
    const node = restarted({ log: logOf("1-19@1 20@3", "0@0", [{ index: 20, config: stale }]), term: 3 });
    node.handleMessage(offer("18@5", { from: "d", term: 5, config: real }), 1);
    act(node, 1);
    node.handleSnapshotInstalled(at("18@5"), real, 2);
    expect(node.config).toEqual(real);
    expect(node.log.configAt(18)).toEqual({ index: 18, config: real });
    act(node, 2);
    node.handleTimeout(100_000);
    expect(act(node, 100_000).messages).toEqual([]);
    expect(node.role).toBe("follower");
  });

  it("stops at a snapshot that contradicts a committed entry, before anything changes", () => {
    const node = restarted({ log: logOf("1-9@1"), term: 3, commitIndex: 9 });
    act(node);
    expect(() => node.handleSnapshotInstalled(at("9@2"), ABC, 1)).toThrow(ProtocolViolation);
    expect(node.log.last).toEqual(at("9@1"));
    expect(node.log.base.index).toBe(0);
    expect(() => node.handleMessage(offer("8@2", { term: 3 }), 1)).toThrow(ProtocolViolation);
    expect(node.takeActions().append).toBeNull();
  });

  it("acknowledges an offer of entries that it has committed, without asking for the snapshot", () => {
    const node = restarted({ log: logOf("1-9@1"), term: 3, commitIndex: 9 });
    node.handleMessage(offer("7@1", { term: 3 }), 1);
    const actions = act(node, 1);
    expect(actions.installSnapshot).toBeNull();
    expect(actions.messages.map(({ message }) => message)).toEqual([accepted("a", 3, 7)]);
  });

  it("asks for no snapshot that ends at its commit index, or before its own", () => {
    for (const last of ["9@1", "5@1", "3@1"]) {
      const node = restarted({ log: logOf("6-9@1", "5@1"), term: 3, commitIndex: 9 });
      node.handleMessage(offer(last, { term: 3 }), 1);
      const actions = act(node, 1);
      expect(actions.installSnapshot).toBeNull();
      expect(actions.messages.map(({ message }) => message)).toEqual([accepted("a", 3, at(last).index)]);
    }
  });

  it("changes nothing and sends nothing if the snapshot is older than its own", () => {
    const node = restarted({ log: logOf("6-9@1", "5@1"), term: 3, commitIndex: 9 });
    node.handleMessage(appendEntries({ term: 3, entries: range("9@1", "") }), 1);
    allMessagesOf(node, 1);
    for (const position of ["5@1", "3@1"]) {
      node.handleSnapshotInstalled(at(position), ABC, 2);
      expect(act(node, 2).messages).toEqual([]);
      expect([node.log.base, node.log.last]).toEqual([at("5@1"), at("9@1")]);
    }
  });

  it.each([true, false])(
    "stops being a candidate if the snapshot makes it a learner (pre-vote: %s) [E20]",
    (preVote) => {
      const node = restarted({ log: logOf("1-2@1", "0@0", [{ index: 1, config: ABC }]), term: 2, preVote });
      node.handleMessage(offer("8@2", { term: 2 }), 1);
      act(node, 1);
      node.handleTimeout(1000);
      act(node, 1000);
      const { term, role } = node;
      expect(role).toBe(preVote ? "pre-candidate" : "candidate");
      node.handleSnapshotInstalled(at("8@2"), configOf(["b", "c"], ["a"]), 1001);
      for (const from of ["b", "c"]) {
        node.handleMessage(preVoteReply(from, term), 1002);
        node.handleMessage({ type: "request-vote-reply", from, term, granted: true }, 1002);
      }
      expect(node).toMatchObject({ role: "follower", term });
      // A node that still has a vote stays a candidate.
      const voter = restarted({ log: logOf("1-2@1", "0@0", [{ index: 1, config: ABC }]), term: 2, preVote });
      voter.handleMessage(offer("8@2", { term: 2 }), 1);
      act(voter, 1);
      voter.handleTimeout(1000);
      act(voter, 1000);
      voter.handleSnapshotInstalled(at("8@2"), ABC, 1001);
      expect(voter.role).toBe(role);
    },
  );

  it("does not write entries that the installed snapshot covers", () => {
    const node = restarted({ log: logOf("1-2@1"), term: 3 });
    node.handleMessage(offer("8@2", { term: 3 }), 1);
    act(node, 1);
    // The entries arrive while the stored log is being replaced, and their write is not taken yet.
    node.handleMessage(appendEntries({ term: 3, entries: range("2@1", "3-10@2") }), 2);
    node.handleSnapshotInstalled(at("8@2"), ABC, 3);
    expect(node.durableIndex).toBe(8);
    const { append, persistId } = node.takeActions();
    expect(append).toEqual({ truncateFrom: null, from: 9, to: 11 });
    node.handlePersisted(persistId, 4);
    expect(node.durableIndex).toBe(10);
  });

  it("needs no write if the snapshot covers everything that was pending", () => {
    const node = restarted({ log: logOf("1-2@1 3-9@2"), term: 3 });
    node.handleMessage(offer("8@3", { term: 3 }), 1);
    act(node, 1);
    node.handleMessage(appendEntries({ term: 3, entries: range("2@1", "3-8@3") }), 2);
    node.handleSnapshotInstalled(at("8@3"), ABC, 3);
    expect(node.takeActions().append).toBeNull();
    expect(node.durableIndex).toBe(8);
  });

  it("begins its log after the snapshot also if those entries were committed meanwhile", () => {
    const node = restarted({ log: logOf("1-2@1"), term: 3 });
    node.handleMessage(offer("8@2", { term: 3 }), 1);
    act(node, 1);
    node.handleMessage(appendEntries({ term: 3, entries: range("2@1", "3-10@2"), commit: 10 }), 2);
    node.handleSnapshotInstalled(at("8@2"), ABC, 3);
    expect(node.log.base).toEqual(at("8@2"));
    expect(node.commitIndex).toBe(10);
    expect(node.takeActions().append).toEqual({ truncateFrom: null, from: 9, to: 11 });
  });

  it("ignores a snapshot that is older than the one its log begins after", () => {
    const node = restarted({ log: logOf("21-25@2", "20@2"), term: 2 });
    node.handleSnapshotInstalled(at("10@1"), configOf(["x"]), 1);
    expect(node.log.base).toEqual(at("20@2"));
    expect(node.config).toEqual(ABC);
    expect(node.commitIndex).toBe(20);
  });
});

describe("entries that a follower's snapshot covers [R10]", () => {
  it("are skipped, and nothing is truncated", () => {
    const node = restarted({ log: logOf("11-15@1", "10@1"), term: 1 });
    node.handleMessage(appendEntries({ term: 1, entries: range("8@1", "9-11@1") }), 1);
    const actions = act(node, 1);
    expect(actions.append).toBeNull();
    expect(node.log.last).toEqual(at("15@1"));
    expect(repliesIn(actions.messages.map(({ message }) => message))[0]?.outcome).toEqual({
      accepted: true,
      match: 11,
    });
  });

  it("count as equal to the leader's if the snapshot covers the whole message", () => {
    const node = restarted({ log: logOf("11-15@1", "10@1"), term: 1 });
    node.handleMessage(appendEntries({ term: 1, entries: range("3@1", "4-6@1") }), 1);
    const actions = act(node, 1);
    expect(actions.append).toBeNull();
    expect(repliesIn(actions.messages.map(({ message }) => message))[0]?.outcome).toEqual({
      accepted: true,
      match: 6,
    });
  });

  it("do not hide that the snapshot's last entry matches, with different entries after it", () => {
    const node = restarted({ log: logOf("11@2", "10@1"), term: 3 });
    node.handleMessage(appendEntries({ term: 3, entries: range("10@1", "11@3") }), 1);
    const actions = act(node, 1);
    expect(actions.append).toEqual({ truncateFrom: 11, from: 11, to: 12 });
    expect(node.log.last).toEqual(at("11@3"));
  });
});

describe("a leader whose log no longer holds what a follower lacks", () => {
  /** a leads b and c; c lacks entries that a no longer holds. */
  function withoutTheBeginning(): CoreGroup {
    const group = CoreGroup.started(["a", "b", "c"]);
    group.isolate("c");
    for (let n = 0; n < 5; n++) group.write("a", `w${n}`);
    group.heartbeat();
    group.host("a").compact(5, group.now);
    group.host("b").compact(5, group.now);
    return group;
  }

  it("offers a snapshot, which the follower installs, and sends entries after it", () => {
    const group = withoutTheBeginning();
    group.heal();
    group.advance(1000);
    expect(group.host("c").applied).toEqual(group.host("a").applied);
    expect(group.node("c").log.base.index).toBe(5);
    expect(group.node("a").progress("c")?.state).toBe("replicate");
  });

  it("offers it again if the first offer was lost", () => {
    const group = withoutTheBeginning();
    group.heal();
    group.intercept((message) => message.type === "install-snapshot");
    group.advance(500);
    expect(group.intercepted.length).toBeGreaterThan(0);
    expect(group.node("a").progress("c")?.state).toBe("snapshot");
    group.intercept(null);
    group.advance(500);
    expect(group.host("c").applied).toEqual(group.host("a").applied);
  });

  it("offers one if it compacted the entry that a lost probe was about", () => {
    const node = leading({ log: logOf("1-9@1") });
    const { term } = node;
    // c is probed at 9, the probe is lost, and meanwhile everything up to 10 is compacted.
    expect(node.progress("c")).toMatchObject({ state: "probe", next: 10 });
    node.handleMessage(accepted("b", term, 10), 1001);
    node.handleCompacted(10, 1001);
    expect(act(node, 1001).snapshots).toEqual([]);
    node.handleTimeout(1080);
    expect(act(node, 1080).snapshots).toEqual([{ to: "c" }]);
  });

  it("offers a newer one if it compacted further while the first was being fetched [S12]", () => {
    const group = withoutTheBeginning();
    group.heal();
    group.intercept((message) => message.type === "install-snapshot");
    group.advance(500);
    group.write("a", "more");
    group.heartbeat();
    group.host("a").compact(7, group.now);
    group.intercept(null);
    group.deliver(group.intercepted[0]!);
    group.advance(1000);
    expect(group.host("c").applied).toEqual(group.host("a").applied);
  });

  it("does not offer one to a follower that does not answer", () => {
    const group = withoutTheBeginning();
    group.heal();
    group.intercept((message) => message.type === "install-snapshot");
    group.advance(500);
    group.isolate("c");
    group.settle();
    expect(group.node("a").progress("c")?.state).toBe("snapshot");
    group.clearSent();
    group.advance(2000);
    expect(group.sent.filter(({ message }) => message.type === "install-snapshot")).toEqual([]);
  });

  it("offers one if the hint is before its log, and probes at its base if the hint is there", () => {
    const node = leading({ log: logOf("6-9@1", "5@1") });
    node.handleMessage(refused("b", node.term, 9, "5@1"), 1001);
    const probe = node.takeActions();
    expect(probe.snapshots).toEqual([]);
    expect(probe.messages.map(({ message }) => message)[0]).toMatchObject({
      entries: { prev: at("5@1"), lastIndex: 10 },
    });
    node.handleMessage(refused("c", node.term, 9, "4@1"), 1001);
    expect(node.takeActions().snapshots).toEqual([{ to: "c" }]);
    expect(node.progress("c")?.state).toBe("snapshot");
    expect(node.progress("b")?.state).toBe("probe");
  });

  it("offers one to a follower whose base disagrees, whatever its hint", () => {
    const node = leading({ log: logOf("6-9@2", "5@2") });
    node.handleMessage(refused("b", node.term, 9, "5@1"), 1001);
    node.takeActions();
    node.handleMessage(refused("b", node.term, 5, "5@1"), 1001);
    expect(node.takeActions().snapshots).toEqual([{ to: "b" }]);
  });
});

describe("compaction", () => {
  it("is refused for entries that are not committed, or not durable", () => {
    const node = restarted({ log: logOf("1-5@1"), term: 1 });
    expect(() => node.handleCompacted(3, 1)).toThrow(ProtocolViolation);
    node.handleMessage(appendEntries({ term: 1, entries: range("5@1", "6-8@1"), commit: 8 }), 1);
    node.takeActions();
    expect(() => node.handleCompacted(6, 1)).toThrow(ProtocolViolation);
    node.handleCompacted(5, 1);
    expect(node.log.base).toEqual(at("5@1"));
    expect(node.log.last).toEqual(at("8@1"));
  });
});
