import { describe, expect, it } from "vitest";

import { CoreGroup, ofType } from "../testing/core/core-group.ts";
import { configOf, type RaftNode, type RequestVote } from "./index.ts";
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
  roundOf,
  allMessagesOf,
} from "./test/script.ts";

const THREE = ["a", "b", "c"];
const FIVE = ["a", "b", "c", "d", "e"];

function transfer(group: CoreGroup, to: string | null, from = "a"): unknown {
  const answer = group.node(from).transferLeadership(to, group.now);
  group.drain(group.host(from));
  return answer;
}

describe("a transfer of leadership", () => {
  it("to a named voter happens at once", () => {
    const group = CoreGroup.started(THREE);
    expect(transfer(group, "c")).toEqual({ to: "c" });
    group.settle();
    expect(group.leaders).toEqual(["c"]);
    expect(group.node("c").commitStatus(group.write("c", "on"))).toBe("committed");
    expect(group.node("a").leader).toBe("c");
  });

  it.each([
    ["b", "c"],
    ["c", "b"],
  ])(
    "to nobody in particular goes to the voter with most of the log: not to %s, which lacks some",
    (cut, to) => {
      const group = CoreGroup.started(THREE);
      group.isolate(cut);
      group.write("a", "x");
      expect(transfer(group, null)).toEqual({ to });
    },
  );

  it("without a target goes to the first voter by name that has the whole log", () => {
    expect(transfer(CoreGroup.started(FIVE), null)).toEqual({ to: "b" });
  });

  it("never goes to a node that has not answered recently", () => {
    const group = CoreGroup.started(THREE, { checkQuorum: false });
    group.isolate("b");
    group.advance(group.electionMsMax);
    expect(transfer(group, null)).toEqual({ to: "c" });
    group.advance(group.electionMsMax);
    const [leader = ""] = group.leaders;
    group.isolate(leader);
    group.advance(group.electionMsMax);
    expect(transfer(group, null, leader)).toBe("nobody");
  });

  it("is refused with the reason", () => {
    const group = CoreGroup.started(THREE);
    group.add("d");
    group.change("a", THREE, ["d"]);
    expect(transfer(group, "b", "c")).toBe("not-leader");
    expect(transfer(group, "d")).toBe("not-a-voter");
    expect(transfer(group, "z")).toBe("not-a-voter");
    expect(transfer(group, "a")).toBe("is-leader");
    group.isolate("b");
    expect(transfer(group, "b")).toEqual({ to: "b" });
    expect(transfer(group, "c")).toBe("transferring");
    expect(group.host("a").proposeConfig(configOf(["a", "c"]), group.now)).toBe("transferring");
  });

  it("gets votes from nodes that hear their leader, which other candidates don't get [E17]", () => {
    const group = CoreGroup.started(FIVE);
    group.heartbeat();
    const { term } = group.node("a");
    const unasked: RequestVote = {
      type: "request-vote",
      from: "d",
      term: term + 1,
      last: group.node("d").log.last,
      transfer: false,
    };
    for (const id of ["b", "c", "e"]) group.inject(id, unasked);
    group.settle();
    const answers = ofType(group.sent, "request-vote-reply").filter((reply) => reply.term >= term);
    expect(answers.slice(-3).map(({ granted }) => granted)).toEqual([false, false, false]);
    expect(group.node("b").term).toBe(term);

    transfer(group, "b");
    group.isolate("a");
    for (const sent of group.inTransit.splice(0)) group.deliver(sent);
    const before = group.now;
    group.settle();
    expect(group.node("b")).toMatchObject({ role: "leader", term: term + 1 });
    expect(group.now).toBe(before);
  });

  it("waits until all entries are durable on the target, which knows that it is a voter [T2]", () => {
    const group = CoreGroup.started(THREE);
    group.add("d");
    group.change("a", THREE, ["d"]);
    group.heartbeat();
    group.holdDisk("d");
    group.change("a", [...THREE, "d"]);
    group.clearSent();
    expect(transfer(group, "d")).toEqual({ to: "d" });
    group.heartbeat();
    expect(ofType(group.sent, "timeout-now")).toEqual([]);
    expect(group.node("a").role).toBe("leader");
    group.releaseDisk("d");
    group.settle();
    expect(ofType(group.sent, "timeout-now")).not.toEqual([]);
    expect(group.leaders).toEqual(["d"]);
    expect(group.node("d").config.voters).toContain("d");
  });

  it("sends no TimeoutNow to a target that does not catch up, and the leader stays [T2]", () => {
    const group = CoreGroup.started(THREE);
    group.add("d");
    group.change("a", THREE, ["d"]);
    group.isolate("d");
    group.change("a", [...THREE, "d"]);
    group.clearSent();
    transfer(group, "d");
    group.advance(group.electionMsMax + group.heartbeatMs);
    expect(ofType(group.sent, "timeout-now")).toEqual([]);
    expect(group.leaders).toEqual(["a"]);
    expect(group.node("a").commitStatus(group.write("a", "on"))).toBe("committed");
  });

  it("to a dead target ends after an election timeout, and commands are accepted again [T3]", () => {
    // No heartbeat is due at that moment: the end of the transfer has its own deadline.
    const group = CoreGroup.started(THREE, { heartbeatMs: 70 });
    group.crash("c");
    transfer(group, "c");
    const began = group.now;
    expect(group.host("a").propose("x", group.now)).toBeNull();
    group.advance(group.electionMsMax - 1);
    expect(group.node("a").transferTarget).toBe("c");
    expect(group.host("a").propose("x", group.now)).toBeNull();
    group.advance(1);
    expect(group.now - began).toBe(group.electionMsMax);
    expect(group.node("a").transferTarget).toBeNull();
    expect(group.node("a").commitStatus(group.write("a", "on"))).toBe("committed");
    expect(group.leaders).toEqual(["a"]);
  });

  it("sends TimeoutNow again if it was lost", () => {
    const group = CoreGroup.started(THREE);
    group.intercept((message) => message.type === "timeout-now");
    transfer(group, "b");
    group.settle();
    // Not after each message, but in the next heartbeat round.
    const { term, log } = group.node("a");
    group.inject("a", accepted("c", term, log.last.index, 1));
    group.settle();
    expect(group.intercepted).toHaveLength(1);
    group.intercept(null);
    group.heartbeat();
    expect(group.leaders).toEqual(["b"]);
  });

  it("ends if the target is no longer a voter", () => {
    const group = CoreGroup.started(THREE);
    group.crash("c");
    group.proposeConfig("a", ["a", "b"]);
    expect(transfer(group, "c")).toBe("not-a-voter");
    group.settle();
    expect(group.node("a").takesCommands).toBe(true);
  });

  it("loses no command that was accepted before, and accepts none until it ends [T6]", () => {
    const group = CoreGroup.started(THREE, { inflightMessagesMax: 2, messageEntriesMax: 7 });
    const positions = Array.from({ length: 100 }, (_, n) => group.propose("a", `w${n}`));
    transfer(group, "b");
    expect(group.host("a").propose("refused", group.now)).toBeNull();
    group.settle();
    expect(group.leaders).toEqual(["b"]);
    for (const position of positions) expect(group.node("b").commitStatus(position)).toBe("committed");
    expect(group.payloads("b").filter((text) => text !== "")).toEqual(positions.map((_, n) => `w${n}`));
    expect(group.node("a").leader).toBe("b");
    expect(group.host("a").propose("refused", group.now)).toBeNull();
  });

  it("changes no term when TimeoutNow arrives late", () => {
    const group = CoreGroup.started(THREE);
    group.intercept((message) => message.type === "timeout-now");
    transfer(group, "b");
    group.settle();
    group.intercept(null);
    group.advance(group.electionMsMax);
    group.elect("c");
    const { term } = group.node("c");
    group.deliverIntercepted();
    group.settle();
    expect(group.leaders).toEqual(["c"]);
    expect(group.node("b").term).toBe(term);
  });
});

