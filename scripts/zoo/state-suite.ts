import { Chance, simulatedEnvironment } from "keelson/testing";
import {
  DatabaseDamagedError,
  KvStateMachine,
  ringBatchesFor,
  StateDamagedError,
  type StateRecovery,
} from "keelson-kv";

import { SimulatedFiles } from "../../packages/keelson/src/environment/simulated/simulated-files.ts";
import { LossyDatabase } from "../sim/lossy-database.ts";

/**
 * The number of runs, each with its own seed. The bug that needs the most coincidences takes some hundred.
 */
const SEEDS = 1_000;
/** How many times the process starts in one run. */
const LIVES = 6;
const STEPS_MAX = 60;
const KEYS = 5;
const DIRECTORY = "/state";
/** The first byte of the database's keys that hold values. */
const VALUES_PREFIX = 0x64;
/** Two batches in this many are synced, in one run more and in the other fewer. */
const BATCHES_PER_SYNC = [2, 4, 8];
const WRITE_BUFFER_BYTES = [300, 1_000];

type Values = ReadonlyMap<string, string>;

/**
 * Tests the key-value server's state machine alone, under power cuts and flipped bits. After each start its
 * state must equal that after the entry it names, or be empty. Finds in seconds what takes a simulated
 * cluster thousands of runs, because a cluster seldom reads the one key that is wrong. Resolves with the
 * first contradiction; null: there is none.
 */
export async function stateSuite(seeds = SEEDS): Promise<string | null> {
  for (let seed = 1; seed <= seeds; seed++) {
    const found = await run(new Chance(seed));
    if (found !== null) return `seed ${seed}: ${found}`;
  }
  return null;
}

async function run(chance: Chance): Promise<string | null> {
  const files = new SimulatedFiles();
  const batchesPerSync = chance.pick(BATCHES_PER_SYNC);
  const writeBufferBytes = chance.pick(WRITE_BUFFER_BYTES);
  /** The state after each entry of the history that led to the present state. */
  let states: Values[] = [new Map()];
  let isDamaged = false;
  /** The last entry of the newest restored state, which is durable. */
  const durable = { index: 0 };
  for (let life = 0; life < LIVES; life++) {
    let database: LossyDatabase | null = null;
    const mounted = simulatedEnvironment({ files: files.mount() }).files;
    const recovery: StateRecovery = {
      setAside: async () => {
        isDamaged = false;
        await LossyDatabase.remove(mounted, DIRECTORY);
      },
      markDamaged: () => Promise.resolve(),
      report: () => {
        // The state is rebuilt from the beginning.
        durable.index = 0;
      },
    };
    const openDatabase = async (): Promise<LossyDatabase> => {
      if (isDamaged) throw new DatabaseDamagedError("found before");
      database = await LossyDatabase.open(mounted, DIRECTORY, { writeBufferBytes });
      return database;
    };
    const machine = new KvStateMachine(openDatabase, {
      ...{ batchesPerSync, recovery, restoreBatchKeys: 1 },
      ringBatches: ringBatchesFor(writeBufferBytes, batchesPerSync),
    });
    const opened = await attempt(() => machine.open());
    if (opened instanceof Error) return `it did not open: ${opened.message}`;
    if (opened.index < durable.index) {
      return `it was restored as of entry ${durable.index}, and is as of ${opened.index}`;
    }
    states = states.slice(0, opened.index + 1);
    const spoiled =
      chance.happens(0.1) &&
      (database as LossyDatabase | null)?.spoil(VALUES_PREFIX, chance.random, () => true);
    const found = await contentsOf(machine);
    if (found instanceof StateDamagedError && spoiled === true) {
      isDamaged = true;
    } else {
      const difference = differenceIn(found, states[opened.index] ?? new Map<string, string>());
      if (difference !== null) return `after entry ${opened.index}: ${difference}`;
      const broken = await live(machine, chance, states, durable);
      if (broken !== null) return broken;
      // Of a state to which nothing was applied, the library takes no snapshot.
      if (
        states.length > 1 &&
        chance.happens(0.05) &&
        (database as LossyDatabase | null)?.hide(VALUES_PREFIX, chance.random) === true
      ) {
        // A snapshot would carry the loss to other nodes, and the log that has the key would be compacted.
        const snapshot = await attempt(() => drain(machine.snapshot()));
        if (!(snapshot instanceof StateDamagedError)) {
          return snapshot instanceof Error
            ? `a snapshot of a state that lacks a key failed for another reason: ${snapshot.message}`
            : "a snapshot was taken that lacks a key";
        }
        isDamaged = true;
      }
    }
    files.crash(chance.random);
  }
  return null;
}

