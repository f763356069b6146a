import { describe, expect, it } from "vitest";
import { encodeRecord, EntryKind } from "../../codec/record.ts";
import { Raft } from "../raft.ts";
import { FakeDisk, FakeLog } from "../test/fake-log.ts";
import { Journal } from "../test/journal.ts";
import { TestCluster } from "../test/test-cluster.ts";

const THREE = ["a", "b", "c"];

describe("a restart", () => {
  it("of all nodes at once loses nothing that was acknowledged", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    for (const text of ["1", "2", "3"]) await cluster.finish(leader.raft.write(text));
    for (const id of THREE) await cluster.crash(id);
    for (const id of THREE) await cluster.open(id);
    const next = await cluster.leader();
    expect(next.raft.metrics().term).toBeGreaterThan(leader.raft.metrics().term);
    expect(await cluster.finish(next.raft.read(() => next.journal.texts))).toEqual(["1", "2", "3"]);
    expect(await cluster.finish(next.raft.write("4"))).toBe(4);
    expect(next.raft.metrics().members.map(({ address }) => address)).toEqual(["a:1", "b:1", "c:1"]);
  });

  it("applies only the entries that a state machine on disk does not hold yet (C8)", async () => {
    const cluster = await TestCluster.of(["a"]);
    const { raft, journal } = await cluster.leader();
    for (const text of ["1", "2", "3"]) await cluster.finish(raft.write(text));
    await cluster.crash("a");
    const kept = new Journal();
    kept.reopenedAt = journal.flushed;
    const node = await cluster.open("a", { journal: kept });
    expect(node.raft.metrics()).toMatchObject({ appliedIndex: 5, commitIndex: 5 });
    await cluster.leader();
    await cluster.finish(node.raft.write("4"));
    expect(kept.texts).toEqual(["4"]);
  });

  it("may lose writes that were not durable, and none of them was acknowledged", async () => {
    const cluster = await TestCluster.of(["a"]);
    const node = await cluster.leader();
    await cluster.finish(node.raft.write("durable"));
    node.log.holdsWrites = true;
    let isAnswered = false;
    void node.raft.write("lost").finally(() => (isAnswered = true));
    await cluster.advance(100);
    expect(isAnswered).toBe(false);
    await cluster.crash("a", 0);
    await cluster.open("a");
    const { raft, journal } = await cluster.leader();
    expect(await cluster.finish(raft.read(() => journal.texts))).toEqual(["durable"]);
  });

  it("keeps the vote: a node votes once in a term, even with a restart in between", async () => {
    const cluster = await TestCluster.of(THREE);
    const leader = await cluster.leader();
    const { term } = leader.raft.metrics();
    for (const disk of cluster.disks.values()) expect(disk.hardState.term).toBe(term);
    const [follower] = cluster.followers(leader);
    if (follower === undefined) throw new Error("no follower");
    const before = cluster.disks.get(follower.id)?.hardState;
    await cluster.crash(follower.id);
    await cluster.open(follower.id);
    expect(cluster.disks.get(follower.id)?.hardState).toEqual(before);
    expect(cluster.raft(follower.id).metrics().term).toBe(term);
  });
});

