import type { ComponentLog } from "../../log-event.ts";
import { adviceFor } from "../file-advice.ts";
import { randomId } from "../random-id.ts";
import { assert } from "../../core/assert.ts";
import type { Environment, FileHandle, FileLock, FileSystem } from "../../environment/environment.ts";
import { SimulatedFiles } from "../../environment/simulated/simulated-files.ts";
import {
  ClosedError,
  CorruptSnapshotError,
  DirectoryLockedError,
  InvalidOptionError,
  RaftError,
  StorageFailedError,
  textOfThrown,
} from "../../errors.ts";
import { lockStore } from "../lock-store.ts";
import { DraftFile } from "./draft-file.ts";
import { findSnapshots, readSummary } from "./find-snapshots.ts";
import type { SnapshotFile } from "./format.ts";
import { IncomingFile, intactPrefixBytes, makePrefixDurable } from "./incoming-file.ts";
import { draftName, fileKind, incomingName, snapshotName } from "./file-names.ts";
import { SnapshotFileReader } from "./snapshot-file-reader.ts";
import type {
  DamagedSnapshot,
  OpenedSnapshots,
  SnapshotDraft,
  SnapshotHeader,
  IncomingSnapshot,
  SnapshotReader,
  SnapshotStore,
  StoredSnapshot,
} from "../snapshot-store.ts";

/*
 * The implementation of `SnapshotStore` on files. A snapshot is written under a temporary name; renaming the
 * complete and synced file is the step that makes it one of the store's snapshots. file-names.ts lists the
 * names.
 */

const ID_PATTERN = /^[0-9a-f]{32}$/;

/**
 * Snapshots as files in `directory`. The directory is created if it isn't there, and locked while the store
 * is open.
 *
 * @example
 * const snapshots = snapshotFiles("./data/a/snapshots");
 */
export function snapshotFiles(directory: string): SnapshotStore {
  if (directory.length === 0) throw new InvalidOptionError("the snapshots' directory has no name");
  return new SnapshotFiles(directory);
}

/** Snapshots in memory, for tests and examples. They survive `close`, and are lost with the object. */
export function memorySnapshots(): SnapshotStore {
  return new SnapshotFiles("/snapshots", new SimulatedFiles());
}

/** What a store has while it's open. */
interface OpenState {
  readonly files: FileSystem;
  readonly random: () => number;
  readonly lock: FileLock;
}

/** A complete snapshot on disk. */
interface CompleteSnapshot {
  readonly path: string;
  readonly snapshot: StoredSnapshot;
  /** How many open readers it has. */
  readers: number;
  /**
   * There is a newer one, or it's damaged. It's removed as soon as it has no readers. Never goes back to
   * false.
   */
  isObsolete: boolean;
  /** It's damaged, so no new reader gets it. Never goes back to false. */
  isDiscarded: boolean;
}

/** Exported for `restoreWal`, which has locked the directory already and passes that lock to `open`. */
export class SnapshotFiles implements SnapshotStore {
  readonly #directory: string;
  /** Set by `logTo`. Without it, messages for people are dropped. */
  #log: ComponentLog = () => undefined;
  /** The file system to use; null: that of the environment which `open` gets. */
  readonly #ownFiles: FileSystem | null;
  /** null: the store is not open. */
  #open: OpenState | null = null;
  /** The complete snapshots on disk, except damaged ones that `open` found; ascending by index. */
  #complete: CompleteSnapshot[] = [];
  /** The id of the snapshot that is being received; null: none. */
  #incomingId: string | null = null;
  /**
   * The damaged snapshots that `open` found. Their files stay on disk, so that an operator can examine them,
   * until this store has a new complete snapshot and removes them.
   */
  #damaged: readonly DamagedSnapshot[] = [];

  /** `files`: the file system to use; null: that of the environment which `open` gets. */
  constructor(directory: string, files: FileSystem | null = null) {
    this.#directory = directory;
    this.#ownFiles = files;
  }

  get newest(): StoredSnapshot | null {
    return this.#complete.findLast(({ isObsolete }) => !isObsolete)?.snapshot ?? null;
  }

  logTo(log: ComponentLog): void {
    this.#log = log;
  }

