import { describe, expect, it } from "vitest";

import { CoreGroup, ofType, seededRandom } from "../testing/core/core-group.ts";
import {
  configOf,
  isJoint,
  isVoter,
  type ClusterConfig,
  type ConfigRefusal,
  type LogPosition,
  type NodeId,
  type RequestVote,
} from "./index.ts";
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
} from "./test/script.ts";

const THREE = ["a", "b", "c"];
const FOUR = ["a", "b", "c", "d"];

function requestVote(from: string, term: number, last: string, transfer = false): RequestVote {
  return { type: "request-vote", from, term, last: at(last), transfer };
}

/** A group, and nodes that don't belong to it yet. */
function groupWith(members: readonly NodeId[], others: readonly NodeId[], options = {}): CoreGroup {
  const group = CoreGroup.started(members, options);
  for (const id of others) group.add(id);
  return group;
}

function tryChange(group: CoreGroup, id: NodeId, voters: readonly NodeId[]): LogPosition | ConfigRefusal {
  return group.host(id).proposeConfig(configOf(voters), group.now);
}

/** The configurations in a node's log, in order. */
function configsOf(group: CoreGroup, id: NodeId): ClusterConfig[] {
  return group.host(id).memory.flatMap(({ config }) => (config === null ? [] : [config]));
}

function joint(outgoing: readonly NodeId[], voters: readonly NodeId[]): ClusterConfig {
  return { ...configOf(voters), outgoingVoters: outgoing };
}

