// Values as small numbers, so that a state of the whole group is a short list of integers.
import type { Renaming } from "../host/renaming.ts";

/**
 * Numbers values in the order in which they are met first; equal values have the same number. `encode` must
 * give equal values, and no others, equal texts.
 */
export class NumberedValues<T> {
  readonly #values: T[] = [];
  readonly #numbers = new Map<string, number>();
  readonly #encode: (value: T) => string;
  readonly #rename: (renaming: Renaming, value: T) => T;
  readonly #renamings: readonly Renaming[];
  /** By renaming and number: the number of the renamed value, plus 1; 0: not known yet. */
  readonly #renamed: number[][];

  constructor(
    renamings: readonly Renaming[],
    encode: (value: T) => string,
    rename: (renaming: Renaming, value: T) => T,
  ) {
    this.#renamings = renamings;
    this.#encode = encode;
    this.#rename = rename;
    this.#renamed = renamings.map(() => []);
  }

  get size(): number {
    return this.#values.length;
  }

  /** The number of a value; a new one if no equal value was met before. */
  numberOf(value: T): number {
    const text = this.#encode(value);
    const known = this.#numbers.get(text);
    if (known !== undefined) return known;
    const number = this.#values.length;
    this.#values.push(value);
    this.#numbers.set(text, number);
    return number;
  }

  /** The value with this number. */
  at(number: number): T {
    const value = this.#values[number];
    if (value === undefined) throw new Error(`nothing has the number ${number}`);
    return value;
  }

  /** The number of the value that renaming number `by` makes of the value with this number. */
  renamed(by: number, number: number): number {
    if (by === 0) return number;
    const table = this.#renamed[by];
    const renaming = this.#renamings[by];
    if (table === undefined || renaming === undefined) throw new Error(`there is no renaming ${by}`);
    const known = table[number] ?? 0;
    if (known > 0) return known - 1;
    while (table.length <= number) table.push(0);
    const found = this.numberOf(this.#rename(renaming, this.at(number)));
    table[number] = found + 1;
    return found;
  }
}
