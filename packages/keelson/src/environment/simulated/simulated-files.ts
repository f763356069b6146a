import type { FileHandle, FileLock, FileSystem } from "../environment.ts";
import { readFully, writeFully } from "../partial-io.ts";

/** What disks write as a whole or not at all. */
const SECTOR_BYTES = 512;

/** An operation that is about to be done. */
export interface FileOperation {
  /** Counts all operations from 1. */
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
  /** The file or directory. */
  readonly path: string;
}

/** What to do instead of an operation. */
export type FileFault =
  /** It fails and does nothing. */
  | { readonly type: "error"; readonly code: string }
  /** A write that stops after `bytes`, and fails. */
  | { readonly type: "short-write"; readonly bytes: number; readonly code: string }
  /**
   * A sync that fails, after which the operating system believes that the data was written: it is
   * shown until the next crash, no later sync writes it, and then it is gone.
   */
  | { readonly type: "failed-sync"; readonly code: string }
  /** It never ends, and does nothing. */
  | { readonly type: "hang" }
  /**
   * One call that reads or writes does only so many bytes, at least one, and says so: the rest takes another
   * call.
   */
  | { readonly type: "short-transfer"; readonly bytes: number }
  /**
   * A write that is reported done and never reaches its place on the disk, though it is shown until the next
   * crash, or until the operating system forgets it (`forgotten`). `elsewhereBy`: it goes so many bytes
   * further on, or back, and spoils what is there; null: nowhere.
   *
   * It comes to light only when a later write to the same file was synced. A disk that loses nothing but the
   * last thing it said it wrote leaves nothing by which to tell that from a write never made; so
   * a crash before that finds the write in its place, as if the disk had only been late.
   */
  | { readonly type: "lost-write"; readonly elsewhereBy: number | null; readonly forgotten: boolean }
  /** It is done, but nobody hears of it, and nothing after it happens: the power fails. Then call `crash`. */
  | { readonly type: "power-cut" };

/** Faults that change what an operation does, and of which its caller learns nothing but a count. */
type SilentFault = Extract<FileFault, { type: "short-transfer" | "lost-write" }>;

/** A write that was reported done and is not on the disk. */
interface LostWrite {
  readonly position: number;
  readonly bytes: Uint8Array;
  readonly forgotten: boolean;
  /** Something else was written after it. */
  followed: boolean;
}

/** One file's contents: what is shown, and what would be left after a crash. */
class FileContents {
  shown = new Uint8Array(0);
  durable = new Uint8Array(0);
  /** Sectors written since the last sync. */
  readonly dirty = new Set<number>();
  /** Those that nothing has brought to light yet. */
  #lost: LostWrite[] = [];

  write(bytes: Uint8Array, position: number): void {
    const end = position + bytes.length;
    for (const lost of this.#lost) {
      lost.followed = true;
      if (lost.position < end && position < lost.position + lost.bytes.length) this.#putBack(lost);
    }
    if (end > this.shown.length) this.shown = resized(this.shown, end);
    this.shown.set(bytes, position);
    for (const sector of sectorsOf(position, bytes.length)) this.dirty.add(sector);
  }

  /** A write of which the disk keeps nothing, or what it keeps stands elsewhere. */
  lose(bytes: Uint8Array, position: number, elsewhereBy: number | null, forgotten: boolean): void {
    this.write(bytes, position);
    for (const sector of sectorsOf(position, bytes.length)) this.dirty.delete(sector);
    this.#lost.push({ position, bytes: bytes.slice(), forgotten, followed: false });
    if (elsewhereBy === null) return;
    // A place on the disk that the file has: a disk does not make files longer.
    const at = Math.max(0, position + elsewhereBy);
    const until = Math.max(at, Math.min(at + bytes.length, this.durable.length));
    this.durable.set(bytes.subarray(0, until - at), Math.min(at, this.durable.length));
  }

  /**
   * The size and every sector become durable; what was lost before, and followed by this, is lost for good.
   */
  syncAll(): void {
    this.sync(() => true, true);
    const settled = this.#lost.filter(({ followed }) => followed);
    this.#lost = this.#lost.filter(({ followed }) => !followed);
    for (const { position, bytes, forgotten } of settled) {
      if (forgotten) this.shown.set(this.durable.subarray(position, position + bytes.length), position);
    }
  }

