/**
 * How the key-value state lies in its database: the keys, the values and the position record. Encoding and
 * decoding only; `state-machine.ts` decides what is written when.
 *
 * | key                 | value                                             | written by                    |
 * | ------------------- | ------------------------------------------------- | ----------------------------- |
 * | `d` + a user's key  | u64 version, then the value's bytes               | `flush`, `restore`            |
 * | `m`                 | the position record                               | every `flush`; `restore`      |
 * | `s` + a record name | a session record, as the library gave it          | `flush`, `restore`            |
 * | `r` + u16 slot      | u64 number of the batch that last wrote this slot | every `flush`                 |
 *
 * A version is the index of the log entry that put the value. The database orders keys by their bytes, so
 * iterating over the prefix `d` gives the user's keys in byte order. `state-machine.ts` explains the ring.
 *
 * The position record says which log entry the state is up to date with:
 *
 * | offset | type | content                                     |
 * | ------ | ---- | ------------------------------------------- |
 * | 0      | u8   | format, 1                                   |
 * | 1      | u64  | term of the last applied entry              |
 * | 9      | u64  | index of the last applied entry             |
 * | 17     | u64  | puts and deletes applied since the beginning|
 * | 25     | u64  | batches written since the last `restore`    |
 *
 * While a snapshot is being restored, the record is the single byte 0xff instead: the state isn't whole.
 * All numbers are big-endian.
 */
import type { LogPosition } from "keelson";
import { DatabaseOpenError } from "./database.ts";

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
}

/** The record of a state to which nothing was applied. */
export const NOTHING_APPLIED: PositionRecord = { applied: { term: 0, index: 0 }, count: 0, batches: 0 };

const DATA_PREFIX = 0x64; // "d"
const SESSION_PREFIX = 0x73; // "s"
const RING_PREFIX = 0x72; // "r"
/** The key of the position record. */
export const POSITION_KEY = Uint8Array.of(0x6d); // "m"

/** A range of keys, `[from, to)`. */
export type KeyRange = readonly [from: Uint8Array, to: Uint8Array];

/** The keys of the users' values, of the session records and of the ring. */
export const DATA_KEYS = rangeOfPrefix(DATA_PREFIX);
export const SESSION_KEYS = rangeOfPrefix(SESSION_PREFIX);
export const RING_KEYS = rangeOfPrefix(RING_PREFIX);
/** Every key of the layout: all prefixes are below 0xff. */
export const ALL_KEYS: KeyRange = [Uint8Array.of(0), Uint8Array.of(0xff)];

/** Slots that a ring key's two bytes can tell apart. */
export const RING_SLOTS_MAX = 65_536;

/** Bytes before a value: its version. */
export const VERSION_BYTES = 8;

const POSITION_FORMAT = 1;
const POSITION_BYTES = 33;
/** The position record while a snapshot is being restored. */
export const RESTORING_RECORD = Uint8Array.of(0xff);

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

/** A value as the database holds it. */
export function encodeVersioned({ value, version }: Versioned): Uint8Array {
  const bytes = Buffer.allocUnsafe(VERSION_BYTES + value.length);
  bytes.writeBigUInt64BE(BigInt(version), 0);
  bytes.set(value, VERSION_BYTES);
  return bytes;
}

export function decodeVersioned(bytes: Uint8Array): Versioned {
  return { version: decodeNumber(bytes, 0), value: bytes.subarray(VERSION_BYTES) };
}

/** The position record as the database holds it. */
export function encodePosition({ applied, count, batches }: PositionRecord): Uint8Array {
  return Buffer.concat([
    Uint8Array.of(POSITION_FORMAT),
    encodeNumbers(applied.term, applied.index, count, batches),
  ]);
}

/** @throws DatabaseOpenError the state was written by a later version of this program */
export function decodePosition(bytes: Uint8Array): PositionRecord {
  if (bytes[0] !== POSITION_FORMAT || bytes.length !== POSITION_BYTES) {
    throw new DatabaseOpenError(
      `the state on disk is of format ${String(bytes[0])}; this program reads format ${POSITION_FORMAT}. Run the version that wrote it`,
    );
  }
  const at = (place: number): number => decodeNumber(bytes, 1 + place * 8);
  return { applied: { term: at(0), index: at(1) }, count: at(2), batches: at(3) };
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

function decodeNumber(bytes: Uint8Array, at: number): number {
  return Number(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).readBigUInt64BE(at));
}
