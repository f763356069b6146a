import { describe, expect, it } from "vitest";
import { ORIGIN } from "../../core/position.ts";
import type { FileSystem } from "../../environment/environment.ts";
import { SimulatedFiles, type FileOperation } from "../../environment/simulated/simulated-files.ts";
import { SECTOR_BYTES } from "./batch-format.ts";
import { decodeSegmentHeader } from "./segment-header.ts";
import { FIRST_SEGMENT_BYTES, segmentName, Segments, segmentSequences, type Segment } from "./segments.ts";
import { override } from "./test/override.ts";

const DIRECTORY = "/data/a";
const PREPARED = "prepared.tmp";
const MIB = 1024 * 1024;

/** The limit on open segments. */
const OPEN_MAX = 32;

const HEADER = {
  nodeId: "a",
  storeId: "0".repeat(32),
  firstBatch: 1,
  clusterId: null,
  hardState: { term: 0, votedFor: null },
  base: ORIGIN,
  basePayload: new Uint8Array(0),
  last: ORIGIN,
};

/** A disk, the segments on it, and the operations that are made. */
class Bench {
  readonly disk = new SimulatedFiles();
  readonly segments: Segments;
  operations: string[] = [];
  /** Operations that fail, and their errors. */
  failing: (operation: FileOperation) => string | null = () => null;

  private constructor(segmentBytes: number, wrap: (files: FileSystem) => FileSystem) {
    this.segments = new Segments(wrap(this.disk.mount()), DIRECTORY, segmentBytes);
    this.disk.intercept = (operation) => {
      const code = this.failing(operation);
      const name = operation.path.slice(DIRECTORY.length + 1);
      this.operations.push([operation.type, name, code].filter((part) => part !== null).join(" "));
      return code === null ? null : { type: "error", code };
    };
  }

  static async open(segmentBytes = 4096, wrap = (files: FileSystem): FileSystem => files): Promise<Bench> {
    const bench = new Bench(segmentBytes, wrap);
    await bench.disk.makeDirectory(DIRECTORY);
    bench.operations = [];
    return bench;
  }

  static async withSegments(count: number, wrap?: (files: FileSystem) => FileSystem): Promise<Bench> {
    const bench = await Bench.open(4096, wrap);
    for (let at = 0; at < count; at++) await bench.segments.create(HEADER, 0);
    return bench;
  }

  /** How many operations have a description with this beginning. */
  count(operation: string): number {
    return this.operations.filter((done) => done.startsWith(operation)).length;
  }

  /** How many files are open. Right only if no `open` failed. */
  get opened(): number {
    return this.count("open") - this.count("close");
  }

  /** Makes the next operation of this kind fail. */
  failOnce(type: FileOperation["type"], code: string): void {
    this.failing = (operation) => {
      if (operation.type !== type) return null;
      this.failing = () => null;
      return code;
    };
  }

  read(sequence: number): Promise<number> {
    return this.segments.read(this.segments.get(sequence), new Uint8Array(8), 0);
  }
}

/** Reads that wait until they are released. */
function slowReads(files: FileSystem): FileSystem {
  return override(files, {
    open: async (path, mode) => {
      const handle = await files.open(path, mode);
      return override(handle, {
        read: async (target, position) => {
          await turn();
          return handle.read(target, position);
        },
      });
    },
  });
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function numbers(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, at) => from + at);
}

describe("segment names", () => {
  it("sort by number, and differ from other names", () => {
    expect(segmentName(7)).toBe("0000000000000007.wal");
    const names = [segmentName(12), "prepared.tmp", segmentName(3), "3.wal", `${segmentName(5)}.bak`];
    expect(segmentSequences(names)).toEqual([3, 12]);
  });
});

