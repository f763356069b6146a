import { crc32 } from "node:zlib";
import type { HardState } from "../../core/action.ts";
import type { LogPosition, NodeId } from "../../core/position.ts";
import { readUint32, readUint64, writeUint32, writeUint64 } from "../../codec/little-endian.ts";
import { DecodeError } from "../../errors.ts";
import { roundUpToSector } from "./batch-format.ts";

/**
 * What a segment begins with: whose it is, and all that the segments before it amounted to, so that
 * they can be deleted. It is durable before the segment gets its name, and never changes.
 */
export interface SegmentHeader {
  readonly nodeId: NodeId;
  readonly clusterId: string | null;
  /** 32 hexadecimal digits. */
  readonly storeId: string;
  /** The segment's own number: one more than that of the segment before. */
  readonly segment: number;
  /** The number of its first batch. Batches from this number on are not looked for in earlier segments. */
  readonly firstBatch: number;
  /** The size of the file in bytes. */
  readonly bytes: number;
  readonly hardState: HardState;
  readonly base: LogPosition;
  /** The encoded configuration at `base`; empty at index 0. */
  readonly basePayload: Uint8Array;
  readonly last: LogPosition;
}

/**
 * | offset | bytes | what |
 * |---|---|---|
 * | 0 | 8 | magic |
 * | 8 | 4 | length of the header |
 * | 12 | 4 | CRC-32 of the header, these four bytes left out: here in every version of the format |
 * | 16 | 4 | version of the format |
 * | 20 | 4 | size of the file |
 * | 24 | 8 × 8 | segment, first batch, term, last index and term, base index and term, (zero) |
 * | 88 | 16 | store id |
 * | 104 | 4 × 4 | bytes of node id, cluster id + 1 or 0, vote + 1 or 0, base configuration |
 * | 120 | ... | those four, then zeros to the end of the sector |
 */
export const FORMAT_VERSION = 1;
const MAGIC = new TextEncoder().encode("KEELWAL\n");
const LENGTH_AT = 8;
const CHECKSUM_AT = 12;
const VERSION_AT = 16;
const FILE_BYTES_AT = 20;
const NUMBERS_AT = 24;
const STORE_ID_AT = 88;
const STORE_ID_BYTES = 16;
const LENGTHS_AT = 104;
const PARTS_AT = 120;

/** The header says so itself; this much must be read to know how long it is. */
export const HEADER_PREFIX_BYTES = PARTS_AT;

/** Names are short, and a configuration has at most MEMBERS_MAX members: far below this. */
export const SEGMENT_HEADER_BYTES_MAX = 1024 * 1024;

/** Padded with zeros to whole sectors. */
export function encodeSegmentHeader(header: SegmentHeader): Uint8Array {
  const { clusterId, hardState, base, last } = header;
  const parts = [
    Buffer.from(header.nodeId),
    Buffer.from(clusterId ?? ""),
    Buffer.from(hardState.votedFor ?? ""),
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
  bytes.set(Buffer.from(header.storeId, "hex"), STORE_ID_AT);
  const nothing = [false, clusterId === null, hardState.votedFor === null, false];
  let at = PARTS_AT;
  parts.forEach((part, which) => {
    const optional = which === 1 || which === 2;
    const stated = optional ? (nothing[which] === true ? 0 : part.length + 1) : part.length;
    writeUint32(bytes, LENGTHS_AT + which * 4, stated);
    bytes.set(part, at);
    at += part.length;
  });
  writeUint32(bytes, CHECKSUM_AT, checksumOf(bytes, length));
  return bytes;
}

/** How many bytes the header at the start of `prefix` has; null: it is no header. */
export function segmentHeaderBytes(prefix: Uint8Array): number | null {
  if (prefix.length < PARTS_AT || MAGIC.some((byte, at) => prefix[at] !== byte)) return null;
  const length = readUint32(prefix, LENGTH_AT);
  return length < PARTS_AT || length > SEGMENT_HEADER_BYTES_MAX ? null : length;
}

/** The version of the format, for a header that is whole; null: it is damaged. */
export function segmentVersion(bytes: Uint8Array): number | null {
  const length = segmentHeaderBytes(bytes);
  if (length === null || length > bytes.length) return null;
  if (readUint32(bytes, CHECKSUM_AT) !== checksumOf(bytes, length)) return null;
  return readUint32(bytes, VERSION_AT);
}

/** Reads a header that `segmentVersion` found to be whole and of this version. */
export function decodeSegmentHeader(bytes: Uint8Array): SegmentHeader {
  const number = (which: number) => readUint64(bytes, NUMBERS_AT + which * 8);
  let at = PARTS_AT;
  const part = (which: number): Uint8Array | null => {
    const stated = readUint32(bytes, LENGTHS_AT + which * 4);
    const optional = which === 1 || which === 2;
    if (optional && stated === 0) return null;
    const from = at;
    at += optional ? stated - 1 : stated;
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
    storeId: Buffer.from(bytes.subarray(STORE_ID_AT, STORE_ID_AT + STORE_ID_BYTES)).toString("hex"),
    segment: number(0),
    firstBatch: number(1),
    bytes: readUint32(bytes, FILE_BYTES_AT),
    hardState: { term: number(2), votedFor },
    last: { index: number(3), term: number(4) },
    base: { index: number(5), term: number(6) },
    basePayload: part(3) ?? new Uint8Array(0),
  };
}

/** What the checksums of a store's batches begin with. */
export function saltOf(storeId: string): number {
  return crc32(storeId);
}

function checksumOf(bytes: Uint8Array, length: number): number {
  return crc32(bytes.subarray(VERSION_AT, length), crc32(bytes.subarray(0, CHECKSUM_AT)));
}
