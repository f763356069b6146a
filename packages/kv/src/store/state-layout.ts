/**
 * How the key-value state lies in its database: the keys, the values and the position record. Encoding and
 * decoding only; `state-machine.ts` decides what is written when.
 *
 * | key                 | value                                             | written by                    |
 * | ------------------- | ------------------------------------------------- | ----------------------------- |
 * | `d` + a user's key  | u32 checksum, u64 version, then the value's bytes | `flush`, `restore`            |
 * | `i`                 | the identity: u32 checksum, then JSON             | the first `flush`; `restore`  |
 * | `m`                 | the position record                               | every `flush`; `restore`      |
 * | `s` + a record name | u32 checksum, then the library's session record   | `flush`, `restore`            |
 * | `r` + u16 slot      | u64 number of the batch that last wrote this slot | every `flush`                 |
 *
 * A version is the index of the log entry that put the value. The database orders keys by their bytes, so
 * iterating over the prefix `d` gives the user's keys in byte order. `state-machine.ts` explains the ring.
 *
 * The position record says which log entry the state is up to date with:
 *
 * | offset | type | content                                                                     |
 * | ------ | ---- | --------------------------------------------------------------------------- |
 * | 0      | u8   | format, 2                                                                   |
 * | 1      | u32  | checksum of the rest. Here in every later format too, so that a later format|
 * |        |      | and a damaged record can be told apart                                      |
 * | 5      | u64  | term of the last applied entry                                              |
 * | 13     | u64  | index of the last applied entry                                             |
 * | 21     | u64  | puts and deletes applied since the beginning                                |
 * | 29     | u64  | batches written since the last `restore`                                    |
 * | 37     | u64  | of a state as `restore` left it: how many keys with values it holds         |
 * | 45     | u32  | of a state as `restore` left it: the checksum of all its entries            |
 * | 49     | u8   | 1: the state is as `restore` left it; 0: the two fields before mean nothing |
 *
 * While a snapshot is being restored, the record is the single byte 0xff instead: the state isn't whole.
 * All numbers are big-endian.
 *
 * Checksums are CRC-32. LevelDB has checksums of its own, but verifies those of its tables only if told to,
 * and the package classic-level can't tell it to (neither `verify_checksums` nor `paranoid_checks`). So a
 * flipped bit would be served as a value. Each checksum covers the database key too: a record that is found
 * under another key is as wrong as a changed one. But if a key or an index is damaged, LevelDB doesn't find
 * the record at all, and no checksum of a record shows that; `leveldb/verify-tables.ts` does.
 */
import { crc32 } from "node:zlib";
import { StateMachineFailure, type LogPosition, type StateIdentity } from "keelson";
import { DatabaseDamagedError, DatabaseOpenError } from "./database.ts";

/** What was read is not what was written. The state is damaged: the node must not serve it any longer. */
export class StateDamagedError extends StateMachineFailure {
  override readonly name = "StateDamagedError";
}

/** A value with the version of its key: the index of the log entry that put it. */
export interface Versioned {
  readonly value: Uint8Array;
  readonly version: number;
}

/** What the position record says. */
export interface PositionRecord {
  /** The last log entry whose effects the state holds. */
  readonly applied: LogPosition;
  /** Puts and deletes applied since the beginning. */
  readonly count: number;
  /** Batches written since the state was new or last restored. */
  readonly batches: number;
  /** What must be in a state to which nothing was written since `restore`. null: something was. */
  readonly restored: EntriesSum | null;
}

/** How many entries there are, and their checksum in the order of their keys. */
export interface EntriesSum {
  readonly keys: number;
  readonly checksum: number;
}

/** The record of a state to which nothing was applied. */
export const NOTHING_APPLIED: PositionRecord = {
  applied: { term: 0, index: 0 },
  count: 0,
  batches: 0,
  restored: null,
};

/** Before a value: its version. */
const VERSION_BYTES = 8;
/** Bytes of a checksum, which is stored before what it covers. */
const CHECKSUM_BYTES = 4;

const POSITION_FORMAT = 2;
/** The format of earlier versions, without checksums and identity. A state in it is rebuilt. */
const OLDEST_FORMAT = 1;
const OLDEST_POSITION_BYTES = 33;
const POSITION_BYTES = 50;

const DATA_PREFIX = 0x64; // "d"
const SESSION_PREFIX = 0x73; // "s"
const RING_PREFIX = 0x72; // "r"
/** The key of the identity. */
export const IDENTITY_KEY: Uint8Array<ArrayBuffer> = Uint8Array.of(0x69); // "i"
/** The key of the position record. */
export const POSITION_KEY: Uint8Array<ArrayBuffer> = Uint8Array.of(0x6d); // "m"

/** A range of keys, `[from, to)`. */
export type KeyRange = readonly [from: Uint8Array, to: Uint8Array];

