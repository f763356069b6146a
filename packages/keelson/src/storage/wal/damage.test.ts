import { describe, expect, it } from "vitest";
import { simulatedEnvironment } from "../../environment/simulated/simulated-environment.ts";
import { SimulatedFiles } from "../../environment/simulated/simulated-files.ts";
import { seededRandom } from "../../environment/simulated/simulated-clock.ts";
import { CorruptLogError } from "../../errors.ts";
import type { LogStore, StoredLog } from "../log-store.ts";
import { encodeRecord, EntryKind } from "../../codec/record.ts";
import { BATCH_HEADER_BYTES, SECTOR_BYTES } from "./batch-format.ts";
import { wal } from "./index.ts";
import { baseAt, entries, observe, toText, type Model } from "./test/model.ts";

const DIRECTORY = "/data/a";
const FIRST = `${DIRECTORY}/0000000000000001.wal`;
const SEGMENT_BYTES = 8192;

interface Opened {
  readonly store: LogStore;
  readonly found: StoredLog;
  readonly warnings: string[];
}

async function openLog(files: SimulatedFiles, nodeId = "a", seed = 1): Promise<Opened> {
  const warnings: string[] = [];
  const onLog = (level: string, text: string) => void warnings.push(`${level}: ${text}`);
  const store = wal(DIRECTORY, { segmentBytes: SEGMENT_BYTES, onLog });
  const found = await store.open(
    { nodeId, clusterId: null },
    simulatedEnvironment({ files: files.mount(), seed }),
  );
  return { store, found, warnings };
}

/** A disk with a log of these batches, one for each list of entries, closed. */
async function diskWith(...batches: (readonly Uint8Array[])[]): Promise<SimulatedFiles> {
  return diskOf(1, ...batches);
}

/** The same, of the store whose name the seed makes. */
async function diskOf(seed: number, ...batches: (readonly Uint8Array[])[]): Promise<SimulatedFiles> {
  const files = new SimulatedFiles();
  const { store } = await openLog(files, "a", seed);
  for (const records of batches) await append(store, records);
  await store.close();
  return files;
}

/** An entry whose payload is nothing but zeros. */
function record(index: number, bytes: number): Uint8Array {
  return encodeRecord(index, 1, EntryKind.command, new Uint8Array(bytes));
}

function append(store: LogStore, records: readonly Uint8Array[]): Promise<void> {
  return store.append({ hardState: { term: 1, votedFor: "a" }, truncateFrom: null, records });
}

/** Where the batches of the first segment are. */
function batchesOf(files: SimulatedFiles): { readonly start: number; readonly length: number }[] {
  const bytes = Buffer.from(files.contents(FIRST));
  const batches = [];
  let start = SECTOR_BYTES;
  while (start < bytes.length && bytes.readUInt32LE(start) !== 0) {
    const length = bytes.readUInt32LE(start + 4);
    batches.push({ start, length });
    start += Math.ceil(length / SECTOR_BYTES) * SECTOR_BYTES;
  }
  return batches;
}

function flipBit(files: SimulatedFiles, path: string, offset: number, bit: number): void {
  const byte = (files.contents(path)[offset] ?? 0) ^ (1 << bit);
  files.damage(path, offset, Uint8Array.of(byte));
}

/** All names and contents, as text. */
function everythingOn(files: SimulatedFiles): string {
  return files
    .paths()
    .map((path) => `${path}: ${Buffer.from(files.contents(path)).toString("latin1")}`)
    .join();
}

/** Opens the log and lets go of it; what it holds, or the error. */
async function tryOpen(files: SimulatedFiles): Promise<Model | Error> {
  try {
    const { store, found } = await openLog(files);
    const seen = await observe(found, store);
    await store.close();
    return seen;
  } catch (error) {
    if (error instanceof Error) return error;
    throw error;
  }
}

