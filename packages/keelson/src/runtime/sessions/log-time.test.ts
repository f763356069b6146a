import { describe, expect, it } from "vitest";
import { LOG_TIME_STEP_MS_MAX } from "../../codec/session-entry.ts";
import { SnapshotCluster, type NodeOptions } from "../test/snapshot-cluster.ts";
import type { SnapshotJournal } from "../test/snapshot-journal.ts";
import type { ApplyContext, StateMachine } from "../shared/index.ts";

const STEP_MS = 100;
const BY_HAND = { everyEntries: Infinity, everyBytes: Infinity, keepEntries: 0 };

/** Keeps the log time of each command beside it, as a part of the state; `isAsync`: after a moment. */
function telling(stepMs: number | undefined, isAsync = false): Required<Pick<NodeOptions, "prepare">> {
  return {
    prepare: (journal) => {
      const machine: {
        -readonly [P in keyof StateMachine<string, number>]: StateMachine<string, number>[P];
      } = journal;
      if (stepMs !== undefined) machine.logTimeStepMs = stepMs;
      const apply = (command: string, { logTimeMs }: ApplyContext): number => {
        journal.lines.push(`${command}@${String(logTimeMs)}`);
        return journal.lines.length;
      };
      machine.apply = isAsync
        ? async (command, at) => {
            await Promise.resolve();
            return apply(command, at);
          }
        : apply;
    },
  };
}

/** The log time of each command in the state. */
function timesOf({ lines }: SnapshotJournal): number[] {
  return lines.map((line) => Number(line.split("@")[1]));
}

function lastTimeOf(journal: SnapshotJournal): number {
  return timesOf(journal).at(-1) ?? NaN;
}

describe.each([
  ["synchronous", false],
  ["asynchronous", true],
])("a %s state machine that uses log time", (_what, isAsync) => {
  it("is told it with the precision that it wants, the same on every node", async () => {
    const cluster = await SnapshotCluster.of(["a", "b", "c"], telling(STEP_MS, isAsync));
    const leader = await cluster.leader();
    await cluster.write(1, leader);
    const before = lastTimeOf(leader.journal);
    for (let n = 1; n <= 20; n++) {
      await cluster.advance(170);
      await cluster.write(1, leader);
      const passedMs = lastTimeOf(leader.journal) - before;
      expect(passedMs).toBeGreaterThan(170 * n - STEP_MS);
      expect(passedMs).toBeLessThanOrEqual(170 * n + STEP_MS);
    }
    await cluster.converge();
    await cluster.close();
  });

  it("is told one time for all commands of a batch", async () => {
    const cluster = await SnapshotCluster.of(["a"], telling(STEP_MS, isAsync));
    const { journal } = await cluster.leader();
    await cluster.advance(1_000);
    await cluster.write(30);
    expect(new Set(timesOf(journal)).size).toBe(1);
    await cluster.close();
  });
});

