import { describe, expect, it } from "vitest";
import { decodeRecord, encodeRecord, EntryKind } from "../../codec/record.ts";
import { encodeMembership } from "../../codec/config.ts";
import { configOf } from "../../core/config.ts";
import { simulatedEnvironment } from "../../environment/simulated/simulated-environment.ts";
import type { FileSystem } from "../../environment/environment.ts";
import { SimulatedFiles } from "../../environment/simulated/simulated-files.ts";
import { DirectoryLockedError, InvalidOptionError } from "../../errors.ts";
import type { LogStore } from "../log-store.ts";
import { SECTOR_BYTES } from "./batch-format.ts";
import { wal } from "./index.ts";
import { inspectWal, type InspectOptions } from "./inspect-wal.ts";
import type { WalInspection } from "./wal-inspection.ts";
import { baseAt, entries } from "./test/model.ts";
import { override } from "./test/override.ts";

const DIRECTORY = "/data/a";
const FIRST = `${DIRECTORY}/0000000000000001.wal`;
const SECOND = `${DIRECTORY}/0000000000000002.wal`;

const MEMBERSHIP = {
  config: configOf(["a", "b"]),
  members: new Map([
    ["a", { address: "h:1" }],
    ["b", { address: "h:2" }],
  ]),
};

async function open(files: SimulatedFiles): Promise<LogStore> {
  const store = wal(DIRECTORY, { segmentBytes: 8192 });
  await store.open({ nodeId: "a", clusterId: "c" }, simulatedEnvironment({ files: files.mount() }));
  return store;
}

/** Entry 1 is a configuration, 2 is blank, 3 to 5 are commands; each in a batch of its own. */
async function smallLog(): Promise<{ files: SimulatedFiles; store: LogStore }> {
  const files = new SimulatedFiles();
  const store = await open(files);
  const records = [
    encodeRecord(1, 1, EntryKind.config, encodeMembership(MEMBERSHIP)),
    encodeRecord(2, 2, EntryKind.blank, new Uint8Array(0)),
    ...entries(3, 6, 2),
  ];
  for (const record of records) {
    await store.append({ hardState: { term: 2, votedFor: "b" }, truncateFrom: null, records: [record] });
  }
  return { files, store };
}

function inspect(files: SimulatedFiles, options: InspectOptions = {}): Promise<WalInspection> {
  const environment = simulatedEnvironment({ files: files.mount() });
  return inspectWal(DIRECTORY, { running: true, ...options, environment });
}

/** All file names and contents, as text. */
function everythingOn(files: SimulatedFiles): string {
  return files
    .paths()
    .map((path) => `${path}: ${Buffer.from(files.contents(path)).toString("latin1")}`)
    .join();
}

