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
  const store = wal(DIRECTORY, { segmentBytes: SEGMENT_BYTES });
  store.logTo?.((level, text) => void warnings.push(`${level}: ${text}`));
  const found = await store.open(
    { nodeId, clusterId: null },
    simulatedEnvironment({ files: files.mount(), seed }),
  );
  return { store, found, warnings };
}

/** A disk with a closed log that has one batch for each list of entries. */
async function diskWith(...batches: (readonly Uint8Array[])[]): Promise<SimulatedFiles> {
  return diskOf(1, ...batches);
}

/** The same, with the store id that this seed gives. */
async function diskOf(seed: number, ...batches: (readonly Uint8Array[])[]): Promise<SimulatedFiles> {
  const files = new SimulatedFiles();
  const { store } = await openLog(files, "a", seed);
  for (const records of batches) await append(store, records);
  await store.close();
  return files;
}

/** An entry whose payload is all zeros. */
function record(index: number, bytes: number): Uint8Array {
  return encodeRecord(index, 1, EntryKind.command, new Uint8Array(bytes));
}

function append(store: LogStore, records: readonly Uint8Array[]): Promise<void> {
  return store.append({ hardState: { term: 1, votedFor: "a" }, truncateFrom: null, records });
}

/** The batches of the first segment. */
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

/** All file names and contents, as text. */
function everythingOn(files: SimulatedFiles): string {
  return files
    .paths()
    .map((path) => `${path}: ${Buffer.from(files.contents(path)).toString("latin1")}`)
    .join();
}

/** Opens and closes the log; returns what it holds, or the error. */
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

