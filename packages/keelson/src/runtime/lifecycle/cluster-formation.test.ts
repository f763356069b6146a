import { describe, expect, it } from "vitest";
import { FakeDisk } from "../test/fake-log.ts";
import { TestCluster, type TestNode } from "../test/test-cluster.ts";

const THREE = ["a", "b", "c"];
const MEMBERS = { a: "a:1", b: "b:1", c: "c:1" };
/** Milliseconds, enough for several elections and for the leader to note the store ids. */
const LONG_MS = 10_000;

function openWithMembers(cluster: TestCluster, id: string, members: Record<string, string> = MEMBERS) {
  return cluster.open(id, { members });
}

async function formed(): Promise<TestCluster> {
  const cluster = new TestCluster();
  for (const id of THREE) await openWithMembers(cluster, id);
  await cluster.leader();
  return cluster;
}

/** Crashes the node, and gives it an empty disk. */
async function loseDisk(cluster: TestCluster, id: string): Promise<void> {
  await cluster.crash(id);
  cluster.disks.set(id, new FakeDisk(`another-store-${id}`));
}

function votersOf({ raft }: TestNode): readonly string[] {
  return raft.metrics().config.voters;
}

describe("the option members", () => {
  it("creates one cluster on nodes that all have it, without a further call", async () => {
    const cluster = await formed();
    const leader = await cluster.leader();
    expect(await cluster.finish(leader.raft.write("x"))).toBe(1);
    await cluster.until(() => THREE.every((id) => cluster.raft(id).initialized), "all to be members");
    expect(new Set([...cluster.disks.values()].map(({ clusterId }) => clusterId)).size).toBe(1);
  });

  it("creates a cluster of one node at once", async () => {
    const cluster = new TestCluster();
    const { raft } = await openWithMembers(cluster, "a", { a: "a:1" });
    await cluster.leader();
    expect(await cluster.finish(raft.write("x"))).toBe(1);
  });

  it("creates nothing before all of the first members were up, and says for whom it waits", async () => {
    const cluster = new TestCluster();
    await openWithMembers(cluster, "a");
    await openWithMembers(cluster, "b");
    await cluster.advance(LONG_MS);
    expect(THREE.slice(0, 2).map((id) => cluster.raft(id).metrics().lastIndex)).toEqual([0, 0]);
    expect(cluster.messages).toContainEqual(
      "info a: this node has an empty log, and creates its cluster once all of the first members agree: " +
        "c at c:1 doesn't answer",
    );
    const error = await cluster.failure(cluster.raft("a").write("x", { timeoutMs: 100 }));
    expect(error.message).toBe(
      "no leader is known at the moment: the cluster isn't created yet: c at c:1 doesn't answer",
    );
    const reading = cluster.raft("b").read(() => 1, { timeoutMs: 100 });
    expect((await cluster.failure(reading)).message).toBe(error.message);
    await openWithMembers(cluster, "c");
    await cluster.leader();
  });

  it("creates the cluster although a node crashes and comes back while it is created", async () => {
    for (const stepMs of [1, 50, 150, 400, 900]) {
      const cluster = new TestCluster(stepMs);
      for (const id of THREE) await openWithMembers(cluster, id);
      for (const id of ["a", "b", "c", "a"]) {
        await cluster.advance(stepMs);
        await cluster.crash(id);
        await cluster.advance(stepMs);
        await openWithMembers(cluster, id);
      }
      const leader = await cluster.leader();
      await cluster.finish(leader.raft.write("x"));
      expect(votersOf(leader)).toEqual(THREE);
    }
  });

  it("asks again after its transport failed to ask", async () => {
    const cluster = new TestCluster();
    const transport = cluster.net.transport("a:1");
    const { inquireAt } = transport;
    let failures = 0;
    transport.inquireAt = (...question) => {
      if (failures++ > 2) return inquireAt.apply(transport, question);
      throw new Error("the transport is broken");
    };
    await cluster.open("a", { members: MEMBERS, transport });
    await cluster.open("b");
    await cluster.open("c");
    await cluster.leader();
    expect(failures).toBeGreaterThan(3);
  });

  it("lets a node without it take part", async () => {
    const cluster = new TestCluster();
    await openWithMembers(cluster, "a");
    await cluster.open("b");
    await cluster.open("c");
    const leader = await cluster.leader();
    await cluster.finish(leader.raft.write("x"));
    await cluster.until(() => cluster.raft("c").initialized, "c to be a member");
  });

  it("creates nothing on nodes with different lists, and leaves no trace of a mistyped one", async () => {
    const cluster = new TestCluster();
    await openWithMembers(cluster, "a", { ...MEMBERS, b: "b:1", c: "mistyped:1" });
    await openWithMembers(cluster, "b");
    await openWithMembers(cluster, "c");
    await cluster.advance(LONG_MS);
    expect([...cluster.disks.values()].map(({ clusterId }) => clusterId)).toEqual([null, null, null]);
    expect(cluster.messages.join("\n")).toContain(
      "a at a:1 refuses: it was opened with other `members` or another `clusterId`",
    );
    await cluster.crash("a");
    await openWithMembers(cluster, "a");
    await cluster.leader();
  });

  it("is ignored after a restart, without a warning if the members are those of the beginning or of today", async () => {
    const cluster = await formed();
    const leader = await cluster.leader();
    await cluster.open("d");
    await cluster.finish(leader.raft.changeMembership({ add: { d: "d:1" } }));
    await cluster.advance(LONG_MS);
    for (const members of [MEMBERS, { ...MEMBERS, d: "d:1" }]) {
      await cluster.crash("b");
      await openWithMembers(cluster, "b", members);
      await cluster.advance(LONG_MS);
    }
    expect(cluster.messages.join("\n")).not.toContain("has no effect");
    await cluster.crash("b");
    await openWithMembers(cluster, "b", { ...MEMBERS, b: "b:2" });
    expect(cluster.messages).toContainEqual(
      "warn b: the option members (a=a:1, b=b:2, c=c:1) has no effect: this node is in a cluster already, of a=a:1, " +
        "b=b:1, c=c:1, d=d:1. Members and their addresses are changed by changeMembership",
    );
    expect(votersOf(cluster.node("b"))).toEqual([...THREE, "d"]);
  });

  it("lets a cluster that runs take in a node whose list names it", async () => {
    const cluster = await formed();
    const leader = await cluster.leader();
    await openWithMembers(cluster, "d", { ...MEMBERS, d: "d:1" });
    await cluster.advance(LONG_MS);
    expect(cluster.raft("d").metrics()).toMatchObject({ lastIndex: 0, clusterId: null });
    await cluster.finish(leader.raft.changeMembership({ add: { d: "d:1" } }));
    await cluster.until(() => votersOf(cluster.node("d")).includes("d"), "d to be a voter");
  });

  it.each([
    [{ b: "b:1" }, "they should include this node, a"],
    [{ a: "0.0.0.0:7001" }, "which other nodes can't dial"],
    [{ a: "[::]:7001" }, "which other nodes can't dial"],
    [{ a: "a:1", b: "b:0" }, "which other nodes can't dial"],
    [{ a: "a:1", b: "a:1" }, "have the same address"],
    [{ a: "" }, "it should look like"],
  ])("is refused if it is %j", async (members, reason) => {
    const cluster = new TestCluster();
    const error = await cluster.failure(cluster.startOpening("a", { members }));
    expect(error.code).toBe("INVALID_OPTION");
    expect(error.message).toContain(reason);
  });

  it("is refused with a transport that can't ask the other members", async () => {
    const cluster = new TestCluster();
    const transport = Object.assign(cluster.net.transport("a:1"), { inquireAt: undefined });
    const error = await cluster.failure(cluster.startOpening("a", { members: MEMBERS, transport }));
    expect(error.message).toContain("members needs a transport that has inquireAt");
  });
});

