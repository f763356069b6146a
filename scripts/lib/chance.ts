/** A random number generator with a seed: the same seed gives the same numbers. */
export class Chance {
  #state: number;

  /** `stream` gives several users of one seed different numbers. */
  constructor(seed: number, stream = 0) {
    this.#state = (Math.imul(seed | 0, 0x9e3779b1) ^ Math.imul(stream + 1, 0x85ebca6b)) | 0;
    // Skip the first numbers: those of neighbouring seeds resemble each other.
    for (let n = 0; n < 8; n++) this.next();
  }

  /** A number in `[0, 1)`. */
  next(): number {
    // Mulberry32: small, fast, and good enough to choose faults and damage by.
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number in `[from, to)`. */
  between(from: number, to: number): number {
    return from + Math.floor(this.next() * (to - from));
  }

  /** True with this probability. */
  often(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(choices: readonly T[]): T {
    const choice = choices[this.between(0, choices.length)];
    if (choice === undefined) throw new RangeError("there is nothing to choose from");
    return choice;
  }
}
