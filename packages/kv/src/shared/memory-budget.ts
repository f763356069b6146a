/**
 * Limits the bytes that a server holds for its clients: what it has received of their requests, and what it
 * has not yet sent of its answers.
 *
 * Hazard: a limit on the number of calls doesn't bound memory, because one call may hold a megabyte; and
 * bytes that were only announced cost nothing, so a limit that counts them lets a few headers lock out all
 * clients. So an account counts bytes when memory is allocated for them, and until that memory is dropped.
 *
 * When the budget is full, an account is evicted whose client has made no progress for `STALLED_MS`: the one
 * that has waited longest. Otherwise a few clients that stop in the middle could lock out all others until
 * their deadlines. Until a client counts as stalled, small requests and answers still have room: a part of
 * the budget is reserved for accounts of at most `SMALL_BYTES`, so that clients that stall with large values
 * only lock out other large ones.
 */

/**
 * A client that has made no progress for this long may lose its place to another. It makes progress with
 * every 256 bytes that it sends (`PieceBuffer`), and with every part of its answer that it takes (64 KiB).
 */
export const STALLED_MS = 2000;
/** An account that holds at most this many bytes is small: it may use the reserved part of the budget. */
export const SMALL_BYTES: number = 64 * 1024;

/** What one request or answer holds. Opened by `MemoryBudget.open`. */
export class MemoryAccount {
  readonly #budget: MemoryBudget;
  /**
   * Called when the account loses its place. It must make its owner drop the memory and close the account.
   */
  #onEvict: (() => void) | null = null;
  #bytes = 0;
  /** When the client last sent or took something, by `performance.now`. */
  #progressAt = performance.now();

  constructor(budget: MemoryBudget) {
    this.#budget = budget;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /**
   * When the client last made progress, by `performance.now`. null: the account doesn't wait for its client,
   * so it can't be evicted.
   */
  get waitsSince(): number | null {
    return this.#onEvict === null ? null : this.#progressAt;
  }

  /** Counts bytes that the caller is about to allocate. False: there is no room, so it must not. */
  take(bytes: number): boolean {
    this.progress();
    if (!this.#budget.reserve(bytes, this)) return false;
    this.#bytes += bytes;
    return true;
  }

  /** Gives back `bytes` of what is counted: their memory was dropped. */
  give(bytes: number): void {
    this.#bytes -= bytes;
    this.#budget.release(bytes, this);
  }

  /** From now on the account waits for its client, and may be evicted. */
  waitForClient(onEvict: () => void): void {
    this.#onEvict = onEvict;
    this.progress();
  }

  /** From now on the account doesn't wait for its client, and can't be evicted. */
  stopWaiting(): void {
    this.#onEvict = null;
  }

  /** The client has sent or taken something, so it doesn't count as stalled for the next `STALLED_MS`. */
  progress(): void {
    this.#progressAt = performance.now();
  }

  /** Gives back all bytes: their memory was dropped. The account may be used again. */
  close(): void {
    this.#onEvict = null;
    this.give(this.#bytes);
  }

  evict(): void {
    const onEvict = this.#onEvict;
    this.close();
    onEvict?.();
  }
}

/** All accounts of one kind, and their limit. */
export class MemoryBudget {
  readonly bytesMax: number;
  /** Bytes of `bytesMax` that only accounts of at most `SMALL_BYTES` may use. */
  readonly #reservedBytes: number;
  #bytes = 0;
  /** The accounts that hold bytes. */
  readonly #accounts = new Set<MemoryAccount>();

  constructor(bytesMax: number, reservedBytes = 0) {
    this.bytesMax = bytesMax;
    this.#reservedBytes = reservedBytes;
  }

  /** Bytes held now, by all accounts. */
  get bytes(): number {
    return this.#bytes;
  }

  open(): MemoryAccount {
    return new MemoryAccount(this);
  }

  /** For `MemoryAccount`. */
  reserve(bytes: number, account: MemoryAccount): boolean {
    const isSmall = account.bytes + bytes <= SMALL_BYTES;
    const limit = this.bytesMax - (isSmall ? 0 : this.#reservedBytes);
    while (this.#bytes + bytes > limit) {
      const stalled = this.#mostStalled(account);
      if (stalled === null) return false;
      stalled.evict();
    }
    this.#bytes += bytes;
    if (bytes > 0) this.#accounts.add(account);
    return true;
  }

  /** For `MemoryAccount`. */
  release(bytes: number, account: MemoryAccount): void {
    this.#bytes -= bytes;
    if (account.bytes === 0) this.#accounts.delete(account);
  }

  #mostStalled(except: MemoryAccount): MemoryAccount | null {
    let found: MemoryAccount | null = null;
    let foundSince = performance.now() - STALLED_MS;
    for (const account of this.#accounts) {
      const since = account === except ? null : account.waitsSince;
      if (since === null || since > foundSince) continue;
      found = account;
      foundSince = since;
    }
    return found;
  }
}

/** The budgets of one node, which its HTTP server and its line server share. */
export interface ServerBudgets {
  /** Counts what was received of requests: bodies and lines. */
  readonly requests: MemoryBudget;
  /**
   * Counts what was not sent of answers yet. Separate from the requests' budget: clients that don't read
   * their answers must not lock out writers.
   */
  readonly answers: MemoryBudget;
}

/** Room for 56 of the largest values and for many small ones, in each direction. */
const BUDGET_BYTES = 64 * 1024 * 1024;
/** Of a server's budget, what is reserved for small requests and answers. */
const RESERVED_SHARE = 1 / 8;

export function serverBudgets(bytesMax: number = BUDGET_BYTES): ServerBudgets {
  const reservedBytes = bytesMax * RESERVED_SHARE;
  return {
    requests: new MemoryBudget(bytesMax, reservedBytes),
    answers: new MemoryBudget(bytesMax, reservedBytes),
  };
}
