import type { LogIndex, NodeId } from "./position.ts";
import { hasQuorum } from "./quorum.ts";
import type { ReadIndexReply, ReadIndexRequest } from "./message.ts";
import type { NodeState } from "./state.ts";

/** A read that a leader must confirm its leadership for. */
interface PendingRead {
  readonly id: number;
  /** Who asked; null: this node's own client. */
  readonly from: NodeId | null;
  /** Answered by then, one way or the other. */
  readonly expiresAt: number;
  /** Where to read, and the leadership check that must pass; undefined: waits for the term's first commit. */
  confirm?: { readonly index: LogIndex; readonly round: number };
}

/** A read that this follower passed on to its leader. */
interface ForwardedRead {
  readonly id: number;
  readonly expiresAt: number;
}

/** `Reads` as plain values. */
export interface ReadsImage {
  readonly lastId: number;
  readonly pending: readonly Readonly<PendingRead>[];
  readonly forwarded: readonly ForwardedRead[];
}

/** Far more ids than reads in a node's life, and room above for the count. */
const FIRST_ID_MAX = 2 ** 48;

/** Reads that wait: on a leader for a majority, on a follower for its leader. Both lists are in order of time. */
export class Reads {
  readonly #readsMax: number;
  #nextId: number;
  #pending: PendingRead[] = [];
  #forwarded: ForwardedRead[] = [];

  constructor(readsMax: number, random: () => number) {
    this.#readsMax = readsMax;
    // A late answer to a read from before a restart must not pass for the answer to another.
    this.#nextId = Math.floor(random() * FIRST_ID_MAX);
  }

  static revive(readsMax: number, image: ReadsImage): Reads {
    const reads = new Reads(readsMax, () => 0);
    reads.#nextId = image.lastId;
    reads.#pending = image.pending.map((read) => ({ ...read }));
    reads.#forwarded = [...image.forwarded];
    return reads;
  }

