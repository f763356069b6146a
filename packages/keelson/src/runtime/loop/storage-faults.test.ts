import { describe, expect, it } from "vitest";
import { encodeRecord, EntryKind } from "../../codec/record.ts";
import { TestCluster } from "../test/test-cluster.ts";

const THREE = ["a", "b", "c"];

describe("a failed log write", () => {
  it("stops the node, which acknowledges, sends and writes nothing afterwards (R2)", async () => {
    const cluster = await TestCluster.of(["a", "b"]);
    const leader = await cluster.leader();
    const [follower] = cluster.followers(leader);
    await cluster.finish(leader.raft.write("first"));
    const sent: string[] = [];
    leader.log.writeFailure = new Error("EIO: the disk is gone");
    const write = leader.raft.write("second");
    const read = leader.raft.read(() => 1);
    const stopped = leader.raft.stopped.then((error) => {
      leader.transport.filter = (_to, { message }) => sent.push(message.type) < 0;
      return error;
    });
    const [writeError, readError] = await cluster.finish(Promise.allSettled([write, read]));
    expect(writeError).toMatchObject({ reason: { code: "STORAGE_FAILED", outcome: "unknown" } });
    // A follower may have confirmed the read before the write failed. A read changes nothing,
    // so both ends are right.
    if (readError.status === "rejected") expect(readError.reason).toMatchObject({ outcome: "not-done" });
    expect(await cluster.finish(stopped)).toMatchObject({
      code: "STORAGE_FAILED",
      cause: { message: "EIO: the disk is gone" },
    });
    const writes = leader.log.writes.length;
    await cluster.advance(3000);
    expect(leader.log.writes).toHaveLength(writes);
    expect(sent).toEqual([]);
    expect(await cluster.failure(leader.raft.write("third"))).toMatchObject({ outcome: "not-done" });
    expect(
      cluster.messages.some((text) => text.startsWith(`error ${leader.id}: the log could not be written`)),
    ).toBe(true);
    expect(follower?.raft.metrics().role).not.toBe("leader");
  });

  it("on the leader lets the other nodes elect another and take writes", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    leader.log.writeFailure = new Error("EIO");
    await cluster.failure(leader.raft.write("x"));
    const next = await cluster.leader(leader.id);
    expect(await cluster.finish(next.raft.write("y"))).toBeGreaterThan(0);
  });

  it("on a follower stops that follower, which has acknowledged only entries it holds", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const [follower] = cluster.followers(leader);
    if (follower === undefined) throw new Error("no follower");
    await cluster.finish(leader.raft.write("x"));
    await cluster.advance(100);
    const acknowledged: number[] = [];
    follower.transport.filter = (_to, { message }) => {
      if (message.type === "append-entries-reply" && message.outcome.accepted)
        acknowledged.push(message.outcome.match);
      return true;
    };
    follower.log.writeFailure = new Error("EIO");
    expect(await cluster.finish(leader.raft.write("y"))).toBe(2);
    expect(await cluster.finish(follower.raft.stopped)).toMatchObject({ code: "STORAGE_FAILED" });
    expect(Math.max(0, ...acknowledged)).toBeLessThanOrEqual(3);
  });
});

describe("a slow read of entries for a follower", () => {
  it("holds up no heartbeat, so the leader keeps its followers", async () => {
    const cluster = await TestCluster.of(THREE, 1, {
      limits: { cacheBytesMax: 1 },
      timings: { storageTimeoutMs: 60_000 },
    });
    const leader = await cluster.leader();
    const [follower, other] = cluster.followers(leader);
    if (follower === undefined || other === undefined) throw new Error("no follower");
    await cluster.finish(leader.raft.write("x"));
    await cluster.crash(follower.id);
    await cluster.finish(leader.raft.write("y"));
    await cluster.advance(100);
    leader.log.holdsReads = true;
    const reads = leader.log.reads;
    await cluster.open(follower.id);
    await cluster.crash(other.id);
    await cluster.until(() => leader.log.reads > reads, "the read of what the follower lacks");
    const { term } = leader.raft.metrics();
    await cluster.advance(10_000);
    expect(leader.raft.metrics()).toMatchObject({ role: "leader", term });
    expect(cluster.raft(follower.id).metrics()).toMatchObject({ role: "follower", term });
    leader.log.holdsReads = false;
    leader.log.releaseReads();
    await cluster.until(() => cluster.node(follower.id).journal.texts.length === 2, "the entry to arrive");
    await cluster.close();
  });
});

describe("a log write that hangs", () => {
  it("stops the node after storageTimeoutMs, with nothing acknowledged", async () => {
    const cluster = await TestCluster.of(["a"], 1, {
      timings: { storageTimeoutMs: 2000, callTimeoutMs: 60_000 },
    });
    const { raft, log } = await cluster.leader();
    log.holdsWrites = true;
    const begun = cluster.world.clock.now();
    const error = await cluster.failure(raft.write("x"));
    const waited = cluster.world.clock.now() - begun;
    expect(error).toMatchObject({ code: "STORAGE_FAILED", outcome: "unknown" });
    expect(error.message).toContain("a write to the log took more than 2000 ms");
    expect(waited).toBeGreaterThanOrEqual(2000);
    expect(waited).toBeLessThanOrEqual(2600);
    expect(await cluster.finish(raft.stopped)).toBe(await raft.stopped);
    expect(cluster.world.clock.pendingTimers).toBe(0);
  });

  it("on the leader delays only the leader: the followers commit the entry and serve reads", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    await cluster.finish(leader.raft.write("x"));
    leader.log.holdsWrites = true;
    const write = leader.raft.write("y", { timeoutMs: 300 });
    expect(await cluster.failure(write)).toMatchObject({ outcome: "unknown" });
    const [follower] = cluster.followers(leader);
    expect(
      await cluster.finish(follower?.raft.read(() => follower.journal.texts) ?? Promise.resolve([])),
    ).toEqual(["x", "y"]);
  });

  it("delays votes, as none is sent before it is durable", async () => {
    const cluster = new TestCluster();
    for (const id of THREE) await cluster.open(id);
    await cluster.finish(Promise.all(THREE.map((id) => cluster.raft(id).initialize(cluster.members()))));
    const votes: string[] = [];
    for (const { id, log, transport } of cluster.nodes.values()) {
      log.holdsWrites = true;
      transport.filter = (_to, { message }) => {
        if (message.type === "request-vote" || message.type === "request-vote-reply")
          votes.push(`${id} ${message.type}`);
        return true;
      };
    }
    await cluster.advance(5000);
    expect(votes).toEqual([]);
    expect(cluster.currentLeader()).toBeUndefined();
    for (const { log } of cluster.nodes.values()) log.releaseWrites();
    await cluster.leader();
    expect(votes.length).toBeGreaterThan(0);
  });
});