describe("a segment", () => {
  it("is small at first, and then twice as large as the one before it, up to the wanted size", async () => {
    const { segments } = await Bench.open(4 * MIB);
    const sizes = [];
    for (let count = 0; count < 4; count++) sizes.push((await segments.create(HEADER, 0)).segment.bytes);
    expect(FIRST_SEGMENT_BYTES).toBe(MIB);
    expect(sizes).toEqual([MIB, 2 * MIB, 4 * MIB, 4 * MIB]);
  });

  it("is as large as its first batch needs, and states its size in its header", async () => {
    const { disk, segments } = await Bench.open(4096);
    const room = 10 * SECTOR_BYTES;
    const { segment, end } = await segments.create(HEADER, room);
    expect(segment.bytes).toBe(end + room);
    const contents = disk.contents(segment.path);
    expect(contents.length).toBe(segment.bytes);
    expect(decodeSegmentHeader(contents)).toMatchObject({ segment: 1, bytes: segment.bytes });
  });

  it("has whole sectors, whatever its first batch needs", async () => {
    const { segments } = await Bench.open(4096);
    const { segment, end } = await segments.create(HEADER, 10 * SECTOR_BYTES - 1);
    expect(segment.bytes).toBe(end + 10 * SECTOR_BYTES);
  });

  it("is durable with header and name when create resolves", async () => {
    const { disk, segments } = await Bench.open(4096);
    const { segment } = await segments.create(HEADER, 0);
    // A crash that loses everything that was not synced.
    disk.crash(() => 0);
    expect(disk.paths()).toEqual([segment.path]);
    expect(decodeSegmentHeader(disk.contents(segment.path))).toMatchObject({ segment: 1 });
  });

  it("is preallocated in steps, with a sync after each", async () => {
    const bench = await Bench.open(MIB * 3);
    await bench.segments.create(HEADER, 2.5 * MIB);
    expect(bench.count("allocate")).toBe(3);
    // One sync for each step, and one for the header.
    expect(bench.count("data-sync")).toBe(4);
  });

  it("is preallocated once, and then used", async () => {
    const bench = await Bench.open();
    bench.segments.preallocateNext();
    bench.segments.preallocateNext();
    await turn();
    expect(bench.operations).toEqual([
      `open ${PREPARED}`,
      `size ${PREPARED}`,
      `allocate ${PREPARED}`,
      `data-sync ${PREPARED}`,
    ]);
    await bench.segments.create(HEADER, 0);
    expect(bench.count("open")).toBe(1);
    bench.segments.preallocateNext();
    await turn();
    expect(bench.count("open")).toBe(2);
  });

  it("is created when it's needed if preallocating failed, without an error", async () => {
    const bench = await Bench.open();
    const unhandled: unknown[] = [];
    const note = (reason: unknown): void => void unhandled.push(reason);
    process.on("unhandledRejection", note);
    bench.failOnce("allocate", "ENOSPC");
    bench.segments.preallocateNext();
    await turn();
    await turn();
    process.off("unhandledRejection", note);
    expect(unhandled).toEqual([]);
    expect(bench.opened).toBe(0);

    await bench.segments.create(HEADER, 0);
    expect(bench.operations).toContain(`open ${PREPARED}`);
    expect(bench.disk.paths()).toEqual([`${DIRECTORY}/${segmentName(1)}`]);
  });

  it("replaces a preallocated file that an earlier process left", async () => {
    const bench = await Bench.open();
    const left = await bench.disk.open(`${DIRECTORY}/${PREPARED}`, "create");
    await left.write([Buffer.alloc(9000, "left")], 0);
    const { segment } = await bench.segments.create(HEADER, 0);
    expect(segment.bytes).toBe(4096);
    expect(Buffer.from(bench.disk.contents(segment.path)).includes("left")).toBe(false);
  });

  it("removes no file if it can't be created for another reason", async () => {
    const bench = await Bench.open();
    bench.failOnce("open", "EACCES");
    await expect(bench.segments.create(HEADER, 0)).rejects.toMatchObject({ code: "EACCES" });
    expect(bench.operations).toEqual([`open ${PREPARED} EACCES`]);
  });

  it("does not exist and is not kept open if creating it failed", async () => {
    for (const type of ["size", "allocate", "write", "data-sync", "rename", "sync-directory"] as const) {
      const bench = await Bench.open();
      bench.failOnce(type, "EIO");
      await expect(bench.segments.create(HEADER, 0)).rejects.toMatchObject({ code: "EIO" });
      expect([type, bench.opened]).toEqual([type, 0]);
      expect(bench.segments.active).toBeUndefined();
    }
  });
});

