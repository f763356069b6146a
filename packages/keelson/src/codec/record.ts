/*
 * The record of a log entry. The node that proposes an entry encodes it once. From then on the same bytes are
 * in the leader's log, in every AppendEntries message and in every follower's log, under one checksum.
 *
 * | offset | bytes | field | meaning |
 * |---|---|---|---|
 * | 0 | 4 | length | bytes of the whole record, header included: from 28 to 28 + 16 MiB |
 * | 4 | 4 | checksum | CRC-32 of the bytes from offset 8 to the end, with the length as its initial value |
 * | 8 | 8 | index | the entry's index, from 1 to 2^53 - 1 |
 * | 16 | 8 | term | the entry's term, from 1 to 2^53 - 1 |
 * | 24 | 1 | kind | what the payload means: `EntryKind` |
 * | 25 | 3 | reserved | zero |
 * | 28 | length - 28 | payload | |
 *
 * Numbers are unsigned and little-endian.
 *
 * **Version.** A record has none of its own: the frame or the log segment that contains it has. The reserved
 * bytes must be zero, so that a later version can give them a meaning that this code refuses.
 *
 * **Checks.** Every check that fails is a `DecodeError`. In a message, it closes the connection, and the
 * leader sends the entry again. In the log on disk, the storage decides whether it is an interrupted write or
 * damage.
 */
import { allocateBytes, crc32 } from "#platform";
import { assert } from "../core/assert.ts";
import type { LogIndex, Term } from "../core/position.ts";
import { DecodeError, UnknownKindError } from "../errors.ts";
import { readUint32, readUint64, writeUint32, writeUint64 } from "./little-endian.ts";

/** Bytes before the payload. */
export const RECORD_HEADER_BYTES = 28;

/** The most bytes of a payload: a node must be able to hold several records in memory at the same time. */
export const RECORD_PAYLOAD_BYTES_MAX: number = 16 * 1024 * 1024;

/** The most bytes of a record. A damaged length can't demand more memory than this. */
export const RECORD_BYTES_MAX: number = RECORD_HEADER_BYTES + RECORD_PAYLOAD_BYTES_MAX;

/**
 * What an entry's payload means. The numbers are on disks and on the wire, and never change their meaning. A
 * node that meets an unknown kind stops: skipping the entry would give it another state than the other nodes
 * have (W7).
 */
export const EntryKind = {
  /** A command for the state machine. */
  command: 1,
  /**
   * No payload. A new leader proposes it first, because it commits earlier entries only with one of its own
   * term (§8).
   */
  blank: 2,
  /** A cluster configuration: codec/config.ts. */
  config: 3,
  // Kinds 4 to 6 and 7 to 10 were session entries of two earlier formats, and are not used again. In the
  // first, session time was the leader's wall clock. In the second, session tables had other limits, and one
  // entry ended all sessions that had expired.
  /** Opens a session: codec/session-entry.ts. */
  openSession: 11,
  /** A command in a session: codec/session-entry.ts. */
  sessionCommand: 12,
  /** Closes a session: codec/session-entry.ts. */
  closeSession: 13,
  /** Moves the time of the sessions forward: codec/session-entry.ts. */
  sessionTime: 14,
} as const;
/** One of the numbers in `EntryKind`. */
export type EntryKind = (typeof EntryKind)[keyof typeof EntryKind];

const CHECKSUM_AT = 4;
const INDEX_AT = 8;
const TERM_AT = 16;
const KIND_AT = 24;
const RESERVED_AT = 25;

/** The fields of a record's header. */
export interface RecordHeader {
  readonly index: LogIndex;
  readonly term: Term;
  readonly kind: EntryKind;
  /** Bytes of the whole record. */
  readonly length: number;
}

/** A record's fields. */
export interface DecodedRecord extends RecordHeader {
  /** A view of the record's bytes, not a copy. */
  readonly payload: Uint8Array;
}

/** Encodes one entry. Copies the payload. */
export function encodeRecord(index: LogIndex, term: Term, kind: EntryKind, payload: Uint8Array): Uint8Array {
  const bytes = allocateBytes(RECORD_HEADER_BYTES + payload.length);
  encodeRecordInto(bytes, index, term, kind, payload);
  return bytes;
}

