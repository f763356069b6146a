// The linearizable reads that a node has not answered yet (dissertation 6.4). Only their list: `reads.ts`
// decides when one is answered, and `NodeState` sends the answers.
import { FIRST_NUMBER_MAX, type LogIndex, type NodeId } from "./position.ts";

/** A read that this node, as the leader, answers once a majority has confirmed its leadership. */
export interface ReadRequest {
  readonly id: number;
  /** The node that asked; null: a client of this node. */
  readonly from: NodeId | null;
  /** Time in milliseconds at which the read fails if it's still unanswered. */
  readonly expiresAt: number;
  /**
   * The index to answer with, and the heartbeat round that a majority must acknowledge first. undefined:
   * waits until an entry of the leader's own term is committed (§8).
   */
  confirm?: { readonly index: LogIndex; readonly round: number };
}

/** A read of a client of this node that waits for the leader's answer. */
export interface ForwardedRead {
  readonly id: number;
  /** Time in milliseconds at which the read fails if it's still unanswered. */
  readonly expiresAt: number;
}

/** What an answer needs to know: the read, and where it came from. */
export type ReadOrigin = Pick<ReadRequest, "id" | "from">;

/** `ReadIndexRequests` as plain values. */
export interface ReadIndexRequestsImage {
  readonly lastId: number;
  readonly pending: readonly Readonly<ReadRequest>[];
  readonly forwarded: readonly ForwardedRead[];
}

/**
 * The unanswered reads: those that this node must confirm as the leader, and those that it forwarded to its
 * leader.
 */
export class ReadIndexRequests {
  readonly #readsMax: number;
  #lastId: number;
  /** In order of arrival; also of expiry, because all reads have the same time limit. */
  #pending: ReadRequest[] = [];
  /** In order of arrival; also of expiry, because all reads have the same time limit. */
  #forwarded: ForwardedRead[] = [];

  constructor(readsMax: number, random: () => number) {
    this.#readsMax = readsMax;
    this.#lastId = Math.floor(random() * FIRST_NUMBER_MAX);
  }

  static revive(readsMax: number, image: ReadIndexRequestsImage): ReadIndexRequests {
    const requests = new ReadIndexRequests(readsMax, () => 0);
    requests.#lastId = image.lastId;
    requests.#pending = image.pending.map((read) => ({ ...read }));
    requests.#forwarded = [...image.forwarded];
    return requests;
  }

  capture(): ReadIndexRequestsImage {
    return {
      lastId: this.#lastId,
      pending: this.#pending.map((read) => ({ ...read })),
      forwarded: [...this.#forwarded],
    };
  }

  nextId(): number {
    this.#lastId += 1;
    return this.#lastId;
  }

  get pending(): readonly ReadRequest[] {
    return this.#pending;
  }

  get isFull(): boolean {
    return this.#pending.length + this.#forwarded.length >= this.#readsMax;
  }

  get nextExpiry(): number {
    return Math.min(this.#pending[0]?.expiresAt ?? Infinity, this.#forwarded[0]?.expiresAt ?? Infinity);
  }

  add(read: ReadRequest): void {
    this.#pending.push(read);
  }

  addForwarded(read: ForwardedRead): void {
    this.#forwarded.push(read);
  }

  /** Removes a forwarded read; false: there is none of this id, or it was answered already. */
  takeForwarded(id: number): boolean {
    const at = this.#forwarded.findIndex((read) => read.id === id);
    if (at >= 0) this.#forwarded.splice(at, 1);
    return at >= 0;
  }

  /** Removes and returns the pending reads that satisfy `done`; the others keep their order. */
  takeWhere(done: (read: ReadRequest) => boolean): ReadRequest[] {
    const taken: ReadRequest[] = [];
    const kept: ReadRequest[] = [];
    for (const read of this.#pending) (done(read) ? taken : kept).push(read);
    this.#pending = kept;
    return taken;
  }

  /** Removes and returns the reads whose time is over at `now`. */
  takeExpired(now: number): ReadOrigin[] {
    const late = this.takeWhere((read) => read.expiresAt <= now);
    const lateForwarded = this.#forwarded.filter((read) => read.expiresAt <= now);
    this.#forwarded = this.#forwarded.filter((read) => read.expiresAt > now);
    return [...late, ...lateForwarded.map(originOf)];
  }

  /** Removes and returns all reads. */
  takeAll(): ReadOrigin[] {
    return [...this.#pending.splice(0), ...this.#forwarded.splice(0).map(originOf)];
  }
}

/**
 * A read as its answer needs it. `from` is null, because only reads of this node's own clients are forwarded.
 */
function originOf({ id }: ForwardedRead): ReadOrigin {
  return { id, from: null };
}