  /** The power fails: see `SimulatedFiles.crash`. */
  crash(keep: () => boolean): void {
    for (const lost of this.#lost) this.#putBack(lost);
    this.sync(keep, keep());
    this.shown = this.durable.slice();
  }

  #putBack(lost: LostWrite): void {
    this.#lost = this.#lost.filter((other) => other !== lost);
    const end = lost.position + lost.bytes.length;
    if (end > this.durable.length) this.durable = resized(this.durable, end);
    this.durable.set(lost.bytes, lost.position);
  }

  /** Makes the sectors durable that `keep` says, and the size if `keepSize`. */
  sync(keep: (sector: number) => boolean, keepSize: boolean): void {
    if (keepSize && this.durable.length !== this.shown.length)
      this.durable = resized(this.durable, this.shown.length);
    for (const sector of this.dirty) {
      if (!keep(sector)) continue;
      const from = sector * SECTOR_BYTES;
      const until = Math.min(from + SECTOR_BYTES, this.durable.length, this.shown.length);
      if (from < until) this.durable.set(this.shown.subarray(from, until), from);
    }
    this.dirty.clear();
  }

  copy(): FileContents {
    const copy = new FileContents();
    copy.shown = this.shown.slice();
    copy.durable = this.durable.slice();
    for (const sector of this.dirty) copy.dirty.add(sector);
    copy.#lost = this.#lost.map((lost) => ({ ...lost }));
    return copy;
  }
}

/** Names that changed together: which file each has now; null: none. */
interface NameChange {
  readonly directory: string;
  readonly names: readonly (readonly [path: string, file: FileContents | null])[];
}

/**
 * A file system in memory that can fail in all the ways a disk can, for tests and simulation. It keeps
 * apart what is shown and what is durable: contents by sectors of 512 bytes, and names. Everything
 * depends on the calls and on the random function given to `crash` alone.
 */
export class SimulatedFiles implements FileSystem {
  /** Asked before each operation; a fault is done instead. */
  intercept: ((operation: FileOperation) => FileFault | null) | null = null;
  #operations = 0;
  #names = new Map<string, FileContents>();
  #durableNames = new Map<string, FileContents>();
  #nameChanges: NameChange[] = [];
  readonly #directories = new Set<string>();
  readonly #locks = new Set<string>();
  /** Which run of the process: what an earlier run opened is dead. */
  #run = 0;
  #powerIsCut = false;

  /** How many operations there were. */
  get operations(): number {
    return this.#operations;
  }

