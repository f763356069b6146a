import { crc32 } from "node:zlib";
import { assert } from "../core/assert.ts";
import type { LogIndex, Term } from "../core/position.ts";
import { DecodeError } from "../errors.ts";
import { readUint32, readUint64, writeUint32, writeUint64 } from "./little-endian.ts";

/**
 * A log entry as bytes: built once by the node that proposes it, and from then on the same bytes on
 * the leader's disk, on every socket and on every follower's disk, under one checksum.
 *
 * | offset | bytes | what |
 * |---|---|---|
 * | 0 | 4 | length of the whole record in bytes, header included |
 * | 4 | 4 | CRC-32 of everything after this field, begun with the length as its initial value |
 * | 8 | 8 | index |
 * | 16 | 8 | term |
 * | 24 | 1 | kind |
 * | 25 | 3 | zero, for later |
 * | 28 | ... | payload |
 *
 * All numbers are unsigned and little-endian; index and term are from 1 to 2^53 - 1.
 */
export const RECORD_HEADER_BYTES = 28;

/** No payload is larger: a node must be able to hold several records in memory at once. */
export const RECORD_PAYLOAD_BYTES_MAX = 16 * 1024 * 1024;

/** No record is larger, so a damaged length cannot ask for more memory than this. */
export const RECORD_BYTES_MAX = RECORD_HEADER_BYTES + RECORD_PAYLOAD_BYTES_MAX;

/** What an entry's payload means. An unknown kind stops the node: skipping it would fork the state. */
export const EntryKind = {
  /** A command for the state machine. */
  command: 1,
  /** Nothing: what a new leader commits first (§8). */
  blank: 2,
  /** A cluster configuration (codec/config.ts). */
  config: 3,
  /** A session begins, carries a command, ends (codec/session-entry.ts). */
  openSession: 4,
  sessionCommand: 5,
  closeSession: 6,
} as const;
export type EntryKind = (typeof EntryKind)[keyof typeof EntryKind];

const CHECKSUM_AT = 4;
const INDEX_AT = 8;
const TERM_AT = 16;
const KIND_AT = 24;
const RESERVED_AT = 25;

/** What a record's first bytes say. */
export interface RecordHeader {
  readonly index: LogIndex;
  readonly term: Term;
  readonly kind: EntryKind;
  /** Of the whole record, in bytes. */
  readonly length: number;
}

/** A record taken apart. */
export interface DecodedRecord extends RecordHeader {
  /** A view of the record's own bytes, not a copy. */
  readonly payload: Uint8Array;
}

/** Builds the record of one entry. The payload is copied. */
export function encodeRecord(index: LogIndex, term: Term, kind: EntryKind, payload: Uint8Array): Uint8Array {
  assert(isPosition(index) && isPosition(term), "a record's index and term are safe integers from 1");
  assert(
    payload.length <= RECORD_PAYLOAD_BYTES_MAX,
    "a record's payload is at most RECORD_PAYLOAD_BYTES_MAX bytes",
  );
  const length = RECORD_HEADER_BYTES + payload.length;
  // From Node's pool when small: several times cheaper than an ArrayBuffer of its own. Not handed out
  // as a Buffer, whose `slice` shares memory where that of every other array copies.
  const pooled = Buffer.allocUnsafe(length);
  const bytes = new Uint8Array(pooled.buffer, pooled.byteOffset, length);
  writeUint32(bytes, 0, length);
  writeUint64(bytes, INDEX_AT, index);
  writeUint64(bytes, TERM_AT, term);
  // The kind, and zeros in the three bytes after it.
  writeUint32(bytes, KIND_AT, kind);
  bytes.set(payload, RECORD_HEADER_BYTES);
  writeUint32(bytes, CHECKSUM_AT, checksumOf(bytes, 0, length));
  return bytes;
}

/** The length of the record at `offset`, unchecked. */
export function recordLength(bytes: Uint8Array, offset = 0): number {
  return readUint32(bytes, offset);
}