describe("a change of membership", () => {
  it("goes through C_old,new and ends in C_new without another call", () => {
    const group = groupWith(THREE, ["d", "e"]);
    const first = group.change("a", ["a", "d", "e"]);
    expect(configsOf(group, "a")).toEqual([
      configOf(THREE),
      joint(THREE, ["a", "d", "e"]),
      configOf(["a", "d", "e"]),
    ]);
    expect(group.node("a").commitStatus({ ...first, index: first.index + 1 })).toBe("committed");
    group.write("a", "after");
    for (const id of ["a", "d", "e"]) expect(group.payloads(id)).toContain("after");
  });

  it("must have voters, and each member in one part", () => {
    const { node } = groupWith(THREE, []).host("a");
    expect(() => node.proposeConfig(configOf([], ["b"]), 0)).toThrow("without voters could never decide");
    const twice = { ...configOf(["a", "b"]), voters: ["a", "b", "b"] };
    expect(() => node.proposeConfig(twice, 0)).toThrow("each member is named once");
  });

  it("takes one entry if the voters stay, and is refused while another is under way", () => {
    const group = groupWith(THREE, ["d"]);
    group.proposeConfig("a", THREE, ["d"]);
    expect(isJoint(group.node("a").config)).toBe(false);
    expect(tryChange(group, "a", ["a"])).toBe("change-under-way");
    group.settle();
    group.proposeConfig("a", FOUR);
    expect(tryChange(group, "a", THREE)).toBe("change-under-way");
    group.settle();
    expect(group.node("d").config).toEqual(configOf(FOUR));
    expect(tryChange(group, "b", THREE)).toBe("not-leader");
  });

  it.each<[string, readonly NodeId[], readonly NodeId[]]>([
    ["an addition and a removal", ["a", "b", "c", "d", "e"], ["b", "c", "d"]],
    ["two additions", ["a", "b", "c", "d", "e"], ["a", "b", "c", "d", "f"]],
    ["two removals", ["a", "b", "c"], ["b", "c", "d"]],
  ])("is refused before an entry of the term is committed: %s in two terms [M1]", (_, one, two) => {
    const group = groupWith(FOUR, ["e", "f"]);
    group.isolate("a", "e");
    group.proposeConfig("a", one);
    group.settle();
    expect(group.node("a").config).toEqual(joint(FOUR, one));

    group.intercept(({ type, from }) => type === "append-entries" && from === "b");
    group.elect("b");
    expect(tryChange(group, "b", two)).toBe("term-not-started");
    group.intercept(null);
    group.heartbeat();
    const second = group.change("b", two);
    expect(group.node("b").commitStatus(second)).toBe("committed");

    // The leader of the first term comes back with entries that it never committed.
    group.heal();
    group.timeOut("a");
    group.settle();
    expect(group.node("a").role).not.toBe("leader");
    group.advance(5_000);
    const [leader = ""] = group.leaders;
    expect(two).toContain(leader);
    expect(group.leaders).toHaveLength(1);
    expect(group.node(leader).config).toEqual(configOf(two));
    expect(group.node(leader).commitStatus(second)).toBe("committed");
  });

  it.each<[string, readonly NodeId[]]>([
    ["the old", ["d", "e"]],
    ["the new", ["b", "c"]],
  ])("does not leave the joint configuration with the majority of %s one alone [M3]", (_, cutOff) => {
    const group = groupWith(THREE, ["d", "e"], { checkQuorum: false });
    for (const id of cutOff) group.isolate(id);
    const entered = group.change("a", ["a", "d", "e"]);
    group.advance(3_000);
    expect(group.node("a").commitStatus(entered)).toBe("in-progress");
    expect(group.node("a").config).toEqual(joint(THREE, ["a", "d", "e"]));
    group.heal();
    group.advance(1_000);
    expect(group.node("a").config).toEqual(configOf(["a", "d", "e"]));
    expect(configsOf(group, "a").filter((config) => config.voters.includes("d"))).toHaveLength(2);
  });

  it("is completed, once, by a new leader that finds C_old,new in its log [M3]", () => {
    const group = groupWith(THREE, ["d", "e"]);
    group.intercept((message) => message.type === "append-entries-reply");
    group.change("a", ["a", "d", "e"]);
    group.crash("a");
    group.intercepted = [];
    group.intercept((message, to) => message.type === "append-entries" && to !== "c");
    group.elect("b");
    group.heartbeat();
    // c has the entry too. That's no majority of the new configuration, so the joint one stays in force.
    expect(group.node("b").config).toEqual(joint(THREE, ["a", "d", "e"]));
    group.intercept(null);
    group.advance(2_000);
    expect(configsOf(group, "d").slice(1)).toEqual([
      joint(THREE, ["a", "d", "e"]),
      configOf(["a", "d", "e"]),
    ]);
    group.restart("a");
    group.advance(3_000);
    const [leader = ""] = group.leaders;
    expect(["a", "d", "e"]).toContain(leader);
    expect(configsOf(group, "a")).toEqual(configsOf(group, "d"));
  });

  it("is undone when the entries of two configurations are overwritten, also after a restart [M4]", () => {
    const stacked = [
      { index: 1, config: ABC },
      { index: 6, config: configOf(["a", "b", "c"], ["d"]) },
      { index: 7, config: joint(THREE, FOUR) },
    ];
    const node = restarted({ log: logOf("1-7@1", "0@0", stacked), term: 4 });
    expect(isJoint(node.config)).toBe(true);
    node.handleMessage(appendEntries({ term: 5, entries: range("5@1", "6@5") }), 1);
    expect(node.config).toEqual(ABC);
    expect(node.log.configAt(6)).toEqual({ index: 1, config: ABC });
    const { truncateFrom } = act(node, 1).append ?? {};
    expect(truncateFrom).toBe(6);
    const again = restarted({ log: node.capture().log, term: 5 });
    expect(again.config).toEqual(ABC);
  });

  it("that its leader never sent is removed from that leader's memory and disk [M4]", () => {
    const group = groupWith(THREE, ["d"]);
    group.isolate("a");
    group.change("a", FOUR);
    group.crash("a");
    group.restart("a");
    expect(group.node("a").config).toEqual(joint(THREE, FOUR));
    group.elect("b");
    group.heal();
    group.heartbeat();
    group.heartbeat();
    expect(group.node("a").config).toEqual(configOf(THREE));
    group.crash("a");
    group.restart("a");
    expect(group.node("a").config).toEqual(configOf(THREE));
  });

  it("counts in elections as soon as its entry is in the log, committed or not [E22, M13]", () => {
    // Only the leader learns that the joint configuration is committed. Then it crashes.
    const group = groupWith(THREE, ["d", "e"]);
    group.change("a", THREE, ["d", "e"]);
    group.intercept((message) => message.type === "append-entries-reply");
    group.change("a", ["c", "d", "e"]);
    group.crash("a");
    group.intercept(null);
    group.intercepted = [];
    for (const id of ["b", "c", "d", "e"]) expect(group.node(id).config.outgoingVoters).toEqual(THREE);
    group.elect("d");
    group.advance(2_000);
    const [leader = ""] = group.leaders;
    expect(["c", "d", "e"]).toContain(leader);
    expect(group.node(leader).config).toEqual(configOf(["c", "d", "e"]));
  });

  it("to one voter completes after the leader crashed with the only copy of its own removal [M18]", () => {
    const group = CoreGroup.started(["a", "b"]);
    group.intercept((message) => message.type === "append-entries" && lacks("a", message.entries.configs));
    group.change("a", ["b"]);
    expect(configsOf(group, "a").at(-1)).toEqual(configOf(["b"]));
    expect(isJoint(group.node("b").config)).toBe(true);
    group.crash("a");
    group.restart("a");
    group.intercept(null);
    group.intercepted = [];
    group.advance(5_000);
    expect(group.leaders).toEqual(["b"]);
    expect(group.node("b").config).toEqual(configOf(["b"]));
    expect(group.node("b").commitStatus(group.write("b", "on"))).toBe("committed");
  });

  it.each([
    ["not known to be committed", 2, "pre-candidate"],
    ["known to be committed", 3, "follower"],
  ] as const)("lets a node start elections whose removal is %s [M18]", (_, commit, role) => {
    const configs = [
      { index: 1, config: configOf(["a", "b"]) },
      { index: 2, config: joint(["a", "b"], ["b"]) },
      { index: 3, config: configOf(["b"]) },
    ];
    const node = restarted({ log: logOf("1-3@1", "0@0", configs), commitIndex: commit });
    node.handleTimeout(1_000);
    expect(node.role).toBe(role);
  });
});

