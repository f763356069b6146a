// Compares a log store with a simple model over random calls.
import { strict as assert } from "node:assert";
import { ALL, base, define, expectSame, record, type LogStoreCase } from "./log-store-bench.ts";

/** Random calls, compared with a model. */
export const modelCases: readonly LogStoreCase[] = [
  define("behaves like a simple model under random calls", async (bench) => {
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

/** Pseudo-random whole numbers below a limit, the same each time. */
function lcg(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
