// What a log store promises about the entries, terms and votes written to it.
import { strict as assert } from "node:assert";
import { encodeRecord, EntryKind } from "../../../codec/record.ts";
import { configOf, EMPTY_CONFIG } from "../../../core/config.ts";
import { ORIGIN } from "../../../core/position.ts";
import {
  ALL,
  base,
  define,
  expectRejection,
  expectSame,
  membership,
  NOTHING,
  record,
  records,
  type LogStoreCase,
} from "./log-store-bench.ts";

/** Writing, replacing and reading entries, terms and votes. */
export const entryCases: readonly LogStoreCase[] = [
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

  define("keeps every change of term and vote", async (bench) => {
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

  define("keeps entries, with their terms and configurations", async (bench) => {
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

  define("keeps records of all sizes unchanged, also records full of zeros", async (bench) => {
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

  define("makes a write visible as soon as it is called", async (bench) => {
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

  define("truncates a suffix or the whole log, and accepts entries after it", async (bench) => {
    await bench.append(...records(1, 6, 1));
    await bench.replace(3);
    assert.equal((await bench.reopen()).lastIndex, 2);
    await bench.replace(1);
    assert.deepEqual((await bench.reopen()).terms, []);
    await bench.append(record(1, 4));
    await bench.expectEntries(1, [record(1, 4)]);
  }),

  define("reads the newest entry of each index while writes replace each other", async (bench) => {
    const writes = [bench.append(...records(1, 6, 1))];
    for (let term = 2; term < 8; term++) writes.push(bench.replace(term - 1, ...records(term - 1, 8, term)));
    const expected = [1, 2, 3, 4, 5].map((index) => record(index, index + 1)).concat(records(6, 8, 7));
    await bench.expectEntries(1, expected);
    await Promise.all(writes);
    await bench.expectEntries(1, expected);
    await bench.reopen();
    await bench.expectEntries(1, expected);
  }),

  define("refuses entries that don't follow the last one, and stays usable", async (bench) => {
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

  define("refuses bytes that aren't records, and stays usable", async (bench) => {
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
];
