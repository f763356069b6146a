import type {
  LogPosition,
  OpenedState,
  SessionChanges,
  SessionRecords,
  StateIdentity,
  StateMachine,
} from "keelson";
import {
  commandCodec,
  DatabaseDamagedError,
  KvStateMachine,
  ringBatchesFor,
  type Condition,
  type KvCommand,
  type KvResult,
  type StateRecovery,
  type Versioned,
} from "keelson-kv";
import {
  Chance,
  keyValueModel,
  type CallContext,
  type KeyValueInput,
  type KeyValueOutput,
  type MachineHost,
  type Plan,
  type Subject,
  type WriteCall,
} from "keelson/testing";

import { LossyDatabase } from "./lossy-database.ts";

/**
 * Mostly far smaller than the server's, so that syncs are frequent and the ring is overwritten within a run.
 */
const BATCHES_PER_SYNC = [2, 8, 64, 256];
/** Far smaller than LevelDB's, so that a run has many log files, and a snapshot fills several of them. */
const WRITE_BUFFER_BYTES = [512, 2 * 1024, 16 * 1024];
/** So small that a snapshot takes several batches. */
const RESTORE_BATCH_KEYS = 2;
/** The first byte of the database's keys that hold values (`state-layout.ts`). */
const VALUES_PREFIX = 0x64;

/** The settings of the state machines of one run. */
interface Sizes {
  readonly batchesPerSync: number;
  readonly writeBufferBytes: number;
}

/**
 * The server's state machine as it is, on a simulated disk, on which it rebuilds a state that power cuts
 * have left incomplete.
 */
export class KvMachine implements StateMachine<KvCommand, KvResult> {
  readonly codec = commandCodec;
  readonly #host: MachineHost;
  readonly #rebuilding: () => void;
  readonly #store: KvStateMachine;
  #database: LossyDatabase | null = null;

  /** `rebuilding` is called when an unusable state is discarded. */
  constructor(host: MachineHost, { batchesPerSync, writeBufferBytes }: Sizes, rebuilding: () => void) {
    this.#host = host;
    this.#rebuilding = rebuilding;
    const recovery: StateRecovery = {
      setAside: async () => {
        this.#rebuilding();
        await LossyDatabase.remove(this.#files, this.#directory);
      },
      markDamaged: async () => {
        const file = await this.#files.open(`${this.#directory}/DAMAGED`, "create");
        await file.close();
      },
      report: (text) => {
        // A complete state must be used.
        if (this.#database?.holes === 0) throw new Error(`a state that lacks nothing was refused: ${text}`);
      },
    };
    this.#store = new KvStateMachine(() => this.#openDatabase(writeBufferBytes), {
      batchesPerSync,
      restoreBatchKeys: RESTORE_BATCH_KEYS,
      ringBatches: ringBatchesFor(writeBufferBytes, batchesPerSync),
      recovery,
    });
  }

  get store(): KvStateMachine {
    return this.#store;
  }

  open(identity: StateIdentity): Promise<OpenedState> {
    return this.#store.open(identity);
  }

  apply(command: KvCommand, at: LogPosition): KvResult | Promise<KvResult> {
    return this.#store.apply(command, at);
  }

  flush(applied: LogPosition, sessions: SessionChanges): Promise<void> {
    return this.#store.flush(applied, sessions);
  }

  snapshot(): AsyncIterable<Uint8Array> {
    return this.#store.snapshot();
  }

  restore(state: AsyncIterable<Uint8Array>, at: LogPosition, sessions: SessionRecords): Promise<void> {
    return this.#store.restore(state, at, sessions);
  }

  get(key: Uint8Array): Promise<Versioned | null> {
    return this.#store.get(key);
  }

