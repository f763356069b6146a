import {
  StateMachineFailure,
  type LogPosition,
  type OpenedState,
  type SessionChanges,
  type SessionRecords,
  type StateMachine,
} from "keelson";
import { commandCodec, type Condition, type KvCommand, type KvResult } from "./commands.ts";
import { DatabaseOpenError, REBUILT, type Database, type DatabaseOperation } from "./database.ts";
import { decodeState, encodeState } from "./state-snapshot.ts";

/** A value with the version of its key: the index of the log entry that put it. */
export interface Versioned {
  readonly value: Uint8Array;
  readonly version: number;
}

/** A key in a listing. */
export interface ListedKey {
  readonly key: Uint8Array;
  readonly version: number;
  /** Of the value. */
  readonly bytes: number;
}

export interface ListOptions {
  /** Only keys that begin with these bytes. Default: all. */
  readonly prefix?: Uint8Array;
  /** Only keys after this one. Default: from the beginning. */
  readonly after?: Uint8Array;
  /** At most this many keys. */
  readonly limit: number;
}

export interface Listing {
  readonly keys: readonly ListedKey[];
  /** Whether there are more after the last. */
  readonly more: boolean;
}

// The keys of the database. Everything is under one of four first bytes, so that going through the
// first gives the whole state, in the order of the keys' bytes:
//   "d" key      u64 version, then the value
//   "m"          the meta record (below)
//   "s" name     a record of the sessions, as the library gave it
//   "r" u16 slot u64 number of the batch that wrote it: the ring (see `#checkRing`)
const DATA = 0x64;
const META_KEY = Uint8Array.of(0x6d);
const RING = 0x72;
const SESSION = 0x73;

// The meta record: u8 format, then u64 each: term and index of the last applied entry, applied puts
// and deletes, batches written. While a snapshot is restored it is one byte, which says so.
const META_FORMAT = 1;
const META_RESTORING = Uint8Array.of(0xff);
const META_BYTES = 33;
const VERSION_BYTES = 8;

const BATCHES_PER_SYNC = 256;
const RING_BATCHES = 4096;
/** What is written, or removed, at once while a snapshot is restored. */
const RESTORE_BATCH_BYTES = 1024 * 1024;
const RESTORE_BATCH_KEYS = 4096;
/** As many as the slot's two bytes can tell apart. */
const RING_SLOTS = 65_536;

/** How the state is kept; the defaults do, but for tests that want to see the rare soon. */
export interface KvStateMachineOptions {
  /** Batches between two that are synced. It bounds what a power cut makes us apply again. Default 256. */
  readonly batchesPerSync?: number;
  /** Batches that the ring remembers: at least twice those that may not be durable yet. Default 4096, at most 65,536. It must not grow over a state that is there. */
  readonly ringBatches?: number;
}

interface Meta {
  readonly applied: LogPosition;
  readonly count: number;
  readonly batches: number;
}

const NOTHING: Meta = { applied: { term: 0, index: 0 }, count: 0, batches: 0 };

/** What a batch under way will write: null: the key is deleted. */
type Overlay = Map<string, { readonly key: Uint8Array; readonly entry: Versioned | null }>;

/**
 * The replicated map from keys to values, on disk.
 *
 * The commands of one batch work on an overlay in memory; `flush` writes their effects together with
 * the last applied position in one atomic batch, so each entry takes effect exactly once, whenever
 * the process dies.
 *
 * Most batches are not synced. Nothing is lost by that: after a power cut the state is that of an
 * earlier position, which it names itself; the log, which is synced, has the entries after it, or
 * the snapshot that took their place, which is a file of its own and synced too.
 */
export class KvStateMachine implements StateMachine<KvCommand, KvResult> {
  readonly codec = commandCodec;
  readonly #openDatabase: () => Promise<Database>;
  readonly #batchesPerSync: number;
  readonly #ringBatches: number;
  #database: Database | null = null;
  #written: Meta = NOTHING;
  #count = 0;
  #overlay: Overlay = new Map();
  #flushing = false;
  #failure: StateMachineFailure | null = null;

