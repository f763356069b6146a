/**
 * The database of the simulation: an ordered map on simulated files that promises what LevelDB does and no
 * more (`packages/kv/src/store/level-database.ts` lists it, with LevelDB's source).
 *
 * As in LevelDB, a batch goes into the newest log file and into the memtable. When the memtable is full, the
 * next write begins another of each, and closes the old log file without a sync. The older memtable is then
 * written to a table, with a sync, and the manifest says so, with a sync. LevelDB does that in the
 * background; here it happens as late as LevelDB permits, when the newer memtable is full too. So whatever is
 * unsynced in the newest two log files may be lost in a power cut, batch by batch.
 *
 * | file         | content                                                                                  |
 * | ------------ | ---------------------------------------------------------------------------------------- |
 * | `N.log`      | batches; those of the log files from the manifest's number on count                      |
 * | `N.ldb`      | the whole map, as one batch; LevelDB has many, and compacts them                         |
 * | `MANIFEST-N` | records, the last of which counts: the table, the first log file, the last batch in the table |
 * | `CURRENT`    | the manifest's name                                                                      |
 */
import { crc32 } from "node:zlib";

import type { Environment } from "keelson";
import { DatabaseCorruption, DatabaseDamagedError, type Database, type DatabaseOperation } from "keelson-kv";

/**
 * What a disk writes as a whole or not at all; each batch begins at a multiple of it, so that losing one
 * damages no other.
 */
const SECTOR_BYTES = 512;

// A batch in a file, all numbers little-endian, filled up to whole sectors:
//   0  u32  MAGIC
//   4  u32  CRC-32 of all that follows
//   8  u32  number of the batch
//  12  u32  bytes of the operations
//  16       for each operation: u8 kind, u16 bytes of the key, u32 bytes of the value, key, value
const MAGIC = 0x42_41_54_43;
const HEADER_BYTES = 16;
const OPERATION_BYTES = 7;
const DELETE = 0;
const PUT = 1;

/**
 * What an operation takes in a memtable besides its key and value (`BATCH_MEMORY_BYTES_MIN` of the server).
 */
const MEMTABLE_OVERHEAD_BYTES = 2 + 8 + 16;

type Files = Environment["files"];
type File = Awaited<ReturnType<Files["open"]>>;
type Entries = Map<string, Uint8Array>;

/** How a database is opened. */
export interface LossyOptions {
  /** A memtable that is larger than this is replaced by the next write. Default: LevelDB's. */
  readonly writeBufferBytes?: number;
}

/** What the manifest says. */
interface Version {
  /** The number of the table; 0: there is none. */
  readonly table: number;
  /** The first log file whose batches are not in the table. */
  readonly log: number;
  /** The last batch in the table. */
  readonly batch: number;
  /** `LossyDatabase.holes`, of the table. */
  readonly holes: number;
}

/** A memtable that was replaced, and is not in a table yet: the map as it was then. */
interface Immutable extends Omit<Version, "table"> {
  readonly entries: Entries;
}

/** See the top of this file. */
export class LossyDatabase implements Database {
  readonly #files: Files;
  readonly #directory: string;
  readonly #writeBufferBytes: number;
  readonly #entries: Entries;
  /**
   * Places where a batch follows that is not the next: what lies between is lost; and tables that are
   * damaged. As found on opening, and in openings before: what was found is in a table since.
   */
  readonly holes: number;
  /** Of the last batch. */
  #number: number;
  #manifest: Appender;
  #version: Version;
  #log: Appender;
  #logNumber: number;
  /** Resolves after the last batch that was begun, written or not. */
  #lastBatch: Promise<void> = Promise.resolve();
  #memtableBytes = 0;
  #immutable: Immutable | null = null;
  /** A value that reads give otherwise than it was written. */
  #spoiled: { readonly value: Uint8Array; readonly spoiled: Uint8Array; isSeen(): boolean } | null = null;
  /** A key that reads don't find. null: they find all. */
  #hidden: string | null = null;
  /** The next number of a file. */
  #next: number;

  private constructor(
    files: Files,
    directory: string,
    { writeBufferBytes = 4 * 1024 * 1024 }: LossyOptions,
    { entries, number, holes }: Recovered,
    parts: { manifest: Appender; version: Version; log: Appender; next: number },
  ) {
    this.#files = files;
    this.#directory = directory;
    this.#writeBufferBytes = writeBufferBytes;
    this.#entries = entries;
    this.#number = number;
    this.holes = holes;
    this.#manifest = parts.manifest;
    this.#version = parts.version;
    this.#log = parts.log;
    this.#logNumber = parts.version.log;
    this.#next = parts.next;
  }

