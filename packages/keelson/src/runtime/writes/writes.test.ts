import { describe, expect, it } from "vitest";
import { TestCluster, type TestNode } from "../test/test-cluster.ts";

const THREE = ["a", "b", "c"];

/** A leader that is isolated and has not noticed it yet. */
async function cutOffLeader(cluster: TestCluster): Promise<TestNode> {
  const leader = await cluster.leader();
  cluster.isolate(leader.id);
  return leader;
}

describe("write", () => {
  it("resolves with the state machine's result and the entry's index", async () => {
    const cluster = await TestCluster.of(THREE);
    const { raft } = await cluster.leader();
    const results = await cluster.finish(
      Promise.all(["x", "y", "z"].map((text) => raft.writeWithIndex(text))),
    );
    expect(results).toEqual([
      { index: 3, result: 1 },
      { index: 4, result: 2 },
      { index: 5, result: 3 },
    ]);
    expect(raft.metrics().counters.writes).toBe(3);
  });

  it("writes all commands of a turn in one log write, and one message to each follower", async () => {
    const cluster = await TestCluster.of(THREE);
    const { raft, log, transport } = await cluster.leader();
    await cluster.finish(raft.write("first"));
    await cluster.advance(5);
    const before = log.writes.length;
    let messages = 0;
    transport.filter = (_to, { records }) => {
      if (records.length > 0) messages += 1;
      return true;
    };
    await cluster.finish(Promise.all(Array.from({ length: 100 }, (_, at) => raft.write(String(at)))));
    expect(log.writes.slice(before).map((write) => write.records.length)).toEqual([100]);
    expect(messages).toBe(2);
  });

  it("drains once a turn, however many commands it has", async () => {
    const cluster = new TestCluster();
    const environment = cluster.world.environment("a");
    let turns = 0;
    const counting = {
      ...environment,
      defer: (callback: () => void) => {
        turns += 1;
        environment.defer(callback);
      },
    };
    const { raft } = await cluster.open("a", { environment: counting });
    await cluster.finish(raft.initialize({ a: "a:1" }));
    await cluster.leader();
    await cluster.finish(raft.write("first"));
    await cluster.advance(10);
    const before = turns;
    const calls = Array.from({ length: 100 }, () => [raft.write("x"), raft.read(() => 1)]);
    expect(turns - before).toBe(1);
    await cluster.finish(Promise.all(calls.flat()));
  });

  it("stores the same bytes on every node's disk", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    await cluster.finish(leader.raft.write("same"));
    await cluster.advance(200);
    const [a, b, c] = [...cluster.disks.values()].map((disk) => disk.records.map((record) => [...record]));
    expect(a).toHaveLength(3);
    expect(b).toEqual(a);
    expect(c).toEqual(a);
  });

  it("is refused by a follower that doesn't forward, and names the leader, its address and its info", async () => {
    const cluster = new TestCluster(1, { forward: false });
    for (const id of THREE) await cluster.open(id, { info: `I am ${id}` });
    await cluster.finish(cluster.raft("a").initialize(cluster.members()));
    const leader = await cluster.leader();
    await cluster.finish(leader.raft.write("x"));
    const [follower] = cluster.followers(leader);
    const error = await cluster.failure(
      follower?.raft.write("y") ?? Promise.reject(new Error("no follower")),
    );
    expect(error).toMatchObject({
      code: "NOT_LEADER",
      outcome: "not-done",
      leader: { id: leader.id, address: `${leader.id}:1`, info: `I am ${leader.id}` },
      message: `the leader is ${leader.id}: this node doesn't forward calls, because it was opened with forward: false`,
    });
  });

  it.each([true, false])(
    "waits for the first leader of a new cluster (with forward: %s)",
    async (forward) => {
      const cluster = new TestCluster(1, { forward });
      const { raft, journal } = await cluster.open("a");
      const before = raft.write("before initialize");
      await cluster.finish(raft.initialize({ a: "a:1" }));
      // The first program of the README: nothing waits for an election.
      expect(await cluster.finish(raft.write("x"))).toBe(2);
      expect(await cluster.finish(before)).toBe(1);
      expect(await cluster.finish(raft.read(() => journal.texts))).toEqual(["before initialize", "x"]);
    },
  );

  it.each([true, false])(
    "says what to do on a node that is in no cluster (with forward: %s)",
    async (forward) => {
      const cluster = new TestCluster(1, { forward });
      const { raft } = await cluster.open("a");
      const calls = {
        write: raft.write("x", { timeoutMs: 500 }),
        openSession: raft.openSession({ timeoutMs: 500 }),
        endSession: raft.endSession(1, { timeoutMs: 500 }),
        read: raft.read(() => 1, { timeoutMs: 500 }),
        addLearner: raft.addLearner("b", "b:1", { timeoutMs: 500 }),
        changeMembership: raft.changeMembership({ remove: ["b"] }, { timeoutMs: 500 }),
        transferLeadership: raft.transferLeadership("b", { timeoutMs: 500 }),
      };
      for (const call of Object.values(calls)) call.catch(() => undefined);
      await cluster.advance(450);
      for (const [name, call] of Object.entries(calls)) {
        const state = await Promise.race([call.catch(() => "ended"), Promise.resolve("waits")]);
        expect([name, state]).toEqual([name, "waits"]);
        const error = await cluster.failure(call, 600);
        expect([name, error]).toMatchObject([
          name,
          { code: "NOT_LEADER", outcome: "not-done", leader: null },
        ]);
        expect(error.message).toContain(
          "this node belongs to no cluster yet. To create one, call initialize",
        );
      }
    },
  );

  it("is refused when the command is too large, while other commands of the turn are not", async () => {
    const cluster = await TestCluster.of(["a"], 1, { limits: { commandBytesMax: 10 } });
    const { raft } = await cluster.leader();
    expect(await cluster.failure(raft.write("x".repeat(11)))).toMatchObject({
      code: "COMMAND_TOO_LARGE",
      outcome: "not-done",
      bytes: 11,
      bytesMax: 10,
    });
    expect(await cluster.finish(raft.write("x".repeat(10)))).toBe(1);
  });

  it("rejects with what the codec throws, and proposes nothing", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft, journal } = await cluster.leader();
    const before = raft.metrics().lastIndex;
    journal.codec.encode = () => {
      throw new TypeError("not a command");
    };
    await expect(raft.write("x")).rejects.toThrow("not a command");
    expect(raft.metrics().lastIndex).toBe(before);
  });
});

