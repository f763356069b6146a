const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/** One line without its end, or the news that a line was longer than the limit and left out. */
export type Line = { readonly type: "line"; readonly bytes: Buffer } | { readonly type: "too-long" };

/**
 * Cuts a stream of bytes into lines. It keeps no more than one line of the largest size: the rest of
 * a longer one is skipped, so that the line after it is understood again.
 */
export class LineSplitter {
  readonly #bytesMax: number;
  #chunks: Buffer[] = [];
  #bytes = 0;
  #skipping = false;

  /** `bytesMax`: of a line without its end. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** The lines that end in this chunk. */
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

  /** The stream has ended: what is left counts as a line, though nothing ended it. null: nothing is left. */
  end(): Line | null {
    return this.#bytes === 0 && !this.#skipping ? null : this.#take();
  }

  #keep(part: Buffer): void {
    // One more than the limit: a carriage return at the end is not part of the line.
    if (this.#bytes + part.length > this.#bytesMax + 1) this.#skipping = true;
    if (this.#skipping) {
      this.#chunks = [];
      this.#bytes = 0;
    } else if (part.length > 0) {
      this.#chunks.push(part);
      this.#bytes += part.length;
    }
  }

  #take(): Line {
    const whole = Buffer.concat(this.#chunks, this.#bytes);
    const isSkipped = this.#skipping;
    this.#chunks = [];
    this.#bytes = 0;
    this.#skipping = false;
    const bytes = whole.at(-1) === CARRIAGE_RETURN ? whole.subarray(0, -1) : whole;
    return isSkipped || bytes.length > this.#bytesMax ? { type: "too-long" } : { type: "line", bytes };
  }
}
