import { describe, expect, it } from "vitest";
import { TestCluster } from "../test/test-cluster.ts";

const THREE = ["a", "b", "c"];

describe("close", () => {
  it.each(["leader", "follower"])(
    "of a %s releases all its resources, and the other nodes continue",
    async (role) => {
      const cluster = await TestCluster.of(THREE);
      const leader = await cluster.leader();
      await cluster.finish(leader.raft.write("x"));
      const node = role === "leader" ? leader : cluster.followers(leader)[0];
      if (node === undefined) throw new Error("no node");
      await cluster.finish(node.raft.close());
      expect([node.log.isClosed, node.journal.isClosed, node.transport.isClosed]).toEqual([true, true, true]);
      expect(await node.raft.stopped).toBeUndefined();
      cluster.nodes.delete(node.id);
      const next = await cluster.leader();
      expect(await cluster.finish(next.raft.write("y"))).toBe(2);
      await cluster.close();
      expect(cluster.world.clock.pendingTimers).toBe(0);
    },
  );

  it("works on a node without a cluster, and on a candidate", async () => {
    const cluster = new TestCluster();
    await cluster.open("a");
    await cluster.open("b");
    await cluster.finish(cluster.raft("b").initialize({ b: "b:1", z: "z:1" }));
    await cluster.until(() => cluster.raft("b").metrics().role === "pre-candidate", "b to campaign");
    await cluster.close();
    expect(cluster.world.clock.pendingTimers).toBe(0);
  });

  it("ends every call: writes as unknown, reads as not done", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    cluster.isolate(leader.id);
    const writes = [leader.raft.write("x"), leader.raft.write("y")];
    const reads = [
      leader.raft.read(() => 1),
      leader.raft.read(() => new Promise(() => undefined), { consistency: "stale" }),
    ];
    const settled = Promise.allSettled([...writes, ...reads]);
    const closed = leader.raft.close();
    const outcomes = (await cluster.finish(settled)).map(
      (result) => result.status === "rejected" && (result.reason as object),
    );
    const error = (outcome: string): unknown => expect.objectContaining({ code: "CLOSED", outcome });
    expect(outcomes).toEqual([error("unknown"), error("unknown"), error("not-done"), error("not-done")]);
    await cluster.finish(closed);
    expect(leader.raft.metrics()).toMatchObject({
      role: "stopped",
      pendingEntries: 0,
      pendingBytes: 0,
      pendingReads: 0,
    });
  });

  it("refuses calls that come after it", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft } = await cluster.leader();
    await cluster.finish(raft.close());
    const calls = [
      raft.write("x"),
      raft.read(() => 1),
      raft.read(() => 1, { consistency: "stale" }),
      raft.initialize({ a: "a:1" }),
    ];
    for (const result of await cluster.finish(Promise.allSettled(calls))) {
      expect(result).toMatchObject({ reason: { code: "CLOSED", outcome: "not-done" } });
    }
  });

  it("happens once, however often it is called", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft } = await cluster.leader();
    const first = raft.close();
    expect(raft.close()).toBe(first);
    await cluster.finish(first);
    await raft[Symbol.asyncDispose]();
  });

  it("takes at most a second even if transport, log and state machine hang, and reports which of them did (O4)", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft, log, journal, transport } = await cluster.leader();
    await cluster.finish(raft.write("x"));
    transport.closeHangs = true;
    journal.beforeApply = () => new Promise(() => undefined);
    const unapplied = raft.write("never applied");
    await cluster.until(() => raft.metrics().commitIndex === 4, "the commit");
    log.holdsWrites = true;
    const unwritten = raft.write("never written");
    await cluster.advance(10);
    const outcomes = Promise.allSettled([unapplied, unwritten]);
    const begun = cluster.world.clock.now();
    await cluster.finish(raft.close());
    expect(cluster.world.clock.now() - begun).toBeLessThanOrEqual(1000);
    const unknown = { reason: { code: "CLOSED", outcome: "unknown" } };
    expect(await outcomes).toMatchObject([unknown, unknown]);
    // It is applying a command, so it must not be closed.
    expect(journal.isClosed).toBe(false);
    expect(log.isClosed).toBe(true);
    for (const part of ["the transport", "the state machine", "the log"]) {
      expect(cluster.messages.join()).toContain(`closing goes on without waiting for ${part}`);
    }
    expect(cluster.world.clock.pendingTimers).toBe(0);
  });

  it("continues when one part fails to close, and reports it", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft, log, journal } = await cluster.leader();
    journal.close = () => {
      throw new Error("the database is busy");
    };
    await cluster.finish(raft.close());
    expect(log.isClosed).toBe(true);
    expect(cluster.messages.join()).toContain("the state machine did not close well: the database is busy");
  });

  it("does not wait for a peer that is down", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const [hung] = cluster.followers(leader);
    if (hung === undefined) throw new Error("no follower");
    await cluster.crash(hung.id);
    await cluster.finish(leader.raft.write("x"));
    const begun = cluster.world.clock.now();
    await cluster.finish(leader.raft.close());
    expect(cluster.world.clock.now() - begun).toBeLessThan(50);
  });
});