describe("a torn last batch", () => {
  const kept = entries(1, 4, 1);
  const lost = entries(4, 9, 1, 300);

  /** A disk whose last batch is complete, and where that batch is. */
  async function diskWithLastWrite() {
    const files = await diskWith(kept, lost);
    const last = batchesOf(files)[1];
    if (last === undefined) throw new Error("there are two batches");
    const bytes = files.contents(FIRST).slice(last.start, last.start + last.length);
    expect(bytes.length).toBeGreaterThan(3 * SECTOR_BYTES);
    return { files, start: last.start, bytes };
  }

  it("is removed, wherever the write stopped (D3)", async () => {
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

  it("is removed, whichever of its sectors were written (D3)", async () => {
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
      // The log continues there.
      await append(store, entries(4, 6, 2));
      await store.close();
      const again = await openLog(disk);
      expect(again.found.lastIndex).toBe(5);
      expect(again.warnings).toEqual([]);
      await again.store.close();
    }
  });

  it("is removed also if the batch has sectors of zeros", async () => {
    const zeros = entries(5, 6, 1, 3000);
    const files = await diskWith(kept, [...entries(4, 5, 1, 600), ...zeros]);
    const last = batchesOf(files)[1]!;
    const whole = await tryOpen(files.copy());
    expect(whole).toMatchObject({ entries: { length: 5 } });
    files.damage(FIRST, last.start + SECTOR_BYTES, new Uint8Array(SECTOR_BYTES));
    expect(await tryOpen(files)).toMatchObject({ entries: kept.map(toText) });
  });

  it("is ignored by later recoveries, and its bytes stay", async () => {
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
  it("in a batch that others follow is detected, and nothing is changed", async () => {
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

  it("in the last batch is detected, because that batch was written completely", async () => {
    const files = await diskWith(entries(1, 2, 1), entries(2, 4, 1));
    const last = batchesOf(files)[1]!;
    for (let at = 0; at < last.length * 8; at++) {
      const disk = files.copy();
      flipBit(disk, FIRST, last.start + Math.floor(at / 8), at % 8);
      expect(await tryOpen(disk)).toBeInstanceOf(CorruptLogError);
    }
  });

  it("in a last batch of many sectors is detected", async () => {
    const files = await diskWith(entries(1, 2, 1), entries(2, 8, 1, 500));
    const last = batchesOf(files)[1]!;
    for (let at = 0; at < last.length * 8; at += 13) {
      const disk = files.copy();
      flipBit(disk, FIRST, last.start + Math.floor(at / 8), at % 8);
      expect(await tryOpen(disk)).toBeInstanceOf(CorruptLogError);
    }
  });

  it("in a last batch with sectors of zeros is detected", async () => {
    const files = await diskWith(entries(1, 2, 1), [record(2, 10), record(3, 3000)]);
    const last = batchesOf(files)[1]!;
    for (const offset of [BATCH_HEADER_BYTES + 5, 100, SECTOR_BYTES + 9, last.length - 3]) {
      const disk = files.copy();
      flipBit(disk, FIRST, last.start + offset, 2);
      expect(await tryOpen(disk)).toBeInstanceOf(CorruptLogError);
    }
  });

  it("in the header of a segment is detected", async () => {
    const files = await diskWith(entries(1, 2, 1));
    for (let at = 0; at < 121 * 8; at++) {
      const disk = files.copy();
      flipBit(disk, FIRST, Math.floor(at / 8), at % 8);
      expect(await tryOpen(disk)).toBeInstanceOf(CorruptLogError);
    }
  });

  it("in free space does no harm", async () => {
    const files = await diskWith(entries(1, 2, 1));
    const { start } = batchesOf(files)[0]!;
    for (const offset of [start + SECTOR_BYTES, start + SECTOR_BYTES + 40, start + 5 * SECTOR_BYTES + 7]) {
      const disk = files.copy();
      flipBit(disk, FIRST, offset, 3);
      expect(await tryOpen(disk)).toMatchObject({ entries: { length: 1 } });
    }
  });

  it("that appears while the log is open is detected by the next read", async () => {
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
      // Not in the last segment: zeros over a part of the last batch can't be told from a torn write.
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

  it("is refused if a batch in the last segment turned to zeros and a later one is there", async () => {
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

  it("is refused if a segment is missing or cut short", async () => {
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

  it("is refused if a segment has another's name", async () => {
    const files = await longLog();
    const [, second, third] = files.paths();
    await files.rename(second!, `${DIRECTORY}/aside`);
    await files.rename(third!, second!);
    await files.rename(`${DIRECTORY}/aside`, third!);
    expect(await tryOpen(files)).toMatchObject({ code: "CORRUPT_LOG", file: second });
  });

  it("is refused if it contains a segment or a batch of another log", async () => {
    const files = await longLog();
    const last = files.paths().at(-1)!;
    // The same store id with other entries, as after some files were restored from a backup.
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

  it("is reported with file, offset, first affected entry, and what to do", async () => {
    const files = await diskWith(entries(1, 5, 1), entries(5, 6, 1), entries(6, 7, 1));
    const second = batchesOf(files)[1]!;
    flipBit(files, FIRST, second.start + 40, 0);
    const error = await tryOpen(files);
    expect(error).toMatchObject({ code: "CORRUPT_LOG", file: FIRST, offset: second.start, index: 5 });
    expect((error as Error).message).toContain(FIRST);
    expect((error as Error).message).toMatch(/Entry 5 .* Restore .* backup .* remove the node/s);
  });
});

describe("the WAL's directory", () => {
  it("is refused to another node, and unlocked again", async () => {
    const files = await diskWith(entries(1, 5, 1));
    await expect(openLog(files, "b")).rejects.toMatchObject({ code: "WRONG_IDENTITY" });
    expect((await openLog(files)).found.lastIndex).toBe(4);
  });

  it("may hold other files, which stay as they are", async () => {
    const files = await diskWith(entries(1, 5, 1));
    for (const name of ["notes.txt", "1.wal", "0000000000000009.wal.bak"]) {
      await (await files.open(`${DIRECTORY}/${name}`, "create")).write([Buffer.from("hello")], 0);
    }
    const { store, found } = await openLog(files);
    expect(found.lastIndex).toBe(4);
    await store.close();
    expect(files.paths().length).toBe(4);
  });

  it("is refused if its format has a later version", async () => {
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

  it("can't be opened twice, and is unlocked by a close or a failed open", async () => {
    const files = await diskWith(entries(1, 5, 1));
    const { store } = await openLog(files);
    await expect(openLog(files)).rejects.toMatchObject({ code: "DIRECTORY_LOCKED" });
    await store.close();
    const again = await openLog(files);
    await again.store.close();
  });
});

describe("the WAL's segments and syncs", () => {
  it("segments are removed as the log is compacted, so space stays bounded", async () => {
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

  it("segments that can't be removed are reported, and removed after the next start", async () => {
    const files = new SimulatedFiles();
    const { store, warnings } = await openLog(files);
    for (let index = 1; index < 80; index += 4) await append(store, entries(index, index + 4, 1, 300));
    files.intercept = ({ type }) => (type === "remove" ? { type: "error", code: "EACCES" } : null);
    const before = files.paths().length;
    // Reset to a position below the entries in older segments: only the reset makes these obsolete.
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

  it("entries can be read while their segment is being removed", async () => {
    const files = new SimulatedFiles();
    const { store } = await openLog(files);
    for (let index = 1; index < 80; index += 4) await append(store, entries(index, index + 4, 1, 300));
    const reading = store.read(1, 30, 1_000_000);
    await store.compact(baseAt(60, 1));
    expect((await reading).map(toText)).toEqual(entries(1, 30, 1, 300).map(toText));
    await store.close();
  });

  it("all waiting writes share one sync, and an empty write needs none", async () => {
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

  it("a write waits for its sync, and writes that come meanwhile share the next batch", async () => {
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
