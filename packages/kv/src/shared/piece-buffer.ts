/**
 * Joins pieces that a client sends into one buffer.
 *
 * Hazard: Node gives each piece a buffer of its own, which costs some hundred bytes besides its content. A
 * client that sends a megabyte byte by byte would cost hundreds of megabytes if the pieces were kept until
 * the last one is there. So each piece is copied at once, and the memory account is charged for the whole
 * buffer, its unused end included.
 */
import type { MemoryAccount } from "./memory-budget.ts";

const CAPACITY_MIN = 1024;
/**
 * The client counts as having made progress each time that the length passes a multiple of 2 to this power
 * (256).
 */
const PROGRESS_SHIFT = 8;

const EMPTY = Buffer.alloc(0);

export class PieceBuffer {
  readonly #account: MemoryAccount;
  readonly #bytesMax: number;
  /** null: nothing was received since the last `take`. */
  #buffer: Buffer | null = null;
  /** Bytes received, at the front of `#buffer`. */
  #length = 0;

  /** `bytesMax`: the most bytes that will be pushed; the buffer never grows beyond it. */
  constructor(account: MemoryAccount, bytesMax: number) {
    this.#account = account;
    this.#bytesMax = bytesMax;
  }

  get length(): number {
    return this.#length;
  }

  /** Appends a copy of the piece. False: the memory budget has no room for it. */
  push(piece: Uint8Array): boolean {
    if (piece.length === 0) return true;
    const length = this.#length + piece.length;
    if (length > this.#bytesMax) throw new RangeError("more bytes were pushed than the limit");
    const buffer = length <= (this.#buffer?.length ?? 0) ? this.#buffer : this.#grown(length);
    if (buffer === null) return false;
    buffer.set(piece, this.#length);
    // Reading the clock for each of many tiny pieces would take longer than to copy them.
    if (length >> PROGRESS_SHIFT !== this.#length >> PROGRESS_SHIFT) this.#account.progress();
    this.#buffer = buffer;
    this.#length = length;
    return true;
  }

  /**
   * Keeps a piece that is the whole, without a copy. Only if little else is in its memory: the piece is part
   * of what was read from the connection, all of which it keeps. False: nothing was kept, so push it instead.
   */
  keep(piece: Buffer): boolean {
    const { byteLength } = piece.buffer;
    if (this.#buffer !== null || byteLength > piece.length + CAPACITY_MIN) return false;
    if (!this.#account.take(byteLength)) return false;
    this.#buffer = piece;
    this.#length = piece.length;
    return true;
  }

  /**
   * All pieces received, as one buffer. The account still counts them: close it when the buffer is dropped.
   */
  take(): Buffer {
    const buffer = this.#buffer ?? EMPTY;
    const whole = buffer.length === this.#length ? buffer : buffer.subarray(0, this.#length);
    this.#buffer = null;
    this.#length = 0;
    return whole;
  }

  /** The first bytes received, at most `count`. */
  start(count: number): Buffer {
    return this.#buffer?.subarray(0, Math.min(count, this.#length)) ?? Buffer.alloc(0);
  }

  /** Drops what was received, and closes the account. */
  drop(): void {
    this.#buffer = null;
    this.#length = 0;
    this.#account.close();
  }

  /** A buffer of twice the size with the content so far. null: there is no room. */
  #grown(length: number): Buffer | null {
    const before = this.#buffer?.length ?? 0;
    const capacity = Math.min(this.#bytesMax, Math.max(CAPACITY_MIN, 2 * before, length));
    if (!this.#account.take(capacity - before)) return null;
    // Not from Node's shared pool, of which a small buffer would keep a whole slab.
    const grown = Buffer.allocUnsafeSlow(capacity);
    this.#buffer?.copy(grown, 0, 0, this.#length);
    return grown;
  }
}