describe("an interrupted last write", () => {
  const kept = entries(1, 4, 1);
  const lost = entries(4, 9, 1, 300);

  /** A disk with the whole of the last write, and where it is. */
  async function diskWithLastWrite() {
    const files = await diskWith(kept, lost);
    const last = batchesOf(files)[1];
    if (last === undefined) throw new Error("there are two batches");
    const bytes = files.contents(FIRST).slice(last.start, last.start + last.length);
    expect(bytes.length).toBeGreaterThan(3 * SECTOR_BYTES);
    return { files, start: last.start, bytes };
  }

  it("D3: is cut off wherever it ended", async () => {
    const { files, start, bytes } = await diskWithLastWrite();
    for (let written = 0; written < bytes.length; written++) {
      const disk = files.copy();
      disk.damage(FIRST, start + written, new Uint8Array(bytes.length - written));
      const { store, found, warnings } = await openLog(disk);
      expect((await observe(found, store)).entries).toEqual(kept.map(toText));
      expect(warnings.length, "a warning, unless nothing was written at all").toBe(written === 0 ? 0 : 1);
      await store.close();
    }
  });

  it("D3: is cut off whichever of its sectors were written", async () => {
    const { files, start, bytes } = await diskWithLastWrite();
    const sectors = Math.ceil(bytes.length / SECTOR_BYTES);
    for (let written = 0; written < 2 ** sectors - 1; written++) {
      const disk = files.copy();
      for (let sector = 0; sector < sectors; sector++) {
        if ((written & (1 << sector)) !== 0) continue;
        disk.damage(FIRST, start + sector * SECTOR_BYTES, new Uint8Array(SECTOR_BYTES));
      }
      const { store, found } = await openLog(disk);
      expect((await observe(found, store)).entries).toEqual(kept.map(toText));
      // And the log goes on there.
      await append(store, entries(4, 6, 2));
      await store.close();
      const again = await openLog(disk);
      expect(again.found.lastIndex).toBe(5);
      expect(again.warnings).toEqual([]);
      await again.store.close();
    }
  });

  it("is cut off also when what it wrote has sectors of nothing but zeros", async () => {
    const zeros = entries(5, 6, 1, 3000);
    const files = await diskWith(kept, [...entries(4, 5, 1, 600), ...zeros]);
    const last = batchesOf(files)[1]!;
    const whole = await tryOpen(files.copy());
    expect(whole).toMatchObject({ entries: { length: 5 } });
    files.damage(FIRST, last.start + SECTOR_BYTES, new Uint8Array(SECTOR_BYTES));
    expect(await tryOpen(files)).toMatchObject({ entries: kept.map(toText) });
  });

  it("is not looked at again, nor destroyed, once it was cut off", async () => {
    const { files, start, bytes } = await diskWithLastWrite();
    files.damage(FIRST, start + bytes.length - 8, new Uint8Array(8));
    const left = files.contents(FIRST);
    for (let round = 0; round < 3; round++) {
      const { store, found, warnings } = await openLog(files);
      expect(found.lastIndex).toBe(3 + round);
      expect(warnings.length).toBe(round === 0 ? 1 : 0);
      await append(store, entries(4 + round, 5 + round, 2));
      await store.close();
    }
    expect(files.contents(FIRST)).toEqual(left);
  });
});

