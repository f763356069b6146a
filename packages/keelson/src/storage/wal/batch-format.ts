import { crc32 } from "node:zlib";
import type { HardState } from "../../core/action.ts";
import { assert } from "../../core/assert.ts";
import type { LogIndex } from "../../core/position.ts";
import { readUint32, readUint64, writeUint32, writeUint64 } from "../../codec/little-endian.ts";
import { readRecordHeader } from "../../codec/record.ts";
import { DecodeError } from "../../errors.ts";
import type { LogBase } from "../log-store.ts";

/**
 * The stream inside segments: batches, each written by one write and made durable by one sync.
 *
 * | offset | bytes | what |
 * |---|---|---|
 * | 0 | 4 | magic |
 * | 4 | 4 | length from the magic to the end of the trailer |
 * | 8 | 8 | sequence number: one more than that of the batch before |
 * | 16 | 4 | blank sectors: how many whole sectors of this batch are nothing but zeros |
 * | 20 | 4 | CRC-32 of the items |
 * | 24 | 4 | zero, for later |
 * | 28 | 4 | CRC-32 of the 28 bytes before |
 * | 32 | ... | items: type (1 byte), zero (3), length of the body (4), body |
 * | end - 8 | 4 | the sequence number's low 32 bits |
 * | end - 4 | 4 | end mark, whose last byte is not zero |
 *
 * A batch begins at a multiple of `SECTOR_BYTES` and shares no sector with another, so an
 * interrupted write cannot touch what was durable before it. Checksums begin with the store's salt,
 * so that batches of another store mean nothing here.
 *
 * The blank sectors and the end mark are what tells an interrupted write from damage. Space that was
 * never written is zero, so an interrupted write leaves a sector more blank than its header says, or
 * no end mark, or no header. A batch that is written in full and does not match its checksum was
 * acknowledged, perhaps, and damaged since. (What cannot be told apart: a last batch that was
 * acknowledged, and of which a whole sector turned to zeros since.)
 */
export const SECTOR_BYTES = 512;
export const BATCH_HEADER_BYTES = 32;
export const ITEM_HEADER_BYTES = 8;
export const BATCH_TRAILER_BYTES = 8;

const BATCH_MAGIC = 0x4b42_4154;
const END_MARK = 0xa55a_c33c;
const LENGTH_AT = 4;
const SEQUENCE_AT = 8;
const BLANK_SECTORS_AT = 16;
const ITEMS_CHECKSUM_AT = 20;
const RESERVED_AT = 24;
const HEADER_CHECKSUM_AT = 28;
const WORDS_PER_SECTOR = SECTOR_BYTES / 4;

/** What a batch is made of, in the order in which it takes effect. */
export type BatchItem =
  | { readonly type: "entries"; readonly records: readonly Uint8Array[] }
  | { readonly type: "hard-state"; readonly hardState: HardState }
  | { readonly type: "truncate"; readonly from: LogIndex }
  | { readonly type: "cluster-id"; readonly clusterId: string }
  | { readonly type: "compact"; readonly base: LogBase }
  | { readonly type: "reset"; readonly base: LogBase };

const ITEM_CODES = {
  entries: 1,
  "hard-state": 2,
  truncate: 3,
  "cluster-id": 4,
  compact: 5,
  reset: 6,
} as const;

/** `bytes` and what is missing to whole sectors. */
export function roundUpToSector(bytes: number): number {
  return Math.ceil(bytes / SECTOR_BYTES) * SECTOR_BYTES;
}

/** The bytes that `item` takes in a batch, its header included. */
export function itemBytes(item: BatchItem): number {
  return ITEM_HEADER_BYTES + bodyBytes(item);
}

/** The length of a batch whose items take `bytes`, from magic to trailer. */
export function batchBytes(bytes: number): number {
  return BATCH_HEADER_BYTES + bytes + BATCH_TRAILER_BYTES;
}

/**
 * Writes a batch at the start of `target`, with zeros up to the next sector; returns how many bytes
 * that is. `target` begins at a word of its buffer.
 */
