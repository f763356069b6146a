// The queue of linearizable reads: requests read indexes, and runs each read once its index is applied.
import type { ReadAction } from "../../core/action.ts";
import type { LogIndex } from "../../core/position.ts";
import type { Environment, Timer } from "../../environment/environment.ts";
import { OverloadedError } from "../../errors.ts";

/** One read. */
export interface QueuedRead {
  /** Whether its caller has an answer, or has stopped waiting. Then the read need not run. */
  readonly isSettled: () => boolean;
  /** Ends the call without an answer. */
  readonly reject: (error: Error) => void;
  /** Runs the query and settles the call. The promise of an asynchronous query resolves after that. */
  readonly run: () => Promise<void> | undefined;
}

export interface ReadIndexQueueParts {
  readonly environment: Environment;
  /** Reads in the queue at most (`limits.pendingReadsMax`). */
  readonly readsMax: number;
  /** Milliseconds until the core is asked again after it could not answer. */
  readonly retryMs: number;
  /** Asks the core for a read index. Returns the id that its answer will have. */
  readonly requestIndex: () => number;
  /** Makes sure that this turn ends with a drain, and so with a call of `endTurn`. */
  readonly scheduleDrain: () => void;
}

/**
 * Linearizable reads that have not run yet, by what they wait for (dissertation 6.4):
 *
 * 1. the end of the turn: then one request to the core asks for all reads of the turn. Its index covers every
 *    write that was acknowledged before the request, and so before any of these reads began. A read that
 *    comes later must not join: a write may have been acknowledged in between that the index doesn't cover. A
 *    request costs one heartbeat round however many reads share it, so under load the groups grow, not the
 *    number of rounds.
 * 2. the core's answer: the read index, or null if no leader is known or the leader changed meanwhile;
 * 3. the state machine, until it has applied the entry at the read index;
 * 4. or, after null, the next attempt: when a leader is known, and at the latest after `retryMs`. A read has
 *    no effect, so it can be tried until its caller's time limit.
 */
export class ReadIndexQueue {
  readonly #parts: ReadIndexQueueParts;
  /** Reads that no index was requested for: those of this turn, and those to be tried again in it. */
  #unrequested: QueuedRead[] = [];
  /** Reads whose request the core has not answered, by the id of the request. */
  readonly #requested = new Map<number, QueuedRead[]>();
  /** Reads that have their index, until it is applied. */
  #indexed: { readonly index: LogIndex; readonly reads: QueuedRead[] }[] = [];
  /** Reads that the core could not answer. `#timer` is set while there are any. */
  #unanswered: QueuedRead[] = [];
  /** Reads whose asynchronous query runs. */
  readonly #running = new Set<QueuedRead>();
  /**
   * Reads in the five collections above, settled ones included. Bounded by `readsMax`, which `refusal`
   * checks.
   */
  #size = 0;
  #requestCount = 0;
  #timer: Timer | null = null;

  constructor(parts: ReadIndexQueueParts) {
    this.#parts = parts;
  }

  /** Reads in the queue, including those whose callers have stopped waiting. */
  get size(): number {
    return this.#size;
  }

  /** How often the core was asked for an index. */
  get requestCount(): number {
    return this.#requestCount;
  }

  /** Why the queue takes no more reads; null: there is room. The caller checks this before it adds one. */
  refusal(): OverloadedError | null {
    if (this.#size < this.#parts.readsMax) return null;
    return new OverloadedError(
      `${String(this.#size)} reads are under way already (limits.pendingReadsMax); wait for some to finish`,
    );
  }

  /** Adds a read that needs a read index. */
  add(read: QueuedRead): void {
    this.#size += 1;
    this.#unrequested.push(read);
    this.#parts.scheduleDrain();
  }

  /**
   * Adds a read that may run once the entry at `index` is applied. If it is already, the caller calls
   * `runReady`.
   */
  addAt(index: LogIndex, read: QueuedRead): void {
    this.#size += 1;
    this.#indexed.push({ index, reads: [read] });
  }

  /** The turn ends: requests one index for all reads that came in it. */
  endTurn(): void {
    this.#unrequested = this.#withoutSettled(this.#unrequested);
    if (this.#unrequested.length === 0) return;
    this.#requestCount += 1;
    this.#requested.set(this.#parts.requestIndex(), this.#unrequested);
    this.#unrequested = [];
  }

  /** Takes the core's answers to earlier requests. The caller then calls `runReady`. */
  onReadIndex(answers: readonly ReadAction[]): void {
    for (const { id, index } of answers) {
      const reads = this.#requested.get(id);
      if (reads === undefined) continue;
      this.#requested.delete(id);
      if (index !== null) this.#indexed.push({ index, reads });
      else this.#unanswered.push(...this.#withoutSettled(reads));
    }
    if (this.#unanswered.length > 0) this.#armTimer();
  }

  /**
   * Runs the reads whose index is applied. Called only between two batches, when the state is that after an
   * entry.
   */
  runReady(applied: LogIndex): void {
    if (this.#indexed.length === 0) return;
    const ready = this.#indexed.filter(({ index }) => index <= applied);
    this.#indexed = this.#indexed.filter(({ index }) => index > applied);
    for (const { reads } of ready) {
      for (const read of reads) this.#run(read);
    }
  }

  /** Requests an index again for unanswered reads: a leader is known now, or `retryMs` have passed. */
  retry(): void {
    if (this.#unanswered.length === 0) return;
    this.#timer?.cancel();
    this.#timer = null;
    this.#unrequested.push(...this.#unanswered);
    this.#unanswered = [];
    this.#parts.scheduleDrain();
  }

  /**
   * This node was removed: no leader answers it any more, and no entry after `commitIndex` will be known to
   * be committed here. Ends the reads that wait for either; those that can still run stay.
   */
  refuse(error: () => Error, commitIndex: LogIndex): void {
    const isLost = ({ index }: { readonly index: LogIndex }): boolean => index > commitIndex;
    const waiting = [
      ...this.#unrequested.splice(0),
      ...[...this.#requested.values()].flat(),
      ...this.#unanswered.splice(0),
      ...this.#indexed.filter(isLost).flatMap(({ reads }) => reads),
    ];
    this.#requested.clear();
    this.#indexed = this.#indexed.filter((one) => !isLost(one));
    this.#timer?.cancel();
    this.#timer = null;
    this.#size -= waiting.length;
    for (const read of waiting) if (!read.isSettled()) read.reject(error());
  }

  /**
   * Forgets all reads, because the node stops. The registry of calls has already ended their callers' calls.
   */
  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
    this.#unrequested = [];
    this.#requested.clear();
    this.#indexed = [];
    this.#unanswered = [];
    this.#running.clear();
    this.#size = 0;
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

  #armTimer(): void {
    this.#timer ??= this.#parts.environment.setTimer(this.#parts.retryMs, () => {
      this.#timer = null;
      this.retry();
    });
  }

  /** The reads whose callers still wait; the others leave the queue. */
  #withoutSettled(reads: QueuedRead[]): QueuedRead[] {
    const waiting = reads.filter((read) => !read.isSettled());
    this.#size -= reads.length - waiting.length;
    return waiting;
  }
}