describe("log time", () => {
  it("costs an entry only where a step has passed since the last one", async () => {
    const cluster = await SnapshotCluster.of(["a"], telling(STEP_MS));
    const { raft } = await cluster.leader();
    await cluster.advance(STEP_MS);
    const before = raft.metrics().lastIndex;
    await cluster.write(10);
    expect(raft.metrics().lastIndex - before).toBe(11);
    await cluster.advance(STEP_MS);
    await cluster.write(10);
    expect(raft.metrics().lastIndex - before).toBe(22);
    await cluster.close();
  });

  it("passes while nobody writes, so it doesn't fall behind", async () => {
    const cluster = await SnapshotCluster.of(["a", "b", "c"], telling(STEP_MS));
    const leader = await cluster.leader();
    await cluster.write(1, leader);
    const before = lastTimeOf(leader.journal);
    await cluster.advance(600_000);
    await cluster.write(1, leader);
    expect(lastTimeOf(leader.journal) - before).toBeGreaterThan(599_000);
    expect(lastTimeOf(leader.journal) - before).toBeLessThan(601_000);
    await cluster.close();
  });

  it("doesn't pass for a state machine that doesn't use it, and no entry is written for it", async () => {
    const cluster = await SnapshotCluster.of(["a"], telling(undefined));
    const { raft, journal } = await cluster.leader();
    const before = raft.metrics().lastIndex;
    await cluster.advance(60_000);
    await cluster.write(1);
    expect(raft.metrics().lastIndex - before).toBe(1);
    expect(timesOf(journal)).toEqual([0]);
    await cluster.close();
  });

  it("is told to commands in a session too, with the time of their own entry", async () => {
    const cluster = await SnapshotCluster.of(["a"], telling(STEP_MS));
    const { raft, journal } = await cluster.leader();
    const session = await cluster.finish(raft.openSession());
    const begunAt = cluster.world.clock.now();
    await cluster.finish(session.write("x"));
    await cluster.advance(37);
    const passedMs = cluster.world.clock.now() - begunAt;
    await cluster.finish(session.write("y"));
    const [x = NaN, y = NaN] = timesOf(journal);
    expect(Math.abs(y - x - passedMs)).toBeLessThanOrEqual(1);
    await cluster.close();
  });

  it("continues after a restart, and from a snapshot", async () => {
    const cluster = await SnapshotCluster.of(["a"], { ...telling(STEP_MS), policy: BY_HAND });
    await cluster.advance(30_000);
    await cluster.write(1);
    const before = lastTimeOf(cluster.node("a").journal);
    await cluster.finish(cluster.raft("a").snapshot());
    await cluster.crash("a");
    const again = await cluster.open("a");
    await cluster.leader();
    await cluster.write(1, again);
    expect(again.journal.restores).toBe(1);
    expect(lastTimeOf(again.journal)).toBeGreaterThanOrEqual(before);
    expect(lastTimeOf(again.journal)).toBeLessThan(before + 10_000);
    await cluster.close();
  });

  it("never falls at a change of leader, also to a node that was restored from a snapshot", async () => {
    const cluster = await SnapshotCluster.of(["a", "b", "c"], { ...telling(STEP_MS), policy: BY_HAND });
    const leader = await cluster.leader();
    const behind = cluster.other(leader);
    cluster.isolate(behind.id);
    await cluster.advance(20_000);
    await cluster.write(5, leader);
    await cluster.finish(leader.raft.snapshot());
    cluster.net.heal();
    await cluster.write(1);
    await cluster.converge();
    expect(behind.raft.metrics().snapshots?.installed).toBe(1);
    for (let n = 0; n < 6; n++) {
      const [from, to] = [await cluster.leader(), cluster.other(await cluster.leader())];
      await cluster.finish(from.raft.transferLeadership(to.id));
      await cluster.until(() => to.raft.metrics().role === "leader", "it to lead");
      await cluster.advance(250);
      await cluster.write(2, to);
    }
    await cluster.converge();
    const times = timesOf(leader.journal);
    expect(times).toEqual([...times].sort((x, y) => x - y));
    expect(timesOf(behind.journal)).toEqual(times);
    await cluster.close();
  });

  it("needs no codec for results", async () => {
    const { prepare } = telling(STEP_MS);
    const cluster = await SnapshotCluster.of(["a", "b", "c"], {
      prepare: (journal) => {
        prepare(journal);
        const { encode, decode } = journal.codec;
        Object.assign(journal, { codec: { encode, decode } });
      },
    });
    const leader = await cluster.leader();
    await cluster.advance(1_000);
    await cluster.write(1, leader);
    expect(lastTimeOf(leader.journal)).toBeGreaterThan(900);
    await cluster.converge();
    await cluster.close();
  });

  it("stays within what one entry may add when a leader couldn't write for an hour", async () => {
    const cluster = await SnapshotCluster.of(["a", "b", "c"], telling(STEP_MS));
    const leader = await cluster.leader();
    await cluster.write(1, leader);
    const before = lastTimeOf(leader.journal);
    for (const { id } of cluster.nodes.values()) cluster.isolate(id);
    await cluster.advance(3_600_000);
    cluster.net.heal();
    await cluster.write(1);
    await cluster.converge();
    expect(lastTimeOf(leader.journal) - before).toBeLessThanOrEqual(2 * LOG_TIME_STEP_MS_MAX);
    await cluster.close();
  });

  it("is refused where the state was stored without it, since it would begin at 0 again", async () => {
    const { prepare } = telling(STEP_MS);
    const cluster = new SnapshotCluster({ policy: BY_HAND, onDisk: true });
    await cluster.open("a");
    await cluster.finish(cluster.raft("a").initialize({ a: "a:1" }));
    await cluster.leader();
    await cluster.write(1);
    await cluster.crash("a");
    await expect(cluster.open("a", { prepare })).rejects.toThrow(
      /logTimeStepMs is 100, and the state was stored without log time: .*flush should store the records/,
    );
    // The log was closed, so the node opens without it.
    await cluster.open("a");
    await cluster.close();
  });

  it("stops a node at its next command after it has installed a snapshot without log time", async () => {
    const cluster = await SnapshotCluster.of(["a", "b", "c"], { ...telling(STEP_MS), policy: BY_HAND });
    const leader = await cluster.leader();
    await cluster.write(1, leader);
    await cluster.converge();
    const [taker = "", behind = ""] = ["a", "b", "c"].filter((id) => leader.id !== id);
    const { appliedIndex: index, term } = cluster.raft(taker).metrics();
    await cluster.crash(taker);
    // Its state machine doesn't use log time, and its state came back without the records.
    const ignorant = await cluster.open(taker, {
      prepare: (journal) => {
        journal.open = () => ({ term, index });
      },
    });
    cluster.isolate(behind);
    await cluster.write(3);
    await cluster.finish((await cluster.leader()).raft.transferLeadership(taker));
    await cluster.until(() => ignorant.raft.metrics().role === "leader", "the ignorant to lead");
    await cluster.write(1, ignorant);
    await cluster.finish(ignorant.raft.snapshot());
    cluster.net.heal();
    const late = cluster.raft(behind);
    await cluster.until(() => late.metrics().snapshots?.installed === 1, "the snapshot to be installed");
    const stopped = late.stopped;
    await cluster.write(1, ignorant);
    expect(await cluster.finish(stopped)).toMatchObject({
      message: expect.stringMatching(/it has no log time for entry \d+/) as string,
    });
    await cluster.close();
  });

  it.each([0, 9, 5_001, 99.5, NaN, Infinity])("refuses %s as its step", async (stepMs) => {
    const cluster = new SnapshotCluster(telling(stepMs));
    await expect(cluster.open("a")).rejects.toThrow(
      `stateMachine.logTimeStepMs is ${String(stepMs)}; it should be a whole number of milliseconds from 10 to 5000`,
    );
  });
});