export function encodeBatch(
  target: Uint8Array,
  items: readonly BatchItem[],
  sequence: number,
  salt: number,
): number {
  let at = BATCH_HEADER_BYTES;
  for (const item of items) at = encodeItem(target, at, item);
  const length = at + BATCH_TRAILER_BYTES;
  const padded = roundUpToSector(length);
  assert(padded <= target.length, "a batch fits the space it is encoded in");
  writeUint32(target, at, sequence % 2 ** 32);
  writeUint32(target, at + 4, END_MARK);
  target.fill(0, length, padded);

  writeUint32(target, 0, BATCH_MAGIC);
  writeUint32(target, LENGTH_AT, length);
  writeUint64(target, SEQUENCE_AT, sequence);
  writeUint32(target, BLANK_SECTORS_AT, countBlankSectors(target, 0, length));
  writeUint32(target, ITEMS_CHECKSUM_AT, crc32(target.subarray(BATCH_HEADER_BYTES, at), salt));
  writeUint32(target, RESERVED_AT, 0);
  writeUint32(target, HEADER_CHECKSUM_AT, crc32(target.subarray(0, HEADER_CHECKSUM_AT), salt));
  return padded;
}

/** What is found where a batch may begin. */
export type FoundBatch =
  | { readonly state: "whole"; readonly length: number; readonly items: readonly BatchItem[] }
  /** A write that was interrupted, or never begun: nobody was told that it is durable. */
  | { readonly state: "unfinished" }
  /** Anything else: what stands here was durable once, as far as can be told. */
  | { readonly state: "damaged"; readonly why: string };

/** Reads the batch at `offset`, a multiple of `SECTOR_BYTES`, which must be number `sequence`. */
export function decodeBatch(bytes: Uint8Array, offset: number, sequence: number, salt: number): FoundBatch {
  const found = readBatchHeader(bytes, offset, salt);
  if (found === null) {
    return headerIsUnfinished(bytes, offset)
      ? { state: "unfinished" }
      : { state: "damaged", why: "the header of a batch is damaged" };
  }
  if (found.sequence !== sequence) {
    return {
      state: "damaged",
      why: `batch ${String(found.sequence)} stands where ${String(sequence)} belongs`,
    };
  }
  const { length } = found;
  if (length > bytes.length - offset || length < batchBytes(0)) {
    return {
      state: "damaged",
      why: `a batch of ${String(length)} bytes reaches past the end of the segment`,
    };
  }
  const itemsEnd = offset + length - BATCH_TRAILER_BYTES;
  const trailerIsWhole =
    readUint32(bytes, itemsEnd) === sequence % 2 ** 32 && readUint32(bytes, itemsEnd + 4) === END_MARK;
  const checksum = crc32(bytes.subarray(offset + BATCH_HEADER_BYTES, itemsEnd), salt);
  if (trailerIsWhole && checksum === readUint32(bytes, offset + ITEMS_CHECKSUM_AT)) {
    return { state: "whole", length, items: decodeItems(bytes, offset + BATCH_HEADER_BYTES, itemsEnd) };
  }
  const blank = countBlankSectors(bytes, offset, length);
  if (bytes[offset + length - 1] === 0 || blank > readUint32(bytes, offset + BLANK_SECTORS_AT)) {
    return { state: "unfinished" };
  }
  return { state: "damaged", why: "a batch does not match its checksum" };
}

/** The header at `offset`, if there is an undamaged one. */
export function readBatchHeader(
  bytes: Uint8Array,
  offset: number,
  salt: number,
): { readonly length: number; readonly sequence: number } | null {
  if (readUint32(bytes, offset) !== BATCH_MAGIC) return null;
  const checksum = crc32(bytes.subarray(offset, offset + HEADER_CHECKSUM_AT), salt);
  if (checksum !== readUint32(bytes, offset + HEADER_CHECKSUM_AT)) return null;
  return { length: readUint32(bytes, offset + LENGTH_AT), sequence: readUint64(bytes, offset + SEQUENCE_AT) };
}

// A write stopped within the header leaves zeros from there to the end of its sector; one whose other
// sectors came first leaves no header at all. A whole batch has items right after the header.
function headerIsUnfinished(bytes: Uint8Array, offset: number): boolean {
  return (
    isZero(bytes, offset, BATCH_HEADER_BYTES) ||
    isZero(bytes, offset + BATCH_HEADER_BYTES, SECTOR_BYTES - BATCH_HEADER_BYTES)
  );
}

function isZero(bytes: Uint8Array, from: number, length: number): boolean {
  for (let at = from; at < from + length; at++) if (bytes[at] !== 0) return false;
  return true;
}

