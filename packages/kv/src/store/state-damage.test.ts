/** States that lost something or were changed: what reads, `open` and the rebuilding make of them. */
import { randomBytes } from "node:crypto";
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { ClassicLevel } from "classic-level";
import { StateMachineFailure, type LogPosition, type StateIdentity } from "keelson";
import { describe, expect, it, onTestFinished } from "vitest";
import { ByteCursor } from "../leveldb/byte-cursor.ts";
import { readTableBlocks } from "../leveldb/table.ts";
import { DatabaseDamagedError, DatabaseOpenError, WRITE_BUFFER_BYTES } from "./database.ts";
import { openDatabase, openError } from "./level-database.ts";
import { StateDirectory } from "./state-directory.ts";
import { dataKey, POSITION_KEY, ringKey, StateDamagedError } from "./state-layout.ts";
import { KvStateMachine, ringBatchesFor } from "./state-machine.ts";
import { temporaryDirectory } from "../test/temporary.ts";

const at = (index: number): LogPosition => ({ term: 1, index });
const IDENTITY: StateIdentity = { nodeId: "n1", clusterId: "a", storeId: "s1" };

interface Opened {
  readonly store: KvStateMachine;
  readonly index: number;
  readonly lines: string[];
}

/** As the server opens it: a state that can't be used is rebuilt. */
async function open(directory: string, identity = IDENTITY): Promise<Opened> {
  const lines: string[] = [];
  const state = new StateDirectory(directory, (text) => void lines.push(text));
  const store = new KvStateMachine(() => state.openDatabase(), { recovery: state });
  onTestFinished(() => store.close());
  const { index } = await store.open(identity);
  return { store, index, lines };
}

async function put(store: KvStateMachine, index: number, key: string, value: Uint8Array): Promise<void> {
  await store.apply({ type: "put", key: Buffer.from(key), value, condition: null }, at(index));
  await store.flush(at(index), new Map([["session/1", Buffer.from(`used at ${index}`)]]));
}

/**
 * A closed state with keys k1 to k20 and random values, all of it in LevelDB's tables. Each value fills a
 * block, so that opening the state doesn't read it into LevelDB's cache.
 */
async function stateInTables(): Promise<{ readonly directory: string; readonly values: Buffer[] }> {
  const directory = path.join(temporaryDirectory(), "state");
  const values = Array.from({ length: 20 }, () => randomBytes(5000));
  const { store } = await open(directory);
  for (const [number, value] of values.entries()) await put(store, number + 1, `k${number + 1}`, value);
  await store.close();
  // On opening, LevelDB moves everything from its log file into a table.
  await (await open(directory)).store.close();
  return { directory, values };
}

/** Flips a bit of these bytes in whatever file of the directory holds them. */
function flipBit(directory: string, bytes: Uint8Array): void {
  for (const name of readdirSync(directory)) {
    const file = path.join(directory, name);
    const contents = readFileSync(file);
    const place = contents.indexOf(bytes);
    if (place === -1) continue;
    contents[place + bytes.length - 1]! ^= 1;
    // In place: LevelDB may have mapped the file.
    writeFileSync(file, contents, { flag: "r+" });
    return;
  }
  throw new Error("no file holds these bytes");
}

function setAside(directory: string): string[] {
  return readdirSync(path.dirname(directory)).filter((name) => name.startsWith("state-damaged-"));
}

async function drain(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const chunk of chunks) pieces.push(chunk);
  return Buffer.concat(pieces);
}