  constructor(
    openDatabase: () => Promise<Database>,
    { batchesPerSync = BATCHES_PER_SYNC, ringBatches = RING_BATCHES }: KvStateMachineOptions = {},
  ) {
    if (!(ringBatches >= 2 * batchesPerSync && ringBatches <= RING_SLOTS)) {
      throw new RangeError(
        `a ring of ${ringBatches} batches does not do: with one sync in ${batchesPerSync} it must have ${2 * batchesPerSync} to ${RING_SLOTS}`,
      );
    }
    this.#openDatabase = openDatabase;
    this.#batchesPerSync = batchesPerSync;
    this.#ringBatches = ringBatches;
  }

  async open(): Promise<OpenedState> {
    const database = await this.#openDatabase();
    const sessions = new Map<string, Uint8Array>();
    try {
      const meta = await database.get(META_KEY);
      if (meta !== undefined && Buffer.compare(meta, META_RESTORING) === 0) {
        await this.#clear(database, [{ type: "del", key: META_KEY }]);
      } else if (meta !== undefined) {
        this.#written = decodeMeta(meta);
      }
      await this.#checkRing(database);
      const records = database.entries(Uint8Array.of(SESSION), Uint8Array.of(SESSION + 1));
      for await (const [key, value] of records) sessions.set(textOf(key.subarray(1)), value);
    } catch (error) {
      await database.close();
      throw error;
    }
    this.#database = database;
    this.#count = this.#written.count;
    return { ...this.#written.applied, sessions };
  }

  /** Puts and deletes applied so far: the next is "appended at" this number. */
  get count(): number {
    return this.#count;
  }

  apply(command: KvCommand, at: LogPosition): KvResult | Promise<KvResult> {
    this.#check();
    const overlaid = this.#overlay.get(textOf(command.key))?.entry;
    // Most puts need not know what was there before: they never touch the disk here.
    if (command.type === "put" && command.condition === null) {
      return this.#applyTo(overlaid, command, at);
    }
    if (overlaid !== undefined) return this.#applyTo(overlaid, command, at);
    return this.#read(command.key).then((entry) => this.#applyTo(entry, command, at));
  }

  async flush(applied: LogPosition, sessions: SessionChanges = NO_CHANGES): Promise<void> {
    this.#check();
    const batches = this.#written.batches + 1;
    const meta: Meta = { applied, count: this.#count, batches };
    const operations: DatabaseOperation[] = [];
    for (const { key, entry } of this.#overlay.values()) {
      operations.push(
        entry === null
          ? { type: "del", key: dataKey(key) }
          : { type: "put", key: dataKey(key), value: encodeVersioned(entry) },
      );
    }
    for (const [name, value] of sessions) {
      const key = sessionKey(name);
      operations.push(value === null ? { type: "del", key } : { type: "put", key, value });
    }
    operations.push(
      { type: "put", key: ringKey(batches % this.#ringBatches), value: encodeNumbers(batches) },
      { type: "put", key: META_KEY, value: encodeMeta(meta) },
    );
    this.#flushing = true;
    try {
      await this.#opened().batch(operations, { sync: batches % this.#batchesPerSync === 0 });
    } catch (cause) {
      throw this.#fail("cannot write to the database", cause);
    } finally {
      this.#flushing = false;
    }
    this.#written = meta;
    this.#overlay.clear();
  }

  /** As of the last flush: what is written meanwhile is not in it. */
  snapshot(): AsyncIterable<Uint8Array> {
    this.#check();
    return encodeState(this.#count, this.#opened().entries(Uint8Array.of(DATA), Uint8Array.of(DATA + 1)));
  }

  /**
   * Until the last batch is written, the meta record says that the state is not whole: a crash before that leaves a
   * state that `open` empties.
   */
  async restore(
    state: AsyncIterable<Uint8Array>,
    at: LogPosition,
    sessions: SessionRecords = NO_RECORDS,
  ): Promise<void> {
    this.#check();
    const database = this.#opened();
    const { count, entries } = await decodeState(state);
    this.#flushing = true;
    try {
      await database.batch([{ type: "put", key: META_KEY, value: META_RESTORING }], { sync: true });
      await this.#clear(database, []);
      let operations: DatabaseOperation[] = [];
      let bytes = 0;
      for await (const [key, value] of entries) {
        if (key[0] !== DATA) throw new Error("the snapshot holds what is no key with a value");
        operations.push({ type: "put", key, value });
        bytes += key.length + value.length;
        if (bytes < RESTORE_BATCH_BYTES && operations.length < RESTORE_BATCH_KEYS) continue;
        await database.batch(operations, { sync: false });
        operations = [];
        bytes = 0;
      }
      for (const [name, value] of sessions) operations.push({ type: "put", key: sessionKey(name), value });
      const meta: Meta = { applied: at, count, batches: 0 };
      operations.push({ type: "put", key: META_KEY, value: encodeMeta(meta) });
      // With this one, all before it are durable too.
      await database.batch(operations, { sync: true });
      this.#written = meta;
      this.#count = count;
    } catch (cause) {
      throw this.#fail("cannot restore a snapshot into the database", cause);
    } finally {
      this.#flushing = false;
    }
  }

  /** Removes everything but the meta record, then does `last`, durably. */
  async #clear(database: Database, last: readonly DatabaseOperation[]): Promise<void> {
    let operations: DatabaseOperation[] = [];
    for await (const [key] of database.entries(Uint8Array.of(0), Uint8Array.of(0xff))) {
      if (Buffer.compare(key, META_KEY) === 0) continue;
      operations.push({ type: "del", key });
      if (operations.length < RESTORE_BATCH_KEYS) continue;
      await database.batch(operations, { sync: false });
      operations = [];
    }
    await database.batch([...operations, ...last], { sync: true });
  }

  async close(): Promise<void> {
    const database = this.#database;
    this.#database = null;
    await database?.close();
  }

  /** As of the last flush. null: the key has no value. */
  async get(key: Uint8Array): Promise<Versioned | null> {
    return this.#read(key);
  }

  /** Keys in the order of their bytes, as of the last flush. */
  async list({ prefix = EMPTY, after, limit }: ListOptions): Promise<Listing> {
    const from = dataKey(prefix);
    const next = after === undefined ? from : dataKey(Buffer.concat([after, Uint8Array.of(0)]));
    const keys: ListedKey[] = [];
    const range = [Buffer.compare(next, from) > 0 ? next : from, endOfPrefix(from)] as const;
    for await (const [key, value] of this.#opened().entries(...range)) {
      if (keys.length === limit) return { keys, more: true };
      const { version } = decodeVersioned(value);
      keys.push({ key: key.subarray(1), version, bytes: value.length - VERSION_BYTES });
    }
    return { keys, more: false };
  }

  #applyTo(before: Versioned | null | undefined, command: KvCommand, at: LogPosition): KvResult {
    if (command.condition !== null && !holds(command.condition, before ?? null)) {
      return { type: "condition-failed", version: before?.version ?? null };
    }
    const { key } = command;
    const entry = command.type === "put" ? { value: command.value, version: at.index } : null;
    this.#overlay.set(textOf(key), { key, entry });
    const index = this.#count;
    // A delete of a key without a value counts too: it was applied, and found nothing to do.
    this.#count += 1;
    // Whether an unconditional put finds the key in the overlay depends on how entries fell into batches
    // here; its result is the same on every node.
    const looked = command.type === "delete" || command.condition !== null;
    const existed = looked ? (before ?? null) !== null : null;
    return { type: "applied", index, version: entry?.version ?? null, existed };
  }

  async #read(key: Uint8Array): Promise<Versioned | null> {
    let bytes: Uint8Array | undefined;
    try {
      bytes = await this.#opened().get(dataKey(key));
    } catch (cause) {
      throw new StateMachineFailure("cannot read from the database", { cause });
    }
    return bytes === undefined ? null : decodeVersioned(bytes);
  }

  /**
   * Batches that are not synced lie in the operating system's hands, which may write a later one and
   * lose an earlier one in a power cut; and LevelDB leaves out what it finds damaged without a
   * word. So each batch writes its number into a ring, and here the last ones must all be there: a
   * state with a hole is refused.
   */
  async #checkRing(database: Database): Promise<void> {
    const { batches } = this.#written;
    const found = new Set<number>();
    for await (const [, value] of database.entries(Uint8Array.of(RING), Uint8Array.of(RING + 1))) {
      found.add(decodeNumber(value, 0));
    }
    for (let batch = Math.max(1, batches - this.#ringBatches + 1); batch <= batches; batch++) {
      if (found.has(batch)) continue;
      throw new DatabaseOpenError(
        `the state on disk lacks batch ${batch} of ${batches}: part of it was lost, as in a power cut. Move the state's directory away and start again: ${REBUILT}`,
      );
    }
  }

  #check(): void {
    // After a failed write nobody knows what the database holds until it is opened again.
    if (this.#failure !== null) throw this.#failure;
    if (this.#flushing) throw new StateMachineFailure("a batch was begun before the last was written");
  }

  #opened(): Database {
    if (this.#database === null) throw new StateMachineFailure("the database is not open");
    return this.#database;
  }

  #fail(message: string, cause: unknown): StateMachineFailure {
    this.#failure = new StateMachineFailure(message, { cause });
    return this.#failure;
  }
}

const EMPTY = new Uint8Array(0);
const NO_CHANGES: SessionChanges = new Map();
const NO_RECORDS: SessionRecords = new Map();

function holds(condition: Condition, entry: Versioned | null): boolean {
  switch (condition.type) {
    case "exists":
      return entry !== null;
    case "absent":
      return entry === null;
    case "version":
      return entry !== null && condition.versions.includes(entry.version);
  }
}

/** One string for each key: the bytes as they are. */
function textOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString("latin1");
}

function dataKey(key: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(1 + key.length);
  bytes[0] = DATA;
  bytes.set(key, 1);
  return bytes;
}

function sessionKey(name: string): Uint8Array {
  return Uint8Array.from([SESSION, ...Buffer.from(name, "latin1")]);
}

function ringKey(slot: number): Uint8Array {
  return Uint8Array.of(RING, slot >> 8, slot & 0xff);
}

/** The first key after all that begin with `prefix`, which begins with a byte below 0xff. */
function endOfPrefix(prefix: Uint8Array): Uint8Array {
  let length = prefix.length;
  while (prefix[length - 1] === 0xff) length -= 1;
  const end = prefix.slice(0, length);
  end[length - 1] = (end[length - 1] ?? 0) + 1;
  return end;
}

function encodeVersioned({ value, version }: Versioned): Uint8Array {
  const bytes = Buffer.allocUnsafe(VERSION_BYTES + value.length);
  bytes.writeBigUInt64BE(BigInt(version), 0);
  bytes.set(value, VERSION_BYTES);
  return bytes;
}

function decodeVersioned(bytes: Uint8Array): Versioned {
  return { version: decodeNumber(bytes, 0), value: bytes.subarray(VERSION_BYTES) };
}

function encodeMeta({ applied, count, batches }: Meta): Uint8Array {
  return Buffer.concat([
    Uint8Array.of(META_FORMAT),
    encodeNumbers(applied.term, applied.index, count, batches),
  ]);
}

function decodeMeta(bytes: Uint8Array): Meta {
  if (bytes[0] !== META_FORMAT || bytes.length !== META_BYTES) {
    throw new DatabaseOpenError(
      `the state on disk is of format ${String(bytes[0])}; this program reads format ${META_FORMAT}. Run the version that wrote it`,
    );
  }
  const at = (place: number): number => decodeNumber(bytes, 1 + place * VERSION_BYTES);
  return { applied: { term: at(0), index: at(1) }, count: at(2), batches: at(3) };
}

function encodeNumbers(...numbers: readonly number[]): Uint8Array {
  const bytes = Buffer.allocUnsafe(numbers.length * VERSION_BYTES);
  numbers.forEach((number, at) => bytes.writeBigUInt64BE(BigInt(number), at * VERSION_BYTES));
  return bytes;
}

function decodeNumber(bytes: Uint8Array, at: number): number {
  return Number(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).readBigUInt64BE(at));
}
