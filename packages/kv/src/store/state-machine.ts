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
 * `ringBatches` numbers is missing. `ringBatchesFor` derives how far back a lost batch may lie.
 *
 * **Restoring** is not covered by the ring, and takes more than one of LevelDB's log files. So all of its
 * batches are synced, and a checkpoint at the end makes earlier batches durable too: an earlier deletion that
 * a power cut undid would bring its key back. The last batch records how many entries there must be and their
 * checksum, and `open` checks that until the next `flush` changes the state.
 *
 * **Damage.** Each value has a checksum, which every read verifies. The files that lead to the values are
 * verified by `openDatabase`, and before each snapshot. A mismatch fails every further call, and stops the
 * node. `open` reports a state that can't be used as an empty one, so that the library rebuilds it from the
 * log and the snapshot; if they aren't enough, the library refuses to start. Nothing is moved or deleted
 * before the library begins to write (`#replaceUnusable`).
 *
 * Keys, values and records of the database: `state-layout.ts`. Snapshots as bytes: `state-snapshot.ts`.
 */
import {
  StateMachineFailure,
  type LogPosition,
  type OpenedState,
  type SessionChanges,
  type SessionRecords,
  type StateIdentity,
  type StateMachine,
  type StateMachineHost,
} from "keelson";
import { commandCodec, type Condition, type KvCommand, type KvResult } from "./commands.ts";
import {
  DatabaseCorruption,
  DatabaseDamagedError,
  DatabaseOpenError,
  REBUILD_ADVICE,
  WRITE_BUFFER_BYTES,
  type Database,
  type DatabaseOperation,
} from "./database.ts";
import {
  addEntry,
  ALL_KEYS,
  BATCH_MEMORY_BYTES_MIN,
  byteString,
  DATA_KEYS,
  dataKey,
  decodeBatchNumber,
  decodeIdentity,
  decodePosition,
  decodeVersioned,
  encodeBatchNumber,
  encodeIdentity,
  encodePosition,
  endOfPrefix,
  IDENTITY_KEY,
  isDataKey,
  NOTHING_APPLIED,
  POSITION_KEY,
  RESTORING_RECORD,
  RING_KEYS,
  RING_SLOTS_MAX,
  ringKey,
  SESSION_KEYS,
  sessionKey,
  StateDamagedError,
  verified,
  storedEntry,
  withChecksum,
  withoutPrefix,
  type EntriesSum,
  type PositionRecord,
  type Versioned,
} from "./state-layout.ts";
import { decodeState, encodeState, type StateEntry } from "./state-snapshot.ts";

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
  readonly prefix?: Uint8Array | undefined;
  /** Only keys after this one. Default: from the first key on. */
  readonly after?: Uint8Array | undefined;
  /** The most keys to return. */
  readonly limit: number;
}

/** One page of keys. */
export interface Listing {
  readonly keys: readonly ListedKey[];
  /** Whether more keys follow the last one here. */
  readonly more: boolean;
}

/** What to do with a state that can't be used. */
export interface StateRecovery {
  /** Moves the closed database away, so that the next `openDatabase` creates an empty one. */
  setAside(reason: string): Promise<void>;
  /** Makes the next `openDatabase` throw `DatabaseDamagedError`. Called after the database is closed. */
  markDamaged(reason: string): Promise<void>;
  /** Tells the operator that a state is rebuilt, and why. */
  report(text: string): void;
}

/** How the state is kept. Sizes are meant for tests, which use small values to reach rare states soon. */
export interface KvStateMachineOptions {
  /**
   * One batch in this many is synced. It bounds how many batches a power cut can take back, that is, how much
   * the library applies again afterwards. Default 256.
   */
  readonly batchesPerSync?: number | undefined;
  /**
   * Batch numbers that the ring remembers, up to 65,536; at least `ringBatchesFor` of the write buffer. It
   * must not grow for a state that exists: the larger ring would lack the numbers of earlier batches, and
   * `open` would refuse the state. Default: that for `openDatabase`.
   */
  readonly ringBatches?: number | undefined;
  /** The most keys in one batch of `restore`. Default 2048. */
  readonly restoreBatchKeys?: number | undefined;
  /** Absent: `open` refuses a state that can't be used. */
  readonly recovery?: StateRecovery | undefined;
}

