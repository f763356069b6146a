import { describe, expect, it } from "vitest";
import { simulatedEnvironment } from "../../environment/simulated/simulated-environment.ts";
import { SimulatedFiles } from "../../environment/simulated/simulated-files.ts";
import { readUint32 } from "../../codec/little-endian.ts";
import { encodeRecord, type EntryKind } from "../../codec/record.ts";
import { samePosition, type LogPosition } from "../../core/position.ts";
import { CorruptLogError, StorageFailedError, WrongIdentityError } from "../../errors.ts";
import type { LogWrite } from "../log-store.ts";
import { encodeBatch, SECTOR_BYTES, type BatchItem } from "./batch-format.ts";
import { wal } from "./index.ts";
import {
  decodeSegmentHeader,
  encodeSegmentHeader,
  saltOf,
  segmentHeaderBytes,
  type SegmentHeader,
} from "./segment-header.ts";
import { segmentSequences } from "./segments.ts";
import { baseAt, entries, observe, toText } from "./test/model.ts";

const DIRECTORY = "/data/a";
const NOTHING = { hardState: null, truncateFrom: null, records: [] };

function segment(number: number): string {
  return `${DIRECTORY}/${String(number).padStart(16, "0")}.wal`;
}

async function open(files: SimulatedFiles, clusterId: string | null = null, nodeId = "a") {
  const store = wal(DIRECTORY, { segmentBytes: 8192 });
  const environment = simulatedEnvironment({ files: files.mount(), seed: 1 });
  const found = await store.open({ nodeId, clusterId }, environment);
  return { store, found };
}

async function refusal(files: SimulatedFiles, clusterId: string | null = null): Promise<unknown> {
  return open(files, clusterId).catch((error: unknown) => error);
}

/** A log of at least three segments, of which none was removed. */
async function longLog(): Promise<SimulatedFiles> {
  const files = new SimulatedFiles();
  const { store } = await open(files, "cluster");
  await store.append({
    hardState: { term: 2, votedFor: "b" },
    truncateFrom: null,
    records: entries(1, 3, 1),
  });
  for (let at = 3; at < 60; at += 6) {
    await store.append({ hardState: null, truncateFrom: null, records: entries(at, at + 6, 2, 400) });
  }
  await store.close();
  expect(files.paths()).toContain(segment(3));
  return files;
}

/** A compacted log, in which entries after the base were in segments that are removed by now. */
async function compactedLog(base: number): Promise<SimulatedFiles> {
  const files = await longLog();
  const { store } = await open(files);
  await store.compact(baseAt(base, 2));
  await store.close();
  expect(files.paths()).not.toContain(segment(1));
  return files;
}

function headerOf(files: SimulatedFiles, number: number): SegmentHeader {
  return decodeSegmentHeader(files.contents(segment(number)));
}

/** Changes a field of a segment's header, and corrects the checksum. */
function forge(files: SimulatedFiles, number: number, change: Partial<SegmentHeader>): SimulatedFiles {
  const disk = files.copy();
  disk.damage(segment(number), 0, encodeSegmentHeader({ ...headerOf(files, number), ...change }));
  return disk;
}

/**
 * A log whose entries from 30 on were overwritten and which was then compacted. The power failed while its
 * obsolete segments were being removed, so the first remaining one is the first of several without entries.
 */
async function replacedLog(): Promise<SimulatedFiles> {
  const files = new SimulatedFiles();
  const { store } = await open(files);
  let term = 10;
  const append = (write: Partial<LogWrite>) =>
    store.append({ hardState: null, truncateFrom: null, records: [], ...write });
  const fillSegment = async () => {
    for (let count = 0; count < 16; count++) await append({ hardState: { term: term++, votedFor: null } });
  };
  for (let at = 1; at < 41; at += 5) await append({ records: entries(at, at + 5, 1, 400) });
  for (let at = 41; at < 61; at += 5) await append({ records: entries(at, at + 5, 2, 400) });
  await fillSegment();
  await append({ truncateFrom: 30 });
  await fillSegment();
  await append({ records: entries(30, 31, 3) });
  await fillSegment();
  for (let at = 31; at < 71; at += 5) await append({ records: entries(at, at + 5, 3, 400) });
  files.intercept = ({ type }) => (type === "remove" ? { type: "error", code: "EIO" } : null);
  await store.compact(baseAt(65, 3));
  files.kill();
  files.intercept = null;
  for (const number of numbersOf(files)) {
    if (headerOf(files, number).last.index === 60) break;
    await files.remove(segment(number));
  }
  return files;
}

function numbersOf(files: SimulatedFiles): number[] {
  return segmentSequences(files.paths().map((path) => path.slice(DIRECTORY.length + 1)));
}

/** The first segment whose header says that the log's last entry is this one. */
function segmentAfter(files: SimulatedFiles, last: LogPosition): number {
  const found = numbersOf(files).find((number) => samePosition(headerOf(files, number).last, last));
  expect(found).toBeDefined();
  return found ?? 0;
}

