import path from "node:path";
import type { LogPosition } from "keelson";
import { describe, expect, it, onTestFinished } from "vitest";
import type { KvCommand } from "./commands.ts";
import type { Database } from "./database.ts";
import { openDatabase } from "./level-database.ts";
import { KvStateMachine } from "./state-machine.ts";
import { decodeState, encodeState, type StateEntry } from "./state-snapshot.ts";
import { temporaryDirectory } from "../test/temporary.ts";

const at = (index: number): LogPosition => ({ term: 1, index });

function put(key: string, value: string): KvCommand {
  return { type: "put", key: Buffer.from(key), value: Buffer.from(value), condition: null };
}

async function opened(
  directory = path.join(temporaryDirectory(), "state"),
  wrap: (database: Database) => Database = (database) => database,
): Promise<{ readonly store: KvStateMachine; readonly index: number; readonly directory: string }> {
  const store = new KvStateMachine(async () => wrap(await openDatabase(directory)));
  const { index } = await store.open();
  onTestFinished(() => store.close());
  return { store, index, directory };
}

async function write(store: KvStateMachine, index: number, command: KvCommand): Promise<void> {
  await store.apply(command, at(index));
  await store.flush(at(index));
}

/** Everything that reads of the state can return. */
async function contents(store: KvStateMachine): Promise<unknown> {
  const { keys } = await store.list({ limit: 10_000 });
  const entries = await Promise.all(
    keys.map(async ({ key, version }) => {
      const found = await store.get(key);
      return [Buffer.from(key).toString(), version, Buffer.from(found?.value ?? []).toString()];
    }),
  );
  return { count: store.count, entries };
}

async function bytesOf(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const chunk of chunks) pieces.push(chunk);
  return Buffer.concat(pieces);
}

async function* cut(bytes: Uint8Array, length: number): AsyncGenerator<Uint8Array> {
  for (let from = 0; from < bytes.length; from += length) yield bytes.subarray(from, from + length);
}

describe("a snapshot of the key-value state", () => {
  it("restores the same state, wherever its bytes are cut", async () => {
    const { store } = await opened();
    for (let index = 1; index <= 40; index++)
      await write(store, index, put(`key ${index % 30}`, "v".repeat(index)));
    const whole = await bytesOf(store.snapshot());
    for (const length of [1, 7, 100, 1_000_000]) {
      const { store: other, directory } = await opened();
      await write(other, 1, put("old", "gone"));
      await other.restore(cut(whole, length), at(40));
      expect(await contents(other)).toEqual(await contents(store));
      await other.close();
      const again = await opened(directory);
      expect(again.index).toBe(40);
      expect(await contents(again.store)).toEqual(await contents(store));
      await write(again.store, 41, put("key 1", "new"));
    }
  });

  it("is of the moment of the call, whatever is written while it is read (S5)", async () => {
    const { store } = await opened();
    for (let index = 1; index <= 200; index++) await write(store, index, put(`k${index}`, "x".repeat(2000)));
    const before = await contents(store);
    const chunks = store.snapshot()[Symbol.asyncIterator]();
    const pieces = [(await chunks.next()).value as Uint8Array];
    for (let index = 201; index <= 300; index++) await write(store, index, put(`k${index - 150}`, "later"));
    for (let next = await chunks.next(); next.done !== true; next = await chunks.next())
      pieces.push(next.value);
    expect(pieces.length).toBeGreaterThan(3);
    const { store: other } = await opened();
    await other.restore(cut(Buffer.concat(pieces), 4096), at(200));
    expect(await contents(other)).toEqual(before);
  });

  it("replaces the session records (K5)", async () => {
    const { store } = await opened();
    await write(store, 1, put("a", "1"));
    const whole = await bytesOf(store.snapshot());
    const { store: other, directory } = await opened();
    await other.apply(put("b", "2"), at(1));
    await other.flush(at(1), new Map([["session/old", Uint8Array.of(1)]]));
    const sessions = new Map([["time", Uint8Array.of(7)]]);
    await other.restore(cut(whole, 100), at(1), sessions);
    await other.close();
    const again = new KvStateMachine(() => openDatabase(directory));
    onTestFinished(() => again.close());
    const state = await again.open();
    expect([...(state.sessions ?? [])].map(([name, value]) => [name, [...value]])).toEqual([["time", [7]]]);
  });

  it("is refused when it ends early, and the state is then empty or unchanged (S6)", async () => {
    const { store } = await opened();
    for (let index = 1; index <= 10; index++) await write(store, index, put(`k${index}`, "x"));
    const whole = await bytesOf(store.snapshot());
    for (const length of [0, 3, 11, 15, whole.length - 1]) {
      const { store: other, directory } = await opened();
      await write(other, 1, put("old", "there"));
      await expect(other.restore(cut(whole.subarray(0, length), 50), at(10))).rejects.toThrow();
      await other.close();
      const again = await opened(directory);
      // Unchanged if the error came first; else empty, to be restored again.
      expect([0, 1]).toContain(again.index);
      expect((await again.store.list({ limit: 9 })).keys).toHaveLength(again.index);
    }
  });

  it("is refused when it holds a foreign key or an impossible length", async () => {
    const { store } = await opened();
    const foreign = encodeState(1, pairs([[Buffer.from("m"), Buffer.from("x")]]));
    await expect(store.restore(foreign, at(1))).rejects.toThrow();
    const announced = Buffer.concat([await bytesOf(encodeState(0, pairs([]))), Buffer.alloc(8, 0xff)]);
    const { entries } = await decodeState(cut(announced, 9));
    await expect(collect(entries)).rejects.toThrow("announces an entry");
  });
});