const BATCHES_PER_SYNC_DEFAULT = 256;

/** LevelDB's memory grows by blocks of this size, so a memtable may be larger than the limit by one. */
const MEMTABLE_BLOCK_BYTES = 4096;

/**
 * How many of the last batches must be checked after a power cut, for a database that begins a new memtable,
 * and a new log file with it, when the present one exceeds `writeBufferBytes`.
 *
 * LevelDB (`db/db_impl.cc`, `MakeRoomForWrite`) holds at most two memtables: the one being filled, and the
 * one before it until that is in a synced table. A batch with `sync` syncs the newest log file, up to its
 * end. So these batches can be lost, each by itself:
 *
 * - of the older log file, those after the last sync: fewer than `batchesPerSync`;
 * - of the newest log file, also those after the last sync: fewer than `batchesPerSync`.
 *
 * Between these two groups lie at most the batches that fit into one memtable. So the oldest batch that can
 * be lost is one of the last `batchesPerSync + batches of a memtable + 1` (the last batch may exceed the
 * limit): with the defaults, 256 + 4 MiB / 114 B, about 37,100. As a margin, more are checked.
 */
export function ringBatchesFor(writeBufferBytes: number, batchesPerSync: number): number {
  const inMemtable = Math.ceil((writeBufferBytes + MEMTABLE_BLOCK_BYTES) / BATCH_MEMORY_BYTES_MIN) + 1;
  return inMemtable + 2 * batchesPerSync;
}

/**
 * Limits of one batch of `restore` or `#clear`: of its memory, and of how long it keeps the event loop busy.
 */
const RESTORE_BATCH_BYTES = 1024 * 1024;
const RESTORE_BATCH_KEYS_DEFAULT = 2048;

/** Effects of the entries applied since the last flush, by key. `entry` null: the key is deleted. */
type Overlay = Map<string, { readonly key: Uint8Array; readonly entry: Versioned | null }>;

/** The state machine of the key-value server. The library calls it; the servers call `get` and `list`. */
export class KvStateMachine implements StateMachine<KvCommand, KvResult> {
  readonly codec: typeof commandCodec = commandCodec;
  readonly #openDatabase: (progress: () => void) => Promise<Database>;
  readonly #batchesPerSync: number;
  readonly #ringBatches: number;
  readonly #restoreBatchKeys: number;
  readonly #recovery: StateRecovery | null;
  /**
   * The node, which watches whether the database answers. Set by `open`; without a node nothing is watched.
   */
  #host: StateMachineHost = NO_HOST;
  /** null before `open` and after `close`. */
  #database: Database | null = null;
  /** The position record in the database. Set by `open`, `flush` and `restore`, after the write. */
  #written: PositionRecord = NOTHING_APPLIED;
  /** The identity to write with the next batch. null: it is in the database, or not known. Set by `open`. */
  #identityToWrite: StateIdentity | null = null;
  /** This node's identity. null: not known. Set by `open`. */
  #identity: StateIdentity | null = null;
  /**
   * Why the state that `open` found can't be used. It then counts as empty, `#database` is null, and the
   * first write sets it aside and clears this. null: it can be used.
   */
  #unusable: DatabaseDamagedError | null = null;
  /** Puts and deletes applied, the overlay's included; so never below `#written.count`. Set by `apply`. */
  #count = 0;
  /** Filled by `apply`, written and emptied by `flush`. */
  #overlay: Overlay = new Map();
  /** True while `flush` or `restore` writes. Only `get` and `list` may be called meanwhile. */
  #isWriting = false;
  /**
   * A failed write, or found damage. Every later call throws it; `get` and `list` throw it only for damage.
   */
  #failure: StateMachineFailure | null = null;