/** Whether a node is missing in one of these configurations. */
function lacks(id: NodeId, configs: readonly { readonly config: ClusterConfig }[]): boolean {
  return configs.some(({ config }) => !isVoter(config, id));
}

describe("a leader that finds a committed joint configuration in its log", () => {
  it("leaves it only once an entry of its own term is committed [M3]", () => {
    const configs = [
      { index: 1, config: configOf(THREE) },
      { index: 2, config: joint(THREE, FOUR) },
    ];
    const node = leading({ log: logOf("1-2@1", "0@0", configs), commitIndex: 2 });
    node.handleMessage(accepted("b", node.term, 2), 1001);
    expect([node.log.last.index, node.config]).toEqual([3, joint(THREE, FOUR)]);
    for (const from of ["b", "c"]) node.handleMessage(accepted(from, node.term, 3), 1002);
    expect([node.log.last.index, node.config]).toEqual([4, configOf(FOUR)]);
  });
});

describe("a leader that is removed", () => {
  it("leads until its removal is committed, tells all nodes, and steps down [M8]", () => {
    const group = CoreGroup.started(THREE);
    group.intercept(
      (message, to) => message.type === "append-entries-reply" && to === "a" && isNewConfig(group),
    );
    group.change("a", ["b", "c"]);
    expect(group.node("a").config).toEqual(configOf(["b", "c"]));
    group.heartbeat();
    expect(group.node("a").role).toBe("leader");
    expect(group.node("a").takesCommands).toBe(false);
    group.intercept((message) => message.type === "timeout-now");
    group.deliverIntercepted();
    group.settle();
    expect(group.node("a").role).toBe("follower");
    const removal = group.node("a").commitIndex;
    for (const id of ["b", "c"]) expect(group.node(id).commitIndex).toBe(removal);
    group.advance(2_000);
    expect(["b", "c"]).toContain(group.leaders[0]);
    expect(group.host("a").propose("x", group.now)).toBeNull();
  });

  it("asks a voter to start an election at once [M8]", () => {
    const group = CoreGroup.started(THREE);
    group.change("a", ["b", "c"]);
    expect(group.leaders).toHaveLength(1);
    expect(["b", "c"]).toContain(group.leaders[0]);
  });

  it("may crash right after its removal is committed, and the others elect a leader [M8]", () => {
    const group = CoreGroup.started(THREE);
    group.intercept((message) => message.type === "timeout-now");
    group.change("a", ["b", "c"]);
    group.crash("a");
    group.advance(3_000);
    const [leader = ""] = group.leaders;
    expect(["b", "c"]).toContain(leader);
    expect(group.node(leader).commitStatus(group.write(leader, "on"))).toBe("committed");
  });

  it("does not count in the majority that commits its removal [C3]", () => {
    const group = CoreGroup.started(THREE);
    group.intercept((message, to) => message.type === "append-entries" && to === "c" && isNewConfig(group));
    group.change("a", ["b", "c"]);
    const removal = group.node("a").log.last;
    expect(group.node("b").log.contains(removal)).toBe(true);
    expect(group.node("b").durableIndex).toBe(removal.index);
    expect(group.node("a").commitStatus(removal)).toBe("in-progress");
    group.intercept(null);
    group.heartbeat();
    expect(group.node("b").commitStatus(removal)).toBe("committed");
  });

  it("keeps its vote when it steps down within the term [E6]", () => {
    const group = CoreGroup.started(THREE);
    group.intercept((message) => message.type === "timeout-now");
    group.change("a", ["b", "c"]);
    const { term } = group.node("a");
    expect(group.node("a")).toMatchObject({ role: "follower", votedFor: "a" });
    group.clearSent();
    group.now += 10_000;
    group.inject("a", requestVote("x", term, "99@99"));
    group.settle();
    expect(ofType(group.sent, "request-vote-reply")).toMatchObject([{ from: "a", granted: false }]);
    expect(group.node("a").votedFor).toBe("a");
  });
});

