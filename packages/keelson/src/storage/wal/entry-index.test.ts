import { describe, expect, it } from "vitest";
import { EntryIndex } from "./entry-index.ts";

/** The entries of one chunk. Mistakes show at its multiples. */
const CHUNK = 1024;

interface Expected {
  readonly segment: number;
  readonly offset: number;
  readonly length: number;
}

/** An index, and a simple model of what it should hold. */
class Pair {
  readonly index = new EntryIndex();
  readonly entries = new Map<number, Expected>();
  first = 1;
  #written = 0;

  get next(): number {
    return this.first + this.entries.size;
  }

  /** Appends entries up to `to`, and sets the locations of two thirds of them. */
  grow(to: number): this {
    for (let at = this.next; at < to; at++) {
      this.#written += 1;
      const length = 1 + ((at * 7 + this.#written) % 50);
      this.index.append(length);
      const place = { segment: at % 3 === 0 ? 0 : this.#written, offset: at % 3 === 0 ? 0 : at * 64 };
      if (place.segment > 0) this.index.setLocation(at, place.segment, place.offset);
      this.entries.set(at, { ...place, length });
    }
    return this;
  }

  truncate(from: number): this {
    this.index.truncate(from);
    for (const at of [...this.entries.keys()]) if (at >= from) this.entries.delete(at);
    return this;
  }

  compact(first: number): this {
    this.index.compact(first);
    for (const at of [...this.entries.keys()]) if (at < first) this.entries.delete(at);
    this.first = first;
    return this;
  }

  reset(first: number): this {
    this.index.reset(first);
    this.entries.clear();
    this.first = first;
    return this;
  }

  check(): void {
    expect(this.index.next).toBe(this.next);
    // Compared once and as text: thousands of expectations would take seconds.
    const expected: string[] = [];
    const found: string[] = [];
    let bytes = 0;
    for (const [at, { segment, offset, length }] of this.entries) {
      const place = this.index.locationOf(at);
      expected.push([at, segment, offset, length, bytes].join());
      found.push(
        [at, place.segment, place.offset, place.length, this.index.bytesBetween(this.first, at)].join(),
      );
      bytes += length;
    }
    expect(found).toEqual(expected);
    expect(this.index.bytesBetween(this.first, this.next)).toBe(bytes);
  }
}

const BORDERS = [2, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1, 2500];

describe("EntryIndex", () => {
  it("knows each entry's length, and its location once that is set", () => {
    new Pair().grow(2600).check();
  });

  it.each(BORDERS)("removes the entries from %s on, and accepts others in their place", (from) => {
    const pair = new Pair().grow(2600).truncate(from);
    pair.check();
    pair.grow(from + 1200).check();
  });

  it.each(BORDERS)("removes the entries before %s, and accepts further ones", (first) => {
    const pair = new Pair().grow(2600).compact(first);
    pair.check();
    pair.grow(4000).check();
    pair
      .truncate(first + 1)
      .grow(3700)
      .check();
    pair.compact(3600).truncate(3600).grow(5000).check();
  });

  it.each(BORDERS)("is empty after a reset, and continues at %s", (first) => {
    const pair = new Pair().grow(1500).reset(first);
    pair.check();
    pair.grow(first + 1100).check();
    pair
      .compact(first + 1050)
      .grow(first + 2200)
      .check();
  });

  it("can be emptied, and accepts further entries", () => {
    new Pair().grow(1500).compact(1500).grow(1600).check();
    new Pair().grow(1500).truncate(1).grow(1600).check();
  });

  it("ignores locations of entries that it doesn't hold", () => {
    const pair = new Pair().grow(3000).compact(2500);
    for (const at of [1, 1500, 2499, 3000, 3001, 9000]) pair.index.setLocation(at, 77, 77);
    pair.check();
    pair.index.append(10);
    expect(pair.index.locationOf(3000)).toMatchObject({ segment: 0, length: 10 });
  });

  it("throws if it's asked about an entry that it doesn't hold", () => {
    const { index } = new Pair().grow(3000).compact(2500).truncate(2900);
    for (const at of [0, 2499, 2900, 2999, 9000])
      expect(() => index.locationOf(at)).toThrow("within the log");
    expect(() => index.bytesBetween(2499, 2600)).toThrow("within the log");
    expect(() => index.bytesBetween(2600, 2901)).toThrow("within the log");
    expect(index.bytesBetween(2900, 2900)).toBe(0);
  });
});
