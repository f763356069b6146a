import { describe, expect, it } from "vitest";
import { TestCluster, type TestNode, type TestOptions } from "../test/test-cluster.ts";
import { OutcomeUnknownError, SessionExpiredError } from "../../errors.ts";
import { ResumableSession, type SessionState } from "./resumable-session.ts";
import { SESSION_LIMITS } from "./session-table.ts";

const THREE = ["a", "b", "c"];

/** The state as a program finds it on its disk. */
function kept(state: SessionState): SessionState {
  return JSON.parse(JSON.stringify(state)) as SessionState;
}

async function clusterOf(options: TestOptions = {}): Promise<{ cluster: TestCluster; leader: TestNode }> {
  const cluster = await TestCluster.of(THREE, 1, options);
  return { cluster, leader: await cluster.leader() };
}

describe("a resumed session", () => {
  it("repeats a command of the program before it, and the command takes effect once (K1)", async () => {
    const { cluster, leader } = await clusterOf();
    const session = await cluster.finish(leader.raft.openResumableSession());
    const sequence = session.reserve();
    const state = kept(session.state);
    // The command is on every disk, and the program dies with its node before it is answered.
    for (const other of THREE) if (other !== leader.id) cluster.net.cut(other, leader.id);
    session.write(sequence, "x").catch(() => undefined);
    await cluster.advance(50);
    await cluster.crash(leader.id);
    const next = await cluster.leader();
    const resumed = await cluster.finish(next.raft.resumeSession(state));
    expect(resumed.state).toEqual({ id: session.id, nextSequence: 2, pending: [1] });
    expect(await cluster.finish(resumed.write(sequence, "x"))).toBe(1);
    expect(next.journal.texts).toEqual(["x"]);
    expect(resumed.state.pending).toEqual([]);
    expect(await cluster.finish(resumed.write(resumed.reserve(), "y"))).toBe(2);
    expect(next.journal.texts).toEqual(["x", "y"]);
  });

  it("sends a command that never left the program before it", async () => {
    const { cluster, leader } = await clusterOf();
    const session = await cluster.finish(leader.raft.openResumableSession({ ttlMs: 90_000 }));
    session.reserve();
    const [other] = cluster.followers(leader);
    const resumed = await cluster.finish(other!.raft.resumeSession(kept(session.state)));
    expect(resumed.ttlMs).toBe(90_000);
    expect(await cluster.finish(resumed.write(1, "x"))).toBe(1);
  });

  it("continues after all nodes have restarted", async () => {
    const { cluster, leader } = await clusterOf();
    const session = await cluster.finish(leader.raft.openResumableSession());
    const first = await cluster.finish(session.writeWithIndex(session.reserve(), "x"));
    const state = kept({ ...session.state, pending: [1] });
    for (const id of THREE) await cluster.crash(id);
    for (const id of THREE) await cluster.open(id);
    const next = await cluster.leader();
    const resumed = await cluster.finish(next.raft.resumeSession(state));
    expect(await cluster.finish(resumed.writeWithIndex(1, "x"))).toEqual(first);
  });

  it("is refused if the kept state is older than the session, since numbers would be used again (K1)", async () => {
    const { cluster, leader } = await clusterOf();
    const session = await cluster.finish(leader.raft.openResumableSession());
    const old = kept(session.state);
    await cluster.finish(session.write(session.reserve(), "x"));
    expect(await cluster.failure(leader.raft.resumeSession(old))).toMatchObject({
      code: "INVALID_OPTION",
      message: expect.stringContaining("the cluster knows a command with number 1") as string,
    });
    // Also when the answer was given up, and only the lowest unanswered number is known.
    await cluster.finish(session.write(session.reserve(), "y"));
    expect(await cluster.failure(leader.raft.resumeSession({ ...old, nextSequence: 2 }))).toMatchObject({
      code: "INVALID_OPTION",
    });
    await cluster.finish(leader.raft.resumeSession(session.state));
  });

  it.each([
    ["unknown", [1]],
    ["not-done", []],
  ] as const)("that has ended says %s with %j pending (Z6)", async (outcome, pending) => {
    const { cluster, leader } = await clusterOf();
    const session = await cluster.finish(leader.raft.openResumableSession());
    await cluster.finish(session.close());
    const state = { id: session.id, nextSequence: 2, pending };
    expect(await cluster.failure(leader.raft.resumeSession(state))).toMatchObject({
      code: "SESSION_EXPIRED",
      outcome,
    });
  });

  it("that ends later says unknown of what the program before it may have sent, and not-done of the rest (Z6)", async () => {
    const { cluster, leader } = await clusterOf();
    const session = await cluster.finish(leader.raft.openResumableSession());
    session.reserve();
    const resumed = await cluster.finish(leader.raft.resumeSession(kept(session.state)));
    await cluster.finish(leader.raft.endSession(session.id));
    const fresh = resumed.reserve();
    const ofBefore = await cluster.failure(resumed.write(1, "x"));
    expect(ofBefore).toMatchObject({ code: "SESSION_EXPIRED", outcome: "unknown" });
    const ofNow = await cluster.failure(resumed.write(fresh, "y"));
    expect(ofNow).toMatchObject({ code: "SESSION_EXPIRED", outcome: "not-done" });
    expect(leader.journal.texts).toEqual([]);
  });

  it.each([
    ["refuses the command", "COMMAND_INVALID"],
    ["throws", "OUTCOME_UNKNOWN"],
  ])("says unknown of a pending command where the codec %s now (K4)", async (how, _code) => {
    const { cluster, leader } = await clusterOf();
    const session = await cluster.finish(leader.raft.openResumableSession());
    session.reserve();
    const fresh = session.reserve();
    const resumed = await cluster.finish(leader.raft.resumeSession({ ...session.state, pending: [1] }));
    leader.journal.codec.encode = () => {
      if (how === "throws") throw new TypeError("no such command");
      return new Uint8Array(64 * 1024 * 1024);
    };
    expect(await cluster.failure(resumed.write(1, "x"))).toMatchObject({ outcome: "unknown" });
    expect(resumed.state.pending).toEqual([1]);
    // The same command under a number that was never sent had no effect.
    const error: unknown = await cluster.failure(session.write(fresh, "x"));
    if (how === "throws") expect(error).toBeInstanceOf(TypeError);
    else expect(error).toMatchObject({ outcome: "not-done" });
  });

  it.each([
    [{ id: 0, nextSequence: 1, pending: [] }],
    [{ id: 1, nextSequence: 0, pending: [] }],
    [{ id: 1, nextSequence: 2, pending: [2] }],
    [{ id: 1, nextSequence: 3, pending: [1, 1] }],
    [{ id: 1, nextSequence: 2, pending: [0.5] }],
    [{ id: 1, nextSequence: 2, pending: "1" }],
    [{ id: 1, nextSequence: SESSION_LIMITS.windowMax + 2, pending: [1] }],
  ])("is refused with the state %j", async (state) => {
    const { cluster, leader } = await clusterOf();
    const error = await cluster.failure(leader.raft.resumeSession(state as unknown as SessionState));
    expect(error).toMatchObject({ code: "INVALID_OPTION" });
    expect(error.message).toContain("it should be what ResumableSession.state returned");
  });
});

