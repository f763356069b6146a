// The memory of the records that the entry buffer keeps. It knows how much memory they really take.
//
// A record arrives as a view of something larger: of the frame that brought it, or of Node's shared pool of
// buffers. A view keeps all of that alive. So a buffer that counted the lengths of its records held several
// times its limit (Z11). Here every record is copied: a small one into a chunk that holds nothing but records
// of the buffer, a large one into memory of its own. Records are dropped in the order in which they came, so
// the oldest chunk is freed as a whole as soon as its last record is dropped.
import type { LogIndex } from "../../core/position.ts";

/**
 * Bytes of a chunk of a buffer with the default limit. A message that is being sent may keep a whole chunk
 * alive.
 */
const CHUNK_BYTES_MAX = 64 * 1024;

/**
 * A chunk is at most the limit divided by this: the oldest and the newest chunk may be partly unused, and
 * must not waste much of the limit.
 */
const CHUNKS_MIN = 32;

/**
 * A record of more than a chunk divided by this has memory of its own, so that the rest of a chunk isn't
 * wasted.
 */
const SHARERS_MIN = 4;

/**
 * The memory of a record besides its bytes: the places in the buffer's lists, and the view of the bytes. The
 * older records of a large buffer have no view, and take less than this.
 */
export const RECORD_OVERHEAD_BYTES = 128;

/** Memory that several records share. */
interface Chunk {
  readonly bytes: Uint8Array;
  /** Bytes in use, from its beginning. Only rises: a record that was truncated may still be being sent. */
  filled: number;
  /** One past the index of the newest record in it that is kept. */
  end: LogIndex;
}

/** Holds copies of records. The caller says when it drops one. */
export class RecordMemory {
  readonly #chunkBytes: number;
  /** Oldest first; the last one is being filled. */
  #chunks: Chunk[] = [];
  /** The bytes of records with memory of their own. */
  #separateBytes = 0;
  /** Records that are kept. */
  #count = 0;

  /** `bytesMax`: what the caller intends to keep. */
  constructor(bytesMax: number) {
    this.#chunkBytes = Math.min(CHUNK_BYTES_MAX, Math.floor(bytesMax / CHUNKS_MIN));
  }

  /** The memory that is held. */
  get bytes(): number {
    return this.#chunks.length * this.#chunkBytes + this.#separateBytes + this.#count * RECORD_OVERHEAD_BYTES;
  }

  /**
   * Takes the record of this entry, which comes after all others. Returns a copy; or the record itself, if it
   * is large and has memory of its own already.
   */
  keep(index: LogIndex, record: Uint8Array): Uint8Array {
    const { length } = record;
    if (this.#isSeparate(length) && length === record.buffer.byteLength) {
      this.#count += 1;
      this.#separateBytes += length;
      return record;
    }
    const kept = this.reserve(index, length);
    kept.set(record);
    return kept;
  }

  /** Memory for the record of this entry, which comes after all others. The caller fills it. */
  reserve(index: LogIndex, length: number): Uint8Array {
    this.#count += 1;
    if (this.#isSeparate(length)) {
      this.#separateBytes += length;
      return new Uint8Array(length);
    }
    let chunk = this.#chunks.at(-1);
    if (chunk === undefined || chunk.filled + length > this.#chunkBytes) {
      chunk = { bytes: new Uint8Array(this.#chunkBytes), filled: 0, end: index };
      this.#chunks.push(chunk);
    }
    const from = chunk.filled;
    chunk.filled += length;
    chunk.end = index + 1;
    return new Uint8Array(chunk.bytes.buffer, from, length);
  }

  /** A record of this length is dropped. `dropOldest` or `truncate` says which ones were. */
  forget(length: number): void {
    this.#count -= 1;
    if (this.#isSeparate(length)) this.#separateBytes -= length;
  }

  /** The oldest records are dropped, up to `first`. */
  dropOldest(first: LogIndex): void {
    while (this.#chunks.length > 1 && (this.#chunks[0]?.end ?? first) <= first) this.#chunks.shift();
  }

  /** The newest records are dropped, from `end` on. */
  truncate(end: LogIndex): void {
    for (const chunk of this.#chunks) chunk.end = Math.min(chunk.end, end);
  }

  /** All records are dropped. */
  clear(): void {
    this.#chunks = [];
    this.#separateBytes = 0;
    this.#count = 0;
  }

  #isSeparate(length: number): boolean {
    return length * SHARERS_MIN > this.#chunkBytes;
  }
}