  constructor(
    openDatabase: (progress: () => void) => Promise<Database>,
    {
      batchesPerSync = BATCHES_PER_SYNC_DEFAULT,
      ringBatches = ringBatchesFor(WRITE_BUFFER_BYTES, batchesPerSync),
      restoreBatchKeys = RESTORE_BATCH_KEYS_DEFAULT,
      recovery,
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
    this.#restoreBatchKeys = restoreBatchKeys;
    this.#recovery = recovery ?? null;
  }

  /**
   * `identity` and `host`: absent if a command looks at a state without running its node.
   *
   * @throws DatabaseOpenError the state is in use, of another node, of a later format, or can't be opened; or
   *   it is damaged, and there is no `recovery`
   */
  async open(identity?: StateIdentity, host: StateMachineHost = NO_HOST): Promise<OpenedState> {
    this.#host = host;
    this.#identity = identity ?? null;
    this.#identityToWrite = this.#identity;
    try {
      return await this.#open();
    } catch (error) {
      if (!(error instanceof DatabaseDamagedError)) throw error;
      if (this.#recovery === null) {
        const advice = `Move the state's directory away and start again: ${REBUILD_ADVICE}`;
        throw new DatabaseDamagedError(`${error.message}. ${advice}`, { cause: error });
      }
      this.#unusable = error;
      this.#written = NOTHING_APPLIED;
      // The new database will need the identity, even if the damaged one had the right one already.
      this.#identityToWrite = this.#identity;
      this.#recovery.report(
        `the state can't be used, and is rebuilt from the log and the snapshot: ${error.message}`,
      );
      return { ...NOTHING_APPLIED.applied, sessions: NO_RECORDS };
    }
  }

