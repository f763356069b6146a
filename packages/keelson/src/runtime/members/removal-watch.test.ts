import { describe, expect, it } from "vitest";
import type { NodeId } from "../../core/position.ts";
import { removalReason } from "../../transport/handshake.ts";
import { RemovedError } from "../../errors.ts";
import type { Raft } from "../raft.ts";
import type { RaftChange } from "../streams/index.ts";
import { Journal } from "../test/journal.ts";
import { TestCluster, type TestNode } from "../test/test-cluster.ts";

const DEFAULT_TIMEOUT_MS = 10_000;

/** The changes that a node reports from now on, without its membership. */
function changesOf({ raft }: TestNode): RaftChange[] {
  const seen: RaftChange[] = [];
  void (async () => {
    for await (const change of raft.changes()) seen.push(change);
  })();
  return seen;
}

function removals(changes: readonly RaftChange[]): RaftChange[] {
  return changes.filter(({ type }) => type === "removed");
}

/** Makes every call that needs a leader, and expects that each is refused without any time passing. */
async function expectAllRefused(raft: Raft<string, number>): Promise<void> {
  const calls = [
    raft.write("x"),
    raft.read(() => 1),
    raft.read(() => 1, { consistency: "lease" }),
    raft.openSession(),
    raft.beginSession(),
    raft.endSession(7),
    raft.changeMembership({ remove: ["a"] }),
    raft.addLearner("z", "z:1"),
    raft.transferLeadership(),
  ];
  for (const settled of await Promise.allSettled(calls)) {
    const error: unknown = settled.status === "rejected" ? settled.reason : "no error";
    expect(error).toBeInstanceOf(RemovedError);
    expect(error).toMatchObject({ code: "REMOVED", outcome: "not-done", retryable: false });
  }
}

/** A cluster of three, its leader, and a follower that is about to be removed. */
async function three(): Promise<{
  cluster: TestCluster;
  leader: TestNode;
  leaving: TestNode;
  other: TestNode;
}> {
  const cluster = await TestCluster.of(["a", "b", "c"]);
  const leader = await cluster.leader();
  await cluster.finish(leader.raft.write("one"));
  const [leaving, other] = cluster.followers(leader);
  if (leaving === undefined || other === undefined) throw new Error("a cluster of three has two followers");
  return { cluster, leader, leaving, other };
}

function remove(cluster: TestCluster, by: TestNode, id: NodeId): Promise<void> {
  return cluster.finish(by.raft.changeMembership({ remove: [id] }));
}

