// Where the rest of the runtime reads the log's records: the newest are in the entry buffer,
// all others in the store.
//
// Either may return wrong records: a file may be damaged, the buffer out of date. So before a reader sends,
// writes or applies records, it compares each one's index and term with the core's log (`checkRecords`).
// Otherwise a follower could be sent an entry that isn't in the log (R20).

import { recordIndex, recordTerm } from "../../codec/record.ts";
import { ProtocolViolation } from "../../core/assert.ts";
import type { EntryRange } from "../../core/message.ts";
import type { LogIndex, Term } from "../../core/position.ts";
import type { LogStore } from "../../storage/log-store.ts";
import { reasonOf, type Failure } from "../shared/index.ts";
import type { EntryBuffer } from "./entry-buffer.ts";
import type { StorageWatchdog } from "./storage-watchdog.ts";

/** Reads records of the log, and knows their sizes. Writing is the driver's and the persister's part. */
export class LogRecords {
  /** The newest records. The driver fills it. Where it has what a reader needs, the reader need not wait. */
  readonly buffer: EntryBuffer;
  readonly #store: LogStore;
  readonly #watchdog: StorageWatchdog;

  constructor(buffer: EntryBuffer, store: LogStore, watchdog: StorageWatchdog) {
    this.buffer = buffer;
    this.#store = store;
    this.#watchdog = watchdog;
  }

  /**
   * The bytes of the records of `[from, to)`, which may be in the buffer, in the store, or partly in each.
   */
  bytesBetween(from: LogIndex, to: LogIndex): number {
    const { first } = this.buffer;
    if (from >= first) return this.buffer.bytesBetween(from, to);
    if (to <= first) return this.#store.bytesBetween(from, to);
    return this.#store.bytesBetween(from, first) + this.buffer.bytesBetween(first, to);
  }

  /** Reads all records of `[from, to)` from the store, in as many reads as the store needs. */
  async readAllFromStore(from: LogIndex, to: LogIndex): Promise<Uint8Array[]> {
    const records: Uint8Array[] = [];
    while (from + records.length < to) {
      records.push(...(await this.readFromStore(from + records.length, to, Infinity)));
    }
    return records;
  }

  /**
   * Reads records from `from` on from the store: at least one, none at or
   * after `to`, otherwise within `bytesMax`.
   */
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

/**
 * Compares each record's index and term with the log that it should belong to; `from`
 * is the first one's index.
 *
 * @throws ProtocolViolation one differs
 */
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

/** The failure of a node that can't read back entries it acknowledged: its copy of the log is damaged. */
export function logReadFailure(error: unknown): Failure {
  return {
    kind: "storage",
    message: `the log could not be read, so the node stops: ${reasonOf(error)}`,
    cause: error,
  };
}

/** Makes a lookup from index to term for a range. It only moves forward: ask for ascending indexes. */
export function termLookup(range: EntryRange): (index: LogIndex) => Term | undefined {
  let at = 0;
  return (index) => {
    while ((range.terms[at + 1]?.index ?? Infinity) <= index) at += 1;
    return range.terms[at]?.term;
  };
}
