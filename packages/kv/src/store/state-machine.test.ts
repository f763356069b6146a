import path from "node:path";
import { crc32 } from "node:zlib";
import { StateMachineFailure, type LogPosition } from "keelson";
import { describe, expect, it, onTestFinished } from "vitest";
import type { Condition, KvCommand, KvResult } from "./commands.ts";
import { DatabaseOpenError, WRITE_BUFFER_BYTES, type Database, type DatabaseOperation } from "./database.ts";
import { openDatabase } from "./level-database.ts";
import { KvStateMachine, ringBatchesFor } from "./state-machine.ts";
import { temporaryDirectory } from "../test/temporary.ts";

const bytes = (text: string): Buffer => Buffer.from(text);

function put(key: string, value: string, condition: Condition | null = null): KvCommand {
  return { type: "put", key: bytes(key), value: bytes(value), condition };
}

function del(key: string, condition: Condition | null = null): KvCommand {
  return { type: "delete", key: bytes(key), condition };
}

async function openStore(directory = path.join(temporaryDirectory(), "state")): Promise<KvStateMachine> {
  const store = new KvStateMachine(() => openDatabase(directory));
  await store.open();
  onTestFinished(() => store.close());
  return store;
}

/** Applies each command in a batch of its own, from index 1 on. */
async function applyAll(store: KvStateMachine, commands: readonly KvCommand[]): Promise<KvResult[]> {
  const results: KvResult[] = [];
  for (const [at, command] of commands.entries()) {
    const position = { term: 1, index: at + 1 };
    results.push(await store.apply(command, position));
    await store.flush(position);
  }
  return results;
}

async function textAt(store: KvStateMachine, key: string): Promise<string | null> {
  const found = await store.get(bytes(key));
  return found === null ? null : Buffer.from(found.value).toString();
}

describe("the state machine", () => {
  it("counts applied puts and deletes from 0, and uses the entry's index as the version", async () => {
    const store = await openStore();
    expect(await applyAll(store, [put("a", "1"), put("b", "2"), del("a"), put("a", "3")])).toEqual([
      { type: "applied", index: 0, version: 1, existed: null },
      { type: "applied", index: 1, version: 2, existed: null },
      { type: "applied", index: 2, version: null, existed: true },
      { type: "applied", index: 3, version: 4, existed: null },
    ]);
    expect(await textAt(store, "a")).toBe("3");
    expect((await store.get(bytes("a")))?.version).toBe(4);
  });

  it("counts a delete of a key without a value", async () => {
    const store = await openStore();
    expect(await applyAll(store, [del("a")])).toEqual([
      { type: "applied", index: 0, version: null, existed: false },
    ]);
    expect(store.count).toBe(1);
  });

  it("distinguishes an empty value from no value", async () => {
    const store = await openStore();
    await applyAll(store, [put("a", "")]);
    expect(await textAt(store, "a")).toBe("");
    expect(await textAt(store, "b")).toBeNull();
  });

  it.each<[string, Condition, boolean, boolean]>([
    ["exists", { type: "exists" }, true, false],
    ["absent", { type: "absent" }, false, true],
    ["the version it has", { type: "version", versions: [9, 1] }, true, false],
    ["another version", { type: "version", versions: [9] }, false, false],
    ["no version at all", { type: "version", versions: [] }, false, false],
  ])("checks the condition %s", async (_, condition, holdsWithValue, holdsWithout) => {
    const store = await openStore();
    const [, there, gone] = await applyAll(store, [
      put("there", "old"),
      put("there", "new", condition),
      put("gone", "new", condition),
    ]);
    expect(there?.type).toBe(holdsWithValue ? "applied" : "condition-failed");
    expect(await textAt(store, "there")).toBe(holdsWithValue ? "new" : "old");
    expect(gone?.type).toBe(holdsWithout ? "applied" : "condition-failed");
    expect(await textAt(store, "gone")).toBe(holdsWithout ? "new" : null);
    expect(store.count).toBe(1 + Number(holdsWithValue) + Number(holdsWithout));
  });

  it("returns the key's version when a condition fails", async () => {
    const store = await openStore();
    const results = await applyAll(store, [
      put("a", "1"),
      del("a", { type: "version", versions: [7] }),
      del("b", { type: "exists" }),
    ]);
    expect(results.slice(1)).toEqual([
      { type: "condition-failed", version: 1 },
      { type: "condition-failed", version: null },
    ]);
  });

  it("checks conditions against earlier commands of the same batch, before the batch is written", async () => {
    const store = await openStore();
    const at = (index: number): LogPosition => ({ term: 1, index });
    const absent = { type: "absent" } as const;
    const results = [
      await store.apply(put("a", "1", absent), at(1)),
      await store.apply(put("a", "2", absent), at(2)),
      await store.apply(del("a", { type: "version", versions: [1] }), at(3)),
      await store.apply(put("a", "4", absent), at(4)),
    ];
    expect(results.map(({ type }) => type)).toEqual(["applied", "condition-failed", "applied", "applied"]);
    expect(await textAt(store, "a")).toBeNull();
    await store.flush(at(4));
    expect(await textAt(store, "a")).toBe("4");
  });

  it("opens at position 0, and after a restart at the last flushed position", async () => {
    const directory = path.join(temporaryDirectory(), "state");
    const store = new KvStateMachine(() => openDatabase(directory));
    expect(await store.open()).toMatchObject({ term: 0, index: 0 });
    await store.apply(put("a", "1"), { term: 2, index: 5 });
    await store.flush({ term: 3, index: 6 });
    await store.close();
    const again = new KvStateMachine(() => openDatabase(directory));
    onTestFinished(() => again.close());
    expect(await again.open()).toMatchObject({ term: 3, index: 6 });
    expect(again.count).toBe(1);
    expect(await again.get(bytes("a"))).toEqual({ value: bytes("1"), version: 5 });
  });
});

