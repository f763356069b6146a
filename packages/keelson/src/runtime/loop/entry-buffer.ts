// The newest records of the log, in memory. Holds bytes only: the core decides which entries form the log,
// and the driver keeps the two in step.
//
// Why it exists: a new entry is needed at least three times within milliseconds, by the log
// write, by the message to each follower, and by the state machine. The buffer serves all of
// them without reading the store.
//
// What bounds its memory: records that were submitted to the store can be read back from there, so the oldest
// of them are dropped while the buffer holds more than `bytesMax`. The buffer copies records into memory of
// its own (record-memory.ts), and counts that memory, not the lengths of the records. Records that weren't
// submitted exist nowhere else and are never dropped. They are those of one turn, or those that arrive while
// a snapshot is installed, and are bounded by the limits on proposals and the leader's window of
// AppendEntries in flight.
//
// What bounds the collector's pauses: only the newest `VIEWS_MAX` records have an object each, a view of the
// bytes. Older ones are numbers in flat arrays, and a view is made when one is read. With a view for each, a
// buffer of the default size kept some 40,000 objects alive, and each collection of young objects copied
// those that were new: pauses of 10 ms and more in a busy node.

import { encodeRecordInto, RECORD_HEADER_BYTES, recordIndex, type EntryKind } from "../../codec/record.ts";
import { assert } from "../../core/assert.ts";
import type { LogIndex, Term } from "../../core/position.ts";
import { RecordMemory } from "./record-memory.ts";

/** The records of the entries `[first, end)`, by index. */
export class EntryBuffer {
  /** While the buffer holds more memory than this, submitted records are dropped. In bytes. */
  readonly #bytesMax: number;
  /** Holds the bytes of all records. */
  readonly #memory: RecordMemory;
  /**
   * First `#emptySlots` empty slots, then one for each of the entries `[first, end)`. Each of the newest
   * `VIEWS_MAX` slots has the view of its record. null: an older record, or an empty slot.
   */
  #views: (Uint8Array | null)[] = [];
  /** The memory that has each record, at `#starts`; null: an empty slot. As long as `#views`. */
  #homes: (ArrayBufferLike | null)[] = [];
  /** Where each record begins in its memory, in bytes. As long as `#views`. */
  #starts: number[] = [];
  /**
   * Where each record would end if all were laid one after another, in bytes: `#endOffsets[i] - #endOffsets[i
   * - 1]` is the length of record i. So the size of a range is one subtraction. As long as `#views`.
   */
  #endOffsets: number[] = [];
  /** Leading places whose records were dropped. */
  #emptySlots = 0;
  /** The end offset of the last dropped record, which is where the first buffered record begins. */
  #emptyEndOffset = 0;
  /**
   * The index of the oldest buffered entry; equal to `end` if the buffer is empty. At most `submittedEnd`.
   */
  #first: LogIndex;
  /**
   * One past the last entry that was submitted to the store. Lowered when the log
   * is truncated. At most `end`.
   */
  #submittedEnd: LogIndex;

  /** An empty buffer of a log whose next entry is `end`. */
  constructor(bytesMax: number, end: LogIndex) {
    this.#bytesMax = bytesMax;
    this.#memory = new RecordMemory(bytesMax);
    this.#first = end;
    this.#submittedEnd = end;
  }

  /** The index of the oldest entry that is buffered. */
  get first(): LogIndex {
    return this.#first;
  }

  /** One past the newest entry. The driver asserts after each input that the core's log ends here too. */
  get end(): LogIndex {
    return this.#first + this.#views.length - this.#emptySlots;
  }

  /** One past the last entry that was submitted to the store. */
  get submittedEnd(): LogIndex {
    return this.#submittedEnd;
  }

  /** The bytes of all buffered records. */
  get bytes(): number {
    return (this.#endOffsets.at(-1) ?? this.#emptyEndOffset) - this.#emptyEndOffset;
  }

  /**
   * The memory that the buffer holds, in bytes: more than `bytes`, by what records take besides their bytes.
   */
  get retainedBytes(): number {
    return this.#memory.bytes;
  }

  /** Adds the record of the entry at `end`. Copies it. */
  append(record: Uint8Array): void {
    const { end } = this;
    assert(recordIndex(record) === end, "records are buffered in order, without a gap");
    this.#add(this.#memory.keep(end, record));
  }

  /** Encodes the entry at `end`, where the buffer keeps it: `append` of a new record without the copy. */
  encode(term: Term, kind: EntryKind, payload: Uint8Array): void {
    const { end } = this;
    const view = this.#memory.reserve(end, RECORD_HEADER_BYTES + payload.length);
    encodeRecordInto(view, end, term, kind, payload);
    this.#add(view);
  }

  #add(view: Uint8Array): void {
    this.#views.push(view);
    this.#homes.push(view.buffer);
    this.#starts.push(view.byteOffset);
    this.#endOffsets.push((this.#endOffsets.at(-1) ?? this.#emptyEndOffset) + view.length);
    const old = this.#views.length - 1 - VIEWS_MAX;
    if (old >= 0) this.#views[old] = null;
  }

