import * as fc from "fast-check";
import { describe, expect, it } from "vitest";

import { configOf, ProtocolViolation, type ClusterConfig, type ConfigAt, type TermRun } from "./index.ts";
import { checkRange, EMPTY_LOG, Log } from "./log.ts";
import { ABC, at, logOf, range } from "./test/script.ts";

/** A simple model of the log: one element per entry, including entries before the base. */
class NaiveLog {
  entries: { readonly term: number; readonly config: ClusterConfig | null }[] = [];
  baseIndex = 0;

  get lastIndex(): number {
    return this.entries.length;
  }

  get lastTerm(): number {
    return this.entries.at(-1)?.term ?? 0;
  }

  termAt(index: number): number | undefined {
    if (index === 0 && this.baseIndex === 0) return 0;
    return index < this.baseIndex ? undefined : this.entries[index - 1]?.term;
  }

  configAt(index: number): ConfigAt {
    for (let at = index; at >= 1; at--) {
      const config = this.entries[at - 1]?.config ?? null;
      if (config !== null) return { index: Math.max(at, this.baseIndex), config };
    }
    return { index: this.baseIndex, config: EMPTY_LOG.baseConfig };
  }

  slice(prev: number, last: number): { terms: TermRun[]; configs: ConfigAt[] } {
    const terms: TermRun[] = [];
    const configs: ConfigAt[] = [];
    for (let index = prev + 1; index <= last; index++) {
      const { term, config } = this.entries[index - 1]!;
      if (terms.at(-1)?.term !== term) terms.push({ index, term });
      if (config !== null) configs.push({ index, config });
    }
    return { terms, configs };
  }

  lastAgreement(index: number, term: number): number {
    for (let at = Math.min(index, this.lastIndex); at > this.baseIndex; at--) {
      if (this.entries[at - 1]!.term <= term) return at;
    }
    return this.baseIndex;
  }

  endOfRun(index: number): number {
    let end = index;
    while (end <= this.lastIndex && this.termAt(end) === this.termAt(index)) end += 1;
    return end;
  }
}

type Step = (log: Log, naive: NaiveLog) => void;

const extend = fc
  .record({ step: fc.nat(2), count: fc.integer({ min: 1, max: 4 }) })
  .map(({ step, count }): Step => (log, naive) => {
    const term = Math.max(1, naive.lastTerm + step);
    log.extend(term, count);
    for (let n = 0; n < count; n++) naive.entries.push({ term, config: null });
  });

const extendConfig = fc.constantFrom("x", "y", "z").map((id): Step => (log, naive) => {
  const term = Math.max(1, naive.lastTerm);
  const config = configOf([id]);
  log.extendConfig(term, config);
  naive.entries.push({ term, config });
});

/** A range that begins at or before the log's end, of which only the entries after the end are appended. */
const extendFrom = fc
  .record({ back: fc.nat(3), terms: fc.array(fc.nat(2), { minLength: 1, maxLength: 5 }) })
  .map(({ back, terms }): Step => (log, naive) => {
    const prev = Math.max(naive.baseIndex, naive.lastIndex - back);
    const fresh = new NaiveLog();
    fresh.entries = [...naive.entries];
    for (const [n, step] of terms.entries()) {
      const config = n % 2 === 1 ? configOf([`n${naive.lastIndex}`]) : null;
      fresh.entries.push({ term: Math.max(1, fresh.lastTerm + step), config });
    }
    const term = naive.termAt(prev)!;
    log.extendFrom(
      { prev: { index: prev, term }, lastIndex: fresh.lastIndex, ...fresh.slice(prev, fresh.lastIndex) },
      naive.lastIndex + 1,
    );
    naive.entries = fresh.entries;
  });

const truncate = fc.nat(6).map((back): Step => (log, naive) => {
  const index = Math.max(naive.baseIndex + 1, naive.lastIndex + 1 - back);
  log.truncate(index);
  naive.entries.length = Math.min(naive.entries.length, index - 1);
});