describe("the target of TimeoutNow", () => {
  const learner = configOf(["b", "c"], ["a"]);
  const without = configOf(["b", "c"]);

  function follower(config = ABC): RaftNode {
    const configs = [
      { index: 1, config: ABC },
      { index: 2, config: { ...config, outgoingVoters: config === ABC ? [] : ["a", "b", "c"] } },
      { index: 3, config },
    ];
    const node = restarted({ log: logOf("1-3@1", "0@0", configs), term: 2 });
    node.handleMessage(appendEntries({ term: 2, entries: range("3@1", ""), commit: 3 }), 0);
    allMessagesOf(node);
    return node;
  }

  it("starts an election at once in the next term, and says that the leader asked for it", () => {
    const node = follower();
    node.handleMessage({ type: "timeout-now", from: "b", term: 2 }, 1);
    expect([node.role, node.term]).toEqual(["candidate", 3]);
    expect(allMessagesOf(node, 1)).toContainEqual(
      expect.objectContaining({ type: "request-vote", term: 3, transfer: true, last: at("3@1") }),
    );
  });

  it("forgets the leader, fails forwarded reads, and waits for votes as long as any candidate", () => {
    const node = follower();
    const read = node.readIndex(1);
    allMessagesOf(node, 1);
    node.handleMessage({ type: "timeout-now", from: "b", term: 2 }, 100);
    expect(act(node, 100).reads).toEqual([{ id: read, index: null }]);
    // It heard its leader 650 ms ago, and has waited for votes for 550.
    node.handleTimeout(650);
    expect(node.role).toBe("candidate");
    node.handleTimeout(750);
    expect(node.role).toBe("pre-candidate");
  });

  it.each([
    ["E20: a learner", learner],
    ["E20: a node that was removed", without],
  ])("does not start an election if it is %s", (_, config) => {
    const node = follower(config);
    node.handleMessage({ type: "timeout-now", from: "b", term: 2 }, 1);
    expect(allMessagesOf(node, 1)).toEqual([]);
    expect([node.role, node.term]).toEqual(["follower", 2]);
  });

  it.each([
    ["by another than its leader", { from: "c", term: 2 }],
    ["by the leader of an earlier term", { from: "b", term: 1 }],
    ["by the leader of a term that it has not heard of", { from: "b", term: 3 }],
  ])("does not start an election if asked %s", (_, asked) => {
    const node = follower();
    node.handleMessage({ type: "timeout-now", ...asked }, 1);
    expect([node.role, node.term]).toEqual(["follower", 2]);
    expect(act(node, 1).messages).toEqual([]);
  });
});