/** Whether the leader a has left the joint configuration. */
function isNewConfig(group: CoreGroup): boolean {
  return !isVoter(group.node("a").config, "a");
}

describe("a node that was removed", () => {
  it.each([
    ["with pre-vote", true],
    ["that does not", false],
  ])("while it was cut off, %s, deposes no leader when it comes back [E15]", (_, preVote) => {
    const group = CoreGroup.started(THREE, { of: { c: { preVote } } });
    group.isolate("c");
    group.change("a", ["a", "b"]);
    group.advance(50 * group.electionMsMax);
    const { term } = group.node("a");
    expect(group.node("c").term > term).toBe(!preVote);
    group.heal();
    for (let n = 0; n < 30; n++) {
      if (n === 15) {
        group.crash("c");
        group.restart("c");
      }
      group.write("a", `w${n}`);
      group.heartbeat();
    }
    expect(group.leaders).toEqual(["a"]);
    expect(group.node("a").term).toBe(term);
    expect(group.node("b").term).toBe(term);
  });

  it("is told so, starts no more elections, and is sent nothing more", () => {
    const group = CoreGroup.started(THREE);
    group.change("a", ["a", "b"]);
    group.heartbeat();
    group.heartbeat();
    expect(group.node("c").config).toEqual(configOf(["a", "b"]));
    expect(group.node("c").commitIndex).toBe(group.node("c").log.last.index);
    expect(group.node("a").removedMembersToNotify).toEqual([]);
    group.clearSent();
    group.advance(5_000);
    expect(group.sent.filter(({ message, to }) => to === "c" || message.from === "c")).toEqual([]);
  });

  it("is an ordinary member again when it is added before it was told", () => {
    const group = CoreGroup.started(THREE);
    group.isolate("c");
    group.change("a", ["a", "b"]);
    expect(group.node("a").removedMembersToNotify).toEqual(["c"]);
    group.change("a", ["a", "b"], ["c"]);
    expect(group.node("a").removedMembersToNotify).toEqual([]);
    group.advance(10 * group.electionMsMax);
    group.heal();
    group.heartbeat();
    const position = group.write("a", "x");
    expect(group.node("a").progress("c")?.match).toBe(position.index);
  });
});

