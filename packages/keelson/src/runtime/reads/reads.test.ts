import { describe, expect, it } from "vitest";
import type { TransportMessage } from "../../transport/transport.ts";
import { StateMachineFailure } from "../shared/index.ts";
import { TestCluster } from "../test/test-cluster.ts";

const THREE = ["a", "b", "c"];

describe("a linearizable read", () => {
  it("sees every write answered before it, on every node", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    for (let at = 1; at <= 5; at++) {
      await cluster.finish(leader.raft.write(String(at)));
      const counts = [...cluster.nodes.values()].map(({ raft, journal }) =>
        raft.read(() => journal.texts.length),
      );
      expect(await cluster.finish(Promise.all(counts))).toEqual([at, at, at]);
    }
  });

  it("shares one read-index request with all reads of its turn", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    await cluster.finish(leader.raft.write("x"));
    for (const { raft } of cluster.nodes.values()) {
      const before = raft.metrics().counters.readRounds;
      const writes = raft.metrics().lastIndex;
      await cluster.finish(Promise.all(Array.from({ length: 500 }, () => raft.read(() => 1))));
      expect(raft.metrics().counters.readRounds - before).toBe(1);
      expect(raft.metrics().lastIndex).toBe(writes);
      expect(raft.metrics().pendingReads).toBe(0);
    }
  });

  it("whose query throws a StateMachineFailure stops the node: its state can't be used any longer (Z3)", async () => {
    for (const query of [
      () => {
        throw new StateMachineFailure("damaged");
      },
      () => Promise.reject(new StateMachineFailure("damaged")),
    ]) {
      for (const consistency of ["linearizable", "stale"] as const) {
        const cluster = await TestCluster.of(THREE);
        const leader = await cluster.leader();
        const read = leader.raft.read(query, { consistency });
        const outcome = { code: "STATE_MACHINE_FAILED", outcome: "not-done" };
        await expect(cluster.finish(read)).rejects.toMatchObject(outcome);
        expect(await cluster.finish(leader.raft.stopped)).toMatchObject({
          code: "STATE_MACHINE_FAILED",
          message: expect.stringMatching(/so the node stops: it could not be read: damaged/) as string,
          cause: { name: "StateMachineFailure" },
        });
      }
    }
  });

  it("is never answered from the state of a deposed leader (L10)", async () => {
    const cluster = await TestCluster.of(THREE);
    const old = await cluster.leader();
    await cluster.finish(old.raft.write("old"));
    cluster.isolate(old.id);
    const read = old.raft.read(() => old.journal.texts.length, { timeoutMs: 30_000 });
    const next = await cluster.leader(old.id);
    await cluster.finish(next.raft.write("new"));
    expect(old.journal.texts).toEqual(["old"]);
    cluster.net.heal();
    expect(await cluster.finish(read)).toBe(2);
  });

  it("waits while there is no leader, and is retried as soon as there is one", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    await cluster.finish(leader.raft.write("x"));
    const [follower] = cluster.followers(leader);
    if (follower === undefined) throw new Error("no follower");
    await cluster.crash(leader.id);
    await cluster.until(() => follower.raft.metrics().leader === null, "the follower to miss its leader");
    const read = follower.raft.read(() => cluster.world.clock.now());
    await cluster.until(() => follower.raft.metrics().leader !== null, "the next leader");
    const known = cluster.world.clock.now();
    expect((await cluster.finish(read)) - known).toBeLessThan(15);
  });

  it('ends with NotLeaderError, outcome "not-done", if its time limit passes without a leader', async () => {
    const cluster = await TestCluster.of(THREE);
    await cluster.leader();
    await cluster.crash("a");
    await cluster.crash("b");
    await cluster.advance(2000);
    const error = await cluster.failure(cluster.raft("c").read(() => 1, { timeoutMs: 500 }));
    expect(error).toMatchObject({ code: "NOT_LEADER", outcome: "not-done", leader: null });
    await cluster.advance(2000);
    expect(cluster.raft("c").metrics().pendingReads).toBe(0);
  });

  it("waits on a node that belongs to no cluster, and its error says so if it waited in vain", async () => {
    const cluster = new TestCluster();
    const { raft } = await cluster.open("a");
    const error = await cluster.failure(raft.read(() => 1, { timeoutMs: 500 }));
    expect(error).toMatchObject({ code: "NOT_LEADER", leader: null });
    expect(error.message).toContain("this node belongs to no cluster yet");
    const write = raft.write("early");
    const read = raft.read(() => "read");
    await cluster.advance(500);
    await cluster.finish(raft.initialize({ a: "a:1" }));
    expect(await cluster.finish(Promise.all([write, read]))).toEqual([1, "read"]);
  });

  it("waits on a node that no member has reached yet, until it is added", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft } = await cluster.leader();
    await cluster.finish(raft.write("x"));
    const late = await cluster.open("b");
    const read = late.raft.read(() => late.journal.commands.length);
    const write = late.raft.write("y");
    await cluster.advance(2000);
    expect(await Promise.race([read, write, Promise.resolve("waits")])).toBe("waits");
    await cluster.finish(raft.addLearner("b", "b:1"));
    expect(await cluster.finish(read)).toBeGreaterThan(0);
    expect(await cluster.finish(write)).toBe(2);
  });

  it("rejects with what the query throws or rejects with", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft } = await cluster.leader();
    await expect(
      cluster.finish(
        raft.read(() => {
          throw new RangeError("thrown");
        }),
      ),
    ).rejects.toThrow("thrown");
    await expect(cluster.finish(raft.read(() => Promise.reject(new RangeError("rejected"))))).rejects.toThrow(
      "rejected",
    );
    expect(await cluster.finish(raft.read(() => Promise.resolve("later")))).toBe("later");
    expect(raft.metrics().pendingReads).toBe(0);
  });

  it("runs between two batches, never in the middle of an asynchronous command", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const [follower] = cluster.followers(leader);
    if (follower === undefined) throw new Error("no follower");
    await cluster.finish(leader.raft.write("before"));
    await cluster.finish(follower.raft.read(() => 1));
    // The read index is already applied, but the answer comes in the middle of the next command.
    const held: TransportMessage[] = [];
    leader.transport.filter = (_to, transportMessage) =>
      transportMessage.message.type !== "read-index-reply" || held.push(transportMessage) < 0;
    let isHalfway = false;
    follower.journal.beforeApply = async () => {
      isHalfway = true;
      await new Promise<void>((resolve) => cluster.world.clock.setTimer(50, resolve));
      isHalfway = false;
    };
    const read = follower.raft.read(() => isHalfway);
    await cluster.until(() => held.length > 0, "the answer");
    await cluster.finish(leader.raft.write("slow"));
    await cluster.until(() => isHalfway, "the command to be halfway");
    leader.transport.filter = null;
    for (const transportMessage of held) leader.transport.send(follower.id, transportMessage);
    await cluster.advance(10);
    expect(isHalfway).toBe(true);
    expect(await cluster.finish(read)).toBe(false);
  });
});