  async #open(): Promise<OpenedState> {
    const database = await this.#openDatabase(() => {
      this.#host.progress();
    });
    const sessions = new Map<string, Uint8Array>();
    try {
      const record = await database.get(POSITION_KEY);
      if (record !== undefined && Buffer.compare(record, RESTORING_RECORD) === 0) {
        // A crash interrupted `restore`: empty the state, and the library restores it again.
        await this.#clear(database, [{ type: "del", key: POSITION_KEY }]);
      } else if (record !== undefined) {
        this.#written = decodePosition(record);
        await this.#checkIdentity(database);
      } else {
        await checkEmpty(database);
      }
      await this.#checkRing(database);
      await checkRestored(database, this.#written, this.#host);
      for await (const [key, value] of database.entries(...SESSION_KEYS)) {
        this.#host.progress();
        sessions.set(byteString(withoutPrefix(key)), verified(key, value));
      }
    } catch (error) {
      await database.close();
      if (error instanceof DatabaseCorruption || error instanceof StateDamagedError)
        throw new DatabaseDamagedError(error.message, { cause: error });
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
    const record: PositionRecord = { applied, count: this.#count, batches, restored: null };
    const operations = this.#operationsFor(record, sessions);
    this.#isWriting = true;
    try {
      if (this.#unusable !== null) await this.#replaceUnusable(this.#unusable);
      await this.#opened().batch(operations, { sync: batches % this.#batchesPerSync === 0 });
    } catch (cause) {
      throw this.#fail("cannot write to the database", cause);
    } finally {
      this.#isWriting = false;
    }
    this.#written = record;
    this.#identityToWrite = null;
    this.#overlay.clear();
  }

  /** The state as of the last flush: later writes aren't in it. */
  snapshot(): AsyncIterable<Uint8Array> {
    this.#checkUsable();
    const database = this.#opened();
    return encodeState(
      this.#count,
      this.#verified(database.entries(...DATA_KEYS), () =>
        database.verify?.(() => {
          this.#host.progress();
        }),
      ),
    );
  }

  /**
   * Replaces the state in many batches, which a crash may interrupt. Until the last one is written, the
   * position record says that the state isn't whole; `open` empties such a state. Resolves when durable.
   */
  async restore(
    state: AsyncIterable<Uint8Array>,
    at: LogPosition,
    sessions: SessionRecords = NO_RECORDS,
  ): Promise<void> {
    this.#checkUsable();
    const { count, entries } = await decodeState(state);
    this.#isWriting = true;
    try {
      if (this.#unusable !== null) await this.#replaceUnusable(this.#unusable);
      const database = this.#opened();
      await database.batch([{ type: "put", key: POSITION_KEY, value: RESTORING_RECORD }], { sync: true });
      await this.#clear(database, []);
      const restored = await this.#restoreEntries(database, entries);
      await this.#restoreSessions(database, sessions);
      const operations: DatabaseOperation[] = [];
      if (this.#identity !== null) operations.push(identityPut(this.#identity));
      const record: PositionRecord = { applied: at, count, batches: 0, restored };
      operations.push({ type: "put", key: POSITION_KEY, value: encodePosition(record) });
      await database.batch(operations, { sync: true });
      this.#host.progress();
      await database.checkpoint?.();
      this.#written = record;
      this.#identityToWrite = null;
      this.#count = count;
    } catch (cause) {
      throw this.#fail("cannot restore a snapshot into the database", cause);
    } finally {
      this.#isWriting = false;
    }
  }

  /** Writes the entries. Resolves with their number and checksum, which `open` compares later. */
  async #restoreEntries(database: Database, entries: AsyncIterable<StateEntry>): Promise<EntriesSum> {
    const batches = this.#restoreBatches(database);
    let restored: EntriesSum = NO_ENTRIES;
    let last: Uint8Array = EMPTY;
    for await (const [key, entry] of entries) {
      if (!isDataKey(key)) throw new Error("the snapshot holds what is no key with a value");
      if (Buffer.compare(key, last) <= 0) throw new Error("the keys in the snapshot are out of order");
      last = key;
      decodeVersioned(entry);
      const value = withChecksum(key, entry);
      restored = addEntry(restored, key, value);
      await batches.add({ type: "put", key, value });
    }
    await batches.finish();
    return restored;
  }

  /** Writes the session records, in batches too: there may be a hundred thousand of them. */
  async #restoreSessions(database: Database, sessions: SessionRecords): Promise<void> {
    const batches = this.#restoreBatches(database);
    for (const [name, value] of sessions) await batches.add(sessionPut(name, value));
    await batches.finish();
  }

  #restoreBatches(database: Database): SyncedBatches {
    return new SyncedBatches(database, this.#restoreBatchKeys, () => {
      this.#host.progress();
    });
  }

  async close(): Promise<void> {
    const database = this.#database;
    this.#database = null;
    await database?.close();
    if (database !== null && this.#failure instanceof StateDamagedError) {
      await this.#recovery?.markDamaged(this.#failure.message);
    }
  }

  /** The value as of the last flush. null: the key has no value. */
  async get(key: Uint8Array): Promise<Versioned | null> {
    return this.#host.watch("reading a key from the database", () => this.#read(key));
  }

  /** Keys in byte order, as of the last flush. */
  async list(options: ListOptions): Promise<Listing> {
    return this.#host.watch("listing keys in the database", () => this.#list(options));
  }

  async #list({ prefix = EMPTY, after, limit }: ListOptions): Promise<Listing> {
    const from = dataKey(prefix);
    // The smallest key after `after` is `after` with a zero byte appended.
    const next = after === undefined ? from : dataKey(Buffer.concat([after, Uint8Array.of(0)]));
    const keys: ListedKey[] = [];
    if (this.#unusable !== null) return { keys, more: false };
    const range = [Buffer.compare(next, from) > 0 ? next : from, endOfPrefix(from)] as const;
    for await (const [key, bytes] of this.#verified(this.#opened().entries(...range))) {
      if (keys.length === limit) return { keys, more: true };
      const { version, value } = decodeVersioned(bytes);
      keys.push({ key: withoutPrefix(key), version, bytes: value.length });
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
      const stored = dataKey(key);
      operations.push(
        entry === null
          ? { type: "del", key: stored }
          : { type: "put", key: stored, value: storedEntry(stored, entry) },
      );
    }
    for (const [name, value] of sessions) {
      operations.push(value === null ? { type: "del", key: sessionKey(name) } : sessionPut(name, value));
    }
    if (this.#identityToWrite !== null) operations.push(identityPut(this.#identityToWrite));
    const { batches } = record;
    operations.push(
      { type: "put", key: ringKey(batches % this.#ringBatches), value: encodeBatchNumber(batches) },
      { type: "put", key: POSITION_KEY, value: encodePosition(record) },
    );
    return operations;
  }

  async #read(key: Uint8Array): Promise<Versioned | null> {
    if (this.#failure instanceof StateDamagedError) throw this.#failure;
    if (this.#unusable !== null) return null;
    const stored = dataKey(key);
    try {
      const bytes = await this.#opened().get(stored);
      return bytes === undefined ? null : decodeVersioned(verified(stored, bytes));
    } catch (error) {
      throw this.#readFailure(error);
    }
  }

  /** Yields the entries, verified and without their checksums. `before`: awaited before the first one. */
  async *#verified(
    entries: AsyncIterable<StateEntry>,
    before: () => Promise<void> | undefined = () => undefined,
  ): AsyncGenerator<StateEntry, void, undefined> {
    if (this.#failure instanceof StateDamagedError) throw this.#failure;
    try {
      await before();
      for await (const [key, value] of entries) yield [key, verified(key, value)];
    } catch (error) {
      throw this.#readFailure(error);
    }
  }

  /** The error to throw after a failed read. Damage is kept, so that every later call fails too. */
  #readFailure(error: unknown): StateMachineFailure {
    if (error instanceof DatabaseCorruption) {
      this.#failure = new StateDamagedError(error.message, { cause: error });
      return this.#failure;
    }
    if (error instanceof StateDamagedError) this.#failure = error;
    if (error instanceof StateMachineFailure) return error;
    return new StateMachineFailure(`cannot read from the database: ${reasonOf(error)}`, { cause: error });
  }

  /** Called when the library begins to rebuild the state: moves the unusable one away, opens an empty one. */
  async #replaceUnusable({ message }: DatabaseDamagedError): Promise<void> {
    await this.#recovery?.setAside(message);
    this.#host.progress();
    this.#database = await this.#openDatabase(() => {
      this.#host.progress();
    });
    this.#unusable = null;
  }

  /** Removes everything except the position record, then carries out `last`. Durable when it resolves. */
  async #clear(database: Database, last: readonly DatabaseOperation[]): Promise<void> {
    let operations: DatabaseOperation[] = [];
    for await (const [key] of database.entries(...ALL_KEYS)) {
      if (Buffer.compare(key, POSITION_KEY) === 0) continue;
      operations.push({ type: "del", key });
      if (operations.length < this.#restoreBatchKeys) continue;
      await database.batch(operations, { sync: true });
      // Removing a large state takes long: report progress, so that the node doesn't take it for a hang.
      this.#host.progress();
      operations = [];
    }
    await database.batch([...operations, ...last], { sync: true });
  }

  /** Refuses the state of another log: even if its position is one of this log too, its contents aren't. */
  async #checkIdentity(database: Database): Promise<void> {
    const bytes = await database.get(IDENTITY_KEY);
    if (bytes === undefined || this.#identity === null) return;
    const found = decodeIdentity(bytes);
    if (found.storeId !== this.#identity.storeId) {
      throw new DatabaseOpenError(
        `the state belongs to ${describe(found)}, and the log beside it to ${describe(this.#identity)}: they do not belong together. If the log is the right one, move the state's directory away and start again: ${REBUILD_ADVICE}. If it is not, start the node with the directories of one node`,
      );
    }
    if (found.clusterId === this.#identity.clusterId) this.#identityToWrite = null;
  }

  /** Refuses a state that lost a batch. See "The ring" at the top of this file. */
  async #checkRing(database: Database): Promise<void> {
    const found = new Set<number>();
    for await (const [, value] of database.entries(...RING_KEYS)) {
      this.#host.progress();
      found.add(decodeBatchNumber(value));
    }
    const lost = lostBatch(found, this.#written.batches, this.#ringBatches);
    if (lost !== null) throw new DatabaseDamagedError(lost);
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
    const text = `${message}: ${reasonOf(cause)}`;
    const isDamage = cause instanceof DatabaseCorruption;
    this.#failure = isDamage
      ? new StateDamagedError(text, { cause })
      : new StateMachineFailure(text, { cause });
    return this.#failure;
  }
}

