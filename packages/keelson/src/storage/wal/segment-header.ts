import { crc32 } from "#platform";
import type { HardState } from "../../core/action.ts";
import type { LogPosition, NodeId } from "../../core/position.ts";
import { fromHex, toHex } from "../../codec/hex.ts";
import { readUint32, readUint64, writeUint32, writeUint64 } from "../../codec/little-endian.ts";
import { DecodeError } from "../../errors.ts";
import { roundUpToSector } from "./batch-format.ts";

/*
 * The on-disk format of a segment's header. It says whose log the segment belongs to, and sums up all
 * segments before it, so that these can be deleted. It is durable before the file gets its name, and never
 * changes. All numbers are unsigned and little-endian; texts are UTF-8.
 *
 * | offset | size | field | meaning |
 * |---|---|---|---|
 * | 0 | 8 | magic | "KEELWAL\n" |
 * | 8 | 4 | length | bytes of the header, without the padding |
 * | 12 | 4 | checksum | CRC-32 of the header, these four bytes left out |
 * | 16 | 4 | version | version of the format, 1 |
 * | 20 | 4 | file size | bytes of the segment's file |
 * | 24 | 8 | segment | number of this segment: one more than that of the segment before it |
 * | 32 | 8 | first batch | sequence number of the first batch in this segment |
 * | 40 | 8 | term | the hard state's term |
 * | 48 | 8 | last index | the last entry's index |
 * | 56 | 8 | last term | the last entry's term |
 * | 64 | 8 | base index | the base's index |
 * | 72 | 8 | base term | the base's term |
 * | 80 | 8 | reserved | zero |
 * | 88 | 16 | store id | the bytes that the store id's hexadecimal digits stand for |
 * | 104 | 4 | length of 1 | bytes of the node id |
 * | 108 | 4 | length of 2 | bytes of the cluster id, plus 1; 0: the node belongs to no cluster |
 * | 112 | 4 | length of 3 | bytes of the vote, plus 1; 0: no vote in this term |
 * | 116 | 4 | length of 4 | bytes of the base's configuration |
 * | 120 | ... | parts 1 to 4 | node id, cluster id, vote, base configuration (codec/config.ts) |
 * | length | ... | padding | zeros to the end of the sector |
 *
 * **Version rule.** The version covers the header and all batches in the segment (batch-format.ts). Any
 * change of bytes or of their meaning gets a new version. A program reads one version only and refuses others
 * without changing anything (`Recovery`). Magic, length, checksum and version stay where they are in every
 * version, so that each program can tell another version from damage.
 */

/**
 * What the log is at the beginning of a segment: all that has to be kept of the segments before it once these
 * are deleted.
 */
export interface LogSummary {
  readonly clusterId: string | null;
  readonly hardState: HardState;
  readonly base: LogPosition;
  /** The configuration in force at `base`, encoded; empty at index 0. */
  readonly basePayload: Uint8Array;
  readonly last: LogPosition;
}

/**
 * A copy of the summary's fields as they are now. A `LogOutline` has the same fields, but they go on
 * changing.
 */
export function summaryOf({ clusterId, hardState, base, basePayload, last }: LogSummary): LogSummary {
  return { clusterId, hardState, base, basePayload, last };
}

/** A segment's header, decoded. */
export interface SegmentHeader extends LogSummary {
  readonly nodeId: NodeId;
  /** 32 hexadecimal digits. */
  readonly storeId: string;
  /** This segment's number: one more than that of the segment before it. */
  readonly segment: number;
  /** The number of its first batch. Batches from this number on are never in earlier segments. */
  readonly firstBatch: number;
  /** The size of the file in bytes. */
  readonly bytes: number;
}

/** The only version that this program writes and reads. */
export const FORMAT_VERSION = 1;
const encoder = new TextEncoder();
const MAGIC = encoder.encode("KEELWAL\n");
const LENGTH_AT = 8;
const CHECKSUM_AT = 12;
const VERSION_AT = 16;
const FILE_BYTES_AT = 20;
const NUMBERS_AT = 24;
const STORE_ID_AT = 88;
const STORE_ID_BYTES = 16;
const LENGTHS_AT = 104;
const PARTS_AT = 120;

/** How much of a file must be read to learn how long its header is. */
export const HEADER_PREFIX_BYTES: number = PARTS_AT;

/**
 * The most bytes of a header: one that states more is damaged. The node id is short, and a configuration has
 * at most `MEMBERS_MAX` members, so real headers stay far below this.
 */
export const SEGMENT_HEADER_BYTES_MAX: number = 1024 * 1024;

