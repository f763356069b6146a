import { describe, expect, it } from "vitest";
import { encodeMembership } from "../../codec/config.ts";
import { configOf } from "../../core/config.ts";
import { simulatedEnvironment } from "../../environment/simulated/simulated-environment.ts";
import { seededRandom } from "../../environment/simulated/simulated-clock.ts";
import { SimulatedFiles, type FileFault } from "../../environment/simulated/simulated-files.ts";
import { CorruptSnapshotError, DirectoryLockedError, StorageFailedError } from "../../errors.ts";
import { memorySnapshots, snapshotFiles } from "./index.ts";
import type {
  OpenedSnapshots,
  IncomingSnapshot,
  SnapshotReader,
  SnapshotStore,
  StoredSnapshot,
} from "../snapshot-store.ts";

const DIRECTORY = "/data/a/snapshots";
const membership = encodeMembership({
  config: configOf(["a", "b"]),
  members: new Map(["a", "b"].map((id) => [id, { address: `${id}:1` }])),
});
const NO_SESSIONS = new Uint8Array(0);
/** Where a file says which version of the format it has. */
const VERSION_AT = 3;

async function opened(
  files: SimulatedFiles,
): Promise<{ readonly store: SnapshotStore; readonly found: OpenedSnapshots }> {
  const store = snapshotFiles(DIRECTORY);
  // Each store draws other snapshot ids.
  const seed = files.operations + 1;
  const found = await store.open(simulatedEnvironment({ files: files.mount(), seed }));
  return { store, found };
}

async function take(
  store: SnapshotStore,
  index: number,
  chunks: readonly Uint8Array[],
  sessions = NO_SESSIONS,
): Promise<StoredSnapshot> {
  const position = { index, term: 3 };
  const draft = await store.create({ clusterId: "c", position, membership }, [sessions]);
  for (const chunk of chunks) await draft.write(chunk);
  return await draft.finish();
}

async function stateOf(reader: SnapshotReader): Promise<number[]> {
  const bytes: number[] = [];
  for await (const chunk of reader.state()) for (const byte of chunk) bytes.push(byte);
  return bytes;
}

async function readerOf(store: SnapshotStore, id: string): Promise<SnapshotReader> {
  const reader = await store.read(id);
  if (reader === null) throw new Error(`there is no snapshot ${id}`);
  return reader;
}

async function newestState(store: SnapshotStore): Promise<number[] | null> {
  const { newest } = store;
  if (newest === null) return null;
  const reader = await readerOf(store, newest.id);
  const state = await stateOf(reader);
  await reader.close();
  return state;
}

/** All bytes of a snapshot's file, as they are sent to another node. */
async function bytesOf(store: SnapshotStore, snapshot: StoredSnapshot): Promise<Uint8Array> {
  const reader = await readerOf(store, snapshot.id);
  const bytes = await reader.read(0, snapshot.bytes);
  await reader.close();
  return bytes;
}

function pathOf(files: SimulatedFiles): string {
  const path = files.paths().findLast((one) => one.includes("snapshot-"));
  if (path === undefined) throw new Error("there is no snapshot");
  return path;
}

