/** Estimated overhead of an entry of a map with a short string as its key. */
const ENTRY_BYTES = 100;
const NUMBER_BYTES = 8;
const CHARACTER_BYTES = 2;
/** How many operations one character of a key tells of. */
const BITS = 16;

const NONE_USED: readonly (readonly number[])[] = [[]];

/**
 * The configurations that a search has been in: which of the operations that returned are placed,
 * and the state. With each, the sets of operations of unknown outcome that were used to get there;
 * only the smallest, since one that used less can do all that one that used more can.
 *
 * What is placed is told by the first operation that is not and the bits after it, so a key is as
 * long as operations overlap and not as long as the history.
 */
export class SeenConfigurations {
  readonly #seen = new Map<string, readonly (readonly number[])[]>();
  readonly #states = new Map<string, number>();
  #bytes = 0;

  /** Estimated memory in use. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Adds a configuration; false if one was there that can do as much. */
  add(
    placed: Uint8Array,
    base: number,
    placedCount: number,
    fingerprint: string,
    used: readonly number[],
  ): boolean {
    const key = `${base} ${this.#stateId(fingerprint)} ${window(placed, base, placedCount)}`;
    const before = this.#seen.get(key);
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

/** One bit for each operation from `base` on, as far as any is placed. */
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

/** Both ascending. */
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
