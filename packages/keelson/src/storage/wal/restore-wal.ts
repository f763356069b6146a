import { encodeMembership } from "../../codec/config.ts";
import { configOf } from "../../core/config.ts";
import type { LogPosition, NodeId } from "../../core/position.ts";
import { formatAddress, isDialable, parseAddress } from "../../environment/address.ts";
import type { Environment, FileLock, FileSystem } from "../../environment/environment.ts";
import { isLockFile } from "../../environment/lock-files.ts";
import { nodeEnvironment } from "#node-environment";
import { InvalidOptionError, StorageFailedError } from "../../errors.ts";
import { clusterIdOf, newIncarnation } from "../../codec/cluster-id.ts";
import { openSnapshotFile } from "../snapshots/open-snapshot-file.ts";
import { SnapshotFiles } from "../snapshots/snapshot-files.ts";
import type { SnapshotReader, SnapshotStore } from "../snapshot-store.ts";
import { lockStore } from "../lock-store.ts";
import { asError, hasCode } from "./file-error.ts";
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
  readonly clusterName?: string | undefined;
  /** Called as bytes are checked, and then copied. `bytesTotal` is twice the snapshot's size. */
  readonly onProgress?: ((bytesDone: number, bytesTotal: number) => void) | undefined;
  /** Default: Node's. */
  readonly environment?: Environment | undefined;
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
 * of the same snapshot.
 *
 * If it fails, it removes what it wrote, so that it can be called again. If a crash interrupts it, a node
 * refuses to start from what was written; delete both directories and restore again.
 *
 * @throws CorruptSnapshotError the snapshot is damaged, nothing was written; InvalidOptionError a directory
 *   isn't empty, or an option is wrong; DirectoryLockedError another process uses a directory;
 *   StorageFailedError
 */
export async function restoreWal(options: RestoreOptions): Promise<Restored> {
  const { environment = nodeEnvironment(), log, snapshots } = options;
  const { files } = environment;
  const address = formatAddress(parseAddress(options.address, "address"));
  if (!isDialable(address)) {
    throw new InvalidOptionError(`address is ${JSON.stringify(address)}, which other nodes can't dial`);
  }
  for (const directory of [log, snapshots]) await checkEmpty(directory, files);
  const reader = await openSnapshotFile(options.snapshot, environment);
  try {
    const { bytes } = reader.snapshot;
    const progress = (done: number): void => options.onProgress?.(Math.min(done, bytes * 2), bytes * 2);
    // Check the whole backup before anything is written, so that a damaged one leaves no directories behind.
    let checked = 0;
    for await (const chunk of reader.state()) progress((checked += chunk.length));
    progress(bytes);
    const locks: FileLock[] = [];
    try {
      for (const directory of [log, snapshots]) {
        await files.makeDirectory(directory);
        locks.push(await lockStore(files, directory));
        // Check again: until this process had the lock, another one may have used the directory.
        await checkEmpty(directory, files);
      }
      return await restoreInto(options, { environment, address, reader, locks, progress });
    } finally {
      for (const lock of locks.reverse()) await lock.release();
    }
  } finally {
    // The backup was only read: failing to close it changes nothing about what was written.
    await reader.close().catch(() => undefined);
  }
}

/** What `restoreWal` has prepared. */
interface Prepared {
  readonly environment: Environment;
  /** The member's address, checked. */
  readonly address: string;
  /** Reads the backup, all of which was checked. */
  readonly reader: SnapshotReader;
  /** The locks of the log's and of the snapshots' directory, in this order. Both directories are empty. */
  readonly locks: readonly FileLock[];
  readonly progress: (bytesDone: number) => void;
}

/** Writes both directories. If that fails, removes what it wrote. */
async function restoreInto(options: RestoreOptions, prepared: Prepared): Promise<Restored> {
  const { environment, reader, locks, progress } = prepared;
  const { nodeId, clusterName } = options;
  const { position, bytes } = reader.snapshot;
  const config = encodeMembership({
    config: configOf([nodeId]),
    members: new Map([[nodeId, { address: prepared.address }]]),
  });
  // The new incarnation tells apart two clusters that are restored with the same member from the same backup.
  const clusterId = newIncarnation(clusterIdOf(config, clusterName ?? null), () => environment.random());
  try {
    const header = { clusterId, position, membership: config };
    const store = new SnapshotFiles(options.snapshots);
    await store.open(environment, borrowed(locks[1]));
    await copySnapshot(reader, header, store, (done) => {
      progress(bytes + done);
    });
    // The log is written last. The copied snapshot counts as taken by this node, and a node refuses to start
    // if such a snapshot is ahead of its log. So after a crash nothing starts from an incomplete restore.
    const log = new WalLog(options.log);
    await log.open({ nodeId, clusterId }, environment, borrowed(locks[0]));
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
  } catch (error) {
    await undo(options, environment.files, error);
    throw error;
  }
  progress(bytes * 2);
  return { clusterId, position, bytes };
}

/**
 * A lock that a store can take over and release without effect: this function's caller holds the real lock
 * for longer than the store is open.
 */
function borrowed(lock: FileLock | undefined): FileLock | undefined {
  return lock && { release: () => Promise.resolve() };
}

/** Copies the sessions and the state into a snapshot with another header. Closes the store. */
async function copySnapshot(
  reader: SnapshotReader,
  header: { readonly clusterId: string; readonly position: LogPosition; readonly membership: Uint8Array },
  store: SnapshotStore,
  onProgress: (bytesDone: number) => void,
): Promise<void> {
  try {
    const draft = await store.create(header, reader.sessions());
    let copied = 0;
    for await (const chunk of reader.state()) {
      await draft.write(chunk);
      onProgress((copied += chunk.length));
    }
    await draft.finish();
  } finally {
    await store.close();
  }
}

/**
 * Removes what was written before a failure: the directories were empty and are locked, so all files in them
 * are from this call. The log goes first: without a log, no node starts from the snapshot.
 */
async function undo({ log, snapshots }: RestoreOptions, files: FileSystem, failure: unknown): Promise<void> {
  try {
    for (const directory of [log, snapshots]) {
      for (const name of await contentsOf(directory, files)) await files.remove(`${directory}/${name}`);
      await files.syncDirectory(directory);
    }
  } catch (error) {
    throw new StorageFailedError(
      `${asError(failure).message}; and what was written until then could not be removed ` +
        `(${asError(error).message}). Delete ${log} and ${snapshots} before restoring again`,
      "not-done",
      { cause: failure },
    );
  }
}

/** Throws unless the directory is empty or doesn't exist. */
async function checkEmpty(directory: string, files: FileSystem): Promise<void> {
  const [name] = await contentsOf(directory, files);
  if (name === undefined) return;
  throw new InvalidOptionError(
    `${directory} is not empty, it has ${name}; a backup is restored into a directory that is new, and nothing ` +
      "there is overwritten. If it is left over from a restore that a crash interrupted, delete it",
  );
}

/** The names of the files in a directory, except those of its lock. None if it doesn't exist. */
async function contentsOf(directory: string, files: FileSystem): Promise<readonly string[]> {
  try {
    return (await files.list(directory)).filter((name) => !isLockFile(name));
  } catch (error) {
    if (hasCode(error, "ENOENT")) return [];
    throw error;
  }
}