/** The keys of the users' values, of the session records and of the ring. */
export const DATA_KEYS: KeyRange = rangeOfPrefix(DATA_PREFIX);
export const SESSION_KEYS: KeyRange = rangeOfPrefix(SESSION_PREFIX);
export const RING_KEYS: KeyRange = rangeOfPrefix(RING_PREFIX);
/** Every key of the layout: all prefixes are below 0xff. */
export const ALL_KEYS: KeyRange = [Uint8Array.of(0), Uint8Array.of(0xff)];

/** Slots that a ring key's two bytes can tell apart. */
export const RING_SLOTS_MAX = 65_536;

/** The position record while a snapshot is being restored. It is this single byte in every format. */
export const RESTORING_RECORD: Uint8Array<ArrayBuffer> = Uint8Array.of(0xff);

/** The database key of a user's key. */
export function dataKey(key: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(1 + key.length);
  bytes[0] = DATA_PREFIX;
  bytes.set(key, 1);
  return bytes;
}

/** Whether this database key is one of a user's value. */
export function isDataKey(key: Uint8Array): boolean {
  return key[0] === DATA_PREFIX;
}

export function isSessionKey(key: Uint8Array): boolean {
  return key[0] === SESSION_PREFIX;
}

export function isRingKey(key: Uint8Array): boolean {
  return key[0] === RING_PREFIX;
}

/** The user's key, or the session record's name, in a key of the database. */
export function withoutPrefix(key: Uint8Array): Uint8Array {
  return key.subarray(1);
}

/** `name`: the session record's name, of which each character stands for one byte. */
export function sessionKey(name: string): Uint8Array {
  return Uint8Array.from([SESSION_PREFIX, ...Buffer.from(name, "latin1")]);
}

/** `slot`: from 0 to `RING_SLOTS_MAX - 1`. */
export function ringKey(slot: number): Uint8Array {
  return Uint8Array.of(RING_PREFIX, slot >> 8, slot & 0xff);
}

/**
 * The bytes as a string, one character for each byte: usable as a `Map` key, and in byte order when compared.
 */
export function byteString(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
}

/** The first key after all keys that begin with `prefix`. The prefix must have a first byte below 0xff. */
export function endOfPrefix(prefix: Uint8Array): Uint8Array {
  let length = prefix.length;
  while (prefix[length - 1] === 0xff) length -= 1;
  const end = prefix.slice(0, length);
  end[length - 1] = (end[length - 1] ?? 0) + 1;
  return end;
}

/**
 * The least memory that one batch of a `flush` takes in LevelDB's memtable (`db/memtable.cc`,
 * `db/skiplist.h`): for each of its two records at least the lengths of key and value (2 bytes), the key, 8
 * bytes of sequence number and type, the value, and 16 bytes of a node of the skip list.
 */
export const BATCH_MEMORY_BYTES_MIN: number = 2 + 3 + 8 + 8 + 16 + (2 + 1 + 8 + POSITION_BYTES + 16);

/** A value as snapshots hold it, and, with a checksum before it, the database. */
export function encodeVersioned({ value, version }: Versioned): Uint8Array {
  const bytes = Buffer.allocUnsafe(VERSION_BYTES + value.length);
  bytes.writeBigUInt64BE(BigInt(version), 0);
  bytes.set(value, VERSION_BYTES);
  return bytes;
}

/** @throws StateDamagedError it is too short to be one */
export function decodeVersioned(bytes: Uint8Array): Versioned {
  if (bytes.length < VERSION_BYTES) throw new StateDamagedError(`a value of ${bytes.length} bytes`);
  return { version: decodeNumber(bytes, 0), value: bytes.subarray(VERSION_BYTES) };
}

/** What the database holds under `key`, the database key: the bytes with a checksum. */
export function withChecksum(key: Uint8Array, value: Uint8Array): Uint8Array {
  const bytes = Buffer.allocUnsafe(CHECKSUM_BYTES + value.length);
  bytes.writeUInt32BE(crc32(value, crc32(key)), 0);
  bytes.set(value, CHECKSUM_BYTES);
  return bytes;
}

/**
 * `withChecksum` of `encodeVersioned`, in one buffer. With a buffer for each, both would come from Node's
 * shared pool. The first would be garbage at once, but its memory would stay as long as the batch being
 * written holds other buffers of the same pool (Z11).
 */
export function storedEntry(key: Uint8Array, { value, version }: Versioned): Uint8Array {
  const bytes = Buffer.allocUnsafe(CHECKSUM_BYTES + VERSION_BYTES + value.length);
  bytes.writeBigUInt64BE(BigInt(version), CHECKSUM_BYTES);
  bytes.set(value, CHECKSUM_BYTES + VERSION_BYTES);
  bytes.writeUInt32BE(crc32(bytes.subarray(CHECKSUM_BYTES), crc32(key)), 0);
  return bytes;
}

