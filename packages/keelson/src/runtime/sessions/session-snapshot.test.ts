import { describe, expect, it } from "vitest";
import type { WriteOptions } from "../writes/proposer.ts";
import { SnapshotCluster } from "../test/snapshot-cluster.ts";
import type { SnapshotJournal } from "../test/snapshot-journal.ts";

const BY_HAND = { everyEntries: Infinity, everyBytes: Infinity, keepEntries: 0 };

function command(id: number, sequence: number): WriteOptions {
  return { session: { id, sequence, lowestUnanswered: 1 } };
}

describe("a snapshot", () => {
  it("carries the session table, so a node that installed it answers a retry like the first attempt (K5)", async () => {
    const cluster = await SnapshotCluster.of(["a", "b", "c"], { policy: BY_HAND });
    const leader = await cluster.leader();
    const behind = cluster.other(leader);
    cluster.isolate(behind.id);
    const { id } = await cluster.finish(leader.raft.openSession());
    const first = await cluster.finish(leader.raft.writeWithIndex("once", command(id, 1)));
    await cluster.write(5, leader);
    await cluster.finish(leader.raft.snapshot());
    await cluster.until(() => leader.raft.metrics().firstIndex > first.index, "the log to be compacted");
    cluster.net.heal();
    await cluster.write(1);
    await cluster.converge();
    expect(behind.raft.metrics().snapshots?.installed).toBe(1);
    expect(behind.raft.metrics().sessions).toEqual(leader.raft.metrics().sessions);
    await cluster.finish((await cluster.leader()).raft.transferLeadership(behind.id));
    await cluster.until(() => behind.raft.metrics().role === "leader", "it to lead");
    expect(await cluster.finish(behind.raft.writeWithIndex("once", command(id, 1)))).toEqual(first);
    expect(behind.journal.lines.filter((line) => line.endsWith("once"))).toHaveLength(1);
    await cluster.close();
  });

  it("restores the session table on a restart (K5)", async () => {
    const cluster = await SnapshotCluster.of(["a"], { policy: BY_HAND });
    const { raft } = await cluster.leader();
    const { id } = await cluster.finish(raft.openSession());
    const first = await cluster.finish(raft.writeWithIndex("once", command(id, 1)));
    await cluster.finish(raft.snapshot());
    const { sessions } = raft.metrics();
    await cluster.crash("a");
    const again = await cluster.open("a");
    await cluster.leader();
    expect(again.raft.metrics().sessions).toEqual(sessions);
    expect(await cluster.finish(again.raft.writeWithIndex("once", command(id, 1)))).toEqual(first);
    await cluster.close();
  });

  it("taken by a node that doesn't know its sessions leaves them unknown, instead of empty (K1)", async () => {
    const cluster = await SnapshotCluster.of(["a", "b", "c"], { policy: BY_HAND });
    const leader = await cluster.leader();
    const { id } = await cluster.finish(leader.raft.openSession());
    await cluster.finish(leader.raft.write("once", command(id, 1)));
    await cluster.converge();
    const [taker, behind] = ["a", "b", "c"].filter((one) => one !== leader.id);
    if (taker === undefined || behind === undefined) throw new Error("no followers");
    // It restarts with its state, but without the sessions that belong to it.
    await cluster.crash(taker);
    const kept = leader.raft.metrics().appliedIndex;
    const { term } = leader.raft.metrics();
    const forgetful = (journal: SnapshotJournal): void => {
      journal.open = () => ({ term, index: kept });
    };
    const ignorant = await cluster.open(taker, { prepare: forgetful });
    cluster.isolate(behind);
    await cluster.write(2, leader);
    await cluster.finish(leader.raft.transferLeadership(taker));
    await cluster.until(() => ignorant.raft.metrics().role === "leader", "the ignorant to lead");
    await cluster.write(1, ignorant);
    await cluster.finish(ignorant.raft.snapshot());
    cluster.net.heal();
    const late = cluster.node(behind).raft;
    await cluster.until(() => late.metrics().snapshots?.installed === 1, "the snapshot to be installed");
    const error = await cluster.finish(late.write("once", command(id, 1)).catch((thrown: unknown) => thrown));
    expect(error).toMatchObject({ code: "INVALID_OPTION" });
    await cluster.close();
  });
});