/** Writes `items` as the first batch of the only segment of a new log. */
async function logOfBatch(...items: BatchItem[]): Promise<SimulatedFiles> {
  const files = new SimulatedFiles();
  await (await open(files)).store.close();
  const { storeId, firstBatch } = headerOf(files, 1);
  const bytes = new Uint8Array(8192);
  const length = encodeBatch(bytes, items, firstBatch, saltOf(storeId));
  files.damage(segment(1), SECTOR_BYTES, bytes.subarray(0, length));
  return files;
}

describe("a segment that doesn't continue the one before it", () => {
  it("is refused, whichever field of its header differs", async () => {
    const files = await longLog();
    const header = headerOf(files, 2);
    const { hardState, last, firstBatch } = header;
    expect(await refusal(forge(files, 2, {}))).not.toBeInstanceOf(Error);
    const changes: readonly Partial<SegmentHeader>[] = [
      { firstBatch: firstBatch + 1 },
      { firstBatch: firstBatch - 1 },
      { clusterId: "another" },
      { clusterId: null },
      { hardState: { ...hardState, term: hardState.term + 1 } },
      { hardState: { ...hardState, votedFor: "c" } },
      { hardState: { ...hardState, votedFor: null } },
      { base: { index: 1, term: 1 } },
      { last: { ...last, index: last.index + 1 } },
      { last: { ...last, index: last.index - 1 } },
      { last: { ...last, term: last.term - 1 } },
    ];
    for (const change of changes) {
      const error = await refusal(forge(files, 2, change));
      expect([change, error]).toEqual([change, expect.any(CorruptLogError)]);
    }
  });

  it("is refused if it belongs to another store, or its number isn't the next", async () => {
    const files = await longLog();
    const other = forge(files, 2, { storeId: "ff".repeat(16) });
    expect(await refusal(other)).toMatchObject({
      message: expect.stringContaining("another log") as unknown,
    });
    const gap = files.copy();
    await gap.remove(segment(2));
    expect(await refusal(gap)).toMatchObject({
      message: expect.stringContaining("0000000000000002.wal, is missing") as unknown,
      offset: 0,
      index: null,
    });
    expect(String(await refusal(gap))).not.toContain("Entry");
  });

  it("is refused if the segment before it lacks batches at its end", async () => {
    const files = await longLog();
    const { firstBatch } = headerOf(files, 2);
    // The first segment's last batch is right before the zeros at its end.
    const bytes = files.contents(segment(1));
    let last = segmentHeaderBytes(bytes) === null ? 0 : SECTOR_BYTES;
    for (let at = last; at + 8 < bytes.length && readUint32(bytes, at) !== 0;) {
      last = at;
      at += Math.ceil(readUint32(bytes, at + 4) / SECTOR_BYTES) * SECTOR_BYTES;
    }
    files.damage(segment(1), last, new Uint8Array(bytes.length - last));
    expect(await refusal(files)).toMatchObject({
      code: "CORRUPT_LOG",
      file: segment(1),
      offset: last,
      message: expect.stringContaining(`batch ${String(firstBatch - 1)} is missing`) as unknown,
    });
  });
});