describe("a snapshot on disk", () => {
  it("returns the state, the sessions and the header that were written, also after a restart", async () => {
    const files = new SimulatedFiles();
    const { store, found } = await opened(files);
    expect(found).toEqual({ newest: null, damaged: [] });
    // More than one block, written in chunks of odd sizes.
    const state = Uint8Array.from({ length: 700_001 }, (_, at) => at * 7);
    const chunks = [
      state.subarray(0, 3),
      state.subarray(3, 3),
      state.subarray(3, 600_000),
      state.subarray(600_000),
    ];
    const sessions = new Uint8Array(300_000).fill(9);
    const taken = await take(store, 17, chunks, sessions);
    expect(taken).toMatchObject({
      position: { index: 17, term: 3 },
      clusterId: "c",
      origin: "taken",
      membership,
    });
    await store.close();

    const again = await opened(files);
    expect(again.found).toEqual({ newest: taken, damaged: [] });
    const reader = await readerOf(again.store, taken.id);
    expect(await stateOf(reader)).toEqual([...state]);
    const stored: Uint8Array[] = [];
    for await (const chunk of reader.sessions()) stored.push(chunk);
    expect(Buffer.compare(Buffer.concat(stored), sessions)).toBe(0);
    await reader.verify();
    await reader.close();
  });

  it("may hold an empty state", async () => {
    const { store } = await opened(new SimulatedFiles());
    await take(store, 1, []);
    expect(await newestState(store)).toEqual([]);
  });

  it("replaces the one before it, which is removed once its last reader closes it", async () => {
    const files = new SimulatedFiles();
    const { store } = await opened(files);
    const first = await take(store, 5, [Uint8Array.of(1)]);
    const reader = await readerOf(store, first.id);
    const second = await take(store, 9, [Uint8Array.of(2)]);
    expect(store.newest).toEqual(second);
    expect(await stateOf(reader)).toEqual([1]);
    expect(files.paths()).toHaveLength(2);
    await reader.close();
    expect(files.paths()).toHaveLength(1);
    expect(await store.read(first.id)).toBeNull();
  });

  it("that is older than the newest one doesn't replace it", async () => {
    const { store } = await opened(new SimulatedFiles());
    const newer = await take(store, 9, []);
    await take(store, 5, []);
    expect(store.newest).toEqual(newer);
  });

  it("doesn't count before it is finished, and leaves no file if it is aborted", async () => {
    const files = new SimulatedFiles();
    const { store } = await opened(files);
    const draft = await store.create({ clusterId: "c", position: { index: 5, term: 3 }, membership }, [
      NO_SESSIONS,
    ]);
    await draft.write(Uint8Array.of(1));
    expect(store.newest).toBeNull();
    await draft.abort();
    expect(files.paths()).toEqual([]);
  });

  it("is in a directory that only one store can open at a time", async () => {
    const files = new SimulatedFiles();
    const { store } = await opened(files);
    await expect(
      snapshotFiles(DIRECTORY).open(simulatedEnvironment({ files: files.mount() })),
    ).rejects.toThrow(DirectoryLockedError);
    await store.close();
    await opened(files);
  });

  it("is refused if any byte is damaged: when the store opens or when the snapshot is read (S15)", async () => {
    const files = new SimulatedFiles();
    const { store } = await opened(files);
    const { id } = await take(store, 5, [Uint8Array.of(1, 2, 3)], Uint8Array.of(7, 7));
    await store.close();
    const path = pathOf(files);
    const whole = files.contents(path);
    let seenAtOnce = 0;
    for (let at = 0; at < whole.length; at++) {
      // The version of the format is a case of its own.
      if (at === VERSION_AT) continue;
      const copy = files.copy();
      copy.damage(path, at, Uint8Array.of((whole[at] ?? 0) ^ 0x10));
      const { store: other, found } = await opened(copy);
      if (found.newest === null) {
        expect(found.damaged).toMatchObject([{ file: path }]);
        expect(found.damaged[0]?.reason).toContain("is damaged at byte");
        seenAtOnce += 1;
      } else {
        const reader = await readerOf(other, id);
        await expect(reader.verify(), String(at)).rejects.toThrow(CorruptSnapshotError);
        await expect(stateOf(reader), String(at)).rejects.toThrow(CorruptSnapshotError);
        await reader.close();
      }
      await other.close();
    }
    expect(seenAtOnce).toBeGreaterThan(100);
    expect(seenAtOnce).toBeLessThan(whole.length);
  });

  it("is refused if the file was cut short at any place (S15)", async () => {
    const files = new SimulatedFiles();
    const { store } = await opened(files);
    await take(store, 5, [Uint8Array.of(1, 2, 3)], Uint8Array.of(7, 7));
    await store.close();
    const path = pathOf(files);
    for (let length = files.contents(path).length - 1; length >= 0; length--) {
      const handle = await files.open(path, "write");
      await handle.truncate(length);
      const { store: other, found } = await opened(files);
      expect(found.newest).toBeNull();
      expect(found.damaged).toHaveLength(1);
      await other.close();
    }
  });

  it("is found although a newer one is damaged; the damaged file is removed when there is a new snapshot", async () => {
    const files = new SimulatedFiles();
    const { store } = await opened(files);
    const first = await take(store, 5, [Uint8Array.of(1)]);
    const reader = await readerOf(store, first.id);
    await take(store, 9, [Uint8Array.of(2)]);
    files.damage(pathOf(files), 0, Uint8Array.of(0));
    // The process dies while a reader has the first snapshot open.
    expect(reader.snapshot).toEqual(first);
    files.kill();
    const { store: again, found } = await opened(files);
    expect(found).toMatchObject({ newest: first, damaged: [{}] });
    const third = await take(again, 10, []);
    expect(files.paths()).toHaveLength(1);
    expect(again.newest).toEqual(third);
  });

  it.each([0, 1, 255])(
    "of version %i of the format keeps the store from opening, and its file stays",
    async (version) => {
      const files = new SimulatedFiles();
      const { store } = await opened(files);
      const first = await take(store, 5, []);
      // The reader keeps the older snapshot's file, which this program can read.
      await readerOf(store, first.id);
      await take(store, 9, []);
      files.kill();
      const path = files.paths().at(-1) ?? "";
      files.damage(path, VERSION_AT, Uint8Array.of(version));
      const paths = files.paths();
      for (let attempt = 0; attempt < 2; attempt++) {
        const refused = await opened(files).catch((error: unknown) => error);
        expect(refused).toBeInstanceOf(StorageFailedError);
        expect((refused as Error).message).toBe(
          `the snapshot ${path} has version ${String(version)} of the snapshots' format; this program reads ` +
            "version 2. Nothing was changed. Run the version of the program that wrote it.",
        );
      }
      expect(files.paths()).toEqual(paths);
    },
  );

  it("that was discarded is neither the newest nor read again, also while a reader has it open", async () => {
    const files = new SimulatedFiles();
    const { store } = await opened(files);
    const { id } = await take(store, 5, [Uint8Array.of(1)]);
    const reader = await readerOf(store, id);
    await store.discard(id);
    expect(store.newest).toBeNull();
    expect(await store.read(id)).toBeNull();
    expect(files.paths()).toHaveLength(1);
    const older = await take(store, 4, [Uint8Array.of(2)]);
    expect(store.newest).toEqual(older);
    await reader.close();
    expect(store.newest).toEqual(older);
    expect(files.paths()).toHaveLength(1);
  });

  it("can be aborted after it was renamed and the directory's sync failed, and leaves no file", async () => {
    const files = new SimulatedFiles();
    const { store } = await opened(files);
    await take(store, 5, [Uint8Array.of(5)]);
    files.intercept = ({ type }) => (type === "sync-directory" ? { type: "error", code: "EIO" } : null);
    const position = { index: 9, term: 3 };
    const draft = await store.create({ clusterId: "c", position, membership }, [NO_SESSIONS]);
    await expect(draft.finish()).rejects.toThrow("EIO");
    expect(files.paths()).toHaveLength(2);
    await draft.abort();
    expect(files.paths()).toHaveLength(1);
    files.intercept = null;
    expect(await newestState(store)).toEqual([5]);
    expect((await take(store, 10, [])).position.index).toBe(10);
    expect(files.paths()).toHaveLength(1);
  });
});