describe("a stale read", () => {
  it("answers at once from the node's own state, with or without a leader", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    await cluster.finish(leader.raft.write("x"));
    cluster.isolate(leader.id);
    await cluster.advance(5000);
    const before = cluster.world.clock.now();
    const read = leader.raft.read(() => leader.journal.texts, { consistency: "stale" });
    expect(await read).toEqual(["x"]);
    expect(cluster.world.clock.now()).toBe(before);
    expect(leader.raft.metrics().pendingReads).toBe(0);
  });
});

describe("a stale read during an asynchronous command", () => {
  it("waits for the command's end, with or without a leader (Z14)", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    for (const { journal } of cluster.nodes.values()) {
      const apply = journal.apply.bind(journal);
      // Two accounts: 100 is moved from the one to the other, with a pause in between.
      journal.apply = async (text, at) => {
        sums.set(journal, 0);
        await new Promise<void>((resolve) => cluster.world.clock.setTimer(50, resolve));
        sums.set(journal, 100);
        return apply(text, at);
      };
    }
    const sums = new Map([...cluster.nodes.values()].map(({ journal }) => [journal, 100]));
    leader.raft.write("move").catch(() => undefined);
    await cluster.until(() => sums.get(leader.journal) === 0, "the command to be halfway");
    const stale = { consistency: "stale" } as const;
    const read = leader.raft.read(() => sums.get(leader.journal), stale);
    expect(leader.raft.metrics().pendingReads).toBe(1);
    expect(await cluster.finish(read)).toBe(100);
    expect(leader.raft.metrics().pendingReads).toBe(0);
  });

  it("ends at its time limit, as a read that did nothing, if the state machine hangs (Z14)", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft, journal } = await cluster.leader();
    journal.beforeApply = () => new Promise(() => undefined);
    raft.write("hangs").catch(() => undefined);
    await cluster.advance(100);
    const error = await cluster.failure(raft.read(() => 1, { consistency: "stale", timeoutMs: 500 }));
    expect(error).toMatchObject({ code: "ABORTED", outcome: "not-done" });
  });
});

describe("limits on reads", () => {
  it("refuse reads over the limit, and accept them again when others have ended", async () => {
    const cluster = await TestCluster.of(THREE, 1, { limits: { pendingReadsMax: 3 } });
    const { raft } = await cluster.leader();
    for (let round = 0; round < 3; round++) {
      const outcomes = await cluster.finish(
        Promise.allSettled(Array.from({ length: 5 }, () => raft.read(() => "ok"))),
      );
      expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(3);
      expect(outcomes[4]).toMatchObject({ reason: { code: "OVERLOADED", outcome: "not-done" } });
    }
  });
});
