import { describe, expect, it } from "vitest";

import { CoreGroup, ofType } from "../testing/core/core-group.ts";
import { configOf, ProtocolViolation, type RaftNode, type AppendEntries, type Message } from "./index.ts";
import {
  ABC,
  accepted,
  act,
  appendEntries,
  at,
  leaderImage,
  leading,
  logOf,
  range,
  refused,
  repliesIn,
  restarted,
  roundOf,
  allMessagesOf,
} from "./test/script.ts";

const THREE = ["a", "b", "c"];
const FIRST = [{ index: 1, config: ABC }];

function appendsTo(to: string, sent: readonly { to: string; message: Message }[]): AppendEntries[] {
  return ofType(
    sent.filter((sent) => sent.to === to).map((sent) => ({ ...sent, entries: [] })),
    "append-entries",
  );
}

function entriesIn({ entries }: AppendEntries): number {
  return entries.lastIndex - entries.prev.index;
}

describe("a follower", () => {
  it("keeps its later entries when a shorter message arrives late [R1]", () => {
    const group = CoreGroup.started(THREE);
    group.write("a", "x");
    const late = group.sent
      .filter(({ to, message }) => to === "b" && message.type === "append-entries")
      .at(-1)!;
    group.write("a", "y");
    const before = group.positions("b");
    group.clearSent();
    group.deliver(late);
    group.deliver(late);
    expect(group.host("b").pendingActions.filter(({ append }) => append !== null)).toEqual([]);
    expect(group.positions("b")).toEqual(before);
  });

  it("truncates and writes in one batch where its log differs [R1]", () => {
    const node = restarted({ log: logOf("1-3@1 4-9@2"), term: 3 });
    node.handleMessage(appendEntries({ term: 3, entries: range("2@1", "3@1 4-5@3") }), 1);
    expect(act(node, 1).append).toEqual({ truncateFrom: 4, from: 4, to: 6 });
  });

  it("commits and acknowledges only what the message compared [R3, R4]", () => {
    const node = restarted({ log: logOf("1@1 2-4@2"), term: 3 });
    node.handleMessage(appendEntries({ term: 3, entries: range("2@2", ""), commit: 3 }), 1);
    expect(node.commitIndex).toBe(2);
    expect(repliesIn(allMessagesOf(node, 1)).map(({ outcome }) => outcome)).toEqual([
      { accepted: true, match: 2 },
    ]);
  });

  it("forgets what matched an earlier leader's log when another node leads [R4]", () => {
    const node = restarted({ log: logOf("1-5@1"), term: 1 });
    node.handleMessage(appendEntries({ term: 1, entries: range("1@1", "2-5@1") }), 1);
    allMessagesOf(node, 1);
    node.handleMessage(appendEntries({ from: "c", term: 2, entries: range("3@1", ""), commit: 5 }), 2);
    expect(node.commitIndex).toBe(3);
    expect(repliesIn(allMessagesOf(node, 2)).at(-1)?.outcome).toEqual({ accepted: true, match: 3 });
  });

  it("acknowledges only what is durable, and the rest when it becomes durable", () => {
    const node = restarted({ log: logOf("1-2@1"), term: 2 });
    node.handleMessage(appendEntries({ term: 2, entries: range("2@1", "3@2") }), 1);
    const first = node.takeActions();
    node.handleMessage(appendEntries({ term: 2, entries: range("3@2", "4-5@2"), round: 2 }), 1);
    const second = node.takeActions();
    const early = [...first.messages, ...second.messages].map(({ message }) => message);
    expect(repliesIn(early).map(({ outcome }) => outcome)).toEqual([
      { accepted: true, match: 2 },
      { accepted: true, match: 2 },
    ]);
    node.handlePersisted(first.persistId, 2);
    expect(repliesIn(node.takeActions().messages.map(({ message }) => message))[0]?.outcome).toEqual({
      accepted: true,
      match: 3,
    });
    node.handlePersisted(second.persistId, 3);
    expect(repliesIn(node.takeActions().messages.map(({ message }) => message))[0]?.outcome).toEqual({
      accepted: true,
      match: 5,
    });
  });

  it("sends no acknowledgement while its disk is busy, unless a heartbeat round asks", () => {
    const node = restarted({ log: logOf("1-2@1"), term: 2 });
    node.handleMessage(appendEntries({ term: 2, entries: range("2@1", "3@2") }), 1);
    expect(node.takeActions().messages).toHaveLength(1);
    for (let n = 3; n < 20; n++) {
      node.handleMessage(appendEntries({ term: 2, entries: range(`${n}@2`, `${n + 1}@2`) }), 1);
      expect(node.takeActions().messages).toEqual([]);
    }
  });

  it("answers many messages of one turn with one acknowledgement", () => {
    const node = restarted({ log: logOf("1@1"), term: 1 });
    for (let n = 1; n <= 50; n++) {
      node.handleMessage(appendEntries({ term: 1, entries: range(`${n}@1`, `${n + 1}@1`) }), 1);
    }
    const replies = repliesIn(allMessagesOf(node, 1)).filter(({ outcome }) => outcome.accepted);
    expect(replies.at(-1)?.outcome).toEqual({ accepted: true, match: 51 });
    expect(replies.length).toBeLessThanOrEqual(2);
  });

  it("keeps its commit index when a new leader's is lower [C6]", () => {
    const node = restarted({ log: logOf("1-5@1"), term: 1, commitIndex: 4 });
    node.handleMessage(appendEntries({ term: 2, entries: range("5@1", ""), commit: 1 }), 1);
    expect(node.commitIndex).toBe(4);
    expect(act(node, 1).commit).toBeNull();
  });

  it("stops, and stores nothing, if a leader would overwrite a committed entry [C11]", () => {
    const node = restarted({ log: logOf("1-5@1"), term: 1, commitIndex: 4 });
    allMessagesOf(node);
    const log = node.capture().log;
    for (const entries of [range("2@1", "3@2"), range("4@9", "5@9"), range("3@1", "4-6@2")]) {
      expect(() => node.handleMessage(appendEntries({ term: 9, entries }), 1)).toThrow(ProtocolViolation);
      expect(node.capture().log).toEqual(log);
      expect(node.commitIndex).toBe(4);
      expect(act(node, 1).append).toBeNull();
    }
  });

  it("overwrites uncommitted entries, from the first one on [C11]", () => {
    const node = restarted({ log: logOf("1-5@1"), term: 1, commitIndex: 4 });
    node.handleMessage(appendEntries({ term: 2, entries: range("4@1", "5@2") }), 1);
    expect(node.log.last).toEqual(at("5@2"));
  });

  it("learns the last commit index within one heartbeat, though no entry follows [C12]", () => {
    const group = CoreGroup.started(THREE);
    const last = group.write("a", "last");
    group.advance(group.heartbeatMs);
    for (const id of THREE) expect(group.host(id).applied.at(-1)).toMatchObject({ index: last.index });
  });

  it("stops at a message that no leader can have sent, before anything changes", () => {
    const node = restarted({ log: logOf("1-5@1", "0@0", FIRST), term: 3 });
    allMessagesOf(node);
    const before = node.capture();
    const other = [{ index: 1, config: configOf(["x"]) }];
    for (const message of [
      appendEntries({ term: 3, entries: { ...range("5@1", ""), lastIndex: 9 } }),
      appendEntries({ term: 3, entries: range("5@2", "6@1") }),
      appendEntries({ term: 3, entries: range("5@1", "6@4") }),
      appendEntries({ term: 3, entries: range("9@4", "") }),
      appendEntries({ term: NaN, entries: range("5@1", "6@1") }),
      appendEntries({ term: 3, from: "a", entries: range("5@1", "6@1") }),
    ]) {
      expect(() => node.handleMessage(message, 0), JSON.stringify(message)).toThrow(ProtocolViolation);
      expect(node.capture()).toEqual(before);
    }
    const contradiction = appendEntries({ term: 3, entries: range("0@0", "1-2@1", other) });
    expect(() => node.handleMessage(contradiction, 0)).toThrow(ProtocolViolation);
    expect(node.capture().log).toEqual(before.log);
  });

  it("returns to the previous configuration when the last is overwritten, also after a restart [M4]", () => {
    const [one, two, three] = [ABC, configOf(["a", "b"]), configOf(["a"])];
    const configs = [
      { index: 1, config: one },
      { index: 6, config: two },
      { index: 7, config: three },
    ];
    const node = restarted({ log: logOf("1-7@1", "0@0", configs), term: 1 });
    expect(node.config).toEqual(three);
    node.handleMessage(appendEntries({ term: 2, entries: range("6@1", "7@2") }), 1);
    expect(node.config).toEqual(two);
    const again = restarted({ log: logOf("1-7@1", "0@0", configs), term: 1 });
    again.handleMessage(appendEntries({ term: 2, entries: range("5@1", "6@2") }), 1);
    expect(again.config).toEqual(one);
    expect(again.log.configAt(6)).toEqual({ index: 1, config: one });
  });
});