describe("a flipped bit", () => {
  it("in a batch that others follow is found, each one, and nothing is changed", async () => {
    const files = await diskWith(entries(1, 2, 1), entries(2, 4, 1), entries(4, 5, 1));
    const [, second] = batchesOf(files);
    for (let at = 0; at < second!.length * 8; at++) {
      const disk = files.copy();
      flipBit(disk, FIRST, second!.start + Math.floor(at / 8), at % 8);
      const before = everythingOn(disk);
      const error = await tryOpen(disk);
      expect(error).toBeInstanceOf(CorruptLogError);
      expect(error).toMatchObject({ file: FIRST, offset: second!.start, index: 2 });
      expect(everythingOn(disk)).toBe(before);
    }
  });

  it("in the last batch is found too, each one, because that batch was written in full", async () => {
    const files = await diskWith(entries(1, 2, 1), entries(2, 4, 1));
    const last = batchesOf(files)[1]!;
    for (let at = 0; at < last.length * 8; at++) {
      const disk = files.copy();
      flipBit(disk, FIRST, last.start + Math.floor(at / 8), at % 8);
      expect(await tryOpen(disk)).toBeInstanceOf(CorruptLogError);
    }
  });

  it("in a last batch of many sectors is found", async () => {
    const files = await diskWith(entries(1, 2, 1), entries(2, 8, 1, 500));
    const last = batchesOf(files)[1]!;
    for (let at = 0; at < last.length * 8; at += 13) {
      const disk = files.copy();
      flipBit(disk, FIRST, last.start + Math.floor(at / 8), at % 8);
      expect(await tryOpen(disk)).toBeInstanceOf(CorruptLogError);
    }
  });

  it("in a last batch with sectors of nothing but zeros is found", async () => {
    const files = await diskWith(entries(1, 2, 1), [record(2, 10), record(3, 3000)]);
    const last = batchesOf(files)[1]!;
    for (const offset of [BATCH_HEADER_BYTES + 5, 100, SECTOR_BYTES + 9, last.length - 3]) {
      const disk = files.copy();
      flipBit(disk, FIRST, last.start + offset, 2);
      expect(await tryOpen(disk)).toBeInstanceOf(CorruptLogError);
    }
  });

  it("in the header of a segment is found, each one", async () => {
    const files = await diskWith(entries(1, 2, 1));
    for (let at = 0; at < 121 * 8; at++) {
      const disk = files.copy();
      flipBit(disk, FIRST, Math.floor(at / 8), at % 8);
      expect(await tryOpen(disk)).toBeInstanceOf(CorruptLogError);
    }
  });

  it("in space that nothing was written to does no harm", async () => {
    const files = await diskWith(entries(1, 2, 1));
    const { start } = batchesOf(files)[0]!;
    for (const offset of [start + SECTOR_BYTES, start + SECTOR_BYTES + 40, start + 5 * SECTOR_BYTES + 7]) {
      const disk = files.copy();
      flipBit(disk, FIRST, offset, 3);
      expect(await tryOpen(disk)).toMatchObject({ entries: { length: 1 } });
    }
  });

  it("that appears while the log is open is found by the read", async () => {
    const files = await diskWith(entries(1, 6, 1));
    const { store } = await openLog(files);
    const { start, length } = batchesOf(files)[0]!;
    flipBit(files, FIRST, start + length - 20, 0);
    await expect(store.read(1, 6, 10_000)).rejects.toMatchObject({
      code: "CORRUPT_LOG",
      file: FIRST,
      index: 5,
    });
    expect(await store.read(1, 5, 10_000)).toHaveLength(4);
    await store.close();
  });
});

