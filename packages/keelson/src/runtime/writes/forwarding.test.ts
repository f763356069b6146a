import { describe, expect, it } from "vitest";
import type { ForwardRequest } from "../../codec/frame-runtime-message.ts";
import type { Message } from "../../core/message.ts";
import type { NodeId } from "../../core/position.ts";
import type { TestNode } from "../test/test-cluster.ts";
import { forwardingGroup } from "../test/forwarding-group.ts";
import { Journal } from "../test/journal.ts";
import { TestCluster } from "../test/test-cluster.ts";

const THREE = ["a", "b", "c"];

/** Loses the next message of this type that the node sends. */
function loseOne(node: TestNode, type: string): void {
  let lost = 0;
  node.transport.loses = (_to, { message }) => message.type === type && lost++ === 0;
}

/** Drops the messages that this node sends and for which `drop` returns true. */
function filter(node: TestNode, drop: (to: NodeId, type: string) => boolean): void {
  node.transport.filter = (to, { message }) => !drop(to, (message as Message).type);
}

describe("a node that does not lead", () => {
  it("forwards a write, and resolves with the state machine's result and the entry's index", async () => {
    const { cluster, leader, other } = await forwardingGroup();
    await cluster.finish(leader.raft.write("x"));
    const written = await cluster.finish(other.raft.writeWithIndex("y"));
    expect(written).toEqual({ index: leader.journal.commands[1]?.at.index, result: 2 });
    expect([leader.raft.metrics().counters.writes, other.raft.metrics().counters.writes]).toEqual([2, 0]);
  });

  it("refuses calls at once with `forward: false` if it knows that another node leads", async () => {
    const { cluster, leader, other } = await forwardingGroup({ forward: false });
    const calls = [
      other.raft.write("x"),
      other.raft.openSession({ timeoutMs: 100 }),
      other.raft.beginSession(),
      other.raft.endSession(1),
      other.raft.addLearner("d", "d:1"),
      other.raft.changeMembership({ promote: ["a"] }),
      other.raft.transferLeadership(other.id),
    ];
    for (const call of calls) call.catch(() => undefined);
    await cluster.advance(101);
    for (const call of calls) {
      const error = await cluster.failure(call, 1);
      expect(error).toMatchObject({ code: "NOT_LEADER", outcome: "not-done", leader: { id: leader.id } });
      expect(error.message).toContain("forward: false");
    }
  });

  it("with `forward: false` waits while no leader is known, and refuses a call once another node leads", async () => {
    const { cluster, leader, other } = await forwardingGroup({ forward: false });
    await cluster.crash(leader.id);
    await cluster.until(() => other.raft.metrics().leader === null, "the leader to be missed");
    const writes = [...cluster.nodes.values()].map(({ raft }) => raft.write("x"));
    const results = await cluster.finish(Promise.allSettled(writes));
    const refused = results.filter(({ status }) => status === "rejected");
    // Only the node that was elected had its own write applied.
    expect(refused).toHaveLength(1);
    expect(refused[0]).toMatchObject({ reason: { code: "NOT_LEADER", outcome: "not-done" } });
    expect(refused[0]).not.toMatchObject({ reason: { leader: null } });
    expect((await cluster.leader()).journal.texts).toEqual(["x"]);
  });

  it("without methods for results refuses writes to another leader, and forwards what has no result", async () => {
    const codec = { ...new Journal().codec };
    Reflect.deleteProperty(codec, "encodeResult");
    const cluster = new TestCluster();
    for (const id of THREE) {
      const journal = new Journal();
      Reflect.set(journal, "codec", codec);
      await cluster.open(id, { journal });
    }
    await cluster.finish(cluster.raft("a").initialize(cluster.members(THREE)));
    const leader = await cluster.leader();
    await cluster.advance(200);
    const [other] = cluster.followers(leader);
    expect(await cluster.finish(leader.raft.write("x"))).toBe(1);
    const error = await cluster.failure(other!.raft.write("y"));
    expect(error).toMatchObject({ code: "NOT_LEADER", leader: { id: leader.id } });
    expect(error.message).toContain("stateMachine.codec has no encodeResult and decodeResult");
    await cluster.finish(other!.raft.changeMembership({ addresses: { [other!.id]: "elsewhere:1" } }));
  });

  it("refuses a command that is too large to be passed on as too large, though the leader takes it", async () => {
    const limits = { commandBytesMax: 4 * 2 ** 20, pendingBytesMax: 2 ** 25 };
    const { cluster, leader, other } = await forwardingGroup({ limits });
    const command = "x".repeat(2 ** 20 + 1);
    const error = await cluster.failure(other.raft.write(command));
    expect(error).toMatchObject({ code: "COMMAND_TOO_LARGE", outcome: "not-done", bytesMax: 2 ** 20 });
    expect(error.message).toBe(
      "the command has 1048577 bytes; the limit is 1048576 (for a command that is passed on to the leader; it can be written on the leader itself)",
    );
    expect(await cluster.finish(leader.raft.write(command))).toBe(1);
  });

  it("rejects with the state machine's own error text when it rejects the command", async () => {
    const { cluster, leader, other } = await forwardingGroup();
    const here = await cluster.failure(leader.raft.write("reject"));
    const there = await cluster.failure(other.raft.write("reject"));
    expect(there).toMatchObject({ code: "COMMAND_REJECTED", outcome: "done", message: here.message });
  });

  it("opens, uses and closes sessions on the leader", async () => {
    const { cluster, leader, other } = await forwardingGroup();
    const session = await cluster.finish(other.raft.openSession());
    for (const [at, text] of ["x", "y"].entries())
      expect(await cluster.finish(session.write(text))).toBe(at + 1);
    const again = { session: { id: session.id, sequence: 2, lowestUnanswered: 2 } };
    expect(await cluster.finish(other.raft.write("y", again))).toBe(2);
    const past = { session: { id: session.id, sequence: 1, lowestUnanswered: 1 } };
    expect(await cluster.failure(other.raft.write("x", past))).toMatchObject({
      code: "ANSWER_FORGOTTEN",
      outcome: "unknown",
    });
    await cluster.finish(session.close());
    expect(leader.raft.metrics().sessions.open).toBe(0);
    expect(await cluster.failure(session.write("z"))).toMatchObject({
      code: "SESSION_EXPIRED",
      outcome: "not-done",
      session: session.id,
    });
    expect(leader.journal.texts).toEqual(["x", "y"]);
  });

  it("continues a session at any node by its id and the next number, also after its first node has crashed", async () => {
    const { cluster, leader, other } = await forwardingGroup();
    const { id } = await cluster.finish(other.raft.beginSession());
    const third = [...cluster.nodes.values()].find((node) => node !== leader && node !== other);
    const at = (sequence: number) => ({ session: { id, sequence, lowestUnanswered: sequence } });
    expect(await cluster.finish(other.raft.write("x", at(1)))).toBe(1);
    expect(await cluster.finish(third!.raft.write("x", at(1)))).toBe(1);
    expect(await cluster.finish(third!.raft.write("y", at(2)))).toBe(2);
    await cluster.crash(other.id);
    expect(await cluster.finish(leader.raft.write("y", at(2)))).toBe(2);
    expect(await cluster.finish(third!.raft.write("z", at(3)))).toBe(3);
    expect(leader.journal.texts).toEqual(["x", "y", "z"]);
  });

  it("waits while there is no leader, then forwards to it", async () => {
    const { cluster, leader, other } = await forwardingGroup();
    await cluster.crash(leader.id);
    await cluster.until(() => other.raft.metrics().leader === null, "the leader to be missed");
    expect(await cluster.finish(other.raft.write("x"))).toBe(1);
  });

  it("runs the call itself when it becomes the leader", async () => {
    const { cluster, leader, other } = await forwardingGroup();
    cluster.net.cut(other.id, leader.id);
    other.transport.filter = (to) => to !== leader.id;
    await cluster.crash(leader.id);
    for (const { id } of cluster.followers(other))
      filter(cluster.node(id), (_to, type) => type === "request-vote");
    const write = other.raft.write("x");
    expect(await cluster.finish(write)).toBe(1);
    expect((await cluster.leader()).id).toBe(other.id);
  });

  it('ends a call as "not done" at its time limit when it was never sent (K4)', async () => {
    const { cluster, other } = await forwardingGroup();
    cluster.isolate(other.id);
    await cluster.until(() => other.raft.metrics().leader === null, "the leader to be missed");
    const error = await cluster.failure(other.raft.write("x", { timeoutMs: 500 }));
    expect(error).toMatchObject({ code: "NOT_LEADER", outcome: "not-done", leader: null });
  });

  it.each([
    ["its time limit, if that is nearer", 300, "ABORTED", 330],
    ["three silent election timeouts", 60_000, "OUTCOME_UNKNOWN", 2600],
  ])(
    'ends a write whose request is lost as "unknown" after %s (K4)',
    async (_name, timeoutMs, code, limitMs) => {
      const { cluster, leader, other } = await forwardingGroup();
      loseOne(other, "forward-request");
      const error = await cluster.failure(other.raft.write("x", { timeoutMs }), limitMs);
      expect(error).toMatchObject({ code, outcome: "unknown" });
      await cluster.advance(3000);
      expect(leader.journal.texts).toEqual([]);
    },
  );

  it.each([
    ["its time limit, if that is nearer", 300, "ABORTED", 330],
    ["three silent election timeouts", 60_000, "OUTCOME_UNKNOWN", 2600],
  ])(
    'ends a write whose reply is lost as "unknown" after %s (K4)',
    async (_name, timeoutMs, code, limitMs) => {
      const { cluster, leader, other } = await forwardingGroup();
      loseOne(leader, "forward-reply");
      const error = await cluster.failure(other.raft.write("x", { timeoutMs }), limitMs);
      expect(error).toMatchObject({ code, outcome: "unknown" });
      await cluster.advance(3000);
      expect(leader.journal.texts).toEqual(["x"]);
    },
  );

  it.each(["forward-request", "forward-reply"])(
    "repeats what can't have two effects when a %s is lost",
    async (type) => {
      const { cluster, leader, other } = await forwardingGroup();
      const lose = (): void => {
        loseOne(type === "forward-request" ? other : leader, type);
      };
      lose();
      const { id } = await cluster.finish(other.raft.beginSession());
      lose();
      const session = { id, sequence: 1, lowestUnanswered: 1 };
      expect(await cluster.finish(other.raft.write("x", { session }))).toBe(1);
      lose();
      await cluster.finish(other.raft.endSession(id));
      expect(leader.journal.texts).toEqual(["x"]);
      expect(await cluster.failure(leader.raft.write("y", { session }))).toMatchObject({
        code: "SESSION_EXPIRED",
      });
    },
  );

  it("doesn't say that the session has ended if it sent the command before the end, unanswered (Z6)", async () => {
    const { cluster, leader, other } = await forwardingGroup();
    const session = await cluster.finish(other.raft.openSession());
    loseOne(leader, "forward-reply");
    const write = other.raft.write("x", { session: { id: session.id, sequence: 1, lowestUnanswered: 1 } });
    write.catch(() => undefined);
    await cluster.advance(100);
    await cluster.finish(leader.raft.endSession(session.id));
    const error = await cluster.failure(write);
    expect(error).toMatchObject({ code: "OUTCOME_UNKNOWN", cause: { code: "SESSION_EXPIRED" } });
    expect(leader.journal.texts).toEqual(["x"]);
    // A session that knows of one attempt alone must not conclude that this one did nothing.
    const { id } = await cluster.finish(other.raft.openSession());
    expect(id).toBeGreaterThan(session.id);
  });

  it("a session's write whose answer was lost is unknown after the session's end, and not undone (Z6)", async () => {
    const { cluster, leader, other } = await forwardingGroup();
    const session = await cluster.finish(other.raft.openSession());
    loseOne(leader, "forward-reply");
    const write = session.write("x");
    write.catch(() => undefined);
    await cluster.advance(100);
    await cluster.finish(leader.raft.endSession(session.id));
    expect(await cluster.failure(write)).toMatchObject({ code: "SESSION_EXPIRED", outcome: "unknown" });
    expect(leader.journal.texts).toEqual(["x"]);
  });

  it("asks a busy leader again if an earlier attempt of the call went unanswered", async () => {
    const { cluster, leader, other } = await forwardingGroup({ limits: { pendingEntriesMax: 2 } });
    const { id } = await cluster.finish(other.raft.beginSession());
    loseOne(leader, "forward-reply");
    const write = other.raft.write("x", { session: { id, sequence: 1, lowestUnanswered: 1 } });
    await cluster.advance(100);
    const go = Promise.withResolvers<undefined>();
    leader.journal.beforeApply = () => go.promise;
    const blocking = ["y", "z"].map((text) => leader.raft.write(text));
    await cluster.advance(4000);
    // A call without such an attempt is refused.
    expect(await cluster.failure(other.raft.write("w"))).toMatchObject({ code: "OVERLOADED" });
    go.resolve(undefined);
    await cluster.finish(Promise.all(blocking));
    expect(await cluster.finish(write)).toBe(1);
    expect(leader.journal.texts).toEqual(["x", "y", "z"]);
  });

  it("makes many calls that waited for a leader in several turns (Z19)", async () => {
    const cluster = new TestCluster();
    let sent = 0;
    let sentMax = 0;
    for (const id of THREE) {
      const environment = cluster.world.environment(id);
      const { transport } = await cluster.open(id, {
        environment: {
          ...environment,
          defer: (callback) => {
            environment.defer(() => {
              sentMax = Math.max(sentMax, sent);
              sent = 0;
              callback();
            });
          },
        },
      });
      transport.filter = (_to, { message }) => {
        if (message.type === "forward-request") sent += 1;
        return true;
      };
    }
    const writes = THREE.flatMap((id) =>
      Array.from({ length: 500 }, (_, at) => cluster.raft(id).write(id + String(at))),
    );
    await cluster.finish(cluster.raft("a").initialize(cluster.members(THREE)));
    await cluster.finish(Promise.all(writes));
    expect(sentMax).toBeGreaterThan(100);
    expect(sentMax).toBeLessThanOrEqual(256);
  });

  it('ends a call as "unknown" soon after the asked leader is gone, without asking the next one (K4)', async () => {
    const { cluster, leader, other } = await forwardingGroup();
    filter(leader, (_to, type) => type === "forward-reply");
    const write = other.raft.write("x", { timeoutMs: 60_000 });
    await cluster.advance(20);
    await cluster.crash(leader.id);
    const error = await cluster.failure(write, 10_000);
    expect(error).toMatchObject({ code: "OUTCOME_UNKNOWN", outcome: "unknown" });
    const next = await cluster.leader();
    await cluster.finish(next.raft.write("y"));
    expect(next.journal.texts).toEqual(["x", "y"]);
  });

  it("applies a session's write once even if replies and leaders are lost (K1)", async () => {
    const { cluster, leader, other } = await forwardingGroup();
    const session = await cluster.finish(other.raft.openSession());
    filter(leader, (_to, type) => type === "forward-reply");
    const write = session.write("x", { timeoutMs: 20_000 });
    await cluster.advance(20);
    await cluster.crash(leader.id);
    expect(await cluster.finish(write)).toBe(1);
    expect((await cluster.leader()).journal.texts).toEqual(["x"]);
  });

  it('retries by itself when the asked node replied "not done"', async () => {
    const { cluster, leader, other } = await forwardingGroup();
    // It doesn't hear of the new leader for a while, and asks the old one, which replies "not done".
    const transfer = leader.raft.transferLeadership(THREE.find((id) => id !== leader.id && id !== other.id));
    const write = other.raft.write("x");
    await cluster.finish(transfer);
    expect(await cluster.finish(write)).toBe(1);
    expect((await cluster.leader(leader.id)).journal.texts).toEqual(["x"]);
  });

  it('retries with a new request number at the same node after it replied "not done"', async () => {
    const { cluster, leader, other } = await forwardingGroup();
    const third = THREE.find((id) => id !== leader.id && id !== other.id) ?? "";
    // During a leadership transfer, which takes long to an isolated node, the leader refuses writes.
    cluster.isolate(third);
    const transfer = cluster.failure(leader.raft.transferLeadership(third));
    const write = other.raft.write("x");
    await transfer;
    expect(await cluster.finish(write)).toBe(1);
    expect(leader.raft.metrics().role).toBe("leader");
  });

  it("retries when the request could not be sent", async () => {
    const { cluster, leader, other } = await forwardingGroup();
    let refused = 0;
    filter(other, (_to, type) => type === "forward-request" && ++refused < 3);
    expect(await cluster.finish(other.raft.write("x"))).toBe(1);
    expect([refused, leader.journal.texts]).toEqual([3, ["x"]]);
  });

  it("keeps waiting for the reply when it lost contact with the leader only for a while", async () => {
    const { cluster, leader, other } = await forwardingGroup();
    const go = Promise.withResolvers<undefined>();
    leader.journal.beforeApply = () => go.promise;
    const write = other.raft.write("x");
    await cluster.advance(50);
    cluster.net.cut(leader.id, other.id);
    await cluster.until(() => other.raft.metrics().leader === null, "the leader to be missed");
    cluster.net.heal();
    await cluster.until(() => other.raft.metrics().leader !== null, "the leader to be heard");
    expect(leader.raft.metrics().role).toBe("leader");
    await cluster.advance(3000);
    go.resolve(undefined);
    expect(await cluster.finish(write)).toBe(1);
  });

  it("keeps waiting for the reply while the leader says that the call is under way", async () => {
    const timings = { stateStallMs: 50_000 };
    const { cluster, leader, other } = await forwardingGroup({ timings });
    const go = Promise.withResolvers<undefined>();
    leader.journal.beforeApply = () => go.promise;
    // One report in two is lost.
    let reports = 0;
    leader.transport.loses = (_to, { message }) => message.type === "forward-progress" && ++reports % 2 === 1;
    const write = other.raft.write("x", { timeoutMs: 60_000 });
    await cluster.advance(20_000);
    go.resolve(undefined);
    expect(await cluster.finish(write, 1000)).toBe(1);
    expect(reports).toBeGreaterThan(20);
    // No report without a call.
    await cluster.advance(2000);
    const before = reports;
    await cluster.advance(5000);
    expect(reports).toBe(before);
  });

  it("ignores replies from other nodes, and replies to its former process", async () => {
    const { cluster, leader, other } = await forwardingGroup();
    const third = cluster.node(THREE.find((id) => id !== leader.id && id !== other.id) ?? "");
    const asked: ForwardRequest[] = [];
    other.transport.filter = (_to, { message }) => {
      if (message.type === "forward-request") asked.push(message);
      return true;
    };
    filter(leader, (_to, type) => type === "forward-reply");
    const write = cluster.finish(other.raft.write("x", { timeoutMs: 300 }));
    write.catch(() => undefined);
    const { incarnation, id } = asked[0] ?? { incarnation: 0, id: 0 };
    const lie = {
      type: "forward-reply",
      incarnation,
      id,
      answer: { type: "done", index: 9 },
      payload: new TextEncoder().encode("9"),
    } as const;
    third.transport.send(other.id, { message: { ...lie, from: third.id }, records: [] });
    leader.transport.filter = null;
    leader.transport.send(other.id, { message: { ...lie, from: leader.id, incarnation: 1 }, records: [] });
    filter(leader, (_to, type) => type === "forward-reply");
    await expect(write).rejects.toMatchObject({ code: "ABORTED", outcome: "unknown" });
  });

  it("stops counting a call, and its bytes, when it has ended", async () => {
    const { cluster, other } = await forwardingGroup({
      limits: { commandBytesMax: 1000, pendingBytesMax: 1100 },
    });
    for (let at = 0; at < 5; at++) await cluster.finish(other.raft.write("x".repeat(900)));
    await cluster.finish(Promise.all([other.raft.write("y"), other.raft.write("z")]));
    expect(other.raft.metrics()).toMatchObject({ forwardedCalls: 0, forwardedBytes: 0 });
    const two = [other.raft.write("x".repeat(900)), other.raft.write("x".repeat(900))];
    expect(other.raft.metrics().forwardedCalls).toBe(1);
    expect(other.raft.metrics().forwardedBytes).toBeGreaterThanOrEqual(900);
    const [first, second] = await cluster.finish(Promise.allSettled(two));
    expect(first?.status).toBe("fulfilled");
    expect(second).toMatchObject({ reason: { code: "OVERLOADED", outcome: "not-done" } });
  });

  it("ends pending calls when it closes (K3)", async () => {
    const { cluster, leader, other } = await forwardingGroup();
    cluster.net.cut(leader.id, other.id);
    const sent = cluster.failure(other.raft.write("x"), 100);
    void other.raft.close();
    expect(await sent).toMatchObject({ code: "CLOSED", outcome: "unknown" });
  });

  it("counts calls that wait for a leader towards the limits on entries and bytes", async () => {
    const limits = { pendingEntriesMax: 3, commandBytesMax: 1000, pendingBytesMax: 1100 };
    for (const forward of [true, false]) {
      const cluster = new TestCluster(1, { limits, forward });
      const { raft } = await cluster.open("a");
      raft.write("x".repeat(900), { timeoutMs: 300 }).catch(() => undefined);
      const overloaded = { code: "OVERLOADED", outcome: "not-done" };
      expect(await cluster.failure(raft.write("x".repeat(900)))).toMatchObject(overloaded);
      for (let at = 0; at < 2; at++) raft.endSession(1, { timeoutMs: 300 }).catch(() => undefined);
      expect(await cluster.failure(raft.write("y"))).toMatchObject(overloaded);
      expect(raft.metrics()).toMatchObject({ forwardedCalls: 3 });
      await cluster.advance(400);
      expect(raft.metrics()).toMatchObject({ forwardedCalls: 0, forwardedBytes: 0 });
    }
  });

  it("applies the limits on pending entries and bytes to forwarded calls", async () => {
    const { cluster, leader, other } = await forwardingGroup({ limits: { pendingEntriesMax: 2 } });
    cluster.net.cut(other.id, leader.id);
    for (const text of ["x", "y"]) other.raft.write(text, { timeoutMs: 300 }).catch(() => undefined);
    expect(await cluster.failure(other.raft.write("z"))).toMatchObject({
      code: "OVERLOADED",
      outcome: "not-done",
    });
    cluster.net.heal();
    await cluster.advance(400);
    expect(await cluster.finish(other.raft.write("z"))).toBeGreaterThan(0);
  });

  it("names the codec's missing methods when results can't be forwarded", async () => {
    const cluster = new TestCluster();
    const { journal } = await cluster.open("a");
    Reflect.deleteProperty(journal.codec, "decodeResult");
    const error = await cluster.failure(cluster.startOpening("b", { forward: true, journal }));
    expect(error).toMatchObject({ code: "INVALID_OPTION" });
    expect(error.message).toContain("encodeResult and decodeResult");
  });
});
