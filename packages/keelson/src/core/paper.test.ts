// A test for each rule of §§5 to 8 of the Raft paper (extended version). Each is named by its section and the
// rule, in our words. Figure 2 has its own file. More thorough tests of the same rules are beside the code
// that implements them.
import { describe, expect, it } from "vitest";

import { CoreGroup, ofType } from "../testing/core/core-group.ts";
import { configOf, RaftNode, type AppendEntries, type LogPosition } from "./index.ts";
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
} from "./test/script.ts";

const THREE = ["a", "b", "c"];
const FIVE = ["a", "b", "c", "d", "e"];
describe("§5.1, basics", () => {
  it("each server has one role; normally one leads and the others follow", () => {
    const group = CoreGroup.started(FIVE);
    expect(group.leaders).toEqual(["a"]);
    for (const id of FIVE.slice(1)) expect(group.node(id).role).toBe("follower");
  });

  it("terms are a clock: a server with an earlier term adopts the later one", () => {
    const group = CoreGroup.started(FIVE);
    group.isolate("c");
    group.elect("b");
    group.elect("a");
    const { term } = group.node("a");
    expect(group.node("c").term).toBeLessThan(term);
    group.heal();
    group.heartbeat();
    expect(group.node("c").term).toBe(term);
  });

  it("a request of an earlier term changes nothing", () => {
    const node = nodeWith("1-3@1", { term: 5, votedFor: "b" });
    const before = { last: node.log.last, vote: node.votedFor, leader: node.leader };
    answer(node, appendEntries({ term: 4, entries: range("1@1", "2-9@4"), commit: 9 }));
    answer(node, requestVote("c", 4, "9@4"));
    answer(node, offer("30@4", { term: 4 }));
    expect({ last: node.log.last, vote: node.votedFor, leader: node.leader }).toEqual(before);
    expect(node.commitIndex).toBe(0);
  });

  it("requests are sent again when no answer comes", () => {
    const group = CoreGroup.started(THREE);
    group.intercept((message, to) => message.type === "append-entries" && to === "c");
    const position = group.write("a", "x");
    group.heartbeat();
    expect(group.node("c").log.contains(position)).toBe(false);
    group.intercept(null);
    group.intercepted = [];
    group.heartbeat();
    group.heartbeat();
    expect(group.node("c").log.contains(position)).toBe(true);
  });
});

describe("§5.2, leader election", () => {
  it("servers begin as followers, also after a crash", () => {
    const group = CoreGroup.started(THREE);
    group.crash("a");
    group.restart("a");
    expect(group.node("a").role).toBe("follower");
  });

  it("heartbeats keep a leader in office", () => {
    const group = CoreGroup.started(THREE);
    const { term } = group.node("a");
    group.advance(20_000);
    expect(group.leaders).toEqual(["a"]);
    expect(group.node("a").term).toBe(term);
  });

  it("each server votes once per term, so there is at most one leader", () => {
    const group = CoreGroup.started(FIVE, { preVote: false, checkQuorum: false });
    group.crash("a");
    group.timeOut("b");
    group.fire("c");
    group.settle();
    expect(group.node("b").term).toBe(group.node("c").term);
    expect(group.leaders.length).toBeLessThanOrEqual(1);
    for (const id of ["d", "e"]) expect(group.host(id).hardState.votedFor).toBe("b");
  });

  it("a candidate refuses entries of an earlier term, and remains one", () => {
    const node = nodeWith("1@1", { term: 4 });
    node.handleTimeout(LATER);
    act(node, LATER);
    answer(node, appendEntries({ term: 4, entries: range("1@1", "2@4") }));
    expect([node.role, node.term]).toEqual(["candidate", 5]);
  });

  it("a split vote leads to another election, and random timeouts end the series", () => {
    const group = CoreGroup.started(["a", "b", "c", "d"], { preVote: false, checkQuorum: false });
    group.crash("a");
    group.isolate("b");
    group.isolate("c");
    group.timeOut("b");
    group.fire("c");
    group.settle();
    expect(group.leaders).toEqual([]);
    group.heal();
    group.advance(6 * group.electionMsMax);
    expect(group.leaders).toHaveLength(1);
  });

  it("timeouts are drawn anew from a fixed range each time", () => {
    const draws = [0, 0, 0.25, 0.999];
    const node = nodeWith("1@1", { random: () => draws.shift() ?? 0 });
    const dues: number[] = [];
    for (let now = 0, n = 0; n < 2; n++) {
      const due = act(node, now).timer ?? NaN;
      dues.push(due - now);
      now = due;
      node.handleTimeout(now);
    }
    // The first random numbers became the first id of a read and the first round of pre-votes.
    expect(dues).toEqual([500, expect.closeTo(799.6)]);
  });
});

