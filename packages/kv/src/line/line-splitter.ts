/** Bytes of a connection as lines. */
import { MemoryBudget, type MemoryAccount } from "../shared/memory-budget.ts";
import { PieceBuffer } from "../shared/piece-buffer.ts";

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
/** The most bytes at the beginning of a line over the limit that are kept. */
const START_BYTES = 64;

/**
 * One line without its end; or a line that was longer than the limit, with its first bytes; or one that the
 * memory budget had no room for, after which nothing more should be pushed.
 */
export type Line =
  | { readonly type: "line"; readonly bytes: Buffer }
  | { readonly type: "too-long"; readonly start: Buffer }
  | { readonly type: "no-room" };

/**
 * Splits a stream of bytes into lines, which end with a line feed, optionally after a carriage return. It
 * buffers at most one line of the largest size: it skips the rest of a longer line and goes on with the next.
 */
export class LineSplitter {
  #bytesMax: number;
  readonly #account: MemoryAccount;
  readonly #pieces: PieceBuffer;
  /**
   * The first bytes of the present line, if it is over the limit: its other bytes are ignored until its end.
   * null: it isn't over the limit.
   */
  #skipped: Buffer | null = null;

  /**
   * `bytesMax`: the most bytes of a line, its end not counted. `account`: for the line so far. Default: one
   * that always has room.
   */
  constructor(bytesMax: number, account: MemoryAccount = new MemoryBudget(bytesMax + 1).open()) {
    this.#bytesMax = bytesMax;
    this.#account = account;
    // One byte more than the limit may be the carriage return, which isn't part of the line.
    this.#pieces = new PieceBuffer(account, bytesMax + 1);
  }

  /** Whether it is in the middle of a line. */
  get isInLine(): boolean {
    return this.#pieces.length > 0 || this.#skipped !== null;
  }

  /** The most bytes of a line, its end not counted. */
  get bytesMax(): number {
    return this.#bytesMax;
  }

  /** Sets another limit for the lines that come from now on; not above that of the constructor. */
  limit(bytesMax: number): void {
    this.#bytesMax = bytesMax;
  }

  /** Yields the lines that end in this chunk. A line's bytes are valid until the next is taken. */
  *push(chunk: Buffer): Generator<Line> {
    let from = 0;
    for (;;) {
      const end = chunk.indexOf(LINE_FEED, from);
      const part = chunk.subarray(from, end === -1 ? chunk.length : end);
      // A line that arrives whole needn't be copied.
      const isWhole = end !== -1 && !this.isInLine && part.length <= this.#bytesMax + 1;
      if (!isWhole && !this.#keep(part)) {
        yield { type: "no-room" };
        return;
      }
      if (end === -1) return;
      yield isWhole ? this.#lineOf(part) : this.#take();
      this.#account.close();
      from = end + 1;
    }
  }

  /** To be called when the stream ends. Returns its last line, if that has no end of line; else null. */
  end(): Line | null {
    return this.isInLine ? this.#take() : null;
  }

  /** Drops the line so far. */
  close(): void {
    this.#pieces.drop();
  }

  /** False: there is no room in the memory budget. */
  #keep(part: Buffer): boolean {
    if (this.#skipped !== null) return true;
    if (this.#pieces.length + part.length <= this.#bytesMax + 1) return this.#pieces.push(part);
    this.#skipped = Buffer.concat([this.#pieces.start(START_BYTES), part.subarray(0, START_BYTES)]);
    this.#pieces.drop();
    return true;
  }

  #take(): Line {
    const skipped = this.#skipped;
    this.#skipped = null;
    return skipped === null ? this.#lineOf(this.#pieces.take()) : { type: "too-long", start: skipped };
  }

  #lineOf(whole: Buffer): Line {
    const bytes = whole.at(-1) === CARRIAGE_RETURN ? whole.subarray(0, -1) : whole;
    return bytes.length > this.#bytesMax
      ? { type: "too-long", start: bytes.subarray(0, START_BYTES) }
      : { type: "line", bytes };
  }
}