describe("a damaged log", () => {
  async function longLog(): Promise<SimulatedFiles> {
    const batches = Array.from({ length: 30 }, (_, at) => entries(at * 4 + 1, at * 4 + 5, 1, 300));
    const files = await diskWith(...batches);
    expect(files.paths().filter((path) => path.endsWith(".wal")).length).toBeGreaterThan(4);
    return files;
  }

  it("is never opened with fewer entries, whatever bytes are damaged", async () => {
    const files = await longLog();
    const whole = await tryOpen(files.copy());
    const random = seededRandom(5);
    const pick = (below: number): number => Math.floor(random() * below);
    const paths = files.paths();
    for (let round = 0; round < 600; round++) {
      const disk = files.copy();
      // Not the last segment: an overwritten last write cannot be told from an interrupted one.
      const path = paths[pick(paths.length - 1)]!;
      const size = disk.contents(path).length;
      const length = Math.min([1, 8, SECTOR_BYTES, 4096][pick(4)]!, size);
      const noise = Uint8Array.from({ length }, () => (round % 3 === 0 ? 0 : pick(256)));
      const aligned = Math.floor(pick(size - length + 1) / length) * length;
      disk.damage(path, aligned, noise);
      const result = await tryOpen(disk);
      if (!(result instanceof CorruptLogError)) expect(result).toEqual(whole);
    }
  });

  it("is refused when a batch in its last segment was wiped and a later one is there", async () => {
    const files = await diskWith(entries(1, 2, 1), entries(2, 8, 1, 200), entries(8, 9, 1));
    const { start, length } = batchesOf(files)[1]!;
    const wipes = [
      [start, length],
      [start, SECTOR_BYTES],
      [start + SECTOR_BYTES, SECTOR_BYTES],
      [start + length - 8, 8],
    ] as const;
    for (const [offset, bytes] of wipes) {
      const disk = files.copy();
      disk.damage(FIRST, offset, new Uint8Array(bytes));
      expect(await tryOpen(disk)).toMatchObject({ code: "CORRUPT_LOG", offset: start, index: 2 });
    }
  });

  it("is refused when a segment is missing or cut short", async () => {
    const files = await longLog();
    const paths = files.paths();
    for (const path of paths.slice(0, -1)) {
      const disk = files.copy();
      await disk.remove(path);
      expect(await tryOpen(disk)).toBeInstanceOf(CorruptLogError);
    }
    for (const path of paths) {
      const disk = files.copy();
      const handle = await disk.open(path, "write");
      await handle.truncate(4096);
      expect(await tryOpen(disk)).toBeInstanceOf(CorruptLogError);
    }
  });

  it("is refused when a segment stands under another's name", async () => {
    const files = await longLog();
    const [, second, third] = files.paths();
    await files.rename(second!, `${DIRECTORY}/aside`);
    await files.rename(third!, second!);
    await files.rename(`${DIRECTORY}/aside`, third!);
    expect(await tryOpen(files)).toMatchObject({ code: "CORRUPT_LOG", file: second });
  });

  it("is refused when a segment or a batch of another log stands in it", async () => {
    const files = await longLog();
    const last = files.paths().at(-1)!;
    // The same store by name, and another history: as after a restore of some files.
    const batches = Array.from({ length: 31 }, (_, at) => entries(at * 3 + 1, at * 3 + 4, 1, 400));
    const sibling = await diskWith(...batches);
    files.damage(last, 0, sibling.contents(last));
    expect(await tryOpen(files)).toMatchObject({ code: "CORRUPT_LOG", file: last, offset: 0 });

    const own = await diskOf(1, entries(1, 3, 1), entries(3, 4, 1));
    const foreign = await diskOf(2, entries(1, 3, 9), entries(3, 4, 9));
    const { start } = batchesOf(own)[0]!;
    own.damage(FIRST, start, foreign.contents(FIRST).slice(start, start + SECTOR_BYTES));
    expect(await tryOpen(own)).toMatchObject({ code: "CORRUPT_LOG", file: FIRST, offset: start });
  });

  it("says which file, where, which entry, and what to do", async () => {
    const files = await diskWith(entries(1, 5, 1), entries(5, 6, 1), entries(6, 7, 1));
    const second = batchesOf(files)[1]!;
    flipBit(files, FIRST, second.start + 40, 0);
    const error = await tryOpen(files);
    expect(error).toMatchObject({ code: "CORRUPT_LOG", file: FIRST, offset: second.start, index: 5 });
    expect((error as Error).message).toContain(FIRST);
    expect((error as Error).message).toMatch(/Entry 5 .* Restore .* backup .* remove the node/s);
  });
});

describe("the log's directory", () => {
  it("is refused to another node, and let go of", async () => {
    const files = await diskWith(entries(1, 5, 1));
    await expect(openLog(files, "b")).rejects.toMatchObject({ code: "WRONG_IDENTITY" });
    expect((await openLog(files)).found.lastIndex).toBe(4);
  });

  it("may hold other files, which are left alone", async () => {
    const files = await diskWith(entries(1, 5, 1));
    for (const name of ["notes.txt", "1.wal", "0000000000000009.wal.bak"]) {
      await (await files.open(`${DIRECTORY}/${name}`, "create")).write([Buffer.from("hello")], 0);
    }
    const { store, found } = await openLog(files);
    expect(found.lastIndex).toBe(4);
    await store.close();
    expect(files.paths().length).toBe(4);
  });

  it("is refused when its format is of a later version", async () => {
    const files = await diskWith(entries(1, 5, 1));
    const header = Buffer.from(files.contents(FIRST).slice(0, SECTOR_BYTES));
    header.writeUInt32LE(2, 16);
    const { crc32 } = await import("node:zlib");
    header.writeUInt32LE(
      crc32(header.subarray(16, header.readUInt32LE(8)), crc32(header.subarray(0, 12))),
      12,
    );
    files.damage(FIRST, 0, header);
    const error = await tryOpen(files);
    expect(error).toMatchObject({ code: "STORAGE_FAILED", outcome: "not-done" });
    expect((error as Error).message).toMatch(/version 2 .* reads version 1/);
  });

  it("cannot be taken twice, and is free after a close or a failed opening", async () => {
    const files = await diskWith(entries(1, 5, 1));
    const { store } = await openLog(files);
    await expect(openLog(files)).rejects.toMatchObject({ code: "DIRECTORY_LOCKED" });
    await store.close();
    const again = await openLog(files);
    await again.store.close();
  });
});

