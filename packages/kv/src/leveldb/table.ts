/**
 * Reads LevelDB's tables (`table/format.h`) and verifies the checksum of each of their blocks.
 *
 * A table is data blocks, a filter block, the metaindex block (where the filter is), the index block (where
 * the data blocks are), and a footer (where metaindex and index are). Every block is followed by a byte that
 * says how it is compressed, and by its checksum.
 */
import { ByteCursor, MalformedError, uint32At } from "./byte-cursor.ts";
import { crc32c, unmasked } from "./crc32c.ts";
import { decompress } from "./snappy.ts";

const FOOTER_BYTES = 48;
const TRAILER_BYTES = 5;
const MAGIC = Buffer.from("57fb808b247547db", "hex");
const Compression = { none: 0, snappy: 1 } as const;

/** Where a block is in its file. */
interface BlockHandle {
  readonly offset: number;
  readonly bytes: number;
}

/** The places of the blocks that a table consists of. */
export interface TableBlocks {
  /** The data blocks. Their checksums are not verified yet. */
  readonly data: readonly BlockHandle[];
}

/** One entry of a block. */
export interface BlockEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/**
 * Finds the blocks of a table, and verifies all but the data blocks.
 *
 * @throws MalformedError the footer, or one of the blocks that are verified, is damaged
 */
export function readTableBlocks(table: Uint8Array): TableBlocks {
  if (table.length < FOOTER_BYTES || Buffer.compare(table.subarray(-MAGIC.length), MAGIC) !== 0)
    throw new MalformedError("it does not end like a table");
  const footer = new ByteCursor(table, table.length - FOOTER_BYTES);
  const metaindex = handleOf(footer);
  const index = handleOf(footer);
  for (const { value } of entriesOf(readBlock(table, metaindex)))
    verifyBlock(table, handleOf(new ByteCursor(value)));
  return {
    data: [...entriesOf(readBlock(table, index))].map(({ value }) => handleOf(new ByteCursor(value))),
  };
}

/** @throws MalformedError the block does not match its checksum */
export function verifyBlock(table: Uint8Array, { offset, bytes }: BlockHandle): void {
  const end = offset + bytes;
  if (end + TRAILER_BYTES > table.length)
    throw new MalformedError(`the block at offset ${offset} ends after the file`);
  if (crc32c(table, offset, end + 1) !== unmasked(uint32At(table, end + 1)))
    throw new MalformedError(`the block at offset ${offset} does not match its checksum`);
}

/**
 * The content of a block.
 *
 * @throws MalformedError it does not match its checksum
 */
export function readBlock(table: Uint8Array, handle: BlockHandle): Uint8Array {
  verifyBlock(table, handle);
  const end = handle.offset + handle.bytes;
  const content = table.subarray(handle.offset, end);
  switch (table[end]) {
    case Compression.none:
      return content;
    case Compression.snappy:
      return decompress(content);
    default:
      throw new MalformedError(`the block at offset ${handle.offset} is compressed in an unknown way`);
  }
}

/**
 * The entries of a block's content. A key is stored as the number of bytes at its beginning that it shares
 * with the key before it, and the rest of its bytes.
 */
export function* entriesOf(block: Uint8Array): Generator<BlockEntry> {
  const restarts = block.length < 4 ? -1 : uint32At(block, block.length - 4);
  const end = block.length - 4 - restarts * 4;
  if (restarts < 0 || end < 0) throw new MalformedError("a block is too short");
  const cursor = new ByteCursor(block, 0, end);
  let key: Uint8Array = new Uint8Array(0);
  while (!cursor.isAtEnd) {
    const shared = cursor.varint();
    const unshared = cursor.varint();
    const valueBytes = cursor.varint();
    if (shared > key.length) throw new MalformedError("a key is longer than the one before it");
    key = Buffer.concat([key.subarray(0, shared), cursor.slice(unshared)]);
    yield { key, value: cursor.slice(valueBytes) };
  }
}

function handleOf(cursor: ByteCursor): BlockHandle {
  return { offset: cursor.varint(), bytes: cursor.varint() };
}
