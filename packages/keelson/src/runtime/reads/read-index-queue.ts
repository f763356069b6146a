import type { ReadAction } from "../../core/action.ts";
import type { LogIndex } from "../../core/position.ts";
import type { Environment, Timer } from "../../environment/environment.ts";
import { OverloadedError, type RaftError } from "../../errors.ts";

/** A linearizable read. */
export interface QueuedRead {
  /** Whether its caller has an answer, or has gone. */
  readonly isSettled: () => boolean;
  readonly reject: (error: RaftError) => void;
  /** Looks at the state, and settles the call; the promise, if any, is fulfilled when it has. */
  readonly run: () => Promise<void> | undefined;
}

export interface ReadIndexQueueParts {
  readonly environment: Environment;
  readonly readsMax: number;
  /** How soon to ask again after a question that nobody could answer. */
  readonly retryMs: number;
  /** Asks the core for an index to read at. */
  readonly ask: () => number;
  /** Sees to it that this turn ends with `turnEnding`. */
  readonly schedule: () => void;
}

/**
 * Reads on their way: not asked for yet, asked for, waiting for their index to be applied, or
 * waiting to be asked for again. All that come in one turn share one question.
 */
export class ReadIndexQueue {
  readonly #parts: ReadIndexQueueParts;
  #unasked: QueuedRead[] = [];
  readonly #asked = new Map<number, QueuedRead[]>();
  #waiting: { readonly index: LogIndex; readonly reads: QueuedRead[] }[] = [];
  #failed: QueuedRead[] = [];
  /** Queries that take their time. */
  readonly #running = new Set<QueuedRead>();
  #size = 0;
  #rounds = 0;
  #timer: Timer | null = null;

  constructor(parts: ReadIndexQueueParts) {
    this.#parts = parts;
  }

  /** Reads on their way, whether their callers still wait or not. */
  get size(): number {
    return this.#size;
  }

  /** How many questions the core was asked. */
  get rounds(): number {
    return this.#rounds;
  }

  /** Whether one more would be too much; null: there is room. */
  refusal(): OverloadedError | null {
    if (this.#size < this.#parts.readsMax) return null;
    return new OverloadedError(
      `${String(this.#size)} reads are under way already (limits.pendingReadsMax); wait for some to finish`,
    );
  }

  add(read: QueuedRead): void {
    this.#size += 1;
    this.#unasked.push(read);
    this.#parts.schedule();
  }

  /** The turn ends: ask once for all that came in it. */
  turnEnding(): void {
    this.#unasked = this.#stillWanted(this.#unasked);
    if (this.#unasked.length === 0) return;
    this.#rounds += 1;
    this.#asked.set(this.#parts.ask(), this.#unasked);
    this.#unasked = [];
  }

  answered(answers: readonly ReadAction[]): void {
    for (const { id, index } of answers) {
      const reads = this.#asked.get(id);
      if (reads === undefined) continue;
      this.#asked.delete(id);
      if (index !== null) this.#waiting.push({ index, reads });
      else this.#failed.push(...this.#stillWanted(reads));
    }
    if (this.#failed.length > 0) this.#retryLater();
  }

  /** Runs those whose index is applied. */
  serve(applied: LogIndex): void {
    if (this.#waiting.length === 0) return;
    const ready = this.#waiting.filter(({ index }) => index <= applied);
    this.#waiting = this.#waiting.filter(({ index }) => index > applied);
    for (const { reads } of ready) {
      for (const read of reads) this.#run(read);
    }
  }

  /** Runs a read once `index` is applied; the caller calls `serve` for one that is. */
  await(index: LogIndex, read: QueuedRead): void {
    this.#size += 1;
    this.#waiting.push({ index, reads: [read] });
  }

  /** Runs a read that need not wait for anything. */
  runNow(read: QueuedRead): void {
    this.#size += 1;
    this.#run(read);
  }

  /** There may be somebody to answer now. */
  retry(): void {
    if (this.#failed.length === 0) return;
    this.#timer?.cancel();
    this.#timer = null;
    this.#unasked.push(...this.#failed);
    this.#failed = [];
    this.#parts.schedule();
  }

  /** Ends all of them, with the same kind of error. */
  endAll(error: () => RaftError): void {
    this.#timer?.cancel();
    this.#timer = null;
    const groups = [
      this.#unasked,
      ...this.#asked.values(),
      ...this.#waiting.map((group) => group.reads),
      this.#failed,
      [...this.#running],
    ];
    this.#unasked = [];
    this.#asked.clear();
    this.#waiting = [];
    this.#failed = [];
    this.#running.clear();
    this.#size = 0;
    for (const read of groups.flat()) read.reject(error());
  }

  #run(read: QueuedRead): void {
    const running = read.isSettled() ? undefined : read.run();
    if (running === undefined) {
      this.#size -= 1;
      return;
    }
    this.#running.add(read);
    void running.then(() => {
      if (this.#running.delete(read)) this.#size -= 1;
    });
  }

  #retryLater(): void {
    this.#timer ??= this.#parts.environment.setTimer(this.#parts.retryMs, () => {
      this.#timer = null;
      this.retry();
    });
  }

  /** Without those whose callers have gone. */
  #stillWanted(reads: QueuedRead[]): QueuedRead[] {
    const wanted = reads.filter((read) => !read.isSettled());
    this.#size -= reads.length - wanted.length;
    return wanted;
  }
}
