import type { LogIndex } from "./position.ts";
import { hasQuorum } from "./quorum.ts";
import type { ReadIndexReply, ReadIndexRequest } from "./message.ts";
import type { NodeState } from "./state.ts";

/** A client of this node wants to read (dissertation 6.4). The answer comes as an action. */
export function startRead(state: NodeState, now: number): number {
  const id = state.reads.nextId();
  const expiresAt = now + state.options.electionTimeoutMs.max;
  if (state.leaderId === null || state.reads.isFull) {
    state.pendingActions.read(id, null);
  } else if (state.role === "leader") {
    state.reads.add({ id, from: null, expiresAt });
  } else {
    state.reads.addForwarded({ id, expiresAt });
    state.send(state.leaderId, { type: "read-index", from: state.id, term: state.term, id });
  }
  return id;
}

/** Its term is not looked at: a question must not depose anyone. */
export function onReadIndex(state: NodeState, message: ReadIndexRequest, now: number): void {
  const { from, id } = message;
  const expiresAt = now + state.options.electionTimeoutMs.max;
  if (state.role === "leader" && !state.reads.isFull) state.reads.add({ id, from, expiresAt });
  else state.answerRead({ id, from }, null);
}

export function onReadIndexReply(state: NodeState, message: ReadIndexReply): void {
  if (!state.reads.takeForwarded(message.id)) return;
  if (message.index !== null && message.term === state.term && message.from === state.leaderId) {
    // The leader of this very term has committed up to there: no need to wait until it says so again.
    state.commitTo(Math.min(message.index, state.matchedIndex));
  }
  state.pendingActions.read(message.id, message.index);
}

/**
 * Gives the reads that wait an index and a leadership check; all that came since the last actions
 * share one. Nothing is known to be committed before an entry of the leader's own term is (§8).
 */
export function startRoundForReads(state: NodeState, now: number): void {
  if (!state.termStartCommitted) return;
  const waiting = state.reads.pending.filter((read) => read.confirm === undefined);
  if (waiting.length === 0) return;
  state.startHeartbeatRound(now);
  for (const read of waiting) read.confirm = { index: state.commitIndex, round: state.heartbeatRound };
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
  return holds ? state.commitIndex : null;
}

/** An answer came: perhaps a majority has now answered the check that the lease waits for. */
export function extendLease(state: NodeState): void {
  const { leaseProbe } = state;
  if (leaseProbe === null || !isAcknowledgedByQuorum(state, leaseProbe.round)) return;
  state.leaseFrom = leaseProbe.at;
  state.leaseProbe = null;
}

/** Whether a majority has answered this leadership check, or a later one. */
function isAcknowledgedByQuorum(state: NodeState, round: number): boolean {
  return hasQuorum(
    state.config,
    (id) => id === state.id || (state.progress.get(id)?.acknowledgedRound ?? 0) >= round,
  );
}

/** Answers the reads whose check a majority has passed: the leader still led after they came. */
export function confirmReads(state: NodeState): void {
  const first = state.reads.pending[0]?.confirm;
  if (first === undefined) return;
  if (!isAcknowledgedByQuorum(state, first.round)) return;
  const verdicts = new Map<number, boolean>();
  const done = state.reads.takeWhere(({ confirm }) => {
    if (confirm === undefined) return false;
    const known = verdicts.get(confirm.round);
    if (known !== undefined) return known;
    const verdict = isAcknowledgedByQuorum(state, confirm.round);
    verdicts.set(confirm.round, verdict);
    return verdict;
  });
  for (const read of done) state.answerRead(read, read.confirm?.index ?? null);
}
