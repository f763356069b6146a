// A file system in memory for tests and simulations, which fails in the ways in which disks fail.
import type { FileHandle, FileLock, FileSystem, LockMode } from "../environment.ts";
import { readFully, writeFully } from "../partial-io.ts";
import { FileContents } from "./file-contents.ts";

/**
 * An operation that is about to be done. A read or write that is done in parts is one operation for each
 * part.
 */
export interface FileOperation {
  /** Its number among all operations on this file system, from 1. */
  readonly number: number;
  readonly type:
    | "open"
    | "list"
    | "make-directory"
    | "remove"
    | "rename"
    | "sync-directory"
    | "lock"
    | "size"
    | "read"
    | "write"
    | "allocate"
    | "truncate"
    | "data-sync"
    | "close";
  /** The file or directory; for "rename", the old name. */
  readonly path: string;
}

/** What happens instead of an operation. */
export type FileFault =
  /** It does nothing, and rejects with `code`. */
  | { readonly type: "error"; readonly code: string }
  /** A write: it writes the first `bytes`, and rejects with `code`. */
  | { readonly type: "short-write"; readonly bytes: number; readonly code: string }
  /**
   * A sync: it rejects with `code`, and the operating system marks the data as written nevertheless, as Linux
   * does. Reads go on showing it, no later sync writes it, and the next crash loses it.
   */
  | { readonly type: "failed-sync"; readonly code: string }
  /** It does nothing, and its promise never settles. */
  | { readonly type: "hang" }
  /**
   * A read or write: one call does only `bytes`, but at least one, and succeeds. The rest takes further
   * calls.
   */
  | { readonly type: "short-transfer"; readonly bytes: number }
  /**
   * A write: it is reported as done, and does not reach its place on the disk. Reads show it until the next
   * crash, or with `forgotten` until its loss is final. With a number in `elsewhereBy`, it overwrites what is
   * that many bytes further on (or back, if negative); with null, the disk keeps nothing of it.
   *
   * The loss is final once a later write to the same file was synced. A crash before that finds the write in
   * its place, as if the disk had only been late. Otherwise the disk could lose just the last write, which
   * recovery can't tell from a write that was never made.
   */
  | { readonly type: "lost-write"; readonly elsewhereBy: number | null; readonly forgotten: boolean }
  /**
   * The power fails right after the operation is done: its promise, and those of all later calls, never
   * settle. The test then has to call `crash`.
   */
  | { readonly type: "power-cut" };

/** Faults after which the operation succeeds, as far as its caller can tell. */
type SilentFault = Extract<FileFault, { type: "short-transfer" | "lost-write" }>;

/** What a change of names did: which file each of these paths names since; null: none. */
interface NameChange {
  readonly directory: string;
  readonly names: readonly (readonly [path: string, file: FileContents | null])[];
}

/**
 * A file system in memory. It keeps visible and durable state apart (see `FileSystem`): contents by sectors
 * of 512 bytes, and names by change. A test injects faults by `intercept`, and crashes by `crash`. What
 * happens depends only on the calls, and on the random numbers that are given to `crash`.
 */
export class SimulatedFiles implements SimulatedMount {
  /** Called before each operation; a fault that it returns happens instead. null: no faults. */
  intercept: ((operation: FileOperation) => FileFault | null) | null = null;
  /** How many operations there were. */
  #operations = 0;
  /** The files by path, as they are visible. */
  #names = new Map<string, FileContents>();
  /** The files by path, as a crash leaves them if it keeps no change of `#nameChanges`. */
  #durableNames = new Map<string, FileContents>();
  /** The changes of names that are not durable, in order. */
  #nameChanges: NameChange[] = [];
  /** All directories. They are durable as soon as they are made. */
  readonly #directories = new Set<string>();
  /** The locks that are held on each directory: one exclusive lock, or shared ones. */
  readonly #locks = new Map<string, { readonly mode: LockMode; count: number }>();
  /** Counts `kill` and `crash`. Handles, locks and mounts of an earlier run do nothing any more. */
  #run = 0;
  /** A "power-cut" happened. Reset by `crash` and `kill`. */
  #powerIsCut = false;