  /**
   * The power fails. What was synced stays; of the sectors and names that were not, an arbitrary part:
   * none, all, or some. Then the machine is up again: locks are free, and calls that were under way
   * never end.
   */
  crash(random: () => number): void {
    const part = random();
    const chance = [0, 1, part, part][Math.floor(random() * 4)] ?? 0;
    const keep = (): boolean => random() < chance;
    for (const change of this.#nameChanges) if (keep()) applyNames(this.#durableNames, change);
    for (const file of new Set([...this.#names.values(), ...this.#durableNames.values()])) {
      file.crash(keep);
    }
    this.#nameChanges = [];
    this.#names = new Map(this.#durableNames);
    this.kill();
  }

  /** The process dies, and nothing else: what it wrote is shown still, synced or not. */
  kill(): void {
    this.#run += 1;
    this.#powerIsCut = false;
    this.#locks.clear();
  }

  /** The paths of all files, sorted. */
  paths(): string[] {
    return [...this.#names.keys()].sort();
  }

  /** A copy of what a file shows. */
  contents(path: string): Uint8Array {
    return this.#find(path).shown.slice();
  }

  /** Changes a file behind everybody's back, as damage does; as durable as what it changes. */
  damage(path: string, position: number, bytes: Uint8Array): void {
    const file = this.#find(path);
    file.shown.set(bytes, position);
    const durable = file.durable.subarray(position);
    durable.set(bytes.subarray(0, durable.length));
  }

  /** Another disk with the same contents, in a machine that was just switched on. */
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
   * The same files, as one process sees them: after `kill` or `crash`, its calls do nothing and never
   * end, as befits the dead. Give each process its own; what is called on this object itself is
   * always done.
   */
  mount(): FileSystem {
    const run = this.#run;
    const whileAlive = <T>(call: () => Promise<T>): Promise<T> => (run === this.#run ? call() : never());
    return {
      open: (path, mode) => whileAlive(() => this.open(path, mode)),
      list: (directory) => whileAlive(() => this.list(directory)),
      makeDirectory: (path) => whileAlive(() => this.makeDirectory(path)),
      remove: (path) => whileAlive(() => this.remove(path)),
      rename: (from, to) => whileAlive(() => this.rename(from, to)),
      syncDirectory: (path) => whileAlive(() => this.syncDirectory(path)),
      lock: (directory) => whileAlive(() => this.lock(directory)),
    };
  }

  open(path: string, mode: "create" | "write" | "read"): Promise<FileHandle> {
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

  lock(directory: string): Promise<FileLock> {
    return this.#operate("lock", directory, () => {
      if (this.#locks.has(directory)) throw failure("ELOCKED", directory);
      this.#locks.add(directory);
      const run = this.#run;
      return {
        release: async () => {
          if (run === this.#run) this.#locks.delete(directory);
        },
      };
    });
  }

  #handle(path: string, file: FileContents, writable: boolean): FileHandle {
    const run = this.#run;
    let open = true;
    const operate = <T>(
      type: FileOperation["type"],
      effect: (fault: SilentFault | null) => T,
      faulty?: (fault: FileFault) => void,
    ): Promise<T> => {
      // A dead process's calls do nothing.
      if (run !== this.#run) return never();
      if (!open) return Promise.reject(failure("EBADF", path));
      return this.#operate(type, path, effect, faulty);
    };
    const mustBeWritable = (): void => {
      if (!writable) throw failure("EBADF", path);
    };
    const readOnce = (target: Uint8Array, position: number): Promise<number> =>
      operate("read", (fault) => {
        const bytes = file.shown.subarray(position, position + doneOf(fault, target.length));
        target.set(bytes);
        return bytes.length;
      });
    const writeOnce = (chunks: readonly Uint8Array[], position: number): Promise<number> => {
      const bytes = concat(chunks);
      return operate(
        "write",
        (fault) => {
          mustBeWritable();
          const done = doneOf(fault, bytes.length);
          if (fault?.type === "lost-write") file.lose(bytes, position, fault.elsewhereBy, fault.forgotten);
          else file.write(bytes.subarray(0, done), position);
          return done;
        },
        (fault) => {
          if (fault.type === "short-write") file.write(bytes.subarray(0, fault.bytes), position);
        },
      );
    };
    return {
      size: () => operate("size", () => file.shown.length),
      read: (target, position) => readFully(readOnce, target, position),
      write: (chunks, position) => writeFully(writeOnce, chunks, position),
      allocate: (bytes) =>
        operate("allocate", () => {
          mustBeWritable();
          const size = file.shown.length;
          if (bytes > size) file.write(new Uint8Array(bytes - size), size);
        }),
      truncate: (bytes) =>
        operate("truncate", () => {
          mustBeWritable();
          file.shown = resized(file.shown, bytes);
        }),
      dataSync: () =>
        operate(
          "data-sync",
          () => {
            file.syncAll();
          },
          (fault) => {
            if (fault.type === "failed-sync") file.dirty.clear();
          },
        ),
      close: () =>
        operate("close", () => {
          open = false;
        }),
    };
  }

  #operate<T>(
    type: FileOperation["type"],
    path: string,
    effect: (fault: SilentFault | null) => T,
    faulty?: (fault: FileFault) => void,
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
      faulty?.(fault);
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

function applyNames(map: Map<string, FileContents>, { names }: NameChange): void {
  for (const [path, file] of names) {
    if (file === null) map.delete(path);
    else map.set(path, file);
  }
}

/** The numbers of the sectors that these bytes touch. */
function sectorsOf(position: number, length: number): number[] {
  const first = Math.floor(position / SECTOR_BYTES);
  return Array.from({ length: Math.ceil((position + length) / SECTOR_BYTES) - first }, (_, at) => first + at);
}

/** How many of `wanted` bytes one call does. */
function doneOf(fault: SilentFault | null, wanted: number): number {
  return fault?.type === "short-transfer" ? Math.max(1, Math.min(fault.bytes, wanted)) : wanted;
}

function directoryOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}

function resized(bytes: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  const result = new Uint8Array(length);
  result.set(bytes.subarray(0, length));
  return result;
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