/** Refuses a state that has entries but no position record: nobody knows which log entries it contains. */
async function checkEmpty(database: Database): Promise<void> {
  for await (const [key] of database.entries(...ALL_KEYS)) {
    if (Buffer.compare(key, POSITION_KEY) !== 0)
      throw new DatabaseDamagedError("the state on disk has entries, and no position record");
  }
}

/** Says which of the last `ringBatches` batches the ring lacks. null: none. `found`: the ring's numbers. */
export function lostBatch(
  found: ReadonlySet<number>,
  batches: number,
  ringBatches: number = ringBatchesFor(WRITE_BUFFER_BYTES, BATCHES_PER_SYNC_DEFAULT),
): string | null {
  for (let batch = Math.max(1, batches - ringBatches + 1); batch <= batches; batch++) {
    if (found.has(batch)) continue;
    return `the state on disk lacks batch ${batch} of ${batches}: part of it was lost, as in a power cut`;
  }
  return null;
}

/** Writes many operations in batches of limited size, each of them synced. */
class SyncedBatches {
  readonly #database: Database;
  readonly #keysMax: number;
  #operations: DatabaseOperation[] = [];
  /** Of the keys and values in `#operations`. */
  #bytes = 0;
  /** Called after each batch. */
  readonly #progress: () => void;

