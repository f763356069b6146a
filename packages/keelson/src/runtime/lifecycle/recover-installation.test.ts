import { describe, expect, it, vi } from "vitest";
import { configOf } from "../../core/config.ts";
import { forceNewCluster, planForceNewCluster } from "../../storage/wal/index.ts";
import { cutWhileInstalling, followerBehind } from "../test/power-cut.ts";

// Each test crashes a node a hundred times or more: seconds on an idle machine, more on a busy one.
vi.setConfig({ testTimeout: 120_000 });

describe.each([
  ["in memory", false],
  ["on disk", true],
])("a node with its state %s, whose power fails while it receives a snapshot,", (_, onDisk) => {
  it("leads alone after forceNewCluster, keeps what it had, and restores nothing older, at whichever step that happens (O6, Z8)", async () => {
    const disks = await followerBehind(onDisk);
    const { behind, lines: everything } = disks;
    const seen = { nothing: 0, halfInstalled: 0, installed: 0 };
    let at = 1;
    for (let done = false; !done; at++) {
      const { cluster, isCut } = await cutWhileInstalling(disks, onDisk, at);
      done = !isCut;
      for (const { id } of [...cluster.nodes.values()]) await cluster.crash(id);

      // Only this node is left.
      const options = {
        snapshots: "/snapshots",
        environment: cluster.world.environment(behind, cluster.machine(behind).files.mount()),
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
