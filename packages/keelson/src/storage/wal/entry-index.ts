import { assert } from "../../core/assert.ts";
import type { LogIndex } from "../../core/position.ts";

/** Where the record of an entry is. */
export interface RecordLocation {
  /** The number of the segment; 0: not on disk yet. */
  readonly segment: number;
  readonly offset: number;
  readonly length: number;
}

/** Entries a chunk: large enough that chunks cost little, small enough that a short log does too. */
const CHUNK_ENTRIES = 1024;

/** 16 bytes an entry. */
interface Chunk {
  /** How many bytes all entries before this one took, since the store was opened. */
  readonly starts: Float64Array;
  readonly segments: Uint32Array;
  readonly offsets: Uint32Array;
}

/**
 * The length of each entry in the log, and its place once it is on disk. In chunks, so that a growing
 * log copies nothing, and with running totals, so that the bytes of a range are one subtraction.
 */
export class EntryIndex {
  #first: LogIndex = 1;
  #next: LogIndex = 1;
  #bytes = 0;
  #chunks: Chunk[] = [];
  /** The number of the first chunk; chunk n has the entries from n * CHUNK_ENTRIES on. */
  #firstChunk = 0;

  get next(): LogIndex {
    return this.#next;
  }

  /** Adds the next entry, which is not on disk yet. */
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

  /** Says where an entry is on disk; entries that are forgotten by now do not matter. */
  setLocation(index: LogIndex, segment: number, offset: number): void {
    if (index < this.#first || index >= this.#next) return;
    const chunk = this.#chunkOf(index);
    assert(chunk !== undefined, "every entry of the log has its chunk");
    chunk.segments[index % CHUNK_ENTRIES] = segment;
    chunk.offsets[index % CHUNK_ENTRIES] = offset;
  }

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

  /** The bytes of `[from, to)`. */
  bytesBetween(from: LogIndex, to: LogIndex): number {
    return this.#bytesBefore(to) - this.#bytesBefore(from);
  }

  /** Forgets the entries from `from` on. */
  truncate(from: LogIndex): void {
    this.#bytes = this.#bytesBefore(from);
    this.#next = from;
    this.#chunks.splice(Math.ceil(from / CHUNK_ENTRIES) - this.#firstChunk);
  }

  /** Forgets the entries before `first`. */
  compact(first: LogIndex): void {
    this.#first = first;
    const firstChunk = Math.floor(first / CHUNK_ENTRIES);
    this.#chunks.splice(0, firstChunk - this.#firstChunk);
    this.#firstChunk = firstChunk;
  }

  /** Forgets all; the next entry to come is `first`. */
  reset(first: LogIndex): void {
    this.#chunks = [];
    this.#first = first;
    this.#next = first;
    this.#firstChunk = Math.floor(first / CHUNK_ENTRIES);
  }

  #bytesBefore(index: LogIndex): number {
    assert(index >= this.#first && index <= this.#next, "bytes are counted within the log");
    if (index === this.#next) return this.#bytes;
    return this.#chunkOf(index)?.starts[index % CHUNK_ENTRIES] ?? 0;
  }

  #chunkOf(index: LogIndex): Chunk | undefined {
    return this.#chunks[Math.floor(index / CHUNK_ENTRIES) - this.#firstChunk];
  }
}