describe("§5.3, log replication", () => {
  it("a leader sends a command to all at once, and resends it until they answer", () => {
    const group = CoreGroup.started(THREE);
    group.crash("c");
    group.clearSent();
    const position = group.propose("a", "x");
    group.drain(group.host("a"));
    expect(new Set(group.inTransit.map(({ to }) => to))).toEqual(new Set(["b", "c"]));
    group.settle();
    expect(group.node("a").commitStatus(position)).toBe("committed");
    group.advance(30_000);
    group.restart("c");
    group.heartbeat();
    group.heartbeat();
    expect(group.node("c").commitStatus(position)).toBe("committed");
  });

  it("entries are sent again with the next heartbeat until the follower answers where the logs agree", () => {
    const node = leading();
    for (let n = 1; n <= 3; n++) {
      node.handleTimeout(LATER + 80 * n);
      const [sent] = appendsTo("b", node, LATER + 80 * n);
      expect(sent?.entries).toMatchObject({ prev: at("1@1"), lastIndex: 2 });
    }
  });

  it("committing an entry commits all entries before it, also those of earlier leaders", () => {
    const group = CoreGroup.started(THREE);
    group.intercept((message) => message.type === "append-entries-reply");
    const earlier = group.write("a", "x");
    expect(group.node("a").commitStatus(earlier)).toBe("in-progress");
    group.intercept(null);
    group.intercepted = [];
    group.crash("a");
    group.elect("b");
    expect(group.node("b").commitStatus(earlier)).toBe("committed");
  });

  it("followers learn the commit index from later messages", () => {
    const group = CoreGroup.started(THREE);
    const position = group.write("a", "x");
    expect(group.node("b").commitStatus(position)).toBe("in-progress");
    group.heartbeat();
    expect(group.node("b").commitStatus(position)).toBe("committed");
  });

  it("Log Matching: a leader creates one entry per index in its term, and entries never move", () => {
    const node = heardLeader();
    const positions = Array.from({ length: 5 }, () => node.proposeCommand(LATER) as LogPosition);
    expect(positions).toEqual([3, 4, 5, 6, 7].map((index) => ({ index, term: 2 })));
  });

  it("Log Matching: logs that agree on an entry agree on all entries before it", () => {
    const node = nodeWith("1-2@1 3-4@2", { term: 3 });
    // 5@3 follows 4@3 in the leader's log, so it is refused after 4@2.
    answer(node, appendEntries({ term: 3, entries: range("4@3", "5@3") }));
    expect(node.log.termAt(5)).toBeUndefined();
    answer(node, appendEntries({ term: 3, entries: range("2@1", "3-5@3") }));
    expect([3, 4, 5].map((index) => node.log.termAt(index))).toEqual([3, 3, 3]);
  });

  it.each([
    ["(a): lacks the last entry", "1-3@1 4-5@4 6-7@5 8-9@6"],
    ["(b): lacks many", "1-3@1 4@4"],
    ["(c): has one too many", "1-3@1 4-5@4 6-7@5 8-11@6"],
    ["(d): has two of a term that the leader never saw", "1-3@1 4-5@4 6-7@5 8-10@6 11-12@7"],
    ["(e): lacks some and has others", "1-3@1 4-7@4"],
    ["(f): led two terms alone", "1-3@1 4-6@2 7-11@3"],
  ])("Figure 7 %s: the leader makes the follower's log equal to its own", (_, log) => {
    const leader = leading(
      { id: "b", log: logOf("1-3@1 4-5@4 6-7@5 8-10@6", "0@0", FIRST_CONFIG), term: 7 },
      ["c"],
    );
    const follower = nodeWith(log, { term: 7 });
    const before = leader.log.slice(0, leader.log.last.index);
    let toFollower = act(leader, LATER).messages;
    leader.handleTimeout(LATER + 80);
    toFollower = act(leader, LATER + 80).messages;
    for (let n = 0; n < 20 && !follower.log.contains(leader.log.last); n++) {
      for (const { to, message } of toFollower) {
        if (to !== "a") continue;
        for (const reply of answer(follower, message)) leader.handleMessage(reply, LATER + 80);
      }
      leader.handleTimeout(LATER + 80 * (n + 2));
      toFollower = act(leader, LATER + 80 * (n + 2)).messages;
    }
    expect(follower.log.slice(0, follower.log.last.index)).toEqual(before);
    expect(leader.log.slice(0, leader.log.last.index)).toEqual(before);
  });

  it("a refusal carries a hint, so that one refusal skips the entries of a term", () => {
    const node = nodeWith("1-3@1 4-6@2 7-11@3", { term: 7 });
    const replies = repliesIn(answer(node, appendEntries({ term: 8, entries: range("10@6", "11@8") })));
    expect(replies).toMatchObject([{ outcome: { refused: 10, hint: at("10@3") } }]);
    const leader = leading({ log: logOf("1-3@1 4-5@4 6-7@5 8-10@6", "0@0", FIRST_CONFIG), term: 7 });
    leader.handleMessage(refused("b", 8, 10, "10@3"), LATER);
    expect(leader.progress("b")?.next).toBe(4);
  });

  it("Leader Append-Only: a leader never removes or changes an entry of its own log", () => {
    const node = leading({ log: logOf("1-3@1 4-5@2", "0@0", FIRST_CONFIG), checkQuorum: false });
    const before = node.log.slice(0, 6);
    node.handleMessage(refused("b", 3, 5, "1@1"), LATER);
    node.handleMessage(requestVote("c", 3, "99@3"), LATER);
    node.handleMessage(appendEntries({ term: 2, entries: range("1@1", "2@2") }), LATER);
    node.proposeCommand(LATER);
    expect(node.role).toBe("leader");
    expect(node.log.slice(0, 6)).toEqual(before);
  });
});

