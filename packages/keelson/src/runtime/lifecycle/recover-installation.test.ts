import { describe, expect, it, vi } from "vitest";
import { configOf } from "../../core/config.ts";
import type { SimulatedFiles } from "../../environment/simulated/simulated-files.ts";
import { forceNewCluster, planForceNewCluster } from "../../storage/wal/index.ts";
import { SnapshotCluster, type Machine } from "../test/snapshot-cluster.ts";

// Each test crashes a node a hundred times or more: seconds on an idle machine, more on a busy one.
vi.setConfig({ testTimeout: 120_000 });

const BY_HAND = { everyEntries: Infinity, everyBytes: Infinity, keepEntries: 2 };

/** Copies of the machines as they are now, so that each crash starts from the same disks. */
function copyOf(machines: ReadonlyMap<string, Machine>): Map<string, Machine> {
  return new Map(
    [...machines].map(([id, { files, journalDisk }]) => [
      id,
      {
        files: files.copy(),
        journalDisk:
          journalDisk === null ? null : { applied: journalDisk.applied, lines: [...journalDisk.lines] },
      },
    ]),
  );
}

/** Makes the power fail at the n-th file operation from now on; the promise resolves when it does. */
function cutAt(files: SimulatedFiles, at: number): Promise<void> {
  const first = files.operations;
  return new Promise((resolve) => {
    files.intercept = ({ number }) => {
      if (number - first !== at) return null;
      files.intercept = null;
      resolve();
      return { type: "power-cut" };
    };
  });
}

describe.each([
  ["in memory", false],
  ["on disk", true],
])("a node with its state %s, whose power fails while it receives a snapshot,", (_, onDisk) => {
  it("leads alone after forceNewCluster, keeps what it had, and restores nothing older, at whichever step that happens (O6, Z8)", async () => {
    const template = await SnapshotCluster.of(["a", "b", "c"], { policy: BY_HAND, onDisk });
    const leader = await template.leader();
    await template.write(4, leader);
    await template.converge();
    const behind = template.other(leader).id;
    template.isolate(behind);
    await template.write(20, leader);
    for (const { id, raft } of template.nodes.values()) {
      if (id === behind) continue;
      await template.until(() => raft.metrics().appliedIndex === leader.raft.metrics().lastIndex, "both");
      await template.finish(raft.snapshot());
    }
    const everything = [...leader.journal.lines];
    await template.close();
    const { machines } = template;
    const seen = { nothing: 0, halfInstalled: 0, installed: 0 };
    let at = 1;
    for (let done = false; !done; at++) {
      const cluster = new SnapshotCluster({ policy: BY_HAND, onDisk });
      for (const [id, machine] of copyOf(machines)) cluster.machines.set(id, machine);
      for (const id of ["a", "b", "c"]) if (id !== behind) await cluster.open(id);
      await cluster.leader();
      const { raft } = await cluster.open(behind);
      const { files } = cluster.machine(behind);
      let isCut = false;
      void cutAt(files, at).then(() => (isCut = true));
      const isInstalled = (): boolean => raft.metrics().snapshots?.installed === 1;
      await cluster.until(() => isCut || isInstalled(), "the power cut, or the snapshot");
      done = !isCut;
      files.intercept = null;
      for (const { id } of [...cluster.nodes.values()]) await cluster.crash(id);

      // Only this node is left.
      const options = {
        snapshots: "/snapshots",
        environment: cluster.world.environment(behind, files.mount()),
      };
      const plan = await planForceNewCluster("/log", options);
      const forced = await forceNewCluster("/log", options);
      expect(forced.position.index, `operation ${String(at)}`).toBe(plan.last.index + 1);
      const started = async (): Promise<readonly string[]> => {
        const { raft: alone, journal } = await cluster.open(behind);
        await cluster.leader();
        await cluster.finish(alone.read(() => undefined));
        const { clusterId, config } = alone.metrics();
        const expected = [forced.clusterId, configOf([behind])];
        expect([clusterId, config], `operation ${String(at)}`).toEqual(expected);
        return journal.lines;
      };
      const lines = [...(await started())];
      // The four writes that it had, or all that the snapshot holds.
      expect(everything.slice(0, lines.length), `operation ${String(at)}`).toEqual(lines);
      expect([4, 24]).toContain(lines.length);
      if (plan.installs !== null) seen.halfInstalled += 1;
      else if (lines.length === 24) seen.installed += 1;
      else seen.nothing += 1;
      if (plan.installs !== null) expect(lines.length).toBe(24);
      await cluster.write(2);
      await cluster.crash(behind);
      const later = await started();
      expect([later.length, later.slice(0, lines.length)]).toEqual([lines.length + 2, lines]);
      await cluster.close();
    }
    // The power failed before there was a complete snapshot, while it was installed, and after that.
    expect(Math.min(...Object.values(seen)), JSON.stringify(seen)).toBeGreaterThan(0);
  });
});