describe("the files of the log", () => {
  it("are removed when a prefix is forgotten, and space stays bounded", async () => {
    const files = new SimulatedFiles();
    const { store } = await openLog(files);
    for (let index = 1; index < 400; index += 4) {
      await append(store, entries(index, index + 4, 1, 300));
      await store.compact(baseAt(index + 2, 1));
      expect(files.paths().length).toBeLessThan(6);
    }
    expect(await store.read(400, 401, 10_000)).toHaveLength(1);
    await store.close();
    const again = await openLog(files);
    expect(again.found).toMatchObject({ base: { index: 399, term: 1 }, lastIndex: 400 });
    await again.store.close();
  });

  it("that could not be removed are a warning, and are removed after the next start", async () => {
    const files = new SimulatedFiles();
    const { store, warnings } = await openLog(files);
    for (let index = 1; index < 80; index += 4) await append(store, entries(index, index + 4, 1, 300));
    files.intercept = ({ type }) => (type === "remove" ? { type: "error", code: "EACCES" } : null);
    const before = files.paths().length;
    // Below entries that older segments hold: only the reset itself says that they are not wanted.
    await store.reset(baseAt(5, 1));
    await append(store, entries(6, 7, 1));
    await store.close();
    expect(warnings).toEqual([expect.stringMatching(/warn: .* could not be removed: EACCES/)]);
    expect(files.paths().length).toBe(before);

    files.intercept = null;
    const again = await openLog(files);
    expect(again.found).toMatchObject({ base: { index: 5 }, lastIndex: 6 });
    await again.store.close();
    expect(files.paths().length).toBe(1);
  });

  it("can be read while the segment that they are in is removed", async () => {
    const files = new SimulatedFiles();
    const { store } = await openLog(files);
    for (let index = 1; index < 80; index += 4) await append(store, entries(index, index + 4, 1, 300));
    const reading = store.read(1, 30, 1_000_000);
    await store.compact(baseAt(60, 1));
    expect((await reading).map(toText)).toEqual(entries(1, 30, 1, 300).map(toText));
    await store.close();
  });

  it("see one sync for all writes that wait, and none for an empty one", async () => {
    const files = new SimulatedFiles();
    const { store } = await openLog(files);
    let syncs = 0;
    files.intercept = ({ type }) => {
      if (type === "data-sync") syncs += 1;
      return null;
    };
    await store.append({ hardState: null, truncateFrom: null, records: [] });
    expect(syncs).toBe(0);
    for (const change of [
      { hardState: { term: 2, votedFor: null } },
      { hardState: { term: 2, votedFor: "a" } },
      { records: entries(1, 2, 2) },
      { truncateFrom: 1 },
    ]) {
      syncs = 0;
      await store.append({ hardState: null, truncateFrom: null, records: [], ...change });
      expect(syncs).toBe(1);
    }
    syncs = 0;
    await Promise.all(
      entries(1, 11, 3).map((record) =>
        store.append({ hardState: null, truncateFrom: null, records: [record] }),
      ),
    );
    expect(syncs).toBe(1);
    await store.close();
  });

  it("hold up a write until its sync is done, and gather what comes meanwhile", async () => {
    const files = new SimulatedFiles();
    const { store } = await openLog(files);
    files.intercept = ({ type }) => (type === "data-sync" ? { type: "hang" } : null);
    let acknowledged = false;
    void append(store, entries(1, 3, 1)).then(() => {
      acknowledged = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    const { operations } = files;
    void append(store, entries(3, 5, 1));
    await new Promise((resolve) => setImmediate(resolve));
    expect(acknowledged).toBe(false);
    expect(files.operations, "nothing is written while a batch is not durable").toBe(operations);
    expect(await store.read(1, 5, 10_000)).toHaveLength(4);
  });
});
