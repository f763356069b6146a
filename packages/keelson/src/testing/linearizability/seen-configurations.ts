// What a search for a legal order has visited. Its size is estimated, because the search ends at a limit of
// memory: the constants are roughly what V8 takes.

/** An entry of a `Map`, or an array in it, without the characters of its key and the numbers in the array. */
const ENTRY_BYTES = 100;
const NUMBER_BYTES = 8;
const CHARACTER_BYTES = 2;
/** How many operations one character of a key describes. */
const BITS = 16;

const NONE_USED: readonly (readonly number[])[] = [[]];

/**
 * The configurations that a search has visited: which required operations are placed, and the state. For
 * each, the sets of optional operations that were used to get there. Of these sets only the smallest are
 * kept: a configuration that used fewer can do everything that one that used more can.
 *
 * The placed operations are written as the first unplaced one and a bit for each operation after it. So the
 * length of a key grows with the number of concurrent operations, not with the history.
 */
export class SeenConfigurations {
  readonly #seen = new Map<string, readonly (readonly number[])[]>();
  readonly #states = new Map<string, number>();
  #bytes = 0;
  #comparisons = 0;

  /** How many sets of optional operations `add` has compared with others: they take most of its time. */
  get comparisons(): number {
    return this.#comparisons;
  }

  /** Estimated memory in use. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Adds a configuration. Returns false if one that can do at least as much is already there. */
  add(
    placed: Uint8Array,
    base: number,
    placedCount: number,
    fingerprint: string,
    used: readonly number[],
  ): boolean {
    const key = `${base} ${this.#stateId(fingerprint)} ${window(placed, base, placedCount)}`;
    const before = this.#seen.get(key);
    this.#comparisons += before?.length ?? 0;
    if (before?.some((other) => isSubset(other, used)) === true) return false;
    if (used.length === 0) {
      this.#seen.set(key, NONE_USED);
    } else {
      const kept = before?.filter((other) => !isSubset(used, other)) ?? [];
      this.#seen.set(key, [...kept, used]);
    }
    this.#bytes += key.length * CHARACTER_BYTES + used.length * NUMBER_BYTES + ENTRY_BYTES;
    return true;
  }

  #stateId(fingerprint: string): number {
    const known = this.#states.get(fingerprint);
    if (known !== undefined) return known;
    const id = this.#states.size;
    this.#states.set(fingerprint, id);
    this.#bytes += fingerprint.length * CHARACTER_BYTES + ENTRY_BYTES;
    return id;
  }
}

/** One bit for each operation from `base` on, up to the last placed one. */
function window(placed: Uint8Array, base: number, placedCount: number): string {
  let left = placedCount - base;
  let text = "";
  for (let from = base; left > 0; from += BITS) {
    let bits = 0;
    for (let at = 0; at < BITS; at++) {
      if (placed[from + at] !== 1) continue;
      bits |= 1 << at;
      left -= 1;
    }
    text += String.fromCharCode(bits);
  }
  return text;
}

/** Whether `outer` contains `inner`; both are ascending. */
function isSubset(inner: readonly number[], outer: readonly number[]): boolean {
  if (inner.length > outer.length) return false;
  let at = 0;
  for (const item of inner) {
    while (at < outer.length && (outer[at] ?? item) < item) at += 1;
    if (outer[at] !== item) return false;
    at += 1;
  }
  return true;
}