describe("§5.4.1, election restriction", () => {
  it.each([
    ["a later last term wins over a longer log", "5@2", "2@3", true],
    ["an earlier last term loses, however long", "5@2", "9@1", false],
    ["of equal terms the longer log wins", "5@2", "6@2", true],
    ["of equal terms the shorter log loses", "5@2", "4@2", false],
    ["equal is up to date", "5@2", "5@2", true],
  ])("%s", (_, __, last, granted) => {
    const node = nodeWith("1-4@1 5@2");
    expect(votesIn(answer(node, requestVote("b", 6, last)))).toEqual([granted]);
  });

  it("only a server with all committed entries can be elected", () => {
    const group = CoreGroup.started(THREE);
    group.isolate("c");
    const position = group.write("a", "x");
    group.crash("a");
    group.heal();
    group.timeOut("c");
    group.settle();
    expect(group.leaders).toEqual([]);
    group.elect("b");
    expect(group.node("b").log.contains(position)).toBe(true);
  });
});

describe("§5.4.2, committing entries of earlier terms", () => {
  it("an entry of an earlier term is committed by a later entry of the leader's term, not by counting", () => {
    const node = leading({ log: logOf("1-2@1 3-5@2", "0@0", FIRST_CONFIG), term: 4 });
    for (const id of ["b", "c"]) node.handleMessage(accepted(id, 5, 5), LATER);
    expect(node.commitIndex).toBe(0);
    node.handleMessage(accepted("b", 5, 6), LATER);
    expect(node.commitIndex).toBe(6);
  });

  it("entries keep their original term when a later leader sends them", () => {
    const node = leading({ log: logOf("1-2@1 3-5@2", "0@0", FIRST_CONFIG), term: 4 });
    node.handleMessage(refused("b", 5, 5, "2@1"), LATER);
    expect(appendsTo("b", node)[0]?.entries.terms).toEqual([
      { index: 3, term: 2 },
      { index: 6, term: 5 },
    ]);
  });
});