  /** @throws DatabaseDamagedError a file is missing or empty that LevelDB can't do without */
  static async open(files: Files, directory: string, options: LossyOptions = {}): Promise<LossyDatabase> {
    await files.makeDirectory(directory);
    let names = await files.list(directory);
    if (!names.includes("CURRENT")) {
      // As `DBImpl::NewDB`: the first manifest is not synced.
      const first = await Appender.create(files, `${directory}/MANIFEST-1`, names);
      await first.append(encodeVersion({ table: 0, log: 0, batch: 0, holes: 0 }), false);
      await first.close();
      await setCurrent(files, directory, 1);
      names = await files.list(directory);
    }
    const found = await recover(files, directory, names);
    // As `DBImpl::Open`: all that was found goes into a table, and a new manifest names it.
    const next = 1 + Math.max(...names.map(numberIn));
    const version = { table: next, log: next + 1, batch: found.number, holes: found.holes };
    await writeTable(files, directory, next, found.entries);
    const log = await Appender.create(files, `${directory}/${version.log}.log`, []);
    const manifest = await Appender.create(files, `${directory}/MANIFEST-${next + 2}`, []);
    await files.syncDirectory(directory);
    await manifest.append(encodeVersion(version), true);
    await setCurrent(files, directory, next + 2);
    for (const name of names) if (name !== "CURRENT") await files.remove(`${directory}/${name}`);
    return new LossyDatabase(files, directory, options, found, { manifest, version, log, next: next + 3 });
  }

  /** Throws the contents of a closed database away. */
  static async remove(files: Files, directory: string): Promise<void> {
    for (const name of await files.list(directory)) await files.remove(`${directory}/${name}`);
    await files.syncDirectory(directory);
  }

