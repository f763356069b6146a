import { describe, expect, it } from "vitest";
import { SnapshotCluster } from "./test/snapshot-cluster.ts";

const POLICY = { everyEntries: 20, keepEntries: 5 };

describe("a node that takes snapshots", () => {
  it("takes them by the policy, forgets the log before them, and starts from them again", async () => {
    const cluster = await SnapshotCluster.of(["a"], { policy: POLICY });
    for (let round = 0; round < 10; round++) await cluster.write(5);
    await cluster.until(() => cluster.raft("a").metrics().snapshots?.taking === null, "the snapshot");
    const { snapshots, firstIndex } = cluster.raft("a").metrics();
    expect(snapshots?.taken).toBeGreaterThanOrEqual(2);
    expect(firstIndex).toBe((snapshots?.newest?.index ?? 0) - POLICY.keepEntries + 1);
    const lines = cluster.node("a").tape.lines;
    expect(lines).toHaveLength(50);
    await cluster.close();
    const { tape, raft } = await cluster.open("a");
    expect(tape.restores).toBe(1);
    await cluster.leader();
    await cluster.finish(raft.read(() => undefined));
    expect(tape.lines).toEqual(lines);
    await cluster.close();
  });
});

describe("a follower that is far behind", () => {
  it("gets a snapshot while writes go on, and all that follows it", async () => {
    const cluster = await SnapshotCluster.of(["a", "b", "c"], { policy: POLICY });
    const leader = await cluster.leader();
    const behind = cluster.other(leader);
    cluster.isolate(behind.id);
    for (let round = 0; round < 20; round++) await cluster.write(5, leader);
    expect(leader.raft.metrics().firstIndex).toBeGreaterThan(50);
    cluster.net.heal();
    for (let round = 0; round < 20; round++) await cluster.write(5);
    await cluster.converge();
    expect(behind.raft.metrics().snapshots?.installed).toBe(1);
    await cluster.close();
  });
});
