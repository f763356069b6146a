import { crc32 } from "#platform";
import type { HardState } from "../../core/action.ts";
import { assert } from "../../core/assert.ts";
import type { LogIndex } from "../../core/position.ts";
import { readUint32, readUint64, writeUint32, writeUint64 } from "../../codec/little-endian.ts";
import { readRecordHeader } from "../../codec/record.ts";
import { DecodeError, UnknownKindError } from "../../errors.ts";
import type { LogBase } from "../log-store.ts";

/*
 * The on-disk format of the batches inside a segment. A batch is what one write puts on disk and one sync
 * makes durable. All numbers are unsigned and little-endian; texts are UTF-8.
 *
 * | offset | size | field | meaning |
 * |---|---|---|---|
 * | 0 | 4 | magic | 0x4b424154 |
 * | 4 | 4 | length | bytes of the batch, from the magic to the end mark |
 * | 8 | 8 | sequence | number of the batch: one more than that of the batch before it |
 * | 16 | 4 | blank sectors | how many sectors between the first and the last are all zeros |
 * | 20 | 4 | items checksum | CRC-32 of the items, with the salt as its initial value |
 * | 24 | 4 | reserved | zero |
 * | 28 | 4 | header checksum | CRC-32 of the 28 bytes before it, with the salt as its initial value |
 * | 32 | ... | items | one or more, see below |
 * | length - 8 | 4 | sequence | the low 32 bits of the sequence number |
 * | length - 4 | 4 | end mark | 0xa55ac33c; its last byte is not zero |
 * | length | ... | padding | zeros to the end of the sector |
 *
 * | offset in an item | size | field | meaning |
 * |---|---|---|---|
 * | 0 | 4 | code | which item it is |
 * | 4 | 4 | length | bytes of the body |
 * | 8 | ... | body | see below |
 *
 * | code | item | body |
 * |---|---|---|
 * | 1 | entries | records (codec/record.ts), one after another |
 * | 2 | hard state | term (8 bytes), 1 if there is a vote or else 0 (1 byte), the id that got the vote |
 * | 3 | truncate | first index to remove (8) |
 * | 4 | cluster id | the id |
 * | 5 | compact | index (8) and term (8) of the new base, the configuration there (codec/config.ts) |
 * | 6 | reset | the same |
 *
 * **Version.** Batches have no version of their own: the version in the segment's header covers them, so any
 * change here, a new code included, needs a new version there (segment-header.ts).
 *
 * **Sectors.** A batch begins at a multiple of `SECTOR_BYTES` and shares no sector with another. So a write
 * that is interrupted can't touch what was durable before it.
 *
 * **Salt.** The salt comes from the store id. Without it, a batch of another log, left on disk where a file
 * was deleted, could pass for one of this log.
 *
 * **Torn write or damage (D3, D4).** A batch that doesn't match its checksum is one of two things. Either its
 * write was interrupted (a torn write): then nobody was told that it is durable, and recovery removes it. Or
 * it was durable and is damaged: then removing it could remove committed entries, and the node must not
 * start. The space of a segment is preallocated with zeros and written once, so a sector that a torn write
 * didn't reach is zero. A batch counts as torn exactly if its header is missing or cut short, or its end
 * mark's last byte is zero, or it has more blank sectors than its header says. Otherwise all of it was
 * written, and it is damaged. One case can't be told apart: the last batch was durable, and one of its
 * sectors turned to zeros since. It counts as torn.
 */

/** The size of a sector, which a disk writes whole or not at all. */
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
const encoder = new TextEncoder();

/** One step in a batch. The items of a batch take effect in their order. */
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

/** The size of the whole sectors that `bytes` take. */
export function roundUpToSector(bytes: number): number {
  return Math.ceil(bytes / SECTOR_BYTES) * SECTOR_BYTES;
}

/** The bytes that `item` takes in a batch, its code and length included. */
export function itemBytes(item: BatchItem): number {
  return ITEM_HEADER_BYTES + bodyBytes(item);
}

/** The length of a batch whose items take `bytes`, from the magic to the end mark. */
export function batchBytes(bytes: number): number {
  return BATCH_HEADER_BYTES + bytes + BATCH_TRAILER_BYTES;
}

/**
 * Writes a batch to the start of `target`, padded with zeros to whole sectors; returns the number of bytes
 * with the padding. `target.byteOffset` must be a multiple of 4, because blank sectors are looked for word by
 * word.
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

/** What is at a place where a batch may begin. */
export type FoundBatch =
  /** A batch that matches its checksums. `length` is without the padding. */
  | { readonly state: "whole"; readonly length: number; readonly items: readonly BatchItem[] }
  /** Free space, or a torn write. Nobody was told that a batch here is durable. */
  | { readonly state: "unfinished" }
  /** Anything else. It may have been durable, so it must not be removed. */
  | { readonly state: "damaged"; readonly why: string };

/**
 * Reads the batch at `offset`, a multiple of `SECTOR_BYTES`. Number `sequence` is expected there. The records
 * in the result are views of `bytes`.
 *
 * @throws DecodeError the checksums are right, but the items can't be decoded
 */
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

/** The header of the batch at `offset`; null: there is none that matches its checksum. */
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

/**
 * Whether bytes that are no valid header are free space or a torn write. If the first sector was never
 * written, the header is all zeros. If the write stopped within the header, the rest of its sector is zeros,
 * where a complete batch has items.
 */
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

/**
 * Counts the sectors of zeros between the first and the last. These two are never blank: the first has the
 * header, the last the end mark.
 */
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
      return 9 + encoder.encode(item.hardState.votedFor ?? "").length;
    case "truncate":
      return 8;
    case "cluster-id":
      return encoder.encode(item.clusterId).length;
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
      target.set(encoder.encode(votedFor ?? ""), body + 9);
      break;
    }
    case "truncate":
      writeUint64(target, body, item.from);
      break;
    case "cluster-id":
      target.set(encoder.encode(item.clusterId), body);
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
      throw new UnknownKindError(`an item of unknown type ${String(code)}`, false);
  }
}

/** The records that `bytes` consists of, as views of it. Checks their headers, not their checksums. */
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
