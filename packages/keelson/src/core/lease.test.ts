import { describe, expect, it } from "vitest";

import { CoreGroup } from "../testing/core/core-group.ts";
import { configOf, type Message, type RaftNode } from "./index.ts";
import { ABC, accepted, act, appendEntries, leading, logOf, range, restarted } from "./test/script.ts";

const THREE = ["a", "b", "c"];
const MIN_MS = 400;
const DRIFT = 0.05;

/** Where a may read on its lease now; null: nowhere. */
function lease(group: CoreGroup, id = "a"): number | null {
  return group.node(id).leaseIndex(group.now);
}

describe("a lease", () => {
  it("L5: has ended whenever another leader can have committed something, whoever lost touch with whom", () => {
    for (let seed = 1; seed <= 40; seed++) {
      const group = CoreGroup.started(THREE, { seed });
      // AB|C, until c would campaign; then A|BC: c finds b, which heard a last.
      group.isolate("c");
      group.advance(seed * 37);
      group.heal();
      group.isolate("a");
      let held = 0;
      for (let n = 0; n < 400; n++) {
        group.advance(5);
        const index = lease(group);
        if (index === null) continue;
        held += 1;
        expect(index, `seed ${seed}`).toBe(group.checker.committedCount);
        const others = group.leaders.filter((id) => id !== "a" && group.node(id).termStartCommitted);
        expect(others, `seed ${seed}, a holds its lease`).toEqual([]);
      }
      expect(held).toBeGreaterThan(0);
      expect(group.leaders[0], `seed ${seed}`).not.toBe("a");
    }
  });

  it("L5: has ended on the slowest clock when the fastest lets its owner help another", () => {
    const [slow, fast] = [1 - DRIFT, 1 + DRIFT];
    const config = { index: 1, config: ABC };
    let [served, granted] = [0, 0];
    for (let realMs = 0; realMs <= 2 * MIN_MS; realMs += 1) {
      const leader = leading();
      leader.handleMessage(accepted("b", leader.term, leader.log.last.index), 1000);
      leader.handleTimeout(1000 + 100);
      const check = sentTo("b", leader, 1100);
      const follower = restarted({ id: "b", log: logOf("1@1 2@2", "0@0", [config]), term: leader.term });
      // The heartbeat takes no time, and its answer neither: so long as this the lease never is in truth.
      follower.handleMessage(check, 5000);
      for (const { message } of act(follower, 5000).messages) leader.handleMessage(message, 1100);
      const reads = leader.leaseIndex(1100 + realMs * slow) !== null;
      const { term } = follower;
      follower.handleMessage(
        { type: "request-vote", from: "c", term: term + 1, last: follower.log.last, transfer: false },
        5000 + realMs * fast,
      );
      const helps = follower.votedFor === "c";
      expect(reads && helps, `after ${realMs} ms`).toBe(false);
      if (reads) served += 1;
      if (helps) granted += 1;
    }
    // Both happen, and nearly all of the time one or the other.
    expect(served + granted).toBeGreaterThan(2 * MIN_MS - 5);
    expect(Math.min(served, granted)).toBeGreaterThan(MIN_MS / 2);
  });

  describe("of a leader that leaves everything to one heir", () => {
    const [AB, B] = [configOf(["a", "b"]), configOf(["b"])];
    const joint = { index: 2, config: { ...B, outgoingVoters: AB.voters } };
    const log = logOf("1-2@1", "0@0", [{ index: 1, config: AB }, joint]);
    const last = appendEntries({
      from: "a",
      term: 1,
      entries: range("2@1", "3@1", [{ index: 3, config: B }]),
    });

    it("L5: is respected by the heir, though nobody's vote but its own is needed", () => {
      const heir = restarted({ id: "b", log });
      heir.handleMessage(last, 1000);
      act(heir, 1000);
      heir.handleMessage(appendEntries({ from: "a", term: 1, entries: range("3@1", "") }), 1100);
      expect(act(heir, 1100).timer).toBeGreaterThanOrEqual(1100 + MIN_MS);
      heir.handleTimeout(1100 + MIN_MS - 1);
      expect(heir).toMatchObject({ role: "follower", term: 1 });
      heir.handleTimeout(1100 + MIN_MS);
      expect(heir).toMatchObject({ role: "candidate", term: 2 });
    });

    it("L5: is respected by an heir that restarts, which may have heard the leader just before", () => {
      const config = { index: 3, config: B };
      const heir = restarted({ id: "b", log: { ...log, ...logOf("1-3@1", "0@0", [joint, config]) } });
      heir.handleTimeout(MIN_MS - 1);
      expect(heir).toMatchObject({ role: "follower", term: 1 });
      heir.handleTimeout(MIN_MS);
      expect(heir).toMatchObject({ role: "candidate", term: 2 });
    });

    it("E24: holds up nobody who inherited from no one, or long ago", () => {
      const configs = [1, 2].map((index) => ({ index, config: B }));
      const alone = { ...logOf("1-3@1", "0@0", configs), baseConfig: configOf([]) };
      const compacted = { ...logOf("4@1", "3@1"), baseConfig: B };
      for (const image of [alone, compacted]) {
        const node = restarted({ id: "b", log: image });
        node.handleTimeout(0);
        expect(node).toMatchObject({ role: "candidate", term: 2 });
      }
    });
  });

  it("L6: is void from the moment at which somebody was asked to take over, whoever answers afterwards", () => {
    const group = CoreGroup.started(THREE);
    group.beat();
    expect(lease(group)).not.toBeNull();
    group.stop((message) => message.type === "timeout-now");
    group.node("a").transferLeadership("b", group.now);
    expect(lease(group)).toBeNull();
    group.settle();
    group.beat();
    expect(group.node("a").progress("c")?.recentlyActive).toBe(true);
    expect(lease(group)).toBeNull();
    group.isolate("a");
    group.deliverStopped();
    group.settle();
    group.write("b", "x");
    expect(group.node("a").role).toBe("leader");
    expect(lease(group)).toBeNull();
    expect(lease(group, "b")).not.toBeNull();
  });

  it("L6: stays void in this term when the transfer was given up after the question had gone out", () => {
    const group = CoreGroup.started(THREE);
    group.stop((message) => message.type === "timeout-now");
    group.node("a").transferLeadership("b", group.now);
    group.settle();
    group.advance(group.electionMsMax + 2 * group.heartbeatMs);
    expect(group.node("a")).toMatchObject({ role: "leader", transferTarget: null });
    expect(lease(group)).toBeNull();
    group.isolate("a");
    group.deliverStopped();
    group.settle();
    group.write("b", "x");
    expect(group.node("a").role).toBe("leader");
    expect(lease(group)).toBeNull();
  });

  it("L7: counts from when the heartbeat left, however late its answer is", () => {
    const group = CoreGroup.started(THREE);
    group.advance(2 * MIN_MS);
    group.isolate("c");
    group.stop((message, to) => message.type === "append-entries-reply" && to === "a");
    const sent = group.now;
    group.node("a").handleTimeout(sent + group.heartbeatMs);
    group.now = sent + group.heartbeatMs;
    group.drain(group.host("a"));
    for (const letter of group.letters.splice(0)) group.deliver(letter);
    group.settle();
    const late = Math.floor(0.9 * MIN_MS * (1 - DRIFT));
    group.now += late;
    group.deliverStopped();
    const leaseMs = (MIN_MS * (1 - DRIFT)) / (1 + DRIFT);
    const left = sent + group.heartbeatMs + leaseMs;
    expect(group.now).toBeLessThan(left);
    expect(group.node("a").leaseIndex(left - 1)).not.toBeNull();
    expect(group.node("a").leaseIndex(left + 1)).toBeNull();
  });

  it("needs both majorities while the configuration is joint", () => {
    const group = CoreGroup.started(THREE);
    for (const id of ["d", "e"]) group.add(id);
    group.change("a", THREE, ["d", "e"]);
    group.beat();
    expect(lease(group)).not.toBeNull();
    // The joint configuration cannot be committed: d and e are silent.
    for (const id of ["d", "e"]) group.isolate(id);
    group.proposeConfig("a", ["a", "d", "e"]);
    group.advance(MIN_MS);
    expect(group.node("a").role).toBe("leader");
    expect(lease(group)).toBeNull();
    group.heal();
    group.beat();
    group.beat();
    expect(group.node("a").config.voters).toEqual(["a", "d", "e"]);
    expect(lease(group)).not.toBeNull();
  });
});

/** What a leader's heartbeat says to one member. */
function sentTo(id: string, leader: RaftNode, now: number): Message {
  const sent = act(leader, now).messages.find(({ to }) => to === id);
  return sent?.message ?? appendEntries({ from: "a", term: leader.term, entries: range("2@2", "") });
}
