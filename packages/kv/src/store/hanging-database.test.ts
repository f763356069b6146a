// A database that hangs: its node must not lead on and serve nothing (Z15).
import path from "node:path";
import { Raft, type RaftError, type StateMachineHost } from "keelson";
import { memoryLog } from "keelson/storage/memory";
import { memoryNetwork, memoryTransport } from "keelson/transport/memory";
import { describe, expect, it, onTestFinished } from "vitest";
import type { KvCommand, KvResult } from "./commands.ts";
import type { Database } from "./database.ts";
import { openDatabase } from "./level-database.ts";
import { KvStateMachine } from "./state-machine.ts";
import { temporaryDirectory } from "../test/temporary.ts";

const bytes = (text: string): Buffer => Buffer.from(text);
const NEVER = new Promise<never>(() => undefined);

const put: KvCommand = { type: "put", key: bytes("a"), value: bytes("1"), condition: null };

/** LevelDB in a new directory, with calls that are replaced. */
async function databaseWith(changes: (database: Database) => Partial<Database>): Promise<Database> {
  const database = await openDatabase(path.join(temporaryDirectory(), "state"));
  return { ...database, ...changes(database) };
}

/** A leader of one on this database. */
async function leaderOn(
  database: Promise<Database>,
): Promise<{ readonly raft: Raft<KvCommand, KvResult>; readonly store: KvStateMachine }> {
  const store = new KvStateMachine(() => database);
  const raft = await Raft.open({
    id: "a",
    stateMachine: store,
    log: memoryLog(),
    transport: memoryTransport(memoryNetwork(), "a:1"),
    timings: { stateStallMs: 50, stateTimeoutMs: 300 },
  });
  onTestFinished(() => raft.close());
  await raft.initialize({ a: "a:1" });
  for await (const _ of raft.changes()) if (raft.metrics().role === "leader") break;
  return { raft, store };
}

async function stopped(raft: Raft<KvCommand, KvResult>): Promise<RaftError | undefined> {
  return raft.stopped;
}

describe("a database that hangs", () => {
  it.each<[string, (database: Database, isOn: () => boolean) => Partial<Database>, RegExp]>([
    [
      "in reading a key for a client",
      ({ get }, isOn) => ({ get: (key) => (isOn() ? NEVER : get(key)) }),
      /reading a key from the database/,
    ],
    [
      "in listing keys for a client",
      ({ entries }, isOn) => ({
        entries: (from, to) =>
          isOn() ? { [Symbol.asyncIterator]: () => ({ next: () => NEVER }) } : entries(from, to),
      }),
      /listing keys in the database/,
    ],
    [
      "in writing a batch",
      ({ batch }, isOn) => ({ batch: (...args) => (isOn() ? NEVER : batch(...args)) }),
      /flushing entry \d+/,
    ],
  ])("%s stops its node, with an error that names the call (Z15)", async (what, changes, call) => {
    let isOn = false;
    const { raft, store } = await leaderOn(databaseWith((database) => changes(database, () => isOn)));
    await raft.write(put);
    isOn = true;
    const hung = what.includes("reading")
      ? raft.read(() => store.get(bytes("a")))
      : what.includes("listing")
        ? raft.read(() => store.list({ limit: 1 }))
        : raft.write(put);
    hung.catch(() => undefined);
    const error = await stopped(raft);
    expect(error).toMatchObject({ code: "STATE_MACHINE_FAILED" });
    expect(error?.message).toMatch(call);
    await expect(hung).rejects.toMatchObject({ code: "STATE_MACHINE_FAILED" });
  });

  it("is told from one that is restored or opened in many steps, each of which is progress", async () => {
    let steps = 0;
    const host: StateMachineHost = { progress: () => (steps += 1), watch: (_what, call) => call() };
    const directory = path.join(temporaryDirectory(), "state");
    const source = new KvStateMachine(() => databaseWith(() => ({})));
    await source.open();
    onTestFinished(() => source.close());
    for (let index = 1; index <= 40; index++) {
      await source.apply({ ...put, key: bytes(String(index)) }, { term: 1, index });
      await source.flush({ term: 1, index });
    }
    const target = new KvStateMachine(() => openDatabase(directory), { restoreBatchKeys: 4 });
    await target.open(undefined, host);
    steps = 0;
    await target.restore(source.snapshot(), { term: 1, index: 40 });
    // The batches of the entries.
    expect(steps).toBeGreaterThanOrEqual(10);
    steps = 0;
    await target.restore(source.snapshot(), { term: 1, index: 41 });
    // And those in which the former state is removed.
    expect(steps).toBeGreaterThanOrEqual(20);
    await target.close();
    const again = new KvStateMachine(() => openDatabase(directory));
    steps = 0;
    await again.open(undefined, host);
    onTestFinished(() => again.close());
    // What was restored is read in full.
    expect(steps).toBeGreaterThanOrEqual(40);
  });
});