describe("a listing", () => {
  const names = async (
    store: KvStateMachine,
    options: { prefix?: Uint8Array; after?: Uint8Array; limit: number },
  ): Promise<string> => {
    const { keys, more } = await store.list(options);
    return keys.map(({ key }) => Buffer.from(key).toString("latin1")).join(" ") + (more ? " ..." : "");
  };

  it("is by prefix, in byte order, page by page", async () => {
    const store = await openStore();
    await applyAll(
      store,
      ["b", "a", "ab", "a\u0000", "c", "ac"].map((key) => put(key, "v")),
    );
    expect(await names(store, { limit: 10 })).toBe("a a\u0000 ab ac b c");
    expect(await names(store, { limit: 6 })).toBe("a a\u0000 ab ac b c");
    expect(await names(store, { prefix: bytes("a"), limit: 2 })).toBe("a a\u0000 ...");
    expect(await names(store, { prefix: bytes("a"), after: bytes("a\u0000"), limit: 2 })).toBe("ab ac");
    expect(await names(store, { prefix: bytes("b"), after: bytes("a"), limit: 2 })).toBe("b");
    expect(await names(store, { prefix: bytes("x"), limit: 2 })).toBe("");
    expect(await names(store, { after: bytes("c"), limit: 2 })).toBe("");
  });

  it("includes all keys of a prefix that ends with the byte 0xff", async () => {
    const store = await openStore();
    const keys = [
      Uint8Array.of(0xff),
      Uint8Array.of(0xff, 0xff),
      Uint8Array.of(0x61, 0xff),
      Uint8Array.of(0x62),
    ];
    await applyAll(
      store,
      keys.map((key) => ({ type: "put", key, value: bytes(""), condition: null })),
    );
    expect(await names(store, { prefix: Uint8Array.of(0xff), limit: 9 })).toBe("\u00ff \u00ff\u00ff");
    expect(await names(store, { prefix: Uint8Array.of(0x61, 0xff), limit: 9 })).toBe("a\u00ff");
  });

  it("has each key's version and the size of its value", async () => {
    const store = await openStore();
    await applyAll(store, [put("a", "12345")]);
    expect((await store.list({ limit: 1 })).keys).toEqual([{ key: bytes("a"), version: 1, bytes: 5 }]);
  });
});

