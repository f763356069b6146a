import type { HardState } from "../core/action.ts";
import { assert } from "../core/assert.ts";
import { EMPTY_CONFIG, type ClusterConfig } from "../core/config.ts";
import type { ConfigAt, TermRun } from "../core/message.ts";
import { ORIGIN, type LogIndex, type LogPosition, type Term } from "../core/position.ts";
import { decodeMembership } from "../codec/config.ts";
import {
  EntryKind,
  isEntryKind,
  readRecordHeader,
  recordIndex,
  recordKind,
  recordPayload,
  recordTerm,
} from "../codec/record.ts";
import { DecodeError } from "../errors.ts";
import type { LogBase, LogWrite, StoredLog } from "./log-store.ts";

/**
 * A log without its payloads, as a log store keeps it in memory: hard state, base, last index, where the term
 * changes, and the configurations. Every implementation of `LogStore` has one. It checks each write against
 * the outline before it takes effect, and returns the outline to the core when it opens. The class does no
 * I/O; whether a change is durable is the store's business.
 */
export class LogOutline {
  /**
   * The cluster that the log belongs to; null: none yet. Set once, by the store; only `forceNewCluster`
   * replaces it.
   */
  clusterId: string | null = null;
  /** Term and vote as last written. Set by `write`, and by recovery. */
  hardState: HardState = { term: 0, votedFor: null };
  /**
   * The last entry that is no longer in the log. Set by `compact`, `reset` and `restore`. Never above
   * `#lastIndex`.
   */
  #base: LogPosition = ORIGIN;
  /** The configuration in force at `#base`; changes with it. */
  #baseConfig: ClusterConfig = EMPTY_CONFIG;
  /** `#baseConfig` with addresses, encoded; empty at `ORIGIN`. Changes with `#base`. */
  #basePayload: Uint8Array = new Uint8Array(0);
  /** The last entry's index; `#base.index` for an empty log. */
  #lastIndex: LogIndex = 0;
  /**
   * Ascending by index and by term; the first begins at `#base.index + 1`; empty exactly if the log is empty.
   */
  #terms: TermRun[] = [];
  /** The configuration entries after `#base`, ascending by index. */
  #configs: ConfigAt[] = [];

  get base(): LogPosition {
    return this.#base;
  }

  get basePayload(): Uint8Array {
    return this.#basePayload;
  }

  get lastIndex(): LogIndex {
    return this.#lastIndex;
  }

