// What tests share that cut a node's power at each file operation of a snapshot's life.
import type { NodeId } from "../../core/position.ts";
import type { SimulatedFiles } from "../../environment/simulated/simulated-files.ts";
import { SnapshotCluster, type Machine } from "./snapshot-cluster.ts";
import type { JournalDisk } from "./snapshot-journal.ts";

/** Snapshots are taken only when the test asks for one. */
export const BY_HAND = { everyEntries: Infinity, everyBytes: Infinity, keepEntries: 2 };

/**
 * A new cluster, not yet open, with copies of these machines: so each power cut starts from the same disks.
 */
export function clusterOnCopies(machines: ReadonlyMap<string, Machine>, onDisk: boolean): SnapshotCluster {
  const cluster = new SnapshotCluster({ policy: BY_HAND, onDisk });
  for (const [id, { files, journalDisk }] of machines) {
    const journal = journalDisk === null ? null : diskOf(journalDisk);
    cluster.machines.set(id, { files: files.copy(), journalDisk: journal });
  }
  return cluster;
}

function diskOf({ applied, lines }: JournalDisk): JournalDisk {
  return { applied, lines: [...lines] };
}

/** Makes the power fail at the n-th file operation from now on. The promise resolves when it does. */
export function cutAt(files: SimulatedFiles, at: number): Promise<void> {
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

/** The disks of three nodes, one of which needs a snapshot of the others. */
export interface FollowerBehind {
  readonly machines: ReadonlyMap<string, Machine>;
  /** The node that has only the first 4 of the 24 writes. */
  readonly behind: NodeId;
  /** The lines of all 24 writes. */
  readonly lines: readonly string[];
}

/**
 * Writes with three nodes, then without one of them, and has the other two take snapshots and compact their
 * logs.
 */
export async function followerBehind(onDisk: boolean): Promise<FollowerBehind> {
  const cluster = await SnapshotCluster.of(["a", "b", "c"], { policy: BY_HAND, onDisk });
  const leader = await cluster.leader();
  await cluster.write(4, leader);
  await cluster.converge();
  const behind = cluster.other(leader).id;
  cluster.isolate(behind);
  await cluster.write(20, leader);
  for (const { id, raft } of cluster.nodes.values()) {
    if (id === behind) continue;
    await cluster.until(() => raft.metrics().appliedIndex === leader.raft.metrics().lastIndex, "both");
    await cluster.finish(raft.snapshot());
  }
  const lines = [...leader.journal.lines];
  await cluster.close();
  return { machines: cluster.machines, behind, lines };
}

/**
 * A cluster on copies of these disks in which the power of the node that is behind fails at the n-th file
 * operation after its start, while it fetches and installs the snapshot. `isCut` is false if it needed fewer
 * operations.
 */
export async function cutWhileInstalling(
  { machines, behind }: FollowerBehind,
  onDisk: boolean,
  at: number,
): Promise<{ cluster: SnapshotCluster; isCut: boolean }> {
  const cluster = clusterOnCopies(machines, onDisk);
  for (const id of machines.keys()) if (id !== behind) await cluster.open(id);
  await cluster.leader();
  const { raft } = await cluster.open(behind);
  const { files } = cluster.machine(behind);
  let isCut = false;
  void cutAt(files, at).then(() => (isCut = true));
  const isInstalled = (): boolean => raft.metrics().snapshots?.installed === 1;
  await cluster.until(() => isCut || isInstalled(), "the power cut, or the snapshot");
  files.intercept = null;
  return { cluster, isCut };
}
