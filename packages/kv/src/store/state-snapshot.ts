/** An entry of the database, as it lies there. */
export type StateEntry = readonly [key: Uint8Array, value: Uint8Array];

// A snapshot of the state: "KVS" and the format's version, u64 of applied puts and deletes; then each
// entry: u32 length of the key, u32 length of the value, key, value. Numbers are big-endian.
const MAGIC = Buffer.from([0x4b, 0x56, 0x53, 1]);
const HEAD_BYTES = MAGIC.length + 8;
const LENGTHS_BYTES = 8;

/** Entries are gathered into pieces of about this size: one for each would cost more than its bytes. */
const PIECE_BYTES = 64 * 1024;

/** No key or value is longer: what says so is damaged, and must not be waited for. */
const PART_BYTES_MAX = 64 * 1024 * 1024;

/** The state as bytes. The entries are asked for at once, so that they are those of this moment. */
export async function* encodeState(
  count: number,
  entries: AsyncIterable<StateEntry>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const head = Buffer.alloc(HEAD_BYTES);
  MAGIC.copy(head);
  head.writeBigUInt64BE(BigInt(count), MAGIC.length);
  let pieces: Uint8Array[] = [head];
  let bytes = HEAD_BYTES;
  for await (const [key, value] of entries) {
    const lengths = Buffer.allocUnsafe(LENGTHS_BYTES);
    lengths.writeUInt32BE(key.length, 0);
    lengths.writeUInt32BE(value.length, 4);
    pieces.push(lengths, key, value);
    bytes += LENGTHS_BYTES + key.length + value.length;
    if (bytes < PIECE_BYTES) continue;
    yield Buffer.concat(pieces, bytes);
    pieces = [];
    bytes = 0;
  }
  yield Buffer.concat(pieces, bytes);
}

/** What `encodeState` made these bytes of, however they are cut: first the count, then the entries. */
export async function decodeState(
  chunks: AsyncIterable<Uint8Array>,
): Promise<{ readonly count: number; readonly entries: AsyncIterable<StateEntry> }> {
  const bytes = new Bytes(chunks);
  const head = await bytes.take(HEAD_BYTES);
  if (head === null || Buffer.compare(head.subarray(0, MAGIC.length), MAGIC) !== 0) {
    throw new Error("the snapshot is not one of a key-value state, or of a later version of this program");
  }
  return { count: Number(head.readBigUInt64BE(MAGIC.length)), entries: entriesIn(bytes) };
}

async function* entriesIn(bytes: Bytes): AsyncGenerator<StateEntry, void, undefined> {
  for (
    let lengths = await bytes.take(LENGTHS_BYTES);
    lengths !== null;
    lengths = await bytes.take(LENGTHS_BYTES)
  ) {
    const keyBytes = lengths.readUInt32BE(0);
    const valueBytes = lengths.readUInt32BE(4);
    if (keyBytes > PART_BYTES_MAX || valueBytes > PART_BYTES_MAX) {
      throw new Error(`the snapshot announces an entry of ${keyBytes} and ${valueBytes} bytes`);
    }
    const entry = await bytes.take(keyBytes + valueBytes);
    if (entry === null) throw cutShort();
    yield [entry.subarray(0, keyBytes), entry.subarray(keyBytes)];
  }
}

function cutShort(): Error {
  return new Error("the snapshot ends in the middle of an entry");
}

/** Takes a stream apart into pieces of given sizes. */
class Bytes {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #held: Buffer = Buffer.alloc(0);
  #at = 0;

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** The next so many bytes, the caller's to keep; null: there are none at all. */
  async take(length: number): Promise<Buffer | null> {
    if (this.#held.length - this.#at < length && !(await this.#fill(length))) {
      if (this.#held.length > this.#at) throw cutShort();
      return null;
    }
    this.#at += length;
    return this.#held.subarray(this.#at - length, this.#at);
  }

  /** Holds at least so many bytes; false: there are not so many. */
  async #fill(length: number): Promise<boolean> {
    const pieces: Uint8Array[] = [this.#held.subarray(this.#at)];
    let bytes = this.#held.length - this.#at;
    let isOver = false;
    while (bytes < length && !isOver) {
      const next = await this.#chunks.next();
      isOver = next.done === true;
      if (next.done === true) break;
      pieces.push(next.value);
      bytes += next.value.length;
    }
    this.#held = Buffer.concat(pieces, bytes);
    this.#at = 0;
    return bytes >= length;
  }
}