  /**
   * @param held the directory's lock, if the caller has taken it already. The store takes it over, and
   *   releases it when it is closed or fails to open.
   */
  async open(environment: Environment, held?: FileLock): Promise<OpenedSnapshots> {
    if (this.#open !== null) throw new DirectoryLockedError(`${this.#directory} is open already`);
    const files = this.#ownFiles ?? environment.files;
    try {
      await files.makeDirectory(this.#directory);
      const lock = held ?? (await lockStore(files, this.#directory));
      try {
        return await this.#load(files, environment, lock);
      } catch (error) {
        await lock.release();
        throw error;
      }
    } catch (error) {
      if (error instanceof RaftError) throw error;
      const text = `the snapshots in ${this.#directory} could not be opened: ${textOfThrown(error)}.${adviceFor(error)}`;
      throw new StorageFailedError(text, "not-done", { cause: error });
    }
  }

  async create(
    header: Omit<SnapshotHeader, "id">,
    sessions: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  ): Promise<SnapshotDraft> {
    const { files, random } = this.#requireOpen();
    const id = randomId(random);
    const path = this.#path(draftName(id));
    const handle = await files.open(path, "create");
    const names = [path];
    const draft = new DraftFile(handle, {
      publish: () => this.#publish(names, id, "taken"),
      discard: () => this.#removeUnpublished(names),
    });
    try {
      await draft.begin({ ...header, id }, sessions);
    } catch (error) {
      await draft.abort().catch(() => undefined);
      throw error;
    }
    return draft;
  }

  async receive(id: string, bytes: number): Promise<IncomingSnapshot> {
    const { files } = this.#requireOpen();
    assert(this.#incomingId === null, "one snapshot is received at a time");
    if (!ID_PATTERN.test(id)) throw new InvalidOptionError(`${JSON.stringify(id)} is no id of a snapshot`);
    this.#incomingId = id;
    let handle: FileHandle | null = null;
    try {
      const path = this.#path(incomingName(id));
      const found = await this.#removeOtherIncoming(files, path);
      handle = await files.open(path, found ? "write" : "create");
      const file = { handle, path, bytes };
      const offset = found ? await keptBytes(file) : 0;
      const done = (): void => {
        this.#incomingId = null;
      };
      const names = [path];
      return new IncomingFile(id, file, offset, {
        publish: () => this.#publish(names, id, "received").finally(done),
        discard: () => this.#removeUnpublished(names).finally(done),
        suspended: done,
      });
    } catch (error) {
      this.#incomingId = null;
      await handle?.close().catch(() => undefined);
      throw error;
    }
  }

  async read(id: string): Promise<SnapshotReader | null> {
    const { files } = this.#requireOpen();
    const entry = this.#complete.find(({ snapshot, isDiscarded }) => snapshot.id === id && !isDiscarded);
    if (entry === undefined) return null;
    entry.readers += 1;
    const release = async (): Promise<void> => {
      entry.readers -= 1;
      await this.#removeObsolete();
    };
    try {
      const handle = await files.open(entry.path, "read");
      return new SnapshotFileReader(
        entry.snapshot,
        { handle, path: entry.path, bytes: entry.snapshot.bytes },
        release,
      );
    } catch (error) {
      await release();
      throw error;
    }
  }

  async discard(id: string): Promise<void> {
    this.#requireOpen();
    for (const entry of this.#complete) {
      if (entry.snapshot.id === id) entry.isObsolete = entry.isDiscarded = true;
    }
    await this.#removeObsolete();
  }

  async close(): Promise<void> {
    const open = this.#open;
    this.#open = null;
    this.#complete = [];
    this.#incomingId = null;
    await open?.lock.release();
  }

  /** Reads the directory's complete snapshots, removes drafts, and opens the store. */
  async #load(files: FileSystem, environment: Environment, lock: FileLock): Promise<OpenedSnapshots> {
    const names = (await files.list(this.#directory)).sort();
    const { complete, damaged } = await findSnapshots(files, this.#directory, names);
    // A draft can't be continued after a crash. An incoming snapshot can: `receive` checks how much of it is
    // intact.
    for (const name of names.filter((one) => fileKind(one) === "draft")) {
      await files.remove(this.#path(name));
      this.#log("info", "removed a snapshot that was not finished", { file: this.#path(name) });
    }
    this.#open = { files, random: () => environment.random(), lock };
    this.#complete = complete.map(({ path, snapshot }) => completeSnapshot(path, snapshot));
    this.#damaged = damaged;
    // An earlier process may have ended between a rename and the sync of the directory. The node is about to
    // rely on the name, so make it durable first (D7).
    await files.syncDirectory(this.#directory);
    return { newest: this.newest, damaged };
  }

  /**
   * Turns a complete, synced file into the newest snapshot by renaming it. `names` holds the file's present
   * name, and this method adds the new one: if it rejects, the file may have either, and `#removeUnpublished`
   * has to try both.
   */
  async #publish(names: string[], id: string, origin: StoredSnapshot["origin"]): Promise<StoredSnapshot> {
    const { files } = this.#requireOpen();
    const [from = ""] = names;
    const snapshot = await readSummary(files, from, origin);
    if (snapshot.id !== id) {
      throw new CorruptSnapshotError(from, 0, `the snapshot ${from} should be ${id} and is ${snapshot.id}`);
    }
    const path = this.#path(snapshotName(snapshot.position, id, origin));
    names.push(path);
    await files.rename(from, path);
    await files.syncDirectory(this.#directory);
    this.#complete = this.#complete.filter((entry) => entry.path !== path);
    this.#complete.push(completeSnapshot(path, snapshot));
    this.#complete.sort((a, b) => a.snapshot.position.index - b.snapshot.position.index);
    for (const { file } of this.#damaged) await this.#removeOrWarn(file);
    this.#damaged = [];
    await this.#removeObsolete();
    return snapshot;
  }

  /**
   * Removes the complete snapshots that are not the newest, or were discarded, unless they are being read.
   */
  async #removeObsolete(): Promise<void> {
    const newest = this.#complete.findLast(({ isObsolete }) => !isObsolete);
    for (const entry of [...this.#complete]) {
      if (entry !== newest) entry.isObsolete = true;
      if (!entry.isObsolete || entry.readers > 0) continue;
      this.#complete = this.#complete.filter((other) => other !== entry);
      await this.#removeOrWarn(entry.path);
    }
  }

  /** Removes a file, if possible: one that can't be removed takes space and does no other harm. */
  async #removeOrWarn(file: string): Promise<void> {
    try {
      await this.#remove(file);
    } catch (error) {
      this.#log("warn", "an old snapshot could not be removed", { file, reason: textOfThrown(error) });
    }
  }

  /**
   * Removes the file of a snapshot that is given up before `#publish` has resolved; `names` are those that
   * the file may have. A name that belongs to a complete snapshot is left alone: the store may have received
   * the same snapshot before.
   */
  async #removeUnpublished(names: readonly string[]): Promise<void> {
    for (const name of names) {
      if (this.#complete.some(({ path }) => path === name)) continue;
      await this.#remove(name).catch((error: unknown) => {
        if (!isMissing(error)) throw error;
      });
    }
  }

  /** Removes incoming files of other snapshots. Resolves with whether there is a file at `path`. */
  async #removeOtherIncoming(files: FileSystem, path: string): Promise<boolean> {
    let found = false;
    for (const name of await files.list(this.#directory)) {
      if (fileKind(name) !== "incoming") continue;
      if (this.#path(name) === path) found = true;
      else await this.#remove(this.#path(name));
    }
    return found;
  }

  async #remove(path: string): Promise<void> {
    await this.#open?.files.remove(path);
  }

  #path(name: string): string {
    return `${this.#directory}/${name}`;
  }

  #requireOpen(): OpenState {
    if (this.#open === null) throw new ClosedError();
    return this.#open;
  }
}

function completeSnapshot(path: string, snapshot: StoredSnapshot): CompleteSnapshot {
  return { path, snapshot, readers: 0, isObsolete: false, isDiscarded: false };
}

/**
 * How many bytes of an incomplete file are kept and durable. The rest is cut off. Closes the handle if it
 * fails.
 */
async function keptBytes(file: SnapshotFile): Promise<number> {
  const { handle } = file;
  try {
    const offset = await intactPrefixBytes({ ...file, bytes: await handle.size() });
    await handle.truncate(offset);
    await makePrefixDurable(handle, offset);
    return offset;
  } catch (error) {
    await handle.close().catch(() => undefined);
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}
