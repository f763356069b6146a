/** The least time between two lines that aren't on a terminal. */
const PLAIN_MS_MIN = 5000;

/**
 * Shows the progress of a long command on stderr: on a terminal one line, overwritten each time; else a line
 * now and then.
 */
export class ProgressLine {
  readonly #stream: { readonly isTTY?: boolean; write(text: string): unknown };
  readonly #now: () => number;
  /** Characters of the line on the terminal. */
  #width = 0;
  /** The last text shown, and when. */
  #last = "";
  #lastAt = -Infinity;

  constructor(
    stream: { readonly isTTY?: boolean; write(text: string): unknown } = process.stderr,
    now: () => number = () => performance.now(),
  ) {
    this.#stream = stream;
    this.#now = now;
  }

  /**
   * Shows the text, unless it is the same as before. Where the output isn't a terminal, skips it if less than
   * `PLAIN_MS_MIN` has passed since the last text.
   */
  show(text: string): void {
    if (text === this.#last) return;
    if (this.#stream.isTTY === true) {
      this.#stream.write(`\r${text.padEnd(this.#width)}`);
      this.#width = text.length;
    } else {
      if (this.#now() - this.#lastAt < PLAIN_MS_MIN) return;
      this.#stream.write(`${text}\n`);
    }
    this.#last = text;
    this.#lastAt = this.#now();
  }

  /** Clears the line on a terminal, so that other output begins in its place. */
  end(): void {
    if (this.#stream.isTTY === true && this.#width > 0) this.#stream.write(`\r${" ".repeat(this.#width)}\r`);
    this.#width = 0;
  }
}