/** @throws StateDamagedError `bytes` aren't what was written under `key`, the database key */
export function verified(key: Uint8Array, bytes: Uint8Array): Uint8Array {
  const value = bytes.subarray(Math.min(bytes.length, CHECKSUM_BYTES));
  if (bytes.length >= CHECKSUM_BYTES && readChecksum(bytes, 0) === crc32(value, crc32(key))) return value;
  throw new StateDamagedError(
    `the state on disk is damaged: the value of key ${shown(withoutPrefix(key))} does not match its checksum`,
  );
}

/** The identity as the database holds it. */
export function encodeIdentity(identity: StateIdentity): Uint8Array {
  const { nodeId, clusterId, storeId } = identity;
  return withChecksum(IDENTITY_KEY, Buffer.from(JSON.stringify({ nodeId, clusterId, storeId })));
}

/** @throws StateDamagedError */
export function decodeIdentity(bytes: Uint8Array): StateIdentity {
  return JSON.parse(Buffer.from(verified(IDENTITY_KEY, bytes)).toString()) as StateIdentity;
}

/** Adds the next entry, as the database holds it, to a sum of entries. */
export function addEntry({ keys, checksum }: EntriesSum, key: Uint8Array, value: Uint8Array): EntriesSum {
  const lengths = Buffer.allocUnsafe(8);
  lengths.writeUInt32BE(key.length, 0);
  lengths.writeUInt32BE(value.length, 4);
  return { keys: keys + 1, checksum: crc32(value, crc32(key, crc32(lengths, checksum))) };
}

/** The position record as the database holds it. */
export function encodePosition({ applied, count, batches, restored }: PositionRecord): Uint8Array {
  const bytes = Buffer.alloc(POSITION_BYTES);
  bytes[0] = POSITION_FORMAT;
  const numbers = [applied.term, applied.index, count, batches, restored?.keys ?? 0];
  numbers.forEach((number, at) => bytes.writeBigUInt64BE(BigInt(number), 5 + at * 8));
  bytes.writeUInt32BE(restored?.checksum ?? 0, 45);
  bytes[49] = restored === null ? 0 : 1;
  bytes.writeUInt32BE(positionChecksum(bytes), 1);
  return bytes;
}

/**
 * @throws DatabaseDamagedError the record is damaged, or of an older format; DatabaseOpenError the state was
 *   written by a later version of this program
 */
export function decodePosition(bytes: Uint8Array): PositionRecord {
  if (bytes[0] === OLDEST_FORMAT && bytes.length === OLDEST_POSITION_BYTES) {
    throw new DatabaseDamagedError(
      `it is of format ${OLDEST_FORMAT}, of an earlier version of this program; this one reads format ${POSITION_FORMAT}`,
    );
  }
  if (bytes.length < 5 || readChecksum(bytes, 1) !== positionChecksum(bytes)) {
    throw new DatabaseDamagedError("its position record does not match its checksum");
  }
  if (bytes[0] !== POSITION_FORMAT || bytes.length !== POSITION_BYTES) {
    throw new DatabaseOpenError(
      `the state on disk is of format ${String(bytes[0])}; this program reads format ${POSITION_FORMAT}. Run the version that wrote it`,
    );
  }
  const at = (place: number): number => decodeNumber(bytes, 5 + place * 8);
  const restored = bytes[49] === 1 ? { keys: at(4), checksum: readChecksum(bytes, 45) } : null;
  return { applied: { term: at(0), index: at(1) }, count: at(2), batches: at(3), restored };
}

function positionChecksum(bytes: Uint8Array): number {
  return crc32(bytes.subarray(5), crc32(bytes.subarray(0, 1)));
}

/** The number of a batch, as its ring slot holds it. */
export function encodeBatchNumber(batch: number): Uint8Array {
  return encodeNumbers(batch);
}

export function decodeBatchNumber(bytes: Uint8Array): number {
  return decodeNumber(bytes, 0);
}

function rangeOfPrefix(prefix: number): KeyRange {
  return [Uint8Array.of(prefix), Uint8Array.of(prefix + 1)];
}

function encodeNumbers(...numbers: readonly number[]): Uint8Array {
  const bytes = Buffer.allocUnsafe(numbers.length * 8);
  numbers.forEach((number, at) => bytes.writeBigUInt64BE(BigInt(number), at * 8));
  return bytes;
}

function readChecksum(bytes: Uint8Array, at: number): number {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).readUInt32BE(at);
}

/** The most characters of a key in an error message. */
const SHOWN_CHARS_MAX = 60;

/** The bytes as text for an error message. */
function shown(bytes: Uint8Array): string {
  return JSON.stringify(Buffer.from(bytes).toString().slice(0, SHOWN_CHARS_MAX));
}

function decodeNumber(bytes: Uint8Array, at: number): number {
  return Number(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).readBigUInt64BE(at));
}
