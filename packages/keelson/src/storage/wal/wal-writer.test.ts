import { describe, expect, it } from "vitest";
import type { FileSystem } from "../../environment/environment.ts";
import { simulatedEnvironment } from "../../environment/simulated/simulated-environment.ts";
import { SimulatedFiles, type FileOperation } from "../../environment/simulated/simulated-files.ts";
import { encodeRecord, EntryKind, RECORD_BYTES_MAX } from "../../codec/record.ts";
import { readUint32, writeUint32, writeUint64 } from "../../codec/little-endian.ts";
import type { LogStore } from "../log-store.ts";
import { BATCH_HEADER_BYTES, ITEM_HEADER_BYTES, SECTOR_BYTES } from "./batch-format.ts";
import { wal } from "./index.ts";
import { baseAt, entries, toText, write } from "./test/model.ts";
import { override } from "./test/override.ts";

const DIRECTORY = "/data/a";
const ALL = Number.MAX_SAFE_INTEGER;
const MIB = 1024 * 1024;
/** The magic number of a batch. */
const BATCH_MAGIC = 0x4b42_4154;

function segmentPath(number: number): string {
  return `${DIRECTORY}/${String(number).padStart(16, "0")}.wal`;
}

/** An open log on a disk that records its operations. */
class Bench {
  readonly disk: SimulatedFiles;
  readonly operations: FileOperation[] = [];
  readonly warnings: { readonly text: string; readonly fields: unknown }[] = [];
  /** Each batch written to the disk: its buffer, and its size in bytes. */
  readonly batches: { readonly buffer: ArrayBufferLike; readonly length: number }[] = [];
  /** Offset and size of each read. */
  readonly reads: (readonly [position: number, bytes: number])[] = [];
  /** If set, syncs wait here until they are released. */
  held: (() => void)[] | null = null;
  readonly store: LogStore;

  private constructor(disk: SimulatedFiles, segmentBytes: number) {
    this.disk = disk;
    this.store = wal(DIRECTORY, { segmentBytes });
    this.store.logTo?.((_, text, fields) => void this.warnings.push({ text, fields }));
  }

