// Linearizable reads without a log entry (dissertation 6.4): the leader confirms that it still leads, by a
// heartbeat round or by its lease, and answers with its commit index.
import type { ReadIndexReply, ReadIndexRequest } from "./message.ts";
import type { LogIndex } from "./position.ts";
import { hasQuorum } from "./quorum.ts";
import { startHeartbeatRound } from "./leadership.ts";
import type { Leader } from "./role.ts";
import type { NodeState } from "./state.ts";

/** A client of this node wants to read. The answer comes as an action under the id returned. */
export function startRead(state: NodeState, now: number): number {
  const id = state.reads.nextId();
  const expiresAt = now + state.options.electionTimeoutMs.max;
  if (state.leaderId === null || state.reads.isFull) {
    state.pendingActions.read(id, null);
  } else if (state.role.type === "leader") {
    state.reads.add({ id, from: null, expiresAt });
  } else {
    state.reads.addForwarded({ id, expiresAt });
    state.send(state.leaderId, { type: "read-index", from: state.id, term: state.term, id });
  }
  return id;
}

/** Another node asks for a read index. A read must not depose a leader, so the message's term is ignored. */
export function onReadIndex(state: NodeState, message: ReadIndexRequest, now: number): void {
  const { from, id } = message;
  const expiresAt = now + state.options.electionTimeoutMs.max;
  if (state.role.type === "leader" && !state.reads.isFull) state.reads.add({ id, from, expiresAt });
  else state.answerRead({ id, from }, null);
}

export function onReadIndexReply(state: NodeState, message: ReadIndexReply): void {
  if (!state.reads.takeForwarded(message.id)) return;
  if (message.index !== null && message.term === state.term && message.from === state.leaderId) {
    // The leader of this term has committed up to that index, so the read need not wait until the leader's
    // next AppendEntries says so.
    state.commitTo(Math.min(message.index, state.following.matchedIndex));
  }
  state.pendingActions.read(message.id, message.index);
}

/**
 * Starts one heartbeat round for all reads that have none. Called when the actions are taken, so that all
 * reads that came since then share one round. Until an entry of the leader's own term is committed, reads
 * wait: the leader's commit index may be too low to read at (§8).
 */
export function startRoundForReads(state: NodeState, leader: Leader, now: number): void {
  if (state.reads.pending.length === 0) return;
  if (!state.termStartCommitted) return;
  const waiting = state.reads.pending.filter((read) => read.confirm === undefined);
  if (waiting.length === 0) return;
  startHeartbeatRound(state, leader, now);
  for (const read of waiting) read.confirm = { index: state.commitIndex, round: leader.heartbeatRound };
  confirmReads(state, leader);
}

/**
 * Answers the reads whose heartbeat round a quorum has acknowledged: these answers prove that the leader
 * still led after the reads arrived.
 */
export function confirmReads(state: NodeState, leader: Leader): void {
  const first = state.reads.pending[0]?.confirm;
  if (first === undefined) return;
  if (!isAcknowledgedByQuorum(state, leader, first.round)) return;
  const verdicts = new Map<number, boolean>();
  const done = state.reads.takeWhere(({ confirm }) => {
    if (confirm === undefined) return false;
    const known = verdicts.get(confirm.round);
    if (known !== undefined) return known;
    const verdict = isAcknowledgedByQuorum(state, leader, confirm.round);
    verdicts.set(confirm.round, verdict);
    return verdict;
  });
  for (const read of done) state.answerRead(read, read.confirm?.index ?? null);
}

/**
 * The index at which a read may be served at once under the leader's lease; null: a quorum must confirm it.
 * Followers that check quorums don't help to depose a leader within the shortest election timeout after
 * hearing it, and they heard it after the heartbeat round began. Their clocks may run faster and this node's
 * slower, so the bound on clock drift shortens the lease twice (dissertation 6.4.1).
 */
export function leaseIndex(state: NodeState, now: number): LogIndex | null {
  const { role: leader } = state;
  if (leader.type !== "leader" || !state.termStartCommitted) return null;
  if (leader.leaseIsVoid || leader.transfer !== null) return null;
  const { checkQuorum, clockDriftMax, electionTimeoutMs } = state.options;
  const leaseMs = (electionTimeoutMs.min * (1 - clockDriftMax)) / (1 + clockDriftMax);
  const holds = state.isSoleVoter || (checkQuorum && now < leader.leaseFrom + leaseMs);
  return holds ? state.commitIndex : null;
}

/** Extends the lease if a quorum has acknowledged the heartbeat round that it waits for. */
export function extendLease(state: NodeState, leader: Leader): void {
  const { leaseProbe } = leader;
  if (leaseProbe === null || !isAcknowledgedByQuorum(state, leader, leaseProbe.round)) return;
  leader.leaseFrom = leaseProbe.at;
  leader.leaseProbe = null;
}

/**
 * Whether a quorum, the leader included if it is a voter, has acknowledged this heartbeat round or a later
 * one.
 */
function isAcknowledgedByQuorum(state: NodeState, leader: Leader, round: number): boolean {
  return hasQuorum(
    state.config,
    (id) => id === state.id || (leader.progress.get(id)?.acknowledgedRound ?? 0) >= round,
  );
}