describe("a flipped bit in a value, while the node runs (Z3)", () => {
  const readers: [string, (store: KvStateMachine) => Promise<unknown>][] = [
    ["get", (store) => store.get(Buffer.from("k7"))],
    ["list", (store) => store.list({ limit: 100 })],
    ["snapshot", (store) => drain(store.snapshot())],
    [
      "apply with a condition",
      async (store) =>
        store.apply({ type: "delete", key: Buffer.from("k7"), condition: { type: "exists" } }, at(21)),
    ],
  ];
  it.each(readers)("is noticed by %s, which fails the node, and every further call", async (_, read) => {
    const { directory, values } = await stateInTables();
    const { store, index } = await open(directory);
    expect(index).toBe(20);
    flipBit(directory, values[6]!);
    expect((await store.get(Buffer.from("k8")))?.value).toEqual(values[7]);
    await expect(read(store)).rejects.toThrow(StateDamagedError);
    await expect(store.get(Buffer.from("k8"))).rejects.toThrow(
      /the value of key "k7" does not match|the database is damaged: .*the block/,
    );
    await expect(store.list({ limit: 1 })).rejects.toThrow(StateMachineFailure);
    await expect(store.flush(at(21))).rejects.toThrow(StateDamagedError);
    expect(() => store.snapshot()).toThrow(StateDamagedError);
  });

  it("has the state rebuilt at the next start", async () => {
    const { directory, values } = await stateInTables();
    const { store } = await open(directory);
    flipBit(directory, values[6]!);
    await expect(store.get(Buffer.from("k7"))).rejects.toThrow(StateDamagedError);
    await store.close();
    const { store: again, index, lines } = await open(directory);
    expect(index).toBe(0);
    expect(lines.join()).toMatch(/rebuilt from the log and the snapshot: .*key "k7" does not match/);
    // Nothing is moved before the library begins to rebuild.
    expect(setAside(directory)).toEqual([]);
    expect(await again.get(Buffer.from("k8"))).toBeNull();
    expect(await again.list({ limit: 9 })).toEqual({ keys: [], more: false });
    await put(again, 1, "k1", Buffer.from("new"));
    expect(setAside(directory)).toHaveLength(1);
    await again.close();
    expect((await open(directory)).index).toBe(1);
  });

  it.each([
    ["a session record", "used at 20"],
    ["the identity", '"storeId":"s1"'],
    ["the position record", Uint8Array.of(0, 0, 0, 0, 0, 20)],
  ])("in %s has the state rebuilt", async (_, bytes) => {
    const directory = path.join(temporaryDirectory(), "state");
    const { store } = await open(directory);
    for (let index = 1; index <= 20; index++) await put(store, index, "k", Buffer.from("v"));
    await store.close();
    const database = await openDatabase(directory);
    for await (const [key, value] of database.entries(Uint8Array.of(0), Uint8Array.of(0xff))) {
      const place = Buffer.from(value).indexOf(bytes);
      if (place === -1 || key[0] === 0x72) continue;
      const changed = Buffer.from(value);
      changed[place + bytes.length - 1]! ^= 1;
      await database.batch([{ type: "put", key, value: changed }], { sync: false });
    }
    await database.close();
    expect((await open(directory)).index).toBe(0);
  });
});

it("a state that was rebuilt from the log alone is refused beside another node's log", async () => {
  const directory = path.join(temporaryDirectory(), "state");
  const { store } = await open(directory);
  for (let index = 1; index <= 3; index++) await put(store, index, "k", Buffer.from("v"));
  await store.close();
  // Found after the identity was found to be right.
  const database = await openDatabase(directory);
  await database.batch([{ type: "del", key: ringKey(2) }], { sync: false });
  await database.close();
  const { store: again, index, lines } = await open(directory);
  expect([index, lines.join()]).toEqual([0, expect.stringContaining("lacks batch 2 of 3")]);
  await put(again, 1, "k", Buffer.from("v"));
  await again.close();
  await expect(open(directory, { ...IDENTITY, storeId: "s2" })).rejects.toThrow(
    /the state belongs to node n1 of cluster a \(store s1\)/,
  );
});