/** Thrown by `dying` in place of a crash of the process. */
class Crash extends Error {}

/** A database that fails from its n-th operation on. `lands`: the n-th is carried out, and then fails. */
function dying(database: Database, at: number, lands: boolean): Database {
  let count = 0;
  const step = async <T>(run: () => Promise<T>): Promise<T> => {
    count += 1;
    if (count > at || (count === at && !lands)) throw new Crash(`operation ${count}`);
    const result = await run();
    if (count === at) throw new Crash(`after operation ${count}`);
    return result;
  };
  return {
    get: (key) => step(() => database.get(key)),
    batch: (operations, options) => step(() => database.batch(operations, options)),
    entries: (from, to) => database.entries(from, to),
    close: () => database.close(),
  };
}

describe("a crash or a failing database", () => {
  // Each condition requires an earlier entry's effect, so the results show an entry applied twice or never.
  const log: readonly KvCommand[] = [
    put("counter", "0", { type: "absent" }),
    put("counter", "1", { type: "version", versions: [1] }),
    put("other", "x"),
    del("other", { type: "exists" }),
    put("counter", "2", { type: "version", versions: [2] }),
    put("other", "y", { type: "absent" }),
    del("never", { type: "exists" }),
    put("counter", "3", { type: "version", versions: [5] }),
    del("missing"),
    put("counter", "4", { type: "version", versions: [8] }),
  ];
  const wanted: readonly string[] = ["0", "1", "2", "3", "4", "5", "failed", "6", "7", "8"];

  /**
   * Applies the log from the state's position on, in batches; records results by index. False: it crashed.
   */
  async function run(
    directory: string,
    batchSize: number,
    results: Map<number, string>,
    wrap: (database: Database) => Database,
  ): Promise<boolean> {
    let database: Database | null = null;
    const store = new KvStateMachine(async () => {
      database = await openDatabase(directory);
      return wrap(database);
    });
    try {
      let { index } = await store.open();
      while (index < log.length) {
        const batch = new Map<number, string>();
        const end = Math.min(index + batchSize, log.length);
        while (index < end) {
          const result = await store.apply(log[index]!, { term: 1, index: index + 1 });
          index += 1;
          batch.set(index, result.type === "applied" ? String(result.index) : "failed");
        }
        await store.flush({ term: 1, index });
        // The library gives results to callers only after the flush.
        for (const [at, result] of batch) results.set(at, result);
      }
      return true;
    } catch (error) {
      const cause = error instanceof StateMachineFailure ? error.cause : error;
      if (!(cause instanceof Crash)) throw error;
      return false;
    } finally {
      await (database as Database | null)?.close();
    }
  }

  it.each([
    [1, "before it"],
    [1, "after it"],
    [3, "before it"],
    [3, "after it"],
  ])(
    "leaves each entry applied exactly once, with batches of %i and a crash at any operation, %s (C8)",
    async (size, when) => {
      let crashes = 0;
      for (let at = 1; ; at++) {
        const directory = path.join(temporaryDirectory(), "state");
        const results = new Map<number, string>();
        const wrap = (database: Database): Database => dying(database, at, when === "after it");
        const isDone = await run(directory, size, results, wrap);
        // After the crash, the entries after the flushed position are applied again.
        if (!isDone) expect(await run(directory, size, results, (database) => database)).toBe(true);
        for (const [index, result] of results)
          expect(result, `entry ${index}, crash at ${at}`).toBe(wanted[index - 1]);
        const store = await openStore(directory);
        expect(store.count).toBe(9);
        expect(await textAt(store, "counter")).toBe("4");
        expect(await textAt(store, "other")).toBe("y");
        await store.close();
        if (isDone) break;
        crashes += 1;
      }
      expect(crashes).toBeGreaterThan(size === 1 ? 15 : 5);
    },
  );

  it("fails every call after a failed write", async () => {
    const directory = path.join(temporaryDirectory(), "state");
    const store = new KvStateMachine(async () => {
      const database = await openDatabase(directory);
      return { ...database, batch: () => Promise.reject(new Error("no space left on device")) };
    });
    await store.open();
    onTestFinished(() => store.close());
    await store.apply(put("a", "1"), { term: 1, index: 1 });
    await expect(store.flush({ term: 1, index: 1 })).rejects.toThrow(StateMachineFailure);
    expect(() => store.apply(put("b", "1"), { term: 1, index: 2 })).toThrow(StateMachineFailure);
    await expect(store.flush({ term: 1, index: 2 })).rejects.toThrow(StateMachineFailure);
  });

  it("fails the node, not the command, after a failed read", async () => {
    const directory = path.join(temporaryDirectory(), "state");
    let isBroken = false;
    const store = new KvStateMachine(async () => {
      const database = await openDatabase(directory);
      return { ...database, get: (key) => (isBroken ? Promise.reject(new Error("EIO")) : database.get(key)) };
    });
    await store.open();
    onTestFinished(() => store.close());
    isBroken = true;
    await expect(store.apply(del("a"), { term: 1, index: 1 })).rejects.toThrow(StateMachineFailure);
  });
});

