import { describe, expect, it } from "vitest";
import { Journal } from "../test/journal.ts";
import { TestCluster } from "../test/test-cluster.ts";

const THREE = ["a", "b", "c"];

function fail(): never {
  throw new Error("no text here");
}

describe("applying", () => {
  it("rejects a command that apply throws for, and continues with the next on every node", async () => {
    const cluster = await TestCluster.of(THREE);
    const { raft } = await cluster.leader();
    const [first, poison, last] = await cluster.finish(
      Promise.allSettled(["before", "reject", "after"].map((text) => raft.write(text))),
    );
    expect(first).toMatchObject({ status: "fulfilled", value: 1 });
    expect(poison).toMatchObject({
      reason: { code: "COMMAND_REJECTED", outcome: "done", cause: { message: "this command is not for us" } },
    });
    expect(last).toMatchObject({ status: "fulfilled", value: 3 });
    await cluster.advance(200);
    for (const node of cluster.nodes.values()) {
      expect(node.journal.texts).toEqual(["before", "reject", "after"]);
      expect(node.raft.metrics().role).not.toBe("stopped");
    }
  });

  it("rejects a command whose apply promise rejects, and continues", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft, journal } = await cluster.leader();
    journal.beforeApply = () => Promise.resolve();
    expect(await cluster.failure(raft.write("reject"))).toMatchObject({
      code: "COMMAND_REJECTED",
      outcome: "done",
    });
    expect(await cluster.finish(raft.write("next"))).toBe(2);
  });

  it.each([
    ["nothing", undefined],
    ["an object without a prototype", Object.create(null)],
    ["an error whose message is no text", Object.assign(new Error(), { message: 5 })],
    [
      "an error whose message can't be read",
      Object.create(Error.prototype, { message: { get: () => fail() } }),
    ],
    ["an object that is no string", { toString: () => fail() }],
  ])(
    "rejects a command for which apply throws %s, in a session too, and continues (Z12)",
    async (_what, thrown) => {
      const cluster = await TestCluster.of(["a"]);
      const { raft, journal } = await cluster.leader();
      const apply = journal.apply.bind(journal);
      journal.apply = (text, at) => {
        if (text === "odd") throw thrown;
        return apply(text, at);
      };
      const session = await cluster.finish(raft.openSession());
      const expected = { code: "COMMAND_REJECTED", outcome: "done" };
      expect(await cluster.failure(raft.write("odd"))).toMatchObject(expected);
      expect(await cluster.failure(session.write("odd"))).toMatchObject(expected);
      expect(await cluster.finish(raft.write("next"))).toBe(1);
    },
  );

  it.each([[null], ["text"], [[1, 2]], [{ length: 3 }]])(
    "refuses a command that encode makes %j of, before anything is proposed (Z12)",
    async (encoded) => {
      const cluster = await TestCluster.of(["a"]);
      const { raft, journal } = await cluster.leader();
      const { encode } = journal.codec;
      journal.codec.encode = () => encoded as unknown as Uint8Array;
      const { lastIndex } = raft.metrics();
      expect((await cluster.failure(raft.write("x"))).message).toContain(
        "what encode returns should be a Uint8Array",
      );
      expect(raft.metrics().lastIndex).toBe(lastIndex);
      journal.codec.encode = encode;
      expect(await cluster.finish(raft.write("x"))).toBe(1);
    },
  );

  it("stops the node on a StateMachineFailure, with no command of that batch acknowledged", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft, log, journal, transport } = await cluster.leader();
    const errors = await cluster.finish(
      Promise.allSettled(["x", "break", "y"].map((text) => raft.write(text))),
    );
    for (const error of errors) {
      expect(error).toMatchObject({ reason: { code: "STATE_MACHINE_FAILED", outcome: "unknown" } });
    }
    expect(await cluster.finish(raft.stopped)).toMatchObject({ code: "STATE_MACHINE_FAILED" });
    expect(raft.metrics()).toMatchObject({
      role: "stopped",
      leader: null,
      pendingEntries: 0,
      pendingBytes: 0,
    });
    expect([log.isClosed, journal.isClosed, transport.isClosed]).toEqual([true, true, true]);
    expect(await cluster.failure(raft.write("z"))).toMatchObject({
      code: "STATE_MACHINE_FAILED",
      outcome: "not-done",
    });
    expect(await cluster.failure(raft.read(() => 1))).toMatchObject({ outcome: "not-done" });
    expect(cluster.world.clock.pendingTimers).toBe(0);
  });

  it("stops the node if flush throws, with no result of that batch handed out", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    leader.journal.flushFailure = new Error("no space left");
    const read = leader.raft.read(() => leader.journal.texts.length);
    const write = leader.raft.write("x");
    const [read_, write_] = await cluster.finish(Promise.allSettled([read, write]));
    expect(write_).toMatchObject({ reason: { code: "STATE_MACHINE_FAILED", outcome: "unknown" } });
    expect([read_.status, leader.journal.flushed.index]).toEqual(["rejected", leader.journal.flushed.index]);
    // The other nodes elect another leader.
    const next = await cluster.leader(leader.id);
    expect(await cluster.finish(next.raft.write("y"))).toBe(2);
  });

  it("hands out results and serves reads only after flush has resolved", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft, journal } = await cluster.leader();
    await cluster.finish(raft.write("first"));
    const flush = Promise.withResolvers<undefined>();
    journal.flush = () => flush.promise;
    const answers: string[] = [];
    const write = raft.write("second").then(() => answers.push("write"));
    await cluster.until(() => journal.texts.length === 2, "the command to be applied");
    const read = raft.read(() => answers.push("read"));
    await cluster.advance(100);
    expect([answers, raft.metrics().appliedIndex]).toEqual([[], 3]);
    flush.resolve(undefined);
    await cluster.finish(Promise.all([write, read]));
    expect([answers.sort(), raft.metrics().appliedIndex]).toEqual([["read", "write"], 4]);
    journal.flush = () => Promise.reject(new Error("no space left"));
    expect(await cluster.failure(raft.write("third"))).toMatchObject({
      code: "STATE_MACHINE_FAILED",
      outcome: "unknown",
      cause: { message: "no space left" },
    });
  });

  it("stops the node at a command that it can't decode, instead of skipping it", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft, journal } = await cluster.leader();
    const { decode } = journal.codec;
    let calls = 0;
    // The first call checks the command before it is proposed.
    journal.codec.decode = (bytes) => {
      calls += 1;
      if (calls === 1) return decode(bytes);
      throw new Error("from a later version");
    };
    expect(await cluster.failure(raft.write("x"))).toMatchObject({
      code: "STATE_MACHINE_FAILED",
      outcome: "unknown",
    });
  });

  it("costs a leader neither its term nor its commits, however slow the state machine is (O1)", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    await cluster.finish(leader.raft.write("first"));
    const { term } = leader.raft.metrics();
    const { clock } = cluster.world;
    leader.journal.beforeApply = () => new Promise((resolve) => clock.setTimer(4000, resolve));
    const slow = leader.raft.write("slow");
    const next = leader.raft.write("next");
    await cluster.advance(3900);
    // The sixth entry is the configuration in which the leader records its members' store ids.
    expect(leader.raft.metrics()).toMatchObject({ role: "leader", term, commitIndex: 6, appliedIndex: 3 });
    for (const { journal } of cluster.followers(leader))
      expect(journal.texts).toEqual(["first", "slow", "next"]);
    expect(await cluster.finish(Promise.all([slow, next]))).toEqual([2, 3]);
    expect(leader.raft.metrics()).toMatchObject({ role: "leader", term });
  });

  it("ends a batch after 10 ms, so that timers run between slow commands", async () => {
    const journal = new Journal();
    const cluster = await TestCluster.of(["a"], 1, { journal });
    const { raft } = await cluster.leader();
    let flushes = 0;
    journal.flush = (applied) => {
      flushes += 1;
      journal.flushed = applied;
    };
    const { clock } = cluster.world;
    journal.beforeApply = () => new Promise((resolve) => clock.setTimer(6, resolve));
    await cluster.finish(Promise.all(["1", "2", "3", "4"].map((text) => raft.write(text))));
    expect(flushes).toBe(2);
    journal.beforeApply = null;
    await cluster.finish(Promise.all(["5", "6", "7", "8"].map((text) => raft.write(text))));
    expect(flushes).toBe(3);
  });

  it("limits a batch in entries and in bytes", async () => {
    const journal = new Journal();
    const limits = { applyBatchEntriesMax: 3, applyBatchBytesMax: 100 };
    const cluster = await TestCluster.of(["a"], 1, { journal, limits });
    const { raft } = await cluster.leader();
    await cluster.finish(raft.write("first"));
    const flushed: number[] = [];
    journal.flush = (applied) => {
      flushed.push(applied.index);
    };
    await cluster.finish(Promise.all(Array.from({ length: 7 }, () => raft.write("x"))));
    expect(flushed).toEqual([6, 9, 10]);
    flushed.length = 0;
    await cluster.finish(Promise.all(Array.from({ length: 4 }, () => raft.write("x".repeat(30)))));
    expect(flushed).toEqual([11, 12, 13, 14]);
  });

  it("gives the event loop a turn between two batches", async () => {
    const cluster = new TestCluster(1, { limits: { applyBatchEntriesMax: 1 } });
    const environment = cluster.world.environment("a");
    const events: string[] = [];
    const { raft, journal } = await cluster.open("a", {
      environment: {
        ...environment,
        defer: (callback) => {
          environment.defer(() => {
            events.push("turn");
            callback();
          });
        },
      },
    });
    await cluster.finish(raft.initialize({ a: "a:1" }));
    await cluster.leader();
    await cluster.finish(raft.write("first"));
    await cluster.advance(10);
    journal.flush = () => {
      events.push("batch");
    };
    events.length = 0;
    await cluster.finish(Promise.all(["1", "2", "3", "4"].map((text) => raft.write(text))));
    const batches = events.flatMap((event, at) => (event === "batch" ? [at] : []));
    expect(batches).toHaveLength(4);
    for (const at of batches.slice(1)) expect(events[at - 1]).toBe("turn");
  });

  it("waits until a committed entry is durable on this node too (C7)", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    await cluster.finish(leader.raft.write("first"));
    leader.log.holdsWrites = true;
    const write = leader.raft.write("second");
    await cluster.advance(500);
    expect(leader.raft.metrics()).toMatchObject({ commitIndex: 4, durableIndex: 3, appliedIndex: 3 });
    for (const { journal } of cluster.followers(leader)) expect(journal.texts).toEqual(["first", "second"]);
    leader.log.releaseWrites();
    expect(await cluster.finish(write)).toBe(2);
  });

  it("reads entries from the store that the buffer no longer holds", async () => {
    const cluster = await TestCluster.of(THREE, 1, { limits: { cacheBytesMax: 1, applyBatchEntriesMax: 2 } });
    const leader = await cluster.leader();
    const texts = Array.from({ length: 20 }, (_, at) => String(at));
    const results = await cluster.finish(Promise.all(texts.map((text) => leader.raft.write(text))));
    expect(results).toEqual(texts.map((_, at) => at + 1));
    expect(leader.log.reads).toBeGreaterThan(5);
    await cluster.advance(200);
    for (const { journal } of cluster.nodes.values()) expect(journal.texts).toEqual(texts);
  });
});