describe("a follower's refusal", () => {
  it("tells a deposed leader only the term, and acknowledges none of its rounds", () => {
    const node = restarted({ log: logOf("1-3@1"), term: 3 });
    node.handleMessage(appendEntries({ from: "c", term: 3, entries: range("3@1", ""), round: 9 }), 0);
    allMessagesOf(node);
    node.handleMessage(appendEntries({ term: 2, entries: range("3@1", ""), round: 4 }), 1);
    expect(repliesIn(allMessagesOf(node, 1))).toEqual([refused("a", 3, 3, "0@0", 0)]);
  });

  it("acknowledges the heartbeat round of its own leader", () => {
    const node = restarted({ log: logOf("1-3@1"), term: 3 });
    node.handleMessage(appendEntries({ term: 3, entries: range("7@3", ""), round: 4 }), 1);
    expect(repliesIn(allMessagesOf(node, 1))).toEqual([refused("a", 3, 7, "3@1", 4)]);
  });
});

describe("a follower whose log begins after a snapshot", () => {
  const node = (): ReturnType<typeof restarted> => restarted({ log: logOf("6-7@1", "5@1"), commitIndex: 5 });

  it("treats entries that the snapshot covers as equal, configurations too", () => {
    const follower = node();
    const configs = [{ index: 3, config: configOf(["a", "z"]) }];
    follower.handleMessage(appendEntries({ term: 1, entries: range("2@1", "3-6@1", configs) }), 1);
    expect(repliesIn(allMessagesOf(follower, 1)).map(({ outcome }) => outcome)).toEqual([
      { accepted: true, match: 6 },
    ]);
  });

  it("stops if the leader has another entry at the snapshot's last index", () => {
    const message = appendEntries({ term: 2, entries: range("5@2", "") });
    expect(() => {
      node().handleMessage(message, 1);
    }).toThrow(ProtocolViolation);
  });
});

