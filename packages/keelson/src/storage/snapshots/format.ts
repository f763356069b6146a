import { crc32 } from "#platform";
import { CLUSTER_ID_BYTES_MAX } from "../../codec/frame-control-message.ts";
import { ByteReader } from "../../codec/byte-reader.ts";
import { ByteWriter } from "../../codec/byte-writer.ts";
import { SNAPSHOT_ID_BYTES_MAX } from "../../codec/frame-runtime-message.ts";
import { decodeMembership } from "../../codec/config.ts";
import { assert } from "../../core/assert.ts";
import type { FileHandle } from "../../environment/environment.ts";
import { CorruptSnapshotError, DecodeError } from "../../errors.ts";
import type { SnapshotHeader } from "../snapshot-store.ts";

/*
 * The on-disk format of a snapshot: one file, with the same bytes on every node. A header comes first, then
 * blocks of the sessions, then blocks of the state, then the end block. All numbers are unsigned and
 * little-endian.
 *
 * | offset | size | field | meaning |
 * |---|---|---|---|
 * | 0 | 3 | magic | "KLP" |
 * | 3 | 1 | version | version of the format, 2 |
 * | 4 | 4 | checksum | CRC-32 of the header from offset 8 on |
 * | 8 | 4 | length | bytes of the header from offset 12 on |
 * | 12 | 2 + n | id | length (2) and UTF-8 bytes |
 * | ... | 2 + n | cluster id | length (2) and UTF-8 bytes |
 * | ... | 8 | term | term of the last entry whose effects the snapshot holds |
 * | ... | 8 | index | index of that entry |
 * | ... | ... | membership | in force at that entry (codec/config.ts), up to the end of the header |
 *
 * | offset in a block | size | field | meaning |
 * |---|---|---|---|
 * | 0 | 4 | length | bytes of the contents, at most `BLOCK_BYTES_MAX` |
 * | 4 | 4 | checksum | CRC-32 of type and contents |
 * | 8 | 4 | type | 1: sessions, 2: state, 3: end |
 * | 12 | ... | contents | see below |
 *
 * | type | contents |
 * |---|---|
 * | sessions | the next bytes of the encoded session table |
 * | state | the next bytes of the state machine's state |
 * | end | number of bytes before this block (8), CRC-32 of these bytes (4) |
 *
 * The end block is the last in the file. It makes sure that a file that was cut short, or assembled from
 * parts of several snapshots, doesn't pass for a complete one although each of its blocks is right (S15).
 *
 * **Version rule.** Any change of bytes or of their meaning gets a new version. A program reads one version
 * only. A file of another version may be intact, and hold entries that nothing else on the machine holds: a
 * node with such a file refuses to start, as for the log, and changes nothing. The first four bytes stay what
 * they are in every version.
 */
/** What a block holds. */
export const BlockType = { sessions: 1, state: 2, end: 3 } as const;

/**
 * Version 1 isn't read any more. Its sessions were empty both if none were open and if the node didn't know
 * which were, and they held readings of wall clocks.
 */
const FORMAT_VERSION = 2;
/** "KLP" and the version, read as one number. */
const MAGIC = 0x00_50_4c_4b + FORMAT_VERSION * 0x1_00_00_00;
const PREFIX_BYTES = 12;
export const BLOCK_HEADER_BYTES = 12;
const END_PAYLOAD_BYTES = 12;
export const END_BLOCK_BYTES: number = BLOCK_HEADER_BYTES + END_PAYLOAD_BYTES;

/**
 * The limit on a block's contents. A block is written and checked as a whole: this is large enough for few
 * disk operations, and small enough that several are in memory at once.
 */
export const BLOCK_BYTES_MAX: number = 256 * 1024;

/** The most bytes of a header; a longer one is damaged. A membership of `MEMBERS_MAX` members fits. */
const HEADER_BYTES_MAX = 1024 * 1024;

/** A block that matches its checksum. */
export interface Block {
  readonly type: number;
  readonly payload: Uint8Array;
  /** Where the next block begins, in bytes from the start of the file. */
  readonly end: number;
}