describe("members that lost their disks and are opened as before", () => {
  it("don't form a cluster without those that have a log, even as a majority [M11]", async () => {
    const cluster = await formed();
    const leader = await cluster.leader();
    await cluster.finish(leader.raft.write("acknowledged"));
    await cluster.advance(LONG_MS);
    const [one, other] = cluster.followers(leader).map(({ id }) => id);
    for (const id of [one!, other!]) await loseDisk(cluster, id);
    for (const id of [one!, other!]) await openWithMembers(cluster, id);
    await cluster.advance(LONG_MS);
    for (const id of [one!, other!]) {
      expect(cluster.raft(id).metrics()).toMatchObject({ role: "follower", term: 0, lastIndex: 0 });
      expect(cluster.messages.join("\n")).toMatch(new RegExp(`warn ${id}: .* comes with a disk`));
    }
    expect(leader.journal.texts).toEqual(["acknowledged"]);
  });

  it("don't form a cluster while those that have a log are down or cut off [M11]", async () => {
    const cluster = await formed();
    const leader = await cluster.leader();
    await cluster.finish(leader.raft.write("acknowledged"));
    await cluster.advance(LONG_MS);
    const [one, other] = cluster.followers(leader).map(({ id }) => id);
    await cluster.crash(leader.id);
    for (const id of [one!, other!]) await loseDisk(cluster, id);
    for (const id of [one!, other!]) await openWithMembers(cluster, id);
    await cluster.advance(LONG_MS);
    for (const id of [one!, other!]) {
      expect(cluster.raft(id).metrics()).toMatchObject({ role: "follower", term: 0, lastIndex: 0 });
    }
    const { records } = cluster.disks.get(leader.id)!;
    await openWithMembers(cluster, leader.id);
    await cluster.advance(LONG_MS);
    expect(cluster.currentLeader()).toBeUndefined();
    expect(cluster.raft(one!).metrics().lastIndex).toBe(0);
    expect(cluster.disks.get(leader.id)!.records).toEqual(records);
  });

  it("don't begin the log anew before the leader has noted their store ids [M11]", async () => {
    const cluster = await formed();
    const leader = await cluster.leader();
    await cluster.finish(leader.raft.write("acknowledged"));
    const ids = cluster.followers(leader).map(({ id }) => id);
    await cluster.crash(leader.id);
    for (const id of ids) await loseDisk(cluster, id);
    for (const id of ids) await openWithMembers(cluster, id);
    await openWithMembers(cluster, leader.id);
    const next = await cluster.leader();
    await cluster.finish(next.raft.write("later"));
    expect(next.journal.texts).toEqual(["acknowledged", "later"]);
  });

  it("don't begin the log anew with the vote of a member that has no entry yet [M11]", async () => {
    const cluster = new TestCluster();
    // c has a vote, doesn't stand for election itself, and gets no entry of the leader.
    for (const id of THREE) await openWithMembers(cluster, id);
    cluster.node("c").transport.filter = (_, { message }) => message.type !== "pre-vote";
    for (const id of ["a", "b"]) {
      cluster.node(id).transport.filter = (to, { message }) =>
        to !== "c" || message.type !== "append-entries";
    }
    const leader = await cluster.leader();
    await cluster.finish(leader.raft.write("acknowledged"));
    await cluster.until(() => cluster.raft("c").metrics().term > 1, "c to have voted");
    for (const id of ["a", "b"]) await loseDisk(cluster, id);
    for (const id of ["a", "b"]) await openWithMembers(cluster, id);
    await cluster.advance(LONG_MS);
    expect(cluster.currentLeader()).toBeUndefined();
    expect(THREE.map((id) => cluster.raft(id).metrics().lastIndex)).toEqual([0, 0, expect.any(Number)]);
    expect(cluster.raft("c").metrics().lastIndex).toBeLessThan(2);
  });

  it("begin anew if all disks are lost: nobody is left to object", async () => {
    const cluster = await formed();
    await cluster.advance(LONG_MS);
    for (const id of THREE) await loseDisk(cluster, id);
    for (const id of THREE) await openWithMembers(cluster, id);
    await cluster.leader();
  });
});
