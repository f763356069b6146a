// A cluster whose log begins at a large index, as one that has run for years: everything that carries an
// index (records, segments, snapshots, frames) must carry it whole.
import { describe, expect, it } from "vitest";
import { encodeMembership } from "../../codec/config.ts";
import { configOf } from "../../core/config.ts";
import { INDEX_MAX, type LogPosition } from "../../core/position.ts";
import { snapshotFiles } from "../../storage/snapshots/index.ts";
import { restoreWal } from "../../storage/wal/index.ts";
import { memoryNetwork, memoryTransport } from "../../transport/memory/index.ts";
import { encodeRecords } from "../sessions/index.ts";
import { SnapshotCluster, type NodeOptions } from "../test/snapshot-cluster.ts";
import { SnapshotJournal } from "../test/snapshot-journal.ts";

const IDS = ["a", "b", "c"] as const;
const LINES = ["5 before"];

/** Writes the directories of a, whose state is that after `position`. */
async function restoreAt(cluster: SnapshotCluster, position: LogPosition): Promise<void> {
  const environment = cluster.world.environment("a", cluster.machine("a").files.mount());
  const store = snapshotFiles("/backup");
  await store.open(environment);
  const membership = encodeMembership({
    config: configOf(["old"]),
    members: new Map([["old", { address: "old:1" }]]),
  });
  const header = { clusterId: "old", position, membership };
  const draft = await store.create(header, [encodeRecords(new Map())]);
  const journal = new SnapshotJournal();
  journal.lines = LINES;
  for await (const chunk of journal.snapshot()) await draft.write(chunk);
  await draft.finish();
  await store.close();
  const [name = ""] = await environment.files.list("/backup");
  const snapshot = `/backup/${name}`;
  const address = "a:1";
  await restoreWal({ snapshot, log: "/log", snapshots: "/snapshots", nodeId: "a", address, environment });
}

describe("a log that begins at a large index", () => {
  it.each([
    ["below 2^31", 2 ** 31 - 12],
    ["below 2^32", 2 ** 32 - 12],
    ["near 2^48", 2 ** 48 - 12],
    ["near the limit", INDEX_MAX - 500],
  ])("is replicated, compacted, sent as a snapshot and recovered (%s) [Z22]", async (_name, index) => {
    const policy = { everyEntries: 8, keepEntries: 0, keepBytes: 0 };
    const cluster = new SnapshotCluster({ policy });
    const network = memoryNetwork();
    const open = (id: string): Promise<unknown> => {
      const options: NodeOptions = { transport: memoryTransport(network, `${id}:1`) };
      return cluster.open(id, options);
    };
    const crash = async (id: string): Promise<void> => {
      await cluster.crash(id);
      const transport = network.transportAt(`${id}:1`);
      if (transport !== undefined) network.unregister(`${id}:1`, transport);
    };
    await restoreAt(cluster, { term: 7, index });
    await open("a");
    await cluster.leader();
    for (const id of ["b", "c"]) {
      await open(id);
      await cluster.finish(cluster.raft("a").changeMembership({ add: { [id]: `${id}:1` } }));
    }
    await cluster.write(20);
    // Each crashes once, and finds its log by what it wrote.
    for (const id of IDS) {
      await crash(id);
      await cluster.write(12);
      await open(id);
      await cluster.converge();
    }
    await cluster.write(1);
    const lines = await cluster.converge();
    const indexes = lines.slice(LINES.length).map((line) => Number(line.split(" ")[0]));
    expect(lines.slice(0, LINES.length)).toEqual(LINES);
    expect(indexes).toHaveLength(20 + 3 * 12 + 1);
    expect(indexes[0]).toBeGreaterThan(index);
    expect(indexes).toEqual([...indexes].sort((a, b) => a - b));
    for (const id of IDS) {
      const { lastIndex, snapshots } = cluster.raft(id).metrics();
      expect(lastIndex).toBeGreaterThanOrEqual(indexes.at(-1) ?? Infinity);
      expect(lastIndex).toBeLessThan(index + 300);
      expect(snapshots?.newest?.index).toBeGreaterThan(index);
    }
    expect(await cluster.finish((await cluster.leader()).raft.read(() => "read"))).toBe("read");
    await cluster.close();
  });
});
