// The log without its payloads: only where the term changes, the configurations, and where it begins and
// ends.
import { assert } from "./assert.ts";
import { EMPTY_CONFIG, type ClusterConfig } from "./config.ts";
import type { ConfigAt, EntryRange, TermRun } from "./message.ts";
import { ORIGIN, type LogIndex, type LogPosition, type Term } from "./position.ts";

/**
 * A log as plain values: what a node restarts from. Its size grows with the number of terms and
 * configurations, not of entries.
 */
export interface LogImage {
  /**
   * The position of the last entry before the log, which a snapshot covers; `ORIGIN`: the log begins at 1.
   */
  readonly base: LogPosition;
  /** The configuration at `base`. */
  readonly baseConfig: ClusterConfig;
  /** Where the term changes, in order; the first run begins right after `base`. */
  readonly terms: readonly TermRun[];
  /** The configuration entries in the log, in order. */
  readonly configs: readonly ConfigAt[];
  readonly lastIndex: LogIndex;
}

/** The image of a log without entries. */
export const EMPTY_LOG: LogImage = {
  base: ORIGIN,
  baseConfig: EMPTY_CONFIG,
  terms: [],
  configs: [],
  lastIndex: 0,
};

/** A read-only view of a node's log. */
export interface LogView {
  /**
   * The position of the last entry before the log, which a snapshot covers; `ORIGIN`: the log begins at 1.
   */
  readonly base: LogPosition;
  /** The position of the last entry; the base if there are no entries. */
  readonly last: LogPosition;
  /** The term of an entry, or of the base; undefined: the index is before the base or after the end. */
  termAt(index: LogIndex): Term | undefined;
  /** Whether the entry at this position is in the log, or is its base. */
  contains(position: LogPosition): boolean;
  /** The configuration in force at an index: the last one at or before it. Throws before the base. */
  configAt(index: LogIndex): ConfigAt;
  /** The positions of the entries `(prevIndex, lastIndex]`. Throws unless both are in the log or its base. */
  slice(prevIndex: LogIndex, lastIndex: LogIndex): EntryRange;
}

/**
 * A node's log: positions without payloads. All entries of one term are one run, so memory grows with the
 * number of terms and configurations, not of entries.
 *
 * Invariants: the runs' indexes and terms increase, and the first run begins at `base.index + 1`; the
 * configurations' indexes increase, and all are after `base`.
 */
export class Log implements LogView {
  /**
   * The last position that is no longer in the log. Moves up when entries are compacted, or with a snapshot.
   */
  #base: LogPosition;
  /** The configuration in force at the base. */
  #baseConfig: ClusterConfig;
  /** The term runs; empty exactly if there are no entries. */
  #terms: TermRun[];
  #configs: ConfigAt[];
  /** The index of the last entry; the base's if there are no entries. */
  #lastIndex: LogIndex;

  constructor(image: LogImage) {
    checkRuns(image.base, image.terms, image.lastIndex);
    checkConfigs(image.base.index, image.configs, image.lastIndex);
    this.#base = image.base;
    this.#baseConfig = image.baseConfig;
    this.#terms = [...image.terms];
    this.#configs = [...image.configs];
    this.#lastIndex = image.lastIndex;
  }