  constructor(database: Database, keysMax: number, progress: () => void) {
    this.#database = database;
    this.#keysMax = keysMax;
    this.#progress = progress;
  }

  /** Adds an operation. Returns a promise only if it writes a batch: most calls have nothing to wait for. */
  add(operation: DatabaseOperation): Promise<void> | undefined {
    this.#operations.push(operation);
    this.#bytes += operation.key.length + (operation.type === "put" ? operation.value.length : 0);
    const isFull = this.#bytes >= RESTORE_BATCH_BYTES || this.#operations.length >= this.#keysMax;
    return isFull ? this.finish() : undefined;
  }

  /** Writes what is left. */
  async finish(): Promise<void> {
    if (this.#operations.length === 0) return;
    await this.#database.batch(this.#operations, { sync: true });
    this.#operations = [];
    this.#bytes = 0;
    this.#progress();
  }
}

/** Refuses a state that isn't what `restore` left, if nothing was written since. */
async function checkRestored(
  database: Database,
  { restored }: PositionRecord,
  host: StateMachineHost,
): Promise<void> {
  if (restored === null) return;
  let found = NO_ENTRIES;
  for await (const [key, value] of database.entries(...DATA_KEYS)) {
    // Report progress: the whole state is read here, however large it is.
    host.progress();
    found = addEntry(found, key, value);
  }
  if (found.keys === restored.keys && found.checksum === restored.checksum) return;
  throw new DatabaseDamagedError(
    `the state was restored from a snapshot with ${restored.keys} keys, and holds ${found.keys}${found.keys === restored.keys ? " that differ from them" : ""}: part of it was lost, as in a power cut`,
  );
}

const NO_HOST: StateMachineHost = { progress: () => undefined, watch: (_what, call) => call() };
const EMPTY = new Uint8Array(0);
const NO_ENTRIES: EntriesSum = { keys: 0, checksum: 0 };
const NO_CHANGES: SessionChanges = new Map();
const NO_RECORDS: SessionRecords = new Map();

function sessionPut(name: string, record: Uint8Array): DatabaseOperation {
  const key = sessionKey(name);
  return { type: "put", key, value: withChecksum(key, record) };
}

function identityPut(identity: StateIdentity): DatabaseOperation {
  return { type: "put", key: IDENTITY_KEY, value: encodeIdentity(identity) };
}

function describe({ nodeId, clusterId, storeId }: StateIdentity): string {
  return `node ${nodeId} of ${clusterId === null ? "no cluster" : `cluster ${clusterId}`} (store ${storeId})`;
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

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