describe("a snapshot that another node sends", () => {
  /** A snapshot in another store, with its bytes as they are sent. */
  async function source(
    index = 5,
  ): Promise<{ readonly snapshot: StoredSnapshot; readonly bytes: Uint8Array }> {
    const store = memorySnapshots();
    await store.open(simulatedEnvironment({ seed: 77 }));
    const state = Uint8Array.from({ length: 600_000 }, (_, at) => at >> 8);
    const snapshot = await take(store, index, [state]);
    return { snapshot, bytes: await bytesOf(store, snapshot) };
  }

  async function receiveAll(incoming: IncomingSnapshot, bytes: Uint8Array, piece = 100_000): Promise<void> {
    while (incoming.offset < bytes.length) {
      await incoming.write(bytes.subarray(incoming.offset, Math.min(bytes.length, incoming.offset + piece)));
    }
  }

  it("is stored as the same bytes", async () => {
    const { snapshot, bytes } = await source();
    const { store } = await opened(new SimulatedFiles());
    const incoming = await store.receive(snapshot.id, bytes.length);
    await receiveAll(incoming, bytes);
    expect(await incoming.finish()).toEqual({ ...snapshot, origin: "received" });
    expect(Buffer.compare(await bytesOf(store, snapshot), bytes)).toBe(0);
  });

  it("is continued after a crash from the last bytes that are known to be right (S6)", async () => {
    const { snapshot, bytes } = await source();
    for (let seed = 1; seed <= 20; seed++) {
      const files = new SimulatedFiles();
      const { store } = await opened(files);
      const incoming = await store.receive(snapshot.id, bytes.length);
      await incoming.write(bytes.subarray(0, 590_000));
      // A crash keeps any part of what was not synced.
      files.crash(seededRandom(seed));
      const { store: again } = await opened(files);
      const resumed = await again.receive(snapshot.id, bytes.length);
      expect(resumed.offset).toBeLessThanOrEqual(590_000);
      await receiveAll(resumed, bytes);
      expect((await resumed.finish()).id).toBe(snapshot.id);
    }
  });

  it("is continued at the last complete block after it was suspended (S6)", async () => {
    const { snapshot, bytes } = await source();
    const { store } = await opened(new SimulatedFiles());
    const incoming = await store.receive(snapshot.id, bytes.length);
    await incoming.write(bytes.subarray(0, 590_000));
    await incoming.suspend();
    const resumed = await store.receive(snapshot.id, bytes.length);
    expect(resumed.offset).toBeGreaterThan(500_000);
    expect(resumed.offset).toBeLessThanOrEqual(590_000);
    await receiveAll(resumed, bytes);
    await resumed.finish();
  });

  it.each([
    ["died right after", true],
    ["went on after", false],
  ])(
    "is durable when it is finished, though the process %s a failed sync of its file (D2)",
    async (_, died) => {
      const { snapshot, bytes } = await source();
      const files = new SimulatedFiles();
      const { store } = await opened(files);
      const incoming = await store.receive(snapshot.id, bytes.length);
      await receiveAll(incoming, bytes);
      files.intercept = ({ type }) => (type === "data-sync" ? { type: "failed-sync", code: "EIO" } : null);
      await expect(incoming.finish()).rejects.toThrow("EIO");
      files.intercept = null;
      if (died) files.kill();
      else await incoming.suspend();
      const again = died ? (await opened(files)).store : store;
      const resumed = await again.receive(snapshot.id, bytes.length);
      if (died) expect(resumed.offset).toBeGreaterThan(500_000);
      else expect(resumed.offset).toBe(0);
      await receiveAll(resumed, bytes);
      await resumed.finish();
      files.crash(seededRandom(1));
      const { store: last } = await opened(files);
      await (await readerOf(last, snapshot.id)).verify();
    },
  );

  it("is not written or finished after a failed write, and its file is not kept", async () => {
    const { snapshot, bytes } = await source();
    const files = new SimulatedFiles();
    const { store } = await opened(files);
    const incoming = await store.receive(snapshot.id, bytes.length);
    files.intercept = ({ type }) => (type === "write" ? { type: "error", code: "ENOSPC" } : null);
    await expect(incoming.write(bytes.subarray(0, 1000))).rejects.toThrow("ENOSPC");
    files.intercept = null;
    await expect(incoming.write(bytes.subarray(0, 1000))).rejects.toThrow(/an earlier write .* failed/);
    await incoming.suspend();
    expect(files.paths()).toEqual([]);
  });

  it("can be aborted after it was renamed and the directory's sync failed, and received again", async () => {
    const { snapshot, bytes } = await source();
    const files = new SimulatedFiles();
    const { store } = await opened(files);
    for (const keeps of [false, true]) {
      const incoming = await store.receive(snapshot.id, bytes.length);
      await receiveAll(incoming, bytes);
      files.intercept = ({ type }) => (type === "sync-directory" ? { type: "error", code: "EIO" } : null);
      await expect(incoming.finish()).rejects.toThrow("EIO");
      files.intercept = null;
      await incoming.abort();
      // The second time, the same snapshot has been received before, and stays.
      expect(files.paths()).toHaveLength(keeps ? 1 : 0);
      if (keeps) break;
      const next = await store.receive(snapshot.id, bytes.length);
      await receiveAll(next, bytes);
      await next.finish();
    }
    await (await readerOf(store, snapshot.id)).verify();
  });

  it("replaces another one that was being received", async () => {
    const { snapshot, bytes } = await source();
    const files = new SimulatedFiles();
    const { store } = await opened(files);
    const other = await store.receive("0".repeat(32), 1_000_000);
    await other.write(Uint8Array.of(1, 2, 3));
    await other.suspend();
    const incoming = await store.receive(snapshot.id, bytes.length);
    expect(files.paths()).toHaveLength(1);
    await receiveAll(incoming, bytes);
    await incoming.finish();
    expect(files.paths()).toHaveLength(1);
  });

  it("is refused and removed if a part of it is wrong, and can be received again (S6)", async () => {
    const { snapshot, bytes } = await source();
    const files = new SimulatedFiles();
    const { store } = await opened(files);
    for (const at of [3, 40, 300_000, bytes.length - 5]) {
      const wrong = bytes.slice();
      wrong[at] = (wrong[at] ?? 0) ^ 1;
      const incoming = await store.receive(snapshot.id, bytes.length);
      expect(incoming.offset).toBe(0);
      await receiveAll(incoming, wrong);
      await expect(incoming.finish()).rejects.toThrow(CorruptSnapshotError);
      expect(files.paths()).toEqual([]);
    }
    // The beginning of one snapshot and the end of another.
    const { bytes: other } = await source(6);
    const mixed = new Uint8Array([...bytes.subarray(0, 300_000), ...other.subarray(300_000)]);
    const incoming = await store.receive(snapshot.id, bytes.length);
    await receiveAll(incoming, mixed);
    await expect(incoming.finish()).rejects.toThrow(CorruptSnapshotError);
    expect(store.newest).toBeNull();
    const good = await store.receive(snapshot.id, bytes.length);
    await receiveAll(good, bytes);
    await good.finish();
    expect(store.newest?.id).toBe(snapshot.id);
  });

  it("is refused if it's another snapshot than the one asked for", async () => {
    const { bytes } = await source();
    const { store } = await opened(new SimulatedFiles());
    const incoming = await store.receive("0".repeat(32), bytes.length);
    await receiveAll(incoming, bytes);
    await expect(incoming.finish()).rejects.toThrow("should be 000");
    expect(store.newest).toBeNull();
  });
});

