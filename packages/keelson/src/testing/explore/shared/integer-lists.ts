/** A list of unsigned 32-bit integers that grows, four bytes each. */
export class IntegerList {
  #values = new Uint32Array(1 << 16);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(value: number): void {
    if (this.#length === this.#values.length) {
      const grown = new Uint32Array(this.#values.length * 2);
      grown.set(this.#values);
      this.#values = grown;
    }
    this.#values[this.#length] = value;
    this.#length += 1;
  }

  at(index: number): number {
    const value = index < this.#length ? this.#values[index] : undefined;
    if (value === undefined) throw new Error(`a list of ${this.#length} has nothing at ${index}`);
    return value;
  }

  clear(): void {
    this.#length = 0;
  }
}

/** A queue of states, kept in one flat list of integers. Fill it first, then empty it. */
export class StateQueue {
  readonly #values = new IntegerList();
  #read = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  get isEmpty(): boolean {
    return this.#length === 0;
  }

  push(state: readonly number[]): void {
    this.#values.push(state.length);
    for (const value of state) this.#values.push(value);
    this.#length += 1;
  }

  shift(): number[] {
    if (this.#length === 0) throw new Error("the queue is empty");
    const length = this.#values.at(this.#read);
    const state: number[] = [];
    for (let at = 1; at <= length; at++) state.push(this.#values.at(this.#read + at));
    this.#read += length + 1;
    this.#length -= 1;
    if (this.#length === 0) {
      this.#values.clear();
      this.#read = 0;
    }
    return state;
  }
}