describe("§5.4.3, safety", () => {
  it("Leader Completeness: a committed entry is in the log of every later leader", () => {
    const group = CoreGroup.started(FIVE);
    const positions: LogPosition[] = [];
    for (const id of ["b", "c", "d", "e", "a"]) {
      group.crash(group.leaders[0] ?? "");
      group.elect(id);
      positions.push(group.write(id, `by ${id}`));
      for (const position of positions) expect(group.node(id).log.contains(position)).toBe(true);
      for (const other of FIVE) if (!group.host(other).isUp) group.restart(other);
      group.heartbeat();
    }
    expect(positions).toHaveLength(5);
  });

  it("State Machine Safety: no two servers apply different entries at one index", () => {
    const group = CoreGroup.started(THREE);
    group.isolate("a");
    group.write("a", "lost");
    group.elect("b");
    group.write("b", "kept");
    group.heal();
    group.heartbeat();
    group.heartbeat();
    for (const id of THREE) {
      const applied = group.host(id).applied.map(({ payload }) => payload);
      expect(applied).toContain("kept");
      expect(applied).not.toContain("lost");
    }
  });
});

describe("§5.5, follower and candidate crashes", () => {
  it("entries for a crashed server are resent until it is back", () => {
    const group = CoreGroup.started(THREE);
    group.crash("b");
    const position = group.write("a", "x");
    group.advance(5_000);
    group.restart("b");
    group.heartbeat();
    group.heartbeat();
    expect(group.node("b").commitStatus(position)).toBe("committed");
  });

  it("a repeated request does no harm, also if only its answer was lost", () => {
    const node = nodeWith("1@1");
    const twice = appendEntries({ term: 2, entries: range("1@1", "2-3@2"), commit: 2 });
    const first = repliesIn(answer(node, twice));
    const log = node.capture().log;
    expect(repliesIn(answer(node, twice))).toEqual(first);
    expect(node.capture().log).toEqual(log);
    expect(votesIn(answer(nodeWith("1@1", { term: 3, votedFor: "b" }), requestVote("b", 3, "1@1")))).toEqual([
      true,
    ]);
  });
});

describe("§5.6, timing", () => {
  it("safety does not depend on time: a clock that jumps deposes a leader and loses no entry", () => {
    const group = CoreGroup.started(THREE);
    const position = group.write("a", "x");
    for (const id of THREE) group.node(id).handleTimeout(group.now + 1_000_000);
    group.now += 1_000_000;
    group.advance(5_000);
    expect(group.leaders).toHaveLength(1);
    const [leader = ""] = group.leaders;
    expect(group.node(leader).commitStatus(position)).toBe("committed");
  });

  it("options are refused unless the heartbeat is far shorter than the election timeout", () => {
    const options = { id: "a", random: () => 0, electionTimeoutMs: { min: 100, max: 200 } };
    expect(() => RaftNode.start({ ...options, heartbeatMs: 51 })).toThrow("heartbeatMs");
    expect(() => RaftNode.start({ ...options, heartbeatMs: 50 })).not.toThrow();
  });
});

