/**
 * Reads values for answers: a limited number at once, and only if the budget for answers has room.
 *
 * Hazard: how large a value is, is known only when it has been read. If a thousand reads ran at once, a
 * gigabyte could be in memory before the budget refused the first of them. And if values were read only to be
 * refused, a client that asks for them in a loop would keep the disk and the garbage collector busy. So room
 * for the largest value is taken before a read, and the rest is given back after it.
 *
 * If there is no room for the largest value, the value may still be small, and a part of the budget is
 * reserved for small answers. So it is read all the same, but only one such value at a time; its bytes are
 * counted once its size is known. If there is no room for them, the caller holds the refusal back with
 * `delayRefusal`.
 */
import { pause } from "./pause.ts";

/** What a read's value is charged to: a `MemoryAccount`, or a part of one. */
export interface ValueAccount {
  /** Counts bytes that are about to be allocated. False: there is no room, so they must not. */
  take(bytes: number): boolean;
  /** Gives back bytes that were taken. */
  give(bytes: number): void;
}

const REFUSAL_MS = 250;

/**
 * Resolves when a client may be told that there is no room for its value. It bounds how often a client that
 * asks in a loop has values read. Not to be called within the query of a read: that would count as a pending
 * read meanwhile.
 */
export function delayRefusal(): Promise<void> {
  return pause(REFUSAL_MS);
}

/** Runs a limited number of reads at once, in the order in which they come. */
export class ReadTurns {
  readonly #max: number;
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(max: number) {
    this.#max = max;
  }

  async run<T>(read: () => Promise<T>): Promise<T> {
    // A read that ends hands its place to the one that waits longest, so the count stays.
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

/** Reads values: a limited number at once, and within the budget for answers (see the file's header). */
export class ReadGate {
  readonly #turns: ReadTurns;
  /** For reads that found no room for the largest value. */
  readonly #turnsWithoutRoom = new ReadTurns(1);
  /** Bytes of the largest value: room for so much is taken before a read. */
  readonly #valueBytesMax: number;

  /** `max`: reads at once. */
  constructor(max: number, valueBytesMax: number) {
    this.#turns = new ReadTurns(max);
    this.#valueBytesMax = valueBytesMax;
  }

  /** Reads a value, whose bytes the account holds afterwards. "no-room": the budget has none for it. */
  async readValue<T extends { readonly value: Uint8Array }>(
    account: ValueAccount,
    read: () => Promise<T | null>,
  ): Promise<T | null | "no-room"> {
    const found = await this.#turns.run(() => this.#readWithRoom(account, read));
    if (found !== "no-room") return found;
    return this.#turnsWithoutRoom.run(async () => {
      const maybeSmall = await read();
      return maybeSmall === null || account.take(maybeSmall.value.length) ? maybeSmall : "no-room";
    });
  }

  async #readWithRoom<T extends { readonly value: Uint8Array }>(
    account: ValueAccount,
    read: () => Promise<T | null>,
  ): Promise<T | null | "no-room"> {
    if (!account.take(this.#valueBytesMax)) return "no-room";
    let bytes = 0;
    try {
      const found = await read();
      bytes = found?.value.length ?? 0;
      return found;
    } finally {
      account.give(this.#valueBytesMax - bytes);
    }
  }
}
