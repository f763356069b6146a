/** Between two lines of progress where no person looks on. */
const PLAIN_MS_MIN = 5000;

/** What a long command says of its progress on stderr: one line that changes, or, into a file, a line now and then. */
export class ProgressLine {
  readonly #stream: { readonly isTTY?: boolean; write(text: string): unknown };
  readonly #now: () => number;
  #width = 0;
  #last = "";
  #lastAt = -Infinity;

  constructor(
    stream: { readonly isTTY?: boolean; write(text: string): unknown } = process.stderr,
    now: () => number = () => performance.now(),
  ) {
    this.#stream = stream;
    this.#now = now;
  }

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

  /** The line goes, so that what follows begins where it stood. */
  end(): void {
    if (this.#stream.isTTY === true && this.#width > 0) this.#stream.write(`\r${" ".repeat(this.#width)}\r`);
    this.#width = 0;
  }
}