  capture(): ReadsImage {
    return {
      lastId: this.#nextId,
      pending: this.#pending.map((read) => ({ ...read })),
      forwarded: [...this.#forwarded],
    };
  }

  nextId(): number {
    this.#nextId += 1;
    return this.#nextId;
  }

  get pending(): readonly PendingRead[] {
    return this.#pending;
  }

  get isFull(): boolean {
    return this.#pending.length + this.#forwarded.length >= this.#readsMax;
  }

  get nextExpiry(): number {
    return Math.min(this.#pending[0]?.expiresAt ?? Infinity, this.#forwarded[0]?.expiresAt ?? Infinity);
  }

  add(read: PendingRead): void {
    this.#pending.push(read);
  }

  addForwarded(read: ForwardedRead): void {
    this.#forwarded.push(read);
  }

  /** Takes a forwarded read off the list; false: it is not waited for (any more). */
  takeForwarded(id: number): boolean {
    const at = this.#forwarded.findIndex((read) => read.id === id);
    if (at >= 0) this.#forwarded.splice(at, 1);
    return at >= 0;
  }

  /** Takes those off the list that `done` says; the rest keep their order. */
  takeWhere(done: (read: PendingRead) => boolean): PendingRead[] {
    const taken: PendingRead[] = [];
    const kept: PendingRead[] = [];
    for (const read of this.#pending) (done(read) ? taken : kept).push(read);
    this.#pending = kept;
    return taken;
  }

  expire(state: NodeState, now: number): void {
    const late = { pending: this.#pending, forwarded: this.#forwarded };
    this.#pending = late.pending.filter((read) => read.expiresAt > now);
    this.#forwarded = late.forwarded.filter((read) => read.expiresAt > now);
    for (const read of late.pending) if (read.expiresAt <= now) answer(state, read, null);
    for (const read of late.forwarded) if (read.expiresAt <= now) state.outbox.read(read.id, null);
  }

  /** Nobody is there any more to confirm them. */
  failAll(state: NodeState): void {
    for (const read of this.#pending.splice(0)) answer(state, read, null);
    for (const read of this.#forwarded.splice(0)) state.outbox.read(read.id, null);
  }
}

/** A client of this node wants to read (dissertation 6.4). The answer comes as an action. */
export function startRead(state: NodeState, now: number): number {
  const id = state.reads.nextId();
  const expiresAt = now + state.options.electionTimeoutMs.max;
  if (state.leader === null || state.reads.isFull) {
    state.outbox.read(id, null);
  } else if (state.role === "leader") {
    state.reads.add({ id, from: null, expiresAt });
  } else {
    state.reads.addForwarded({ id, expiresAt });
    state.send(state.leader, { type: "read-index", from: state.id, term: state.term, id });
  }
  return id;
}

/** Its term is not looked at: a question must not depose anyone. */
export function onReadIndex(state: NodeState, message: ReadIndexRequest, now: number): void {
  const { from, id } = message;
  const expiresAt = now + state.options.electionTimeoutMs.max;
  if (state.role === "leader" && !state.reads.isFull) state.reads.add({ id, from, expiresAt });
  else answer(state, { id, from, expiresAt }, null);
}

export function onReadIndexReply(state: NodeState, message: ReadIndexReply): void {
  if (!state.reads.takeForwarded(message.id)) return;
  if (message.index !== null && message.term === state.term && message.from === state.leader) {
    // The leader of this very term has committed up to there: no need to wait until it says so again.
    state.commitTo(Math.min(message.index, state.verified));
  }
  state.outbox.read(message.id, message.index);
}

/**
 * Gives the reads that wait an index and a leadership check; all that came since the last actions
 * share one. Nothing is known to be committed before an entry of the leader's own term is (§8).
 */
export function startReadRound(state: NodeState, now: number): void {
  if (!state.termStartCommitted) return;
  const waiting = state.reads.pending.filter((read) => read.confirm === undefined);
  if (waiting.length === 0) return;
  state.startRound(now);
  for (const read of waiting) read.confirm = { index: state.commit, round: state.round };
  confirmReads(state);
}

/**
 * Where a read may be served at once, because no other leader can have committed anything yet; null: ask a majority.
 * Followers that check quorums promise not to help depose a leader within the shortest election timeout of hearing
 * it, and they heard it after the check began. The bound on clock drift is taken off both ways (dissertation 6.4.1).
 */
export function leaseIndex(state: NodeState, now: number): LogIndex | null {
  if (!state.termStartCommitted || state.leaseIsVoid || state.transfer !== null) return null;
  const { checkQuorum, clockDriftMax, electionTimeoutMs } = state.options;
  const leaseMs = (electionTimeoutMs.min * (1 - clockDriftMax)) / (1 + clockDriftMax);
  const holds = state.isSoleVoter || (checkQuorum && now < state.leaseFrom + leaseMs);
  return holds ? state.commit : null;
}

/** An answer came: perhaps a majority has now answered the check that the lease waits for. */
export function extendLease(state: NodeState): void {
  const { leaseProbe } = state;
  if (leaseProbe === null || !hasPassed(state, leaseProbe.round)) return;
  state.leaseFrom = leaseProbe.at;
  state.leaseProbe = null;
}

/** Whether a majority has answered this leadership check, or a later one. */
function hasPassed(state: NodeState, round: number): boolean {
  return hasQuorum(
    state.config,
    (id) => id === state.id || (state.progress.get(id)?.roundAcked ?? 0) >= round,
  );
}

/** Answers the reads whose check a majority has passed: the leader still led after they came. */
export function confirmReads(state: NodeState): void {
  const first = state.reads.pending[0]?.confirm;
  if (first === undefined) return;
  if (!hasPassed(state, first.round)) return;
  const verdicts = new Map<number, boolean>();
  const done = state.reads.takeWhere(({ confirm }) => {
    if (confirm === undefined) return false;
    const known = verdicts.get(confirm.round);
    if (known !== undefined) return known;
    const verdict = hasPassed(state, confirm.round);
    verdicts.set(confirm.round, verdict);
    return verdict;
  });
  for (const read of done) answer(state, read, read.confirm?.index ?? null);
}

function answer(state: NodeState, read: PendingRead, index: LogIndex | null): void {
  if (read.from === null) state.outbox.read(read.id, index);
  else
    state.send(read.from, { type: "read-index-reply", from: state.id, term: state.term, id: read.id, index });
}
