import { describe, expect, it, vi } from "vitest";
import { seededRandom } from "../../environment/simulated/simulated-clock.ts";
import { BY_HAND, clusterOnCopies, cutAt, cutWhileInstalling, followerBehind } from "../test/power-cut.ts";
import { SnapshotCluster } from "../test/snapshot-cluster.ts";

// Each test crashes a node a hundred times or more: seconds on an idle machine, more on a busy one.
vi.setConfig({ testTimeout: 120_000 });

describe.each([
  ["in memory", false],
  ["on disk", true],
])("a node with its state %s, whose power fails,", (_, onDisk) => {
  it("keeps every acknowledged write, at whichever step of a snapshot and its compaction that happens (S4)", async () => {
    const template = await SnapshotCluster.of(["a"], { policy: BY_HAND, onDisk });
    await template.write(12);
    await template.finish(template.raft("a").snapshot());
    await template.write(12);
    const acknowledged = [...template.node("a").journal.lines];
    await template.close();
    const { machines } = template;
    const bases = new Set<number>();
    let at = 1;
    for (let done = false; !done; at++) {
      for (const seed of [1, 2]) {
        const cluster = clusterOnCopies(machines, onDisk);
        const { raft } = await cluster.open("a");
        const { files } = cluster.machine("a");
        await cluster.leader();
        await cluster.finish(raft.read(() => undefined));
        const seen = { cut: false, taken: false };
        void cutAt(files, at).then(() => (seen.cut = true));
        void raft.snapshot().then(() => (seen.taken = true));
        await cluster.until(() => seen.cut || seen.taken, "the power cut, or the snapshot");
        // `snapshot()` does not wait for the compaction, which goes on here.
        if (seen.taken) await cluster.advance(50);
        done = !seen.cut;
        files.intercept = null;
        cluster.node("a").kill();
        files.crash(seededRandom(at * 10 + seed));
        const again = await cluster.open("a");
        await cluster.leader();
        await cluster.finish(again.raft.read(() => undefined));
        expect(again.journal.lines, `operation ${String(at)}`).toEqual(acknowledged);
        bases.add(again.raft.metrics().firstIndex);
        await cluster.write(1);
        await cluster.finish(again.raft.snapshot());
        await cluster.close();
      }
    }
    expect(at).toBeGreaterThan(10);
    // Some crashed before the compaction, and some after it.
    expect(bases.size).toBe(2);
  });

  it("catches up after a restart, at whichever step of a fetch and its installation that happens (S4)", async () => {
    const disks = await followerBehind(onDisk);
    const { behind } = disks;
    let at = 1;
    let finishedAtStart = 0;
    for (let done = false; !done; at++) {
      const { cluster, isCut } = await cutWhileInstalling(disks, onDisk, at);
      done = !isCut;
      cluster.node(behind).kill();
      cluster.machine(behind).files.crash(seededRandom(at));
      await cluster.node(behind).transport.close();
      cluster.messages.splice(0);
      const again = await cluster.open(behind);
      if (cluster.messages.join().includes("that is finished now")) finishedAtStart += 1;
      await cluster.write(2);
      const lines = await cluster.converge();
      expect(lines, `operation ${String(at)}`).toHaveLength(26);
      expect(again.raft.metrics().firstIndex).toBeGreaterThan(15);
      await cluster.close();
    }
    expect(at).toBeGreaterThan(20);
    expect(finishedAtStart).toBeGreaterThan(0);
  });
});