  static async open(segmentBytes = 4096, disk = new SimulatedFiles()): Promise<Bench> {
    const bench = new Bench(disk, segmentBytes);
    const environment = simulatedEnvironment({ files: bench.#observed(disk.mount()) });
    await bench.store.open({ nodeId: "a", clusterId: null }, environment);
    bench.clear();
    disk.intercept = (operation) => {
      bench.operations.push(operation);
      return null;
    };
    return bench;
  }

  clear(): void {
    for (const list of [this.operations, this.batches, this.reads]) list.length = 0;
  }

  count(type: FileOperation["type"]): number {
    return this.operations.filter((operation) => operation.type === type).length;
  }

  /** Makes every operation of this kind fail from now on. */
  fail(type: FileOperation["type"], code = "EIO"): void {
    this.disk.intercept = (operation) => (operation.type === type ? { type: "error", code } : null);
  }

  append(...records: Uint8Array[]): Promise<void> {
    return write({ records }).onStore(this.store);
  }

  replace(truncateFrom: number, ...records: Uint8Array[]): Promise<void> {
    return write({ truncateFrom, records }).onStore(this.store);
  }

  async texts(from: number, to: number): Promise<string[]> {
    return (await this.store.read(from, to, ALL)).map(toText);
  }

  /** Releases the oldest waiting sync. */
  async letGo(): Promise<void> {
    this.held?.shift()?.();
    await turn();
  }

  #observed(files: FileSystem): FileSystem {
    return override(files, {
      open: async (path, mode) => {
        const handle = await files.open(path, mode);
        return override(handle, {
          read: (target, position) => {
            this.reads.push([position, target.length]);
            return handle.read(target, position);
          },
          writeDurably: async (chunks, position) => {
            const [{ buffer, length } = new Uint8Array(4), ...others] = chunks;
            expect(others).toEqual([]);
            expect(readUint32(chunks[0] ?? new Uint8Array(4), 0)).toBe(BATCH_MAGIC);
            this.batches.push({ buffer, length });
            await handle.write(chunks, position);
            await new Promise<void>((resolve) => {
              if (this.held === null) resolve();
              else this.held.push(resolve);
            });
            await handle.writeDurably(chunks, position);
          },
        });
      },
    });
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function record(index: number, bytes: number, term = 1): Uint8Array {
  return encodeRecord(index, term, EntryKind.command, new Uint8Array(bytes).fill(index));
}

/** The offset of the first record in a segment whose first batch begins with entries. */
const FIRST_RECORD_AT = SECTOR_BYTES + BATCH_HEADER_BYTES + ITEM_HEADER_BYTES;

describe("a write that is replaced before it is durable", () => {
  it("is not taken for the one that replaced it while the disk was busy (D8)", async () => {
    const bench = await Bench.open(64 * 1024);
    bench.held = [];
    const first = bench.append(...entries(1, 4, 1));
    await turn();
    const second = bench.replace(2, ...entries(2, 3, 2, 90));
    const third = bench.replace(2, ...entries(2, 6, 3, 70));
    const expected = [...entries(1, 2, 1), ...entries(2, 6, 3, 70)].map(toText);
    expect(await bench.texts(1, 6)).toEqual(expected);

    await bench.letGo();
    await first;
    expect(await bench.texts(1, 6)).toEqual(expected);
    await bench.letGo();
    await Promise.all([second, third]);
    expect(await bench.texts(1, 6)).toEqual(expected);
    expect((await bench.store.read(1, 6, ALL))[1]).toHaveLength(entries(2, 3, 3, 70)[0]?.length ?? 0);
    await bench.store.close();
  });

  it("is dropped by a reset, and entries after the reset are read as they were written (D8)", async () => {
    const bench = await Bench.open(64 * 1024);
    bench.held = [];
    const writes = [bench.append(...entries(1, 4, 1))];
    await turn();
    writes.push(bench.store.reset(baseAt(10, 2)), bench.append(...entries(11, 14, 2)));
    const expected = entries(11, 14, 2).map(toText);
    expect(await bench.texts(11, 14)).toEqual(expected);
    await bench.letGo();
    expect(await bench.texts(11, 14)).toEqual(expected);
    await bench.letGo();
    await Promise.all(writes);
    bench.clear();
    expect(await bench.texts(11, 14)).toEqual(expected);
    expect(bench.reads).toHaveLength(1);
    await bench.store.close();
  });

  it("is kept in memory until it is durable, and then read from the disk, each entry", async () => {
    const bench = await Bench.open(64 * 1024);
    bench.held = [];
    const first = bench.append(...entries(1, 4, 1));
    await turn();
    const second = bench.append(...entries(4, 6, 1));
    bench.clear();
    expect(await bench.texts(1, 6)).toEqual(entries(1, 6, 1).map(toText));
    expect(bench.reads).toEqual([]);
    await bench.letGo();
    await first;
    expect(await bench.texts(1, 6)).toEqual(entries(1, 6, 1).map(toText));
    expect(bench.reads).toHaveLength(1);
    await bench.letGo();
    await second;
    for (let index = 1; index < 6; index++) {
      bench.clear();
      await bench.texts(index, index + 1);
      expect([index, bench.reads.length]).toEqual([index, 1]);
    }
    await bench.store.close();
  });
});

describe("a repeated compact or setClusterId", () => {
  it("is not written again", async () => {
    const bench = await Bench.open();
    await bench.append(...entries(1, 6, 1));
    await bench.store.setClusterId("c");
    await bench.store.compact(baseAt(3, 1));
    bench.clear();
    await bench.store.setClusterId("c");
    await bench.store.compact(baseAt(3, 1));
    await bench.store.compact(baseAt(2, 1));
    expect(bench.operations).toEqual([]);
    await bench.store.close();
  });
});

describe("a call that the log refuses", () => {
  it("rejects a read outside the log, saying which entries it holds", async () => {
    const bench = await Bench.open();
    await bench.append(...entries(1, 6, 1));
    await bench.store.compact(baseAt(2, 1));
    for (const [from, to] of [
      [2, 4],
      [0, 1],
      [1, 3],
      [4, 7],
      [7, 7],
      [5, 4],
    ] as const) {
      await expect(bench.store.read(from, to, ALL)).rejects.toMatchObject({
        code: "INVALID_OPTION",
        message: `entries [${String(from)}, ${String(to)}) are not in the log, which holds [3, 6)`,
      });
    }
    expect(await bench.store.read(6, 6, ALL)).toEqual([]);
    await bench.store.close();
  });

  it("throws if asked for the bytes of compacted entries", async () => {
    const disk = new SimulatedFiles();
    for (const reopened of [false, true]) {
      const bench = await Bench.open(4096, disk);
      if (!reopened) {
        await bench.append(...entries(1, 6, 1));
        await bench.store.compact(baseAt(3, 1));
      }
      expect(bench.store.bytesBetween(4, 5)).toBe(entries(4, 5, 1)[0]?.length);
      expect(() => bench.store.bytesBetween(3, 4)).toThrow("within the log");
      await bench.store.close();
    }
  });

  it("rejects a base that is no position or has no valid configuration, and changes nothing", async () => {
    const bench = await Bench.open();
    await bench.append(...entries(1, 3, 1));
    bench.clear();
    await expect(bench.store.reset(baseAt(0, 1))).rejects.toThrow("reset to a position");
    await expect(bench.store.reset(baseAt(5, 0))).rejects.toThrow("reset to a position");
    const unreadable = { position: { index: 5, term: 1 }, config: Buffer.from("?") };
    await expect(bench.store.reset(unreadable)).rejects.toMatchObject({ code: "DECODE" });
    expect(bench.operations).toEqual([]);
    await bench.append(...entries(3, 4, 1));
    expect(await bench.texts(1, 4)).toEqual(entries(1, 4, 1).map(toText));
    await bench.store.close();
  });

  it("rejects a write larger than a batch may be, and changes nothing", async () => {
    const bench = await Bench.open();
    // The payloads are never read or written, so they take no memory.
    const records = Array.from({ length: 32 }, (_, at) => {
      const bytes = new Uint8Array(RECORD_BYTES_MAX);
      writeUint32(bytes, 0, bytes.length);
      writeUint64(bytes, 8, at + 1);
      writeUint64(bytes, 16, 1);
      writeUint32(bytes, 24, EntryKind.command);
      return bytes;
    });
    await expect(bench.append(...records)).rejects.toMatchObject({
      code: "INVALID_OPTION",
      message: expect.stringMatching(/has 536871816 bytes; the limit is 536870912: split it/) as unknown,
    });
    expect(bench.operations).toEqual([]);
    await bench.append(...entries(1, 3, 1));
    await bench.store.close();
  });

  it("rejects once the log is closing, while earlier calls complete", async () => {
    const bench = await Bench.open();
    const written = bench.append(...entries(1, 3, 1));
    const reading = bench.store.read(1, 3, ALL);
    const closed = bench.store.close();
    await expect(bench.append(...entries(3, 4, 1))).rejects.toMatchObject({ code: "CLOSED" });
    await expect(bench.store.read(1, 3, ALL)).rejects.toMatchObject({ code: "CLOSED" });
    await written;
    expect(await reading).toHaveLength(2);
    await closed;
  });
});

describe("a failed write", () => {
  it.each([
    ["ENOSPC", /THE DISK IS FULL\. Nothing that was acknowledged is lost: make room/],
    ["EMFILE", /too many open files: raise the limit/],
    ["EROFS", /must be able to read and write there/],
  ])("says what to do about %s, while the node runs and at its start [Z21]", async (code, advice) => {
    const bench = await Bench.open();
    bench.fail("write", code);
    const reason = await reasonOf(bench.append(...entries(1, 2, 1)));
    expect((reason as Error).message).toMatch(advice);
    bench.disk.intercept = null;
    await bench.store.close();
    bench.fail("open", code);
    const opening = wal("/data/a").open(
      { nodeId: "a", clusterId: null },
      simulatedEnvironment({ files: bench.disk.mount(), seed: 1 }),
    );
    expect(((await reasonOf(opening)) as Error).message).toMatch(advice);
  });

  it("is unknown, with all writes of its batch; later ones are not done (D2)", async () => {
    const bench = await Bench.open();
    await bench.append(...entries(1, 3, 1));
    let syncs = 0;
    bench.disk.intercept = ({ type }) => {
      if (type !== "data-sync") return null;
      syncs += 1;
      return { type: "failed-sync", code: "EIO" };
    };
    const ends = [bench.append(...entries(3, 4, 1)), bench.append(...entries(4, 5, 1))].map(reasonOf);
    await Promise.resolve();
    // While the batch is being written, these wait for the next one.
    await Promise.resolve();
    ends.push(reasonOf(bench.append(...entries(5, 6, 1))));
    const [first, second, waiting] = await Promise.all(ends);
    const cause = { code: "EIO" };
    expect(first).toMatchObject({ code: "STORAGE_FAILED", outcome: "unknown", cause });
    expect((first as Error).message).toMatch(/\/data\/a could not be written: EIO.*restart the node/s);
    expect(second).toBe(first);
    expect(waiting).toMatchObject({ code: "STORAGE_FAILED", outcome: "not-done", cause });

    // The disk works again, but the log stays poisoned.
    bench.disk.intercept = null;
    const before = bench.disk.operations;
    for (const call of [
      () => bench.append(...entries(6, 7, 1)),
      () => bench.append(),
      () => bench.store.compact(baseAt(1, 1)),
      () => bench.store.reset(baseAt(9, 1)),
      () => bench.store.setClusterId("c"),
    ]) {
      const reason = await reasonOf(call());
      expect(reason).toMatchObject({ code: "STORAGE_FAILED", outcome: "not-done", cause });
      expect((reason as Error).message).toContain("takes no more writes, because an earlier one failed");
    }
    expect([syncs, bench.disk.operations]).toEqual([1, before]);
    await bench.store.close();
  });
});

describe("batches", () => {
  it("are limited in size, however much waits", async () => {
    const bench = await Bench.open(MIB);
    const records = Array.from({ length: 10 }, (_, at) => record(at + 1, MIB));
    await Promise.all(records.map((each) => bench.append(each)));
    // Four writes would exceed 4 MiB.
    expect(bench.batches.map(({ length }) => Math.floor(length / MIB))).toEqual([3, 3, 3, 1]);
    await bench.store.close();
  });

  it("have up to 4 MiB, except a single larger write", async () => {
    const half = 2 * MIB - record(1, 0).length - ITEM_HEADER_BYTES;
    for (const [first, second, batches] of [
      [half, half, 1],
      [half, half + 1, 2],
      [4 * MIB, 10, 2],
    ] as const) {
      const bench = await Bench.open(MIB);
      await Promise.all([bench.append(record(1, first)), bench.append(record(2, second))]);
      expect([first, second, bench.batches.length]).toEqual([first, second, batches]);
      await bench.store.close();
    }
  });

  it("are encoded in one buffer that is reused, except very large ones", async () => {
    const bench = await Bench.open(64 * MIB);
    const buffers = [];
    let index = 1;
    for (const bytes of [100, 60 * 1024, 200 * 1024, 100, 2 * MIB, 100, MIB - 600, 100]) {
      bench.clear();
      await bench.append(record(index++, bytes));
      buffers.push(bench.batches.at(-1)?.buffer);
    }
    const [a, b, c, d, e, f, g, h] = buffers;
    expect([b === a, c === b, d === c, e === d, f === d, g === f, h === g]).toEqual([
      true,
      false,
      true,
      false,
      true,
      false,
      true,
    ]);
    await bench.store.close();
  });
});

describe("the next segment", () => {
  it("is preallocated when the active one is more than half full", async () => {
    const bench = await Bench.open();
    // The header and these batches are exactly half of the segment.
    for (const index of [1, 2, 3]) await bench.append(record(index, 100));
    await turn();
    expect(bench.count("allocate")).toBe(0);
    await bench.append(record(4, 100));
    await turn();
    expect(bench.count("allocate")).toBe(1);
    await bench.store.close();
  });

  it("is preallocated at the start if the active one is more than half full", async () => {
    const disk = new SimulatedFiles();
    for (const [from, allocations] of [
      [1, 0],
      [4, 1],
    ] as const) {
      const bench = await Bench.open(4096, disk);
      for (let index = from; index < from + 3; index++) await bench.append(record(index, 100));
      await bench.store.close();
      let allocated = 0;
      disk.intercept = ({ type }) => {
        if (type === "allocate") allocated += 1;
        return null;
      };
      const store = wal(DIRECTORY, { segmentBytes: 4096 });
      await store.open({ nodeId: "a", clusterId: null }, simulatedEnvironment({ files: disk }));
      await turn();
      expect(allocated).toBe(allocations);
      await store.close();
    }
  });

  it("starts when the active one is full to the last sector", async () => {
    const bench = await Bench.open();
    for (let index = 1; index <= 7; index++) await bench.append(record(index, 100));
    expect(bench.disk.paths()).not.toContain(segmentPath(2));
    await bench.append(record(8, 100));
    expect(bench.disk.paths()).toContain(segmentPath(2));
    expect(await bench.texts(1, 9)).toHaveLength(8);
    await bench.store.close();
  });
});

describe("an obsolete segment", () => {
  async function longLog(): Promise<Bench> {
    const bench = await Bench.open();
    for (let index = 1; index < 200; index += 4) await bench.append(...entries(index, index + 4, 1, 800));
    expect(bench.disk.paths().length).toBeGreaterThan(40);
    return bench;
  }

  it("stays until earlier reads are done, however many segments they use (S11)", async () => {
    const bench = await longLog();
    const reading = Promise.all([1, 51, 101, 151].map((from) => bench.store.read(from, from + 50, ALL)));
    await bench.store.compact(baseAt(200, 1));
    expect((await reading).flat().map(toText)).toEqual(entries(1, 201, 1, 800).map(toText));
    await bench.store.close();
    expect(bench.disk.paths()).toHaveLength(1);
  });

  it("that can't be removed is reported once, and no later one is removed", async () => {
    const bench = await longLog();
    bench.fail("remove", "EACCES");
    await bench.store.compact(baseAt(100, 1));
    await turn();
    await bench.store.compact(baseAt(200, 1));
    await turn();
    expect(bench.warnings).toEqual([
      {
        text: `a segment that is no longer needed could not be removed: EACCES: ${segmentPath(1)}`,
        fields: { file: segmentPath(1) },
      },
    ]);
    expect(bench.disk.paths().slice(0, 50)).toEqual(
      Array.from({ length: 50 }, (_, at) => segmentPath(at + 1)),
    );
    await bench.append(...entries(201, 203, 1));
    await bench.store.close();
  });
});

describe("closing the log during a read", () => {
  it("waits for the read, and leaves no file open", async () => {
    const bench = await Bench.open();
    for (let index = 1; index < 200; index += 4) await bench.append(...entries(index, index + 4, 1, 800));
    await bench.store.close();
    const again = await Bench.open(4096, bench.disk);
    const reading = again.store.read(1, 201, ALL);
    await again.store.close();
    const { operations } = again;
    expect(operations.at(-1)).not.toMatchObject({ type: "open" });
    const count = operations.length;
    expect(await reading).not.toEqual([]);
    expect(operations).toHaveLength(count);
  });

  it("succeeds even if the read fails", async () => {
    const bench = await Bench.open();
    await bench.append(...entries(1, 3, 1));
    bench.fail("read");
    const reading = reasonOf(bench.store.read(1, 3, ALL));
    await bench.store.close();
    expect(await reading).toMatchObject({ code: "STORAGE_FAILED" });
    expect(bench.warnings).toEqual([]);
  });
});

describe("a read from disk", () => {
  it("uses few segments however much is asked for, and returns the first entries (D11)", async () => {
    const bench = await Bench.open();
    for (let index = 1; index < 200; index += 4) await bench.append(...entries(index, index + 4, 1, 800));
    await bench.store.close();
    const again = await Bench.open(4096, bench.disk);
    again.operations.length = 0;
    const read = await again.store.read(1, 201, ALL);
    expect(read.map(toText)).toEqual(entries(1, 65, 1, 800).map(toText));
    expect(again.operations.filter(({ type }) => type === "read")).toHaveLength(16);
    // Entries that are not durable yet must not follow a gap.
    const appended = again.append(...entries(201, 205, 1, 800));
    const more = await again.store.read(1, 205, ALL);
    expect(more.map(toText)).toEqual(read.map(toText));
    await appended;
    await again.store.close();
  });

  it("is one operation for entries near each other, wherever in the segment", async () => {
    const bench = await Bench.open(MIB);
    for (let index = 1; index <= 5; index++) await bench.append(record(index, 60_000));
    bench.clear();
    expect(await bench.texts(1, 6)).toHaveLength(5);
    expect(bench.reads).toHaveLength(1);
    bench.clear();
    expect(await bench.texts(4, 6)).toHaveLength(2);
    const [[position, bytes] = [0, 0]] = bench.reads;
    expect(bench.reads).toHaveLength(1);
    expect(position).toBeGreaterThan(180_000);
    expect(bytes).toBeLessThan(121_000);
    await bench.store.close();
  });

  it("skips unwanted bytes between entries if they exceed 64 KiB", async () => {
    // Between the two entries that are read are the end of the first batch's second sector, 127 sectors with
    // an overwritten entry, and the headers of the batch that overwrote it: 64 KiB in all, or one byte more.
    for (const [bytes, reads] of [
      [500, 1],
      [499, 2],
    ] as const) {
      const bench = await Bench.open(MIB);
      await bench.append(record(1, bytes));
      await bench.append(record(2, 127 * SECTOR_BYTES - 100));
      await bench.replace(2, record(2, 10, 2));
      expect(bench.batches.map(({ length }) => length / SECTOR_BYTES)).toEqual([2, 127, 1]);
      bench.clear();
      expect(await bench.texts(1, 3)).toEqual([record(1, bytes), record(2, 10, 2)].map(toText));
      expect([bytes, bench.reads.length]).toEqual([bytes, reads]);
      await bench.store.close();
    }
  });

  it("that fails names the entry and the file, and can be repeated", async () => {
    const bench = await Bench.open();
    await bench.append(...entries(1, 4, 1));
    bench.fail("read");
    await expect(bench.store.read(2, 4, ALL)).rejects.toMatchObject({
      code: "STORAGE_FAILED",
      outcome: "not-done",
      message: expect.stringContaining(`entry 2 could not be read from ${segmentPath(1)}: EIO`) as unknown,
      cause: { code: "EIO" },
    });
    bench.disk.intercept = null;
    expect(await bench.texts(2, 4)).toHaveLength(2);
    await bench.append(...entries(4, 5, 1));
    await bench.store.close();
  });

  it("detects a file that was cut short, another entry, or one that overlaps the next", async () => {
    const short = await Bench.open();
    await short.append(...entries(1, 4, 1));
    const handle = await short.disk.open(segmentPath(1), "write");
    await handle.truncate(FIRST_RECORD_AT + 80);
    await expect(short.store.read(1, 4, ALL)).rejects.toMatchObject({
      code: "CORRUPT_LOG",
      message: expect.stringContaining("the file is cut short") as unknown,
      file: segmentPath(1),
      offset: FIRST_RECORD_AT,
      index: 1,
    });

    const records = [record(1, 100), record(2, 100), record(3, 100)];
    const notMatching = (index: number) => ({
      code: "CORRUPT_LOG",
      message: expect.stringContaining(`entry ${String(index)} does not match its checksum`) as unknown,
      index,
    });
    // An intact record, but of another entry.
    for (const [wrong, at, index] of [
      [record(7, 100), 0, 1],
      [record(1, 100), 1, 2],
      [record(1, 150), 0, 1],
      [record(1, 228), 0, 1],
      [record(2, 150), 1, 2],
    ] as const) {
      const bench = await Bench.open();
      await bench.append(...records);
      bench.disk.damage(segmentPath(1), FIRST_RECORD_AT + at * record(1, 100).length, wrong);
      await expect(bench.store.read(1, 4, ALL)).rejects.toMatchObject(notMatching(index));
      await expect(bench.store.read(index, index + 1, ALL)).rejects.toMatchObject(notMatching(index));
      await bench.store.close();
    }
  });
});

/** The error that a call was rejected with; undefined: it was not rejected. */
function reasonOf(call: Promise<unknown>): Promise<unknown> {
  return call.then(
    () => undefined,
    (error: unknown) => error,
  );
}