describe("a power cut", () => {
  /** Writes batches into a database that loses some, as LevelDB may in a power cut. Returns its directory. */
  async function stateWithout(lost: (batch: number) => boolean, batches: number): Promise<string> {
    const directory = path.join(temporaryDirectory(), "state");
    let batch = 0;
    const store = new KvStateMachine(async () => {
      const database = await openDatabase(directory);
      return {
        ...database,
        batch: async (operations: DatabaseOperation[], options: { readonly sync: boolean }) => {
          batch += 1;
          if (!lost(batch)) await database.batch(operations, options);
        },
      };
    });
    await store.open();
    for (let index = 1; index <= batches; index++) {
      await store.apply(put(`k${index}`, "v"), { term: 1, index });
      await store.flush({ term: 1, index });
    }
    await store.close();
    return directory;
  }

  it("that loses the last batches leaves an earlier state with its own position", async () => {
    const directory = await stateWithout((batch) => batch > 7, 10);
    const store = new KvStateMachine(() => openDatabase(directory));
    onTestFinished(() => store.close());
    expect(await store.open()).toMatchObject({ term: 1, index: 7 });
    expect(store.count).toBe(7);
  });

  it("that loses a batch but keeps a later one is detected, and the error says what to do", async () => {
    const directory = await stateWithout((batch) => batch === 6, 10);
    const store = new KvStateMachine(() => openDatabase(directory));
    const opening = store.open();
    await expect(opening).rejects.toThrow(DatabaseOpenError);
    await expect(opening).rejects.toThrow(/lacks batch 6 of 10.*built anew from there/);
    // The refused state machine closed its database.
    const database = await openDatabase(directory);
    await database.close();
  });

  it("can lose only the batches since the last sync", async () => {
    const synced: boolean[] = [];
    const directory = path.join(temporaryDirectory(), "state");
    const store = new KvStateMachine(async () => {
      const database = await openDatabase(directory);
      return {
        ...database,
        batch: async (operations: DatabaseOperation[], options: { readonly sync: boolean }) => {
          synced.push(options.sync);
          await database.batch(operations, { sync: false });
        },
      };
    });
    await store.open();
    onTestFinished(() => store.close());
    for (let index = 1; index <= 600; index++) await store.flush({ term: 1, index });
    expect(synced.flatMap((isSynced, at) => (isSynced ? [at + 1] : []))).toEqual([256, 512]);
  });

  it("isn't suspected in a state of more batches than the ring holds", async () => {
    const directory = path.join(temporaryDirectory(), "state");
    const writer = await openStore(directory);
    const ringBatches = ringBatchesFor(WRITE_BUFFER_BYTES, 256);
    for (let index = 1; index <= ringBatches + 100; index++) await writer.flush({ term: 1, index });
    await writer.close();
    const store = new KvStateMachine(() => openDatabase(directory));
    onTestFinished(() => store.close());
    expect(await store.open()).toMatchObject({ term: 1, index: ringBatches + 100 });
  });
});

