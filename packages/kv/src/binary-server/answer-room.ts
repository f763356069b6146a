/**
 * The memory that a connection's answers take: values that are being read, answers that were written, and
 * bytes that the client hasn't taken.
 *
 * Hazard: a client asks for thousands of large values at once and reads none. The budget of all answers
 * bounds them, but one connection must not take all of it from the others. So each has a limit of its own.
 */
import type { MemoryAccount } from "../shared/memory-budget.ts";
import type { ValueAccount } from "../shared/read-gate.ts";

/**
 * The most bytes of a connection. As many of the largest values as are read at once (`KeyOperations`), and
 * half as many that wait to be sent.
 */
const BYTES_MAX = 24 * 1024 * 1024;

export class AnswerRoom implements ValueAccount {
  readonly #account: MemoryAccount;
  /** The connection is gone: nothing is counted any more. */
  #isOver = false;

  constructor(account: MemoryAccount) {
    this.#account = account;
  }

  /** Counts bytes. False: there is no room. */
  take(bytes: number): boolean {
    if (this.#isOver || this.#account.bytes + bytes > BYTES_MAX) return false;
    return this.#account.take(bytes);
  }

  give(bytes: number): void {
    if (!this.#isOver) this.#account.give(bytes);
  }

  /** From now on, `onEvict` is called if others need the room and the client takes nothing. */
  waitForClient(onEvict: () => void): void {
    this.#account.waitForClient(() => {
      this.#isOver = true;
      onEvict();
    });
  }

  /** The client has taken everything. */
  stopWaiting(): void {
    this.#account.stopWaiting();
  }

  /** The connection is gone. */
  close(): void {
    this.#isOver = true;
    this.#account.close();
  }
}
