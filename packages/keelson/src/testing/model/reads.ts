/** Linearizable reads without log entries (dissertation 6.4) and leases (6.4.1). */
import type { LogIndex, NodeId } from "../../core/position.ts";
import { configOf, termAt } from "./model-log.ts";
import type { Input, Leading, ModelState, PendingRead, Reads } from "./model-state.ts";
import { isQuorum } from "./quorum.ts";
import { rule } from "./rule.ts";

/** Notes reads that arrive, of callers and of other nodes, and a leader's answers to this node's own. */
export function withReads(state: ModelState, input: Input): ModelState {
  const { reads } = state;
  if (input.type === "read") return withPending(state, ownRead(input.id));
  if (input.type !== "message") return state;
  const { message } = input;
  // A node that doesn't lead can't confirm anything for another one.
  if (message.type === "read-index")
    return state.leading === null ? state : withPending(state, passedOn(message.from, message.id));
  if (message.type !== "read-index-reply" || message.index === null) return state;
  const known = reads.answers.get(message.id) ?? [];
  const answers = new Map(reads.answers).set(message.id, [...known, message.index]);
  return { ...state, reads: { ...reads, answers } };
}

export function ownRead(id: number): string {
  return `own ${String(id)}`;
}

function isOwn(key: string): boolean {
  return key.startsWith("own ");
}

export function passedOn(from: NodeId, id: number): string {
  return `${from} ${String(id)}`;
}

/** A question that arrives again is the same read: the earliest arrival counts. */
function withPending(state: ModelState, key: string): ModelState {
  const { reads, term, leading, commit } = state;
  const known = reads.pending.get(key);
  const read: PendingRead =
    known === undefined
      ? { term, roundSent: leading?.roundSent ?? 0, commit, copies: 1, answer: null }
      : { ...known, copies: known.copies + 1 };
  return { ...state, reads: { ...reads, pending: new Map(reads.pending).set(key, read) } };
}

/** The reads when one copy of this one was answered, with an index or with none. */
export function withoutPending(reads: Reads, key: string): Reads {
  const read = reads.pending.get(key);
  if (read === undefined) return reads;
  const pending = new Map(reads.pending);
  if (read.copies > 1) pending.set(key, { ...read, copies: read.copies - 1 });
  else pending.delete(key);
  return { ...reads, pending };
}

/** The reads when this node's own read was answered. */
export function withoutOwn(reads: Reads, id: number): Reads {
  const { pending, answers } = withoutPending(reads, ownRead(id));
  return { pending, answers: new Map([...answers].filter(([key]) => key !== id)) };
}

/**
 * The state when the node leads no longer. It may still answer what it has confirmed, and forgets the other
 * nodes' reads that it hasn't.
 */
export function withoutLeading(state: ModelState): ModelState {
  if (state.leading === null) return state;
  const { reads } = confirmReads(state);
  const pending = new Map([...reads.pending].filter(([key, { answer }]) => answer !== null || isOwn(key)));
  return { ...state, leading: null, reads: { ...reads, pending } };
}

/**
 * Marks the reads that the leader may answer: an entry of its own term is committed (§8), and a majority has
 * answered a round that began after the read arrived. Call it before something on which that depends is
 * forgotten.
 */
export function confirmReads(state: ModelState): ModelState {
  const { reads, leading, commit } = state;
  if (leading === null || reads.pending.size === 0 || !termStartCommitted(state, leading)) return state;
  const pending = new Map(reads.pending);
  for (const [key, read] of pending) {
    const began = read.term === state.term ? read.roundSent : 0;
    if (!hasAnswered(state, leading, began)) continue;
    const min = Math.max(read.commit, leading.termStart);
    pending.set(key, { ...read, answer: { min: read.answer?.min ?? min, max: commit } });
  }
  return { ...state, reads: { ...reads, pending } };
}

function termStartCommitted({ log, commit, term }: ModelState, { termStart }: Leading): boolean {
  return commit >= termStart && termAt(log, commit) === term;
}

/** Whether a majority has answered a round later than `began`. */
function hasAnswered({ log, id }: ModelState, { roundOf }: Leading, began: number): boolean {
  return isQuorum(configOf(log), (voter) => voter === id || (roundOf.get(voter) ?? 0) > began);
}

/**
 * Checks the index with which a read is answered: either this node confirmed it as the leader, or the leader
 * answered it to this node.
 */
export function checkAnswer({ reads }: ModelState, key: string, index: LogIndex, ownId: number | null): void {
  const answer = reads.pending.get(key)?.answer ?? null;
  const isLeaders = answer !== null && answer.min <= index && index <= answer.max;
  const isPassedBack = ownId !== null && reads.answers.get(ownId)?.includes(index) === true;
  rule(
    isLeaders || isPassedBack,
    () =>
      `answers the read "${key}" with ${String(index)}, and no majority has confirmed that since it arrived ` +
      `(dissertation 6.4; allowed: ${answer === null ? "none" : `${String(answer.min)} to ${String(answer.max)}`})`,
  );
}

/**
 * Dissertation 6.4.1: a leader reads alone while a majority has answered a round that began so recently that
 * none of it can help to elect another leader, whatever the clocks' drift.
 */
export function checkLeaseRead(state: ModelState, index: LogIndex): void {
  const { leading, settings, now, commit } = state;
  rule(leading !== null, () => "answers a lease read and doesn't lead");
  rule(termStartCommitted(state, leading), () => "answers a lease read before its term's first commit (§8)");
  rule(index === commit, () => `reads at ${String(index)} under the lease; committed is ${String(commit)}`);
  rule(!leading.timeoutNowSent, () => "answers a lease read after it asked for an election");
  rule(now < leaseFrom(state) + leaseMs(settings), () => "answers a lease read without a lease");
}

/** When the newest round was sent that a majority has answered; -Infinity: none. */
function leaseFrom({ leading, log, id, now }: ModelState): number {
  // A sole voter always has a lease: without its own vote, no other node is elected.
  if (isQuorum(configOf(log), (voter) => voter === id)) return now;
  let from = leading?.leaseFrom ?? -Infinity;
  for (const [round, at] of leading?.roundSentAt ?? []) {
    const promises = (voter: NodeId): boolean => voter === id || (leading?.roundOf.get(voter) ?? 0) >= round;
    if (at > from && isQuorum(configOf(log), promises)) from = at;
  }
  return from;
}

/**
 * Keeps the lease when the configuration changes, because it still holds. An election under C_old,new needs
 * C_old's majority, which has promised not to help; one under C_new needs a majority that has heard the
 * leader since C_old,new began.
 */
export function withLeaseKept(state: ModelState): ModelState {
  const { leading } = state;
  return leading === null ? state : { ...state, leading: { ...leading, leaseFrom: leaseFrom(state) } };
}

export function leaseMs({ electionTimeoutMinMs, clockDriftMax }: ModelState["settings"]): number {
  return (electionTimeoutMinMs * (1 - clockDriftMax)) / (1 + clockDriftMax);
}
