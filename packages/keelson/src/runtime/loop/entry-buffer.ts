import { recordIndex } from "../../codec/record.ts";
import { assert } from "../../core/assert.ts";
import type { LogIndex } from "../../core/position.ts";

/** Dropped places at the front of the array before it is moved up: moving then costs nothing per entry. */
const EMPTY_SLOTS_MIN = 1024;

/**
 * The newest records of the log, by index: those that the store has not been given yet, and as many
 * before them as fit in `bytesMax`, because followers and the state machine will want them soon.
 *
 * Invariants: its end is the end of the core's log after every input; records from `handedTo` on
 * are in no store yet and are never dropped; what is below `handedTo` may be read from the store.
 */
export class EntryBuffer {
  readonly #bytesMax: number;
  #records: Uint8Array[] = [];
  /** `#ends[i] - #ends[i - 1]` is the length of record i: a range's bytes are one subtraction. */
  #endOffsets: number[] = [];
  /** How many places at the front are dropped. */
  #emptySlots = 0;
  /** Bytes up to the end of the last dropped record. */
  #emptyEndOffset = 0;
  #first: LogIndex;
  #submittedEnd: LogIndex;

  /** `next` is the index of the first entry that will come. */
  constructor(bytesMax: number, next: LogIndex) {
    this.#bytesMax = bytesMax;
    this.#first = next;
    this.#submittedEnd = next;
  }

  /** The oldest entry that is kept. */
  get first(): LogIndex {
    return this.#first;
  }

  /** One past the newest. */
  get end(): LogIndex {
    return this.#first + this.#records.length - this.#emptySlots;
  }

  /** One past the last entry that the store was given. */
  get submittedEnd(): LogIndex {
    return this.#submittedEnd;
  }

  get bytes(): number {
    return (this.#endOffsets.at(-1) ?? this.#emptyEndOffset) - this.#emptyEndOffset;
  }

  append(record: Uint8Array): void {
    assert(recordIndex(record) === this.end, "records are buffered in order, without a gap");
    this.#records.push(record);
    this.#endOffsets.push((this.#endOffsets.at(-1) ?? this.#emptyEndOffset) + record.length);
  }

  /** The core's log was cut before `index`, and goes on with these. */
  replaceFrom(index: LogIndex, records: readonly Uint8Array[]): void {
    assert(index <= this.end, "a log is cut within itself, or goes on at its end");
    this.#submittedEnd = Math.min(this.#submittedEnd, index);
    if (index <= this.#first) this.#reset(index);
    const kept = this.#emptySlots + (index - this.#first);
    this.#records.length = kept;
    this.#endOffsets.length = kept;
    for (const record of records) this.append(record);
  }

  /** The records of `[from, to)`, stopping early at `bytesMax`, though always one; null: not all of them are here. */
  slice(from: LogIndex, to: LogIndex, bytesMax = Infinity): Uint8Array[] | null {
    if (from < this.#first || to > this.end) return null;
    const begin = this.#slotOf(from);
    let end = this.#slotOf(to);
    if (bytesMax < Infinity) {
      const endMax = this.#offsetOf(begin) + bytesMax;
      while (end > begin + 1 && this.#offsetOf(end) > endMax) end--;
    }
    return this.#records.slice(begin, end);
  }

  /** The bytes of `[from, to)`, which must be here. */
  bytesBetween(from: LogIndex, to: LogIndex): number {
    assert(from >= this.#first && from <= to && to <= this.end, "the entries are buffered");
    return this.#offsetOf(this.#slotOf(to)) - this.#offsetOf(this.#slotOf(from));
  }

  /** The store was given everything before `to`; from now on that may go when room is needed. */
  markSubmitted(to: LogIndex): void {
    assert(to >= this.#submittedEnd && to <= this.end, "the store is given entries in order");
    this.#submittedEnd = to;
    while (this.bytes > this.#bytesMax && this.#first < this.#submittedEnd) this.#dropFirst();
  }

  /** A snapshot covers the entries up to `index`, and the log may go on elsewhere: `next` is where the core's does. */
  discardThrough(index: LogIndex, next: LogIndex): void {
    if (next <= this.#first || this.end !== next) this.#reset(next);
    while (this.#first <= index && this.#first < this.end) this.#dropFirst();
    this.#submittedEnd = Math.max(Math.min(this.#submittedEnd, next), Math.min(index + 1, next));
  }

  #dropFirst(): void {
    this.#emptyEndOffset = this.#endOffsets[this.#emptySlots] ?? this.#emptyEndOffset;
    this.#records[this.#emptySlots] = EMPTY;
    this.#emptySlots += 1;
    this.#first += 1;
    if (this.#emptySlots < EMPTY_SLOTS_MIN || this.#emptySlots * 2 < this.#records.length) return;
    this.#records = this.#records.slice(this.#emptySlots);
    this.#endOffsets = this.#endOffsets.slice(this.#emptySlots);
    this.#emptySlots = 0;
  }

  #reset(next: LogIndex): void {
    this.#records = [];
    this.#endOffsets = [];
    this.#emptySlots = 0;
    this.#emptyEndOffset = 0;
    this.#first = next;
  }

  #slotOf(index: LogIndex): number {
    return this.#emptySlots + (index - this.#first);
  }

  #offsetOf(place: number): number {
    return place === this.#emptySlots
      ? this.#emptyEndOffset
      : (this.#endOffsets[place - 1] ?? this.#emptyEndOffset);
  }
}

const EMPTY = new Uint8Array(0);
