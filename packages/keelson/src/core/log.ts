import { assert } from "./assert.ts";
import { EMPTY_CONFIG, type ClusterConfig } from "./config.ts";
import type { ConfigAt, EntryRange, TermRun } from "./message.ts";
import { ORIGIN, type LogIndex, type LogPosition, type Term } from "./position.ts";

/** What a log looks like from outside: enough to restart a node, and nothing that grows with it. */
export interface LogImage {
  /** The last entry before the log, covered by a snapshot; `ORIGIN`: none. */
  readonly base: LogPosition;
  /** The configuration at `base`. */
  readonly baseConfig: ClusterConfig;
  /** Where the term changes, ascending; the first run begins right after `base`. */
  readonly terms: readonly TermRun[];
  /** The configurations in the log, ascending. */
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

/** A log that may be looked at and not touched. */
export interface LogView {
  readonly base: LogPosition;
  readonly last: LogPosition;
  /** The term at an index; undefined: compacted away, or past the end. The base's own is known. */
  termAt(index: LogIndex): Term | undefined;
  /** Whether the entry at this place is in the log, or is its base. */
  contains(position: LogPosition): boolean;
  /** The configuration in force at an index: the last one at or before it. */
  configAt(index: LogIndex): ConfigAt;
  /** The positions of the entries `(prevIndex, lastIndex]`, both within the log. */
  slice(prevIndex: LogIndex, lastIndex: LogIndex): EntryRange;
}

/**
 * The log as the core knows it: positions without payloads. A run of entries of one term is one
 * element, so memory grows with the number of terms and configurations, not of entries.
 *
 * Invariants: runs ascend in both index and term, and the first begins at `base.index + 1`;
 * configurations ascend, after `base`.
 */
export class Log implements LogView {
  #base: LogPosition;
  #baseConfig: ClusterConfig;
  #terms: TermRun[];
  #configs: ConfigAt[];
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

  /** The log as plain values: the constructor makes the same log of them. */
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

  /** The index right after the run of one term that `index`, an entry, belongs to. */
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
    const terms = this.#terms
      .slice(first, this.#runAt(lastIndex) + 1)
      .map((run, at) => (at === 0 ? { index: prevIndex + 1, term: run.term } : run));
    const last = this.#configs.at(-1);
    const configs =
      last === undefined || last.index <= prevIndex
        ? []
        : this.#configs.filter((at) => at.index > prevIndex && at.index <= lastIndex);
    return { prev, lastIndex, terms, configs };
  }

  /**
   * The last index, at or below `index`, whose term is at or below `term`: the furthest place at
   * which this log can agree with one that has `term` at `index` (§5.3, fast back-up). The base
   * if nothing later qualifies.
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

  /** Adds `count` entries of `term` at the end. */
  extend(term: Term, count: number): void {
    const lastTerm = this.last.term;
    assert(term >= lastTerm, "terms never fall along a log");
    assert(count > 0 && Number.isSafeInteger(this.#lastIndex + count), "a log grows by whole entries");
    // A log that was compacted to its end has no run to go on with, though the term may be the base's.
    if (term > lastTerm || this.#terms.length === 0) this.#terms.push({ index: this.#lastIndex + 1, term });
    this.#lastIndex += count;
  }

  /** Adds one configuration entry of `term` at the end. */
  extendConfig(term: Term, config: ClusterConfig): void {
    this.extend(term, 1);
    this.#configs.push({ index: this.#lastIndex, config });
  }

  /** Adds the entries of a range from `from` on, which must be right after the last one here. */
  extendFrom(range: EntryRange, from: LogIndex): void {
    assert(from === this.#lastIndex + 1, "entries are appended without a gap");
    for (const [at, run] of range.terms.entries()) {
      const end = range.terms[at + 1]?.index ?? range.lastIndex + 1;
      const begin = Math.max(run.index, from);
      if (begin < end) this.extend(run.term, end - begin);
    }
    for (const config of range.configs) if (config.index >= from) this.#configs.push(config);
    assert(this.#lastIndex === range.lastIndex, "a range's runs cover all of its entries");
  }

  /** Removes the entries from `index` on, and with them their configurations (§6). */
  truncate(index: LogIndex): void {
    assert(index > this.#base.index, "what a snapshot covers cannot be removed");
    while ((this.#terms.at(-1)?.index ?? 0) >= index) this.#terms.pop();
    while ((this.#configs.at(-1)?.index ?? 0) >= index) this.#configs.pop();
    this.#lastIndex = Math.min(this.#lastIndex, index - 1);
  }

  /** Forgets the entries up to `index`, which a snapshot covers; what follows stays. */
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

  /** Empties the log: a snapshot covers everything up to `base`. */
  reset(base: LogPosition, config: ClusterConfig): void {
    this.#base = base;
    this.#baseConfig = config;
    this.#terms = [];
    this.#configs = [];
    this.#lastIndex = base.index;
  }

  /** Where in `#terms` the run is that holds `index`, which must be an entry. */
  #runAt(index: LogIndex): number {
    let low = 0;
    let high = this.#terms.length - 1;
    // The newest run is asked for most.
    if ((this.#terms[high]?.index ?? Infinity) <= index) return high;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#terms[middle]?.index ?? Infinity) <= index) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

/** A range as it comes from outside must be one that a log can hold. */
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
  let before = { index: prev.index, term: prev.term };
  for (const [at, run] of terms.entries()) {
    assert(Number.isSafeInteger(run.term) && run.term > 0, "an entry's term is a positive safe integer");
    assert(at === 0 ? run.term >= before.term : run.term > before.term, "terms never fall along a log");
    assert(at === 0 ? run.index === before.index + 1 : run.index > before.index, "runs follow each other");
    before = run;
  }
  assert(before.index <= lastIndex, "no run begins past the end");
}

function checkConfigs(prevIndex: LogIndex, configs: readonly ConfigAt[], lastIndex: LogIndex): void {
  let before = prevIndex;
  for (const { index } of configs) {
    assert(index > before && index <= lastIndex, "configurations lie among the entries, in order");
    before = index;
  }
}
