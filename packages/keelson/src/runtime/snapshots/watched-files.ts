// Watches the file operations of the snapshot store.
import type { Environment, FileHandle, FileSystem } from "../../environment/environment.ts";
import type { StallWatch } from "../loop/index.ts";

/**
 * The environment to open a snapshot store with. Each of its file operations is watched, and each that ends
 * is progress of the store's calls. So checking or publishing a large snapshot may take long, as long as
 * single operations don't.
 */
export function watchedEnvironment(environment: Environment, watch: StallWatch): Environment {
  return {
    now: () => environment.now(),
    wallClock: () => environment.wallClock(),
    random: () => environment.random(),
    randomBytes: (count) => environment.randomBytes(count),
    setTimer: (delayMs, callback) => environment.setTimer(delayMs, callback),
    defer: (callback) => {
      environment.defer(callback);
    },
    files: watchedFiles(environment.files, watch),
    network: environment.network,
  };
}

type Run = <T>(what: string, operation: () => Promise<T>) => Promise<T>;

function watchedFiles(files: FileSystem, watch: StallWatch): FileSystem {
  const run: Run = async (what, operation) => {
    const result = await watch.monitor("snapshot-store", what, operation, { sharesProgress: false });
    watch.progress("snapshot-store");
    return result;
  };
  return {
    open: async (path, mode) =>
      watchedHandle(await run(`opening ${path}`, () => files.open(path, mode)), path, run),
    list: (directory) => run(`listing ${directory}`, () => files.list(directory)),
    makeDirectory: (path) => run(`making ${path}`, () => files.makeDirectory(path)),
    remove: (path) => run(`removing ${path}`, () => files.remove(path)),
    rename: (from, to) => run(`renaming ${from}`, () => files.rename(from, to)),
    syncDirectory: (path) => run(`syncing ${path}`, () => files.syncDirectory(path)),
    lock: (directory, mode) => run(`locking ${directory}`, () => files.lock(directory, mode)),
  };
}

function watchedHandle(handle: FileHandle, path: string, run: Run): FileHandle {
  return {
    size: () => run(`reading the size of ${path}`, () => handle.size()),
    read: (target, position) => run(`reading ${path}`, () => handle.read(target, position)),
    write: (chunks, position) => run(`writing ${path}`, () => handle.write(chunks, position)),
    writeDurably: (chunks, position) => run(`writing ${path}`, () => handle.writeDurably(chunks, position)),
    allocate: (bytes) => run(`extending ${path}`, () => handle.allocate(bytes)),
    truncate: (bytes) => run(`shortening ${path}`, () => handle.truncate(bytes)),
    dataSync: () => run(`syncing ${path}`, () => handle.dataSync()),
    close: () => run(`closing ${path}`, () => handle.close()),
  };
}
