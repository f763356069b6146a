import { describe, expect, it } from "vitest";
import type { WriteOptions } from "../writes/proposer.ts";
import { StateMachineFailure } from "../shared/state-machine.ts";
import { Journal } from "../test/journal.ts";
import { TestCluster, type TestNode } from "../test/test-cluster.ts";

const THREE = ["a", "b", "c"];

/** The options of a node whose election timeouts are so long that another node starts the election. */
const PATIENT = { timings: { electionTimeoutMinMs: 3000, electionTimeoutMaxMs: 6000, heartbeatMs: 80 } };

function command(id: number, sequence: number, lowestUnanswered = 1): WriteOptions {
  return { session: { id, sequence, lowestUnanswered } };
}

function fail(thrown: unknown): never {
  throw thrown;
}

function opened(node: TestNode, cluster: TestCluster): Promise<number> {
  return cluster.finish(node.raft.openSession().then((session) => session.id));
}

describe("a command in a session", () => {
  it("is applied once if the leader crashed before answering and the client retries at the next leader (K1)", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const id = await opened(leader, cluster);
    // The followers' answers are lost, so the client isn't answered, but the command is on every disk.
    for (const other of THREE) if (other !== leader.id) cluster.net.cut(other, leader.id);
    leader.raft.write("increment", command(id, 1)).catch(() => undefined);
    await cluster.advance(50);
    await cluster.crash(leader.id);
    const next = await cluster.leader();
    const answer = await cluster.finish(next.raft.writeWithIndex("increment", command(id, 1)));
    expect(next.journal.texts).toEqual(["increment"]);
    expect(answer).toEqual({ index: next.journal.commands[0]?.at.index, result: 1 });
  });

  it("gets its first answer again after all nodes have restarted (K1)", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const id = await opened(leader, cluster);
    await cluster.finish(leader.raft.write("x", command(id, 1)));
    const first = await cluster.finish(leader.raft.writeWithIndex("y", command(id, 2)));
    for (const node of THREE) await cluster.crash(node);
    for (const node of THREE) await cluster.open(node);
    const next = await cluster.leader();
    expect(await cluster.finish(next.raft.writeWithIndex("y", command(id, 2)))).toEqual(first);
    await cluster.advance(200);
    for (const { journal } of cluster.nodes.values()) expect(journal.texts).toEqual(["x", "y"]);
  });

  it("is rejected again with the same message, without being applied again (K1)", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const id = await opened(leader, cluster);
    const first = await cluster.failure(leader.raft.write("reject", command(id, 1)));
    const again = await cluster.failure(leader.raft.write("reject", command(id, 1)));
    expect(first).toMatchObject({ code: "COMMAND_REJECTED", outcome: "done" });
    expect(again).toMatchObject({ code: "COMMAND_REJECTED", outcome: "done", message: first.message });
    expect(leader.journal.texts).toEqual(["reject"]);
  });

  it("gets the same shortened message on a retry if the rejection's message was very long", async () => {
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

  it.each([
    ["cut in the middle of a character", `${"x".repeat(2047)}😀`, "x".repeat(2047)],
    ["of half a character", "no \ud83d!", "no \ufffd!"],
  ])("gets the same message on a retry if the rejection's message is %s", async (_what, text, kept) => {
    const cluster = await TestCluster.of(["a"]);
    const { raft, journal } = await cluster.leader();
    journal.apply = () => {
      throw new Error(text);
    };
    const { id } = await cluster.finish(raft.openSession());
    const first = await cluster.failure(raft.write("x", command(id, 1)));
    expect(first.message).toBe(`the state machine rejected the command: ${kept}`);
    expect(await cluster.failure(raft.write("x", command(id, 1)))).toMatchObject({ message: first.message });
  });

  it("is refused as unknown once the client has said that it received the answer", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft, journal } = await cluster.leader();
    const { id } = await cluster.finish(raft.openSession());
    for (const sequence of [1, 2]) await cluster.finish(raft.write("x", command(id, sequence, sequence)));
    const error = await cluster.failure(raft.write("x", command(id, 1)));
    expect(error).toMatchObject({ code: "ANSWER_FORGOTTEN", outcome: "unknown" });
    expect(journal.texts).toEqual(["x", "x"]);
  });

  it("is reported as done, without its result, if the result was too large to keep", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft, journal } = await cluster.leader();
    journal.codec.encodeResult = () => new Uint8Array(2 ** 20 + 1);
    const { id } = await cluster.finish(raft.openSession());
    await cluster.finish(raft.write("x", command(id, 1)));
    const error = await cluster.failure(raft.write("x", command(id, 1)));
    expect(error).toMatchObject({ code: "ANSWER_FORGOTTEN", outcome: "done" });
    expect(journal.texts).toEqual(["x"]);
  });

  it("leaves its outcome unknown on a retry after its session has ended (Z6)", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft, journal } = await cluster.leader();
    const { id } = await cluster.finish(raft.openSession());
    // It is applied, and its answer is lost on the way to the client.
    await cluster.finish(raft.write("x", command(id, 1)));
    await cluster.finish(raft.endSession(id));
    const error = await cluster.failure(raft.write("x", command(id, 1)));
    expect(error).toMatchObject({ code: "SESSION_EXPIRED", outcome: "unknown", session: id });
    expect(journal.texts).toEqual(["x"]);
  });

  it("is certainly not done if there never was such a session", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft } = await cluster.leader();
    const error = await cluster.failure(raft.write("x", command(1_000_000, 1)));
    expect(error).toMatchObject({ code: "SESSION_EXPIRED", outcome: "not-done" });
  });

  const unencodable: readonly (readonly [string, () => Uint8Array])[] = [
    ["encodeResult throws", () => fail(new RangeError("no bytes for this"))],
    ["encodeResult throws what has no text", () => fail(Object.create(null))],
    ["encodeResult returns no bytes", () => "text" as unknown as Uint8Array],
    ["encodeResult returns nothing", () => undefined as unknown as Uint8Array],
  ];
  it.each(unencodable)(
    "ends in the same error for each attempt, and stops no node, if %s (Z12)",
    async (_what, encodeResult) => {
      const cluster = await TestCluster.of(THREE);
      for (const { journal } of cluster.nodes.values()) journal.codec.encodeResult = encodeResult;
      const leader = await cluster.leader();
      const id = await opened(leader, cluster);
      const first = await cluster.failure(leader.raft.write("x", command(id, 1)));
      expect(first).toMatchObject({ code: "RESULT_UNAVAILABLE", outcome: "done" });
      expect(first.message).toBe("the command took effect, and its result could not be encoded");
      const again = await cluster.failure(leader.raft.write("x", command(id, 1)));
      expect(again).toMatchObject({ code: "RESULT_UNAVAILABLE", outcome: "done", message: first.message });
      await cluster.advance(200);
      for (const { raft, journal } of cluster.nodes.values()) {
        expect([journal.texts, raft.metrics().sessions]).toEqual([["x"], leader.raft.metrics().sessions]);
      }
      expect(await cluster.failure(leader.raft.write("y"))).toMatchObject({ code: "RESULT_UNAVAILABLE" });
      expect(leader.journal.texts).toEqual(["x", "y"]);
    },
  );

  it("stops its node alone if encodeResult throws a StateMachineFailure", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft, journal } = await cluster.leader();
    journal.codec.encodeResult = () => fail(new StateMachineFailure("the disk broke"));
    const { id } = await cluster.finish(raft.openSession());
    expect(await cluster.failure(raft.write("x", command(id, 1)))).toMatchObject({
      code: "STATE_MACHINE_FAILED",
      outcome: "unknown",
    });
  });

  it("took effect, says its retry, if the kept result can't be decoded (Z12)", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft, journal } = await cluster.leader();
    const { id } = await cluster.finish(raft.openSession());
    await cluster.finish(raft.write("x", command(id, 1)));
    journal.codec.decodeResult = () => fail(new SyntaxError("what is this"));
    expect(await cluster.failure(raft.write("x", command(id, 1)))).toMatchObject({
      code: "RESULT_UNAVAILABLE",
      outcome: "done",
    });
  });

  it("is refused beyond the window, and accepted once older answers have been received", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft } = await cluster.leader();
    const { id } = await cluster.finish(raft.openSession());
    const error = await cluster.failure(raft.write("x", command(id, 1025, 1)));
    expect(error).toMatchObject({ code: "OVERLOADED", outcome: "not-done" });
    expect(await cluster.finish(raft.write("x", command(id, 1025, 2)))).toBe(1);
  });

  it.each([
    ["an impossible session id", { id: 0, sequence: 1, lowestUnanswered: 1 }],
    ["an impossible sequence number", { id: 1, sequence: 1.5, lowestUnanswered: 1 }],
    ["a sequence number below the lowest unanswered", { id: 1, sequence: 1, lowestUnanswered: 2 }],
  ])("is refused with %s", async (_what, session) => {
    const cluster = await TestCluster.of(["a"]);
    const { raft } = await cluster.leader();
    expect(await cluster.failure(raft.write("x", { session }))).toMatchObject({ code: "INVALID_OPTION" });
  });

  it("appears in committed() with its session and sequence number, once for each attempt", async () => {
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
  it("encodes a command once, however often it is sent (Z6)", async () => {
    const cluster = new TestCluster();
    await cluster.open("a");
    await cluster.open("b", PATIENT);
    await cluster.open("c", PATIENT);
    await cluster.finish(cluster.raft("a").initialize(cluster.members()));
    const leader = await cluster.leader();
    const session = await cluster.finish(leader.raft.openSession());
    let encoded = 0;
    const { encode } = leader.journal.codec;
    leader.journal.codec.encode = (text) => {
      encoded += 1;
      return encoded === 1 ? encode(text) : fail(new RangeError("not again"));
    };
    // The command reaches the others, the leader hears no answer, and the retry is made when it leads again.
    for (const other of ["b", "c"]) cluster.net.cut(other, "a");
    const write = session.write("x");
    write.catch(() => undefined);
    await cluster.until(() => leader.raft.metrics().role !== "leader", "the leader to step down");
    await cluster.advance(2000);
    cluster.net.heal();
    expect(await cluster.finish(write)).toBe(1);
    expect(encoded).toBe(1);
  });

  it("expires at the same entry on every node (K5)", async () => {
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

  it("refuses commands after it was closed", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft } = await cluster.leader();
    const session = await cluster.finish(raft.openSession());
    await cluster.finish(session[Symbol.asyncDispose]());
    expect(raft.metrics().sessions.open).toBe(0);
    expect(await cluster.failure(session.write("x"))).toMatchObject({ code: "SESSION_EXPIRED" });
  });

  it("retries commands automatically when their leader was cut off, and they take effect once (K1)", async () => {
    const cluster = new TestCluster();
    await cluster.open("a");
    await cluster.open("b", PATIENT);
    await cluster.open("c", PATIENT);
    await cluster.finish(cluster.raft("a").initialize(cluster.members()));
    const leader = await cluster.leader();
    expect(leader.id).toBe("a");
    const session = await cluster.finish(leader.raft.openSession());
    // The commands reach the followers, but the acknowledgements are lost: the
    // leader can't tell their outcomes.
    cluster.net.cut("b", "a");
    cluster.net.cut("c", "a");
    const writes = ["x", "y", "z"].map((text) => session.write(text));
    await cluster.until(() => leader.raft.metrics().role !== "leader", "the leader to step down");
    await cluster.advance(2000);
    cluster.net.heal();
    expect(await cluster.finish(Promise.all(writes))).toEqual([1, 2, 3]);
    // Until all nodes have applied what the leader has.
    await cluster.advance(200);
    for (const { journal } of cluster.nodes.values()) expect(journal.texts).toEqual(["x", "y", "z"]);
    // Guards the test itself: some commands must have been proposed more than once.
    const proposed = [...cluster.nodes.values()].map(({ raft }) => raft.metrics().counters.writes);
    expect(proposed.reduce((sum, count) => sum + count)).toBeGreaterThan(4);
  });

  it("reports 'unknown' if an earlier attempt may have taken effect, though the last one did nothing (K4)", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const session = await cluster.finish(leader.raft.openSession());
    cluster.isolate(leader.id);
    const error = await cluster.failure(session.write("x", { timeoutMs: 5000 }));
    expect(error).toMatchObject({ outcome: "unknown" });
    expect(error.cause).toMatchObject({ code: "NOT_LEADER", outcome: "not-done" });
  });

  it("reports 'not done' if no attempt was ever proposed (K4)", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const session = await cluster.finish(leader.raft.openSession());
    cluster.isolate(leader.id);
    await cluster.until(() => leader.raft.metrics().role !== "leader", "the leader to step down");
    const error = await cluster.failure(session.write("x", { timeoutMs: 500 }));
    expect(error).toMatchObject({ code: "NOT_LEADER", outcome: "not-done" });
  });

  it("stops waiting for the next attempt when the caller aborts, or the node closes", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const session = await cluster.finish(leader.raft.openSession());
    cluster.isolate(leader.id);
    await cluster.until(() => leader.raft.metrics().role !== "leader", "the leader to step down");
    const controller = new AbortController();
    const aborted = cluster.failure(session.write("x", { signal: controller.signal }), 1000);
    controller.abort(new Error("enough"));
    expect(await aborted).toMatchObject({ code: "ABORTED", outcome: "not-done" });
    // Until the timer of the aborted call is gone, too.
    await cluster.advance(200);
    const timers = cluster.world.clock.pendingTimers;
    const waiting = session.write("x");
    await Promise.resolve();
    expect(cluster.world.clock.pendingTimers).toBeGreaterThan(timers);
    void leader.raft.close();
    // At once, not when the timer of the delay would fire.
    const error = await cluster.failure(waiting, 1);
    expect(error).toMatchObject({ code: "CLOSED", outcome: "not-done" });
  });

  it("discards the answers that the client has received", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft } = await cluster.leader();
    const session = await cluster.finish(raft.openSession());
    for (let at = 0; at < 3; at++) await cluster.finish(session.write("x"));
    const { bytes } = raft.metrics().sessions;
    for (let at = 0; at < 30; at++) await cluster.finish(session.write("x"));
    expect(raft.metrics().sessions.bytes).toBeLessThan(bytes + 10);
  });

  it("refuses more than 1,024 commands from the oldest unanswered one on", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft, log } = await cluster.leader();
    const session = await cluster.finish(raft.openSession());
    log.holdsWrites = true;
    const writes = Array.from({ length: 1024 }, (_, at) => session.write(String(at)));
    expect(await cluster.failure(session.write("more"))).toMatchObject({
      code: "OVERLOADED",
      outcome: "not-done",
    });
    log.releaseWrites();
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

  it("waits until a leader is known", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft } = cluster.node("a");
    expect((await cluster.finish(raft.openSession())).ttlMs).toBe(60_000);
  });

  it.each(["encodeResult", "decodeResult"] as const)(
    "is refused with a message that names the codec's missing %s",
    async (method) => {
      const cluster = await TestCluster.of(["a"]);
      const { raft, journal } = await cluster.leader();
      Reflect.deleteProperty(journal.codec, method);
      for (const refused of [() => raft.openSession(), () => raft.write("x", command(2, 1))]) {
        const error = await cluster.failure(refused());
        expect(error).toMatchObject({ code: "INVALID_OPTION", outcome: "not-done" });
        expect(error.message).toContain("stateMachine.codec should have encodeResult and decodeResult");
      }
    },
  );

  it("stops a node whose codec lacks encodeResult, before its state differs (K8)", async () => {
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

  it("that stores the sessions answers a retry after a restart like the first attempt (K1)", async () => {
    const { cluster, node, id } = await restarted(true);
    expect(node.raft.metrics().sessions.open).toBe(1);
    expect(await cluster.finish(node.raft.write("x", command(id, 1)))).toBe(1);
    expect(node.journal.texts).toEqual([]);
  });

  it("that didn't store the sessions works without them, and refuses session calls with an explanation", async () => {
    const { cluster, node, id } = await restarted(false);
    for (const refused of [() => node.raft.openSession(), () => node.raft.write("x", command(id, 1))]) {
      const error = await cluster.failure(refused());
      expect(error).toMatchObject({ code: "INVALID_OPTION" });
      expect(error.message).toContain("open should return them as `sessions`");
    }
    expect(await cluster.finish(node.raft.write("y"))).toBe(1);
  });

  it("that didn't store the sessions stops at a session entry, instead of applying a retry again (K1)", async () => {
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

  it("is given the session records that a batch changed, in the same flush as its effects", async () => {
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