it("a follower stops at a configuration where its own log has another entry of that term", () => {
  const node = restarted({ log: logOf("1-3@1", "0@0", FIRST) });
  const message = appendEntries({
    term: 1,
    entries: range("0@0", "1-3@1", [...FIRST, { index: 2, config: ABC }]),
  });
  expect(() => {
    node.handleMessage(message, 1);
  }).toThrow("different configurations at one position");
});

describe("a leader", () => {
  it("sends heartbeats when they are due, and not before", () => {
    const node = leading({ heartbeatMs: 100 });
    node.handleTimeout(1099);
    expect(act(node, 1099).messages).toEqual([]);
    node.handleTimeout(1100);
    expect(act(node, 1100).messages).toHaveLength(2);
  });

  it("does not split a message that is exactly at the limit", () => {
    const node = leading({ bytesBetween: (from, to) => (to - from) * 10, messageBytesMax: 30 });
    node.handleMessage(accepted("b", node.term, node.log.last.index, 1), 1001);
    act(node, 1001);
    node.proposeCommands(3, 1001);
    expect(appendsTo("b", act(node, 1001).messages).map(entriesIn)).toEqual([3]);
  });

  it("probes a follower without entries if it has not answered for an election timeout", () => {
    const sentAt = (now: number): number[] => {
      const node = leading({ checkQuorum: false, heartbeatMs: 100 });
      node.handleTimeout(now);
      return appendsTo("b", act(node, now).messages).map(entriesIn);
    };
    expect(sentAt(1799)).toEqual([1]);
    expect(sentAt(1800)).toEqual([0]);
  });

  it("offers a snapshot if it is needed, but not for a late refusal or to a removed member", () => {
    const node = leading({ log: logOf("6-8@1", "5@1"), commitIndex: 8 });
    const { term } = node;
    const wants = (from: string, about: number): string[] => {
      node.handleMessage(refused(from, term, about, "0@0", 1), 1001);
      return act(node, 1001).snapshots.map(({ to }) => to);
    };
    node.handleMessage(accepted("b", term, 9, 1), 1001);
    expect(wants("b", 7)).toEqual([]);
    node.proposeConfig(configOf(["a", "b"]), 1001);
    for (const index of [10, 11]) {
      act(node, 1001);
      node.handleMessage(accepted("b", term, index, 1), 1001);
    }
    act(node, 1001);
    expect(node.removedMembersToNotify).toEqual(["c"]);
    expect(wants("c", 8)).toEqual([]);
    expect(wants("c", 8)).toEqual([]);
  });

  it("with a stalled disk asks a voter that answered recently to lead, and steps down [D11]", () => {
    const stallMs = 1_600;
    for (const answers of [true, false]) {
      const node = leading({ checkQuorum: false, heartbeatMs: 100 });
      node.proposeCommands(1, 1000);
      node.takeActions();
      const before = 1000 + stallMs - 1;
      if (answers) node.handleMessage(accepted("c", node.term, 1, 1), before);
      node.handleTimeout(before);
      expect(node.role).toBe("leader");
      node.takeActions();
      node.handleTimeout(1000 + stallMs);
      expect(node.role).toBe("follower");
      const asked = node.takeActions().messages.filter(({ message }) => message.type === "timeout-now");
      expect(asked.map(({ to }) => to)).toEqual(answers ? ["c"] : []);
    }
  });

  it("is not misled by late, duplicated or stale answers [R6]", () => {
    const node = leading();
    const { term } = node;
    for (let n = 0; n < 6; n++) {
      node.proposeCommand(1001);
      node.takeActions();
    }
    node.handleMessage(accepted("b", term, 7), 1002);
    act(node, 1002);
    expect(node.progress("b")).toMatchObject({ match: 7, next: 9 });
    for (const stale of [
      accepted("b", term, 3),
      refused("b", term, 2, "1@1"),
      refused("b", term, 7, "2@1"),
    ]) {
      node.handleMessage(stale, 1003);
      expect(node.progress("b")).toMatchObject({ match: 7, state: "replicate" });
      expect(node.progress("b")!.next).toBeGreaterThanOrEqual(8);
    }
  });

  describe("whose follower refuses what it acknowledged in this term [Z20]", () => {
    /** A leader of 5 entries, all of which b has acknowledged, in the heartbeat round after that. */
    function afterAcknowledgement(): { leader: RaftNode; round: number } {
      const leader = leading();
      leader.proposeCommands(3, 1000);
      act(leader, 1000);
      const { last } = leader.log;
      leader.handleMessage(accepted("b", leader.term, last.index, roundOf(leader)), 1000);
      act(leader, 1000);
      leader.handleTimeout(1100);
      act(leader, 1100);
      return { leader, round: roundOf(leader) };
    }

    it("counts nothing of it any more, and says which entry it had acknowledged", () => {
      const { leader, round } = afterAcknowledgement();
      const { last } = leader.log;
      expect(leader.commitIndex).toBe(last.index);
      leader.handleMessage(refused("b", leader.term, last.index, "1@1", round), 1110);
      expect(leader.progress("b")).toMatchObject({
        lostAfter: last,
        match: last.index,
        recentlyActive: false,
      });
      expect(leader.membersWithLostEntries).toEqual(["b"]);
      leader.proposeCommand(1120);
      // It still hears heartbeats, so that it starts no elections; it gets no entries.
      expect(appendsTo("b", act(leader, 1120).messages).filter((one) => entriesIn(one) > 0)).toEqual([]);
      leader.handleMessage(accepted("b", leader.term, last.index + 1, round), 1120);
      act(leader, 1120);
      expect(leader.commitIndex).toBe(last.index);
      leader.handleMessage(accepted("c", leader.term, last.index + 1, round), 1130);
      act(leader, 1130);
      expect(leader.commitIndex).toBe(last.index + 1);
      expect(leader.transferLeadership(null, 1130)).toEqual({ to: "c" });
    });

    it("steps down if it has no majority without it", () => {
      const { leader, round } = afterAcknowledgement();
      leader.handleMessage(refused("b", leader.term, leader.log.last.index, "1@1", round), 1110);
      leader.handleTimeout(3000);
      expect(leader.role).toBe("follower");
    });

    it("takes a refusal of an earlier round, of another term, or of a later entry for what it is", () => {
      const { leader, round } = afterAcknowledgement();
      const { term, log } = leader;
      const { index } = log.last;
      leader.handleMessage(refused("b", term, index, "1@1", round - 1), 1110);
      leader.handleMessage(refused("b", term, index, "1@1", 0), 1110);
      leader.handleMessage(refused("b", term - 1, index, "1@1", round), 1110);
      leader.proposeCommand(1120);
      act(leader, 1120);
      leader.handleMessage(refused("b", term, index + 1, "1@1", round), 1120);
      expect(leader.membersWithLostEntries).toEqual([]);
      expect(leader.progress("b")).toMatchObject({ match: index, next: index + 1 });
    });

    it("knows nothing of acknowledgements to an earlier leader", () => {
      const leader = leading();
      leader.handleTimeout(1100);
      act(leader, 1100);
      leader.handleMessage(refused("b", leader.term, leader.log.last.index, "1@1", roundOf(leader)), 1110);
      expect(leader.membersWithLostEntries).toEqual([]);
    });
  });

  it("ignores answers of other terms [R7]", () => {
    const node = leading();
    const { term } = node;
    node.proposeCommand(1001);
    const { persistId } = node.takeActions();
    node.handlePersisted(persistId, 1001);
    node.handleMessage(accepted("b", term - 1, 3), 1002);
    expect(node.progress("b")!.match).toBe(0);
    expect(node.commitIndex).toBe(0);
    node.handleMessage(accepted("x", term, 3), 1002);
    expect(node.commitIndex).toBe(0);
    node.handleMessage(accepted("b", term, 3), 1002);
    expect(node.commitIndex).toBe(3);
  });

  it("stops at an answer that no follower can have sent", () => {
    const node = leading();
    expect(() => node.handleMessage(accepted("b", node.term, 99), 1001)).toThrow(ProtocolViolation);
    expect(() => node.handleMessage(accepted("b", node.term, 1, 99), 1001)).toThrow(ProtocolViolation);
    expect(() => node.handleMessage(accepted("b", NaN, 1), 1001)).toThrow(ProtocolViolation);
    expect(node.progress("b")!.match).toBe(0);
  });

  it("sends within its window in messages and bytes, and ends with nothing in flight [R14]", () => {
    const node = leading({
      messageEntriesMax: 2,
      inflightMessagesMax: 3,
      inflightBytesMax: 50,
      bytesBetween: (from, to) => 10 * (to - from),
    });
    const { term } = node;
    node.handleMessage(accepted("b", term, 2), 1001);
    node.proposeCommands(100, 1001);
    const underWay = (): { messages: number; bytes: number } => {
      const image = leaderImage(node).progress.find(([id]) => id === "b")![1];
      const bytes = image.inFlight.reduce((sum, message) => sum + message.bytes, 0);
      return { messages: image.inFlight.length, bytes };
    };
    expect(appendsTo("b", act(node, 1001).messages).map(entriesIn)).toEqual([2, 2, 2]);
    expect(underWay()).toEqual({ messages: 3, bytes: 60 });
    expect(appendsTo("b", act(node, 1001).messages)).toEqual([]);
    node.handleMessage(accepted("b", term, 4), 1002);
    expect(appendsTo("b", act(node, 1002).messages).map(entriesIn)).toEqual([2]);
    for (let match = 6; match <= 102; match += 2) {
      node.handleMessage(accepted("b", term, match), 1003);
      act(node, 1003);
      expect(underWay().messages).toBeLessThanOrEqual(3);
      expect(underWay().bytes).toBeLessThan(50 + 20);
    }
    expect(underWay()).toEqual({ messages: 0, bytes: 0 });
    node.proposeCommand(1004);
    expect(appendsTo("b", act(node, 1004).messages).map(entriesIn)).toEqual([1]);
  });

  it("splits messages at the limits of entries and bytes, with at least one entry each", () => {
    const sizes = [0, 1, 1, 30, 30, 30, 500, 30, 1, 1, 1];
    const bytesBetween = (from: number, to: number): number =>
      sizes.slice(from, to).reduce((sum, size) => sum + size, 0);
    const node = leading({ messageEntriesMax: 3, messageBytesMax: 60, bytesBetween });
    node.handleMessage(accepted("b", node.term, 2), 1001);
    node.proposeCommands(8, 1001);
    expect(appendsTo("b", act(node, 1001).messages).map(({ entries }) => entries.lastIndex)).toEqual([
      4, 5, 6, 9, 10,
    ]);
  });

  it("brings a lagging follower up to date, though nothing new is proposed [R15]", () => {
    const group = CoreGroup.started(THREE, { inflightMessagesMax: 1, messageEntriesMax: 1 });
    group.isolate("c");
    for (let n = 0; n < 10; n++) group.write("a", `w${n}`);
    group.heartbeat();
    group.heal();
    group.advance(1000);
    expect(group.positions("c")).toEqual(group.positions("a"));
    expect(group.host("c").applied).toHaveLength(group.host("a").applied.length);
  });

  it("merges a thousand proposals into one append and one message per peer", () => {
    const node = leading();
    for (const id of ["b", "c"]) node.handleMessage(accepted(id, node.term, 2), 1001);
    act(node, 1001);
    for (let n = 0; n < 1000; n++)
      expect(node.proposeCommand(1002)).toEqual({ term: node.term, index: 3 + n });
    const { append, messages } = node.takeActions();
    expect(append).toEqual({ truncateFrom: null, from: 3, to: 1003 });
    expect(messages.map(({ to }) => to)).toEqual(["b", "c"]);
    expect(appendsTo("b", messages).map(entriesIn)).toEqual([1000]);
    expect(node.takeActions().messages).toEqual([]);
  });

  it("sends entries to the others before its own disk has them", () => {
    const node = leading();
    for (const id of ["b", "c"]) node.handleMessage(accepted(id, node.term, 2), 1001);
    act(node, 1001);
    node.proposeCommand(1002);
    expect(appendsTo("c", node.takeActions().messages).map(entriesIn)).toEqual([1]);
  });

  it("sends a dead follower probes without entries, and serves the others as before", () => {
    const bytesBetween = (from: number, to: number): number => 1000 * (to - from);
    const group = CoreGroup.started(THREE, { bytesBetween, inflightBytesMax: 8000, messageBytesMax: 4000 });
    group.crash("c");
    group.heartbeat();
    group.clearSent();
    for (let n = 0; n < 100; n++) {
      const position = group.write("a", `w${n}`);
      expect(group.node("a").commitStatus(position)).toBe("committed");
    }
    const toDead = (): number =>
      appendsTo("c", group.sent).reduce((sum, message) => sum + entriesIn(message), 0);
    // What was in flight when it died: one window.
    expect(toDead()).toBeLessThanOrEqual(8);
    group.crash("a");
    group.restart("a");
    group.elect("b");
    for (let n = 0; n < 10; n++) group.write("b", `x${n}`);
    group.advance(800);
    group.clearSent();
    group.advance(8000);
    expect(appendsTo("c", group.sent).length).toBeGreaterThan(50);
    for (const message of appendsTo("c", group.sent)) expect(entriesIn(message)).toBeLessThanOrEqual(1);
    group.clearSent();
    group.write("b", "and on");
    expect(appendsTo("a", group.sent).map(entriesIn)).toContain(1);
    group.restart("c");
    group.advance(500);
    expect(group.positions("c")).toEqual(group.positions("b"));
  });

  it("refuses proposals when it does not lead", () => {
    const node = restarted({ log: logOf("1-3@1") });
    expect(node.proposeCommand(1)).toBeNull();
    expect(node.takeActions().append).toBeNull();
  });

  it("without a majority steps down, and accepts no more proposals [O7]", () => {
    const group = CoreGroup.started(THREE);
    group.isolate("a");
    group.advance(2 * 800);
    expect(group.node("a").role).not.toBe("leader");
    const { last } = group.node("a").log;
    for (let n = 0; n < 1000; n++) {
      expect(group.host("a").propose("more", group.now)).toBeNull();
      group.advance(80);
    }
    expect(group.node("a").log.last).toEqual(last);
    expect(group.node("a").takeActions().messages.length).toBeLessThan(10);
    group.heal();
    group.advance(5000);
    expect(group.leaders).toHaveLength(1);
  });
});

