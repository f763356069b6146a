const EMPTY = 0;

/**
 * A map from pairs of unsigned 32-bit integers to unsigned 32-bit integers, in three flat arrays: 12 bytes a
 * slot, and no object for each entry. The pair (0, 0) can't be a key.
 */
export class PairTable {
  #high: Uint32Array;
  #low: Uint32Array;
  #values: Uint32Array;
  #mask: number;
  #size = 0;

  constructor(capacity: number = 1 << 16) {
    this.#high = new Uint32Array(capacity);
    this.#low = new Uint32Array(capacity);
    this.#values = new Uint32Array(capacity);
    this.#mask = capacity - 1;
  }

  get size(): number {
    return this.#size;
  }

  /** The value of a key; undefined if there is none. */
  get(high: number, low: number): number | undefined {
    const slot = this.#find(high, low);
    return this.#isFree(slot) ? undefined : this.#values[slot];
  }

  /** Adds a key with its value. Returns false if the key is there already; it keeps its value. */
  add(high: number, low: number, value: number): boolean {
    if ((high | low) === EMPTY) throw new Error("the pair (0, 0) cannot be a key");
    const slot = this.#find(high, low);
    if (!this.#isFree(slot)) return false;
    this.#high[slot] = high;
    this.#low[slot] = low;
    this.#values[slot] = value;
    this.#size += 1;
    // With more than two thirds of the slots in use, linear probing takes many steps.
    if (this.#size * 3 > this.#values.length * 2) this.#grow();
    return true;
  }

  #isFree(slot: number): boolean {
    return this.#high[slot] === EMPTY && this.#low[slot] === EMPTY;
  }

  #find(high: number, low: number): number {
    let slot = mix(high, low) & this.#mask;
    while (
      !(this.#high[slot] === high && this.#low[slot] === low) &&
      !(this.#high[slot] === EMPTY && this.#low[slot] === EMPTY)
    ) {
      slot = (slot + 1) & this.#mask;
    }
    return slot;
  }

  #grow(): void {
    const { high, low, values } = { high: this.#high, low: this.#low, values: this.#values };
    const capacity = values.length * 2;
    this.#high = new Uint32Array(capacity);
    this.#low = new Uint32Array(capacity);
    this.#values = new Uint32Array(capacity);
    this.#mask = capacity - 1;
    for (let at = 0; at < values.length; at++) {
      const keyHigh = high[at] ?? EMPTY;
      const keyLow = low[at] ?? EMPTY;
      if ((keyHigh | keyLow) === EMPTY) continue;
      const slot = this.#find(keyHigh, keyLow);
      this.#high[slot] = keyHigh;
      this.#low[slot] = keyLow;
      this.#values[slot] = values[at] ?? 0;
    }
  }
}

/** Spreads a pair over 32 bits (the finalizer of MurmurHash3). */
function mix(high: number, low: number): number {
  let hash = Math.imul(high, 0x9e3779b1) ^ low;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