describe("reading the log back", () => {
  /**
   * A leader with a follower that is far behind, so that the entries it lacks must be read from the store.
   */
  async function clusterWithLaggingFollower(): Promise<{
    cluster: TestCluster;
    lagging: string;
    catchUp: () => Promise<void>;
  }> {
    const cluster = await TestCluster.of(THREE, 1, { limits: { cacheBytesMax: 1 } });
    const leader = await cluster.leader();
    const [follower] = cluster.followers(leader);
    if (follower === undefined) throw new Error("no follower");
    await cluster.finish(leader.raft.write("x"));
    cluster.isolate(follower.id);
    for (let at = 0; at < 10; at++) await cluster.finish(leader.raft.write(String(at)));
    return {
      cluster,
      lagging: follower.id,
      catchUp: async () => {
        cluster.net.heal();
        await cluster.until(() => follower.journal.texts.length === 11, "the follower to catch up");
      },
    };
  }

  it("serves a lagging follower from the store", async () => {
    const { cluster, lagging, catchUp } = await clusterWithLaggingFollower();
    const reads = cluster.currentLeader()?.log.reads ?? 0;
    await catchUp();
    expect(cluster.currentLeader()?.log.reads).toBeGreaterThan(reads);
    expect(cluster.node(lagging).journal.texts).toHaveLength(11);
  });

  it("sends a lagging follower its AppendEntries in order: later ones wait for the read", async () => {
    const { cluster, lagging, catchUp } = await clusterWithLaggingFollower();
    const leader = cluster.currentLeader();
    if (leader === undefined) throw new Error("no leader");
    const sent: number[] = [];
    leader.transport.filter = (to, { message }) => {
      if (to !== lagging || message.type !== "append-entries") return true;
      const { prev, lastIndex } = message.entries;
      if (lastIndex > prev.index) sent.push(prev.index);
      return true;
    };
    leader.log.holdsReads = true;
    const reads = leader.log.reads;
    cluster.net.heal();
    await cluster.until(() => leader.log.reads > reads, "a read for the follower");
    const before = sent.length;
    // Reads that begin now would end before the held one.
    leader.log.holdsReads = false;
    await cluster.advance(300);
    expect(sent).toHaveLength(before);
    leader.log.releaseReads();
    await catchUp();
    const after = sent.slice(before);
    expect(after.length).toBeGreaterThan(1);
    expect(after).toEqual(after.toSorted((x, y) => x - y));
  });

  it("stops the node if a read fails", async () => {
    const { cluster, catchUp } = await clusterWithLaggingFollower();
    const leader = cluster.currentLeader();
    if (leader === undefined) throw new Error("no leader");
    leader.log.readFailure = new Error("EIO: unreadable");
    await catchUp();
    expect(await cluster.finish(leader.raft.stopped)).toMatchObject({
      code: "STORAGE_FAILED",
      cause: { message: "EIO: unreadable" },
    });
  });

  it("stops the node if the store returns another record than it was asked for, and sends that record to no one (R11)", async () => {
    const { cluster, lagging, catchUp } = await clusterWithLaggingFollower();
    const leader = cluster.currentLeader();
    if (leader === undefined) throw new Error("no leader");
    leader.log.damageRead = () => encodeRecord(7, 99, EntryKind.command, new Uint8Array(3));
    await catchUp();
    expect(await cluster.finish(leader.raft.stopped)).toMatchObject({ code: "STORAGE_FAILED" });
    const texts = cluster.node(lagging).journal.texts;
    expect(texts).toEqual(["x", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
  });

  it("drops an AppendEntries whose records were still being read when the node stopped leading", async () => {
    const { cluster } = await clusterWithLaggingFollower();
    const old = cluster.currentLeader();
    if (old === undefined) throw new Error("no leader");
    old.log.holdsReads = true;
    cluster.net.heal();
    await cluster.until(() => old.log.reads > 0, "a read for the follower");
    await cluster.advance(50);
    cluster.isolate(old.id);
    // One of the other two has the whole log, and wins the election.
    const next = await cluster.leader(old.id);
    await cluster.finish(next.raft.write("by the next leader"));
    cluster.net.heal();
    await cluster.until(() => old.raft.metrics().role === "follower", "the old leader to follow");
    old.log.failHeldRead(new Error("this read means nothing any more"));
    old.log.releaseReads();
    await cluster.advance(100);
    expect(old.raft.metrics().role).toBe("follower");
    const length = next.journal.texts.length;
    await cluster.until(
      () => [...cluster.nodes.values()].every(({ journal }) => journal.texts.length === length),
      "all nodes to agree",
    );
  });
});