describe("§6, membership changes", () => {
  it("a server uses the latest configuration in its log, committed or not", () => {
    const node = nodeWith("1@1");
    const config = { ...configOf(["c", "d", "e"]), outgoingVoters: THREE };
    const entries = range("1@1", "2@2", [{ index: 2, config }]);
    answer(node, appendEntries({ term: 2, entries }));
    expect(node.commitIndex).toBe(0);
    expect(node.config).toEqual(config);
  });

  it("while it is joint, entries are sent to all servers of both configurations", () => {
    const group = CoreGroup.started(THREE);
    for (const id of ["d", "e"]) group.add(id);
    group.proposeConfig("a", ["c", "d", "e"]);
    group.clearSent();
    group.drain(group.host("a"));
    expect(new Set(group.sent.map(({ to }) => to))).toEqual(new Set(["b", "c", "d", "e"]));
  });

  it.each(["b", "d"])("while it is joint, a server of either configuration may lead: %s", (id) => {
    const group = CoreGroup.started(THREE);
    for (const added of ["d", "e"]) group.add(added);
    group.change("a", THREE, ["d", "e"]);
    group.intercept((message) => message.type === "append-entries-reply");
    group.change("a", ["c", "d", "e"]);
    group.crash("a");
    group.intercept((message) => message.type === "append-entries");
    group.elect(id);
    expect(group.node(id).config.outgoingVoters).toEqual(THREE);
  });

  it.each([
    ["the old", ["b", "c"], false],
    ["the new", ["d", "e"], false],
    ["both", ["b", "d"], true],
  ])(
    "while it is joint, an election takes a majority of each configuration: here of %s",
    (_, voters, wins) => {
      const config = { ...configOf(["a", "d", "e"]), outgoingVoters: THREE };
      const node = restarted({ log: logOf("1@1", "0@0", [{ index: 1, config }]), preVote: false });
      node.handleTimeout(LATER);
      // Its own vote counts in both configurations, but is not enough.
      for (const from of voters) {
        const { term } = node;
        act(node, LATER);
        node.handleMessage({ type: "request-vote-reply", from, term, granted: true }, LATER);
      }
      expect(node.role === "leader").toBe(wins);
    },
  );

  it("new servers catch up before they have a vote", () => {
    const group = CoreGroup.started(THREE);
    group.add("d");
    group.change("a", THREE, ["d"]);
    group.write("a", "x");
    expect(group.payloads("d")).toContain("x");
    group.crash("b");
    group.crash("c");
    const position = group.write("a", "y");
    expect(group.node("d").log.contains(position)).toBe(true);
    expect(group.node("a").commitStatus(position)).toBe("in-progress");
  });

  it("a leader outside of the new configuration steps down once that is committed", () => {
    const group = CoreGroup.started(THREE);
    const leavesJoint = ({ entries }: AppendEntries): boolean =>
      entries.configs.some(({ config }) => config.outgoingVoters.length === 0);
    group.intercept((message, to) => to === "c" && message.type === "append-entries" && leavesJoint(message));
    group.change("a", ["b", "c"]);
    // The new configuration is b and c, and c does not hear of it.
    expect(group.node("a").config).toEqual(configOf(["b", "c"]));
    group.heartbeat();
    expect(group.node("a").role).toBe("leader");
    group.intercept(null);
    group.heartbeat();
    expect(group.node("a").role).toBe("follower");
  });

  it("a request for votes is ignored within the shortest election timeout after a leader was heard", () => {
    const node = nodeWith("1@1", { term: 2 });
    answer(node, appendEntries({ from: "b", term: 2, entries: range("1@1", "") }), 5_000);
    expect(votesIn(answer(node, requestVote("c", 9, "9@8"), 5_399))).toEqual([false]);
    expect(node.term).toBe(2);
    expect(votesIn(answer(node, requestVote("c", 9, "9@8"), 5_400))).toEqual([true]);
  });
});

