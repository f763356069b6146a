import { assert } from "../../core/assert.ts";
import type { Environment, FileLock, FileSystem } from "../../environment/environment.ts";
import { SimulatedFiles } from "../../environment/simulated/simulated-files.ts";
import {
  ClosedError,
  CorruptSnapshotError,
  DirectoryLockedError,
  InvalidOptionError,
  RaftError,
  StorageFailedError,
} from "../../errors.ts";
import { DraftFile } from "./draft-file.ts";
import { checkLastBlock, readHeader } from "./format.ts";
import { IncomingFile, intactPrefixBytes } from "./incoming-file.ts";
import { draftName, fileKind, incomingName, parseSnapshotName, snapshotName } from "./file-names.ts";
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
 * complete and synced file is the step that makes it count. file-names.ts lists the names.
 */

/** Options of `snapshotFiles`. */
export interface SnapshotFilesOptions {
  /**
   * Receives messages for people, such as that an incomplete snapshot was removed. Default: they are dropped.
   */
  readonly onLog?: (level: "info" | "warn", text: string, fields?: Readonly<Record<string, unknown>>) => void;
}

const ID_PATTERN = /^[0-9a-f]{32}$/;
const ID_BYTES = 16;

/**
 * Snapshots as files in `directory`. The directory is created if it isn't there, and locked while the store
 * is open.
 *
 * @example
 * const snapshots = snapshotFiles("./data/a/snapshots");
 */
export function snapshotFiles(directory: string, options: SnapshotFilesOptions = {}): SnapshotStore {
  if (directory.length === 0) throw new InvalidOptionError("the snapshots' directory has no name");
  return new SnapshotFiles(directory, null, options);
}

/** Snapshots in memory, for tests and examples. They survive `close`, and are lost with the object. */
export function memorySnapshots(): SnapshotStore {
  return new SnapshotFiles("/snapshots", new SimulatedFiles(), {});
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
}

class SnapshotFiles implements SnapshotStore {
  readonly #directory: string;
  readonly #log: NonNullable<SnapshotFilesOptions["onLog"]>;
  /** The file system to use; null: that of the environment which `open` gets. */
  readonly #ownFiles: FileSystem | null;
  /** null: the store is not open. */
  #open: OpenState | null = null;
  /** The complete snapshots on disk, except damaged ones that `open` found; ascending by index. */
  #complete: CompleteSnapshot[] = [];
  /** The id of the snapshot that is being received; null: none. */
  #incomingId: string | null = null;
  /** Damaged files that `open` found. They stay for an operator to look at until there is a new snapshot. */
  #damaged: readonly DamagedSnapshot[] = [];

  constructor(directory: string, files: FileSystem | null, { onLog }: SnapshotFilesOptions) {
    this.#directory = directory;
    this.#ownFiles = files;
    this.#log = onLog ?? (() => undefined);
  }

  get newest(): StoredSnapshot | null {
    return this.#complete.at(-1)?.snapshot ?? null;
  }

