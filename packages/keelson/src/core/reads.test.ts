import { describe, expect, it } from "vitest";

import { CoreGroup, ofType } from "../testing/core/core-group.ts";
import { RaftNode, type Actions } from "./index.ts";
import {
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

function heartbeatsIn({ messages }: Actions): number {
  return messages.filter(({ message }) => message.type === "append-entries").length;
}

describe("a linearizable read", () => {
  it("waits until an entry of the leader's own term is committed [L1]", () => {
    const node = leading({ log: logOf("1-7@1"), commitIndex: 5 });
    const { term } = node;
    const id = node.readIndex(1001);
    act(node, 1001);
    for (const from of ["b", "c"]) node.handleMessage(accepted(from, term, 7), 1002);
    expect(act(node, 1002).reads).toEqual([]);
    node.handleMessage(accepted("b", term, 8), 1003);
    expect(node.commitIndex).toBe(8);
    const actions = act(node, 1003);
    expect(actions.reads).toEqual([]);
    node.handleMessage(accepted("b", term, 8, roundOf(node)), 1004);
    expect(act(node, 1004).reads).toEqual([{ id, index: 8 }]);
  });

  it("is confirmed only by a heartbeat round that began after the read arrived", () => {
    const node = leading();
    const { term } = node;
    node.handleMessage(accepted("b", term, 2), 1001);
    act(node, 1001);
    const round = roundOf(node);
    const id = node.readIndex(1002);
    const asked = act(node, 1002);
    expect(heartbeatsIn(asked)).toBe(2);
    // An answer that was under way already names an earlier round.
    node.handleMessage(accepted("b", term, 2, round), 1003);
    expect(act(node, 1003).reads).toEqual([]);
    node.handleMessage(accepted("b", term, 2, round + 1), 1003);
    expect(act(node, 1003).reads).toEqual([{ id, index: 2 }]);
  });

  it("shares its heartbeat round with the reads that arrived before the round began", () => {
    const node = leading();
    const { term } = node;
    node.handleMessage(accepted("b", term, 2), 1001);
    act(node, 1001);
    const first = Array.from({ length: 1000 }, () => node.readIndex(1002));
    expect(heartbeatsIn(act(node, 1002))).toBe(2);
    const round = roundOf(node);
    const late = node.readIndex(1002);
    act(node, 1002);
    node.handleMessage(accepted("c", term, 2, round), 1003);
    expect(act(node, 1003).reads.map(({ id }) => id)).toEqual(first);
    node.handleMessage(accepted("c", term, 2, round + 1), 1003);
    expect(act(node, 1003).reads).toEqual([{ id: late, index: 2 }]);
  });

  it("writes nothing", () => {
    const group = CoreGroup.started(THREE);
    const before = group.positions("a");
    for (const id of THREE) group.read(id);
    group.settle();
    expect(group.positions("a")).toEqual(before);
    for (const id of THREE) expect(group.host(id).reads).toHaveLength(1);
  });

  it("on a follower is at an index that covers everything the leader has committed [L4]", () => {
    const group = CoreGroup.started(THREE);
    group.intercept((message, to) => to === "c" && message.type === "append-entries" && message.round > 0);
    const position = group.write("a", "x");
    group.intercept(null);
    expect(group.node("c").commitIndex).toBeLessThan(position.index);
    const id = group.read("c");
    group.settle();
    expect(group.host("c").reads).toEqual([{ id, index: position.index }]);
    group.deliverIntercepted();
    group.heartbeat();
    expect(group.host("c").applied).toHaveLength(position.index);
  });

  it("on a follower waits until a new leader knows what is committed [L4]", () => {
    const group = CoreGroup.started(THREE);
    const position = group.write("a", "acknowledged");
    group.crash("a");
    group.intercept((message) => message.type === "append-entries-reply");
    group.elect("b");
    expect(group.node("b").commitIndex).toBeLessThanOrEqual(position.index);
    const id = group.read("c");
    group.settle();
    expect(group.host("c").reads).toEqual([]);
    group.intercept(null);
    group.heartbeat();
    group.heartbeat();
    const [answer] = group.host("c").reads;
    expect(answer).toMatchObject({ id });
    expect(answer?.index).toBeGreaterThan(position.index);
  });

  it("raises a follower's commit index no further than its log matches the leader's", () => {
    const node = restarted({ log: logOf("1-3@1 4-6@2"), term: 3 });
    node.handleMessage(appendEntries({ term: 3, entries: range("3@1", "") }), 1);
    act(node, 1);
    const id = node.readIndex(2);
    act(node, 2);
    node.handleMessage({ type: "read-index-reply", from: "b", term: 3, id, index: 6 }, 3);
    expect(node.commitIndex).toBe(3);
    expect(act(node, 3).reads).toEqual([{ id, index: 6 }]);
  });

  it("is not served by a leader that was cut off and does not know it", () => {
    const group = CoreGroup.started(THREE);
    group.isolate("a");
    group.elect("b");
    group.write("b", "newer");
    const id = group.read("a");
    group.advance(800);
    expect(group.host("a").reads).toEqual([{ id, index: null }]);
  });

  it("is answered at once by a sole voter", () => {
    const group = new CoreGroup(["a"]);
    group.host("a").createCluster(["a"], 0);
    group.advance(0);
    const id = group.read("a");
    expect(group.host("a").reads).toEqual([{ id, index: 2 }]);
  });

  it("of another node carries a term that deposes no leader", () => {
    const node = leading();
    const { term } = node;
    node.handleMessage({ type: "read-index", from: "b", term: term + 9, id: 1 }, 1001);
    expect([node.role, node.term]).toEqual(["leader", term]);
  });
});

describe("a read that cannot be served fails in bounded time [L9]", () => {
  it("at once if no leader is known, and on a node without a cluster", () => {
    const node = restarted({ log: logOf("1-3@1") });
    const id = node.readIndex(1);
    expect(act(node, 1).reads).toEqual([{ id, index: null }]);
    const blank = RaftNode.start({ id: "x", random: () => 0 });
    const other = blank.readIndex(1);
    expect(act(blank, 1).reads).toEqual([{ id: other, index: null }]);
  });

  it("on a leader that steps down, and on the followers that asked it", () => {
    const group = CoreGroup.started(THREE);
    group.intercept((message) => message.type === "append-entries-reply");
    const own = group.read("a");
    const asked = group.read("b");
    group.settle();
    expect([...group.host("a").reads, ...group.host("b").reads]).toEqual([]);
    group.inject("a", { type: "request-vote-reply", from: "c", term: 99, granted: false });
    group.settle();
    expect(group.host("a").reads).toEqual([{ id: own, index: null }]);
    expect(group.host("b").reads).toEqual([{ id: asked, index: null }]);
  });

  it("on a new leader that cannot commit anything", () => {
    const group = CoreGroup.started(THREE);
    group.crash("a");
    group.intercept((message) => message.type === "append-entries-reply");
    group.elect("b");
    const id = group.read("b");
    group.advance(group.electionMsMax);
    expect(group.host("b").reads).toEqual([{ id, index: null }]);
  });

  it("on a follower whose leader does not answer", () => {
    const group = CoreGroup.started(THREE);
    group.intercept((message) => message.type === "read-index");
    const lost = group.read("b");
    group.advance(group.electionMsMax);
    expect(group.host("b").reads).toEqual([{ id: lost, index: null }]);
    group.isolate("b");
    const silent = group.read("b");
    group.advance(group.electionMsMax);
    expect(group.host("b").reads.slice(1)).toEqual([{ id: silent, index: null }]);
  });

  it("at once if too many reads are waiting", () => {
    const node = leading({ readsMax: 2 });
    const [first, second, third] = [node.readIndex(1001), node.readIndex(1001), node.readIndex(1001)];
    expect(node.takeActions().reads).toEqual([{ id: third, index: null }]);
    node.handleMessage({ type: "read-index", from: "b", term: node.term, id: 77 }, 1001);
    expect(
      ofType(
        node.takeActions().messages.map((sent) => ({ ...sent, entries: [] })),
        "read-index-reply",
      ),
    ).toEqual([{ type: "read-index-reply", from: "a", term: node.term, id: 77, index: null }]);
    node.handleTimeout(9000);
    expect(
      node
        .takeActions()
        .reads.map(({ id }) => id)
        .sort(),
    ).toEqual([first, second].sort());
  });

  it("and is answered once, whatever arrives afterwards", () => {
    const node = restarted({ log: logOf("1-3@1"), term: 1 });
    node.handleMessage(appendEntries({ term: 1, entries: range("3@1", "") }), 1);
    const id = node.readIndex(2);
    act(node, 2);
    const reply = { type: "read-index-reply", from: "b", term: 1, id, index: 3 } as const;
    node.handleMessage(reply, 3);
    node.handleMessage(reply, 3);
    node.handleMessage({ ...reply, id: id + 1 }, 3);
    expect(act(node, 3).reads).toEqual([{ id, index: 3 }]);
    node.handleTimeout(9000);
    expect(act(node, 9000).reads).toEqual([]);
    expect(allMessagesOf(node, 9000)).toEqual([]);
    expect(node.commitStatus(at("3@1"))).toBe("committed");
  });
});

describe("a heartbeat round for reads", () => {
  it("is not started again for reads that already wait for one", () => {
    const node = leading();
    const { term } = node;
    node.handleMessage(accepted("b", term, 2), 1001);
    act(node, 1001);
    expect(heartbeatsIn(act(node, 1002))).toBe(0);
    node.readIndex(1002);
    expect(heartbeatsIn(act(node, 1002))).toBe(2);
    expect(heartbeatsIn(act(node, 1003))).toBe(0);
    expect(heartbeatsIn(act(node, 1003))).toBe(0);
  });

  it("also answers the reads of earlier rounds once it is acknowledged", () => {
    const node = leading();
    const { term } = node;
    node.handleMessage(accepted("b", term, 2), 1001);
    act(node, 1001);
    const ids = [1002, 1003, 1004].map((now) => {
      const id = node.readIndex(now);
      act(node, now);
      return id;
    });
    node.handleMessage(accepted("c", term, 2, roundOf(node)), 1005);
    expect(act(node, 1005).reads).toEqual(ids.map((id) => ({ id, index: 2 })));
  });

  it("answers another node's read to that node, with the index or with null", () => {
    const node = leading();
    const { term } = node;
    node.handleMessage(accepted("b", term, 2), 1001);
    act(node, 1001);
    node.handleMessage({ type: "read-index", from: "c", term, id: 5 }, 1002);
    act(node, 1002);
    node.handleMessage(accepted("b", term, 2, roundOf(node)), 1003);
    const reply = { type: "read-index-reply", from: "a", term, id: 5 } as const;
    const served = act(node, 1003);
    expect(served.messages).toContainEqual({ to: "c", message: { ...reply, index: 2 } });
    expect(served.reads).toEqual([]);

    node.handleMessage({ type: "read-index", from: "c", term, id: 6 }, 1004);
    act(node, 1004);
    expect(act(node, 1803).messages.map(({ message }) => message.type)).not.toContain("read-index-reply");
    node.handleTimeout(1804);
    expect(act(node, 1804).messages).toContainEqual({ to: "c", message: { ...reply, id: 6, index: null } });
  });
});

describe("a read that is forwarded to a node that does not lead", () => {
  it("is answered at once with null", () => {
    const node = restarted({ log: logOf("1-3@1"), term: 1 });
    node.handleMessage({ type: "read-index", from: "c", term: 1, id: 9 }, 1);
    expect(act(node, 1).messages).toEqual([
      { to: "c", message: { type: "read-index-reply", from: "a", term: 1, id: 9, index: null } },
    ]);
  });
});

describe("the answer to a forwarded read", () => {
  function follower(): { readonly node: RaftNode; readonly id: number } {
    const node = restarted({ log: logOf("1-3@1"), term: 1 });
    node.handleMessage(appendEntries({ term: 1, entries: range("3@1", "") }), 1);
    const id = node.readIndex(2);
    act(node, 2);
    return { node, id };
  }

  it("of this term's leader also raises the commit index", () => {
    const { node, id } = follower();
    node.handleMessage({ type: "read-index-reply", from: "b", term: 1, id, index: 2 }, 3);
    expect([node.commitIndex, act(node, 3).reads]).toEqual([2, [{ id, index: 2 }]]);
  });

  it("of another node or term only answers the read", () => {
    for (const other of [
      { from: "c", term: 1 },
      { from: "b", term: 2 },
      { from: "b", term: 0 },
    ]) {
      const { node, id } = follower();
      node.handleMessage({ type: "read-index-reply", ...other, id, index: 2 }, 3);
      expect([other, node.commitIndex, act(node, 3).reads]).toEqual([other, 0, [{ id, index: 2 }]]);
    }
  });

  it("without an index fails the read", () => {
    const { node, id } = follower();
    node.handleMessage({ type: "read-index-reply", from: "b", term: 1, id, index: null }, 3);
    expect([node.commitIndex, act(node, 3).reads]).toEqual([0, [{ id, index: null }]]);
  });
});

describe("a lease", () => {
  /** A node that has led since 1000, and that a majority has answered. */
  function leaseholder(setting: Parameters<typeof leading>[0] = {}): RaftNode {
    const node = leading(setting);
    node.handleMessage(accepted("b", node.term, 2), 1001);
    act(node, 1001);
    return node;
  }

  it("counts from when the acknowledged round began, less what clocks may drift [L7]", () => {
    for (const [clockDriftMax, last] of [
      [0, 1399],
      [0.05, 1361],
      [0.5, 1133],
    ] as const) {
      expect(leaseholder({ clockDriftMax }).leaseIndex(last)).toBe(2);
      expect(leaseholder({ clockDriftMax }).leaseIndex(last + 1)).toBe(null);
    }
  });

  it("does not exist before a majority answered, without leadership, or without check-quorum", () => {
    const node = leading();
    expect(node.leaseIndex(1001)).toBe(null);
    node.handleMessage(accepted("b", node.term, 2, 0), 1001);
    expect(node.commitIndex).toBe(2);
    expect(node.leaseIndex(1001)).toBe(null);
    expect(restarted({ log: logOf("1-3@1") }).leaseIndex(1)).toBe(null);
    expect(leaseholder({ checkQuorum: false }).leaseIndex(1001)).toBe(null);
  });

  it("does not hold while leadership is being transferred [L6]", () => {
    const node = leaseholder();
    expect(node.leaseIndex(1002)).toBe(2);
    node.transferLeadership("b", 1002);
    expect(node.leaseIndex(1002)).toBe(null);
    node.handleMessage(accepted("c", node.term, 2, roundOf(node)), 1500);
    // The transfer was given up, but its target may still win, whatever a majority answers.
    node.handleTimeout(1803);
    expect(node.transferTarget).toBe(null);
    act(node, 1803);
    node.handleMessage(accepted("c", node.term, 2, roundOf(node)), 1804);
    expect([node.role, node.leaseIndex(1805)]).toEqual(["leader", null]);
  });

  it("is paused while a target catches up, and holds again if it never does [L6]", () => {
    const node = leaseholder();
    node.transferLeadership("c", 1002);
    expect(act(node, 1002).messages.map(({ message }) => message.type)).not.toContain("timeout-now");
    expect(node.leaseIndex(1002)).toBe(null);
    node.handleMessage(accepted("b", node.term, 2, roundOf(node)), 1500);
    node.handleTimeout(1803);
    expect(node.transferTarget).toBe(null);
    act(node, 1803);
    node.handleMessage(accepted("b", node.term, 2, roundOf(node)), 1804);
    expect(node.leaseIndex(1805)).toBe(2);
  });

  it("is extended by the next round that a majority acknowledges, not by an earlier one", () => {
    const node = leaseholder({ clockDriftMax: 0 });
    node.handleTimeout(1080);
    act(node, 1080);
    const round = roundOf(node);
    node.handleMessage(accepted("c", node.term, 2, round - 1), 1090);
    expect(node.leaseIndex(1400)).toBe(null);

    const next = leaseholder({ clockDriftMax: 0 });
    next.handleTimeout(1080);
    act(next, 1080);
    next.handleMessage(accepted("c", next.term, 2, roundOf(next)), 1200);
    expect(next.leaseIndex(1479)).toBe(2);
    expect(next.leaseIndex(1480)).toBe(null);
  });

  it("never ends for a sole voter", () => {
    const group = new CoreGroup(["a"]);
    group.host("a").createCluster(["a"], 0);
    group.advance(0);
    expect(group.node("a").leaseIndex(1_000_000)).toBe(2);
  });
});
