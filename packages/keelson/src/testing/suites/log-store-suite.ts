import { strict as assert } from "node:assert";
import { encodeMembership } from "../../codec/config.ts";
import { encodeRecord, EntryKind } from "../../codec/record.ts";
import { configOf, EMPTY_CONFIG } from "../../core/config.ts";
import { ORIGIN, type LogIndex, type NodeId, type Term } from "../../core/position.ts";
import type { Environment } from "../../environment/environment.ts";
import type { LogBase, LogIdentity, LogStore, LogWrite, StoredLog } from "../../storage/log-store.ts";

/** A place for one log, made anew for each case. */
export interface LogStorePlace {
  readonly environment: Environment;
  /** A store on this place. Called again after the one before was closed, it must find the same log. */
  store(): LogStore;
  /** Called at the end of the case. */
  dispose?(): Promise<void>;
}

/** One promise of the `LogStore` interface, as a test that any framework can run. */
export interface LogStoreCase {
  readonly name: string;
  readonly run: (makePlace: () => Promise<LogStorePlace>) => Promise<void>;
}

/** The two functions of a test framework that the suite needs, such as vitest's or `node:test`'s. */
export interface TestFramework {
  readonly describe: (name: string, body: () => void) => unknown;
  readonly it: (name: string, body: () => Promise<void>) => unknown;
}

/**
 * Checks that a `LogStore` keeps its promises, as far as that can be seen without pulling the plug.
 *
 * @example
 * describeLogStore("my store", async () => ({ environment, store: () => myStore(directory) }), { describe, it });
 */
export function describeLogStore(
  name: string,
  makePlace: () => Promise<LogStorePlace>,
  { describe, it }: TestFramework,
): void {
  describe(`${name}, as a LogStore,`, () => {
    for (const { name: sentence, run } of logStoreCases) it(sentence, () => run(makePlace));
  });
}

const IDENTITY: LogIdentity = { nodeId: "a", clusterId: null };
const ALL = Number.MAX_SAFE_INTEGER;

/** A place with its store open, and short ways to use it. */
class Bench {
  readonly place: LogStorePlace;
  store: LogStore;
  found: StoredLog;

  private constructor(place: LogStorePlace, store: LogStore, found: StoredLog) {
    this.place = place;
    this.store = store;
    this.found = found;
  }

  static async open(place: LogStorePlace, identity = IDENTITY): Promise<Bench> {
    const store = place.store();
    return new Bench(place, store, await store.open(identity, place.environment));
  }

  async reopen(identity = IDENTITY): Promise<StoredLog> {
    await this.store.close();
    this.store = this.place.store();
    this.found = await this.store.open(identity, this.place.environment);
    return this.found;
  }

  append(...records: Uint8Array[]): Promise<void> {
    return this.store.append({ hardState: null, truncateFrom: null, records });
  }

  replace(truncateFrom: LogIndex, ...records: Uint8Array[]): Promise<void> {
    return this.store.append({ hardState: null, truncateFrom, records });
  }

  async expectEntries(from: LogIndex, records: readonly Uint8Array[]): Promise<void> {
    expectSame(await this.store.read(from, from + records.length, ALL), records);
  }
}

function define(name: string, test: (bench: Bench) => Promise<void>): LogStoreCase {
  return {
    name,
    async run(makePlace) {
      const place = await makePlace();
      const bench = await Bench.open(place);
      try {
        await test(bench);
      } finally {
        await bench.store.close();
        await place.dispose?.();
      }
    },
  };
}

function record(
  index: LogIndex,
  term: Term,
  payload: string | Uint8Array = `entry ${String(index)}@${String(term)}`,
): Uint8Array {
  return encodeRecord(
    index,
    term,
    EntryKind.command,
    typeof payload === "string" ? Buffer.from(payload) : payload,
  );
}

function records(from: LogIndex, to: LogIndex, term: Term): Uint8Array[] {
  return Array.from({ length: to - from }, (_, at) => record(from + at, term));
}

function membership(...ids: NodeId[]): Uint8Array {
  const members = new Map(ids.map((id) => [id, { address: `${id}:7000` }]));
  return encodeMembership({ config: configOf(ids), members });
}