describe("limits on writes", () => {
  it("refuse commands over the limit, and accept them again when others are applied", async () => {
    const cluster = await TestCluster.of(THREE, 1, { limits: { pendingEntriesMax: 5 } });
    const { raft } = await cluster.leader();
    await cluster.finish(raft.write("warm up"));
    for (let round = 0; round < 3; round++) {
      const writes = Array.from({ length: 8 }, (_, at) => raft.write(String(at)));
      const outcomes = await cluster.finish(Promise.allSettled(writes));
      expect(outcomes.map(({ status }) => status)).toEqual([
        ...Array<string>(5).fill("fulfilled"),
        ...Array<string>(3).fill("rejected"),
      ]);
      expect(outcomes[7]).toMatchObject({ reason: { code: "OVERLOADED", outcome: "not-done" } });
      expect(raft.metrics()).toMatchObject({ pendingEntries: 0, pendingBytes: 0 });
    }
  });

  it("refuse commands over the limit on bytes", async () => {
    const limits = { commandBytesMax: 100, pendingBytesMax: 300 };
    const cluster = await TestCluster.of(THREE, 1, { limits });
    const { raft } = await cluster.leader();
    const writes = Array.from({ length: 3 }, () => raft.write("x".repeat(100)));
    const outcomes = await cluster.finish(Promise.allSettled(writes));
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected"]);
    expect(raft.metrics().pendingBytes).toBe(0);
  });

  it("still count entries whose callers stopped waiting, until their outcome is known", async () => {
    const cluster = await TestCluster.of(THREE, 1, { limits: { pendingEntriesMax: 2 } });
    const leader = await cutOffLeader(cluster);
    const controller = new AbortController();
    const writes = ["x", "y"].map((text) => leader.raft.write(text, { signal: controller.signal }));
    controller.abort();
    await Promise.allSettled(writes);
    expect(leader.raft.metrics().pendingEntries).toBe(2);
    expect(await cluster.failure(leader.raft.write("z"))).toMatchObject({ code: "OVERLOADED" });
    cluster.net.heal();
    await cluster.until(() => leader.raft.metrics().pendingEntries === 0, "the counts to return to zero");
    expect(leader.raft.metrics().pendingBytes).toBe(0);
  });
});