  /** A copy. */
  get terms(): TermRun[] {
    return [...this.#terms];
  }

  get last(): LogPosition {
    return { index: this.#lastIndex, term: this.#terms.at(-1)?.term ?? this.#base.term };
  }

  /** The term of an entry in the log, or of the base; undefined for any other index. */
  termAt(index: LogIndex): Term | undefined {
    if (index === this.#base.index) return this.#base.term;
    if (index < this.#base.index || index > this.#lastIndex) return undefined;
    return this.#terms.findLast((run) => run.index <= index)?.term;
  }

  /**
   * Throws if the write can't follow the log: a mistake of the caller. Changes nothing. It looks at the
   * records' headers and, of configuration entries, at the payload; checksums were checked where the records
   * were received.
   *
   * @throws ProtocolViolation, DecodeError
   */
  checkWrite(write: LogWrite): void {
    const { truncateFrom, records, hardState } = write;
    if (hardState !== null) {
      assert(Number.isSafeInteger(hardState.term) && hardState.term >= 0, "a term is a safe integer from 0");
    }
    let previous = this.#lastIndex;
    if (truncateFrom !== null) {
      assert(
        truncateFrom > this.#base.index && truncateFrom <= this.#lastIndex + 1,
        "a truncation begins within the log",
      );
      previous = truncateFrom - 1;
    }
    if (records.length === 0) return;
    let term = this.termAt(previous) ?? 0;
    for (const record of records) {
      previous += 1;
      term = checkRecord(record, previous, term);
    }
  }

  /** Applies a write that `checkWrite` accepted. */
  write(write: LogWrite): void {
    if (write.hardState !== null) this.hardState = write.hardState;
    if (write.truncateFrom !== null) this.truncate(write.truncateFrom);
    for (const record of write.records) this.appendRecord(record);
  }

  truncate(from: LogIndex): void {
    assert(from > this.#base.index && from <= this.#lastIndex + 1, "a truncation begins within the log");
    this.#lastIndex = from - 1;
    while ((this.#terms.at(-1)?.index ?? 0) >= from) this.#terms.pop();
    while ((this.#configs.at(-1)?.index ?? 0) >= from) this.#configs.pop();
  }

  appendRecord(record: Uint8Array): void {
    const index = recordIndex(record);
    const term = recordTerm(record);
    assert(index === this.#lastIndex + 1, "entries follow one another without a gap");
    this.#lastIndex = index;
    const run = this.#terms.at(-1);
    if (run?.term !== term) this.#terms.push({ index, term });
    if (recordKind(record) === EntryKind.config) {
      this.#configs.push({ index, config: decodeMembership(recordPayload(record)).config });
    }
  }

  /** Throws if the log doesn't hold the new base's entry, or its configuration can't be decoded. */
  checkCompact(base: LogBase): void {
    assert(
      this.termAt(base.position.index) === base.position.term,
      "a log is compacted up to an entry it holds",
    );
    decodeMembership(base.config);
  }

  compact(base: LogBase): void {
    const { index } = base.position;
    const term = this.termAt(index + 1);
    this.#setBase(base);
    this.#configs = this.#configs.filter((at) => at.index > index);
    const later = this.#terms.filter((run) => run.index > index + 1);
    this.#terms = term === undefined ? [] : [{ index: index + 1, term }, ...later];
  }

  /** Throws if `base` is no position, or its configuration can't be decoded. */
  checkReset(base: LogBase): void {
    const { index, term } = base.position;
    assert(Number.isSafeInteger(index) && index >= 1, "a log is reset to a position in it");
    assert(Number.isSafeInteger(term) && term >= 1, "a log is reset to a position in it");
    decodeMembership(base.config);
  }

  reset(base: LogBase): void {
    this.#setBase(base);
    this.#terms = [];
    this.#configs = [];
    this.#lastIndex = base.position.index;
  }

  /**
   * Starts from what the header of the WAL's oldest segment says about the segments before it, which were
   * deleted. Entries after `base` up to `last` were in those segments. Of their terms only that of `last` is
   * known, so `termAt` is right only for that one. Recovery makes sure that none of these entries is still
   * needed (wal/recovery.ts).
   */
  restore(base: LogPosition, basePayload: Uint8Array, last: LogPosition): void {
    if (base.index === 0) this.#base = ORIGIN;
    else this.#setBase({ position: base, config: basePayload });
    this.#lastIndex = last.index;
    this.#terms = last.index > base.index ? [{ index: base.index + 1, term: last.term }] : [];
    this.#configs = [];
  }

  toStoredLog(storeId: string): StoredLog {
    return {
      clusterId: this.clusterId,
      storeId,
      hardState: this.hardState,
      base: this.#base,
      baseConfig: this.#baseConfig,
      basePayload: this.#basePayload,
      terms: [...this.#terms],
      configs: [...this.#configs],
      lastIndex: this.#lastIndex,
    };
  }

  #setBase(base: LogBase): void {
    this.#base = { index: base.position.index, term: base.position.term };
    this.#basePayload = new Uint8Array(base.config);
    this.#baseConfig = decodeMembership(base.config).config;
  }
}

/** Checks a record that is about to become entry `index`; returns its term. */
function checkRecord(record: Uint8Array, index: LogIndex, previousTerm: Term): Term {
  const term = recordTerm(record);
  const { length, kind } = readRecordHeader(record);
  if (length !== record.length) {
    throw new DecodeError(`the record given for entry ${String(index)} has bytes after its end`);
  }
  assert(recordIndex(record) === index, `the next record to write is that of entry ${String(index)}`);
  assert(term >= previousTerm, `the term of entry ${String(index)} is not below that of the entry before it`);
  if (isEntryKind(kind) && kind === EntryKind.config) decodeMembership(recordPayload(record));
  return term;
}
