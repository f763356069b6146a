import { describe, expect, it } from "vitest";
import type { ForwardedCall, ForwardRequest, RuntimeMessage } from "../../codec/frame-runtime-message.ts";
import { FrameReader } from "../../codec/frame-reader.ts";
import { encodeMessage } from "../../codec/frame.ts";
import type { Raft } from "../raft.ts";
import { TestCluster, type TestNode } from "../test/test-cluster.ts";

const THREE = ["a", "b", "c"];

/** A cluster, its leader, and two nodes that don't lead. */
async function group(): Promise<{
  cluster: TestCluster;
  leader: TestNode;
  other: TestNode;
  third: TestNode;
}> {
  const cluster = await TestCluster.of(THREE);
  const leader = await cluster.leader();
  await cluster.advance(200);
  const [other, third] = cluster.followers(leader);
  if (other === undefined || third === undefined) throw new Error("no followers");
  return { cluster, leader, other, third };
}

/** Loses the next message of this type that the node sends. */
function loseOne(node: TestNode, type: string): void {
  let lost = 0;
  node.transport.loses = (_to, { message }) => message.type === type && lost++ === 0;
}

describe("a call about members on a node that does not lead", () => {
  it("adds learners and changes members at the leader", async () => {
    const { cluster, leader, other, third } = await group();
    for (const id of ["d", "e"]) await cluster.open(id);
    await cluster.finish(other.raft.addLearner("d", "d:1"));
    expect(leader.raft.metrics().config.learners).toEqual(["d"]);
    const change = {
      promote: ["d"],
      add: { e: "e:1" },
      remove: [third.id],
      addresses: { [other.id]: "z:1" },
    };
    await cluster.finish(other.raft.changeMembership(change));
    const { config, members } = leader.raft.metrics();
    expect(config.voters).toEqual([leader.id, other.id, "d", "e"].sort());
    expect(members.find(({ id }) => id === other.id)?.address).toBe("z:1");
  });

  it("transfers leadership, also to the node itself, and names the next leader", async () => {
    const { cluster, other, third } = await group();
    expect(await cluster.finish(other.raft.transferLeadership(other.id))).toBe(other.id);
    expect((await cluster.leader()).id).toBe(other.id);
    await cluster.advance(200);
    const next = await cluster.finish(third.raft.transferLeadership());
    expect(next).not.toBe(other.id);
    expect((await cluster.leader(other.id)).id).toBe(next);
  });

  it.each<[string, (raft: Raft<string, number>, leader: string) => Promise<unknown>, string]>([
    ["an unknown member", (raft) => raft.changeMembership({ remove: ["z"] }), "INVALID_OPTION"],
    ["an id that can't be", (raft) => raft.changeMembership({ demote: ["no id"] }), "INVALID_OPTION"],
    ["an address that can't be", (raft) => raft.addLearner("d", "no address"), "INVALID_OPTION"],
    ["an id named twice", (raft) => raft.changeMembership({ remove: ["a", "a"] }), "INVALID_OPTION"],
    [
      "an address that another one hides",
      (raft) => raft.changeMembership({ add: { d: "é".repeat(261) }, addresses: { d: "d:1" } }),
      "INVALID_OPTION",
    ],
    ["too many ids", (raft) => raft.changeMembership({ promote: ids(257) }), "INVALID_OPTION"],
    ["a transfer to no voter", (raft) => raft.transferLeadership("z"), "INVALID_OPTION"],
    ["a transfer to the leader", (raft, leader) => raft.transferLeadership(leader), "INVALID_OPTION"],
  ])("is refused for %s with the leader's own kind of error", async (_name, call, code) => {
    const { cluster, leader, other } = await group();
    const { lastIndex } = leader.raft.metrics();
    const sent: RuntimeMessage[] = [];
    other.transport.filter = (_to, { message }) => {
      if (message.type === "forward-request") sent.push(message);
      return true;
    };
    expect(await cluster.failure(call(other.raft, leader.id))).toMatchObject({ code, outcome: "not-done" });
    expect(leader.raft.metrics().lastIndex).toBe(lastIndex);
    // What has no encoding, or would be refused with its connection, must not get as far as the transport.
    for (const message of sent) {
      const reader = new FrameReader();
      for (const chunk of encodeMessage(message, []).chunks) reader.feed(chunk);
      expect(reader.next()).toMatchObject({ message });
    }
  });

  it("is refused by the leader, which goes on, for what a faulty node asks it", async () => {
    const { cluster, leader, other } = await group();
    const change = { add: {}, remove: [], promote: [], demote: [], addresses: {} };
    const calls: ForwardedCall[] = [
      { type: "change-membership", change: { ...change, add: { d: "" }, addresses: { d: "d:1" } } },
      { type: "change-membership", change: { ...change, add: { d: "no address" } } },
      { type: "change-membership", change: { ...change, remove: THREE } },
      {
        type: "change-membership",
        change: { ...change, add: Object.fromEntries(ids(256).map((id) => [id, `${id}:1`])) },
      },
      { type: "add-learner", id: "d", address: "" },
      { type: "transfer-leadership", to: "z" },
    ];
    const codes: string[] = [];
    leader.transport.filter = (_to, { message }) => {
      if (message.type === "forward-reply" && message.answer.type === "error")
        codes.push(message.answer.code);
      return true;
    };
    const { term, lastIndex } = leader.raft.metrics();
    for (const [at, call] of calls.entries()) {
      const numbers = { from: other.id, incarnation: 7, id: at + 1, term, waitMs: 500 };
      const message = { type: "forward-request" as const, ...numbers, call, payload: new Uint8Array(0) };
      other.transport.send(leader.id, { message, records: [] });
    }
    await cluster.advance(100);
    expect(codes).toEqual(calls.map(() => "INVALID_OPTION"));
    expect(leader.raft.metrics()).toMatchObject({ role: "leader", term, lastIndex });
  });

  it("waits while there is no leader", async () => {
    const { cluster, leader, other } = await group();
    await cluster.crash(leader.id);
    await cluster.until(() => other.raft.metrics().leader === null, "the leader to be missed");
    await cluster.finish(other.raft.changeMembership({ demote: [leader.id] }));
    expect((await cluster.leader()).raft.metrics().config.learners).toEqual([leader.id]);
  });

  it.each(["forward-request", "forward-reply"])(
    "does not repeat a change in the same term if its %s is lost",
    async (type) => {
      const { cluster, leader, other, third } = await group();
      loseOne(type === "forward-request" ? other : leader, type);
      const error = await cluster.failure(other.raft.changeMembership({ remove: [third.id] }), 3000);
      expect(error).toMatchObject({ code: "OUTCOME_UNKNOWN", outcome: "unknown" });
      // The request may arrive late: then it must be the only one.
      const removed = leader.raft.metrics().config.voters.length === 2;
      expect(removed).toBe(type === "forward-reply");
      await cluster.finish(leader.raft.changeMembership({ remove: [third.id] }));
    },
  );

  it("repeats a change whose leader was lost in the middle, at the next leader", async () => {
    const { cluster, leader, other, third } = await group();
    const change = other.raft.addLearner("d", "d:1");
    change.catch(() => undefined);
    await cluster.until(() => other.raft.metrics().config.learners.includes("d"), "the learner");
    await cluster.crash(leader.id);
    await cluster.open("d");
    await cluster.finish(change);
    const next = await cluster.leader();
    expect([other.id, third.id]).toContain(next.id);
    expect(next.raft.metrics().config.learners).toEqual(["d"]);
  });

  it.each(["forward-request", "forward-reply"])(
    "does not repeat a transfer whose %s is lost",
    async (type) => {
      const { cluster, leader, other, third } = await group();
      loseOne(type === "forward-request" ? other : leader, type);
      const error = await cluster.failure(other.raft.transferLeadership(third.id), 5000);
      expect(error).toMatchObject({ code: "OUTCOME_UNKNOWN", outcome: "unknown" });
      const expected = type === "forward-request" ? leader : third;
      expect((await cluster.leader()).id).toBe(expected.id);
    },
  );

  it("lasts as long as a new member takes to catch up, while the leader says that it is under way", async () => {
    const { cluster, leader, other } = await group();
    const change = other.raft.changeMembership({ add: { d: "d:1" } });
    change.catch(() => undefined);
    await cluster.advance(100_000);
    expect(leader.raft.metrics().config.learners).toEqual(["d"]);
    await cluster.open("d");
    await cluster.finish(change);
    expect(leader.raft.metrics().config.voters).toContain("d");
  });

  it("begins no further step on a node that leads by now after its caller has aborted", async () => {
    const cluster = new TestCluster();
    const { raft } = await cluster.open("a");
    const abort = new AbortController();
    const change = raft.changeMembership({ add: { d: "d:1" } }, { signal: abort.signal });
    change.catch(() => undefined);
    await cluster.finish(raft.initialize({ a: "a:1" }));
    await cluster.until(() => raft.metrics().config.learners.includes("d"), "the learner");
    abort.abort();
    expect(await cluster.failure(change)).toMatchObject({ code: "ABORTED", outcome: "unknown" });
    await cluster.open("d");
    await cluster.advance(5000);
    expect(raft.metrics().config).toMatchObject({ voters: ["a"], learners: ["d"] });
  });

  it("ends at its time limit as unknown once the leader was asked", async () => {
    const { cluster, leader, other } = await group();
    const error = await cluster.failure(other.raft.addLearner("d", "d:1", { timeoutMs: 5000 }), 5100);
    expect(error).toMatchObject({ code: "ABORTED", outcome: "unknown" });
    expect(error.message).toContain("the change may still take effect");
    expect(leader.raft.metrics().config.learners).toEqual(["d"]);
  });
});

describe("a leader", () => {
  it("runs a limited number of other nodes' calls about members at once, whatever they ask for", async () => {
    const { cluster, leader, other } = await group();
    const codes: string[] = [];
    leader.transport.filter = (_to, { message }) => {
      if (message.type === "forward-reply" && message.answer.type === "error")
        codes.push(message.answer.code);
      return true;
    };
    const request: Omit<ForwardRequest, "id"> = {
      type: "forward-request",
      ...{ from: other.id, incarnation: 7, term: leader.raft.metrics().term, waitMs: 2 ** 32 - 1 },
      call: { type: "add-learner", id: "d", address: "d:1" },
      payload: new Uint8Array(0),
    };
    for (let id = 1; id <= 200; id++) {
      other.transport.send(leader.id, { message: { ...request, id }, records: [] });
    }
    await cluster.advance(1000);
    expect(codes.filter((code) => code === "OVERLOADED")).toHaveLength(200 - 64);
    // They end with their time, and the leader takes others.
    await cluster.open("d");
    await cluster.advance(1000);
    await cluster.finish(other.raft.addLearner("d", "d:1"));
  });
});

function ids(count: number): string[] {
  return Array.from({ length: count }, (_, at) => `n${String(at)}`);
}
