import { describe, expect, it } from "vitest";
import { TestCluster } from "./test/test-cluster.ts";

describe("a cluster", () => {
  it.each([1, 3, 5])("of %i nodes elects a leader, writes and reads", async (size) => {
    const ids = ["a", "b", "c", "d", "e"].slice(0, size);
    const cluster = await TestCluster.of(ids);
    const leader = await cluster.leader();
    expect(await cluster.finish(leader.raft.write("one"))).toBe(1);
    expect(await cluster.finish(leader.raft.writeWithIndex("two"))).toEqual({ index: 4, result: 2 });
    for (const { raft, journal } of cluster.nodes.values()) {
      expect(await cluster.finish(raft.read(() => journal.texts))).toEqual(["one", "two"]);
    }
    await cluster.close();
    expect(cluster.world.clock.pendingTimers).toBe(0);
  });
});
