// Behind `raft.changes()`: reports changes of role, leader and membership to subscribers.
import type { ClusterConfig } from "../../core/config.ts";
import type { LogIndex, NodeId, Term } from "../../core/position.ts";
import type { Role } from "../../core/role.ts";
import type { RaftError } from "../../errors.ts";

/**
 * A change on a node. It is reported after it has happened, so when a reader sees it, the node's own state
 * (`raft.metrics()`) is the same or newer.
 */
export type RaftChange =
  | { readonly type: "role"; readonly role: Role; readonly term: Term }
  | { readonly type: "leader"; readonly leader: NodeId | null; readonly term: Term }
  | { readonly type: "membership"; readonly index: LogIndex; readonly config: ClusterConfig }
  | {
      /**
       * This node was removed from its cluster. Reported once when a member says so, and once when this
       * node's own log shows it.
       */
      readonly type: "removed";
      /** The committed entry that removed it; null: this node's log doesn't show it. */
      readonly index: LogIndex | null;
      /**
       * The member that said so when it refused this node's connection. It isn't proved: don't delete data
       * because of it. null: this node's own log shows it, which is final.
       */
      readonly toldBy: NodeId | null;
    }
  | { readonly type: "stopped"; readonly error: RaftError | null };

/** Passes each change to all subscribers. The last one is `stopped`. */
export class ChangeStream {
  readonly #changesMax: number;
  /** The subscriptions whose subscribers have not ended them; none after the node has stopped. */
  readonly #subscriptions = new Set<ChangeSubscription>();
  /** The last change, for those who subscribe after it; null: the node runs. */
  #stopped: RaftChange | null = null;

  /** `changesMax`: how many changes are kept for a subscriber that reads slowly (`limits.changesMax`). */
  constructor(changesMax: number) {
    this.#changesMax = changesMax;
  }

  /** Yields the changes in `current`, which describe the present state, and then each new change. */
  subscribe(current: readonly RaftChange[]): AsyncIterableIterator<RaftChange> {
    const subscription = new ChangeSubscription(this.#changesMax, () => {
      this.#subscriptions.delete(subscription);
    });
    for (const change of current) subscription.push(change);
    if (this.#stopped !== null) {
      subscription.push(this.#stopped);
      subscription.end();
    } else {
      this.#subscriptions.add(subscription);
    }
    return subscription;
  }

  push(change: RaftChange): void {
    for (const subscription of this.#subscriptions) subscription.push(change);
  }

  /** The node has stopped: `stopped` is reported, and every subscription ends. */
  stop(error: RaftError | null): void {
    if (this.#stopped !== null) return;
    this.#stopped = { type: "stopped", error };
    for (const subscription of this.#subscriptions) {
      subscription.push(this.#stopped);
      subscription.end();
    }
    this.#subscriptions.clear();
  }
}

/**
 * One subscriber's queue.
 *
 * A subscriber that doesn't read must not make the queue grow without end. When the queue is full, it drops
 * the oldest change that is followed by another of its type: a subscriber may miss intermediate changes, but
 * it always gets the latest role, leader and membership (O5).
 */
class ChangeSubscription implements AsyncIterableIterator<RaftChange> {
  readonly #changesMax: number;
  readonly #onReturn: () => void;
  /** Changes that the subscriber has not read, the oldest first. Empty while `#readers` is not. */
  #queue: RaftChange[] = [];
  /** Calls of `next` that wait for a change, the oldest first. */
  #readers: ((result: IteratorResult<RaftChange>) => void)[] = [];
  #ended = false;

  constructor(changesMax: number, onReturn: () => void) {
    this.#changesMax = changesMax;
    this.#onReturn = onReturn;
  }

  push(change: RaftChange): void {
    const reader = this.#readers.shift();
    if (reader !== undefined) {
      reader({ done: false, value: change });
      return;
    }
    this.#queue.push(change);
    if (this.#queue.length <= this.#changesMax) return;
    const superseded = this.#queue.findIndex((old, at) =>
      this.#queue.some((later, laterAt) => laterAt > at && later.type === old.type),
    );
    if (superseded >= 0) this.#queue.splice(superseded, 1);
  }

  /** No change comes any more. What is queued can still be read. */
  end(): void {
    this.#ended = true;
    for (const reader of this.#readers.splice(0)) reader(END);
  }

  next(): Promise<IteratorResult<RaftChange>> {
    const change = this.#queue.shift();
    if (change !== undefined) return Promise.resolve({ done: false, value: change });
    if (this.#ended) return Promise.resolve(END);
    return new Promise((resolve) => this.#readers.push(resolve));
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