describe("a node that is removed", () => {
  it("reports it once, says so in metrics and log, and refuses at once what needs a leader", async () => {
    const { cluster, leader, leaving } = await three();
    const changes = changesOf(leaving);
    await remove(cluster, leader, leaving.id);
    await cluster.until(() => leaving.raft.removed, "the removed node to know it", 1000);
    await expectAllRefused(leaving.raft);
    const metrics = leaving.raft.metrics();
    expect([metrics.role, leader.raft.metrics().role]).toEqual(["removed", "leader"]);
    const index = leader.raft.metrics().lastIndex;
    expect(removals(changes)).toEqual([{ type: "removed", index, toldBy: null }]);
    const said = cluster.messages.filter((text) => text.includes("was removed from the cluster, by entry"));
    expect(said).toHaveLength(1);
    // A subscriber that comes later is told as well.
    const late = changesOf(leaving);
    // It keeps running: it has stale reads, and ends when it is closed.
    expect(await leaving.raft.read(() => leaving.journal.commands.length, { consistency: "stale" })).toBe(1);
    let hasStopped = false;
    void leaving.raft.stopped.then(() => {
      hasStopped = true;
    });
    await cluster.advance(DEFAULT_TIMEOUT_MS);
    expect([hasStopped, leaving.raft.metrics().role]).toEqual([false, "removed"]);
    expect([removals(changes).length, removals(late).length]).toEqual([1, 1]);
    expect(leader.raft.metrics()).toMatchObject({ role: "leader", term: metrics.term });
    await cluster.finish(leaving.raft.close());
    await cluster.advance(0);
    expect([hasStopped, leaving.raft.metrics().role]).toEqual([true, "stopped"]);
  });

  it("gets the answer to its own request to be removed", async () => {
    const { cluster, leaving } = await three();
    await remove(cluster, leaving, leaving.id);
    await cluster.until(() => leaving.raft.removed, "the removed node to know it", 1000);
  });

  it("ends at once what it can't do any more if it was the leader, and its change succeeds", async () => {
    const { cluster, leader, other } = await three();
    await remove(cluster, leader, leader.id);
    await expectAllRefused(leader.raft);
    expect(leader.raft.metrics().role).toBe("removed");
    await cluster.leader(leader.id);
    expect(await cluster.finish(other.raft.write("two"))).toBe(2);
  });

  it("isn't removed while its removal is not committed (§6)", async () => {
    const { cluster, leader, leaving, other } = await three();
    // The remaining voter doesn't get the last step, so it can't be committed.
    leader.transport.filter = (to, { message }) =>
      to !== other.id ||
      message.type !== "append-entries" ||
      message.entries.configs.every(({ config }) => config.outgoingVoters.length > 0);
    const removal = leader.raft.changeMembership({ remove: [leaving.id] });
    const inForce = (): boolean => !leaving.raft.metrics().config.voters.includes(leaving.id);
    const isJoint = (): boolean => leaving.raft.metrics().config.outgoingVoters.length > 0;
    await cluster.until(() => inForce() && !isJoint(), "the removal in its log");
    await cluster.advance(500);
    expect([leaving.raft.removed, leaving.raft.metrics().role]).toEqual([false, "follower"]);
    leader.transport.filter = null;
    await cluster.finish(removal);
    await cluster.until(() => leaving.raft.removed, "the removed node to know it", 1000);
  });

  it("learns it from a member that refuses it, if the leader gave up telling it", async () => {
    const { cluster, leader, leaving, other } = await three();
    const changes = changesOf(leaving);
    cluster.isolate(leaving.id);
    await remove(cluster, leader, leaving.id);
    const waiting = leaving.raft.read(() => 1, { timeoutMs: Infinity });
    const written = leaving.raft.write("lost", { timeoutMs: Infinity });
    waiting.catch(() => undefined);
    written.catch(() => undefined);
    // Longer than the leader tries.
    await cluster.advance(30_000);
    expect(leaving.raft.removed).toBe(false);
    cluster.net.heal();
    await cluster.until(() => leaving.raft.removed, "the removed node to know it", 5000);
    const [removal] = removals(changes);
    expect(removal).toMatchObject({ type: "removed", index: null });
    expect([leader.id, other.id]).toContain(removal?.type === "removed" ? removal.toldBy : null);
    expect(cluster.messages.join("\n")).toMatch(/was removed from the cluster, as [abc] says/);
    expect(await cluster.failure(waiting, 0)).toMatchObject({ code: "REMOVED", outcome: "not-done" });
    expect(await cluster.failure(written, 2000)).toMatchObject({ outcome: "unknown" });
    await expectAllRefused(leaving.raft);
    await cluster.advance(30_000);
    expect([leaving.raft.metrics().role, removals(changes).length]).toEqual(["removed", 1]);
  });

  it("knows it after a restart from its state, or from the members", async () => {
    for (const isDurable of [true, false]) {
      const { cluster, leader, leaving } = await three();
      await remove(cluster, leader, leaving.id);
      await cluster.until(() => leaving.raft.removed, "the removed node to know it", 1000);
      await cluster.advance(100);
      await cluster.finish(leaving.raft.close());
      const journal = isDurable ? leaving.journal.reopened() : new Journal();
      const { raft } = await cluster.open(leaving.id, { journal });
      expect(raft.removed).toBe(isDurable);
      const read = raft.read(() => 1);
      read.catch(() => undefined);
      expect(await cluster.failure(read, 5000)).toMatchObject({ code: "REMOVED" });
      expect(await cluster.failure(raft.write("x"), 0)).toMatchObject({ code: "REMOVED" });
    }
  });

  it("serves calls again if a leader is heard after another node said that it was removed", async () => {
    const { cluster, leader, leaving, other } = await three();
    leaving.transport.host?.onRefused?.(other.id, `node x was removed from the cluster`);
    leaving.transport.host?.onRefused?.(other.id, removalReason(other.id));
    expect(leaving.raft.removed).toBe(false);
    leaving.transport.host?.onRefused?.(other.id, removalReason(leaving.id));
    expect([leaving.raft.removed, leaving.raft.metrics().role]).toEqual([true, "removed"]);
    await cluster.until(() => !leaving.raft.removed, "a heartbeat", 500);
    expect(await cluster.finish(leaving.raft.read(() => 5))).toBe(5);
    // A leader isn't impressed at all.
    leader.transport.host?.onRefused?.(other.id, removalReason(leader.id));
    expect(leader.raft.removed).toBe(false);
  });

  it("reports its removal also after another node said so in error", async () => {
    const { cluster, leader, leaving, other } = await three();
    const changes = changesOf(leaving);
    for (let times = 0; times < 2; times++) {
      leaving.transport.host?.onRefused?.(other.id, removalReason(leaving.id));
      await cluster.until(() => !leaving.raft.removed, "a heartbeat", 500);
    }
    await remove(cluster, leader, leaving.id);
    await cluster.until(() => leaving.raft.removed, "the removed node to know it", 1000);
    leaving.transport.host?.onRefused?.(other.id, removalReason(leaving.id));
    await cluster.advance(0);
    const index = leader.raft.metrics().lastIndex;
    expect(removals(changes)).toEqual([
      { type: "removed", index: null, toldBy: other.id },
      { type: "removed", index, toldBy: null },
    ]);
  });
});