describe("cancelling a write", () => {
  it('before the call ends it as "not done"', async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft } = await cluster.leader();
    const error = await cluster.failure(raft.write("x", { signal: AbortSignal.abort(new Error("enough")) }));
    expect(error).toMatchObject({ code: "ABORTED", outcome: "not-done", cause: { message: "enough" } });
    expect(raft.metrics().counters.writes).toBe(0);
  });

  it('by its signal ends the call as "unknown" at once, and the command may take effect', async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft, journal } = await cluster.leader();
    const controller = new AbortController();
    const write = raft.write("x", { signal: controller.signal });
    controller.abort(new Error("enough"));
    await expect(write).rejects.toMatchObject({
      code: "ABORTED",
      outcome: "unknown",
      cause: { message: "enough" },
    });
    await cluster.until(() => journal.texts.length === 1, "the command to be applied");
  });

  it('by its time limit ends the call as "unknown"', async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cutOffLeader(cluster);
    const startedAt = cluster.world.clock.now();
    const error = await cluster.failure(leader.raft.write("x", { timeoutMs: 100 }));
    const waited = cluster.world.clock.now() - startedAt;
    expect(error).toMatchObject({ code: "ABORTED", outcome: "unknown" });
    expect(waited).toBeGreaterThanOrEqual(100);
    expect(waited).toBeLessThan(125);
  });

  it("leaves no listener on the signal and no timer", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft } = await cluster.leader();
    let listeners = 0;
    const { signal } = new AbortController();
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners += 1;
      add(...args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners -= 1;
      remove(...args);
    };
    const timers = cluster.world.clock.pendingTimers;
    const calls = Array.from({ length: 2000 }, () => [
      raft.write("x", { signal }),
      raft.read(() => 1, { signal }),
    ]);
    expect(listeners).toBe(4000);
    expect(cluster.world.clock.pendingTimers).toBeLessThanOrEqual(timers + 1);
    await cluster.finish(Promise.all(calls.flat()));
    expect(listeners).toBe(0);
    await cluster.close();
    expect(cluster.world.clock.pendingTimers).toBe(0);
  });

  it("with a time limit that is no number is refused", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft } = await cluster.leader();
    await expect(raft.write("x", { timeoutMs: Number.NaN })).rejects.toMatchObject({
      code: "INVALID_OPTION",
    });
    await expect(raft.read(() => 1, { timeoutMs: -1 })).rejects.toMatchObject({ code: "INVALID_OPTION" });
  });
});

describe("a write whose leader is deposed", () => {
  it("is done if the next leader commits it and this node applies it", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    await cluster.finish(leader.raft.write("before"));
    await cluster.advance(100);
    // The followers receive the command; their acknowledgements are lost.
    for (const { id } of cluster.followers(leader)) cluster.net.cut(id, leader.id);
    const write = leader.raft.writeWithIndex("kept");
    await cluster.advance(20);
    cluster.isolate(leader.id);
    const next = await cluster.leader(leader.id);
    expect(leader.raft.metrics().pendingEntries).toBe(1);
    cluster.net.heal();
    expect(await cluster.finish(write)).toEqual({ index: 4, result: 2 });
    expect(next.journal.texts).toEqual(["before", "kept"]);
    expect(leader.raft.metrics()).toMatchObject({ role: "follower", pendingEntries: 0, pendingBytes: 0 });
  });

  it("is lost if another entry is committed in its place", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cutOffLeader(cluster);
    const write = cluster.failure(leader.raft.write("lost"));
    // The others elect a leader before this one notices that it lost its majority.
    const heal = (async (): Promise<void> => {
      const clock = cluster.world.clock;
      await new Promise<void>((resolve) => {
        const look = (): void => {
          const next = cluster.followers(leader).find(({ raft }) => raft.metrics().role === "leader");
          if (next === undefined) clock.setTimer(5, look);
          else resolve();
        };
        look();
      });
      cluster.net.heal();
    })();
    const error = await write;
    await heal;
    expect(error).toMatchObject({ code: "COMMAND_LOST", outcome: "not-done" });
    const next = await cluster.leader();
    await cluster.finish(next.raft.write("after"));
    await cluster.advance(200);
    for (const { journal } of cluster.nodes.values()) expect(journal.texts).toEqual(["after"]);
    expect(leader.raft.metrics()).toMatchObject({ pendingEntries: 0, pendingBytes: 0 });
  });

  it("keeps its call waiting up to the caller's time limit once the entry is committed", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    await cluster.finish(leader.raft.write("before"));
    leader.journal.beforeApply = () => new Promise((resolve) => cluster.world.clock.setTimer(5000, resolve));
    const write = leader.raft.write("slow");
    await cluster.until(() => leader.raft.metrics().commitIndex === 4, "the commit");
    cluster.isolate(leader.id);
    await cluster.until(() => leader.raft.metrics().role !== "leader", "the leader to step down");
    await cluster.advance(2000);
    expect(leader.raft.metrics().pendingEntries).toBe(1);
    expect(await cluster.finish(write)).toBe(2);
    expect(leader.raft.metrics()).toMatchObject({ pendingEntries: 0, pendingBytes: 0 });
  });

  it("is unknown if its outcome is not known within an election timeout", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cutOffLeader(cluster);
    const startedAt = cluster.world.clock.now();
    const error = await cluster.failure(leader.raft.write("who knows", { timeoutMs: 60_000 }));
    expect(error).toMatchObject({ code: "OUTCOME_UNKNOWN", outcome: "unknown" });
    // At most one election timeout until the leader steps down, and one more until its calls end.
    expect(cluster.world.clock.now() - startedAt).toBeLessThanOrEqual(1700);
    expect(leader.raft.metrics()).toMatchObject({ pendingEntries: 0, pendingBytes: 0 });
  });
});