describe("a database", () => {
  it("in use by another process is refused", async () => {
    const directory = path.join(temporaryDirectory(), "state");
    const database = await openDatabase(directory);
    onTestFinished(() => database.close());
    await expect(openDatabase(directory)).rejects.toThrow(/is in use by another process/);
  });

  it("of a later version of the program is refused", async () => {
    const directory = path.join(temporaryDirectory(), "state");
    const database = await openDatabase(directory);
    const later = Buffer.from([3, 0, 0, 0, 0, 42]);
    later.writeUInt32BE(crc32(later.subarray(5), crc32(later.subarray(0, 1))), 1);
    await database.batch([{ type: "put", key: bytes("m"), value: later }], { sync: false });
    await database.close();
    const store = new KvStateMachine(() => openDatabase(directory));
    await expect(store.open()).rejects.toThrow(/of format 3; this program reads format 2/);
  });

  it("of an earlier version of the program is refused, not misread", async () => {
    const directory = path.join(temporaryDirectory(), "state");
    const database = await openDatabase(directory);
    const earlier = Buffer.alloc(33);
    earlier[0] = 1;
    await database.batch([{ type: "put", key: bytes("m"), value: earlier }], { sync: false });
    await database.close();
    const store = new KvStateMachine(() => openDatabase(directory));
    await expect(store.open()).rejects.toThrow(/of format 1.*reads format 2.*built anew from there/);
  });
});

describe("the session records", () => {
  it("are stored atomically with the effects, and returned by open", async () => {
    const directory = path.join(temporaryDirectory(), "state");
    const store = await openStore(directory);
    const at = { term: 1, index: 1 };
    await store.apply(put("a", "1"), at);
    await store.flush(
      at,
      new Map([
        ["session/1", Uint8Array.of(1)],
        ["answer/1/1", Uint8Array.of(2)],
      ]),
    );
    await store.flush(
      { term: 1, index: 2 },
      new Map([
        ["session/1", Uint8Array.of(3)],
        ["answer/1/1", null],
      ]),
    );
    await store.close();
    const again = new KvStateMachine(() => openDatabase(directory));
    onTestFinished(() => again.close());
    const { sessions, ...position } = await again.open();
    expect(position).toEqual({ term: 1, index: 2 });
    expect([...(sessions ?? [])].map(([name, value]) => [name, [...value]])).toEqual([["session/1", [3]]]);
    // Session records don't show up as keys.
    expect((await again.list({ limit: 10 })).keys).toHaveLength(1);
  });

  it("are an empty map in a new state", async () => {
    const store = new KvStateMachine(() => openDatabase(path.join(temporaryDirectory(), "state")));
    onTestFinished(() => store.close());
    expect((await store.open()).sessions?.size).toBe(0);
  });

  it("results are the same however the entries fall into batches (K8)", async () => {
    const [one, other] = [await openStore(), await openStore()];
    const commands = [put("a", "1"), put("a", "2"), del("a"), put("a", "3"), del("a"), del("a")];
    const apart = await applyAll(one, commands);
    const together: KvResult[] = [];
    for (const [at, command] of commands.entries()) {
      together.push(await other.apply(command, { term: 1, index: at + 1 }));
    }
    expect(together).toEqual(apart);
  });
});
