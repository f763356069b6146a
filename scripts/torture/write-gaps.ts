/**
 * The longest gaps without a successful write: for each kind of fault, the longest during which there was no
 * other kind; and the longest during which several kinds overlapped, which can't be attributed to one of
 * them.
 */
export class WriteGaps {
  readonly #longestMs = new Map<string, number>();
  readonly #active: string[] = [];
  /** The kinds of faults that were active at any time since the last successful write. */
  readonly #since = new Set<string>();
  #lastWriteAt = performance.now();
  /** How many writes were acknowledged so far. */
  writes = 0;

  begin(kind: string): void {
    this.#active.push(kind);
    this.#since.add(kind);
  }

  end(kind: string): void {
    const at = this.#active.indexOf(kind);
    if (at !== -1) this.#active.splice(at, 1);
  }

  /** A write was acknowledged. */
  wrote(): void {
    this.writes += 1;
    const now = performance.now();
    const gapMs = now - this.#lastWriteAt;
    this.#lastWriteAt = now;
    const [one = "no fault", another] = this.#since;
    const kind = another === undefined ? one : "several at once";
    this.#longestMs.set(kind, Math.max(gapMs, this.#longestMs.get(kind) ?? 0));
    this.#since.clear();
    for (const kind of this.#active) this.#since.add(kind);
  }

  /** By kind of fault, in milliseconds. */
  longest(): ReadonlyMap<string, number> {
    return this.#longestMs;
  }
}
