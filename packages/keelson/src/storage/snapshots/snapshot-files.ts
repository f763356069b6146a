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

/** Options of `snapshotFiles`. */
export interface SnapshotFilesOptions {
  /** Where messages for people go, such as that a half-written snapshot was removed. Default: nowhere. */
  readonly onLog?: (level: "info" | "warn", text: string, fields?: Readonly<Record<string, unknown>>) => void;
}

const ID_PATTERN = /^[0-9a-f]{32}$/;
const ID_BYTES = 16;

/**
 * Snapshots as files: in `directory`, which it makes if need be and holds for itself while it is open.
 *
 * @example
 * const snapshots = snapshotFiles("./data/a/snapshots");
 */
export function snapshotFiles(directory: string, options: SnapshotFilesOptions = {}): SnapshotStore {
  if (directory.length === 0) throw new InvalidOptionError("the snapshots' directory has no name");
  return new SnapshotFiles(directory, null, options);
}

/** Snapshots in memory, for tests and examples: they are there as long as this object is. */
export function memorySnapshots(): SnapshotStore {
  return new SnapshotFiles("/snapshots", new SimulatedFiles(), {});
}

/** What an open store holds on to. */
interface OpenState {
  readonly files: FileSystem;
  readonly random: () => number;
  readonly lock: FileLock;
}

/** A complete snapshot on disk. */
interface CompleteSnapshot {
  readonly path: string;
  readonly snapshot: StoredSnapshot;
  readers: number;
  /** A newer one has come, or it is damaged: it goes when nobody reads it any more. */
  isObsolete: boolean;
}

class SnapshotFiles implements SnapshotStore {
  readonly #directory: string;
  readonly #log: NonNullable<SnapshotFilesOptions["onLog"]>;
  /** null: the environment's. */
  readonly #ownFiles: FileSystem | null;
  #open: OpenState | null = null;
  /** Ascending by index. */
  #complete: CompleteSnapshot[] = [];
  #incomingId: string | null = null;
  /** Files that were found damaged: they go when there is something better. */
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
    const kept = this.#complete.find(({ snapshot }) => snapshot.id === id);
    if (kept === undefined) return null;
    kept.readers += 1;
    const release = async (): Promise<void> => {
      kept.readers -= 1;
      await this.#removeObsolete();
    };
    try {
      const handle = await files.open(kept.path, "read");
      return new SnapshotFileReader(
        kept.snapshot,
        { handle, path: kept.path, bytes: kept.snapshot.bytes },
        release,
      );
    } catch (error) {
      await release();
      throw error;
    }
  }

  async discard(id: string): Promise<void> {
    for (const kept of this.#complete) if (kept.snapshot.id === id) kept.isObsolete = true;
    await this.#removeObsolete();
  }

  async close(): Promise<void> {
    const open = this.#open;
    this.#open = null;
    this.#complete = [];
    this.#incomingId = null;
    await open?.lock.release();
  }

  async #load(files: FileSystem, environment: Environment, lock: FileLock): Promise<OpenedSnapshots> {
    const names = (await files.list(this.#directory)).sort();
    const damaged: DamagedSnapshot[] = [];
    const kept: CompleteSnapshot[] = [];
    for (const name of names.toReversed()) {
      const kind = fileKind(name);
      if (kind !== "taken" && kind !== "received") continue;
      const path = this.#path(name);
      try {
        const snapshot = await readSummary(files, path, kind);
        checkName(path, name, snapshot);
        kept.unshift({ path, snapshot, readers: 0, isObsolete: false });
      } catch (error) {
        if (!(error instanceof CorruptSnapshotError)) throw error;
        // Older ones than one that is whole are not wanted any more, damaged or not.
        if (kept.length === 0) damaged.push({ file: path, reason: error.message });
      }
    }
    // A draft means nothing after a crash, and an intake only what its checksums say when it goes on.
    for (const name of names.filter((one) => fileKind(one) === "draft")) {
      await files.remove(this.#path(name));
      this.#log("info", "removed a snapshot that was not finished", { file: this.#path(name) });
    }
    this.#open = { files, random: () => environment.random(), lock };
    this.#complete = kept;
    this.#damaged = damaged;
    // Its name may not be durable yet: an earlier run may have ended between the rename and the sync.
    await files.syncDirectory(this.#directory);
    return { newest: this.newest, damaged };
  }

  /** A synced file becomes a snapshot by its name: this is the one step that makes it count. */
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
    this.#complete = this.#complete.filter((kept) => kept.path !== path);
    this.#complete.push({ path, snapshot, readers: 0, isObsolete: false });
    this.#complete.sort((a, b) => a.snapshot.position.index - b.snapshot.position.index);
    for (const { file } of this.#damaged) await this.#removeOrWarn(file);
    this.#damaged = [];
    await this.#removeObsolete();
    return snapshot;
  }

  /** Removes all but the newest snapshot and those that are being read. */
  async #removeObsolete(): Promise<void> {
    const newest = this.#complete.findLast(({ isObsolete }) => !isObsolete);
    for (const kept of [...this.#complete]) {
      if (kept !== newest) kept.isObsolete = true;
      if (!kept.isObsolete || kept.readers > 0) continue;
      this.#complete = this.#complete.filter((other) => other !== kept);
      await this.#removeOrWarn(kept.path);
    }
  }

  /** What cannot be removed takes space and does no other harm. */
  async #removeOrWarn(file: string): Promise<void> {
    try {
      await this.#remove(file);
    } catch (error) {
      this.#log("warn", "an old snapshot could not be removed", { file, reason: textOf(error) });
    }
  }

  /** Removes the beginnings of other snapshots; whether there is one at `path`. */
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

/** What a file says of itself at its two ends. */
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