describe("damage that no value's checksum covers (Z3)", () => {
  const damages: [string, (table: Buffer) => void][] = [
    [
      "a key",
      (table) => {
        // Keys are stored without what they share with the one before: k8 is "8" after k7.
        const { data } = readTableBlocks(table);
        const [first] = data;
        if (first === undefined) throw new Error("the table has no blocks");
        const place = table.indexOf("dk1", first.offset);
        table.writeUInt8(table.readUInt8(place + 2) ^ 4, place + 2);
      },
    ],
    [
      "the filter",
      (table) => {
        // Between the data blocks and the metaindex block.
        const { data } = readTableBlocks(table);
        const last = data.at(-1);
        if (last === undefined) throw new Error("the table has no blocks");
        const from = last.offset + last.bytes + 5;
        table.fill(0, from, from + 20);
      },
    ],
    [
      "the index",
      (table) => {
        const footer = new ByteCursor(table, table.length - 48);
        footer.varint();
        footer.varint();
        const index = footer.varint();
        table.writeUInt8(table.readUInt8(index + 4) ^ 0x40, index + 4);
      },
    ],
  ];

  async function damaged(damage: (table: Buffer) => void): Promise<string> {
    const { directory } = await stateInTables();
    for (const name of readdirSync(directory).filter((one) => one.endsWith(".ldb"))) {
      const file = path.join(directory, name);
      const table = readFileSync(file);
      damage(table);
      writeFileSync(file, table);
    }
    return directory;
  }

  it.each(damages)("in %s has the state rebuilt at the start, instead of missing keys", async (_, damage) => {
    const directory = await damaged(damage);
    const { index, lines, store } = await open(directory);
    expect(index).toBe(0);
    expect(lines.join()).toMatch(
      /rebuilt from the log and the snapshot: the database is damaged: .*\.ldb: the block/,
    );
    await store.close();
    // The next run says the same, also if LevelDB wrote the table anew while it was open.
    for (const name of readdirSync(directory)) if (name.endsWith(".ldb")) rmSync(path.join(directory, name));
    expect((await open(directory)).lines.join()).toMatch(/the database is damaged: .*\.ldb: the block/);
  });

  it.each(damages)("in %s while the node runs is found before a snapshot is taken", async (_, damage) => {
    const { directory } = await stateInTables();
    const { store } = await open(directory);
    for (const name of readdirSync(directory).filter((one) => one.endsWith(".ldb"))) {
      const file = path.join(directory, name);
      const table = readFileSync(file);
      damage(table);
      writeFileSync(file, table, { flag: "r+" });
    }
    await expect(drain(store.snapshot())).rejects.toThrow(StateDamagedError);
    await expect(store.get(Buffer.from("k8"))).rejects.toThrow(/the database is damaged/);
    await store.close();
    expect((await open(directory)).index).toBe(0);
  });

  it("is not what a file that can't be read is called: the error says what to do", async () => {
    const { directory } = await stateInTables();
    const { store } = await open(directory);
    const [table = ""] = readdirSync(directory).filter((one) => one.endsWith(".ldb"));
    rmSync(path.join(directory, table));
    symlinkSync(table, path.join(directory, table));
    await expect(drain(store.snapshot())).rejects.toThrow(/something else is where .* should be: ELOOP: /);
    await store.close();
    const error: unknown = await open(directory).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(DatabaseOpenError);
    expect(error).not.toBeInstanceOf(DatabaseDamagedError);
    expect(String(error)).toMatch(/cannot open the database in .*\(ELOOP: .*Nothing is wrong with the state/);
  });

  it("does not hide that another process has the state", async () => {
    const directory = await damaged(damages[0]![1]);
    const holder = new ClassicLevel(directory);
    await holder.open();
    onTestFinished(() => holder.close());
    await expect(open(directory)).rejects.toThrow(/in use by another process/);
    expect(setAside(directory)).toEqual([]);
  });

  it("has the state rebuilt if it took the position record", async () => {
    const { directory } = await stateInTables();
    const database = await openDatabase(directory);
    await database.batch([{ type: "del", key: POSITION_KEY }], { sync: false });
    await database.close();
    const { index, lines } = await open(directory);
    expect(index).toBe(0);
    expect(lines.join()).toMatch(/the state on disk has entries, and no position record/);
  });
});

describe("a restored state", () => {
  it("is whole without what LevelDB had not synced, also if that is all of its log files (Z2)", async () => {
    const directory = path.join(temporaryDirectory(), "state");
    const source = await open(path.join(temporaryDirectory(), "state"));
    const keys = 600;
    for (let key = 1; key <= keys; key++) {
      await source.store.apply(
        { type: "put", key: Buffer.from(`k${key}`), value: randomBytes(20_000), condition: null },
        at(key),
      );
    }
    await source.store.flush(at(keys));
    const snapshot = await drain(source.store.snapshot());
    expect(snapshot.length).toBeGreaterThan(2 * WRITE_BUFFER_BYTES);
    const { store } = await open(directory);
    // A deletion that isn't synced: if it were lost, its key would be back.
    await put(store, 1, "old", Buffer.from("value"));
    await store.apply({ type: "delete", key: Buffer.from("old"), condition: null }, at(2));
    await store.flush(at(2));
    await store.restore(chunksOf(snapshot), at(keys));
    const left = path.join(temporaryDirectory(), "left");
    cpSync(directory, left, { recursive: true, filter: (name) => !/\.log$|LOCK$/.test(name) });
    const again = await open(left);
    expect(again.index).toBe(keys);
    expect((await again.store.list({ limit: 10_000 })).keys).toHaveLength(keys);
  });

  it("that lacks a key, or has another value, is rebuilt, until something else was written", async () => {
    for (const change of ["del", "put"] as const) {
      const { directory, store } = await restored();
      await store.close();
      const database = await openDatabase(directory);
      await database.batch(
        change === "del"
          ? [{ type: "del", key: dataKey(Buffer.from("k2")) }]
          : [{ type: "put", key: dataKey(Buffer.from("k2")), value: randomBytes(20) }],
        { sync: false },
      );
      await database.close();
      const { index, lines } = await open(directory);
      expect(index).toBe(0);
      expect(lines.join()).toMatch(
        change === "del" ? /with 3 keys, and holds 2/ : /with 3 keys, and holds 3 that differ/,
      );
    }
    const { directory, store } = await restored();
    await store.apply({ type: "delete", key: Buffer.from("k2"), condition: null }, at(4));
    await store.flush(at(4));
    await store.close();
    expect((await open(directory)).index).toBe(4);
  });

  it("is refused if the snapshot's keys are out of order, or are none with a value", async () => {
    const { store } = await open(path.join(temporaryDirectory(), "state"));
    const entry = (key: string, value: Uint8Array): Buffer => {
      const lengths = Buffer.alloc(8);
      lengths.writeUInt32BE(key.length, 0);
      lengths.writeUInt32BE(value.length, 4);
      return Buffer.concat([lengths, Buffer.from(key), value]);
    };
    const header = Buffer.from([0x4b, 0x56, 0x53, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
    const state = Buffer.concat([header, entry("db", Buffer.alloc(9)), entry("da", Buffer.alloc(9))]);
    await expect(store.restore(chunksOf(state), at(2))).rejects.toThrow(/out of order/);
  });

  async function restored(): Promise<{ readonly directory: string; readonly store: KvStateMachine }> {
    const source = await open(path.join(temporaryDirectory(), "state"));
    for (const number of [1, 2, 3]) await put(source.store, number, `k${number}`, Buffer.from("v"));
    const directory = path.join(temporaryDirectory(), "state");
    const { store } = await open(directory);
    await store.restore(source.store.snapshot(), at(3));
    return { directory, store };
  }
});

async function* chunksOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let from = 0; from < bytes.length; from += 65_536) yield bytes.subarray(from, from + 65_536);
}

describe("LevelDB", () => {
  it("holds no more batches in one log file than the ring's bound assumes (Z2)", async () => {
    const directory = path.join(temporaryDirectory(), "state");
    const batchesPerSync = 1_000_000;
    const bound = ringBatchesFor(WRITE_BUFFER_BYTES, 0);
    const database = await openDatabase(directory);
    // The smallest batches that a flush writes, and no syncs, which would only slow it down.
    const store = new KvStateMachine(() => Promise.resolve({ ...database }), { batchesPerSync: 256 });
    await store.open();
    onTestFinished(() => store.close());
    const logs = (): string =>
      readdirSync(directory)
        .filter((name) => name.endsWith(".log"))
        .join();
    let [began, since, longest] = [logs(), 0, 0];
    for (let index = 1; index <= 2 * bound && longest === 0; index++) {
      await store.flush(at(index));
      since += 1;
      if (index % 100 !== 0 || logs() === began) continue;
      [began, longest] = [logs(), since];
    }
    expect(longest).toBeGreaterThan(bound / 2);
    expect(longest - 100).toBeLessThanOrEqual(bound);
    expect(bound + 512).toBeLessThan(batchesPerSync);
  });
});

describe("the state of another log (Z4)", () => {
  it("is refused, with both names, and is left as it is", async () => {
    const { directory } = await stateInTables();
    const other = { nodeId: "n2", clusterId: "b", storeId: "s2" };
    const opening = open(directory, other);
    await expect(opening).rejects.toThrow(DatabaseOpenError);
    await expect(opening).rejects.toThrow(
      /belongs to node n1 of cluster a \(store s1\), and the log beside it to node n2 of cluster b \(store s2\)/,
    );
    expect(setAside(directory)).toEqual([]);
    expect((await open(directory)).index).toBe(20);
  });

  it("isn't suspected when the node got its cluster's id later, or another by recover", async () => {
    const directory = path.join(temporaryDirectory(), "state");
    const { store } = await open(directory, { ...IDENTITY, clusterId: null });
    await put(store, 1, "k", Buffer.from("v"));
    await store.close();
    const { store: again, index } = await open(directory, { ...IDENTITY, clusterId: "b" });
    expect(index).toBe(1);
    await put(again, 2, "k", Buffer.from("v"));
    await again.close();
    await expect(open(directory, { ...IDENTITY, storeId: "s2" })).rejects.toThrow(/node n1 of cluster b/);
  });
});

describe("a state that can't be used (Z5)", () => {
  const manifest = (directory: string): string =>
    path.join(
      directory,
      readdirSync(directory).find((name) => name.startsWith("MANIFEST"))!,
    );
  const damages: [string, (directory: string) => void | Promise<void>][] = [
    [
      "an empty manifest",
      (directory) => {
        writeFileSync(manifest(directory), "");
      },
    ],
    [
      "no manifest",
      (directory) => {
        rmSync(manifest(directory));
      },
    ],
    [
      "an empty CURRENT",
      (directory) => {
        writeFileSync(path.join(directory, "CURRENT"), "");
      },
    ],
    [
      "a CURRENT of zeros",
      (directory) => {
        writeFileSync(path.join(directory, "CURRENT"), Buffer.alloc(16));
      },
    ],
    [
      "no table",
      (directory) => {
        for (const name of readdirSync(directory))
          if (name.endsWith(".ldb")) rmSync(path.join(directory, name));
      },
    ],
    [
      "a lost batch",
      async (directory) => {
        const database = await openDatabase(directory);
        await database.batch([{ type: "del", key: Uint8Array.of(0x72, 0, 7) }], { sync: false });
        await database.close();
      },
    ],
    [
      "an earlier format",
      async (directory) => {
        const record = Buffer.alloc(33);
        record[0] = 1;
        const database = await openDatabase(directory);
        await database.batch([{ type: "put", key: POSITION_KEY, value: record }], { sync: false });
        await database.close();
      },
    ],
  ];
  it.each(damages)(
    "because of %s counts as empty, and is set aside by the first write",
    async (_, damage) => {
      const { directory } = await stateInTables();
      await damage(directory);
      const before = readdirSync(directory);
      const { store, index, lines } = await open(directory);
      expect(index).toBe(0);
      expect(lines.join()).toMatch(/the state can't be used, and is rebuilt from the log and the snapshot: /);
      await store.close();
      // It was only looked at; the library may have refused to start.
      expect(existsSync(directory) && setAside(directory).length === 0).toBe(true);
      expect(readdirSync(directory)).toEqual(
        expect.arrayContaining(before.filter((name) => name === "CURRENT")),
      );
      const { store: again } = await open(directory);
      await put(again, 1, "k", Buffer.from("v"));
      await again.close();
      expect(setAside(directory)).toHaveLength(1);
      expect((await open(directory)).index).toBe(1);
    },
  );

  it("is kept only once, the newest: each may be as large as the state", async () => {
    const { directory } = await stateInTables();
    for (const time of ["20200101T000000Z", "20210101T000000Z"])
      cpSync(directory, `${directory}-damaged-${time}`, { recursive: true });
    writeFileSync(manifest(directory), "");
    const { store } = await open(directory);
    await put(store, 1, "k", Buffer.from("v"));
    expect(setAside(directory)).toHaveLength(1);
    expect(setAside(directory)[0]).not.toMatch(/-202[01]0101T/);
  });

  it("isn't taken for one because a restore was interrupted: it is emptied and restored again", async () => {
    const { directory } = await stateInTables();
    const database = await openDatabase(directory);
    await database.batch([{ type: "put", key: POSITION_KEY, value: Uint8Array.of(0xff) }], { sync: false });
    await database.close();
    const { store, index } = await open(directory);
    expect(index).toBe(0);
    expect((await store.list({ limit: 9 })).keys).toEqual([]);
  });
});

describe("a database that can't be opened for another reason", () => {
  const level = (message: string, code = "LEVEL_IO_ERROR"): Error =>
    new Error("Database failed to open", { cause: Object.assign(new Error(message), { code }) });
  it.each([
    ["IO error: /d/000005.log: No space left on device", /the disk is full .*make room/],
    ["IO error: /d/000005.log: Disk quota exceeded", /the disk is full/],
    ["IO error: /d/MANIFEST-000004: Too many open files", /too many open files.*ulimit -n/],
    ["IO error: /d/MANIFEST-000004: No file descriptors available", /too many open files/],
    ["IO error: /d/LOCK: Permission denied", /permission is denied/],
    ["IO error: /d/LOCK: Read-only file system", /read-only/],
    ["IO error: /d/000007.ldb: Input/output error", /the disk reports an error/],
    ["IO error: /d/000007.ldb: Cannot allocate memory", /short of memory/],
    ["IO error: /d/000007.ldb: something new", /something new/],
  ])("is not called damaged: %s", (message, text) => {
    const error = openError("/d", level(message));
    expect(error).not.toBeInstanceOf(DatabaseDamagedError);
    expect(error.message).toMatch(text);
  });

  it.each([
    "IO error: lock /d/LOCK: Resource temporarily unavailable",
    "IO error: lock /d/LOCK: Permission denied",
    "IO error: lock /d/LOCK: already held by process",
  ])("is in use: %s", (message) => {
    const error = openError("/d", level(message, "LEVEL_LOCKED"));
    expect(error).not.toBeInstanceOf(DatabaseDamagedError);
    expect(error.message).toMatch(/in use by another process/);
  });

  it.each([
    ["Corruption: no meta-nextfile entry in descriptor", "LEVEL_CORRUPTION"],
    ["Corruption: 1 missing files; e.g.: /d/000007.ldb", "LEVEL_CORRUPTION"],
    ["IO error: /d/MANIFEST-000002: No such file or directory", "LEVEL_IO_ERROR"],
  ])("is damaged: %s", (message, code) => {
    expect(openError("/d", level(message, code))).toBeInstanceOf(DatabaseDamagedError);
  });

  it("leaves the state where it is while another process has it", async () => {
    const { directory } = await stateInTables();
    const holder = await openDatabase(directory);
    onTestFinished(() => holder.close());
    await expect(open(directory)).rejects.toThrow(/in use by another process/);
    expect(setAside(directory)).toEqual([]);
  });

  it("leaves what lies in its place", async () => {
    const file = path.join(temporaryDirectory(), "state");
    writeFileSync(file, "mine");
    await expect(open(file)).rejects.toThrow(/something else is where a directory/);
    expect(readFileSync(file, "utf8")).toBe("mine");
  });
});
