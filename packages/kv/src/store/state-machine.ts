/**
 * The replicated map from keys to values, on LevelDB.
 *
 * **Exactly once.** A crash between writing a command's effects and writing the position would make the
 * library apply the command twice, or never. So `apply` changes nothing but an overlay in memory, and `flush`
 * writes one atomic database batch with the effects of all entries applied since the last `flush`, the
 * session records that changed, the position of the last applied entry, and the batch's number in the ring.
 * After a crash, `open` returns the position in the database, and the library applies the entries after it.
 *
 * **Few syncs.** Only one batch in `batchesPerSync` is synced. A power cut may take back the batches since
 * the last sync. That loses nothing: the state is then that of an earlier position, and the synced log, or a
 * synced snapshot file, has everything after it.
 *
 * **The ring.** A power cut may also keep a later unsynced batch and lose an earlier one, and LevelDB skips
 * damaged records silently. Such a state claims a position whose effects it lacks. So each batch also writes
 * its own number into slot `number % ringBatches`, and `open` refuses a state in which one of the last
 * `ringBatches` numbers is missing.
 *
 * Keys, values and records of the database: `state-layout.ts`. Snapshots as bytes: `state-snapshot.ts`.
 */
import {
  StateMachineFailure,
  type LogPosition,
  type OpenedState,
  type SessionChanges,
  type SessionRecords,
  type StateMachine,
} from "keelson";
import { commandCodec, type Condition, type KvCommand, type KvResult } from "./commands.ts";
import { DatabaseOpenError, REBUILD_ADVICE, type Database, type DatabaseOperation } from "./database.ts";
import {
  ALL_KEYS,
  byteString,
  DATA_KEYS,
  dataKey,
  decodeBatchNumber,
  decodePosition,
  decodeVersioned,
  encodeBatchNumber,
  encodePosition,
  encodeVersioned,
  endOfPrefix,
  isDataKey,
  NOTHING_APPLIED,
  POSITION_KEY,
  RESTORING_RECORD,
  RING_KEYS,
  RING_SLOTS_MAX,
  ringKey,
  SESSION_KEYS,
  sessionKey,
  VERSION_BYTES,
  withoutPrefix,
  type PositionRecord,
  type Versioned,
} from "./state-layout.ts";
import { decodeState, encodeState } from "./state-snapshot.ts";

/** A key in a listing. */
export interface ListedKey {
  readonly key: Uint8Array;
  readonly version: number;
  /** Length of the value, in bytes. */
  readonly bytes: number;
}

/** Which keys to list. */
export interface ListOptions {
  /** Only keys that begin with these bytes. Default: all. */
  readonly prefix?: Uint8Array;
  /** Only keys after this one. Default: from the first key on. */
  readonly after?: Uint8Array;
  /** The most keys to return. */
  readonly limit: number;
}

/** One page of keys. */
export interface Listing {
  readonly keys: readonly ListedKey[];
  /** Whether more keys follow the last one here. */
  readonly more: boolean;
}

/** How the state is kept. Meant for tests, which use small values to reach rare states soon. */
export interface KvStateMachineOptions {
  /**
   * One batch in this many is synced. It bounds how many batches a power cut can take back, that is, how much
   * the library applies again afterwards. Default 256.
   */
  readonly batchesPerSync?: number;
  /**
   * Batch numbers that the ring remembers: from `2 * batchesPerSync`, so that batches before the last sync
   * are checked too, to 65,536. It must not grow for a state that exists: the numbers of earlier batches
   * would be missing from the larger ring, and `open` would refuse the state. Default 4096.
   */
  readonly ringBatches?: number;
}

const BATCHES_PER_SYNC_DEFAULT = 256;
const RING_BATCHES_DEFAULT = 4096;

/** Limits of one batch while a snapshot is restored or the state is cleared. They bound its memory. */
const RESTORE_BATCH_BYTES = 1024 * 1024;
const RESTORE_BATCH_KEYS = 4096;

/** Effects of the entries applied since the last flush, by key. `entry` null: the key is deleted. */
type Overlay = Map<string, { readonly key: Uint8Array; readonly entry: Versioned | null }>;

/** The state machine of the key-value server. The library calls it; the servers call `get` and `list`. */
export class KvStateMachine implements StateMachine<KvCommand, KvResult> {
  readonly codec = commandCodec;
  readonly #openDatabase: () => Promise<Database>;
  readonly #batchesPerSync: number;
  readonly #ringBatches: number;
  /** null before `open` and after `close`. */
  #database: Database | null = null;
  /** The position record in the database. Set by `open`, `flush` and `restore`, after the write. */
  #written: PositionRecord = NOTHING_APPLIED;
  /** Puts and deletes applied, the overlay's included; so never below `#written.count`. Set by `apply`. */
  #count = 0;
  /** Filled by `apply`, written and emptied by `flush`. */
  #overlay: Overlay = new Map();
  /** True while `flush` or `restore` writes. Only `get` and `list` may be called meanwhile. */
  #isWriting = false;
  /** The last failed write. From then on every call but `get` and `list` fails with it. */
  #failure: StateMachineFailure | null = null;

