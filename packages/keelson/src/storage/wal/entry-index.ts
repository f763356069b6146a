import { assert } from "../../core/assert.ts";
import type { LogIndex } from "../../core/position.ts";

/** Where an entry's record is on disk. */
export interface RecordLocation {
  /** The number of the segment; 0: the record is not on disk yet. */
  readonly segment: number;
  /** Where the record begins in the segment's file, in bytes. */
  readonly offset: number;
  /** Bytes of the record. */
  readonly length: number;
}

/**
 * Entries per chunk: enough that the objects of a chunk take little beside its entries, few enough that a
 * short log takes little memory.
 */
const CHUNK_ENTRIES = 1024;

/** What is known about `CHUNK_ENTRIES` consecutive entries: 16 bytes for each. */
interface Chunk {
  /**
   * For each entry, a running total: the bytes of all records before it that were appended since the index
   * was created, truncated ones left out.
   */
  readonly starts: Float64Array;
  /** `RecordLocation.segment`. */
  readonly segments: Uint32Array;
  /** `RecordLocation.offset`. */
  readonly offsets: Uint32Array;
}

/**
 * The length of each entry's record, and its location once it is on disk. All of it is in memory, 16 bytes
 * for each entry. The entries are in chunks, so that a growing log copies nothing. Lengths are kept as
 * running totals, so that the bytes of a range are one subtraction.
 */
export class EntryIndex {
  /** The first entry that is indexed: the one after the base. */
  #first: LogIndex = 1;
  /** The entry that will be appended next; `[#first, #next)` is indexed. */
  #next: LogIndex = 1;
  /** The running total at `#next`. `truncate` takes it back; `compact` and `reset` leave it. */
  #bytes = 0;
  /** Ascending and without a gap. Covers `[#first, #next)`. */
  #chunks: Chunk[] = [];
  /** The number of `#chunks[0]`. Chunk n has the entries from n * CHUNK_ENTRIES on. */
  #firstChunk = 0;

  /** The index that the next entry will have. */
  get next(): LogIndex {
    return this.#next;
  }

  /** Adds the next entry, whose record is not on disk yet. */
  append(length: number): void {
    const at = this.#next % CHUNK_ENTRIES;
    let chunk = this.#chunkOf(this.#next);
    if (chunk === undefined) {
      chunk = {
        starts: new Float64Array(CHUNK_ENTRIES),
        segments: new Uint32Array(CHUNK_ENTRIES),
        offsets: new Uint32Array(CHUNK_ENTRIES),
      };
      this.#chunks.push(chunk);
    }
    chunk.starts[at] = this.#bytes;
    chunk.segments[at] = 0;
    this.#bytes += length;
    this.#next += 1;
  }

  /**
   * Records where an entry is on disk. Does nothing if the entry was compacted or truncated since it was
   * appended.
   */
  setLocation(index: LogIndex, segment: number, offset: number): void {
    if (index < this.#first || index >= this.#next) return;
    const chunk = this.#chunkOf(index);
    assert(chunk !== undefined, "every entry of the log has its chunk");
    chunk.segments[index % CHUNK_ENTRIES] = segment;
    chunk.offsets[index % CHUNK_ENTRIES] = offset;
  }

  /** Where the record of an indexed entry is. */
  locationOf(index: LogIndex): RecordLocation {
    const chunk = this.#chunkOf(index);
    assert(
      chunk !== undefined && index >= this.#first && index < this.#next,
      "an entry's place is asked for within the log",
    );
    const at = index % CHUNK_ENTRIES;
    return {
      segment: chunk.segments[at] ?? 0,
      offset: chunk.offsets[at] ?? 0,
      length: this.bytesBetween(index, index + 1),
    };
  }

  /** The bytes of the records `[from, to)`. */
  bytesBetween(from: LogIndex, to: LogIndex): number {
    return this.#bytesBefore(to) - this.#bytesBefore(from);
  }

  /** Removes the entries from `from` on. */
  truncate(from: LogIndex): void {
    this.#bytes = this.#bytesBefore(from);
    this.#next = from;
    this.#chunks.splice(Math.ceil(from / CHUNK_ENTRIES) - this.#firstChunk);
  }

  /** Removes the entries before `first`. */
  compact(first: LogIndex): void {
    this.#first = first;
    const firstChunk = Math.floor(first / CHUNK_ENTRIES);
    this.#chunks.splice(0, firstChunk - this.#firstChunk);
    this.#firstChunk = firstChunk;
  }

  /** Removes all entries; the next one will be `first`. */
  reset(first: LogIndex): void {
    this.#chunks = [];
    this.#first = first;
    this.#next = first;
    this.#firstChunk = Math.floor(first / CHUNK_ENTRIES);
  }

  /** The running total at `index`. */
  #bytesBefore(index: LogIndex): number {
    assert(index >= this.#first && index <= this.#next, "bytes are counted within the log");
    if (index === this.#next) return this.#bytes;
    return this.#chunkOf(index)?.starts[index % CHUNK_ENTRIES] ?? 0;
  }

  #chunkOf(index: LogIndex): Chunk | undefined {
    return this.#chunks[Math.floor(index / CHUNK_ENTRIES) - this.#firstChunk];
  }
}
