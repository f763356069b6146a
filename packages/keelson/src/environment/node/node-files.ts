// Node's file system as the environment offers it. Callbacks are used instead of `node:fs/promises` for open
// files: the log waits for these calls, and they cost less.
import fs from "node:fs";
import path from "node:path";
import type { FileHandle, FileSystem } from "../environment.ts";
import { lockDirectory } from "./directory-lock.ts";
import { readFully, writeFully } from "../partial-io.ts";
import { openSyncedDescriptor } from "./synced-descriptor.ts";

/**
 * Zeros are written in pieces of this size, so that other requests to the disk don't wait long behind an
 * allocation.
 */
const ZEROS_BYTES = 1024 * 1024;

/**
 * A larger durable write is a write and a sync in two calls. Its bytes take most of the time, and one call
 * was not faster in our measurements.
 */
const SYNCED_WRITE_BYTES_MAX = 64 * 1024;

type Done = (error: NodeJS.ErrnoException | null) => void;

/** Creates the file system of production. */
export function nodeFiles(): FileSystem {
  return {
    open: openFile,
    list: (directory) => fs.promises.readdir(directory),
    makeDirectory,
    remove: (file) => fs.promises.unlink(file),
    rename: (from, to) => fs.promises.rename(from, to),
    syncDirectory,
    lock: lockDirectory,
  };
}

const OPEN_FLAGS = { create: "wx+", write: "r+", read: "r" } as const;

function openFile(file: string, mode: "create" | "write" | "read"): Promise<FileHandle> {
  return new Promise((resolve, reject) => {
    fs.open(file, OPEN_FLAGS[mode], (error, fd) => {
      if (error === null) resolve(new NodeFile(fd));
      else reject(error);
    });
  });
}

class NodeFile implements FileHandle {
  readonly #fd: number;
  /** A descriptor whose writes are durable; null: there is none; undefined: no durable write yet. */
  #syncedFd: number | null | undefined;
  /** Opens `#syncedFd`; null: not begun. */
  #opening: Promise<void> | null = null;

  constructor(fd: number) {
    this.#fd = fd;
  }

  size(): Promise<number> {
    return new Promise((resolve, reject) => {
      fs.fstat(this.#fd, (error, stats) => {
        if (error === null) resolve(stats.size);
        else reject(error);
      });
    });
  }

  read(target: Uint8Array, position: number): Promise<number> {
    return readFully(this.#readOnce, target, position);
  }

  write(chunks: readonly Uint8Array[], position: number): Promise<void> {
    return writeFully(this.#writeOnce, chunks, position);
  }

  async writeDurably(chunks: readonly Uint8Array[], position: number): Promise<void> {
    const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    if (length > SYNCED_WRITE_BYTES_MAX) return this.#writeAndSync(chunks, position);
    if (this.#syncedFd === undefined) await (this.#opening ??= this.#openSynced());
    const fd = this.#syncedFd;
    if (typeof fd === "number") return writeFully((rest, at) => writeOnce(fd, rest, at), chunks, position);
    return this.#writeAndSync(chunks, position);
  }

  async #writeAndSync(chunks: readonly Uint8Array[], position: number): Promise<void> {
    await this.write(chunks, position);
    await this.dataSync();
  }

  async #openSynced(): Promise<void> {
    this.#syncedFd = await openSyncedDescriptor(this.#fd);
  }

  async allocate(bytes: number): Promise<void> {
    // Node has no `fallocate`, and it would not help: on most file systems a first write to blocks that were
    // only reserved changes metadata, and so makes its sync slower; a write over written zeros doesn't.
    const zeros = new Uint8Array(ZEROS_BYTES);
    for (let at = await this.size(); at < bytes; at += ZEROS_BYTES) {
      await this.write([zeros.subarray(0, Math.min(ZEROS_BYTES, bytes - at))], at);
    }
  }

  truncate(bytes: number): Promise<void> {
    return promised((done) => {
      fs.ftruncate(this.#fd, bytes, done);
    });
  }

  dataSync(): Promise<void> {
    return promised((done) => {
      fs.fdatasync(this.#fd, done);
    });
  }

  async close(): Promise<void> {
    await this.#opening;
    const closing = [closeDescriptor(this.#fd)];
    if (typeof this.#syncedFd === "number") closing.push(closeDescriptor(this.#syncedFd));
    await Promise.all(closing);
  }

  readonly #readOnce = (target: Uint8Array, position: number): Promise<number> =>
    new Promise((resolve, reject) => {
      fs.read(this.#fd, target, 0, target.length, position, (error, count) => {
        if (error === null) resolve(count);
        else reject(error);
      });
    });

  readonly #writeOnce = (chunks: readonly Uint8Array[], position: number): Promise<number> =>
    writeOnce(this.#fd, chunks, position);
}

function writeOnce(fd: number, chunks: readonly Uint8Array[], position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const done = (error: NodeJS.ErrnoException | null, count: number): void => {
      if (error === null) resolve(count);
      else reject(error);
    };
    const [first] = chunks;
    if (chunks.length === 1 && first !== undefined) fs.write(fd, first, 0, first.length, position, done);
    else fs.writev(fd, chunks, position, done);
  });
}

function closeDescriptor(fd: number): Promise<void> {
  return promised((done) => {
    fs.close(fd, done);
  });
}

/**
 * Makes a directory and those above it, then syncs all directories up to the root, also those that existed.
 * An earlier run may have made one and ended before its sync: the next power cut would remove it with
 * everything below it.
 */
async function makeDirectory(directory: string): Promise<void> {
  const absolute = path.resolve(directory);
  await makeMissing(absolute);
  let child = absolute;
  for (let parent = path.dirname(child); parent !== child; child = parent, parent = path.dirname(child)) {
    try {
      await syncDirectory(parent);
    } catch (error) {
      // A directory that this process may not open is not one that it changed; nor are those above it.
      if (!isAnyOf(error, ["EACCES", "EPERM", "EROFS", "EINVAL"])) throw error;
      return;
    }
  }
}

/**
 * Makes one directory after another. On a file system where none can be made, such as /proc, `mkdir` with
 * `recursive` would try without end.
 */
async function makeMissing(directory: string): Promise<void> {
  try {
    await makeOne(directory);
  } catch (error) {
    const parent = path.dirname(directory);
    if (!isAnyOf(error, ["ENOENT"]) || parent === directory) throw error;
    await makeMissing(parent);
    await makeOne(directory);
  }
}

async function makeOne(directory: string): Promise<void> {
  try {
    await fs.promises.mkdir(directory);
  } catch (error) {
    const stats = await fs.promises.stat(directory).catch(() => null);
    if (stats?.isDirectory() !== true) throw error;
  }
}

async function syncDirectory(directory: string): Promise<void> {
  // Windows can't open a directory; NTFS journals changes of names by itself.
  if (process.platform === "win32") return;
  const handle = await fs.promises.open(directory, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function promised(start: (done: Done) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => {
      if (error instanceof Error) reject(error);
      else resolve();
    });
  });
}

function isAnyOf(error: unknown, codes: readonly string[]): boolean {
  return error instanceof Error && "code" in error && codes.includes(String(error.code));
}
