// What a snapshot store promises about snapshots that another node sends, and about opening and closing.
import { strict as assert } from "node:assert";
import {
  bytesOf,
  define,
  expectCode,
  expectSameBytes,
  headerAt,
  joined,
  LARGE_STATE,
  SnapshotBench,
  type SnapshotStoreCase,
} from "./snapshot-store-bench.ts";

/** The bytes that are received before an interruption. */
const FIRST_PART_BYTES = 250_000;

export const receivingCases: readonly SnapshotStoreCase[] = [
  define(
    "receives a snapshot of another node's store, the same bytes under the same id",
    async (bench, openOther) => {
      const sender = await openOther();
      const sent = await sender.take(17, LARGE_STATE, "sessions");
      const file = await sender.fileOf(sent);
      const incoming = await bench.store.receive(sent.id, file.length);
      assert.deepEqual([incoming.id, incoming.bytes, incoming.offset], [sent.id, file.length, 0]);
      for (let at = 0; at < file.length; at += FIRST_PART_BYTES) {
        await incoming.write(file.subarray(at, at + FIRST_PART_BYTES));
      }
      assert.equal(incoming.offset, file.length);
      assert.equal(bench.store.newest, null);
      const received = await incoming.finish();
      assert.deepEqual({ ...received, membership: [] }, { ...sent, origin: "received", membership: [] });
      expectSameBytes(received.membership, sent.membership);
      assert.equal((await bench.reopen()).newest?.id, sent.id);
      await bench.expectState(sent.id, LARGE_STATE);
      expectSameBytes(await bench.fileOf(received), file);
      const reader = await bench.read(sent.id);
      expectSameBytes(await joined(reader.sessions()), bytesOf("sessions"));
      await reader.close();
    },
  ),

  define("continues what was suspended, also after it was opened again", async (bench, openOther) => {
    const sender = await openOther();
    const sent = await sender.take(17, LARGE_STATE);
    const file = await sender.fileOf(sent);
    for (const reopens of [false, true]) {
      const incoming = await bench.store.receive(sent.id, file.length);
      const end = incoming.offset + FIRST_PART_BYTES;
      await incoming.write(file.subarray(incoming.offset, end));
      assert.equal(incoming.offset, end);
      await incoming.suspend();
      if (reopens) assert.equal((await bench.reopen()).newest, null);
    }
    // What was not synced may be gone, and what is there must be a beginning of the file.
    const incoming = await bench.store.receive(sent.id, file.length);
    assert.ok(incoming.offset <= 2 * FIRST_PART_BYTES);
    await incoming.write(file.subarray(incoming.offset));
    await incoming.finish();
    await bench.expectState(sent.id, LARGE_STATE);
  }),

  define(
    "removes what it received of one snapshot when it receives another, or is told to",
    async (bench, openOther) => {
      const sender = await openOther();
      const first = await sender.take(17, LARGE_STATE);
      const firstFile = await sender.fileOf(first);
      const second = await sender.take(18, "eighteen");
      const secondFile = await sender.fileOf(second);
      const begin = async (): Promise<void> => {
        const incoming = await bench.store.receive(first.id, firstFile.length);
        assert.equal(incoming.offset, 0);
        await incoming.write(firstFile.subarray(0, FIRST_PART_BYTES));
        await incoming.suspend();
      };
      await begin();
      await bench.receive(second, secondFile);
      await begin();
      await (await bench.store.receive(first.id, firstFile.length)).abort();
      await begin();
      assert.equal(bench.newestId, second.id);
    },
  ),

  define(
    "refuses a received file that is damaged, too short, or another snapshot",
    async (bench, openOther) => {
      const sender = await openOther();
      const sent = await sender.take(17, "a state that is sent");
      const file = await sender.fileOf(sent);
      const { id } = await bench.take(4, "four");
      const damaged = Buffer.from(file);
      damaged[damaged.length >> 1] = (damaged[damaged.length >> 1] ?? 0) ^ 1;
      await expectCode(bench.receive(sent, damaged), "CORRUPT_SNAPSHOT");
      await expectCode(bench.receive(sent, file.subarray(0, -1)), "CORRUPT_SNAPSHOT");
      await expectCode(bench.receive({ ...sent, id: "f".repeat(32) }, file), "CORRUPT_SNAPSHOT");
      assert.equal(bench.newestId, id);
      assert.deepEqual((await bench.reopen()).damaged, []);
      await bench.expectState(id, "four");
      await bench.receive(sent, file);
      assert.equal(bench.newestId, sent.id);
    },
  ),

  define(
    "keeps its own newer snapshot as the newest when it has received an older one",
    async (bench, openOther) => {
      const sender = await openOther();
      const sent = await sender.take(7, "seven");
      const { id } = await bench.take(9, "nine");
      await bench.receive(sent, await sender.fileOf(sent));
      assert.equal(bench.newestId, id);
      assert.equal((await bench.reopen()).newest?.id, id);
    },
  ),

  define("receives one snapshot while it takes another and reads a third", async (bench, openOther) => {
    const sender = await openOther();
    const sent = await sender.take(9, LARGE_STATE);
    const file = await sender.fileOf(sent);
    const { id } = await bench.take(4, LARGE_STATE);
    const reader = await bench.read(id);
    const draft = await bench.store.create(headerAt(7), []);
    const incoming = await bench.store.receive(sent.id, file.length);
    const [state] = await Promise.all([
      joined(reader.state()),
      draft.write(bytesOf("seven")),
      incoming.write(file),
    ]);
    expectSameBytes(state, LARGE_STATE);
    await Promise.all([draft.finish(), incoming.finish(), reader.close()]);
    assert.equal(bench.newestId, sent.id);
    await bench.expectState(sent.id, LARGE_STATE);
  }),

  define("refuses an id that is none", async (bench) => {
    for (const id of ["", "../../etc/passwd", "F".repeat(32), "0".repeat(31)]) {
      await expectCode(bench.store.receive(id, 10), "INVALID_OPTION");
    }
    await (await bench.store.receive("0".repeat(32), 10)).abort();
  }),

  define("cannot be opened twice at once", async (bench) => {
    await expectCode(SnapshotBench.open(bench.place), "DIRECTORY_LOCKED");
    const { id } = await bench.take(4, "four");
    await bench.expectState(id, "four");
  }),

  define("refuses calls once it is closed, and can be closed again", async (bench) => {
    const { id } = await bench.take(4, "four");
    const { store } = bench;
    await store.close();
    await store.close();
    assert.equal(store.newest, null);
    await expectCode(store.create(headerAt(5), []), "CLOSED");
    await expectCode(store.receive(id, 10), "CLOSED");
    await expectCode(store.read(id), "CLOSED");
    await expectCode(store.discard(id), "CLOSED");
    assert.equal((await bench.reopen()).newest?.id, id);
  }),
];