/** An open file that holds a snapshot, or the beginning of one that is still being received. */
export interface SnapshotFile {
  readonly handle: FileHandle;
  /** For error messages. */
  readonly path: string;
  /** The size of the file. */
  readonly bytes: number;
}

/** One writer for all calls is enough: each call takes its bytes out before it returns. */
const writer = new ByteWriter();

/** A snapshot's header as bytes. */
export function encodeHeader({ id, clusterId, position, membership }: SnapshotHeader): Uint8Array {
  writer.begin(PREFIX_BYTES);
  writer.text(id, SNAPSHOT_ID_BYTES_MAX);
  writer.text(clusterId, CLUSTER_ID_BYTES_MAX);
  writer.integer(position.term);
  writer.integer(position.index);
  const head = writer.take();
  const bytes = new Uint8Array(head.length + membership.length);
  bytes.set(head);
  bytes.set(membership, head.length);
  assert(bytes.length <= HEADER_BYTES_MAX, "a snapshot's header keeps to its limit");
  const view = viewOf(bytes);
  view.setUint32(0, MAGIC, true);
  view.setUint32(8, bytes.length - PREFIX_BYTES, true);
  view.setUint32(4, crc32(bytes.subarray(8)), true);
  return bytes;
}

/**
 * Reads and checks the header of a file. Resolves with its bytes as well, for the checksum of the whole.
 *
 * @throws CorruptSnapshotError
 */
export async function readHeader(
  file: SnapshotFile,
): Promise<{ readonly header: SnapshotHeader; readonly bytes: Uint8Array }> {
  const prefix = await readExactly(file, 0, PREFIX_BYTES);
  const view = viewOf(prefix);
  const magic = view.getUint32(0, true);
  if (magic !== MAGIC) {
    if ((magic & 0xff_ff_ff) === (MAGIC & 0xff_ff_ff)) throw ofOtherVersion(file, magic >>> 24);
    throw corrupt(file, 0, "it does not begin as a snapshot does");
  }
  const length = view.getUint32(8, true);
  if (length > HEADER_BYTES_MAX) throw corrupt(file, 8, `its header announces ${String(length)} bytes`);
  const bytes = await readExactly(file, 0, PREFIX_BYTES + length);
  if (crc32(bytes.subarray(8)) !== view.getUint32(4, true)) {
    throw corrupt(file, 0, "the checksum of its header is wrong");
  }
  try {
    return { header: decodeHeader(bytes), bytes };
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    throw corrupt(file, PREFIX_BYTES, `its header cannot be read: ${error.message}`);
  }
}

function decodeHeader(bytes: Uint8Array): SnapshotHeader {
  const reader = new ByteReader(bytes, viewOf(bytes), PREFIX_BYTES, bytes.length);
  const id = reader.text(SNAPSHOT_ID_BYTES_MAX);
  const clusterId = reader.text(CLUSTER_ID_BYTES_MAX);
  const position = { term: reader.integer(), index: reader.integer() };
  const membership = reader.rest();
  decodeMembership(membership);
  return { id, clusterId, position, membership };
}

/** A block as two pieces of bytes, one after the other, so that the contents needn't be copied. */
export function encodeBlock(type: number, payload: Uint8Array): readonly [Uint8Array, Uint8Array] {
  const head = new Uint8Array(BLOCK_HEADER_BYTES);
  const view = viewOf(head);
  view.setUint32(0, payload.length, true);
  view.setUint32(8, type, true);
  view.setUint32(4, crc32(payload, crc32(head.subarray(8))), true);
  return [head, payload];
}

/** The end block of a snapshot. `bytes` and `checksum` are those of everything before it. */
export function encodeEnd(bytes: number, checksum: number): readonly [Uint8Array, Uint8Array] {
  writer.begin(0);
  writer.integer(bytes);
  writer.u32(checksum);
  return encodeBlock(BlockType.end, writer.take());
}

