import { describe, expect, it } from "vitest";
import type { WriteOptions } from "../writes/proposer.ts";
import { Journal } from "../test/journal.ts";
import { TestCluster, type TestNode } from "../test/test-cluster.ts";

const THREE = ["a", "b", "c"];

/** A node that leaves it to others to call an election. */
const PATIENT = { timings: { electionTimeoutMinMs: 3000, electionTimeoutMaxMs: 6000, heartbeatMs: 80 } };

function command(id: number, sequence: number, lowestUnanswered = 1): WriteOptions {
  return { session: { id, sequence, lowestUnanswered } };
}

function opened(node: TestNode, cluster: TestCluster): Promise<number> {
  return cluster.finish(node.raft.openSession().then((session) => session.id));
}

describe("a command in a session", () => {
  it("K1: is applied once, though its leader died before it could answer and the client asked the next one", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const id = await opened(leader, cluster);
    // The followers' answers are lost, so nobody is told; the command is on every disk all the same.
    for (const other of THREE) if (other !== leader.id) cluster.net.cut(other, leader.id);
    leader.raft.write("increment", command(id, 1)).catch(() => undefined);
    await cluster.advance(50);
    await cluster.crash(leader.id);
    const next = await cluster.leader();
    const answer = await cluster.finish(next.raft.writeAt("increment", command(id, 1)));
    expect(next.journal.texts).toEqual(["increment"]);
    expect(answer).toEqual({ index: next.journal.commands[0]?.at.index, result: 1 });
  });

  it("K1: gets its first answer again from each leader, after a restart of all nodes too", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const id = await opened(leader, cluster);
    await cluster.finish(leader.raft.write("x", command(id, 1)));
    const first = await cluster.finish(leader.raft.writeAt("y", command(id, 2)));
    for (const node of THREE) await cluster.crash(node);
    for (const node of THREE) await cluster.open(node);
    const next = await cluster.leader();
    expect(await cluster.finish(next.raft.writeAt("y", command(id, 2)))).toEqual(first);
    await cluster.advance(200);
    for (const { journal } of cluster.nodes.values()) expect(journal.texts).toEqual(["x", "y"]);
  });

  it("K1: that the state machine rejected is rejected again in the same words, and not tried again", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const id = await opened(leader, cluster);
    const first = await cluster.failure(leader.raft.write("reject", command(id, 1)));
    const again = await cluster.failure(leader.raft.write("reject", command(id, 1)));
    expect(first).toMatchObject({ code: "COMMAND_REJECTED", outcome: "done" });
    expect(again).toMatchObject({ code: "COMMAND_REJECTED", outcome: "done", message: first.message });
    expect(leader.journal.texts).toEqual(["reject"]);
  });

  it("is told in the same words again also when the state machine rejects it in very many", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft, journal } = await cluster.leader();
    journal.apply = () => {
      throw new Error("no ".repeat(5000));
    };
    const { id } = await cluster.finish(raft.openSession());
    const first = await cluster.failure(raft.write("x", command(id, 1)));
    expect(first.message.length).toBeLessThan(2200);
    expect(await cluster.failure(raft.write("x", command(id, 1)))).toMatchObject({ message: first.message });
  });

  it("that was called answered is refused, and nobody knows any more what became of it", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft, journal } = await cluster.leader();
    const { id } = await cluster.finish(raft.openSession());
    for (const sequence of [1, 2]) await cluster.finish(raft.write("x", command(id, sequence, sequence)));
    const error = await cluster.failure(raft.write("x", command(id, 1)));
    expect(error).toMatchObject({ code: "ANSWER_FORGOTTEN", outcome: "unknown" });
    expect(journal.texts).toEqual(["x", "x"]);
  });

  it("whose answer was too large to keep is known to have taken effect", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft, journal } = await cluster.leader();
    journal.codec.encodeResult = () => new Uint8Array(2 ** 20 + 1);
    const { id } = await cluster.finish(raft.openSession());
    await cluster.finish(raft.write("x", command(id, 1)));
    const error = await cluster.failure(raft.write("x", command(id, 1)));
    expect(error).toMatchObject({ code: "ANSWER_FORGOTTEN", outcome: "done" });
    expect(journal.texts).toEqual(["x"]);
  });

  it("too far above the lowest unanswered is refused, and can be sent again", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft } = await cluster.leader();
    const { id } = await cluster.finish(raft.openSession());
    const error = await cluster.failure(raft.write("x", command(id, 1025, 1)));
    expect(error).toMatchObject({ code: "OVERLOADED", outcome: "not-done" });
    expect(await cluster.finish(raft.write("x", command(id, 1025, 2)))).toBe(1);
  });

  it.each([
    ["a session that cannot be", { id: 0, sequence: 1, lowestUnanswered: 1 }],
    ["a number that cannot be", { id: 1, sequence: 1.5, lowestUnanswered: 1 }],
    ["a number below the lowest unanswered", { id: 1, sequence: 1, lowestUnanswered: 2 }],
  ])("is refused with %s", async (_what, session) => {
    const cluster = await TestCluster.of(["a"]);
    const { raft } = await cluster.leader();
    expect(await cluster.failure(raft.write("x", { session }))).toMatchObject({ code: "INVALID_OPTION" });
  });

  it("shows in committed() with its session and number, as often as it was sent", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft } = await cluster.leader();
    const { id } = await cluster.finish(raft.openSession());
    for (let at = 0; at < 2; at++) await cluster.finish(raft.write("x", command(id, 1)));
    await cluster.finish(raft.write("y"));
    const seen: unknown[] = [];
    const cursor = raft.committed();
    for (let at = 0; at < 3; at++) seen.push((await cluster.finish(cursor.next())).value);
    const session = { id, sequence: 1 };
    expect(seen).toMatchObject([
      { command: "x", session },
      { command: "x", session },
      { command: "y", session: null },
    ]);
  });
});