/** Applies entries, and sometimes restores a snapshot, as the library does. */
async function live(
  machine: KvStateMachine,
  chance: Chance,
  states: Values[],
  durable: { index: number },
): Promise<string | null> {
  for (let steps = chance.whole(0, STEPS_MAX); steps > 0; steps--) {
    const index = states.length;
    const at = { term: 1, index };
    const values = new Map(states[index - 1]);
    const key = `k${chance.whole(1, KEYS)}`;
    if (chance.happens(0.02)) {
      // The state of another node that is some entries ahead.
      const skipped = chance.whole(1, 3);
      for (let n = 0; n < skipped; n++) states.push(values);
      for (let n = 1; n <= KEYS; n++) {
        if (chance.happens(0.5)) values.set(`k${n}`, `r${index}`.padEnd(chance.whole(8, 200), "."));
        else values.delete(`k${n}`);
      }
      states[states.length - 1] = values;
      const restored = await attempt(async () =>
        machine.restore(await snapshotOf(values), { term: 1, index: states.length - 1 }),
      );
      if (restored instanceof Error) return `it could not be restored: ${restored.message}`;
      durable.index = states.length - 1;
      continue;
    }
    const isDelete = chance.happens(0.3);
    const value = `v${index}`.padEnd(chance.whole(4, 60), ".");
    const command = { key: Buffer.from(key), condition: null };
    const applied = await attempt(async () => {
      if (isDelete) await machine.apply({ type: "delete", ...command }, at);
      else await machine.apply({ type: "put", ...command, value: Buffer.from(value) }, at);
      await machine.flush(at);
    });
    if (applied instanceof Error) return `entry ${index} could not be applied: ${applied.message}`;
    if (isDelete) values.delete(key);
    else values.set(key, value);
    states.push(values);
  }
  return null;
}

/** A snapshot with these values, taken by another state machine. */
async function snapshotOf(values: Values): Promise<AsyncIterable<Uint8Array>> {
  const { files } = simulatedEnvironment({ files: new SimulatedFiles() });
  const other = new KvStateMachine(() => LossyDatabase.open(files, DIRECTORY));
  await other.open();
  const at = { term: 1, index: 1 };
  for (const [key, value] of values)
    await other.apply({ type: "put", key: Buffer.from(key), value: Buffer.from(value), condition: null }, at);
  await other.flush(at);
  return other.snapshot();
}

async function contentsOf(machine: KvStateMachine): Promise<Values | Error> {
  return attempt(async () => {
    const values = new Map<string, string>();
    for (const { key } of (await machine.list({ limit: KEYS + 1 })).keys) {
      const found = await machine.get(key);
      values.set(Buffer.from(key).toString(), Buffer.from(found?.value ?? []).toString());
    }
    return values;
  });
}

async function drain(chunks: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const _ of chunks);
}

function differenceIn(found: Values | Error, wanted: Values): string | null {
  if (found instanceof Error) return found.message;
  for (const key of new Set([...found.keys(), ...wanted.keys()])) {
    if (found.get(key) === wanted.get(key)) continue;
    return `${key} has ${found.get(key) ?? "no value"} instead of ${wanted.get(key) ?? "none"}`;
  }
  return null;
}

async function attempt<T>(call: () => T | Promise<T>): Promise<T | Error> {
  try {
    return await call();
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