describe("the segments of a log", () => {
  it("are found by number, also after the first ones were removed", async () => {
    const { segments } = await Bench.withSegments(4);
    await segments.removeFirst(segments.get(1));
    expect(segments.get(2).path).toBe(`${DIRECTORY}/${segmentName(2)}`);
    expect(segments.get(4)).toBe(segments.active);
    expect(() => segments.get(1)).toThrow("in a segment of the log");
    expect(() => segments.get(5)).toThrow("in a segment of the log");
  });

  it("are none in a new directory", async () => {
    const { segments } = await Bench.open();
    expect(segments.active).toBeUndefined();
    expect(segments.firstObsolete(100)).toBeUndefined();
    expect(() => segments.get(1)).toThrow("in a segment of the log");
    await expect(segments.openActive()).rejects.toThrow("a log has a segment");
  });

  it("are obsolete, oldest first, if they hold nothing after an index; the active one never", async () => {
    const { segments } = await Bench.withSegments(3);
    segments.get(1).indexMax = 10;
    segments.get(2).indexMax = 0;
    expect(segments.firstObsolete(9)).toBeUndefined();
    expect(segments.firstObsolete(10)).toBe(segments.get(1));
    await segments.removeFirst(segments.get(1));
    expect(segments.firstObsolete(0)).toBe(segments.get(2));
    await segments.removeFirst(segments.get(2));
    expect(segments.firstObsolete(1000)).toBeUndefined();
  });

  it("are all obsolete after forgetEntries, except the active one", async () => {
    const { segments } = await Bench.withSegments(3);
    for (const sequence of [1, 2, 3]) segments.get(sequence).indexMax = 100;
    segments.forgetEntries();
    expect(segments.firstObsolete(0)).toBe(segments.get(1));
  });

  it("are removed oldest first, durably, and closed", async () => {
    const bench = await Bench.withSegments(3);
    const { segments, disk } = bench;
    await expect(segments.removeFirst(segments.get(2))).rejects.toThrow("oldest first");
    bench.operations = [];
    await segments.removeFirst(segments.get(1));
    expect(bench.operations.filter((done) => !done.startsWith("close"))).toEqual([
      `remove ${segmentName(1)}`,
      "sync-directory ",
    ]);
    expect(bench.count("close")).toBe(1);
    disk.crash(() => 0);
    expect(disk.paths().map((path) => path.slice(DIRECTORY.length + 1))).toEqual([
      segmentName(2),
      segmentName(3),
    ]);
  });

  it("are not removed if active, and stay known if the disk fails to remove them", async () => {
    const bench = await Bench.withSegments(1);
    const { segments } = bench;
    await expect(segments.removeFirst(segments.get(1))).rejects.toThrow("oldest first");
    await segments.create(HEADER, 0);
    bench.failOnce("remove", "EACCES");
    await expect(segments.removeFirst(segments.get(1))).rejects.toMatchObject({ code: "EACCES" });
    await segments.removeFirst(segments.get(1));
    expect(bench.disk.paths()).toEqual([segments.get(2).path]);
  });

  it("are removed also if they were never opened", async () => {
    const { disk } = await Bench.withSegments(2);
    const segments = new Segments(disk, DIRECTORY, 4096);
    const first = segments.add(1, 4096);
    segments.add(2, 4096);
    await segments.removeFirst(first);
    expect(disk.paths()).toEqual([segments.get(2).path]);
  });
});

