import type { LogPosition, OpenedState, SessionChanges, StateIdentity, StateMachine } from "keelson";
import {
  DatabaseOpenError,
  KvStateMachine,
  commandCodec,
  type Condition,
  type KvCommand,
  type KvResult,
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

/** Mostly far fewer than the server has, so that syncs are frequent and the ring comes round within a run. */
const BATCHES_PER_SYNC = [2, 8, 64, 256];
const RING_BATCHES_MIN = 64;

const LIST_KEYS_MAX = 1_000;

/**
 * The server's state machine as it is, on a simulated disk, with somebody who does what its error tells him to
 * do: throw a state with a hole away and have it built anew from the log.
 */
export class KvMachine implements StateMachine<KvCommand, KvResult> {
  readonly codec = commandCodec;
  readonly #host: MachineHost;
  readonly #batchesPerSync: number;
  readonly #rebuilding: () => void;
  #store: KvStateMachine;
  #database: LossyDatabase | null = null;

  /** `rebuilding`: called when a state was refused and is thrown away. */
  constructor(host: MachineHost, batchesPerSync: number, rebuilding: () => void) {
    this.#host = host;
    this.#batchesPerSync = batchesPerSync;
    this.#rebuilding = rebuilding;
    this.#store = this.#newStore();
  }

  get store(): KvStateMachine {
    return this.#store;
  }

  async open(identity: StateIdentity): Promise<OpenedState> {
    try {
      return await this.#store.open(identity);
    } catch (error) {
      if (!(error instanceof DatabaseOpenError)) throw error;
      if (this.#database?.holes === 0)
        throw new Error("a state that lacks nothing was refused", { cause: error });
    }
    this.#rebuilding();
    await LossyDatabase.remove(this.#host.environment.files, this.#directory);
    this.#store = this.#newStore();
    return this.#store.open(identity);
  }

  apply(command: KvCommand, at: LogPosition): KvResult | Promise<KvResult> {
    return this.#store.apply(command, at);
  }

  flush(applied: LogPosition, sessions: SessionChanges): Promise<void> {
    return this.#store.flush(applied, sessions);
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  get #directory(): string {
    return `/${this.#host.id}-state`;
  }

  #newStore(): KvStateMachine {
    const open = async (): Promise<LossyDatabase> => {
      this.#database = await LossyDatabase.open(this.#host.environment.files, this.#directory);
      return this.#database;
    };
    const batchesPerSync = this.#batchesPerSync;
    return new KvStateMachine(open, {
      batchesPerSync,
      ringBatches: Math.max(RING_BATCHES_MIN, 2 * batchesPerSync),
    });
  }
}

/** The key-value server's state machine, with puts, deletes and their conditions. */
export function kvSubject(
  plan: Plan,
  rebuilding: () => void = () => undefined,
): Subject<KvMachine, KvCommand, KvResult, KeyValueInput, KeyValueOutput> {
  const batchesPerSync = new Chance(plan.seed ^ 0x6b_76).pick(BATCHES_PER_SYNC);
  /** By key: the versions that clients were told of. */
  const versions = new Map<string, number[]>();
  const learn = (key: string, version: number | undefined): void => {
    if (version !== undefined) versions.set(key, [...(versions.get(key) ?? []), version].slice(-3));
  };
  return {
    model: keyValueModel(),
    machine: (host) => new KvMachine(host, batchesPerSync, rebuilding),
    write: (context) => writeOf(context, plan.valueBytesMax, versions.get(context.key) ?? [], learn),
    read: ({ key }) => ({
      input: { type: "get", key },
      query: async ({ store }) => {
        const found = await store.get(Buffer.from(key));
        if (found === null) return { value: null };
        learn(key, found.version);
        return { value: textOf(found.value), version: found.version };
      },
    }),
    describe: (command) => JSON.stringify({ ...command, key: textOf(command.key), ...valueOf(command) }),
    nameOf: (command) => (command.type === "put" ? textOf(command.value).replace(/\.*$/, "") : null),
    digest: ({ store }) => digestOf(store),
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

async function digestOf(store: KvStateMachine): Promise<string> {
  const { keys } = await store.list({ limit: LIST_KEYS_MAX });
  const entries = await Promise.all(
    keys.map(async ({ key, version }) => {
      const value = (await store.get(key))?.value;
      return [textOf(key), version, value === undefined ? null : textOf(value)];
    }),
  );
  return JSON.stringify([store.count, entries]);
}

function valueOf(command: KvCommand): { readonly value?: string } {
  return command.type === "put" ? { value: textOf(command.value) } : {};
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString();
}