describe("a session", () => {
  it("K5: that was idle too long has ended, at the same entry on every node", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const idle = await cluster.finish(leader.raft.openSession({ ttlMs: 1000 }));
    const other = await cluster.finish(leader.raft.openSession());
    await cluster.advance(1001);
    expect(leader.raft.metrics().sessions.open).toBe(2);
    await cluster.finish(other.write("x"));
    expect(await cluster.failure(idle.write("y"))).toMatchObject({
      code: "SESSION_EXPIRED",
      outcome: "not-done",
      session: idle.id,
    });
    await cluster.advance(200);
    for (const { raft, journal } of cluster.nodes.values()) {
      expect([raft.metrics().sessions, journal.texts]).toEqual([leader.raft.metrics().sessions, ["x"]]);
    }
    expect(leader.raft.metrics().sessions).toMatchObject({ open: 1 });
  });

  it("that was closed takes no more", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft } = await cluster.leader();
    const session = await cluster.finish(raft.openSession());
    await cluster.finish(session[Symbol.asyncDispose]());
    expect(raft.metrics().sessions.open).toBe(0);
    expect(await cluster.failure(session.write("x"))).toMatchObject({ code: "SESSION_EXPIRED" });
  });

  it("K1: repeats a command by itself when its leader was cut off and leads again", async () => {
    const cluster = new TestCluster();
    await cluster.open("a");
    await cluster.open("b", PATIENT);
    await cluster.open("c", PATIENT);
    await cluster.finish(cluster.raft("a").initialize(cluster.members()));
    const leader = await cluster.leader();
    expect(leader.id).toBe("a");
    const session = await cluster.finish(leader.raft.openSession());
    // The commands reach the others, and their answers get lost: nobody can tell what became of them.
    cluster.net.cut("b", "a");
    cluster.net.cut("c", "a");
    const writes = ["x", "y", "z"].map((text) => session.write(text));
    await cluster.until(() => leader.raft.metrics().role !== "leader", "the leader to step down");
    await cluster.advance(2000);
    cluster.net.heal();
    expect(await cluster.finish(Promise.all(writes))).toEqual([1, 2, 3]);
    for (const { journal } of cluster.nodes.values()) expect(journal.texts).toEqual(["x", "y", "z"]);
    // They were asked for again, or this test shows nothing.
    expect(leader.raft.metrics().counters.writes).toBeGreaterThan(4);
  });

  it("K4: says unknown when the time is over and an attempt may have taken effect, though the last one did nothing", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const session = await cluster.finish(leader.raft.openSession());
    cluster.isolate(leader.id);
    const error = await cluster.failure(session.write("x", { timeoutMs: 5000 }));
    expect(error).toMatchObject({ outcome: "unknown" });
    expect(error.cause).toMatchObject({ code: "NOT_LEADER", outcome: "not-done" });
  });

  it("K4: says not done when no attempt was ever made", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const session = await cluster.finish(leader.raft.openSession());
    cluster.isolate(leader.id);
    await cluster.until(() => leader.raft.metrics().role !== "leader", "the leader to step down");
    const error = await cluster.failure(session.write("x", { timeoutMs: 500 }));
    expect(error).toMatchObject({ code: "NOT_LEADER", outcome: "not-done" });
  });

  it("ends the wait between two attempts with the caller's signal, and when the node closes", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const session = await cluster.finish(leader.raft.openSession());
    cluster.isolate(leader.id);
    await cluster.until(() => leader.raft.metrics().role !== "leader", "the leader to step down");
    const controller = new AbortController();
    const aborted = cluster.failure(session.write("x", { signal: controller.signal }), 1000);
    controller.abort(new Error("enough"));
    expect(await aborted).toMatchObject({ code: "ABORTED", outcome: "not-done" });
    const timers = cluster.world.clock.pendingTimers;
    const waiting = session.write("x");
    await Promise.resolve();
    expect(cluster.world.clock.pendingTimers).toBeGreaterThan(timers);
    void leader.raft.close();
    // At once: within the time that a timer would take, nothing is left.
    const error = await cluster.failure(waiting, 1);
    expect(error).toMatchObject({ code: "CLOSED", outcome: "not-done" });
  });

  it("tells the lowest unanswered, so that answers do not pile up", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft } = await cluster.leader();
    const session = await cluster.finish(raft.openSession());
    for (let at = 0; at < 3; at++) await cluster.finish(session.write("x"));
    const { bytes } = raft.metrics().sessions;
    for (let at = 0; at < 30; at++) await cluster.finish(session.write("x"));
    expect(raft.metrics().sessions.bytes).toBeLessThan(bytes + 10);
  });

  it("has a limit on commands begun since the oldest that waits", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft, log } = await cluster.leader();
    const session = await cluster.finish(raft.openSession());
    log.isHeld = true;
    const writes = Array.from({ length: 1024 }, (_, at) => session.write(String(at)));
    expect(await cluster.failure(session.write("more"))).toMatchObject({
      code: "OVERLOADED",
      outcome: "not-done",
    });
    log.release();
    expect(await cluster.finish(Promise.all(writes))).toHaveLength(1024);
    expect(await cluster.finish(session.write("more"))).toBe(1025);
  });
});