  async open(environment: Environment): Promise<OpenedSnapshots> {
    if (this.#open !== null) throw new DirectoryLockedError(`${this.#directory} is open already`);
    const files = this.#ownFiles ?? environment.files;
    try {
      await files.makeDirectory(this.#directory);
      const lock = await this.#lock(files);
      try {
        return await this.#load(files, environment, lock);
      } catch (error) {
        await lock.release();
        throw error;
      }
    } catch (error) {
      if (error instanceof RaftError) throw error;
      const text = `the snapshots in ${this.#directory} could not be opened: ${textOf(error)}`;
      throw new StorageFailedError(text, "not-done", { cause: error });
    }
  }

  async create(header: Omit<SnapshotHeader, "id">, sessions: Uint8Array): Promise<SnapshotDraft> {
    const { files, random } = this.#requireOpen();
    const id = randomId(random);
    const path = this.#path(draftName(id));
    const handle = await files.open(path, "create");
    const draft = new DraftFile(handle, {
      publish: () => this.#publish(path, id, "taken"),
      discard: () => this.#remove(path),
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
    try {
      const path = this.#path(incomingName(id));
      const found = await this.#removeOtherIncoming(files, path);
      const handle = await files.open(path, found ? "write" : "create");
      const file = { handle, path, bytes };
      const offset = found ? await intactPrefixBytes({ ...file, bytes: await handle.size() }) : 0;
      if (found) await handle.truncate(offset);
      const done = (): void => {
        this.#incomingId = null;
      };
      return new IncomingFile(id, file, offset, {
        publish: () => this.#publish(path, id, "received").finally(done),
        discard: () => this.#remove(path).finally(done),
        suspended: done,
      });
    } catch (error) {
      this.#incomingId = null;
      throw error;
    }
  }

  async read(id: string): Promise<SnapshotReader | null> {
    const { files } = this.#requireOpen();
    const entry = this.#complete.find(({ snapshot }) => snapshot.id === id);
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
    for (const entry of this.#complete) if (entry.snapshot.id === id) entry.isObsolete = true;
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
    const damaged: DamagedSnapshot[] = [];
    const complete: CompleteSnapshot[] = [];
    for (const name of names.toReversed()) {
      const kind = fileKind(name);
      if (kind !== "taken" && kind !== "received") continue;
      const path = this.#path(name);
      try {
        const snapshot = await readSummary(files, path, kind);
        checkName(path, name, snapshot);
        complete.unshift({ path, snapshot, readers: 0, isObsolete: false });
      } catch (error) {
        if (!(error instanceof CorruptSnapshotError)) throw error;
        // A damaged snapshot matters only if it may be newer than all intact ones.
        if (complete.length === 0) damaged.push({ file: path, reason: error.message });
      }
    }
    // A draft can't be continued after a crash. An incoming snapshot can: `receive` checks how much of it is
    // intact.
    for (const name of names.filter((one) => fileKind(one) === "draft")) {
      await files.remove(this.#path(name));
      this.#log("info", "removed a snapshot that was not finished", { file: this.#path(name) });
    }
    this.#open = { files, random: () => environment.random(), lock };
    this.#complete = complete;
    this.#damaged = damaged;
    // An earlier process may have ended between a rename and the sync of the directory. The node is about to
    // rely on the name, so make it durable first (D7).
    await files.syncDirectory(this.#directory);
    return { newest: this.newest, damaged };
  }

  /** Turns a complete, synced file into the newest snapshot by renaming it. */
  async #publish(from: string, id: string, origin: StoredSnapshot["origin"]): Promise<StoredSnapshot> {
    const { files } = this.#requireOpen();
    const snapshot = await readSummary(files, from, origin);
    if (snapshot.id !== id) {
      await this.#remove(from);
      throw new CorruptSnapshotError(from, 0, `the snapshot ${from} should be ${id} and is ${snapshot.id}`);
    }
    const path = this.#path(snapshotName(snapshot.position, id, origin));
    await files.rename(from, path);
    await files.syncDirectory(this.#directory);
    this.#complete = this.#complete.filter((entry) => entry.path !== path);
    this.#complete.push({ path, snapshot, readers: 0, isObsolete: false });
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
      this.#log("warn", "an old snapshot could not be removed", { file, reason: textOf(error) });
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

  async #lock(files: FileSystem): Promise<FileLock> {
    try {
      return await files.lock(this.#directory);
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "ELOCKED")) throw error;
      throw new DirectoryLockedError(error.message, { cause: error });
    }
  }

  #path(name: string): string {
    return `${this.#directory}/${name}`;
  }

  #requireOpen(): OpenState {
    if (this.#open === null) throw new ClosedError();
    return this.#open;
  }
}

/** Reads a complete file's header and checks its end block. */
async function readSummary(
  files: FileSystem,
  path: string,
  origin: StoredSnapshot["origin"],
): Promise<StoredSnapshot> {
  const handle = await files.open(path, "read");
  try {
    const file = { handle, path, bytes: await handle.size() };
    const { header } = await readHeader(file);
    await checkLastBlock(file);
    return { ...header, bytes: file.bytes, origin };
  } finally {
    await handle.close();
  }
}

/** Throws unless the file's name and its header tell the same position and id. */
function checkName(path: string, name: string, { position, id }: StoredSnapshot): void {
  const named = parseSnapshotName(name);
  if (named.index === position.index && named.term === position.term && named.id === id) return;
  throw new CorruptSnapshotError(path, 0, `the snapshot ${path} has the name of another`);
}

/** 128 random bits as hexadecimal digits. */
function randomId(random: () => number): string {
  const bytes = Uint8Array.from({ length: ID_BYTES }, () => Math.floor(random() * 256));
  return Buffer.from(bytes).toString("hex");
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
