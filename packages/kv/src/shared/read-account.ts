/**
 * What one read holds of its client's account, until the read has ended.
 *
 * Hazard: a read whose time is up ends with an error although its query still waits for the disk. The client
 * has its answer then, and its account is closed. If the query went on to count bytes there, they would never
 * be given back; and bytes that it gives back were given back before, so that the budget would count too
 * little. Both add up with each such read. So a read that was abandoned counts nothing any more.
 */
import type { ValueAccount } from "./read-gate.ts";

export class ReadAccount implements ValueAccount {
  readonly #account: ValueAccount;
  /** Bytes that the read holds. */
  #bytes = 0;
  #isOver = false;

  constructor(account: ValueAccount) {
    this.#account = account;
  }

  take(bytes: number): boolean {
    if (this.#isOver || !this.#account.take(bytes)) return false;
    this.#bytes += bytes;
    return true;
  }

  give(bytes: number): void {
    if (this.#isOver) return;
    this.#bytes -= bytes;
    this.#account.give(bytes);
  }

  /** The read has failed: gives back what it holds. */
  abandon(): void {
    this.give(this.#bytes);
    this.#isOver = true;
  }
}

/** Runs a read that is charged to the account, and abandons the account if the read fails. */
export async function readOrAbandon<T>(account: ReadAccount, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    account.abandon();
    throw error;
  }
}