  get(key: Uint8Array): Promise<Uint8Array | undefined> {
    const value = textOf(key) === this.#hidden ? undefined : this.#entries.get(textOf(key));
    return Promise.resolve(value === undefined ? undefined : this.#seen(value));
  }

  /** Batches that are written at the same time queue up, as LevelDB's writers do. */
  batch(operations: DatabaseOperation[], { sync }: { readonly sync: boolean }): Promise<void> {
    const written = this.#lastBatch.then(() => this.#write(operations, sync));
    this.#lastBatch = written.catch(() => undefined);
    return written;
  }

  async #write(operations: DatabaseOperation[], sync: boolean): Promise<void> {
    if (this.#memtableBytes > this.#writeBufferBytes) await this.#rotate();
    this.#number += 1;
    await this.#log.append(encodeBatch(this.#number, operations), sync);
    for (const operation of operations) {
      applyTo(this.#entries, operation);
      const valueBytes = operation.type === "put" ? operation.value.length : 0;
      this.#memtableBytes += MEMTABLE_OVERHEAD_BYTES + operation.key.length + valueBytes;
    }
  }

  /** As of this call, not of the first entry that is asked for. */
  entries(from: Uint8Array, to: Uint8Array): AsyncIterable<readonly [Uint8Array, Uint8Array]> {
    const [first, end] = [textOf(from), textOf(to)];
    const found = [...this.#entries].filter(([key]) => key >= first && key < end && key !== this.#hidden);
    // One string a key, with a character for each byte: their order is that of the bytes.
    return this.#inOrder(found.sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  async *#inOrder(
    found: readonly (readonly [string, Uint8Array])[],
  ): AsyncGenerator<readonly [Uint8Array, Uint8Array]> {
    for (const [key, value] of found) yield [Buffer.from(key, "latin1"), this.#seen(value)];
  }

  /** Finds the damage of `hide`, as the checksums of LevelDB's tables do. */
  verify(): Promise<void> {
    return this.#hidden === null
      ? Promise.resolve()
      : Promise.reject(new DatabaseCorruption("a damaged index"));
  }

  async checkpoint(): Promise<void> {
    await this.#rotate();
    await this.#flushImmutable();
  }

  async close(): Promise<void> {
    await this.#log.close();
    await this.#manifest.close();
  }

  /**
   * Flips a bit in what reads give of a value under a key with this first byte, while `isSeen`. False: there
   * is no such key.
   */
  spoil(prefix: number, random: () => number, isSeen: () => boolean): boolean {
    const first = String.fromCharCode(prefix);
    const keys = [...this.#entries.keys()].filter((key) => key.startsWith(first)).sort();
    const key = keys[Math.floor(random() * keys.length)];
    const value = key === undefined ? undefined : this.#entries.get(key);
    if (key === undefined || value === undefined) return false;
    const spoiled = value.slice();
    const bit = Math.floor(random() * value.length * 8);
    spoiled[bit >> 3] = (spoiled[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    this.#spoiled = { value, spoiled, isSeen };
    return true;
  }

  /**
   * From now on reads don't find a key with this first byte, as if a table's index were damaged. False: there
   * is none.
   */
  hide(prefix: number, random: () => number): boolean {
    const first = String.fromCharCode(prefix);
    const keys = [...this.#entries.keys()].filter((key) => key.startsWith(first)).sort();
    this.#hidden = keys[Math.floor(random() * keys.length)] ?? null;
    return this.#hidden !== null;
  }

  /** The value as the disk gives it. */
  #seen(value: Uint8Array): Uint8Array {
    return value === this.#spoiled?.value && this.#spoiled.isSeen() ? this.#spoiled.spoiled : value;
  }

  /** As `DBImpl::MakeRoomForWrite`: waits for the older memtable, and closes the log file without a sync. */
  async #rotate(): Promise<void> {
    await this.#flushImmutable();
    await this.#log.close();
    this.#logNumber = this.#next;
    this.#next += 1;
    this.#log = await Appender.create(this.#files, this.#path(`${this.#logNumber}.log`), []);
    this.#immutable = {
      log: this.#logNumber,
      batch: this.#number,
      holes: this.holes,
      entries: new Map(this.#entries),
    };
    this.#memtableBytes = 0;
  }

  /** As `DBImpl::CompactMemTable`: table and manifest are synced, and the directory with the manifest. */
  async #flushImmutable(): Promise<void> {
    const immutable = this.#immutable;
    if (immutable === null) return;
    const { log, batch, holes, entries } = immutable;
    const before = this.#version;
    const version = { table: this.#next, log, batch, holes };
    this.#next += 1;
    await writeTable(this.#files, this.#directory, version.table, entries);
    await this.#files.syncDirectory(this.#directory);
    await this.#manifest.append(encodeVersion(version), true);
    this.#version = version;
    this.#immutable = null;
    await this.#files.remove(this.#path(`${before.log}.log`));
    await this.#files.remove(this.#path(`${before.table}.ldb`));
  }

  #path(name: string): string {
    return `${this.#directory}/${name}`;
  }
}

/** A file that is written at its end. */
class Appender {
  readonly #file: File;
  #end = 0;

  private constructor(file: File) {
    this.#file = file;
  }

  /** `names`: those of the directory, if the file may be left from a crash. */
  static async create(files: Files, path: string, names: readonly string[]): Promise<Appender> {
    if (names.some((name) => path.endsWith(`/${name}`))) await files.remove(path);
    return new Appender(await files.open(path, "create"));
  }

  async append(bytes: Uint8Array, sync: boolean): Promise<void> {
    const at = this.#end;
    this.#end += bytes.length;
    await this.#file.write([bytes], at);
    if (sync) await this.#file.dataSync();
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

interface Recovered {
  readonly entries: Entries;
  /** Of the last batch. */
  readonly number: number;
  readonly holes: number;
}

async function recover(files: Files, directory: string, names: readonly string[]): Promise<Recovered> {
  const current = Buffer.from(await contentsOf(files, `${directory}/CURRENT`)).toString();
  const manifest = current.slice(0, Math.max(0, current.indexOf("\n")));
  if (!names.includes(manifest)) throw new DatabaseDamagedError(`the manifest ${manifest} is missing`);
  const version = decodeVersion(await contentsOf(files, `${directory}/${manifest}`));
  if (version === null) throw new DatabaseDamagedError("Corruption: no meta-nextfile entry in descriptor");
  const entries: Entries = new Map();
  let { batch: number, holes } = version;
  if (version.table > 0) {
    if (!names.includes(`${version.table}.ldb`)) throw new DatabaseDamagedError("Corruption: missing files");
    const [batch] = decodeBatches(await contentsOf(files, `${directory}/${version.table}.ldb`));
    // Nothing is left of a table that is damaged.
    if (batch === undefined) holes += 1;
    for (const operation of batch?.operations ?? []) applyTo(entries, operation);
  }
  const logs = names.filter((name) => name.endsWith(".log")).map(numberIn);
  for (const log of logs.filter((found) => found >= version.log).sort((a, b) => a - b)) {
    for (const batch of decodeBatches(await contentsOf(files, `${directory}/${log}.log`))) {
      if (batch.number !== number + 1) holes += 1;
      number = batch.number;
      for (const operation of batch.operations) applyTo(entries, operation);
    }
  }
  return { entries, number, holes };
}

/** As `SetCurrentFile`: the new file is synced, and its name is not. */
async function setCurrent(files: Files, directory: string, manifest: number): Promise<void> {
  const temporary = `${directory}/${manifest}.dbtmp`;
  const names = await files.list(directory);
  const file = await Appender.create(files, temporary, names);
  await file.append(Buffer.from(`MANIFEST-${manifest}\n`), true);
  await file.close();
  await files.rename(temporary, `${directory}/CURRENT`);
}

async function writeTable(files: Files, directory: string, number: number, entries: Entries): Promise<void> {
  const table = await Appender.create(files, `${directory}/${number}.ldb`, []);
  const operations = [...entries].map(([key, value]): DatabaseOperation => ({
    type: "put",
    key: Buffer.from(key, "latin1"),
    value,
  }));
  await table.append(encodeBatch(0, operations), true);
  await table.close();
}

async function contentsOf(files: Files, path: string): Promise<Uint8Array> {
  const file = await files.open(path, "read");
  const bytes = new Uint8Array(await file.size());
  await file.read(bytes, 0);
  await file.close();
  return bytes;
}

/** The number in a file's name; 0: it has none. */
function numberIn(name: string): number {
  return Number(/\d+/.exec(name)?.[0] ?? 0);
}

function applyTo(entries: Entries, operation: DatabaseOperation): void {
  if (operation.type === "del") entries.delete(textOf(operation.key));
  else entries.set(textOf(operation.key), operation.value);
}

/** A version as a batch with one operation, whose key is the version. */
function encodeVersion({ table, log, batch, holes }: Version): Buffer {
  const key = Buffer.from(JSON.stringify([table, log, batch, holes]));
  return encodeBatch(0, [{ type: "del", key }]);
}

/** The last version in these bytes; null: there is none. */
function decodeVersion(bytes: Uint8Array): Version | null {
  const key = decodeBatches(bytes).at(-1)?.operations[0]?.key;
  if (key === undefined) return null;
  const [table = 0, log = 0, batch = 0, holes = 0] = JSON.parse(textOf(key)) as number[];
  return { table, log, batch, holes };
}

function encodeBatch(number: number, operations: readonly DatabaseOperation[]): Buffer {
  const parts = operations.map((operation) => {
    const value = operation.type === "put" ? operation.value : new Uint8Array(0);
    const head = Buffer.alloc(OPERATION_BYTES);
    head[0] = operation.type === "put" ? PUT : DELETE;
    head.writeUInt16LE(operation.key.length, 1);
    head.writeUInt32LE(value.length, 3);
    return Buffer.concat([head, operation.key, value]);
  });
  const body = Buffer.concat(parts);
  const length = HEADER_BYTES + body.length;
  const bytes = Buffer.alloc(wholeSectors(length));
  bytes.writeUInt32LE(MAGIC, 0);
  bytes.writeUInt32LE(number, 8);
  bytes.writeUInt32LE(body.length, 12);
  bytes.set(body, HEADER_BYTES);
  bytes.writeUInt32LE(crc32(bytes.subarray(8, length)), 4);
  return bytes;
}

interface Batch {
  readonly number: number;
  readonly operations: readonly DatabaseOperation[];
  /** In the file. */
  readonly bytes: number;
}

/** The batches in a file; what is damaged is left out without a word, as LevelDB does. */
function decodeBatches(bytes: Uint8Array): Batch[] {
  const batches: Batch[] = [];
  for (let at = 0; at < bytes.length;) {
    const batch = decodeBatch(bytes.subarray(at));
    if (batch !== null) batches.push(batch);
    at += batch?.bytes ?? SECTOR_BYTES;
  }
  return batches;
}

/** The batch at the beginning of these bytes; null: none that is whole. */
function decodeBatch(bytes: Uint8Array): Batch | null {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.length < HEADER_BYTES || view.readUInt32LE(0) !== MAGIC) return null;
  const end = HEADER_BYTES + view.readUInt32LE(12);
  if (end > view.length || crc32(view.subarray(8, end)) !== view.readUInt32LE(4)) return null;
  const operations: DatabaseOperation[] = [];
  for (let at = HEADER_BYTES; at < end;) {
    const keyAt = at + OPERATION_BYTES;
    const valueAt = keyAt + view.readUInt16LE(at + 1);
    const next = valueAt + view.readUInt32LE(at + 3);
    const key = view.subarray(keyAt, valueAt);
    operations.push(
      view[at] === PUT ? { type: "put", key, value: view.subarray(valueAt, next) } : { type: "del", key },
    );
    at = next;
  }
  return { number: view.readUInt32LE(8), operations, bytes: wholeSectors(end) };
}

function wholeSectors(length: number): number {
  return Math.ceil(length / SECTOR_BYTES) * SECTOR_BYTES;
}

function textOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString("latin1");
}
