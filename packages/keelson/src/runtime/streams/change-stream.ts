import type { ClusterConfig } from "../../core/config.ts";
import type { LogIndex, NodeId, Term } from "../../core/position.ts";
import type { Role } from "../../core/role.ts";
import type { RaftError } from "../../errors.ts";

/** Something about a node that changed. It is reported after it did: the node's state is as new, or newer. */
export type RaftChange =
  | { readonly type: "role"; readonly role: Role; readonly term: Term }
  | { readonly type: "leader"; readonly leader: NodeId | null; readonly term: Term }
  | { readonly type: "membership"; readonly index: LogIndex; readonly config: ClusterConfig }
  | { readonly type: "stopped"; readonly error: RaftError | null };

/** Tells every subscriber what changes. */
export class ChangeStream {
  readonly #changesMax: number;
  readonly #subscribers = new Set<ChangeSubscription>();
  #stopped: RaftChange | null = null;

  constructor(changesMax: number) {
    this.#changesMax = changesMax;
  }

  /** A stream of what changes from now on, after `state`, the changes that led to what is now. */
  subscribe(state: readonly RaftChange[]): AsyncIterableIterator<RaftChange> {
    const stream = new ChangeSubscription(this.#changesMax, () => {
      this.#subscribers.delete(stream);
    });
    for (const change of state) stream.push(change);
    if (this.#stopped !== null) {
      stream.push(this.#stopped);
      stream.end();
    } else {
      this.#subscribers.add(stream);
    }
    return stream;
  }

  push(change: RaftChange): void {
    for (const stream of this.#subscribers) stream.push(change);
  }

  /** The last change of all. */
  stop(error: RaftError | null): void {
    if (this.#stopped !== null) return;
    this.#stopped = { type: "stopped", error };
    for (const stream of this.#subscribers) {
      stream.push(this.#stopped);
      stream.end();
    }
    this.#subscribers.clear();
  }
}

/** One subscriber's queue. When it is full, the oldest change that a later one of its type has overtaken goes. */
class ChangeSubscription implements AsyncIterableIterator<RaftChange> {
  readonly #changesMax: number;
  readonly #onReturn: () => void;
  #queue: RaftChange[] = [];
  #waiting: ((result: IteratorResult<RaftChange>) => void)[] = [];
  #ended = false;

  constructor(changesMax: number, onReturn: () => void) {
    this.#changesMax = changesMax;
    this.#onReturn = onReturn;
  }

  push(change: RaftChange): void {
    const next = this.#waiting.shift();
    if (next !== undefined) {
      next({ done: false, value: change });
      return;
    }
    this.#queue.push(change);
    if (this.#queue.length <= this.#changesMax) return;
    const overtaken = this.#queue.findIndex((old, at) =>
      this.#queue.some((later, laterAt) => laterAt > at && later.type === old.type),
    );
    if (overtaken >= 0) this.#queue.splice(overtaken, 1);
  }

  end(): void {
    this.#ended = true;
    for (const next of this.#waiting.splice(0)) next(END);
  }

  next(): Promise<IteratorResult<RaftChange>> {
    const change = this.#queue.shift();
    if (change !== undefined) return Promise.resolve({ done: false, value: change });
    if (this.#ended) return Promise.resolve(END);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  return(): Promise<IteratorResult<RaftChange>> {
    this.#queue = [];
    this.end();
    this.#onReturn();
    return Promise.resolve(END);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

const END: IteratorResult<never> = { done: true, value: undefined };
