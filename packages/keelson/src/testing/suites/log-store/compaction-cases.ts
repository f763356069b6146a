// What a log store promises about compaction and resets.
import { strict as assert } from "node:assert";
import { encodeRecord, EntryKind } from "../../../codec/record.ts";
import { configOf } from "../../../core/config.ts";
import {
  ALL,
  base,
  define,
  expectRejection,
  membership,
  NOTHING,
  record,
  records,
  type LogStoreCase,
} from "./log-store-bench.ts";

/** Compaction and resets. */
export const compactionCases: readonly LogStoreCase[] = [
  define("compacts a prefix, and keeps the entries after it", async (bench) => {
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

  define("compacts up to its last entry, and accepts entries after it", async (bench) => {
    await bench.append(...records(1, 6, 3));
    await bench.store.compact(base(5, 3, "a"));
    const found = await bench.reopen();
    assert.deepEqual([found.base, found.terms, found.lastIndex], [{ index: 5, term: 3 }, [], 5]);
    await expectRejection(bench.append(record(6, 2)));
    await bench.append(record(6, 3));
    await bench.reopen();
    await bench.expectEntries(6, [record(6, 3)]);
  }),

  define("refuses to compact up to a position that it doesn't hold", async (bench) => {
    await bench.append(...records(1, 6, 3));
    await expectRejection(bench.store.compact(base(6, 3, "a")));
    await expectRejection(bench.store.compact(base(5, 2, "a")));
    await expectRejection(bench.store.compact({ position: { index: 5, term: 3 }, config: Buffer.from("?") }));
    await bench.store.compact(base(3, 3, "a"));
    await bench.store.compact(base(2, 3, "a"));
    assert.equal((await bench.reopen()).base.index, 3);
    await expectRejection(bench.replace(3));
  }),

  define("begins at the new base after a reset, above its last entry or below", async (bench) => {
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
];