  /** How many operations there were so far. */
  get operations(): number {
    return this.#operations;
  }

  /**
   * The machine loses power and starts again. What was synced stays. Of the sectors, sizes and names that
   * were not, a random part stays: none, all, or some. Locks are free, and calls of before never settle.
   */
  crash(random: () => number): void {
    const part = random();
    const keepProbability = [0, 1, part, part][Math.floor(random() * 4)] ?? 0;
    const keep = (): boolean => random() < keepProbability;
    for (const change of this.#nameChanges) if (keep()) applyNames(this.#durableNames, change);
    for (const file of new Set([...this.#names.values(), ...this.#durableNames.values()])) {
      file.crash(keep);
    }
    this.#nameChanges = [];
    this.#names = new Map(this.#durableNames);
    this.kill();
  }

  /**
   * The process ends, but not the machine: what it wrote stays visible. Locks are free, and its calls never
   * settle.
   */
  kill(): void {
    this.#run += 1;
    this.#powerIsCut = false;
    this.#locks.clear();
  }

  /** The paths of all files, sorted. */
  paths(): string[] {
    return [...this.#names.keys()].sort();
  }

  /** A copy of a file's visible contents. */
  contents(path: string): Uint8Array {
    return this.#find(path).visible.slice();
  }

  /**
   * Overwrites bytes of a file without an operation, both in its visible contents and, where it has them, on
   * the disk.
   */
  damage(path: string, position: number, bytes: Uint8Array): void {
    const file = this.#find(path);
    file.visible.set(bytes, position);
    const durable = file.durable.subarray(position);
    durable.set(bytes.subarray(0, durable.length));
  }

  /** An independent copy, including what is not durable yet, without locks and faults. */
  copy(): SimulatedFiles {
    const copy = new SimulatedFiles();
    const files = new Map<FileContents, FileContents>();
    const copyOf = (file: FileContents): FileContents => {
      const made = files.get(file) ?? file.copy();
      files.set(file, made);
      return made;
    };
    for (const [path, file] of this.#names) copy.#names.set(path, copyOf(file));
    for (const [path, file] of this.#durableNames) copy.#durableNames.set(path, copyOf(file));
    copy.#nameChanges = this.#nameChanges.map(({ directory, names }) => ({
      directory,
      names: names.map(([path, file]) => [path, file === null ? null : copyOf(file)]),
    }));
    for (const directory of this.#directories) copy.#directories.add(directory);
    return copy;
  }

  /**
   * The file system for one process: after the next `kill` or `crash`, calls on it do nothing and never
   * settle, like those of a process that has ended. Calls on the `SimulatedFiles` itself always work.
   */
  mount(): SimulatedMount {
    const run = this.#run;
    const whileAlive = <T>(call: () => Promise<T>): Promise<T> => (run === this.#run ? call() : never());
    return {
      open: (path, mode) => whileAlive(() => this.open(path, mode)),
      list: (directory) => whileAlive(() => this.list(directory)),
      makeDirectory: (path) => whileAlive(() => this.makeDirectory(path)),
      remove: (path) => whileAlive(() => this.remove(path)),
      rename: (from, to) => whileAlive(() => this.rename(from, to)),
      syncDirectory: (path) => whileAlive(() => this.syncDirectory(path)),
      lock: (directory, mode) => whileAlive(() => this.lock(directory, mode)),
    };
  }

  open(path: string, mode: "create" | "write" | "read"): Promise<SimulatedHandle> {
    return this.#operate("open", path, () => {
      if (mode === "create") {
        if (this.#names.has(path)) throw failure("EEXIST", path);
        if (!this.#directories.has(directoryOf(path))) throw failure("ENOENT", path);
        this.#change(directoryOf(path), [[path, new FileContents()]]);
      }
      return this.#handle(path, this.#find(path), mode !== "read");
    });
  }

  list(directory: string): Promise<string[]> {
    return this.#operate("list", directory, () => {
      if (!this.#directories.has(directory)) throw failure("ENOENT", directory);
      const paths = [...this.#names.keys()].filter((path) => directoryOf(path) === directory);
      return paths.map((path) => path.slice(directory.length + 1));
    });
  }

  makeDirectory(path: string): Promise<void> {
    return this.#operate("make-directory", path, () => {
      for (let at = path; at.length > 0; at = directoryOf(at)) this.#directories.add(at);
    });
  }

  remove(path: string): Promise<void> {
    return this.#operate("remove", path, () => {
      this.#find(path);
      this.#change(directoryOf(path), [[path, null]]);
    });
  }

  rename(from: string, to: string): Promise<void> {
    return this.#operate("rename", from, () => {
      const file = this.#find(from);
      this.#change(directoryOf(to), [
        [from, null],
        [to, file],
      ]);
    });
  }

  syncDirectory(path: string): Promise<void> {
    return this.#operate("sync-directory", path, () => {
      for (const change of this.#nameChanges) {
        if (change.directory === path) applyNames(this.#durableNames, change);
      }
      this.#nameChanges = this.#nameChanges.filter((change) => change.directory !== path);
    });
  }

  lock(directory: string, mode: LockMode = "exclusive"): Promise<FileLock> {
    return this.#operate("lock", directory, () => {
      const held = this.#locks.get(directory) ?? { mode, count: 0 };
      if (held.count > 0 && (mode === "exclusive" || held.mode === "exclusive")) {
        throw failure("ELOCKED", directory);
      }
      held.count += 1;
      this.#locks.set(directory, held);
      const run = this.#run;
      let isHeld = true;
      return {
        release: async () => {
          if (!isHeld || run !== this.#run) return;
          isHeld = false;
          held.count -= 1;
          if (held.count === 0) this.#locks.delete(directory);
        },
      };
    });
  }

  #handle(path: string, file: FileContents, isWritable: boolean): SimulatedHandle {
    const run = this.#run;
    return new SimulatedFileHandle(path, file, isWritable, {
      isAlive: () => run === this.#run,
      operate: (type, effect, onFault) => this.#operate(type, path, effect, onFault),
    });
  }

  /**
   * Does one operation, or the fault that `intercept` chose instead of it. `effect` does the operation; it is
   * given a fault after which the operation still succeeds, and must apply that itself. For other faults,
   * `onFault` does what they leave behind before the operation rejects.
   */
  #operate<T>(
    type: FileOperation["type"],
    path: string,
    effect: (fault: SilentFault | null) => T,
    onFault?: (fault: FileFault) => void,
  ): Promise<T> {
    if (this.#powerIsCut) return never();
    this.#operations += 1;
    const fault = this.intercept?.({ number: this.#operations, type, path }) ?? null;
    try {
      if (fault === null || fault.type === "short-transfer" || fault.type === "lost-write")
        return Promise.resolve(effect(fault));
      if (fault.type === "hang") return never();
      if (fault.type === "power-cut") {
        this.#powerIsCut = true;
        effect(null);
        return never();
      }
      onFault?.(fault);
      return Promise.reject(failure(fault.code, path));
    } catch (error) {
      return Promise.reject(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #find(path: string): FileContents {
    const file = this.#names.get(path);
    if (file === undefined) throw failure("ENOENT", path);
    return file;
  }

  #change(directory: string, names: NameChange["names"]): void {
    const change = { directory, names };
    applyNames(this.#names, change);
    this.#nameChanges.push(change);
  }
}

/** What a handle needs of its file system. */
interface HandleHost {
  /** False once the process that opened the handle has ended. */
  isAlive(): boolean;
  /** See `SimulatedFiles.#operate`. */
  operate<T>(
    type: FileOperation["type"],
    effect: (fault: SilentFault | null) => T,
    onFault?: (fault: FileFault) => void,
  ): Promise<T>;
}

/** A simulated file, and what the simulator's own processes need of it. */
export interface SimulatedHandle extends FileHandle {
  /**
   * The second half of `writeDurably`: makes the sectors of this range durable, and the size up to its end. A
   * simulated process calls the halves one by one, so that it can crash between them.
   */
  syncRange(position: number, length: number): Promise<void>;
}

/** The simulated files, as one process sees them. */
export interface SimulatedMount extends FileSystem {
  open(path: string, mode: "create" | "write" | "read"): Promise<SimulatedHandle>;
}

class SimulatedFileHandle implements SimulatedHandle {
  readonly #path: string;
  readonly #file: FileContents;
  readonly #isWritable: boolean;
  readonly #host: HandleHost;
  /** Not closed yet. */
  #isOpen = true;

  constructor(path: string, file: FileContents, isWritable: boolean, host: HandleHost) {
    this.#path = path;
    this.#file = file;
    this.#isWritable = isWritable;
    this.#host = host;
  }

  size(): Promise<number> {
    return this.#operate("size", () => this.#file.visible.length);
  }

  read(target: Uint8Array, position: number): Promise<number> {
    return readFully((part, at) => this.#readOnce(part, at), target, position);
  }

  write(chunks: readonly Uint8Array[], position: number): Promise<void> {
    return writeFully((rest, at) => this.#writeOnce(rest, at), chunks, position);
  }

  /**
   * A write, and a sync of its range, as the operating system does them within its call: two operations, so
   * that each can fail or be the last before a crash.
   */
  async writeDurably(chunks: readonly Uint8Array[], position: number): Promise<void> {
    await this.write(chunks, position);
    const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    await this.syncRange(position, length);
  }

  syncRange(position: number, length: number): Promise<void> {
    return this.#operate(
      "data-sync",
      () => {
        this.#file.syncRange(position, length);
      },
      (fault) => {
        if (fault.type === "failed-sync") this.#file.forgetDirty(position, length);
      },
    );
  }

  allocate(bytes: number): Promise<void> {
    return this.#operate("allocate", () => {
      this.#checkWritable();
      const size = this.#file.visible.length;
      if (bytes > size) this.#file.write(new Uint8Array(bytes - size), size);
    });
  }

  truncate(bytes: number): Promise<void> {
    return this.#operate("truncate", () => {
      this.#checkWritable();
      this.#file.truncate(bytes);
    });
  }

  dataSync(): Promise<void> {
    return this.#operate(
      "data-sync",
      () => {
        this.#file.syncAll();
      },
      (fault) => {
        if (fault.type === "failed-sync") this.#file.dirty.clear();
      },
    );
  }

  close(): Promise<void> {
    return this.#operate("close", () => {
      this.#isOpen = false;
    });
  }

  #readOnce(target: Uint8Array, position: number): Promise<number> {
    return this.#operate("read", (fault) => {
      const bytes = this.#file.visible.subarray(position, position + bytesDoneBy(fault, target.length));
      target.set(bytes);
      return bytes.length;
    });
  }

  #writeOnce(chunks: readonly Uint8Array[], position: number): Promise<number> {
    const bytes = concat(chunks);
    return this.#operate(
      "write",
      (fault) => {
        this.#checkWritable();
        const done = bytesDoneBy(fault, bytes.length);
        if (fault?.type === "lost-write")
          this.#file.writeLost(bytes, position, fault.elsewhereBy, fault.forgotten);
        else this.#file.write(bytes.subarray(0, done), position);
        return done;
      },
      (fault) => {
        if (fault.type === "short-write") this.#file.write(bytes.subarray(0, fault.bytes), position);
      },
    );
  }

  #operate<T>(
    type: FileOperation["type"],
    effect: (fault: SilentFault | null) => T,
    onFault?: (fault: FileFault) => void,
  ): Promise<T> {
    if (!this.#host.isAlive()) return never();
    if (!this.#isOpen) return Promise.reject(failure("EBADF", this.#path));
    return this.#host.operate(type, effect, onFault);
  }

  #checkWritable(): void {
    if (!this.#isWritable) throw failure("EBADF", this.#path);
  }
}

function applyNames(map: Map<string, FileContents>, { names }: NameChange): void {
  for (const [path, file] of names) {
    if (file === null) map.delete(path);
    else map.set(path, file);
  }
}

/** How many of the `wanted` bytes one call reads or writes. */
function bytesDoneBy(fault: SilentFault | null, wanted: number): number {
  return fault?.type === "short-transfer" ? Math.max(1, Math.min(fault.bytes, wanted)) : wanted;
}

function directoryOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}

function concat(chunks: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

function failure(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code });
}

function never(): Promise<never> {
  return new Promise(() => undefined);
}