/** Of the whole sectors between the first, which has the header, and the last, which has the end mark. */
function countBlankSectors(bytes: Uint8Array, offset: number, length: number): number {
  const words = new Int32Array(bytes.buffer, bytes.byteOffset + offset, roundUpToSector(length) / 4);
  const end = words.length - WORDS_PER_SECTOR;
  let count = 0;
  for (let sector = WORDS_PER_SECTOR; sector < end; sector += WORDS_PER_SECTOR) {
    let at = sector;
    while (at < sector + WORDS_PER_SECTOR && words[at] === 0) at++;
    if (at === sector + WORDS_PER_SECTOR) count++;
  }
  return count;
}

function bodyBytes(item: BatchItem): number {
  switch (item.type) {
    case "entries": {
      let bytes = 0;
      for (const record of item.records) bytes += record.length;
      return bytes;
    }
    case "hard-state":
      return 9 + Buffer.byteLength(item.hardState.votedFor ?? "");
    case "truncate":
      return 8;
    case "cluster-id":
      return Buffer.byteLength(item.clusterId);
    case "compact":
    case "reset":
      return 16 + item.base.config.length;
  }
}

/** Writes `item` at `at`; returns where it ends. */
function encodeItem(target: Uint8Array, at: number, item: BatchItem): number {
  const length = bodyBytes(item);
  writeUint32(target, at, ITEM_CODES[item.type]);
  writeUint32(target, at + 4, length);
  const body = at + ITEM_HEADER_BYTES;
  switch (item.type) {
    case "entries": {
      let end = body;
      for (const record of item.records) {
        target.set(record, end);
        end += record.length;
      }
      break;
    }
    case "hard-state": {
      const { term, votedFor } = item.hardState;
      writeUint64(target, body, term);
      target[body + 8] = votedFor === null ? 0 : 1;
      target.set(Buffer.from(votedFor ?? ""), body + 9);
      break;
    }
    case "truncate":
      writeUint64(target, body, item.from);
      break;
    case "cluster-id":
      target.set(Buffer.from(item.clusterId), body);
      break;
    case "compact":
    case "reset":
      writeUint64(target, body, item.base.position.index);
      writeUint64(target, body + 8, item.base.position.term);
      target.set(item.base.config, body + 16);
      break;
  }
  return body + length;
}

function decodeItems(bytes: Uint8Array, from: number, to: number): BatchItem[] {
  const items: BatchItem[] = [];
  for (let at = from; at < to;) {
    const body = at + ITEM_HEADER_BYTES;
    const end = body + readUint32(bytes, at + 4);
    if (end > to) throw new DecodeError("an item reaches past the end of its batch");
    items.push(decodeItem(readUint32(bytes, at), bytes.subarray(body, end)));
    at = end;
  }
  return items;
}

function decodeItem(code: number, body: Uint8Array): BatchItem {
  switch (code) {
    case ITEM_CODES.entries:
      return { type: "entries", records: splitRecords(body) };
    case ITEM_CODES["hard-state"]:
      return { type: "hard-state", hardState: decodeHardState(body) };
    case ITEM_CODES.truncate:
      return { type: "truncate", from: readUint64(body, 0) };
    case ITEM_CODES["cluster-id"]:
      return { type: "cluster-id", clusterId: decodeText(body) };
    case ITEM_CODES.compact:
      return { type: "compact", base: decodeBase(body) };
    case ITEM_CODES.reset:
      return { type: "reset", base: decodeBase(body) };
    default:
      throw new DecodeError(`an item of unknown type ${String(code)}`);
  }
}

/** The records that stand in `bytes` one after another, as views. */
export function splitRecords(bytes: Uint8Array): Uint8Array[] {
  const records: Uint8Array[] = [];
  for (let at = 0; at < bytes.length;) {
    const { length } = readRecordHeader(bytes, at);
    records.push(bytes.subarray(at, at + length));
    at += length;
  }
  return records;
}

function decodeHardState(body: Uint8Array): HardState {
  return { term: readUint64(body, 0), votedFor: body[8] === 0 ? null : decodeText(body.subarray(9)) };
}

function decodeBase(body: Uint8Array): LogBase {
  return { position: { index: readUint64(body, 0), term: readUint64(body, 8) }, config: body.slice(16) };
}

function decodeText(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