describe("finding where two logs agree", () => {
  /** Exchanges messages between a leader and a follower until their logs agree; returns the round trips. */
  function roundTrips(leaderLog: string, followerLog: string): number {
    const leader = leading({ log: logOf(leaderLog), term: 100, messageEntriesMax: 100_000 });
    const follower = restarted({ id: "b", log: logOf(followerLog), term: leader.term });
    const { index } = leader.log.last;
    let now = 1000;
    for (let trips = 1; trips <= 500; trips++) {
      now += 80;
      leader.handleTimeout(now);
      for (const message of appendsTo("b", act(leader, now).messages).slice(0, 1)) {
        follower.handleMessage(message, now);
      }
      for (const reply of repliesIn(allMessagesOf(follower, now))) leader.handleMessage(reply, now);
      if (leader.progress("b")!.match === index) return trips;
    }
    throw new Error("they never agreed");
  }

  /** `count` terms from `first` on, every other one, each of `length` entries, after `from`. */
  function terms(from: number, first: number, count: number, length: number): string {
    return Array.from(
      { length: count },
      (_, n) => `${from + 1 + n * length}-${from + (n + 1) * length}@${first + 2 * n}`,
    ).join(" ");
  }

  it("takes about one round trip per term that differs, however long the terms are", () => {
    for (const count of [1, 5, 20]) {
      // The logs agree up to 10. After that the leader has even terms and the follower odd ones.
      const trips = roundTrips(`1-10@1 ${terms(10, 2, count, 1000)}`, `1-10@1 ${terms(10, 3, count, 1000)}`);
      expect(trips).toBeLessThanOrEqual(count + 2);
    }
  });

  it("takes two round trips if only one side has many terms", () => {
    expect(roundTrips(`1-10@1 ${terms(10, 2, 20, 50)}`, "1-10@1")).toBeLessThanOrEqual(2);
    expect(roundTrips("1-10@1 11@90", `1-10@1 ${terms(10, 2, 20, 50)}`)).toBeLessThanOrEqual(3);
    expect(roundTrips("1-2000@1", `1-10@1 ${terms(10, 2, 20, 50)}`)).toBeLessThanOrEqual(3);
  });

  it("ends where the logs agree, whatever they hold", () => {
    for (const [leader, follower] of [
      ["1-5@1", ""],
      ["1-5@4", "1-9@3"],
      ["1@1 2@2 3@3 4@4", "1-4@1 5@3"],
      ["1-3@1 4-6@3", "1-6@1 7-9@2"],
      ["1-6@1 7-9@2", "1-3@1 4-6@3"],
    ] as const) {
      expect(roundTrips(leader, follower)).toBeLessThanOrEqual(5);
    }
  });
});