describe("a snapshot's configuration", () => {
  it("is the one at its index, not the latest, also after a restart and a second compaction [M5]", () => {
    const group = groupWith(THREE, ["d", "e"]);
    group.change("a", THREE, ["d"]);
    group.write("a", "x");
    const covered = group.node("a").commitIndex;
    group.isolate("a");
    group.proposeConfig("a", ["a", "b", "d"]);
    group.settle();
    const first = configOf(THREE, ["d"]);
    expect(group.node("a").config).toEqual(joint(THREE, ["a", "b", "d"]));

    group.host("a").compact(covered - 1, group.now);
    expect(group.node("a").capture().log.baseConfig).toEqual(first);
    group.crash("a");
    group.restart("a");
    expect(group.node("a").log.configAt(covered - 1).config).toEqual(first);
    expect(group.node("a").config).toEqual(joint(THREE, ["a", "b", "d"]));

    group.heal();
    group.advance(3_000);
    const [leader = ""] = group.leaders;
    group.write(leader, "y");
    group.host(leader).compact(group.node(leader).commitIndex, group.now);
    expect(group.node(leader).capture().log).toMatchObject({
      configs: [],
      baseConfig: group.node(leader).config,
    });
    group.crash(leader);
    group.restart(leader);
    expect(group.node(leader).config).toEqual(group.node(leader).capture().log.baseConfig);
    group.advance(3_000);
    expect(group.leaders).toHaveLength(1);
  });

  it("replaces an uncommitted one at a higher index, and its learners start no elections [M7]", () => {
    const stale = [
      { index: 1, config: configOf(["a", "d", "e"]) },
      { index: 20, config: joint(["a", "d", "e"], THREE) },
    ];
    const node = restarted({ log: logOf("1-12@1 13-40@3", "0@0", stale), term: 3 });
    const real = configOf(["d", "e", "f"], ["a"]);
    node.handleMessage(offer("30@5", { from: "d", term: 5, config: real }), 1);
    expect(act(node, 1).installSnapshot?.config).toEqual(real);
    node.handleSnapshotInstalled(at("30@5"), real, 1);
    expect(node.config).toEqual(real);
    expect(node.log.last).toEqual(at("30@5"));
    act(node, 1);
    for (let now = 10_000; now < 20_000; now += 1_000) {
      node.handleTimeout(now);
      expect(act(node, now)).toMatchObject({ messages: [], messagesAfterPersist: [], timer: null });
    }
    expect([node.role, node.term]).toEqual(["follower", 5]);
  });
});

describe("a commit index", () => {
  it("is the one that counting gives, for any configuration and any order of answers [C2]", () => {
    let committed = 0;
    for (let seed = 1; seed <= 150; seed++) committed += commitRandomly(seed);
    expect(committed).toBeGreaterThan(150);
  });
});

/** Gives a leader of a random configuration random answers; returns how often its commit index moved. */
function commitRandomly(seed: number): number {
  const random = seededRandom(seed);
  const everyone = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
  const some = (share: number): NodeId[] => everyone.filter(() => random() < share);
  const voters = some(0.6);
  const outgoing = random() < 0.5 ? some(0.6) : [];
  const learners = everyone.filter((id) => !voters.includes(id) && random() < 0.3);
  const config = {
    ...configOf(
      [...voters, "a"],
      learners.filter((id) => id !== "a"),
    ),
    outgoingVoters: outgoing,
  };
  const node = leading({ log: logOf("1@1", "0@0", [{ index: 1, config }]) }, everyone.slice(1));
  const start = node.log.last.index;
  node.proposeCommands(12, 1000);
  act(node, 1000);
  const match = new Map<NodeId, number>([["a", node.durableIndex]]);
  let moved = 0;
  for (let n = 0; n < 40; n++) {
    const from = everyone[1 + Math.floor(random() * 8)] ?? "b";
    // Answers of non-members are ignored.
    if (node.progress(from) === undefined) continue;
    const index = Math.floor(random() * (node.log.last.index + 1));
    const inForce = node.config;
    const before = node.commitIndex;
    node.handleMessage(accepted(from, node.term, index, 0), 1000);
    match.set(from, Math.max(match.get(from) ?? 0, index));
    const counted = Math.min(
      ...[inForce.voters, inForce.outgoingVoters]
        .filter((part) => part.length > 0)
        .map((part) => reachedByMost(part.map((id) => match.get(id) ?? 0))),
    );
    const expected = counted >= start ? Math.max(before, counted) : before;
    expect(node.commitIndex, `seed ${seed}, answer ${n}`).toBe(expected);
    if (node.commitIndex > before) moved += 1;
    if (random() < 0.5) act(node, 1000);
    match.set("a", node.durableIndex);
  }
  return moved;
}

/** The greatest number that more than half of them reach, found by trying. */
function reachedByMost(values: readonly number[]): number {
  const reaches = (bar: number): boolean => values.filter((value) => value >= bar).length * 2 > values.length;
  return Math.max(0, ...values.filter(reaches));
}