describe("a leader that can't serve, as a part of it outside of the log hangs,", () => {
  it("asks a voter to lead, steps down at once, and leads again only when the part goes on [Z15]", () => {
    const group = CoreGroup.started(THREE);
    const a = group.node("a");
    const stall = (isStalled: boolean): void => {
      a.handleServiceStall(isStalled, group.now);
      group.drain(group.host("a"));
    };
    group.clearSent();
    stall(true);
    expect(a.role).toBe("follower");
    expect(ofType(group.sent, "timeout-now")).toHaveLength(1);
    stall(true);
    group.advance(group.electionMsMax);
    const [leader = ""] = group.leaders;
    expect(["b", "c"]).toContain(leader);
    // It neither campaigns by itself nor when its leader asks it to.
    const { term } = group.node(leader);
    group.inject("a", { type: "timeout-now", from: leader, term });
    expect([a.role, a.term]).toEqual(["follower", term]);
    group.isolate("a");
    group.clearSent();
    group.advance(10 * group.electionMsMax);
    expect(group.sent.filter(({ message }) => message.from === "a")).toEqual([]);
    stall(false);
    group.advance(2 * group.electionMsMax);
    expect(a.role).toBe("pre-candidate");
  });

  it("stays leader as the sole voter [Z15]", () => {
    const group = CoreGroup.started(["a"]);
    group.node("a").handleServiceStall(true, group.now);
    group.advance(10 * group.electionMsMax);
    expect(group.leaders).toEqual(["a"]);
  });
});

describe("a leader with a stalled disk", () => {
  it("hands over though heartbeats flow, and starts no election before the disk is back [D11]", () => {
    const group = CoreGroup.started(THREE);
    group.holdDisk("a");
    group.propose("a", "stuck");
    group.settle();
    const stallMs = 2 * group.electionMsMax;
    group.advance(stallMs - 1);
    expect(group.leaders).toEqual(["a"]);
    group.advance(1 + group.electionMsMax);
    const [leader = ""] = group.leaders;
    expect(["b", "c"]).toContain(leader);
    expect(group.node(leader).commitStatus(group.write(leader, "on"))).toBe("committed");
    // While its disk hangs it asks for no votes.
    group.isolate("a");
    group.clearSent();
    group.advance(10 * group.electionMsMax);
    expect(group.sent.filter(({ message }) => message.from === "a")).toEqual([]);
    expect(group.node("a").role).toBe("follower");
    group.releaseDisk("a");
    group.heal();
    group.advance(2 * group.electionMsMax);
    expect(group.leaders).toEqual([leader]);
    expect(group.payloads("a")).toContain("on");
  });

  it("asks nobody to lead who lacks committed entries, and would lose [D11]", () => {
    const voters = ["b", "c", "d", "e"];
    const log = logOf("1@1", "0@0", [{ index: 1, config: configOf(["a", ...voters]) }]);
    const stalled = (matchOfSilent: number): unknown[] => {
      const node = leading({ log }, voters);
      const { term } = node;
      act(node);
      const round = roundOf(node);
      // c and d have the leader's first entry, and are silent from then on. b and e answer, and lack it.
      for (const id of ["c", "d"]) node.handleMessage(accepted(id, term, 2, round), 1);
      expect(node.commitIndex).toBe(2);
      const later = 10_000;
      for (const id of ["b", "e"]) node.handleMessage(accepted(id, term, matchOfSilent, round), later);
      node.handleServiceStall(true, later);
      expect(node.role).toBe("follower");
      return node.takeActions().messages.filter(({ message }) => message.type === "timeout-now");
    };
    expect(stalled(1)).toEqual([]);
    expect(stalled(2)).toMatchObject([{ to: "b" }]);
  });

  it("starts no election when it is asked to lead [D11]", () => {
    const group = CoreGroup.started(THREE);
    group.holdDisk("b");
    group.write("a", "x");
    group.advance(2 * group.electionMsMax);
    const { term } = group.node("a");
    group.inject("b", { type: "timeout-now", from: "a", term });
    group.settle();
    expect(group.node("b")).toMatchObject({ role: "follower", term });
    group.releaseDisk("b");
    group.settle();
    group.inject("b", { type: "timeout-now", from: "a", term });
    group.settle();
    expect(group.leaders).toEqual(["b"]);
  });

  it("stays leader if it is the sole voter", () => {
    const group = CoreGroup.started(["a"]);
    group.holdDisk("a");
    group.propose("a", "slow");
    group.advance(10 * group.electionMsMax);
    group.fire("a");
    expect(group.leaders).toEqual(["a"]);
    group.releaseDisk("a");
    group.settle();
    expect(group.payloads("a")).toContain("slow");
    expect(group.node("a").commitIndex).toBe(group.node("a").log.last.index);
  });
});
