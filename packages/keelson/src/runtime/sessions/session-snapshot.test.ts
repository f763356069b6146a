import { describe, expect, it } from "vitest";
import type { WriteOptions } from "../writes/proposer.ts";
import { SnapshotCluster } from "../test/snapshot-cluster.ts";
import type { LogPosition } from "../../core/position.ts";
import { RaftError } from "../../errors.ts";
import type { Raft } from "../raft.ts";
import type { SessionChanges } from "../shared/index.ts";
import { emptyJournalDisk, type SnapshotJournal } from "../test/snapshot-journal.ts";

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

  describe.each(["without its sessions", "with its sessions"] as const)("of a state stored %s", (kept) => {
    const isKnown = kept === "with its sessions";

    /** A node whose state machine is on disk. It has a session, restarts, and takes a snapshot. */
    async function withSnapshot(): Promise<{ cluster: SnapshotCluster; id: number; prepare: Prepare }> {
      const cluster = new SnapshotCluster({ policy: BY_HAND, onDisk: true });
      const stored = new Map<string, Uint8Array>();
      const prepare = (journal: SnapshotJournal): void => {
        if (isKnown) storeSessions(journal, stored);
        else forgetSessions(journal);
      };
      await cluster.open("a", { prepare });
      await cluster.finish(cluster.raft("a").initialize({ a: "a:1" }));
      const { raft } = await cluster.leader();
      const { id } = await cluster.finish(raft.openSession());
      await cluster.finish(raft.write("once", command(id, 1)));
      await cluster.crash("a");
      const again = await cluster.open("a", { prepare });
      await cluster.leader();
      await cluster.write(1, again);
      await cluster.finish(again.raft.snapshot());
      await cluster.write(1, again);
      return { cluster, id, prepare };
    }

    it("restores the same knowledge of the sessions after the state was lost (Z7)", async () => {
      const { cluster, id, prepare } = await withSnapshot();
      await cluster.crash("a");
      const { journalDisk } = cluster.machine("a");
      Object.assign(journalDisk ?? {}, emptyJournalDisk());
      const { raft, journal } = await cluster.open("a", { prepare });
      await cluster.leader();
      expect(journal.restores).toBe(1);
      await expectKnown(cluster, raft, id);
    });

    it("leaves the same knowledge on a node that installs it, also after that node's restart (Z7)", async () => {
      const { cluster, id } = await withSnapshot();
      const ownStored = new Map<string, Uint8Array>();
      const storing = (journal: SnapshotJournal): void => {
        storeSessions(journal, ownStored);
      };
      await cluster.open("b", { prepare: storing });
      await cluster.finish(cluster.raft("a").changeMembership({ add: { b: "b:1" } }));
      const installed = cluster.node("b");
      await cluster.until(() => installed.raft.metrics().snapshots?.installed === 1, "it to be installed");
      await cluster.crash("b");
      await cluster.open("b", { prepare: storing });
      await cluster.converge();
      expect(ownStored.has("time")).toBe(isKnown);
      await cluster.finish(cluster.raft("a").transferLeadership("b"));
      await cluster.until(() => cluster.raft("b").metrics().role === "leader", "it to lead");
      await expectKnown(cluster, cluster.raft("b"), id);
    });

    /**
     * A retry is answered if the sessions are known, and refused for want of them if not; never "expired".
     */
    async function expectKnown(
      cluster: SnapshotCluster,
      raft: Raft<string, number>,
      id: number,
    ): Promise<void> {
      const retried = raft.write("once", command(id, 1)).then(
        () => "answered",
        (error: unknown) => (error instanceof RaftError ? error.code : "no RaftError"),
      );
      expect(await cluster.finish(retried)).toBe(isKnown ? "answered" : "INVALID_OPTION");
    }
  });
});

type Prepare = (journal: SnapshotJournal) => void;

/** Makes it a state machine that stores its state, and not the sessions. */
function forgetSessions(journal: SnapshotJournal): void {
  const open = journal.open.bind(journal);
  journal.open = () => {
    const { term, index } = open();
    return { term, index };
  };
}

/** Makes it a state machine that stores the session records that it is given. */
function storeSessions(journal: SnapshotJournal, stored: Map<string, Uint8Array>): void {
  const open = journal.open.bind(journal);
  const flush = journal.flush.bind(journal);
  const restore = journal.restore.bind(journal);
  journal.open = () => ({ ...open(), sessions: new Map(stored) });
  journal.flush = (applied: LogPosition, sessions: SessionChanges = new Map()) => {
    for (const [name, value] of sessions) {
      if (value === null) stored.delete(name);
      else stored.set(name, value);
    }
    flush(applied);
  };
  journal.restore = async (state, at, sessions) => {
    await restore(state, at, sessions);
    stored.clear();
    for (const [name, value] of sessions) stored.set(name, value);
  };
}