  constructor(
    openDatabase: () => Promise<Database>,
    {
      batchesPerSync = BATCHES_PER_SYNC_DEFAULT,
      ringBatches = RING_BATCHES_DEFAULT,
    }: KvStateMachineOptions = {},
  ) {
    if (!(ringBatches >= 2 * batchesPerSync && ringBatches <= RING_SLOTS_MAX)) {
      throw new RangeError(
        `a ring of ${ringBatches} batches does not do: with one sync in ${batchesPerSync} it must have ${2 * batchesPerSync} to ${RING_SLOTS_MAX}`,
      );
    }
    this.#openDatabase = openDatabase;
    this.#batchesPerSync = batchesPerSync;
    this.#ringBatches = ringBatches;
  }

  /** @throws DatabaseOpenError the state is damaged, in use, or of a later format */
  async open(): Promise<OpenedState> {
    const database = await this.#openDatabase();
    const sessions = new Map<string, Uint8Array>();
    try {
      const record = await database.get(POSITION_KEY);
      if (record !== undefined && Buffer.compare(record, RESTORING_RECORD) === 0) {
        // A crash interrupted `restore`: empty the state, and the library restores it again.
        await this.#clear(database, [{ type: "del", key: POSITION_KEY }]);
      } else if (record !== undefined) {
        this.#written = decodePosition(record);
      }
      await this.#checkRing(database);
      for await (const [key, value] of database.entries(...SESSION_KEYS)) {
        sessions.set(byteString(withoutPrefix(key)), value);
      }
    } catch (error) {
      await database.close();
      throw error;
    }
    this.#database = database;
    this.#count = this.#written.count;
    return { ...this.#written.applied, sessions };
  }

  /** Puts and deletes applied so far. The next one is "appended at" this number. */
  get count(): number {
    return this.#count;
  }

  apply(command: KvCommand, at: LogPosition): KvResult | Promise<KvResult> {
    this.#checkUsable();
    const overlaid = this.#overlay.get(byteString(command.key))?.entry;
    // An unconditional put's result doesn't depend on the old value, so it needn't read the database.
    if (command.type === "put" && command.condition === null) {
      return this.#applyTo(overlaid, command, at);
    }
    if (overlaid !== undefined) return this.#applyTo(overlaid, command, at);
    return this.#read(command.key).then((entry) => this.#applyTo(entry, command, at));
  }

  async flush(applied: LogPosition, sessions: SessionChanges = NO_CHANGES): Promise<void> {
    this.#checkUsable();
    const batches = this.#written.batches + 1;
    const record: PositionRecord = { applied, count: this.#count, batches };
    const operations = this.#operationsFor(record, sessions);
    this.#isWriting = true;
    try {
      await this.#opened().batch(operations, { sync: batches % this.#batchesPerSync === 0 });
    } catch (cause) {
      throw this.#fail("cannot write to the database", cause);
    } finally {
      this.#isWriting = false;
    }
    this.#written = record;
    this.#overlay.clear();
  }

  /** The state as of the last flush: later writes aren't in it. */
  snapshot(): AsyncIterable<Uint8Array> {
    this.#checkUsable();
    return encodeState(this.#count, this.#opened().entries(...DATA_KEYS));
  }

  /**
   * Replaces the state in many batches, which a crash may interrupt. Until the last one is written, the
   * position record says that the state isn't whole; `open` empties such a state.
   */
  async restore(
    state: AsyncIterable<Uint8Array>,
    at: LogPosition,
    sessions: SessionRecords = NO_RECORDS,
  ): Promise<void> {
    this.#checkUsable();
    const database = this.#opened();
    const { count, entries } = await decodeState(state);
    this.#isWriting = true;
    try {
      await database.batch([{ type: "put", key: POSITION_KEY, value: RESTORING_RECORD }], { sync: true });
      await this.#clear(database, []);
      let operations: DatabaseOperation[] = [];
      let bytes = 0;
      for await (const [key, value] of entries) {
        if (!isDataKey(key)) throw new Error("the snapshot holds what is no key with a value");
        operations.push({ type: "put", key, value });
        bytes += key.length + value.length;
        if (bytes < RESTORE_BATCH_BYTES && operations.length < RESTORE_BATCH_KEYS) continue;
        await database.batch(operations, { sync: false });
        operations = [];
        bytes = 0;
      }
      for (const [name, value] of sessions) operations.push({ type: "put", key: sessionKey(name), value });
      const record: PositionRecord = { applied: at, count, batches: 0 };
      operations.push({ type: "put", key: POSITION_KEY, value: encodePosition(record) });
      // This sync makes all batches before it durable too.
      await database.batch(operations, { sync: true });
      this.#written = record;
      this.#count = count;
    } catch (cause) {
      throw this.#fail("cannot restore a snapshot into the database", cause);
    } finally {
      this.#isWriting = false;
    }
  }

  async close(): Promise<void> {
    const database = this.#database;
    this.#database = null;
    await database?.close();
  }

  /** The value as of the last flush. null: the key has no value. */
  async get(key: Uint8Array): Promise<Versioned | null> {
    return this.#read(key);
  }

  /** Keys in byte order, as of the last flush. */
  async list({ prefix = EMPTY, after, limit }: ListOptions): Promise<Listing> {
    const from = dataKey(prefix);
    // The smallest key after `after` is `after` with a zero byte appended.
    const next = after === undefined ? from : dataKey(Buffer.concat([after, Uint8Array.of(0)]));
    const keys: ListedKey[] = [];
    const range = [Buffer.compare(next, from) > 0 ? next : from, endOfPrefix(from)] as const;
    for await (const [key, value] of this.#opened().entries(...range)) {
      if (keys.length === limit) return { keys, more: true };
      const { version } = decodeVersioned(value);
      keys.push({ key: withoutPrefix(key), version, bytes: value.length - VERSION_BYTES });
    }
    return { keys, more: false };
  }

  /** Applies a command to its key's present entry: null: no value; undefined: not looked up. */
  #applyTo(before: Versioned | null | undefined, command: KvCommand, at: LogPosition): KvResult {
    if (command.condition !== null && !holds(command.condition, before ?? null)) {
      return { type: "condition-failed", version: before?.version ?? null };
    }
    const { key } = command;
    const entry = command.type === "put" ? { value: command.value, version: at.index } : null;
    this.#overlay.set(byteString(key), { key, entry });
    const index = this.#count;
    // Count a delete of a key without a value too: it was applied, though it changed nothing.
    this.#count += 1;
    // `existed` must be the same on every node. An unconditional put sees the old entry only if it happens to
    // be in the overlay, which depends on how this node's batches fell; so it never says, even if it knows.
    const wasLookedUp = command.type === "delete" || command.condition !== null;
    const existed = wasLookedUp ? (before ?? null) !== null : null;
    return { type: "applied", index, version: entry?.version ?? null, existed };
  }

  /** What one flush writes: the overlay, the session records, the ring slot and the position record. */
  #operationsFor(record: PositionRecord, sessions: SessionChanges): DatabaseOperation[] {
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
    const { batches } = record;
    operations.push(
      { type: "put", key: ringKey(batches % this.#ringBatches), value: encodeBatchNumber(batches) },
      { type: "put", key: POSITION_KEY, value: encodePosition(record) },
    );
    return operations;
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

  /** Removes everything except the position record, then carries out `last`. Durable when it resolves. */
  async #clear(database: Database, last: readonly DatabaseOperation[]): Promise<void> {
    let operations: DatabaseOperation[] = [];
    for await (const [key] of database.entries(...ALL_KEYS)) {
      if (Buffer.compare(key, POSITION_KEY) === 0) continue;
      operations.push({ type: "del", key });
      if (operations.length < RESTORE_BATCH_KEYS) continue;
      await database.batch(operations, { sync: false });
      operations = [];
    }
    await database.batch([...operations, ...last], { sync: true });
  }

  /**
   * Refuses a state that lost a batch: one of the last `ringBatches` batch numbers is missing from the ring.
   * See "The ring" at the top of this file.
   */
  async #checkRing(database: Database): Promise<void> {
    const { batches } = this.#written;
    const found = new Set<number>();
    for await (const [, value] of database.entries(...RING_KEYS)) found.add(decodeBatchNumber(value));
    for (let batch = Math.max(1, batches - this.#ringBatches + 1); batch <= batches; batch++) {
      if (found.has(batch)) continue;
      throw new DatabaseOpenError(
        `the state on disk lacks batch ${batch} of ${batches}: part of it was lost, as in a power cut. Move the state's directory away and start again: ${REBUILD_ADVICE}`,
      );
    }
  }

  #checkUsable(): void {
    // After a failed write we can't tell what the database holds until it is opened again.
    if (this.#failure !== null) throw this.#failure;
    if (this.#isWriting) throw new StateMachineFailure("a batch was begun before the last was written");
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
