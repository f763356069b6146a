// What a log store promises about its identity, about opening and closing.
import { strict as assert } from "node:assert";
import { ALL, Bench, define, expectRejection, record, type LogStoreCase } from "./log-store-bench.ts";

/** Identity, opening and closing. */
export const lifecycleCases: readonly LogStoreCase[] = [
  define("can be bound to one cluster only", async (bench) => {
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

  define("refuses to open for another node, and keeps its contents", async (bench) => {
    await bench.append(record(1, 1));
    await expectRejection(bench.reopen({ nodeId: "b", clusterId: null }), "WRONG_IDENTITY");
    assert.equal((await bench.reopen()).lastIndex, 1);
  }),

  define("keeps its random store id", async (bench) => {
    const { storeId } = bench.found;
    assert.equal((await bench.reopen()).storeId, storeId);
  }),

  define("cannot be opened twice at once", async (bench) => {
    await expectRejection(Bench.open(bench.place), "DIRECTORY_LOCKED");
    await bench.append(record(1, 1));
    await bench.expectEntries(1, [record(1, 1)]);
  }),

  define("waits for pending writes when it closes, and refuses later calls", async (bench) => {
    const written = bench.append(record(1, 1));
    const closed = bench.store.close();
    await written;
    await closed;
    await bench.store.close();
    await expectRejection(bench.append(record(2, 1)), "CLOSED");
    await expectRejection(bench.store.read(1, 2, ALL), "CLOSED");
    assert.equal((await bench.reopen()).lastIndex, 1);
  }),
];
