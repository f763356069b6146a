import { describe, expect, it } from "vitest";
import { TestCluster } from "../test/test-cluster.ts";

const THREE = ["a", "b", "c"];

async function blank(ids = THREE): Promise<TestCluster> {
  const cluster = new TestCluster();
  for (const id of ids) await cluster.open(id);
  return cluster;
}

describe("initialize", () => {
  it("on all nodes at once creates one cluster, with the same first entry, byte for byte", async () => {
    const cluster = await blank();
    expect(cluster.raft("a").initialized).toBe(false);
    await cluster.finish(Promise.all(THREE.map((id) => cluster.raft(id).initialize(cluster.members()))));
    expect(cluster.raft("a").initialized).toBe(true);
    const disks = [...cluster.disks.values()];
    expect(new Set(disks.map(({ clusterId }) => clusterId)).size).toBe(1);
    expect(disks[0]?.clusterId).toMatch(/^[0-9a-f]{32}$/);
    expect(new Set(disks.map(({ records }) => records.map(String).join())).size).toBe(1);
    const leader = await cluster.leader();
    expect(await cluster.finish(leader.raft.write("x"))).toBe(1);
  });

  it("on one node alone is enough: the others join when it reaches them", async () => {
    const cluster = await blank();
    await cluster.finish(cluster.raft("b").initialize(cluster.members()));
    const leader = await cluster.leader();
    await cluster.finish(leader.raft.write("x"));
    await cluster.until(
      () => [...cluster.nodes.values()].every(({ journal }) => journal.texts.length === 1),
      "all to apply",
    );
    for (const { raft } of cluster.nodes.values()) {
      expect(raft.initialized).toBe(true);
      expect(raft.metrics().members.map(({ address }) => address)).toEqual(["a:1", "b:1", "c:1"]);
    }
  });

  it("resolves when the first entry is durable, not before", async () => {
    const cluster = await blank(["a"]);
    const { raft, log } = cluster.node("a");
    let isDone = false;
    const initialized = raft.initialize({ a: "a:1" }).then(() => {
      isDone = true;
    });
    await cluster.until(() => log.disk.clusterId !== null, "the cluster's name to be durable");
    log.holdsWrites = true;
    await cluster.advance(1000);
    expect([isDone, log.disk.records.length]).toEqual([false, 0]);
    log.releaseWrites();
    await cluster.finish(initialized);
    expect(log.disk.records.length).toBeGreaterThan(0);
  });

  it("binds the log to the cluster before it writes the first entry", async () => {
    const cluster = await blank(["a"]);
    const { raft, log } = cluster.node("a");
    log.holdsWrites = true;
    const initialized = raft.initialize({ a: "a:1" });
    await cluster.advance(1000);
    expect(log.writes).toEqual([]);
    expect(raft.metrics().clusterId).toBeNull();
    log.releaseWrites();
    await cluster.finish(initialized);
  });

  it("changes nothing when it is repeated with the same members: at once, later, or after a restart", async () => {
    const cluster = await blank(["a"]);
    const members = { a: "a:1" };
    const { raft } = cluster.node("a");
    await cluster.finish(Promise.all([raft.initialize(members), raft.initialize(members)]));
    await cluster.leader();
    await cluster.finish(raft.initialize(members));
    await cluster.crash("a");
    await cluster.open("a");
    await cluster.finish(cluster.raft("a").initialize(members));
    await cluster.leader();
    expect(cluster.raft("a").metrics().config.voters).toEqual(["a"]);
    expect(cluster.disks.get("a")?.records.filter((record) => record[24] === 3)).toHaveLength(1);
  });

  it("resolves when the node has joined the same cluster meanwhile", async () => {
    const cluster = await blank();
    await cluster.finish(cluster.raft("a").initialize(cluster.members()));
    await cluster.leader();
    await cluster.until(() => cluster.raft("c").initialized, "c to join");
    await cluster.finish(cluster.raft("c").initialize(cluster.members()));
  });

  it("can be repeated after a crash between its two writes", async () => {
    const cluster = await blank(["a"]);
    const { raft, log } = cluster.node("a");
    void raft.initialize({ a: "a:1" });
    await cluster.until(() => log.disk.clusterId !== null, "the first write");
    await cluster.crash("a");
    expect(cluster.disks.get("a")?.records).toEqual([]);
    await cluster.open("a");
    await cluster.finish(cluster.raft("a").initialize({ a: "a:1" }));
    expect(await cluster.finish((await cluster.leader()).raft.write("x"))).toBe(1);
  });

  it("is refused with other members or other addresses", async () => {
    const cluster = await blank();
    const { raft } = cluster.node("a");
    await cluster.finish(raft.initialize({ a: "a:1", b: "b:1" }));
    for (const other of [{ a: "a:1" }, { a: "a:1", b: "b:2" }, { a: "a:1", b: "b:1", c: "c:1" }]) {
      const error = await cluster.failure(raft.initialize(other));
      expect(error).toMatchObject({ code: "ALREADY_INITIALIZED", outcome: "not-done" });
      expect(error.message).toContain("a, b");
    }
  });

  it("is refused with other members on a node that was reached by another cluster", async () => {
    const cluster = await blank();
    await cluster.finish(cluster.raft("a").initialize(cluster.members()));
    await cluster.until(() => cluster.raft("b").metrics().clusterId !== null, "b to be claimed");
    const error = await cluster.failure(cluster.raft("b").initialize({ b: "b:1" }));
    expect(error).toMatchObject({ code: "ALREADY_INITIALIZED" });
  });

  it("makes the cluster's id from the option `clusterId` and the members", async () => {
    const ids = [];
    for (const address of ["a:1", "a:2"]) {
      const cluster = new TestCluster();
      const { raft } = await cluster.open("a", { clusterId: "orders" });
      await cluster.finish(raft.initialize({ a: address }));
      ids.push(raft.metrics().clusterId);
    }
    expect(ids[0]).toMatch(/^orders\/[0-9a-f]{32}$/);
    expect(ids[1]).toMatch(/^orders\/[0-9a-f]{32}$/);
    expect(ids[0]).not.toBe(ids[1]);
  });

  it.each([
    ["orders", true],
    ["order", false],
    ["users", false],
  ])("under the name orders can be opened again as %s: %s", async (clusterId, isFine) => {
    const cluster = new TestCluster();
    const { raft } = await cluster.open("a", { clusterId: "orders" });
    await cluster.finish(raft.initialize({ a: "a:1" }));
    await cluster.finish(raft.close());
    const code = await cluster.open("a", { clusterId }).then(
      () => "opened",
      (error: unknown) => (error as { code: string }).code,
    );
    expect(code).toBe(isFine ? "opened" : "WRONG_IDENTITY");
  });

  it.each([
    ["no members", {}, "should include this node"],
    ["other nodes only", { b: "b:1" }, "should include this node, a"],
    ["an id with a space", { a: "a:1", "b c": "b:1" }, "a member's id"],
    ["an empty address", { a: "" }, "the address of member a"],
    ["an address with a space", { a: "a :1" }, "the address of member a"],
    ["one address for two members", { a: "a:1", b: "a:1" }, "same address"],
    [
      "too many",
      {
        a: "a:1",
        ...Object.fromEntries(Array.from({ length: 31 }, (_, n) => [`m${String(n)}`, `h${String(n)}:1`])),
      },
      "at most 31",
    ],
  ])("is refused with %s", async (_what, members, message) => {
    const cluster = await blank(["a"]);
    const error = await cluster.failure(cluster.raft("a").initialize(members));
    expect(error).toMatchObject({ code: "INVALID_OPTION", outcome: "not-done" });
    expect(error.message).toContain(message);
    expect(cluster.disks.get("a")?.clusterId).toBeNull();
  });

  it("ends as unknown when the node closes meanwhile", async () => {
    const cluster = await blank(["a"]);
    const { raft, log } = cluster.node("a");
    const initialized = cluster.failure(raft.initialize({ a: "a:1" }).finally(() => undefined));
    log.holdsWrites = true;
    const closed = raft.close();
    expect(await initialized).toMatchObject({ code: "CLOSED" });
    await closed;
  });
});