describe("§7, log compaction", () => {
  it("each server compacts by itself, and keeps the last position and configuration of what it forgot", () => {
    const group = CoreGroup.started(THREE);
    group.write("a", "x");
    group.heartbeat();
    const { index, term } = group.node("b").log.last;
    group.host("b").compact(index, group.now);
    const { log } = group.node("b").capture();
    expect(log).toMatchObject({ base: { index, term }, baseConfig: configOf(THREE), terms: [], configs: [] });
    expect(group.node("a").log.base.index).toBe(0);
  });

  it("uncommitted entries are not compacted", () => {
    const node = heardLeader();
    node.proposeCommand(LATER);
    act(node, LATER);
    expect(() => {
      node.handleCompacted(3, LATER);
    }).toThrow("only committed entries");
  });

  it("the position before the log is known when the next entries arrive", () => {
    const node = restarted({ log: { ...logOf("", "5@2"), baseConfig: ABC }, term: 2 });
    answer(node, appendEntries({ term: 3, entries: range("5@2", "6@3") }));
    expect(node.log.last).toEqual(at("6@3"));
  });

  it("a leader that has compacted what a follower lacks sends it a snapshot", () => {
    const group = CoreGroup.started(THREE);
    group.crash("c");
    group.write("a", "x");
    group.heartbeat();
    const covered = group.node("a").commitIndex;
    group.host("a").compact(covered, group.now);
    group.restart("c");
    group.heartbeat();
    group.heartbeat();
    expect(ofType(group.sent, "install-snapshot")).not.toEqual([]);
    expect(group.node("c").log.base.index).toBe(covered);
    expect(group.host("c").applied.at(-1)?.payload).toBe("x");
  });

  it("Figure 13, 1: a snapshot of an earlier term is refused at once", () => {
    const node = nodeWith("1@1", { term: 6 });
    expect(answer(node, offer("9@3", { term: 5 }))).toMatchObject([
      { term: 6, outcome: { accepted: false } },
    ]);
    expect(node.takeActions().installSnapshot).toBeNull();
  });

  it("Figure 13, 6: if the log holds the snapshot's last entry, the entries after it are kept", () => {
    const node = nodeWith("1-9@1", { term: 2 });
    node.handleMessage(offer("6@1", { term: 2 }), LATER);
    act(node, LATER);
    node.handleSnapshotInstalled(at("6@1"), ABC, LATER);
    expect([node.log.base, node.log.last]).toEqual([at("6@1"), at("9@1")]);
  });

  it("Figure 13, 7 and 8: otherwise the log is dropped, and the snapshot's configuration is in force", () => {
    const node = nodeWith("1-9@1", { term: 2 });
    const config = configOf(["a", "b"]);
    node.handleMessage(offer("6@2", { term: 2, config }), LATER);
    act(node, LATER);
    node.handleSnapshotInstalled(at("6@2"), config, LATER);
    expect([node.log.base, node.log.last]).toEqual([at("6@2"), at("6@2")]);
    expect(node.config).toEqual(config);
    expect(node.commitIndex).toBe(6);
  });
});

describe("§8, clients", () => {
  it("a server that does not lead accepts no command, and names the leader", () => {
    const group = CoreGroup.started(THREE);
    expect(group.host("b").propose("x", group.now)).toBeNull();
    expect(group.node("b").leader).toBe("a");
  });

  it("a leader begins its term with a blank entry, and answers no read before it is committed", () => {
    const group = CoreGroup.started(THREE);
    group.elect("b");
    expect(group.host("b").memory.at(-1)).toMatchObject({ payload: "", term: group.node("b").term });
    group.intercept((message, to) => message.type === "append-entries-reply" && to === "c");
    group.timeOut("c");
    group.settle();
    expect(group.node("c").role).toBe("leader");
    const read = group.read("c");
    group.settle();
    expect(group.host("c").reads).toEqual([]);
    group.intercept(null);
    group.heartbeat();
    expect(group.host("c").reads).toEqual([{ id: read, index: group.node("c").commitIndex }]);
  });

  it("a leader confirms with a majority that it still leads before it answers a read", () => {
    const group = CoreGroup.started(THREE);
    group.isolate("a");
    group.read("a");
    group.settle();
    expect(group.host("a").reads).toEqual([]);
    group.heal();
    const read = group.read("a");
    group.settle();
    expect(group.host("a").reads.map(({ id }) => id)).toContain(read);
  });
});