  /**
   * Replaces all records from `index` on, because the core truncated its log there and appended others
   * (§5.3). What the store was given of the old ones doesn't count as submitted any more.
   */
  replaceFrom(index: LogIndex, records: readonly Uint8Array[]): void {
    assert(index <= this.end, "a log is cut within itself, or goes on at its end");
    this.#submittedEnd = Math.min(this.#submittedEnd, index);
    if (index <= this.#first) this.#reset(index);
    const kept = this.#emptySlots + (index - this.#first);
    for (let slot = kept; slot < this.#views.length; slot++) this.#memory.forget(this.#lengthOf(slot));
    this.#memory.truncate(index);
    this.#views.length = kept;
    this.#homes.length = kept;
    this.#starts.length = kept;
    this.#endOffsets.length = kept;
    for (const record of records) this.append(record);
  }

  /**
   * The records of the entries in `[from, to)`, from the first on, as many as fit in `bytesMax` bytes, but at
   * least one (none if the range is empty). null: some entries of the range aren't buffered.
   */
  slice(from: LogIndex, to: LogIndex, bytesMax: number = Infinity): Uint8Array[] | null {
    if (from < this.#first || to > this.end) return null;
    const begin = this.#slotOf(from);
    let end = this.#slotOf(to);
    if (bytesMax < Infinity) {
      const offsetMax = this.#offsetOf(begin) + bytesMax;
      while (end > begin + 1 && this.#offsetOf(end) > offsetMax) end--;
    }
    const records: Uint8Array[] = [];
    for (let slot = begin; slot < end; slot++) records.push(this.#views[slot] ?? this.#viewOf(slot));
    return records;
  }

  /** The bytes of the records of `[from, to)`, all of which must be buffered. */
  bytesBetween(from: LogIndex, to: LogIndex): number {
    assert(from >= this.#first && from <= to && to <= this.end, "the entries are buffered");
    return this.#offsetOf(this.#slotOf(to)) - this.#offsetOf(this.#slotOf(from));
  }

  /**
   * Notes that everything before `end` was submitted to the store, and drops
   * the oldest records over `bytesMax`.
   */
  markSubmitted(end: LogIndex): void {
    assert(end >= this.#submittedEnd && end <= this.end, "the store is given entries in order");
    this.#submittedEnd = end;
    while (this.#memory.bytes > this.#bytesMax && this.#first < this.#submittedEnd) this.#dropFirst();
  }

  /**
   * Drops the entries up to and including `index`, which an installed snapshot covers. `logEnd` is one
   * past the last entry of the core's log: if the buffer ends elsewhere, the snapshot has replaced the
   * log, and all records go.
   */
  discardThrough(index: LogIndex, logEnd: LogIndex): void {
    if (logEnd <= this.#first || this.end !== logEnd) this.#reset(logEnd);
    while (this.#first <= index && this.#first < this.end) this.#dropFirst();
    this.#submittedEnd = Math.max(Math.min(this.#submittedEnd, logEnd), Math.min(index + 1, logEnd));
  }

  #dropFirst(): void {
    const slot = this.#emptySlots;
    const length = this.#lengthOf(slot);
    this.#emptyEndOffset = this.#endOffsets[slot] ?? this.#emptyEndOffset;
    this.#views[slot] = null;
    this.#homes[slot] = null;
    this.#emptySlots += 1;
    this.#first += 1;
    this.#memory.forget(length);
    this.#memory.dropOldest(this.#first);
    if (this.#emptySlots < EMPTY_SLOTS_MIN || this.#emptySlots * 2 < this.#views.length) return;
    this.#views = this.#views.slice(this.#emptySlots);
    this.#homes = this.#homes.slice(this.#emptySlots);
    this.#starts = this.#starts.slice(this.#emptySlots);
    this.#endOffsets = this.#endOffsets.slice(this.#emptySlots);
    this.#emptySlots = 0;
  }

  /** Empties the buffer; the next record is that of the entry `end`. */
  #reset(end: LogIndex): void {
    this.#views = [];
    this.#homes = [];
    this.#starts = [];
    this.#endOffsets = [];
    this.#emptySlots = 0;
    this.#emptyEndOffset = 0;
    this.#first = end;
    this.#memory.clear();
  }

  #slotOf(index: LogIndex): number {
    return this.#emptySlots + (index - this.#first);
  }

  /** A new view of an older record. */
  #viewOf(slot: number): Uint8Array {
    const home = this.#homes[slot];
    assert(home !== null && home !== undefined, "a buffered record has its memory");
    return new Uint8Array(home, this.#starts[slot], this.#lengthOf(slot));
  }

  #lengthOf(slot: number): number {
    return (this.#endOffsets[slot] ?? 0) - this.#offsetOf(slot);
  }

  /** Where the record in this slot begins in `#endOffsets`' terms: where the one before it ends. */
  #offsetOf(slot: number): number {
    return slot === this.#emptySlots
      ? this.#emptyEndOffset
      : (this.#endOffsets[slot - 1] ?? this.#emptyEndOffset);
  }
}

/**
 * The arrays are compacted once this many leading slots are empty, and at least half of all are: so dropping
 * from the front is amortised O(1).
 */
const EMPTY_SLOTS_MIN = 1024;

/**
 * Records with a view. As many as a busy node has in flight, which are read several times each within
 * milliseconds; few enough that a collection copies them in well below a millisecond.
 */
const VIEWS_MAX = 1024;