async function* pairs(entries: readonly StateEntry[]): AsyncGenerator<StateEntry> {
  yield* entries;
}

async function collect(entries: AsyncIterable<StateEntry>): Promise<StateEntry[]> {
  const found: StateEntry[] = [];
  for await (const entry of entries) found.push(entry);
  return found;
}

describe("a crash while a snapshot is restored", () => {
  it("leaves the old state, the new one, or an empty one, after any operation (S4)", async () => {
    const { store } = await opened();
    for (let index = 1; index <= 20; index++)
      await write(store, index, put(`new ${index}`, "x".repeat(200_000)));
    const whole = await bytesOf(store.snapshot());
    const wanted = await contents(store);
    const seen = new Set<string>();
    let steps = 0;
    for (let step = 1, done = false; !done; step++) {
      for (const lands of [false, true]) {
        const { store: old, directory } = await opened();
        for (let index = 1; index <= 3; index++) await write(old, index, put(`old ${index}`, "y"));
        const before = await contents(old);
        await old.close();
        let count = 0;
        const dying = (database: Database): Database => ({
          get: (key) => database.get(key),
          entries: (from, to) => database.entries(from, to),
          close: () => database.close(),
          batch: async (operations, options) => {
            count += 1;
            if (count > step || (count === step && !lands)) throw new Error("the process died");
            await database.batch(operations, options);
            if (count === step) throw new Error("the process died just after");
          },
        });
        const { store: victim } = await opened(directory, dying);
        const restoring = victim.restore(cut(whole, 65_536), at(20));
        done = await restoring.then(
          () => true,
          () => false,
        );
        await victim.close();
        const { store: after, index } = await opened(directory);
        if (index === 3) expect(await contents(after)).toEqual(before);
        else if (index === 20) expect(await contents(after)).toEqual(wanted);
        else expect([index, await contents(after)]).toEqual([0, { count: 0, entries: [] }]);
        seen.add(`${index}`);
        await after.restore(cut(whole, 65_536), at(20));
        expect(await contents(after)).toEqual(wanted);
      }
      steps = step;
    }
    expect(steps).toBeGreaterThan(4);
    expect([...seen].sort()).toEqual(["0", "20", "3"]);
  });
});
