/**
 * For each kind of fault, the longest gap without a successful write that it alone met; and the
 * longest that several kinds met, which hardly tells anything but that they overlapped.
 */
export class WriteGaps {
  readonly #longestMs = new Map<string, number>();
  readonly #active: string[] = [];
  /** Kinds of fault that were there at some moment since the last write. */
  readonly #since = new Set<string>();
  #lastWriteAt = performance.now();
  /** Acknowledged so far. */
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

  /** By kind, in milliseconds. */
  longest(): ReadonlyMap<string, number> {
    return this.#longestMs;
  }
}