function base(index: LogIndex, term: Term, ...ids: NodeId[]): LogBase {
  return { position: { index, term }, config: membership(...ids) };
}

function expectSame(actual: readonly Uint8Array[], expected: readonly Uint8Array[]): void {
  assert.deepEqual(actual.map(toHex), expected.map(toHex));
}

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex");
}

async function expectRejection(promise: Promise<unknown>, code?: string): Promise<void> {
  const outcome = await promise.then(
    () => null,
    (error: unknown) => error,
  );
  assert.ok(outcome instanceof Error, "it was expected to reject with an error");
  if (code !== undefined) assert.equal((outcome as { code?: unknown }).code, code, outcome.message);
}

const NOTHING: LogWrite = { hardState: null, truncateFrom: null, records: [] };

/** The suite as data. */
export const logStoreCases: readonly LogStoreCase[] = [
  define("is empty when it is new", async ({ found }) => {
    assert.match(found.storeId, /^[0-9a-f]{32}$/);
    assert.deepEqual(found, {
      clusterId: null,
      storeId: found.storeId,
      hardState: { term: 0, votedFor: null },
      base: ORIGIN,
      baseConfig: EMPTY_CONFIG,
      basePayload: new Uint8Array(0),
      terms: [],
      configs: [],
      lastIndex: 0,
    });
  }),

  define("finds term and vote again, each change of them", async (bench) => {
    const states = [
      { term: 1, votedFor: "a" },
      { term: 2, votedFor: null },
      { term: 2, votedFor: "b" },
      { term: 2 ** 53 - 1, votedFor: "é".repeat(30) },
    ];
    for (const hardState of states) {
      await bench.store.append({ ...NOTHING, hardState });
      assert.deepEqual((await bench.reopen()).hardState, hardState);
    }
  }),

  define("finds entries again, with their terms and configurations", async (bench) => {
    const config = encodeRecord(3, 2, EntryKind.config, membership("a", "b"));
    const entries = [record(1, 1), record(2, 1), config, record(4, 2), record(5, 7)];
    await bench.append(...entries);
    const found = await bench.reopen();
    assert.equal(found.lastIndex, 5);
    assert.deepEqual(found.terms, [
      { index: 1, term: 1 },
      { index: 3, term: 2 },
      { index: 5, term: 7 },
    ]);
    assert.deepEqual(found.configs, [{ index: 3, config: configOf(["a", "b"]) }]);
    await bench.expectEntries(1, entries);
  }),

  define("keeps records of all sizes as they are, also such as are nothing but zeros", async (bench) => {
    const sizes = [0, 1, 3, 411, 484, 512, 513, 4096, 70_000, 1_500_000];
    const entries = sizes.map((size, at) =>
      record(at + 1, 1, new Uint8Array(size).fill(at % 2 === 0 ? 0 : at)),
    );
    for (const entry of entries) await bench.append(entry);
    await bench.expectEntries(1, entries);
    await bench.reopen();
    await bench.expectEntries(1, entries);
  }),

  define("reads at most the bytes asked for, and at least one entry", async (bench) => {
    const entries = records(1, 11, 1);
    await bench.append(...entries);
    const size = entries[0]?.length ?? 0;
    expectSame(await bench.store.read(1, 11, size * 3), entries.slice(0, 3));
    expectSame(await bench.store.read(1, 11, size * 3 - 1), entries.slice(0, 2));
    expectSame(await bench.store.read(4, 11, 0), entries.slice(3, 4));
    expectSame(await bench.store.read(4, 6, ALL), entries.slice(3, 5));
    expectSame(await bench.store.read(4, 4, ALL), []);
  }),

  define("refuses to read what is not in the log", async (bench) => {
    await bench.append(...records(1, 6, 1));
    await bench.store.compact(base(2, 1, "a"));
    await expectRejection(bench.store.read(2, 4, ALL));
    await expectRejection(bench.store.read(4, 7, ALL));
    await expectRejection(bench.store.read(0, 1, ALL));
  }),

  define("counts the bytes of a range", async (bench) => {
    const entries = [1, 2, 3, 4].map((index) => record(index, 1, new Uint8Array(index * 100)));
    await bench.append(...entries);
    const total = (from: number, to: number) =>
      entries.slice(from - 1, to - 1).reduce((sum, { length }) => sum + length, 0);
    for (const reopened of [false, true]) {
      if (reopened) await bench.reopen();
      for (let from = 1; from <= 5; from++) {
        for (let to = from; to <= 5; to++) assert.equal(bench.store.bytesBetween(from, to), total(from, to));
      }
    }
  }),

  define("shows a write as soon as it was called", async (bench) => {
    const entries = records(1, 4, 1);
    const written = bench.append(...entries);
    assert.equal(
      bench.store.bytesBetween(1, 4),
      entries.reduce((sum, { length }) => sum + length, 0),
    );
    await bench.expectEntries(1, entries);
    const replaced = bench.replace(2, record(2, 5, "new"));
    await bench.expectEntries(1, [record(1, 1), record(2, 5, "new")]);
    await Promise.all([written, replaced]);
    await bench.expectEntries(1, [record(1, 1), record(2, 5, "new")]);
  }),

  define("resolves writes in the order of the calls, empty ones too", async (bench) => {
    const order: number[] = [];
    const done = (number: number) => () => order.push(number);
    await Promise.all([
      bench.append(record(1, 1)).then(done(1)),
      bench.store.append(NOTHING).then(done(2)),
      bench.append(record(2, 1)).then(done(3)),
      bench.store.setClusterId("c").then(done(4)),
      bench.store.compact(base(1, 1, "a")).then(done(5)),
      bench.append(record(3, 1)).then(done(6)),
      bench.store.append(NOTHING).then(done(7)),
    ]);
    assert.deepEqual(order, [1, 2, 3, 4, 5, 6, 7]);
  }),

  define("takes many overlapping writes", async (bench) => {
    const entries = records(1, 301, 1);
    await Promise.all(entries.map((entry) => bench.append(entry)));
    await bench.expectEntries(1, entries);
    await bench.reopen();
    await bench.expectEntries(1, entries);
  }),

  define("replaces a suffix", async (bench) => {
    const first = [...records(1, 4, 1), encodeRecord(4, 2, EntryKind.config, membership("a", "b"))];
    await bench.append(...first);
    await bench.append(...records(5, 9, 2));
    const second = records(4, 6, 3);
    await bench.replace(4, ...second);
    for (const reopened of [false, true]) {
      if (reopened) {
        const found = await bench.reopen();
        assert.equal(found.lastIndex, 5);
        assert.deepEqual(found.configs, []);
        assert.deepEqual(found.terms, [
          { index: 1, term: 1 },
          { index: 4, term: 3 },
        ]);
      }
      await bench.expectEntries(1, [...first.slice(0, 3), ...second]);
      await expectRejection(bench.store.read(6, 7, ALL));
    }
  }),

  define("removes a suffix, down to nothing, and goes on", async (bench) => {
    await bench.append(...records(1, 6, 1));
    await bench.replace(3);
    assert.equal((await bench.reopen()).lastIndex, 2);
    await bench.replace(1);
    assert.deepEqual((await bench.reopen()).terms, []);
    await bench.append(record(1, 4));
    await bench.expectEntries(1, [record(1, 4)]);
  }),

  define("keeps apart entries of one index that overtake each other", async (bench) => {
    const writes = [bench.append(...records(1, 6, 1))];
    for (let term = 2; term < 8; term++) writes.push(bench.replace(term - 1, ...records(term - 1, 8, term)));
    const expected = [1, 2, 3, 4, 5].map((index) => record(index, index + 1)).concat(records(6, 8, 7));
    await bench.expectEntries(1, expected);
    await Promise.all(writes);
    await bench.expectEntries(1, expected);
    await bench.reopen();
    await bench.expectEntries(1, expected);
  }),

  define("refuses entries that do not follow, and is not harmed by them", async (bench) => {
    await bench.append(record(1, 5));
    await expectRejection(bench.append(record(3, 5)));
    await expectRejection(bench.append(record(1, 5)));
    await expectRejection(bench.append(record(2, 5), record(4, 5)));
    await expectRejection(bench.append(record(2, 4)));
    await expectRejection(bench.replace(3));
    await expectRejection(bench.replace(0));
    await bench.append(record(2, 5));
    await bench.reopen();
    await bench.expectEntries(1, [record(1, 5), record(2, 5)]);
  }),

  define("refuses bytes that are no record, and is not harmed by them", async (bench) => {
    const good = record(1, 1);
    const unknownKind = good.slice();
    unknownKind[24] = 99;
    await expectRejection(bench.append(good.slice(0, 20)), "DECODE");
    await expectRejection(bench.append(good.slice(0, -1)), "DECODE");
    await expectRejection(bench.append(Buffer.concat([good, Buffer.of(0)])), "DECODE");
    await expectRejection(bench.append(unknownKind), "DECODE");
    await expectRejection(bench.append(encodeRecord(1, 1, EntryKind.config, Buffer.from("{}"))), "DECODE");
    await bench.append(good);
    await bench.expectEntries(1, [good]);
  }),

  define("forgets a prefix, and keeps what comes after it", async (bench) => {
    await bench.append(
      ...records(1, 6, 1),
      encodeRecord(6, 2, EntryKind.config, membership("a", "b")),
      ...records(7, 11, 2),
    );
    await bench.store.compact(base(4, 1, "a"));
    const check = async () => {
      await expectRejection(bench.store.read(4, 6, ALL));
      await bench.expectEntries(5, [record(5, 1)]);
      await bench.expectEntries(7, records(7, 11, 2));
    };
    await check();
    const found = await bench.reopen();
    assert.deepEqual(found.base, { index: 4, term: 1 });
    assert.deepEqual(found.baseConfig, configOf(["a"]));
    assert.deepEqual([...found.basePayload], [...membership("a")]);
    assert.deepEqual(found.terms, [
      { index: 5, term: 1 },
      { index: 6, term: 2 },
    ]);
    assert.deepEqual(found.configs, [{ index: 6, config: configOf(["a", "b"]) }]);
    await check();
  }),

  define("forgets everything up to its last entry, and goes on after it", async (bench) => {
    await bench.append(...records(1, 6, 3));
    await bench.store.compact(base(5, 3, "a"));
    const found = await bench.reopen();
    assert.deepEqual([found.base, found.terms, found.lastIndex], [{ index: 5, term: 3 }, [], 5]);
    await expectRejection(bench.append(record(6, 2)));
    await bench.append(record(6, 3));
    await bench.reopen();
    await bench.expectEntries(6, [record(6, 3)]);
  }),

  define("does not forget what it does not hold", async (bench) => {
    await bench.append(...records(1, 6, 3));
    await expectRejection(bench.store.compact(base(6, 3, "a")));
    await expectRejection(bench.store.compact(base(5, 2, "a")));
    await expectRejection(bench.store.compact({ position: { index: 5, term: 3 }, config: Buffer.from("?") }));
    await bench.store.compact(base(3, 3, "a"));
    await bench.store.compact(base(2, 3, "a"));
    assert.equal((await bench.reopen()).base.index, 3);
    await expectRejection(bench.replace(3));
  }),

  define("begins anew after a reset, above its last entry or below", async (bench) => {
    await bench.store.append({
      ...NOTHING,
      hardState: { term: 3, votedFor: "b" },
      records: records(1, 6, 3),
    });
    for (const index of [100, 50, 4000]) {
      await bench.store.reset(base(index, 4, "a", "b"));
      assert.equal(bench.store.bytesBetween(index + 1, index + 1), 0);
      await bench.append(record(index + 1, 5));
      const found = await bench.reopen();
      assert.deepEqual(found.hardState, { term: 3, votedFor: "b" });
      assert.deepEqual(found.base, { index, term: 4 });
      assert.deepEqual(found.baseConfig, configOf(["a", "b"]));
      assert.deepEqual([...found.basePayload], [...membership("a", "b")]);
      assert.deepEqual(found.terms, [{ index: index + 1, term: 5 }]);
      await bench.expectEntries(index + 1, [record(index + 1, 5)]);
      await expectRejection(bench.store.read(index, index + 1, ALL));
    }
  }),

  define("is bound to a cluster once", async (bench) => {
    await bench.store.setClusterId("c1");
    await bench.store.setClusterId("c1");
    await expectRejection(bench.store.setClusterId("c2"), "WRONG_IDENTITY");
    assert.equal((await bench.reopen()).clusterId, "c1");
    assert.equal((await bench.reopen({ nodeId: "a", clusterId: "c1" })).clusterId, "c1");
    await expectRejection(bench.reopen({ nodeId: "a", clusterId: "c2" }), "WRONG_IDENTITY");
    assert.equal((await bench.reopen()).clusterId, "c1");
  }),

  define("is bound to the cluster that it is opened for", async (bench) => {
    assert.equal((await bench.reopen({ nodeId: "a", clusterId: "c1" })).clusterId, "c1");
    assert.equal((await bench.reopen()).clusterId, "c1");
    await expectRejection(bench.store.setClusterId("c2"), "WRONG_IDENTITY");
  }),

  define("refuses to be another node's, and stays as it was", async (bench) => {
    await bench.append(record(1, 1));
    await expectRejection(bench.reopen({ nodeId: "b", clusterId: null }), "WRONG_IDENTITY");
    assert.equal((await bench.reopen()).lastIndex, 1);
  }),

  define("keeps the name that it was given at random", async (bench) => {
    const { storeId } = bench.found;
    assert.equal((await bench.reopen()).storeId, storeId);
  }),

  define("cannot be opened twice at once", async (bench) => {
    await expectRejection(Bench.open(bench.place), "DIRECTORY_LOCKED");
    await bench.append(record(1, 1));
    await bench.expectEntries(1, [record(1, 1)]);
  }),

  define("waits for writes under way when it closes, and refuses later calls", async (bench) => {
    const written = bench.append(record(1, 1));
    const closed = bench.store.close();
    await written;
    await closed;
    await bench.store.close();
    await expectRejection(bench.append(record(2, 1)), "CLOSED");
    await expectRejection(bench.store.read(1, 2, ALL), "CLOSED");
    assert.equal((await bench.reopen()).lastIndex, 1);
  }),

  define("does as a simple model does, whatever the calls", async (bench) => {
    const random = lcg(7);
    let model = { first: 1, entries: [] as Uint8Array[], baseTerm: 0 };
    let term = 1;
    for (let step = 0; step < 300; step++) {
      const last = model.first + model.entries.length - 1;
      const choice = random(100);
      if (random(10) === 0) term += 1;
      if (choice < 60) {
        const from = choice < 45 ? last + 1 : model.first + random(model.entries.length + 1);
        const added = Array.from({ length: random(8) }, (_, at) =>
          record(from + at, term, new Uint8Array(random(700))),
        );
        const written = bench.replace(from, ...added);
        model.entries = [...model.entries.slice(0, from - model.first), ...added];
        if (random(2) === 0) await written;
      } else if (choice < 75 && model.entries.length > 0) {
        const from = model.first + random(model.entries.length);
        const count = 1 + random(last - from + 1);
        expectSame(
          await bench.store.read(from, from + count, ALL),
          model.entries.slice(from - model.first, from - model.first + count),
        );
      } else if (choice < 85 && model.entries.length > 0) {
        const index = model.first + random(model.entries.length);
        const at = index - model.first;
        const entryTerm = Buffer.from(model.entries[at] ?? []).readUInt32LE(16);
        const compacted = bench.store.compact(base(index, entryTerm, "a"));
        model = { first: index + 1, entries: model.entries.slice(at + 1), baseTerm: entryTerm };
        if (random(2) === 0) await compacted;
      } else if (choice < 88) {
        const index = last + random(20) + 1;
        void bench.store.reset(base(index, term, "a"));
        model = { first: index + 1, entries: [], baseTerm: term };
      } else if (choice < 95) {
        const found = await bench.reopen();
        assert.equal(found.base.index, model.first - 1);
        assert.equal(found.base.term, model.baseTerm);
        assert.equal(found.lastIndex, last);
      }
    }
    await bench.expectEntries(model.first, model.entries);
  }),
];

/** Small numbers that look random and are the same each time. */
function lcg(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
