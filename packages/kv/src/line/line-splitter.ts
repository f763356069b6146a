/** Bytes of a connection as lines. */
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/** One line without its end; or a line that was longer than the limit, without its bytes. */
export type Line = { readonly type: "line"; readonly bytes: Buffer } | { readonly type: "too-long" };

/**
 * Splits a stream of bytes into lines, which end with a line feed, optionally after a carriage return. It
 * buffers at most one line of the largest size: it skips the rest of a longer line and goes on with the next.
 */
export class LineSplitter {
  readonly #bytesMax: number;
  /** The line so far, in pieces; empty while it is skipped. */
  #chunks: Buffer[] = [];
  /** Bytes in `#chunks`. */
  #bytes = 0;
  /** The line is over the limit: ignore bytes until its end. */
  #isSkipping = false;

  /** `bytesMax`: the most bytes of a line, its end not counted. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Yields the lines that end in this chunk. */
  *push(chunk: Buffer): Generator<Line> {
    let from = 0;
    for (;;) {
      const end = chunk.indexOf(LINE_FEED, from);
      this.#keep(chunk.subarray(from, end === -1 ? chunk.length : end));
      if (end === -1) return;
      yield this.#take();
      from = end + 1;
    }
  }

  /** To be called when the stream ends. Returns its last line, if that has no end of line; else null. */
  end(): Line | null {
    return this.#bytes === 0 && !this.#isSkipping ? null : this.#take();
  }

  #keep(part: Buffer): void {
    // One byte more than the limit may be the carriage return, which isn't part of the line.
    if (this.#bytes + part.length > this.#bytesMax + 1) this.#isSkipping = true;
    if (this.#isSkipping) {
      this.#chunks = [];
      this.#bytes = 0;
    } else if (part.length > 0) {
      this.#chunks.push(part);
      this.#bytes += part.length;
    }
  }

  #take(): Line {
    const whole = Buffer.concat(this.#chunks, this.#bytes);
    const wasSkipped = this.#isSkipping;
    this.#chunks = [];
    this.#bytes = 0;
    this.#isSkipping = false;
    const bytes = whole.at(-1) === CARRIAGE_RETURN ? whole.subarray(0, -1) : whole;
    return wasSkipped || bytes.length > this.#bytesMax ? { type: "too-long" } : { type: "line", bytes };
  }
}
