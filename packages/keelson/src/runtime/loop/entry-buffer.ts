import { recordIndex } from "../../codec/record.ts";
import { assert } from "../../core/assert.ts";
import type { LogIndex } from "../../core/position.ts";

/** Dropped places at the front of the array before it is moved up: moving then costs nothing per entry. */
const SLACK_MAX = 1024;

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
  #ends: number[] = [];
  /** How many places at the front are dropped. */
  #dropped = 0;
  /** Bytes up to the end of the last dropped record. */
  #droppedEnd = 0;
  #first: LogIndex;
  #handedTo: LogIndex;

  /** `next` is the index of the first entry that will come. */
  constructor(bytesMax: number, next: LogIndex) {
    this.#bytesMax = bytesMax;
    this.#first = next;
    this.#handedTo = next;
  }

  /** The oldest entry that is kept. */
  get first(): LogIndex {
    return this.#first;
  }

  /** One past the newest. */
  get next(): LogIndex {
    return this.#first + this.#records.length - this.#dropped;
  }

  /** One past the last entry that the store was given. */
  get handedTo(): LogIndex {
    return this.#handedTo;
  }

  get bytes(): number {
    return (this.#ends.at(-1) ?? this.#droppedEnd) - this.#droppedEnd;
  }

  append(record: Uint8Array): void {
    assert(recordIndex(record) === this.next, "records are buffered in order, without a gap");
    this.#records.push(record);
    this.#ends.push((this.#ends.at(-1) ?? this.#droppedEnd) + record.length);
  }

  /** The core's log was cut before `index`, and goes on with these. */
  replaceFrom(index: LogIndex, records: readonly Uint8Array[]): void {
    assert(index <= this.next, "a log is cut within itself, or goes on at its end");
    this.#handedTo = Math.min(this.#handedTo, index);
    if (index <= this.#first) this.#clear(index);
    const kept = this.#dropped + (index - this.#first);
    this.#records.length = kept;
    this.#ends.length = kept;
    for (const record of records) this.append(record);
  }

  /** The records of `[from, to)`, stopping early at `bytesMax`, though always one; null: not all of them are here. */
  slice(from: LogIndex, to: LogIndex, bytesMax = Infinity): Uint8Array[] | null {
    if (from < this.#first || to > this.next) return null;
    const begin = this.#place(from);
    let end = this.#place(to);
    if (bytesMax < Infinity) {
      const endMax = this.#endBefore(begin) + bytesMax;
      while (end > begin + 1 && this.#endBefore(end) > endMax) end--;
    }
    return this.#records.slice(begin, end);
  }

  /** The bytes of `[from, to)`, which must be here. */
  bytesBetween(from: LogIndex, to: LogIndex): number {
    assert(from >= this.#first && from <= to && to <= this.next, "the entries are buffered");
    return this.#endBefore(this.#place(to)) - this.#endBefore(this.#place(from));
  }

  /** The store was given everything before `to`; from now on that may go when room is needed. */
  handed(to: LogIndex): void {
    assert(to >= this.#handedTo && to <= this.next, "the store is given entries in order");
    this.#handedTo = to;
    while (this.bytes > this.#bytesMax && this.#first < this.#handedTo) this.#dropFirst();
  }

  /** A snapshot covers the entries up to `index`, and the log may go on elsewhere: `next` is where the core's does. */
  covered(index: LogIndex, next: LogIndex): void {
    if (next <= this.#first || this.next !== next) this.#clear(next);
    while (this.#first <= index && this.#first < this.next) this.#dropFirst();
    this.#handedTo = Math.max(Math.min(this.#handedTo, next), Math.min(index + 1, next));
  }

  #dropFirst(): void {
    this.#droppedEnd = this.#ends[this.#dropped] ?? this.#droppedEnd;
    this.#records[this.#dropped] = EMPTY;
    this.#dropped += 1;
    this.#first += 1;
    if (this.#dropped < SLACK_MAX || this.#dropped * 2 < this.#records.length) return;
    this.#records = this.#records.slice(this.#dropped);
    this.#ends = this.#ends.slice(this.#dropped);
    this.#dropped = 0;
  }

  #clear(next: LogIndex): void {
    this.#records = [];
    this.#ends = [];
    this.#dropped = 0;
    this.#droppedEnd = 0;
    this.#first = next;
  }

  #place(index: LogIndex): number {
    return this.#dropped + (index - this.#first);
  }

  #endBefore(place: number): number {
    return place === this.#dropped ? this.#droppedEnd : (this.#ends[place - 1] ?? this.#droppedEnd);
  }
}

const EMPTY = new Uint8Array(0);