describe("open", () => {
  async function diskWithThree(): Promise<{ cluster: TestCluster; disk: FakeDisk }> {
    const cluster = await TestCluster.of(["a"]);
    const { raft } = await cluster.leader();
    await cluster.finish(raft.write("x"));
    await cluster.crash("a");
    const disk = cluster.disks.get("a");
    if (disk === undefined) throw new Error("no disk");
    return { cluster, disk };
  }

  function openWith(cluster: TestCluster, log: FakeLog, journal: Journal): Promise<Raft<string, number>> {
    return Raft.open({
      id: "a",
      log,
      stateMachine: journal,
      transport: cluster.net.transport("a:1"),
      environment: cluster.world.environment("a"),
    });
  }

  it.each([
    ["ahead of the log", { index: 4, term: 2 }],
    ["of another term than the log's entry", { index: 3, term: 1 }],
  ])("refuses a state that is %s, and closes what it opened", async (_what, applied) => {
    const { cluster, disk } = await diskWithThree();
    const log = new FakeLog(disk);
    const journal = new Journal();
    journal.reopenedAt = applied;
    const error = await cluster.failure(openWith(cluster, log, journal));
    expect(error).toMatchObject({ code: "WRONG_IDENTITY", outcome: "not-done" });
    expect(error.message).toContain(`entry ${String(applied.index)} of term ${String(applied.term)}`);
    expect([log.isClosed, journal.isClosed]).toEqual([true, true]);
  });

  it("refuses a log whose configuration entry holds something else", async () => {
    const { cluster, disk } = await diskWithThree();
    const log = new FakeLog(disk);
    log.damageRead = () => encodeRecord(1, 1, EntryKind.blank, new Uint8Array(0));
    expect(await cluster.failure(openWith(cluster, log, new Journal()))).toMatchObject({
      code: "STORAGE_FAILED",
    });
    expect(log.isClosed).toBe(true);
  });

  it("rejects with the error of a state machine that fails to open, and closes the log", async () => {
    const { cluster, disk } = await diskWithThree();
    const log = new FakeLog(disk);
    const journal = new Journal();
    journal.open = () => {
      throw new Error("no such database");
    };
    expect(await cluster.failure(openWith(cluster, log, journal))).toMatchObject({
      message: "no such database",
    });
    expect([log.isClosed, journal.isClosed]).toEqual([true, false]);
  });

  it("rejects with the error of a transport that fails to start, and closes everything", async () => {
    const cluster = new TestCluster();
    const log = new FakeLog(new FakeDisk("store"));
    const journal = new Journal();
    const transport = cluster.net.transport("a:1");
    transport.start = () => Promise.reject(new Error("address in use"));
    const environment = cluster.world.environment("a");
    const opening = Raft.open({ id: "a", log, stateMachine: journal, transport, environment });
    expect(await cluster.failure(opening)).toMatchObject({ message: "address in use" });
    expect([log.isClosed, journal.isClosed, transport.isClosed]).toEqual([true, true, true]);
    expect(cluster.world.clock.pendingTimers).toBe(0);
  });

  it.each([
    ["an id with a space", { id: "a b" }, "id is"],
    ["an empty id", { id: "" }, "id is"],
    ["a cluster id with a slash", { clusterId: "x/y" }, "clusterId is"],
    ["more than 4 KiB of info", { info: "ä".repeat(2049) }, "info has 4098 bytes"],
    [
      "a limit that is not a whole number",
      { limits: { pendingEntriesMax: 0.5 } },
      "limits.pendingEntriesMax is 0.5",
    ],
    ["an unknown limit", { limits: { pendingEntries: 1 } }, "limits.pendingEntries is not an option"],
    [
      "commands larger than an entry can be",
      { limits: { commandBytesMax: 2 ** 30 } },
      "limits.commandBytesMax",
    ],
    ["pending bytes too few for one command", { limits: { pendingBytesMax: 100 } }, "limits.pendingBytesMax"],
    ["a negative time", { timings: { callTimeoutMs: -1 } }, "timings.callTimeoutMs is -1"],
    [
      "a maximum election timeout below the minimum",
      { timings: { electionTimeoutMaxMs: 100 } },
      "timings.electionTimeoutMaxMs",
    ],
    [
      "a disk that counts as stalled no sooner than as hanging",
      { timings: { storageStallMs: 30_000 } },
      "timings.storageStallMs is 30000; it should be less than storageTimeoutMs (30000)",
    ],
    [
      "a state that counts as stalled no sooner than as hanging",
      { timings: { stateStallMs: 300, stateTimeoutMs: 200 } },
      "timings.stateStallMs is 300; it should be less than stateTimeoutMs (200)",
    ],
    ["heartbeats too far apart", { timings: { heartbeatMs: 300 } }, "timings.heartbeatMs"],
  ])("refuses %s before it opens anything", async (_what, options, message) => {
    const cluster = new TestCluster();
    const error = await cluster.failure(cluster.startOpening("a", options as object));
    expect(error).toMatchObject({ code: "INVALID_OPTION", outcome: "not-done" });
    expect(error.message).toContain(message);
  });
});