describe("inspectWal", () => {
  it("reports the log's owner and contents while its node has it open, and changes nothing", async () => {
    const { files, store } = await smallLog();
    const before = everythingOn(files);
    const found = await inspect(files);
    expect(everythingOn(files)).toBe(before);
    expect(found).toMatchObject({
      directory: DIRECTORY,
      nodeId: "a",
      clusterId: "c",
      hardState: { term: 2, votedFor: "b" },
      base: { index: 0, term: 0 },
      last: { index: 5, term: 2 },
      memberships: [{ index: 1, term: 1, membership: MEMBERSHIP }],
      torn: null,
      damage: null,
      records: [],
    });
    expect(found.storeId).toMatch(/^[0-9a-f]{32}$/);
    expect(found.entries).toMatchObject({
      command: { count: 3 },
      blank: { count: 1, bytes: 28 },
      config: { count: 1 },
    });
    expect(found.entries.command.bytes).toBe(entries(3, 6, 2).reduce((sum, { length }) => sum + length, 0));
    expect(found.segments).toMatchObject([{ file: FIRST, batches: 5, entries: { first: 1, last: 5 } }]);
    await store.close();
  });

  it("is refused while a node has the log open, unless asked to read nevertheless", async () => {
    const { files, store } = await smallLog();
    await expect(inspect(files, { running: false })).rejects.toThrow(DirectoryLockedError);
    await store.close();
    // Several may read at once.
    const both = await Promise.all([inspect(files, { running: false }), inspect(files, { running: false })]);
    expect(both.map(({ damage }) => damage)).toEqual([null, null]);
    await wal(DIRECTORY).open(
      { nodeId: "a", clusterId: "c" },
      simulatedEnvironment({ files: files.mount() }),
    );
  });

  it("returns the entries in the range asked for, in their latest version", async () => {
    const { files, store } = await smallLog();
    await store.append({
      hardState: { term: 3, votedFor: null },
      truncateFrom: 4,
      records: [encodeRecord(4, 3, EntryKind.blank, new Uint8Array(0))],
    });
    await store.close();
    const found = await inspect(files, { from: 3, to: 9 });
    expect(
      found.records.map((record) => decodeRecord(record)).map(({ index, term, kind }) => [index, term, kind]),
    ).toEqual([
      [3, 2, EntryKind.command],
      [4, 3, EntryKind.blank],
    ]);
    expect(found.last).toEqual({ index: 4, term: 3 });
    expect(found.entries).toMatchObject({ command: { count: 1 }, blank: { count: 2 }, config: { count: 1 } });
  });

  it("reports the membership at the base of a compacted log", async () => {
    const { files, store } = await smallLog();
    for (let at = 6; at < 60; at += 6) {
      await store.append({ hardState: null, truncateFrom: null, records: entries(at, at + 6, 2, 400) });
    }
    await store.compact(baseAt(40, 2));
    await store.close();
    const found = await inspect(files);
    expect(found.base).toEqual({ index: 40, term: 2 });
    expect(found.memberships.map(({ index }) => index)).toEqual([40]);
    const { command, blank, config } = found.entries;
    expect([command.count + blank.count + config.count, found.last.index]).toEqual([19, 59]);
    expect(found.segments.at(0)?.file).not.toBe(FIRST);
    expect(found.damage).toBeNull();
  });

  it("tells a torn write from damage", async () => {
    const { files, store } = await smallLog();
    await store.close();
    const at = SECTOR_BYTES * 6;
    files.damage(FIRST, at + 40, Uint8Array.of(7));
    const found = await inspect(files);
    expect(found.torn).toEqual({ file: FIRST, offset: at });
    expect(found.damage).toBeNull();
  });

  it("reports where the log is damaged, what it holds before, and what is readable after (D4)", async () => {
    const { files, store } = await smallLog();
    await store.close();
    // The third batch has entry 3.
    files.damage(FIRST, SECTOR_BYTES * 3 + 60, Uint8Array.of(0xff));
    const found = await inspect(files);
    expect(found.last).toEqual({ index: 2, term: 2 });
    expect(found.memberships).toHaveLength(1);
    expect(found.damage).toMatchObject({
      file: FIRST,
      offset: SECTOR_BYTES * 3,
      index: 3,
      readableBatches: 2,
      readableEntries: { first: 4, last: 5 },
    });
    expect(found.damage?.message).toMatch(/does not match its checksum/);
  });

  it("reports what is before a segment whose header is damaged (D5)", async () => {
    const { files, store } = await smallLog();
    for (let at = 6; at < 60; at += 6) {
      await store.append({ hardState: null, truncateFrom: null, records: entries(at, at + 6, 2, 400) });
    }
    await store.close();
    files.damage(SECOND, 40, Uint8Array.of(0xff));
    const found = await inspect(files);
    expect(found).toMatchObject({ nodeId: "a", clusterId: "c", damage: { file: SECOND, offset: 0 } });
    expect(found.segments.map(({ file }) => file)).toEqual([FIRST]);
    expect(found.last.index).toBe(found.segments[0]?.entries?.last);
    expect(found.damage?.readableEntries?.last).toBe(59);
  });

  it("reports only the damage if the first header is damaged", async () => {
    const { files, store } = await smallLog();
    await store.close();
    files.damage(FIRST, 40, Uint8Array.of(0xff));
    const found = await inspect(files);
    expect(found).toMatchObject({
      nodeId: null,
      storeId: null,
      last: { index: 0 },
      damage: { file: FIRST, offset: 0 },
    });
  });

  it("reads again if the log is compacted meanwhile, and reports no damage", async () => {
    const { files, store } = await smallLog();
    for (let at = 6; at < 60; at += 6) {
      await store.append({ hardState: null, truncateFrom: null, records: entries(at, at + 6, 2, 400) });
    }
    const mounted = files.mount();
    let listings = 0;
    const moving = {
      ...mounted,
      list: async (directory: string) => {
        const names = await mounted.list(directory);
        listings += 1;
        if (listings === 1) {
          await store.compact(baseAt(40, 2));
          await store.close();
        }
        return names;
      },
      open: mounted.open.bind(mounted),
    };
    const found = await inspectWal(DIRECTORY, {
      running: true,
      environment: simulatedEnvironment({ files: moving }),
    });
    expect(listings).toBeGreaterThan(1);
    expect(found.base.index).toBe(40);
    expect(found.damage).toBeNull();
  });

  it("reports no damage that a second reading doesn't find, because the node was writing", async () => {
    const { files, store } = await smallLog();
    await store.close();
    const mounted = files.mount();
    let reads = 0;
    const flickering: FileSystem = {
      ...mounted,
      list: mounted.list.bind(mounted),
      open: async (path, mode) => {
        const handle = await mounted.open(path, mode);
        return override(handle, {
          size: () => handle.size(),
          close: () => handle.close(),
          read: async (target, position) => {
            const count = await handle.read(target, position);
            reads += 1;
            // Two reads get the header. This is the first one of the whole segment.
            if (reads === 3) target[SECTOR_BYTES * 3 + 60] = 0xff;
            return count;
          },
        });
      },
    };
    const found = await inspectWal(DIRECTORY, {
      running: true,
      environment: simulatedEnvironment({ files: flickering }),
    });
    expect([found.damage, found.last.index]).toEqual([null, 5]);
    expect(reads).toBeGreaterThan(4);
  });

  it("rejects if there is no log, or the range is invalid", async () => {
    const files = new SimulatedFiles();
    await expect(inspect(files)).rejects.toThrow(
      new InvalidOptionError(`there is no directory ${DIRECTORY}`),
    );
    await files.mount().makeDirectory(DIRECTORY);
    await expect(inspect(files)).rejects.toThrow(
      `there is no log in ${DIRECTORY}: no file with a name such as 0000000000000001.wal`,
    );
    await expect(inspect(files, { from: 0, to: 2 })).rejects.toThrow(
      "entries from 0 up to 2 are no range of a log",
    );
    await expect(inspect(files, { from: 1, to: 10_002 })).rejects.toThrow(/at most 10000 are read at once/);
  });
});