describe("opening a session", () => {
  it.each([999, 1000.5, 7 * 24 * 3600 * 1000 + 1, Number.NaN])(
    "refuses a time to live of %s",
    async (ttlMs) => {
      const cluster = await TestCluster.of(["a"]);
      const { raft } = await cluster.leader();
      expect(await cluster.failure(raft.openSession({ ttlMs }))).toMatchObject({
        code: "INVALID_OPTION",
        message: `ttlMs is ${String(ttlMs)}; it should be a whole number from 1000 to 604800000`,
      });
    },
  );

  it("waits for a leader", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft } = cluster.node("a");
    expect((await cluster.finish(raft.openSession())).ttlMs).toBe(60_000);
  });

  it.each(["encodeResult", "decodeResult"] as const)("says that the codec lacks %s", async (method) => {
    const cluster = await TestCluster.of(["a"]);
    const { raft, journal } = await cluster.leader();
    Reflect.deleteProperty(journal.codec, method);
    for (const refused of [() => raft.openSession(), () => raft.write("x", command(2, 1))]) {
      const error = await cluster.failure(refused());
      expect(error).toMatchObject({ code: "INVALID_OPTION", outcome: "not-done" });
      expect(error.message).toContain("stateMachine.codec should have encodeResult and decodeResult");
    }
  });

  it("K8: stops a node whose codec lacks what the leader's has, before its state differs", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const [behind] = cluster.followers(leader);
    if (behind === undefined) throw new Error("no follower");
    Reflect.deleteProperty(behind.journal.codec, "encodeResult");
    await cluster.finish(leader.raft.openSession());
    const error = await cluster.finish(behind.raft.stopped);
    expect(error).toMatchObject({ code: "STATE_MACHINE_FAILED" });
    expect(error?.message).toContain("encodeResult");
  });
});

