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
import { WalLog } from "./wal-log.ts";

/** What `restoreWal` makes of a snapshot. */
export interface RestoreOptions {
  /** The file of a snapshot. */
  readonly snapshot: string;
  /** Where the new node's log and snapshots go: directories that are empty, or not there. */
  readonly log: string;
  readonly snapshots: string;
  /** The new cluster's only member, and where it will be reached ("host:port"). */
  readonly nodeId: NodeId;
  readonly address: string;
  /** The new cluster's name. Default: none. */
  readonly clusterName?: string;
  /** Told how many bytes were checked and then copied, of twice the snapshot's. */
  readonly onProgress?: (bytesDone: number, bytesTotal: number) => void;
  /** Default: Node's disk and chance. */
  readonly environment?: Environment;
}

/** What `restoreWal` made. */
export interface Restored {
  readonly clusterId: string;
  /** The last entry whose effects the new cluster begins with. */
  readonly position: LogPosition;
  readonly bytes: number;
}

/**
 * Makes the beginning of a new cluster from a snapshot of another: the directories of its only node, which
 * restores its state from there when it starts. The cluster gets an id of its own, so it never meets the one
 * that the snapshot is of, nor another that is restored from the same. What a crash leaves is refused by a
 * node that starts.
 *
 * @throws CorruptSnapshotError before anything was written; InvalidOptionError, StorageFailedError
 */
export async function restoreWal(options: RestoreOptions): Promise<Restored> {
  const { environment = nodeEnvironment(), nodeId, clusterName } = options;
  const address = formatAddress(parseAddress(options.address, "address"));
  for (const directory of [options.log, options.snapshots]) await checkEmpty(directory, environment);
  const reader = await openSnapshotFile(options.snapshot, environment);
  try {
    const { position, bytes } = reader.snapshot;
    const progress = (done: number): void => options.onProgress?.(Math.min(done, bytes * 2), bytes * 2);
    // All of it before a byte is written: half a restore of a damaged backup helps nobody.
    let checked = 0;
    for await (const chunk of reader.state()) progress((checked += chunk.length));
    progress(bytes);
    const config = encodeMembership({
      config: configOf([nodeId]),
      members: new Map([[nodeId, { address }]]),
    });
    const founded = clusterIdOf(config, clusterName ?? null);
    const clusterId = newIncarnation(founded, () => environment.random());
    const copy = { clusterId, position, membership: config };
    await copySnapshot(reader, copy, options.snapshots, environment, (done) => {
      progress(bytes + done);
    });
    // The log comes last: a snapshot without a log is refused, so nothing half-restored can start.
    const log = new WalLog(options.log);
    await log.open({ nodeId, clusterId }, environment);
    try {
      const begun = log.append({
        hardState: { term: position.term, votedFor: null },
        truncateFrom: null,
        records: [],
      });
      await Promise.all([begun, log.reset({ position, config })]);
    } finally {
      await log.close();
    }
    progress(bytes * 2);
    return { clusterId, position, bytes };
  } finally {
    await reader.close();
  }
}

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

async function checkEmpty(directory: string, { files }: Environment): Promise<void> {
  let names: string[];
  try {
    names = await files.list(directory);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return;
    throw error;
  }
  if (names.length === 0) return;
  throw new InvalidOptionError(
    `${directory} is not empty; a backup is restored into a directory that is new, and nothing there is overwritten`,
  );
}