describe("a log whose first segments were removed", () => {
  it("is recovered although the terms of the removed entries are not known", async () => {
    const files = await compactedLog(44);
    const { store, found } = await open(files);
    const model = await observe(found, store);
    expect(model.base).toEqual({ index: 44, term: 2 });
    expect(model.entries).toEqual(entries(45, 63, 2, 400).slice(0, model.entries.length).map(toText));
    expect(found.lastIndex).toBe(62);
    await store.close();
  });

  it("is refused if entries are missing that were not compacted", async () => {
    const files = await compactedLog(44);
    const [first = ""] = files.paths().filter((path) => path.endsWith(".wal"));
    const number = Number.parseInt(first.slice(DIRECTORY.length + 1), 10);
    expect(headerOf(files, number)).toMatchObject({ base: { index: 0 } });
    const error = await refusal(forge(files, number, { last: { index: 100, term: 2 } }));
    expect(error).toBeInstanceOf(CorruptLogError);
  });

  it("is refused if a needed segment is missing, naming the entries in it", async () => {
    const files = await compactedLog(44);
    const [first = 0, second = 0] = numbersOf(files);
    const { last } = headerOf(files, second);
    expect(last.index).toBeGreaterThan(45);
    await files.remove(segment(first));
    expect(await refusal(files)).toMatchObject({
      file: segment(second),
      offset: 0,
      index: 45,
      message: expect.stringContaining(
        `entries 45 to ${String(last.index)} were in earlier segments`,
      ) as unknown,
    });
  });

  it("is recovered although the removed entries had been overwritten", async () => {
    const files = await replacedLog();
    expect(numbersOf(files)[0]).toBe(segmentAfter(files, { index: 60, term: 2 }));
    const { store, found } = await open(files);
    expect(await observe(found, store)).toMatchObject({
      base: { index: 65, term: 3 },
      entries: entries(66, 71, 3, 400).slice(0, 5).map(toText),
    });
    await store.close();
  });

  it("is refused if a header contradicts what is known about removed or following entries", async () => {
    const files = await replacedLog();
    // The term of entry 29 is not known any more, but its index is.
    const afterTruncation = segmentAfter(files, { index: 29, term: 1 });
    for (const index of [28, 30]) {
      const error = await refusal(forge(files, afterTruncation, { last: { index, term: 1 } }));
      expect(error).toMatchObject({ file: segment(afterTruncation), offset: 0, code: "CORRUPT_LOG" });
    }
    // Entry 30 was written later, and its term is known.
    const afterReplacement = segmentAfter(files, { index: 30, term: 3 });
    const error = await refusal(forge(files, afterReplacement, { last: { index: 30, term: 2 } }));
    expect(error).toMatchObject({ file: segment(afterReplacement), offset: 0, code: "CORRUPT_LOG" });
  });

  it("is refused to a node of another cluster, even if only the last batch sets the cluster id (D15)", async () => {
    const files = new SimulatedFiles();
    const { store } = await open(files);
    await store.setClusterId("mine");
    await store.close();
    const before = files.paths().map((path) => files.contents(path));
    let changes = 0;
    files.intercept = ({ type }) => {
      if (type === "write" || type === "data-sync") changes += 1;
      return null;
    };
    expect(await refusal(files, "other")).toBeInstanceOf(WrongIdentityError);
    expect([changes, files.paths().map((path) => files.contents(path))]).toEqual([0, before]);
    expect(await refusal(files, "mine")).not.toBeInstanceOf(Error);
  });
});

describe("a batch that is missing at the end of the log", () => {
  it("is damage if a later batch is there, even in the last sector of the segment", async () => {
    const files = new SimulatedFiles();
    const { store } = await open(files);
    for (let at = 1; at <= 15; at++) await store.append({ ...NOTHING, records: entries(at, at + 1, 1) });
    await store.close();
    expect(numbersOf(files)).toEqual([1]);
    for (const sector of [1, 14]) {
      const disk = files.copy();
      disk.damage(segment(1), sector * SECTOR_BYTES, new Uint8Array((15 - sector) * SECTOR_BYTES));
      expect(await refusal(disk)).toMatchObject({
        file: segment(1),
        offset: sector * SECTOR_BYTES,
        message: expect.stringContaining("though batch 15 was written after it") as unknown,
      });
    }
  });
});

describe("a batch with right checksums that doesn't fit the log", () => {
  it("is refused, with its offset and the cause", async () => {
    const senseless: readonly BatchItem[][] = [
      [{ type: "entries", records: entries(2, 3, 1) }],
      [{ type: "entries", records: [new Uint8Array(64).fill(9)] }],
      [
        { type: "hard-state", hardState: { term: 1, votedFor: null } },
        { type: "truncate", from: 7 },
      ],
      [{ type: "compact", base: baseAt(3, 1) }],
    ];
    for (const items of senseless) {
      const error = await refusal(await logOfBatch(...items));
      expect([items, error]).toEqual([items, expect.any(CorruptLogError)]);
      expect((error as CorruptLogError).cause).toBeInstanceOf(Error);
      expect(error).toMatchObject({ file: segment(1), index: 1 });
    }
  });

  it.each([
    [
      99,
      "a later version",
      "a record of unknown kind 99",
      "Start the node with that version, or one after it.",
    ],
    [
      5,
      "an earlier version",
      "a record of kind 5, an entry of a session",
      "Start the node with that version, or begin with empty directories.",
    ],
  ])("with an entry of kind %i is of %s, and not damaged [W7]", async (kind, version, what, advice) => {
    const record = encodeRecord(1, 1, kind as EntryKind, new Uint8Array(0));
    const error = await refusal(await logOfBatch({ type: "entries", records: [record] }));
    expect(error).toBeInstanceOf(StorageFailedError);
    const { message } = error as StorageFailedError;
    expect(message.startsWith(`${version} of Keelson wrote the log, and this one can't read it: `)).toBe(
      true,
    );
    expect(message).toContain(`${segment(1)}, offset`);
    expect(message).toContain(what);
    expect(message).toContain(`Nothing was changed. ${advice}`);
  });

  it("is accepted if it fits", async () => {
    const files = await logOfBatch({ type: "entries", records: entries(1, 3, 1) });
    const { found, store } = await open(files);
    expect(found.lastIndex).toBe(2);
    await store.close();
  });

  it("is reported without a cause if no error was the cause", async () => {
    const files = await longLog();
    const error = await refusal(forge(files, 2, { clusterId: "another" }));
    expect(error).toBeInstanceOf(CorruptLogError);
    expect(Object.hasOwn(error as CorruptLogError, "cause")).toBe(false);
  });
});
