import { describe, expect, it } from "vitest";
import { decodeMembership } from "../../codec/config.ts";
import { simulatedEnvironment } from "../../environment/simulated/simulated-environment.ts";
import type { SimulatedFiles } from "../../environment/simulated/simulated-files.ts";
import { ClosedError, RaftError, SnapshotFailedError } from "../../errors.ts";
import { snapshotFiles } from "../../storage/snapshots/index.ts";
import type { StoredSnapshot } from "../../storage/snapshot-store.ts";
import { StateMachineFailure } from "../shared/index.ts";
import { SnapshotCluster } from "../test/snapshot-cluster.ts";
import { SnapshotJournal } from "../test/snapshot-journal.ts";

const POLICY = { everyEntries: 20, keepEntries: 5 };
const BY_HAND = { everyEntries: Infinity, everyBytes: Infinity, keepEntries: 0 };

/** The newest snapshot on disk, read from a copy of the files as the node has them open. */
async function newestIn(files: SimulatedFiles): Promise<StoredSnapshot | null> {
  const copy = files.copy();
  copy.kill();
  const { newest } = await snapshotFiles("/snapshots").open(simulatedEnvironment({ files: copy.mount() }));
  return newest;
}

describe("a node that takes snapshots", () => {
  it("takes them by the policy, compacts the log, and restarts from the newest", async () => {
    const cluster = await SnapshotCluster.of(["a"], { policy: POLICY });
    for (let round = 0; round < 10; round++) await cluster.write(5);
    await cluster.until(() => cluster.raft("a").metrics().snapshots?.taking === null, "the snapshot");
    const { snapshots, firstIndex } = cluster.raft("a").metrics();
    expect(snapshots?.taken).toBeGreaterThanOrEqual(2);
    expect(firstIndex).toBe((snapshots?.newest?.index ?? 0) - POLICY.keepEntries + 1);
    const lines = cluster.node("a").journal.lines;
    expect(lines).toHaveLength(50);
    await cluster.close();
    const { journal, raft } = await cluster.open("a");
    expect(journal.restores).toBe(1);
    await cluster.leader();
    await cluster.finish(raft.read(() => undefined));
    expect(journal.lines).toEqual(lines);
    await cluster.close();
  });

  it("stops when its state machine can't read its state any longer: reads would meet the same damage (Z3)", async () => {
    const cluster = await SnapshotCluster.of(["a"], { policy: BY_HAND });
    const { raft, journal } = await cluster.leader();
    await cluster.write(5);
    journal.snapshotFailure = new StateMachineFailure("damaged");
    await expect(cluster.finish(raft.snapshot())).rejects.toThrow(RaftError);
    expect(await cluster.finish(raft.stopped)).toMatchObject({
      code: "STATE_MACHINE_FAILED",
      cause: journal.snapshotFailure,
    });
  });

  it("takes them by the bytes logged, but waits for a quarter of the last snapshot's size", async () => {
    const policy = { ...BY_HAND, everyBytes: 2000 };
    const cluster = await SnapshotCluster.of(["a"], { policy });
    const { raft } = await cluster.leader();
    const write = (count: number): Promise<number[]> =>
      cluster.finish(Promise.all(Array.from({ length: count }, () => raft.write("x".repeat(200)))));
    for (let round = 0; round < 200; round++) await write(1);
    await cluster.advance(10);
    const { taken, newest } = raft.metrics().snapshots ?? { taken: 0, newest: null };
    // One each time a quarter of the last one's size was logged: far fewer than one for every 2,000 bytes.
    expect(taken).toBeGreaterThan(5);
    expect(taken).toBeLessThan(20);
    expect(newest?.bytes).toBeGreaterThan(30_000);
    await cluster.close();
  });

  it("keeps at most `keepEntries` entries and `keepBytes` bytes of log before a snapshot", async () => {
    for (const [keepEntries, keepBytes, kept] of [
      [5, Infinity, 5],
      [100, 2_300, 10],
      [100, 0, 0],
      [100, Infinity, 23],
    ] as const) {
      const cluster = await SnapshotCluster.of(["a"], { policy: { ...BY_HAND, keepEntries, keepBytes } });
      const { raft } = await cluster.leader();
      for (let n = 0; n < 20; n++) await cluster.finish(raft.write("x".repeat(200)));
      const { index } = await cluster.finish(raft.snapshot());
      expect(index - raft.metrics().firstIndex + 1).toBe(Math.min(kept, index));
      await cluster.close();
    }
  });

  it("stores exactly the state after the snapshot's last entry, while writes go on (S5)", async () => {
    const cluster = await SnapshotCluster.of(["a"], { policy: BY_HAND });
    const { raft, journal } = await cluster.leader();
    await cluster.write(20);
    journal.beforeEachLine = () => cluster.sleep(5);
    const taking = raft.snapshot();
    await cluster.write(20);
    // The writes are answered while the snapshot is still in progress.
    expect(raft.metrics().snapshots).toMatchObject({ newest: null, taken: 0 });
    expect(raft.metrics().snapshots?.taking?.bytesDone).toBeGreaterThan(0);
    const { index } = await cluster.finish(taking);
    journal.beforeEachLine = null;
    expect(index).toBeLessThan(raft.metrics().appliedIndex);
    expect(raft.metrics()).toMatchObject({ firstIndex: index + 1, snapshots: { taken: 1 } });
    const { lines } = journal;
    await cluster.close();
    const again = await cluster.open("a");
    await cluster.leader();
    await cluster.finish(again.raft.read(() => undefined));
    // Each command is there once, with its index: none was applied twice, and none skipped.
    expect(again.journal.lines).toEqual(lines);
    await cluster.close();
  });

  it("stores the membership in force at the snapshot's entry, not a later uncommitted one (M5)", async () => {
    const cluster = await SnapshotCluster.of(["a", "b", "c"], { policy: BY_HAND });
    const leader = await cluster.leader();
    await cluster.write(5);
    cluster.isolate(leader.id);
    const changing = leader.raft.addLearner("d", "d:1", { timeoutMs: 500 }).catch((error: unknown) => error);
    await cluster.until(() => leader.raft.metrics().config.learners.includes("d"), "the change to be begun");
    await cluster.finish(leader.raft.snapshot());
    const newest = await newestIn(cluster.machine(leader.id).files);
    expect([...decodeMembership(newest?.membership ?? new Uint8Array(0)).members.keys()]).toEqual([
      "a",
      "b",
      "c",
    ]);
    await cluster.finish(changing);
    cluster.net.heal();
    await cluster.leader();
    await cluster.close();
  });

  it("knows its members after two compactions and a restart (M5)", async () => {
    const cluster = await SnapshotCluster.of(["a", "b", "c"], { policy: BY_HAND });
    for (let round = 0; round < 2; round++) {
      await cluster.write(5);
      await cluster.converge();
      for (const { raft } of cluster.nodes.values()) await cluster.finish(raft.snapshot());
    }
    await cluster.close();
    for (const id of ["a", "b", "c"]) await cluster.open(id);
    const { raft } = await cluster.leader();
    expect(raft.metrics().firstIndex).toBeGreaterThan(10);
    expect(raft.metrics().members.map(({ id, address }) => [id, address])).toEqual([
      ["a", "a:1"],
      ["b", "b:1"],
      ["c", "c:1"],
    ]);
    // The first configuration is no longer in the log, and `initialize` still recognizes its members.
    await cluster.finish(raft.initialize({ a: "a:1", b: "b:1", c: "c:1" }));
    await cluster.write(1);
    await cluster.converge();
    await cluster.close();
  });

  it("keeps running when the disk is full, and takes a snapshot when there is space again", async () => {
    const cluster = await SnapshotCluster.of(["a"], { policy: BY_HAND });
    await cluster.write(5);
    const { files } = cluster.machine("a");
    files.intercept = ({ type, path }) =>
      type === "write" && path.startsWith("/snapshots") ? { type: "error", code: "ENOSPC" } : null;
    const failing = cluster.raft("a").snapshot();
    await expect(cluster.finish(failing)).rejects.toThrow(SnapshotFailedError);
    await expect(failing).rejects.toThrow("ENOSPC");
    files.intercept = null;
    expect(files.paths().filter((path) => path.startsWith("/snapshots"))).toEqual([]);
    await cluster.write(5);
    await cluster.finish(cluster.raft("a").snapshot());
    await cluster.close();
  });

  it("keeps running when the state machine's `snapshot` throws, and retries after a pause", async () => {
    const cluster = await SnapshotCluster.of(["a"], { policy: POLICY });
    const { raft, journal } = await cluster.leader();
    journal.snapshotFailure = new Error("out of space");
    for (let round = 0; round < 10; round++) await cluster.write(5);
    expect(cluster.messages.filter((text) => text.includes("out of space"))).toHaveLength(1);
    journal.snapshotFailure = null;
    // Nothing is written meanwhile: an idle node takes the snapshot that is due, too.
    await cluster.advance(20_000);
    expect(raft.metrics().snapshots?.taken).toBe(1);
    await cluster.close();
  });

  it("takes the snapshot that became due while another one was being taken, without further writes", async () => {
    const cluster = await SnapshotCluster.of(["a"], { policy: POLICY });
    const { raft, journal } = await cluster.leader();
    const gate = Promise.withResolvers<undefined>();
    journal.beforeEachLine = () => gate.promise;
    await cluster.write(20);
    await cluster.until(() => raft.metrics().snapshots?.taking !== null, "a snapshot that hangs");
    await cluster.write(30);
    const { appliedIndex } = raft.metrics();
    gate.resolve(undefined);
    await cluster.advance(1_000);
    const { newest, taken } = raft.metrics().snapshots ?? {};
    expect([taken, newest?.index]).toEqual([2, appliedIndex]);
    await cluster.close();
  });

  it("rejects callers that wait for a snapshot when it closes", async () => {
    const cluster = await SnapshotCluster.of(["a"], { policy: BY_HAND });
    const { raft, journal } = await cluster.leader();
    await cluster.write(5);
    journal.beforeEachLine = () => new Promise(() => undefined);
    const waiting = raft.snapshot();
    await cluster.advance(10);
    const before = cluster.world.clock.now();
    const closing = raft.close();
    await expect(cluster.finish(waiting)).rejects.toThrow(ClosedError);
    await cluster.finish(closing);
    expect(cluster.world.clock.now() - before).toBeLessThan(2_000);
  });

  it("takes the snapshot even if its caller's time limit ends", async () => {
    const cluster = await SnapshotCluster.of(["a"], { policy: BY_HAND });
    const { raft, journal } = await cluster.leader();
    await cluster.write(5);
    journal.beforeEachLine = () => cluster.sleep(100);
    await expect(cluster.finish(raft.snapshot({ timeoutMs: 50 }))).rejects.toThrow("no answer within 50 ms");
    await cluster.advance(1000);
    expect(raft.metrics().snapshots?.taken).toBe(1);
    await cluster.close();
  });

  it("gives two concurrent callers the same snapshot, and a later caller a newer one", async () => {
    const cluster = await SnapshotCluster.of(["a"], { policy: BY_HAND });
    const { raft, journal } = await cluster.leader();
    await cluster.write(5);
    journal.beforeEachLine = () => cluster.sleep(5);
    const [first, second] = [raft.snapshot(), raft.snapshot()];
    await cluster.advance(1);
    await cluster.write(1);
    const third = raft.snapshot();
    expect((await cluster.finish(first)).index).toBe((await cluster.finish(second)).index);
    expect((await cluster.finish(third)).index).toBeGreaterThan((await first).index);
    // Nothing was applied since the third, so the same one is returned.
    expect(await cluster.finish(raft.snapshot())).toEqual(await third);
    expect(raft.metrics().snapshots?.taken).toBe(2);
    await cluster.close();
  });

  it("rejects missing and invalid options with an explanation", async () => {
    const cluster = new SnapshotCluster();
    const journal = Object.create(new SnapshotJournal(), {
      restore: { value: undefined },
    }) as SnapshotJournal;
    await expect(cluster.startOpening("a", { stateMachine: journal })).rejects.toThrow(
      "stateMachine.restore is missing",
    );
    for (const [policy, message] of [
      [{ everyEntries: 0 }, "snapshots.everyEntries is 0; it should be from 1 on"],
      [{ keepEntries: -1 }, "snapshots.keepEntries is -1; it should be a number from 0 on"],
      [{ every: 1 }, "snapshots.every is not an option"],
    ] as const) {
      await expect(cluster.startOpening("a", { policy: policy as object })).rejects.toThrow(message);
    }
    await cluster.open("a", { policy: null });
    await expect(cluster.raft("a").snapshot()).rejects.toThrow("give Raft.open the option `snapshots`");
    await cluster.close();
  });
});

describe("a follower that lacks entries which the leader has compacted away", () => {
  it("gets a snapshot and the entries after it, while writes go on", async () => {
    const cluster = await SnapshotCluster.of(["a", "b", "c"], { policy: POLICY });
    const leader = await cluster.leader();
    const behind = cluster.other(leader);
    cluster.isolate(behind.id);
    for (let round = 0; round < 20; round++) await cluster.write(5, leader);
    expect(leader.raft.metrics().firstIndex).toBeGreaterThan(50);
    cluster.net.heal();
    for (let round = 0; round < 20; round++) await cluster.write(5);
    await cluster.converge();
    expect(behind.raft.metrics().snapshots?.installed).toBe(1);
    await cluster.close();
  });
});