/** Encodes one entry into `bytes`, which must have the record's length. */
export function encodeRecordInto(
  bytes: Uint8Array,
  index: LogIndex,
  term: Term,
  kind: EntryKind,
  payload: Uint8Array,
): void {
  assert(isPosition(index) && isPosition(term), "a record's index and term are safe integers from 1");
  assert(
    payload.length <= RECORD_PAYLOAD_BYTES_MAX,
    "a record's payload is at most RECORD_PAYLOAD_BYTES_MAX bytes",
  );
  const { length } = bytes;
  assert(length === RECORD_HEADER_BYTES + payload.length, "a record is a header and a payload");
  writeUint32(bytes, 0, length);
  writeUint64(bytes, INDEX_AT, index);
  writeUint64(bytes, TERM_AT, term);
  // Writes the kind, and zeros into the three reserved bytes after it.
  writeUint32(bytes, KIND_AT, kind);
  bytes.set(payload, RECORD_HEADER_BYTES);
  writeUint32(bytes, CHECKSUM_AT, checksumOf(bytes, 0, length));
}

/** The length in bytes of the record at `offset`. Checks nothing. */
export function recordLength(bytes: Uint8Array, offset = 0): number {
  return readUint32(bytes, offset);
}

/** The index of the record at `offset`. Checks nothing. */
export function recordIndex(bytes: Uint8Array, offset = 0): LogIndex {
  return readUint64(bytes, offset + INDEX_AT);
}

/** The term of the record at `offset`. Checks nothing. */
export function recordTerm(bytes: Uint8Array, offset = 0): Term {
  return readUint64(bytes, offset + TERM_AT);
}

/** The kind of the record at `offset`. Checks nothing, so it may be none of `EntryKind`. */
export function recordKind(bytes: Uint8Array, offset = 0): number {
  return bytes[offset + KIND_AT] ?? 0;
}

/** A view of the payload of a record that was checked before. */
export function recordPayload(record: Uint8Array): Uint8Array {
  return record.subarray(RECORD_HEADER_BYTES, recordLength(record));
}

/**
 * Reads the header of the record at `offset`. Checks everything but the checksum: the lengths, index and
 * term, the kind, and that the whole record is within `bytes`. Use it for bytes that another checksum already
 * covers, or if you call `recordIsIntact` too.
 *
 * @throws DecodeError says what is wrong
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
  if (!isEntryKind(kind)) {
    const isOld = kind > EntryKind.config && kind < EntryKind.openSession;
    const text = isOld
      ? `a record of kind ${String(kind)}, an entry of a session as an earlier version wrote it, which this one can't read`
      : `a record of unknown kind ${String(kind)}`;
    throw new UnknownKindError(text, isOld);
  }
  for (let at = offset + RESERVED_AT; at < offset + RECORD_HEADER_BYTES; at++) {
    if (bytes[at] !== 0) throw new DecodeError("a record's reserved bytes are not zero");
  }
  return { index, term, kind, length };
}

/**
 * Reads the record at `offset`. Checks its header and its checksum.
 *
 * @throws DecodeError says what is wrong
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

/** Whether the checksum of the record at `offset` is right. Its header must have been checked. */
export function recordIsIntact(bytes: Uint8Array, offset = 0): boolean {
  const length = recordLength(bytes, offset);
  return readUint32(bytes, offset + CHECKSUM_AT) === checksumOf(bytes, offset, length);
}

/** Whether this number is one of `EntryKind`. */
export function isEntryKind(kind: number): kind is EntryKind {
  if (kind >= EntryKind.command && kind <= EntryKind.config) return true;
  return kind >= EntryKind.openSession && kind <= EntryKind.sessionTime;
}

/** Starting the CRC from the length, instead of from 0, covers the length without a second call into zlib. */
function checksumOf(bytes: Uint8Array, offset: number, length: number): number {
  return crc32(bytes.subarray(offset + INDEX_AT, offset + length), length);
}

function isPosition(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 1;
}