  /** Reads the state from the database, because a state machine that is stopping no longer answers. */
  async digest(): Promise<string> {
    const entries: [string, string][] = [];
    const range = [Uint8Array.of(VALUES_PREFIX), Uint8Array.of(VALUES_PREFIX + 1)] as const;
    for await (const [key, value] of this.#database?.entries(...range) ?? []) {
      entries.push([textOf(key), Buffer.from(value).toString("base64")]);
    }
    return JSON.stringify([this.#store.count, entries]);
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  get #files(): MachineHost["environment"]["files"] {
    return this.#host.environment.files;
  }

  get #directory(): string {
    return `/${this.#host.id}-state`;
  }

  async #openDatabase(writeBufferBytes: number): Promise<LossyDatabase> {
    await this.#files.makeDirectory(this.#directory);
    if ((await this.#files.list(this.#directory)).includes("DAMAGED"))
      throw new DatabaseDamagedError("the last run found it damaged");
    const database = await LossyDatabase.open(this.#files, this.#directory, { writeBufferBytes });
    this.#database = database;
    return database;
  }
}

/** The key-value server's state machine, with puts, deletes and their conditions. */
export function kvSubject(
  plan: Plan,
  rebuilding: () => void = () => undefined,
): Subject<KvMachine, KvCommand, KvResult, KeyValueInput, KeyValueOutput> {
  const chance = new Chance(plan.seed ^ 0x6b_76);
  const sizes = {
    batchesPerSync: chance.pick(BATCHES_PER_SYNC),
    writeBufferBytes: chance.pick(WRITE_BUFFER_BYTES),
  };
  /** By key: the versions that clients have seen. */
  const versions = new Map<string, number[]>();
  const learn = (key: string, version: number | undefined): void => {
    if (version !== undefined) versions.set(key, [...(versions.get(key) ?? []), version].slice(-3));
  };
  return {
    model: keyValueModel(),
    machine: (host) => new KvMachine(host, sizes, rebuilding),
    write: (context) => writeOf(context, plan.valueBytesMax, versions.get(context.key) ?? [], learn),
    read: ({ key }) => ({
      input: { type: "get", key },
      query: async (machine) => {
        const found = await machine.get(Buffer.from(key));
        if (found === null) return { value: null };
        learn(key, found.version);
        return { value: textOf(found.value), version: found.version };
      },
    }),
    describe: (command) => JSON.stringify({ ...command, key: textOf(command.key), ...valueOf(command) }),
    nameOf: (command) => (command.type === "put" ? textOf(command.value).replace(/\.*$/, "") : null),
    digest: (machine) => machine.digest(),
  };
}

function writeOf(
  { chance, number, key }: CallContext<KvMachine>,
  valueBytesMax: number,
  versions: readonly number[],
  learn: (key: string, version: number | undefined) => void,
): WriteCall<KvCommand, KvResult, KeyValueInput, KeyValueOutput> {
  const name = `w${number}`;
  const value = name.padEnd(chance.whole(name.length, Math.max(name.length, valueBytesMax)), ".");
  const type = chance.happens(0.2) ? "delete" : "put";
  const condition = conditionOf(chance, type, versions);
  const bytes = { key: Buffer.from(key), condition };
  const command: KvCommand =
    type === "put" ? { type, ...bytes, value: Buffer.from(value) } : { type, ...bytes };
  return {
    command,
    input: inputOf(type, key, value, condition),
    output: (result) => {
      if (result.type === "condition-failed") {
        learn(key, result.version ?? undefined);
        return { applied: false };
      }
      const version = result.version ?? undefined;
      learn(key, version);
      return {
        applied: true,
        ...(version === undefined ? {} : { version }),
        ...(result.existed === null ? {} : { existed: result.existed }),
      };
    },
  };
}

/** One version that was seen on this key, or that it should have none, or nothing. */
function conditionOf(
  chance: Chance,
  type: "put" | "delete",
  versions: readonly number[],
): Exclude<Condition, { type: "exists" }> | null {
  const dice = chance.random();
  if (dice < 0.25 && versions.length > 0) return { type: "version", versions: [chance.pick(versions)] };
  if (dice < 0.35 && type === "put") return { type: "absent" };
  return null;
}

function inputOf(
  type: "put" | "delete",
  key: string,
  value: string,
  condition: Exclude<Condition, { type: "exists" }> | null,
): KeyValueInput {
  const version = condition?.type === "version" ? condition.versions[0] : undefined;
  const ifVersion = version === undefined ? {} : { ifVersion: version };
  if (type === "delete") return { type, key, ...ifVersion };
  return condition?.type === "absent"
    ? { type, key, value, ifVersion: null }
    : { type, key, value, ...ifVersion };
}

function valueOf(command: KvCommand): { readonly value?: string } {
  return command.type === "put" ? { value: textOf(command.value) } : {};
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString();
}