const compact = fc.nat(4).map((ahead): Step => (log, naive) => {
  const index = Math.min(naive.lastIndex, naive.baseIndex + ahead);
  log.compact(index);
  naive.baseIndex = index;
});

const reset = fc
  .record({ ahead: fc.integer({ min: 1, max: 3 }), id: fc.constantFrom("p", "q") })
  .map(({ ahead, id }): Step => (log, naive) => {
    const base = { index: naive.lastIndex + ahead, term: naive.lastTerm + 1 };
    const config = configOf([id]);
    log.reset(base, config);
    for (let n = 0; n < ahead; n++) naive.entries.push({ term: base.term, config });
    naive.baseIndex = base.index;
  });

/** Most steps make the log longer, so that there is something to truncate. */
const steps = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: extend },
    { weight: 2, arbitrary: extendConfig },
    { weight: 3, arbitrary: extendFrom },
    { weight: 2, arbitrary: truncate },
    { weight: 2, arbitrary: compact },
    { weight: 1, arbitrary: reset },
  ),
  { minLength: 1, maxLength: 25 },
);

function expectSame(log: Log, naive: NaiveLog): void {
  const { baseIndex, lastIndex } = naive;
  expect(log.base).toEqual({ index: baseIndex, term: naive.termAt(baseIndex) });
  expect(log.last).toEqual({ index: lastIndex, term: naive.lastTerm });
  expect(log.config).toEqual(naive.configAt(lastIndex));
  for (let index = Math.max(0, baseIndex - 2); index <= lastIndex + 2; index++) {
    const term = naive.termAt(index);
    expect(log.termAt(index)).toBe(term);
    if (term !== undefined) expect(log.contains({ index, term })).toBe(true);
    expect(log.contains({ index, term: (term ?? 0) + 1 })).toBe(false);
    if (index < baseIndex || index > lastIndex) continue;
    expect(log.configAt(index)).toEqual(naive.configAt(index));
    if (index > baseIndex) expect(log.endOfRun(index)).toBe(naive.endOfRun(index));
    for (let term = 0; term <= naive.lastTerm + 1; term++) {
      expect(log.lastAgreement(index, term)).toBe(naive.lastAgreement(index, term));
    }
    for (let last = index; last <= lastIndex; last++) {
      const prev = { index, term: naive.termAt(index) };
      expect(log.slice(index, last)).toEqual({ prev, lastIndex: last, ...naive.slice(index, last) });
    }
  }
}