/** The header's bytes, padded with zeros to whole sectors. */
export function encodeSegmentHeader(header: SegmentHeader): Uint8Array {
  const { clusterId, hardState, base, last } = header;
  const parts = [
    encoder.encode(header.nodeId),
    encoder.encode(clusterId ?? ""),
    encoder.encode(hardState.votedFor ?? ""),
    header.basePayload,
  ];
  const length = PARTS_AT + parts.reduce((sum, part) => sum + part.length, 0);
  const bytes = new Uint8Array(roundUpToSector(length));
  bytes.set(MAGIC);
  writeUint32(bytes, LENGTH_AT, length);
  writeUint32(bytes, VERSION_AT, FORMAT_VERSION);
  writeUint32(bytes, FILE_BYTES_AT, header.bytes);
  const numbers = [
    header.segment,
    header.firstBatch,
    hardState.term,
    last.index,
    last.term,
    base.index,
    base.term,
  ];
  numbers.forEach((value, at) => writeUint64(bytes, NUMBERS_AT + at * 8, value));
  bytes.set(fromHex(header.storeId), STORE_ID_AT);
  const absent = [false, clusterId === null, hardState.votedFor === null, false];
  let at = PARTS_AT;
  parts.forEach((part, which) => {
    // Cluster id and vote may be absent, so their lengths are stored plus one.
    const optional = which === 1 || which === 2;
    const stored = optional ? (absent[which] === true ? 0 : part.length + 1) : part.length;
    writeUint32(bytes, LENGTHS_AT + which * 4, stored);
    bytes.set(part, at);
    at += part.length;
  });
  writeUint32(bytes, CHECKSUM_AT, checksumOf(bytes, length));
  return bytes;
}

/**
 * The length of the header that `prefix` begins with, without the padding; null: it is no header. `prefix`
 * holds at least the first `HEADER_PREFIX_BYTES` of the file, if the file has as many.
 */
export function segmentHeaderBytes(prefix: Uint8Array): number | null {
  if (prefix.length < PARTS_AT || MAGIC.some((byte, at) => prefix[at] !== byte)) return null;
  const length = readUint32(prefix, LENGTH_AT);
  return length < PARTS_AT || length > SEGMENT_HEADER_BYTES_MAX ? null : length;
}

/** The format's version, from a header that matches its checksum; null: it is damaged. */
export function segmentVersion(bytes: Uint8Array): number | null {
  const length = segmentHeaderBytes(bytes);
  if (length === null || length > bytes.length) return null;
  if (readUint32(bytes, CHECKSUM_AT) !== checksumOf(bytes, length)) return null;
  return readUint32(bytes, VERSION_AT);
}

/**
 * Decodes a header for which `segmentVersion` returned this program's version.
 *
 * @throws DecodeError the lengths of its parts exceed the header, though the checksum is right
 */
export function decodeSegmentHeader(bytes: Uint8Array): SegmentHeader {
  const number = (which: number) => readUint64(bytes, NUMBERS_AT + which * 8);
  let at = PARTS_AT;
  const part = (which: number): Uint8Array | null => {
    const stored = readUint32(bytes, LENGTHS_AT + which * 4);
    const optional = which === 1 || which === 2;
    if (optional && stored === 0) return null;
    const from = at;
    at += optional ? stored - 1 : stored;
    if (at > bytes.length) throw new DecodeError("the parts of a segment's header are longer than it is");
    return bytes.slice(from, at);
  };
  const text = (value: Uint8Array | null) => (value === null ? null : new TextDecoder().decode(value));
  const nodeId = text(part(0)) ?? "";
  const clusterId = text(part(1));
  const votedFor = text(part(2));
  return {
    nodeId,
    clusterId,
    storeId: toHex(bytes.subarray(STORE_ID_AT, STORE_ID_AT + STORE_ID_BYTES)),
    segment: number(0),
    firstBatch: number(1),
    bytes: readUint32(bytes, FILE_BYTES_AT),
    hardState: { term: number(2), votedFor },
    last: { index: number(3), term: number(4) },
    base: { index: number(5), term: number(6) },
    basePayload: part(3) ?? new Uint8Array(0),
  };
}

/** The initial value of all checksums of batches in this store's log. */
export function saltOf(storeId: string): number {
  return crc32(encoder.encode(storeId));
}

function checksumOf(bytes: Uint8Array, length: number): number {
  return crc32(bytes.subarray(VERSION_AT, length), crc32(bytes.subarray(0, CHECKSUM_AT)));
}