/**
 * Reads and checks a whole file: yields its blocks in order, without the end block. Throws
 * `CorruptSnapshotError` at the first failed check; the blocks yielded before are right. Only a caller that
 * reads to the end knows that the snapshot is complete.
 */
export async function* readBlocks(file: SnapshotFile): AsyncGenerator<Block, void, undefined> {
  const header = await readHeader(file);
  let at = header.bytes.length;
  let checksum = crc32(header.bytes);
  for (;;) {
    const head = await readExactly(file, at, BLOCK_HEADER_BYTES);
    const view = viewOf(head);
    const length = view.getUint32(0, true);
    if (length > BLOCK_BYTES_MAX) throw corrupt(file, at, `a block announces ${String(length)} bytes`);
    const payload = await readExactly(file, at + BLOCK_HEADER_BYTES, length);
    if (crc32(payload, crc32(head.subarray(8))) !== view.getUint32(4, true)) {
      throw corrupt(file, at, "the checksum of a block is wrong");
    }
    const end = at + BLOCK_HEADER_BYTES + length;
    const type = view.getUint32(8, true);
    if (type === BlockType.end) {
      checkEnd(file, at, payload, checksum);
      return;
    }
    if (type !== BlockType.sessions && type !== BlockType.state) {
      throw corrupt(file, at, `a block has the unknown type ${String(type)}`);
    }
    checksum = crc32(payload, crc32(head, checksum));
    yield { type, payload, end };
    at = end;
  }
}

/**
 * Checks the end block alone, without reading the rest: shows whether the file was cut short.
 *
 * @throws CorruptSnapshotError
 */
export async function checkLastBlock(file: SnapshotFile): Promise<void> {
  const at = file.bytes - END_BLOCK_BYTES;
  if (at < PREFIX_BYTES) throw corrupt(file, 0, `it has only ${String(file.bytes)} bytes`);
  const bytes = await readExactly(file, at, END_BLOCK_BYTES);
  const view = viewOf(bytes);
  const isEnd =
    view.getUint32(0, true) === END_PAYLOAD_BYTES &&
    view.getUint32(4, true) === crc32(bytes.subarray(8)) &&
    view.getUint32(8, true) === BlockType.end &&
    lengthAt(view, BLOCK_HEADER_BYTES) === at;
  if (!isEnd) throw corrupt(file, at, "its end is missing: it is not complete");
}

/** Checks the end block, at `at`, against what was read before it. */
function checkEnd(file: SnapshotFile, at: number, payload: Uint8Array, checksum: number): void {
  if (payload.length !== END_PAYLOAD_BYTES) throw corrupt(file, at, "its end has the wrong length");
  const view = viewOf(payload);
  if (lengthAt(view, 0) !== at) throw corrupt(file, at, "its end belongs elsewhere");
  if (view.getUint32(8, true) !== checksum) throw corrupt(file, at, "the checksum of the whole is wrong");
  if (at + END_BLOCK_BYTES !== file.bytes) throw corrupt(file, at, "bytes follow its end");
}

/** Reads `length` bytes; a file that ends before that is damaged. */
async function readExactly(file: SnapshotFile, at: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  const read = at + length > file.bytes ? 0 : await file.handle.read(bytes, at);
  if (read < length) throw corrupt(file, at, "it ends too early");
  return bytes;
}

function corrupt({ path }: SnapshotFile, offset: number, what: string): CorruptSnapshotError {
  return new CorruptSnapshotError(
    path,
    offset,
    `the snapshot ${path} is damaged at byte ${String(offset)}: ${what}`,
  );
}

function ofOtherVersion({ path }: SnapshotFile, version: number): CorruptSnapshotError {
  return new CorruptSnapshotError(
    path,
    0,
    `the snapshot ${path} has version ${String(version)} of the snapshots' format; this program reads version ` +
      String(FORMAT_VERSION),
    { otherVersion: version },
  );
}

/**
 * The 64-bit number at `at`, rounded if it's above 2^53. `ByteReader.integer` would throw then; here such a
 * number is damage, and differs from what it's compared with.
 */
function lengthAt(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 0x1_0000_0000;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
