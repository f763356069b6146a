import { recordIndex, recordTerm } from "../../codec/record.ts";
import { ProtocolViolation } from "../../core/assert.ts";
import type { EntryRange } from "../../core/message.ts";
import type { LogIndex, Term } from "../../core/position.ts";
import type { LogStore } from "../../storage/log-store.ts";
import type { EntryBuffer } from "./entry-buffer.ts";
import type { StorageWatchdog } from "./storage-watchdog.ts";

/**
 * The records of the log, wherever they are: the newest in memory, the rest in the store. Which of
 * them form the log is the core's to say, so whoever fetches some compares them with it
 * (`checkRecords`): neither memory nor disk is taken at its word.
 */
export class LogRecords {
  readonly buffer: EntryBuffer;
  readonly #store: LogStore;
  readonly #watchdog: StorageWatchdog;

  constructor(buffer: EntryBuffer, store: LogStore, watchdog: StorageWatchdog) {
    this.buffer = buffer;
    this.#store = store;
    this.#watchdog = watchdog;
  }

  /** The bytes that the records of `[from, to)` take, whether the store was given them yet or not. */
  bytesBetween(from: LogIndex, to: LogIndex): number {
    const { first } = this.buffer;
    if (from >= first) return this.buffer.bytesBetween(from, to);
    if (to <= first) return this.#store.bytesBetween(from, to);
    return this.#store.bytesBetween(from, first) + this.buffer.bytesBetween(first, to);
  }

  /** All records of `[from, to)`, from the store; in as many reads as that takes. */
  async readAllFromStore(from: LogIndex, to: LogIndex): Promise<Uint8Array[]> {
    const records: Uint8Array[] = [];
    while (from + records.length < to) {
      records.push(...(await this.readFromStore(from + records.length, to, Infinity)));
    }
    return records;
  }

  /** Records from `from` on, at least one, before `to` and within `bytesMax`, from the store. */
  async readFromStore(from: LogIndex, to: LogIndex, bytesMax: number): Promise<Uint8Array[]> {
    const bytes = Math.min(bytesMax, Number.MAX_SAFE_INTEGER);
    const records = await this.#watchdog.monitor("a read from the log", () =>
      this.#store.read(from, to, bytes),
    );
    if (records.length === 0 || from + records.length > to) {
      throw new ProtocolViolation(
        `the log was asked for the entries [${String(from)}, ${String(to)}) and returned ${String(records.length)}`,
      );
    }
    return records;
  }
}

/** Compares records with the log they should be from: the first one's index, and each one's index and term. */
export function checkRecords(
  records: readonly Uint8Array[],
  from: LogIndex,
  termAt: (index: LogIndex) => Term | undefined,
): void {
  for (const [at, record] of records.entries()) {
    const index = from + at;
    const term = termAt(index);
    if (recordIndex(record) === index && recordTerm(record) === term) continue;
    throw new ProtocolViolation(
      `the entry at ${String(index)} should have term ${String(term)}, and its record says ` +
        `${String(recordTerm(record))} at ${String(recordIndex(record))}`,
    );
  }
}

/** The term of each entry of a range. Asked for ascending indexes, it takes a step for each run of a term. */
export function termLookup(range: EntryRange): (index: LogIndex) => Term | undefined {
  let at = 0;
  return (index) => {
    while ((range.terms[at + 1]?.index ?? Infinity) <= index) at += 1;
    return range.terms[at]?.term;
  };
}