describe("a resumable session", () => {
  it("keeps the answers to pending commands while others are written (K1)", async () => {
    const { cluster, leader } = await clusterOf();
    const session = await cluster.finish(leader.raft.openResumableSession());
    const first = await cluster.finish(session.writeWithIndex(session.reserve(), "x"));
    // The program died before it noted the answer.
    const state = kept({ ...session.state, pending: [1] });
    const resumed = await cluster.finish(leader.raft.resumeSession(state));
    await cluster.finish(resumed.write(resumed.reserve(), "y"));
    expect(await cluster.finish(resumed.writeWithIndex(1, "x"))).toEqual(first);
    expect(leader.journal.texts).toEqual(["x", "y"]);
  });

  it("says unknown where an attempt of the same call went unanswered before the session ended (K4)", async () => {
    const endings = [new OutcomeUnknownError("no answer"), new SessionExpiredError(7, "unknown")];
    const session = new ResumableSession<string, number>(
      { id: 7, ttlMs: 60_000 },
      {
        proposals: {
          encode: (_command, options, use) => use(new Uint8Array(1), options),
          writeEncoded: () => Promise.reject(endings.shift() ?? new Error("one attempt too many")),
          openSession: () => Promise.reject(new Error("not called")),
          closeSession: () => Promise.resolve(),
        },
        now: () => 0,
        timeoutMs: 1_000,
        retryDelay: () => Promise.resolve(),
      },
    );
    const error: unknown = await session.write(session.reserve(), "x").catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "SESSION_EXPIRED", outcome: "unknown" });
  });

  it("keeps a number pending while its outcome is unknown, and gives the first answer then (K1)", async () => {
    const { cluster, leader } = await clusterOf();
    const session = await cluster.finish(leader.raft.openResumableSession());
    const sequence = session.reserve();
    for (const other of THREE) if (other !== leader.id) cluster.net.cut(other, leader.id);
    const error = await cluster.failure(session.write(sequence, "x", { timeoutMs: 200 }));
    expect(error).toMatchObject({ outcome: "unknown" });
    expect(session.state.pending).toEqual([sequence]);
    cluster.net.heal();
    expect(await cluster.finish(session.write(sequence, "x"))).toBe(1);
    await cluster.advance(500);
    for (const { journal } of cluster.nodes.values()) expect(journal.texts).toEqual(["x"]);
  });

  it("never says not-done after an attempt that went unanswered, if the session ends meanwhile (K4)", async () => {
    const { cluster, leader } = await clusterOf();
    const session = await cluster.finish(leader.raft.openResumableSession());
    const sequence = session.reserve();
    for (const other of THREE) if (other !== leader.id) cluster.net.cut(other, leader.id);
    await cluster.failure(session.write(sequence, "x", { timeoutMs: 200 }));
    cluster.net.heal();
    await cluster.finish(session.close());
    expect(await cluster.failure(session.write(sequence, "x"))).toMatchObject({
      code: "SESSION_EXPIRED",
      outcome: "unknown",
    });
  });

  it("takes a rejection for an answer, and asks for its repetition no more", async () => {
    const { cluster, leader } = await clusterOf();
    const session = await cluster.finish(leader.raft.openResumableSession());
    const error = await cluster.failure(session.write(session.reserve(), "reject"));
    expect(error).toMatchObject({ code: "COMMAND_REJECTED", outcome: "done" });
    expect(session.state).toEqual({ id: session.id, nextSequence: 2, pending: [] });
  });

  it("refuses numbers that aren't reserved, or are being written, and never says not-done of one that was sent (K4)", async () => {
    const { cluster, leader } = await clusterOf();
    const session = await cluster.finish(leader.raft.openResumableSession());
    expect(await cluster.failure(session.write(1, "x"))).toMatchObject({ code: "INVALID_OPTION" });
    const sequence = session.reserve();
    const writing = session.write(sequence, "x");
    expect(await cluster.failure(session.write(sequence, "x"))).toMatchObject({
      message: expect.stringContaining("is being written") as string,
      outcome: "unknown",
    });
    expect(() => {
      session.release(sequence);
    }).toThrow("is being written");
    expect(await cluster.finish(writing)).toBe(1);
    // It took effect, so no error says "not done" of it.
    expect(await cluster.failure(session.write(sequence, "x"))).toMatchObject({
      code: "ANSWER_FORGOTTEN",
      outcome: "unknown",
    });
  });

  it("has room for as many numbers as the table keeps answers for, and for more after a release", async () => {
    const { cluster, leader } = await clusterOf();
    const session = await cluster.finish(leader.raft.openResumableSession());
    for (let n = 1; n <= SESSION_LIMITS.windowMax; n++) session.reserve();
    expect(() => session.reserve()).toThrow("write or release it");
    await cluster.finish(session.write(SESSION_LIMITS.windowMax, "last"));
    await cluster.finish(leader.raft.resumeSession(session.state));
    session.release(1);
    expect(session.reserve()).toBe(SESSION_LIMITS.windowMax + 1);
  });
});