describe("the log of positions", () => {
  it("behaves like a log with one element per entry, whatever is done to it", () => {
    fc.assert(
      fc.property(steps, (plan) => {
        const log = new Log(EMPTY_LOG);
        const naive = new NaiveLog();
        for (const step of plan) step(log, naive);
        expectSame(log, naive);
        expectSame(new Log(log.capture()), naive);
      }),
      { numRuns: 300 },
    );
  });

  it("takes no more memory for a million entries of one term than for one", () => {
    const log = new Log(EMPTY_LOG);
    log.extend(1, 1_000_000);
    log.extend(1, 1_000_000);
    expect(log.capture().terms).toEqual([{ index: 1, term: 1 }]);
    expect(log.last).toEqual(at("2000000@1"));
  });

  it("refuses falling terms, gaps, truncation below its base, and slices outside of it", () => {
    const log = new Log(logOf("6-9@3", "5@2"));
    const before = log.capture();
    expect(() => log.extend(2, 1)).toThrow(ProtocolViolation);
    expect(() => log.extend(3, 0)).toThrow(ProtocolViolation);
    expect(() => log.extendFrom(range("10@3", "11@3"), 11)).toThrow(ProtocolViolation);
    expect(() => log.truncate(5)).toThrow(ProtocolViolation);
    expect(() => log.compact(10)).toThrow(ProtocolViolation);
    expect(() => log.slice(4, 9)).toThrow(ProtocolViolation);
    expect(() => log.slice(5, 10)).toThrow(ProtocolViolation);
    expect(() => log.slice(8, 7)).toThrow(ProtocolViolation);
    expect(() => log.configAt(4)).toThrow(ProtocolViolation);
    expect(log.capture()).toEqual(before);
  });

  it("refuses to grow beyond safe integers, and ranges whose runs do not cover their entries", () => {
    const log = new Log(EMPTY_LOG);
    expect(() => log.extendFrom({ ...range("0@0", ""), lastIndex: 2 }, 1)).toThrow(ProtocolViolation);
    log.extend(1, Number.MAX_SAFE_INTEGER);
    expect(() => log.extend(1, 1)).toThrow(ProtocolViolation);
    expect(log.last.index).toBe(Number.MAX_SAFE_INTEGER);
  });

  it("returns its base as the last agreement with an index before it", () => {
    const log = new Log(logOf("6-9@3", "5@2"));
    expect(log.lastAgreement(3, 9)).toBe(5);
    expect(log.lastAgreement(5, 9)).toBe(5);
    expect(log.lastAgreement(7, 9)).toBe(7);
  });

  it("refuses an image that contradicts itself", () => {
    expect(() => new Log({ ...logOf("1-3@1"), lastIndex: 0 })).toThrow(ProtocolViolation);
    expect(() => new Log(logOf("5-6@1", "3@1"))).toThrow(ProtocolViolation);
    expect(() => new Log(logOf("1-3@1", "0@0", [{ index: 4, config: ABC }]))).toThrow(ProtocolViolation);
  });

  it("ignores a second compaction of the same entries", () => {
    const log = new Log(logOf("6-9@3", "5@2"));
    const before = log.capture();
    log.compact(3);
    expect(log.capture()).toEqual(before);
  });
});

describe("a received range", () => {
  it.each([
    ["an index that is no whole number", range("1.5@1", "2@1")],
    ["a negative index", range("-1@1", "")],
    ["the origin with a term", range("0@1", "1@1")],
    ["a place without a term", range("3@0", "4@1")],
    ["an end that is no whole number", { ...range("0@0", "1@1"), lastIndex: 2.5 }],
    ["a first entry of no term", range("0@0", "1@0")],
    ["an end before its beginning", { ...range("5@1", ""), lastIndex: 4 }],
    ["entries without a term", { ...range("5@1", ""), lastIndex: 6 }],
    ["a term without entries", { ...range("5@1", "6@1"), lastIndex: 5 }],
    ["a term below the one before", range("5@2", "6@1")],
    ["terms that fall", range("5@2", "6@4 7@3")],
    ["a term that is no whole number", range("5@2", "6@2.5")],
    ["a gap before the first entry", range("5@2", "7@2")],
    ["a run that begins where the one before does", range("5@2", "6@2 6@3")],
    ["two runs of one term", range("5@2", "6@2 7@2")],
    ["a run past its end", { ...range("5@2", "6@2 9@3"), lastIndex: 8 }],
    ["a configuration at its beginning", range("5@2", "6@2", [{ index: 5, config: ABC }])],
    ["a configuration past its end", range("5@2", "6@2", [{ index: 7, config: ABC }])],
    [
      "configurations out of order",
      range("5@2", "6-8@2", [
        { index: 7, config: ABC },
        { index: 6, config: ABC },
      ]),
    ],
  ])("is refused with %s", (_, wrong) => {
    expect(() => checkRange(wrong)).toThrow(ProtocolViolation);
  });

  it("is accepted if it is valid", () => {
    expect(() => checkRange(range("0@0", "1-3@1 4@3", [{ index: 1, config: ABC }]))).not.toThrow();
    expect(() => checkRange(range("7@2", ""))).not.toThrow();
  });
});