describe("the open files of segments", () => {
  it("are limited in number to the latest ones", async () => {
    const bench = await Bench.withSegments(OPEN_MAX + 8);
    await turn();
    expect(bench.opened).toBe(OPEN_MAX);
    bench.operations = [];
    for (const sequence of numbers(9, OPEN_MAX + 9)) await bench.read(sequence);
    expect(bench.count("open")).toBe(0);
    await bench.read(8);
    expect(bench.count("open")).toBe(1);
  });

  it("are the ones that were read last", async () => {
    const bench = await Bench.withSegments(OPEN_MAX);
    await bench.read(1);
    await bench.read(2);
    bench.operations = [];
    // Open two more. The least recently read ones are closed for them.
    for (let count = 0; count < 2; count++) await bench.segments.create(HEADER, 0);
    await turn();
    await bench.read(1);
    await bench.read(2);
    expect(bench.count("open")).toBe(2);
    await bench.read(3);
    await bench.read(4);
    expect(bench.count("open")).toBe(4);
  });

  it("always include the active segment, however many others are read", async () => {
    const bench = await Bench.withSegments(OPEN_MAX + 8);
    const { segments } = bench;
    const { handle } = await segments.create(HEADER, 0);
    for (const sequence of numbers(1, OPEN_MAX + 9)) await bench.read(sequence);
    await turn();
    await handle.write([new Uint8Array(SECTOR_BYTES)], SECTOR_BYTES);
    expect(bench.opened).toBe(OPEN_MAX);
  });

  it("stay open while reads use them, beyond the limit, and not longer", async () => {
    const count = OPEN_MAX + 8;
    const bench = await Bench.withSegments(count, slowReads);
    const lengths = await Promise.all(
      numbers(1, count + 1).flatMap((sequence) => [bench.read(sequence), bench.read(sequence)]),
    );
    expect(lengths).toEqual(Array<number>(2 * count).fill(8));
    await turn();
    expect(bench.opened).toBe(OPEN_MAX);
  });

  it("are closed in turn also after a failed read", async () => {
    const bench = await Bench.withSegments(OPEN_MAX);
    bench.failOnce("read", "EIO");
    await expect(bench.read(1)).rejects.toMatchObject({ code: "EIO" });
    for (let count = 0; count < OPEN_MAX; count++) await bench.segments.create(HEADER, 0);
    await turn();
    expect(bench.opened).toBe(OPEN_MAX);
    const before = bench.count("open");
    await bench.read(1);
    expect(bench.count("open")).toBe(before + 1);
  });

  it("are opened again by the next read if opening failed", async () => {
    const bench = await Bench.withSegments(OPEN_MAX + 1);
    bench.failOnce("open", "EMFILE");
    await expect(bench.read(1)).rejects.toMatchObject({ code: "EMFILE" });
    expect(await bench.read(1)).toBe(8);
  });

  it("are not opened twice if a segment that was read becomes active", async () => {
    const { disk } = await Bench.withSegments(2);
    const segments = new Segments(disk, DIRECTORY, 4096);
    let opened = 0;
    disk.intercept = ({ type }) => {
      if (type === "open") opened += 1;
      if (type === "close") opened -= 1;
      return null;
    };
    for (const sequence of [1, 2]) segments.add(sequence, 4096);
    for (const sequence of [1, 2]) await segments.read(segments.get(sequence), new Uint8Array(8), 0);
    const handle = await segments.openActive();
    await turn();
    expect(opened).toBe(2);
    await handle.write([new Uint8Array(SECTOR_BYTES)], SECTOR_BYTES);
    await segments.close();
    expect(opened).toBe(0);
  });

  it("are all closed by close, and the preallocated file is removed", async () => {
    const bench = await Bench.withSegments(5);
    bench.segments.preallocateNext();
    await bench.segments.close();
    expect(bench.opened).toBe(0);
    expect(bench.disk.paths()).toHaveLength(5);
    // A second close does nothing.
    bench.operations = [];
    await bench.segments.close();
    expect(bench.operations).toEqual([]);
  });

  it("are all closed even if closing one fails", async () => {
    const bench = await Bench.withSegments(5);
    bench.segments.preallocateNext();
    await turn();
    bench.failOnce("close", "EIO");
    await expect(bench.segments.close()).rejects.toMatchObject({ code: "EIO" });
    await turn();
    expect(bench.opened).toBe(0);
    expect(bench.disk.paths()).toHaveLength(5);
  });

  it("are closed even if preallocating failed", async () => {
    const bench = await Bench.withSegments(2);
    bench.failOnce("allocate", "ENOSPC");
    bench.segments.preallocateNext();
    await bench.segments.close();
    expect(bench.opened).toBe(0);
  });

  it("are closed silently if closing one to make room fails", async () => {
    const bench = await Bench.withSegments(OPEN_MAX);
    const segment: Segment = bench.segments.get(1);
    bench.failOnce("close", "EIO");
    await bench.segments.create(HEADER, 0);
    await turn();
    expect(await bench.segments.read(segment, new Uint8Array(8), 0)).toBe(8);
  });
});