  /** The log as plain values, from which the constructor makes an equal log. */
  capture(): LogImage {
    return {
      base: this.#base,
      baseConfig: this.#baseConfig,
      terms: [...this.#terms],
      configs: [...this.#configs],
      lastIndex: this.#lastIndex,
    };
  }

  get base(): LogPosition {
    return this.#base;
  }

  get last(): LogPosition {
    const run = this.#terms.at(-1);
    return run === undefined ? this.#base : { term: run.term, index: this.#lastIndex };
  }

  /** The index of `last`, for what runs with each message: it costs no object. */
  get lastIndex(): LogIndex {
    return this.#lastIndex;
  }

  /** The configuration in force: the last one in the log, committed or not (§6). */
  get config(): ConfigAt {
    return this.#configs.at(-1) ?? { index: this.#base.index, config: this.#baseConfig };
  }

  termAt(index: LogIndex): Term | undefined {
    if (index === this.#base.index) return this.#base.term;
    if (index < this.#base.index || index > this.#lastIndex) return undefined;
    return this.#terms[this.#runAt(index)]?.term;
  }

  contains(position: LogPosition): boolean {
    return this.termAt(position.index) === position.term;
  }

  configAt(index: LogIndex): ConfigAt {
    assert(index >= this.#base.index, "the configuration before the log's base is forgotten");
    return (
      this.#configs.findLast((at) => at.index <= index) ?? {
        index: this.#base.index,
        config: this.#baseConfig,
      }
    );
  }

  /** The index after the last entry of the term run that the entry at `index` belongs to. */
  endOfRun(index: LogIndex): LogIndex {
    return this.#terms[this.#runAt(index) + 1]?.index ?? this.#lastIndex + 1;
  }

  slice(prevIndex: LogIndex, lastIndex: LogIndex): EntryRange {
    const prevTerm = this.termAt(prevIndex);
    assert(prevTerm !== undefined, "a slice begins within the log");
    assert(lastIndex >= prevIndex && lastIndex <= this.#lastIndex, "a slice ends within the log");
    const prev = { term: prevTerm, index: prevIndex };
    if (lastIndex === prevIndex) return { prev, lastIndex, terms: [], configs: [] };
    const first = this.#runAt(prevIndex + 1);
    const terms = [{ index: prevIndex + 1, term: this.#terms[first]?.term ?? prevTerm }];
    for (let at = first + 1; at < this.#terms.length; at++) {
      const run = this.#terms[at];
      if (run === undefined || run.index > lastIndex) break;
      terms.push(run);
    }
    const last = this.#configs.at(-1);
    const configs =
      last === undefined || last.index <= prevIndex
        ? []
        : this.#configs.filter((at) => at.index > prevIndex && at.index <= lastIndex);
    return { prev, lastIndex, terms, configs };
  }

  /**
   * The last index at which this log can agree with a log that has `term` at `index` (§5.3): the last one up
   * to `index` whose term is at most `term`. The base if there is none. Skips a whole term at a time.
   */
  lastAgreement(index: LogIndex, term: Term): LogIndex {
    const bounded = Math.min(index, this.#lastIndex);
    for (let at = this.#terms.length - 1; at >= 0; at--) {
      const run = this.#terms[at];
      if (run === undefined || run.index > bounded || run.term > term) continue;
      const next = this.#terms[at + 1];
      return Math.min(bounded, next === undefined ? this.#lastIndex : next.index - 1);
    }
    return this.#base.index;
  }

  /** Appends `count` entries of `term`. */
  extend(term: Term, count: number): void {
    const lastTerm = this.last.term;
    assert(term >= lastTerm, "terms never fall along a log");
    assert(count > 0 && Number.isSafeInteger(this.#lastIndex + count), "a log grows by whole entries");
    // After compaction to the end there is no run to extend, even if the base has the same term.
    if (term > lastTerm || this.#terms.length === 0) this.#terms.push({ index: this.#lastIndex + 1, term });
    this.#lastIndex += count;
  }

  /** Appends one configuration entry of `term`. */
  extendConfig(term: Term, config: ClusterConfig): void {
    this.extend(term, 1);
    this.#configs.push({ index: this.#lastIndex, config });
  }

  /** Appends the entries of a range from `from` on, which must follow this log's last entry. */
  extendFrom(range: EntryRange, from: LogIndex): void {
    assert(from === this.#lastIndex + 1, "entries are appended without a gap");
    range.terms.forEach((run, at) => {
      const end = range.terms[at + 1]?.index ?? range.lastIndex + 1;
      const begin = Math.max(run.index, from);
      if (begin < end) this.extend(run.term, end - begin);
    });
    for (const config of range.configs) if (config.index >= from) this.#configs.push(config);
    assert(this.#lastIndex === range.lastIndex, "a range's runs cover all of its entries");
  }

  /** Removes the entries from `index` on. Their configurations are no longer in force (§6). */
  truncate(index: LogIndex): void {
    assert(index > this.#base.index, "what a snapshot covers cannot be removed");
    while ((this.#terms.at(-1)?.index ?? 0) >= index) this.#terms.pop();
    while ((this.#configs.at(-1)?.index ?? 0) >= index) this.#configs.pop();
    this.#lastIndex = Math.min(this.#lastIndex, index - 1);
  }

  /** Forgets the entries up to `index`, which a snapshot covers, and keeps the entries after it. */
  compact(index: LogIndex): void {
    if (index <= this.#base.index) return;
    const term = this.termAt(index);
    assert(term !== undefined, "only entries in the log can be compacted");
    const { config } = this.configAt(index);
    const run = this.#runAt(index);
    const kept = this.#terms.slice(run);
    const first = kept[0];
    const runEnds = (kept[1]?.index ?? this.#lastIndex + 1) - 1;
    if (first !== undefined) {
      if (runEnds === index) kept.shift();
      else kept[0] = { index: index + 1, term: first.term };
    }
    this.#terms = kept;
    this.#configs = this.#configs.filter((at) => at.index > index);
    this.#base = { term, index };
    this.#baseConfig = config;
  }

  /** Removes all entries: the log continues after a snapshot whose last entry is at `base`. */
  reset(base: LogPosition, config: ClusterConfig): void {
    this.#base = base;
    this.#baseConfig = config;
    this.#terms = [];
    this.#configs = [];
    this.#lastIndex = base.index;
  }

  /** Where in `#terms` the run of the entry at `index` is. */
  #runAt(index: LogIndex): number {
    let low = 0;
    let high = this.#terms.length - 1;
    // Most calls are about the newest run, so the search is skipped for it.
    if ((this.#terms[high]?.index ?? Infinity) <= index) return high;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#terms[middle]?.index ?? Infinity) <= index) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

/** Throws unless a received range is one that a log can hold. */
export function checkRange(range: EntryRange): void {
  const { prev } = range;
  assert(Number.isSafeInteger(prev.index) && prev.index >= 0, "an index is a safe integer");
  assert((prev.index === 0) === (prev.term === 0), "only the origin has index 0 and term 0");
  checkRuns(prev, range.terms, range.lastIndex);
  checkConfigs(prev.index, range.configs, range.lastIndex);
}

function checkRuns(prev: LogPosition, terms: readonly TermRun[], lastIndex: LogIndex): void {
  assert(
    Number.isSafeInteger(lastIndex) && lastIndex >= prev.index,
    "entries end where they begin, or later",
  );
  assert(terms.length > 0 === lastIndex > prev.index, "each entry belongs to a run of a term");
  let { index, term } = prev;
  let isFirst = true;
  for (const run of terms) {
    assert(Number.isSafeInteger(run.term) && run.term > 0, "an entry's term is a positive safe integer");
    assert(isFirst ? run.term >= term : run.term > term, "terms never fall along a log");
    assert(isFirst ? run.index === index + 1 : run.index > index, "runs follow each other");
    ({ index, term } = run);
    isFirst = false;
  }
  assert(index <= lastIndex, "no run begins past the end");
}

function checkConfigs(prevIndex: LogIndex, configs: readonly ConfigAt[], lastIndex: LogIndex): void {
  let before = prevIndex;
  for (const { index } of configs) {
    assert(index > before && index <= lastIndex, "configurations lie among the entries, in order");
    before = index;
  }
}
