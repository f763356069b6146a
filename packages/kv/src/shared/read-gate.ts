/**
 * Limits how many answers to reads are fetched from the database at once.
 *
 * Hazard: how large a value is, is known only when it has been read. If a thousand reads ran at once, a
 * gigabyte could be in memory before the budget for answers refused the first of them.
 */
export class ReadGate {
  readonly #max: number;
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(max: number) {
    this.#max = max;
  }

  async run<T>(read: () => Promise<T>): Promise<T> {
    // Whoever leaves hands its place to the one that waits, so the count stays.
    if (this.#running < this.#max) this.#running += 1;
    else {
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
    }
    try {
      return await read();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }
}
