import type { FileHandle, FileLock, FileSystem } from "./environment.ts";

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
  /** It is done, but nobody hears of it, and nothing after it happens: the power fails. Then call `crash`. */
  | { readonly type: "power-cut" };

/** One file's contents: what is shown, and what would be left after a crash. */
class FileContents {
  shown = new Uint8Array(0);
  durable = new Uint8Array(0);
  /** Sectors written since the last sync. */
  readonly dirty = new Set<number>();

  write(bytes: Uint8Array, position: number): void {
    const end = position + bytes.length;
    if (end > this.shown.length) this.shown = resized(this.shown, end);
    this.shown.set(bytes, position);
    for (let at = Math.floor(position / SECTOR_BYTES); at * SECTOR_BYTES < end; at++) this.dirty.add(at);
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
export class FaultFiles implements FileSystem {
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
    const chance = [0, 1, random()][Math.floor(random() * 3)] ?? 0;
    const keep = (): boolean => random() < chance;
    for (const change of this.#nameChanges) if (keep()) applyNames(this.#durableNames, change);
    for (const file of new Set([...this.#names.values(), ...this.#durableNames.values()])) {
      file.sync(keep, keep());
      file.shown = file.durable.slice();
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

  /** Changes a file behind everybody's back, as damage does; durable at once. */
  damage(path: string, position: number, bytes: Uint8Array): void {
    const file = this.#find(path);
    file.shown.set(bytes, position);
    file.durable.set(bytes, position);
  }

  /** Another disk with the same contents, in a machine that was just switched on. */
  copy(): FaultFiles {
    const copy = new FaultFiles();
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
      effect: () => T,
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
    return {
      size: () => operate("size", () => file.shown.length),
      read: (target, position) =>
        operate("read", () => {
          const bytes = file.shown.subarray(position, position + target.length);
          target.set(bytes);
          return bytes.length;
        }),
      write: (chunks, position) => {
        const bytes = concat(chunks);
        return operate(
          "write",
          () => {
            mustBeWritable();
            file.write(bytes, position);
          },
          (fault) => {
            if (fault.type === "short-write") file.write(bytes.subarray(0, fault.bytes), position);
          },
        );
      },
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
            file.sync(() => true, true);
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
    effect: () => T,
    faulty?: (fault: FileFault) => void,
  ): Promise<T> {
    if (this.#powerIsCut) return never();
    this.#operations += 1;
    const fault = this.intercept?.({ number: this.#operations, type, path }) ?? null;
    try {
      if (fault === null) return Promise.resolve(effect());
      if (fault.type === "hang") return never();
      if (fault.type === "power-cut") {
        this.#powerIsCut = true;
        effect();
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