describe("a snapshot store, when the power fails at any disk operation,", () => {
  /**
   * Takes a snapshot, takes another, and receives a third; calls `done` with the index of each when it's
   * acknowledged.
   */
  async function workload(
    store: SnapshotStore,
    third: Uint8Array,
    id: string,
    done: (index: number) => void,
  ): Promise<void> {
    done((await take(store, 5, [Uint8Array.of(5)])).position.index);
    done((await take(store, 9, [Uint8Array.of(9)])).position.index);
    const incoming = await store.receive(id, third.length);
    await incoming.write(third);
    done((await incoming.finish()).position.index);
  }

  it("holds the newest acknowledged snapshot or a newer one, and no incomplete one (S4)", async () => {
    const source = memorySnapshots();
    await source.open(simulatedEnvironment({ seed: 77 }));
    const snapshot = await take(source, 12, [Uint8Array.of(12)]);
    const third = await bytesOf(source, snapshot);
    let at = 0;
    for (let done = false; !done; at++) {
      const files = new SimulatedFiles();
      const { store } = await opened(files);
      const first = files.operations;
      let acknowledged = 0;
      const cut = new Promise<void>((resolve) => {
        files.intercept = ({ number }): FileFault | null => {
          if (number - first !== at + 1) return null;
          resolve();
          return { type: "power-cut" };
        };
      });
      done = await Promise.race([
        workload(store, third, snapshot.id, (index) => (acknowledged = index)).then(() => true),
        cut.then(() => false),
      ]);
      await new Promise((resolve) => setImmediate(resolve));
      files.intercept = null;
      for (const seed of [1, 2, 3]) {
        const copy = files.copy();
        copy.crash(seededRandom(seed * 1000 + at));
        const { store: again, found } = await opened(copy);
        expect(found.damaged).toEqual([]);
        const index = found.newest?.position.index ?? 0;
        expect(index).toBeGreaterThanOrEqual(acknowledged);
        expect(await newestState(again)).toEqual(index === 0 ? null : [index]);
        expect(copy.paths().filter((path) => path.endsWith(".tmp"))).toEqual([]);
        await take(again, 20, [Uint8Array.of(20)]);
        expect(await newestState(again)).toEqual([20]);
      }
    }
    expect(at).toBeGreaterThan(30);
  });

  it("doesn't count a snapshot whose sync failed (D2)", async () => {
    const files = new SimulatedFiles();
    const { store } = await opened(files);
    await take(store, 5, [Uint8Array.of(5)]);
    files.intercept = ({ type }) => (type === "data-sync" ? { type: "failed-sync", code: "EIO" } : null);
    await expect(take(store, 9, [Uint8Array.of(9)])).rejects.toThrow("EIO");
    files.intercept = null;
    files.crash(seededRandom(1));
    const { store: again } = await opened(files);
    expect(await newestState(again)).toEqual([5]);
  });
});
