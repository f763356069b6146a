// What a snapshot store promises about the snapshots that a node takes of its own state, and about reading
// them.
import { strict as assert } from "node:assert";
import type { SnapshotHeader } from "../../../storage/snapshot-store.ts";
import {
  bytesOf,
  define,
  expectSameBytes,
  headerAt,
  joined,
  LARGE_STATE,
  type SnapshotStoreCase,
} from "./snapshot-store-bench.ts";

export const takingCases: readonly SnapshotStoreCase[] = [
  define("has no snapshot at first", async (bench) => {
    assert.deepEqual(bench.found, { newest: null, damaged: [] });
    assert.equal(bench.store.newest, null);
    assert.equal(await bench.store.read("0".repeat(32)), null);
  }),

  define(
    "returns header, sessions and state as they were written, also after it was opened again",
    async (bench) => {
      const draft = await bench.store.create(headerAt(17), [
        bytesOf("some "),
        bytesOf(""),
        bytesOf("sessions"),
      ]);
      for (const [from, to] of [
        [0, 3],
        [3, 3],
        [3, 600_000],
        [600_000, LARGE_STATE.length],
      ] as const) {
        await draft.write(LARGE_STATE.subarray(from, to));
      }
      const taken = await draft.finish();
      const { id, bytes, origin, ...header } = taken;
      assert.match(id, /^[0-9a-f]{32}$/);
      assert.equal(origin, "taken");
      assert.ok(bytes > LARGE_STATE.length);
      assert.deepEqual({ ...header, membership: [...header.membership] }, plain(headerAt(17)));
      assert.deepEqual(bench.store.newest, taken);
      const found = await bench.reopen();
      assert.deepEqual(found, { newest: taken, damaged: [] });
      await bench.expectState(id, LARGE_STATE);
      const reader = await bench.read(id);
      assert.deepEqual(reader.snapshot, taken);
      expectSameBytes(await joined(reader.sessions()), bytesOf("some sessions"));
      await reader.close();
    },
  ),

  define("keeps an empty state and no sessions", async (bench) => {
    const { id } = await bench.take(1, "");
    await bench.expectState(id, "");
    const reader = await bench.read(id);
    expectSameBytes(await joined(reader.sessions()), bytesOf(""));
    await reader.close();
  }),

  define("copies the chunks that it is given, whose buffers are used again", async (bench) => {
    const buffer = Buffer.alloc(3);
    async function* sessions(): AsyncGenerator<Uint8Array, void, undefined> {
      for (const text of ["abc", "def"]) {
        buffer.write(text);
        yield await Promise.resolve(buffer);
      }
    }
    const draft = await bench.store.create(headerAt(1), sessions());
    for (const text of ["ghi", "jkl"]) {
      buffer.write(text);
      await draft.write(buffer);
    }
    buffer.write("xxx");
    const { id } = await draft.finish();
    await bench.expectState(id, "ghijkl");
    const reader = await bench.read(id);
    expectSameBytes(await joined(reader.sessions()), bytesOf("abcdef"));
    await reader.close();
  }),

  define("gives each snapshot an id of its own", async (bench) => {
    const ids = [await bench.take(1, "a"), await bench.take(1, "a"), await bench.take(2, "b")].map(
      ({ id }) => id,
    );
    assert.equal(new Set(ids).size, 3);
  }),

  define("offers a draft only when it is finished, and forgets one that was not", async (bench) => {
    const { id } = await bench.take(1, "one");
    const draft = await bench.store.create(headerAt(2), []);
    await draft.write(bytesOf("two"));
    assert.equal(bench.newestId, id);
    await draft.abort();
    assert.equal(bench.newestId, id);
    await (await bench.store.create(headerAt(3), [])).write(bytesOf("three"));
    assert.equal((await bench.reopen()).newest?.id, id);
    await bench.expectState(id, "one");
  }),

  define("makes several drafts at once", async (bench) => {
    const drafts = await Promise.all([4, 5].map((index) => bench.store.create(headerAt(index), [])));
    await Promise.all(drafts.map((draft, at) => draft.write(bytesOf(`draft ${String(at)}`))));
    for (const draft of drafts) await draft.finish();
    const { newest } = bench.store;
    assert.equal(newest?.position.index, 5);
    await bench.expectState(newest.id, "draft 1");
  }),

  define("keeps the snapshot of the later entry as the newest, and removes an older one", async (bench) => {
    const old = await bench.take(4, "four");
    const newer = await bench.take(9, "nine");
    assert.equal(bench.newestId, newer.id);
    assert.equal(await bench.store.read(old.id), null);
    await bench.take(7, "seven");
    assert.equal(bench.newestId, newer.id);
    assert.equal((await bench.reopen()).newest?.id, newer.id);
    await bench.expectState(newer.id, "nine");
  }),

  define("keeps an older snapshot while a reader has it open, and no longer", async (bench) => {
    const old = await bench.take(4, LARGE_STATE);
    const reader = await bench.read(old.id);
    await bench.take(9, "nine");
    const second = await bench.read(old.id);
    await reader.verify();
    expectSameBytes(await joined(reader.state()), LARGE_STATE);
    await reader.close();
    await reader.close();
    expectSameBytes(await joined(second.state()), LARGE_STATE);
    await second.close();
    assert.equal(await bench.store.read(old.id), null);
  }),

  define("reads any part of a file, several at once, into buffers of their own", async (bench) => {
    const taken = await bench.take(4, LARGE_STATE);
    const whole = await bench.fileOf(taken);
    assert.equal(whole.length, taken.bytes);
    const reader = await bench.read(taken.id);
    const ranges = [
      [0, 10],
      [taken.bytes - 5, 100],
      [300_000, 200_000],
      [taken.bytes, 10],
    ] as const;
    const parts = await Promise.all(ranges.map(([offset, bytes]) => reader.read(offset, bytes)));
    for (const [at, [offset, bytes]] of ranges.entries()) {
      expectSameBytes(parts[at] ?? new Uint8Array(0), whole.subarray(offset, offset + bytes));
    }
    parts[0]?.fill(0xaa);
    expectSameBytes(await reader.read(0, 10), whole.subarray(0, 10));
    await reader.close();
  }),

  define("forgets a snapshot that is discarded, whose readers may finish", async (bench) => {
    const { id } = await bench.take(4, "four");
    const reader = await bench.read(id);
    await bench.store.discard(id);
    assert.equal(bench.store.newest, null);
    assert.equal(await bench.store.read(id), null);
    expectSameBytes(await joined(reader.state()), bytesOf("four"));
    await reader.close();
    assert.deepEqual(await bench.reopen(), { newest: null, damaged: [] });
  }),
];

function plain(header: Omit<SnapshotHeader, "id">): object {
  return { ...header, membership: [...header.membership] };
}