/** The index of the record at `offset`, unchecked. */
export function recordIndex(bytes: Uint8Array, offset = 0): LogIndex {
  return readUint64(bytes, offset + INDEX_AT);
}

/** The term of the record at `offset`, unchecked. */
export function recordTerm(bytes: Uint8Array, offset = 0): Term {
  return readUint64(bytes, offset + TERM_AT);
}

/** The kind of the record at `offset`, unchecked: perhaps none of `EntryKind`. */
export function recordKind(bytes: Uint8Array, offset = 0): number {
  return bytes[offset + KIND_AT] ?? 0;
}

/** A view of the payload of a record that is known to be good. */
export function recordPayload(record: Uint8Array): Uint8Array {
  return record.subarray(RECORD_HEADER_BYTES, recordLength(record));
}

/**
 * Reads the header at `offset` and checks all but the checksum; the record lies within `bytes`.
 * For bytes that another checksum vouches for already.
 *
 * @throws DecodeError what is wrong with it
 */
export function readRecordHeader(bytes: Uint8Array, offset = 0): RecordHeader {
  const available = bytes.length - offset;
  if (available < RECORD_HEADER_BYTES) {
    throw new DecodeError(
      `a record's header needs ${String(RECORD_HEADER_BYTES)} bytes; ${String(available)} are left`,
    );
  }
  const length = recordLength(bytes, offset);
  if (length < RECORD_HEADER_BYTES || length > RECORD_BYTES_MAX) {
    throw new DecodeError(
      `a record says it has ${String(length)} bytes; from ${String(RECORD_HEADER_BYTES)} to ${String(RECORD_BYTES_MAX)} are possible`,
    );
  }
  if (length > available) {
    throw new DecodeError(`a record of ${String(length)} bytes is cut short: ${String(available)} are left`);
  }
  const index = recordIndex(bytes, offset);
  const term = recordTerm(bytes, offset);
  if (!isPosition(index) || !isPosition(term)) {
    throw new DecodeError(
      `a record's index and term are safe integers from 1, not ${String(index)} and ${String(term)}`,
    );
  }
  const kind = recordKind(bytes, offset);
  if (!isEntryKind(kind)) throw new DecodeError(`a record of unknown kind ${String(kind)}`);
  for (let at = offset + RESERVED_AT; at < offset + RECORD_HEADER_BYTES; at++) {
    if (bytes[at] !== 0) throw new DecodeError("a record's reserved bytes are not zero");
  }
  return { index, term, kind, length };
}

/**
 * Takes the record at `offset` apart after checking all of it.
 *
 * @throws DecodeError what is wrong with it
 */
export function decodeRecord(bytes: Uint8Array, offset = 0): DecodedRecord {
  const header = readRecordHeader(bytes, offset);
  const stated = readUint32(bytes, offset + CHECKSUM_AT);
  const actual = checksumOf(bytes, offset, header.length);
  if (stated !== actual) {
    throw new DecodeError(
      `the checksum of the record of entry ${String(header.index)} does not match its bytes`,
    );
  }
  const payload = bytes.subarray(offset + RECORD_HEADER_BYTES, offset + header.length);
  return { ...header, payload };
}

/** Whether the record at `offset`, whose header is known to be good, is undamaged. */
export function recordIsIntact(bytes: Uint8Array, offset = 0): boolean {
  const length = recordLength(bytes, offset);
  return readUint32(bytes, offset + CHECKSUM_AT) === checksumOf(bytes, offset, length);
}

export function isEntryKind(kind: number): kind is EntryKind {
  return kind >= EntryKind.command && kind <= EntryKind.closeSession;
}

// Beginning with the length covers it without a second call into zlib.
function checksumOf(bytes: Uint8Array, offset: number, length: number): number {
  return crc32(bytes.subarray(offset + INDEX_AT, offset + length), length);
}

function isPosition(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 1;
}
