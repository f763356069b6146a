/**
 * Reads values for answers: a limited number at once, and only if the budget for answers has room.
 *
 * Hazard: how large a value is, is known only when it has been read. If a thousand reads ran at once, a gigabyte
 * could be in memory before the budget refused the first of them. And if values were read only to be refused, a
 * client that asks for them in a loop would keep the disk and the garbage collector busy. So room for the largest
 * value is taken before a read, and the rest is given back after it.
 */
import type { MemoryAccount } from "./memory-budget.ts";

export class ReadGate {
  readonly #max: number;
  /** Bytes of the largest value: room for so much is taken before a read. */
  readonly #valueBytesMax: number;
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  /** `max`: reads at once. */
  constructor(max: number, valueBytesMax: number) {
    this.#max = max;
    this.#valueBytesMax = valueBytesMax;
  }

  /** Runs the read when it is its turn. */
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

  /** As `run`, for a value, whose bytes the account holds afterwards. "no-room": it was not read. */
  readValue<T extends { readonly value: Uint8Array }>(
    account: MemoryAccount,
    read: () => Promise<T | null>,
  ): Promise<T | null | "no-room"> {
    return this.run(async () => {
      if (!account.take(this.#valueBytesMax)) return "no-room";
      let bytes = 0;
      try {
        const found = await read();
        bytes = found?.value.length ?? 0;
        return found;
      } finally {
        account.give(this.#valueBytesMax - bytes);
      }
    });
  }
}