describe("a state machine on disk", () => {
  async function restarted(keeps: boolean): Promise<{ cluster: TestCluster; node: TestNode; id: number }> {
    const cluster = new TestCluster();
    const journal = new Journal();
    if (keeps) journal.sessions = new Map();
    await cluster.open("a", { journal });
    await cluster.finish(cluster.raft("a").initialize({ a: "a:1" }));
    const before = await cluster.leader();
    const id = await opened(before, cluster);
    await cluster.finish(before.raft.write("x", command(id, 1)));
    await cluster.crash("a");
    const again = journal.reopened();
    if (!keeps) again.sessions = null;
    await cluster.open("a", { journal: again });
    return { cluster, node: await cluster.leader(), id };
  }

  it("K1: keeps the sessions with the state, and a retry after a restart gets the first answer", async () => {
    const { cluster, node, id } = await restarted(true);
    expect(node.raft.metrics().sessions.open).toBe(1);
    expect(await cluster.finish(node.raft.write("x", command(id, 1)))).toBe(1);
    expect(node.journal.texts).toEqual([]);
  });

  it("that did not keep them is told so, and goes on without sessions", async () => {
    const { cluster, node, id } = await restarted(false);
    for (const refused of [() => node.raft.openSession(), () => node.raft.write("x", command(id, 1))]) {
      const error = await cluster.failure(refused());
      expect(error).toMatchObject({ code: "INVALID_OPTION" });
      expect(error.message).toContain("open should return them as `sessions`");
    }
    expect(await cluster.finish(node.raft.write("y"))).toBe(1);
  });

  it("K1: that did not keep them stops rather than apply a retry again", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const id = await opened(leader, cluster);
    await cluster.finish(leader.raft.write("x", command(id, 1)));
    await cluster.advance(200);
    const [follower] = cluster.followers(leader);
    if (follower === undefined) throw new Error("no follower");
    await cluster.crash(follower.id);
    const journal = follower.journal.reopened();
    journal.sessions = null;
    const { raft } = await cluster.open(follower.id, { journal });
    await cluster.finish(leader.raft.write("x", command(id, 1)));
    expect(await cluster.finish(raft.stopped)).toMatchObject({ code: "STATE_MACHINE_FAILED" });
    expect(journal.texts).toEqual([]);
  });

  it("is given the changes of a batch with its effects, and none when there are none", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft, journal } = await cluster.leader();
    const seen: string[][] = [];
    journal.flush = (applied, sessions) => {
      journal.flushed = applied;
      seen.push([...sessions.keys()]);
    };
    const { id } = await cluster.finish(raft.openSession());
    await cluster.finish(Promise.all([raft.write("x", command(id, 1)), raft.write("y", command(id, 2))]));
    await cluster.finish(raft.write("z"));
    const session = `session/${String(id)}`;
    expect(seen[0]).toEqual(["time", session]);
    const answers = [`answer/${String(id)}/1`, `answer/${String(id)}/2`];
    expect(seen[1]?.filter((name) => name !== "time")).toEqual([session, ...answers]);
    expect(seen[2]).toEqual([]);
  });
});
