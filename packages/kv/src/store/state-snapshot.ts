/**
 * The key-value state as one stream of bytes, for snapshots. All numbers are big-endian.
 *
 * The header, once:
 *
 * | offset | type    | content                       |
 * | ------ | ------- | ----------------------------- |
 * | 0      | 4 bytes | "KVS" and the format, 1       |
 * | 4      | u64     | puts and deletes applied      |
 *
 * Then each database entry with the prefix `d` (`state-layout.ts`), in byte order of the keys:
 *
 * | offset | type    | content                       |
 * | ------ | ------- | ----------------------------- |
 * | 0      | u32     | length of the database key, k |
 * | 4      | u32     | length of the database value  |
 * | 8      | bytes   | the database key              |
 * | 8 + k  | bytes   | the database value            |
 *
 * The entries go into the snapshot as they lie in the database, versions included. The position and the
 * session records aren't here: the library keeps them beside these bytes in the snapshot file.
 */

/** A key and its value as they lie in the database. */
export type StateEntry = readonly [key: Uint8Array, value: Uint8Array];

const MAGIC = Buffer.from([0x4b, 0x56, 0x53, 1]);
const HEADER_BYTES = MAGIC.length + 8;
/** The two lengths before each entry. */
const LENGTHS_BYTES = 8;

/**
 * Entries are yielded in chunks of about this size, because a chunk per entry would cost more than its bytes.
 */
const CHUNK_BYTES = 64 * 1024;

/** Far above any key or value. A greater length means damage, and we must not buffer that much. */
const PART_BYTES_MAX = 64 * 1024 * 1024;

/**
 * Encodes the state. The library asks for the first chunk at once, between two batches, and this generator
 * begins to iterate `entries` before its first `yield`. So the entries are those of that moment.
 */
export async function* encodeState(
  count: number,
  entries: AsyncIterable<StateEntry>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const header = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(header);
  header.writeBigUInt64BE(BigInt(count), MAGIC.length);
  let pieces: Uint8Array[] = [header];
  let bytes = HEADER_BYTES;
  for await (const [key, value] of entries) {
    const lengths = Buffer.allocUnsafe(LENGTHS_BYTES);
    lengths.writeUInt32BE(key.length, 0);
    lengths.writeUInt32BE(value.length, 4);
    pieces.push(lengths, key, value);
    bytes += LENGTHS_BYTES + key.length + value.length;
    if (bytes < CHUNK_BYTES) continue;
    yield Buffer.concat(pieces, bytes);
    pieces = [];
    bytes = 0;
  }
  yield Buffer.concat(pieces, bytes);
}

/**
 * Decodes what `encodeState` wrote; `chunks` may be cut anywhere. Resolves when the header is read, and
 * rejects if the bytes don't begin with one. Iterating `entries` throws if a length is too great, or if the
 * bytes end in the middle of an entry. Other damage isn't noticed here. The library notices it by the
 * snapshot file's checksums, and then iterating `chunks` throws.
 */
export async function decodeState(
  chunks: AsyncIterable<Uint8Array>,
): Promise<{ readonly count: number; readonly entries: AsyncIterable<StateEntry> }> {
  const reader = new ChunkReader(chunks);
  const header = await reader.take(HEADER_BYTES);
  if (header === null || Buffer.compare(header.subarray(0, MAGIC.length), MAGIC) !== 0) {
    throw new Error("the snapshot is not one of a key-value state, or of a later version of this program");
  }
  return { count: Number(header.readBigUInt64BE(MAGIC.length)), entries: readEntries(reader) };
}

async function* readEntries(reader: ChunkReader): AsyncGenerator<StateEntry, void, undefined> {
  for (
    let lengths = await reader.take(LENGTHS_BYTES);
    lengths !== null;
    lengths = await reader.take(LENGTHS_BYTES)
  ) {
    const keyBytes = lengths.readUInt32BE(0);
    const valueBytes = lengths.readUInt32BE(4);
    if (keyBytes > PART_BYTES_MAX || valueBytes > PART_BYTES_MAX) {
      throw new Error(`the snapshot announces an entry of ${keyBytes} and ${valueBytes} bytes`);
    }
    const entry = await reader.take(keyBytes + valueBytes);
    if (entry === null) throw endedEarly();
    yield [entry.subarray(0, keyBytes), entry.subarray(keyBytes)];
  }
}

function endedEarly(): Error {
  return new Error("the snapshot ends in the middle of an entry");
}

/** Reads exact numbers of bytes from a stream of chunks of any size. */
class ChunkReader {
  readonly #chunks: AsyncIterator<Uint8Array>;
  /** Bytes received; those from `#offset` on are not taken yet. */
  #buffer: Buffer = Buffer.alloc(0);
  #offset = 0;

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /**
   * The next `length` bytes, which nothing overwrites later. null: the stream ended before the first of them.
   * Throws if it ended among them.
   */
  async take(length: number): Promise<Buffer | null> {
    if (this.#buffer.length - this.#offset < length && !(await this.#fill(length))) {
      if (this.#buffer.length > this.#offset) throw endedEarly();
      return null;
    }
    this.#offset += length;
    return this.#buffer.subarray(this.#offset - length, this.#offset);
  }

  /** Receives chunks until `length` bytes can be taken. Resolves with false if the stream ends before. */
  async #fill(length: number): Promise<boolean> {
    const pieces: Uint8Array[] = [this.#buffer.subarray(this.#offset)];
    let bytes = this.#buffer.length - this.#offset;
    while (bytes < length) {
      const next = await this.#chunks.next();
      if (next.done === true) break;
      pieces.push(next.value);
      bytes += next.value.length;
    }
    this.#buffer = Buffer.concat(pieces, bytes);
    this.#offset = 0;
    return bytes >= length;
  }
}
