import { encodeMembership } from "../../codec/config.ts";
import { configOf } from "../../core/config.ts";
import type { LogPosition, NodeId } from "../../core/position.ts";
import { formatAddress, parseAddress } from "../../environment/address.ts";
import type { Environment } from "../../environment/environment.ts";
import { nodeEnvironment } from "../../environment/node/node-environment.ts";
import { InvalidOptionError } from "../../errors.ts";
import { clusterIdOf, newIncarnation } from "../../codec/cluster-id.ts";
import { openSnapshotFile } from "../snapshots/open-snapshot-file.ts";
import { snapshotFiles } from "../snapshots/snapshot-files.ts";
import type { SnapshotReader } from "../snapshot-store.ts";
import { hasCode } from "./file-error.ts";
import { WalLog } from "./wal-log.ts";

/** Options of `restoreWal`. */
export interface RestoreOptions {
  /** The path of the snapshot's file. */
  readonly snapshot: string;
  /** The directory for the new node's log: empty, or not there. */
  readonly log: string;
  /** The directory for the new node's snapshots: empty, or not there. */
  readonly snapshots: string;
  /** The new cluster's only member. */
  readonly nodeId: NodeId;
  /** Where that member will be reached ("host:port"). */
  readonly address: string;
  /** The new cluster's name. Default: none. */
  readonly clusterName?: string;
  /** Called as bytes are checked, and then copied. `bytesTotal` is twice the snapshot's size. */
  readonly onProgress?: (bytesDone: number, bytesTotal: number) => void;
  /** Default: Node's. */
  readonly environment?: Environment;
}

/** What `restoreWal` wrote. */
export interface Restored {
  /** The new cluster's id. */
  readonly clusterId: string;
  /** The last entry whose effects the new cluster's state holds. */
  readonly position: LogPosition;
  /** The size of the snapshot's file. */
  readonly bytes: number;
}

/**
 * Creates a new cluster from a snapshot of another one, such as a backup: writes the directories of the new
 * cluster's only node, which restores its state from them when it starts. The new cluster has an id of its
 * own, so its nodes refuse those of the cluster that the snapshot was taken in, and those of another restore
 * of the same snapshot. If a crash interrupts it, a node refuses to start from what was written; delete both
 * directories and restore again.
 *
 * @throws CorruptSnapshotError the snapshot is damaged, nothing was written; InvalidOptionError a directory
 *   isn't empty, or an option is wrong; StorageFailedError
 */
export async function restoreWal(options: RestoreOptions): Promise<Restored> {
  const { environment = nodeEnvironment(), nodeId, clusterName } = options;
  const address = formatAddress(parseAddress(options.address, "address"));
  for (const directory of [options.log, options.snapshots]) await checkEmpty(directory, environment);
  const reader = await openSnapshotFile(options.snapshot, environment);
  try {
    const { position, bytes } = reader.snapshot;
    const progress = (done: number): void => options.onProgress?.(Math.min(done, bytes * 2), bytes * 2);
    // Check the whole backup before anything is written, so that a damaged one leaves no directories behind.
    let checked = 0;
    for await (const chunk of reader.state()) progress((checked += chunk.length));
    progress(bytes);
    const config = encodeMembership({
      config: configOf([nodeId]),
      members: new Map([[nodeId, { address }]]),
    });
    // The new incarnation tells apart two clusters that are restored with the same member from the same
    // backup.
    const clusterId = newIncarnation(clusterIdOf(config, clusterName ?? null), () => environment.random());
    const copy = { clusterId, position, membership: config };
    await copySnapshot(reader, copy, options.snapshots, environment, (done) => {
      progress(bytes + done);
    });
    // The log is written last. The copied snapshot counts as taken by this node, and a node refuses to start
    // if such a snapshot is ahead of its log. So after a crash nothing starts from an incomplete restore.
    const log = new WalLog(options.log);
    await log.open({ nodeId, clusterId }, environment);
    try {
      // A log's last term is never above the hard state's, so the term goes up first.
      const termWritten = log.append({
        hardState: { term: position.term, votedFor: null },
        truncateFrom: null,
        records: [],
      });
      await Promise.all([termWritten, log.reset({ position, config })]);
    } finally {
      await log.close();
    }
    progress(bytes * 2);
    return { clusterId, position, bytes };
  } finally {
    await reader.close();
  }
}

/** Copies the sessions and the state into a snapshot with another header. */
async function copySnapshot(
  reader: SnapshotReader,
  header: { readonly clusterId: string; readonly position: LogPosition; readonly membership: Uint8Array },
  directory: string,
  environment: Environment,
  onProgress: (bytesDone: number) => void,
): Promise<void> {
  const store = snapshotFiles(directory);
  await store.open(environment);
  try {
    const draft = await store.create(header, await reader.sessions());
    let copied = 0;
    try {
      for await (const chunk of reader.state()) {
        await draft.write(chunk);
        onProgress((copied += chunk.length));
      }
    } catch (error) {
      await draft.abort();
      throw error;
    }
    await draft.finish();
  } finally {
    await store.close();
  }
}

/** Throws unless the directory is empty or doesn't exist. */
async function checkEmpty(directory: string, { files }: Environment): Promise<void> {
  let names: string[];
  try {
    names = await files.list(directory);
  } catch (error) {
    if (hasCode(error, "ENOENT")) return;
    throw error;
  }
  if (names.length === 0) return;
  throw new InvalidOptionError(
    `${directory} is not empty; a backup is restored into a directory that is new, and nothing there is overwritten`,
  );
}
