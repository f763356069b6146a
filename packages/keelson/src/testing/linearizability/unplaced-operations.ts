import type { DoneOperation } from "./operation.ts";

/**
 * Which operations of a history the search has placed in its order, and which may be placed next. An
 * operation may be placed next if it was called before any other unplaced operation returned: otherwise that
 * other one came first.
 *
 * Calls and returns stand in one doubly linked list, by time. Placing an operation takes its call and return
 * out of the list; taking it back puts them where they were. So all steps take constant time, and what may be
 * placed next are the calls at the beginning of the list, up to the first return.
 */
export class UnplacedOperations {
  /** Ordered by their call; an operation is named by its place here. */
  readonly #operations: readonly DoneOperation<unknown, unknown>[];
  // The list is circular. With n operations, node i is the call of operation i, node n + i its return, and
  // node 2n the head, which is neither.
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  readonly #head: number;
  readonly #placed: Uint8Array;
  #placedCount = 0;
  #firstUnplaced = 0;

  /** `operations` must be ordered by their call. */
  constructor(operations: readonly DoneOperation<unknown, unknown>[]) {
    this.#operations = operations;
    const count = operations.length;
    this.#head = 2 * count;
    this.#next = new Int32Array(2 * count + 1);
    this.#previous = new Int32Array(2 * count + 1);
    this.#placed = new Uint8Array(count);
    this.#link();
  }

  /** By operation: 1 if it is placed. */
  get placed(): Uint8Array {
    return this.#placed;
  }

  get placedCount(): number {
    return this.#placedCount;
  }

  /** The first operation, by call, that isn't placed. */
  get firstUnplaced(): number {
    return this.#firstUnplaced;
  }

  get isEmpty(): boolean {
    return this.#placedCount === this.#operations.length;
  }

  /** The operations that may be placed next. */
  placeable(): number[] {
    const found: number[] = [];
    const count = this.#operations.length;
    let node = this.#next[this.#head] ?? this.#head;
    for (; node < count; node = this.#next[node] ?? this.#head) found.push(node);
    return found;
  }

  /** When the first of the unplaced operations returns; infinity: all are placed. */
  firstReturnAt(): number {
    const count = this.#operations.length;
    let node = this.#next[this.#head] ?? this.#head;
    while (node < count) node = this.#next[node] ?? this.#head;
    return this.#operations[node - count]?.returnedAt ?? Number.POSITIVE_INFINITY;
  }

  place(operation: number): void {
    this.#unlink(operation);
    this.#unlink(this.#operations.length + operation);
    this.#placed[operation] = 1;
    this.#placedCount += 1;
    while (this.#placed[this.#firstUnplaced] === 1) this.#firstUnplaced += 1;
  }

  /** Undoes `place`; it must be the last one that was not undone. */
  takeBack(operation: number): void {
    // In the reverse order of unlinking, so that each finds its neighbours as they were.
    this.#relink(this.#operations.length + operation);
    this.#relink(operation);
    this.#placed[operation] = 0;
    this.#placedCount -= 1;
    this.#firstUnplaced = Math.min(this.#firstUnplaced, operation);
  }

  /** Builds the list. A call comes before a return at the same time, so that the two operations overlap. */
  #link(): void {
    const count = this.#operations.length;
    const returns = [...this.#operations.entries()].sort(([, a], [, b]) => a.returnedAt - b.returnedAt);
    let last = this.#head;
    const append = (node: number): void => {
      this.#next[last] = node;
      this.#previous[node] = last;
      last = node;
    };
    let call = 0;
    for (const [operation, { returnedAt }] of returns) {
      while ((this.#operations[call]?.calledAt ?? Number.POSITIVE_INFINITY) <= returnedAt) append(call++);
      append(count + operation);
    }
    append(this.#head);
  }

  #unlink(node: number): void {
    const next = this.#next[node] ?? this.#head;
    const previous = this.#previous[node] ?? this.#head;
    this.#next[previous] = next;
    this.#previous[next] = previous;
  }

  #relink(node: number): void {
    const next = this.#next[node] ?? this.#head;
    const previous = this.#previous[node] ?? this.#head;
    this.#next[previous] = node;
    this.#previous[next] = node;
  }
}
