// Transfer of leadership (dissertation 3.10): the leader stops accepting commands, brings the target's log up
// to date, and asks it to start an election at once.
import { isVoter } from "./config.ts";
import { startElection } from "./election.ts";
import type { TimeoutNow } from "./message.ts";
import type { LogIndex, NodeId } from "./position.ts";
import type { Leader } from "./role.ts";
import type { NodeState } from "./state.ts";

/**
 * Why a transfer of leadership was refused. Nothing was done.
 * - `not-leader`: this node doesn't lead. Ask the leader.
 * - `transferring`: a transfer is under way already.
 * - `not-a-voter`: the target is no voter, or loses its vote by the change of membership under way.
 * - `is-leader`: the target leads already.
 * - `nobody`: no other voter has answered within the longest election timeout.
 */
export type TransferRefusal = "not-leader" | "transferring" | "not-a-voter" | "is-leader" | "nobody";

/** Begins to transfer leadership to `to`; null: to the voter whose log is the most complete. */
export function startTransfer(
  state: NodeState,
  to: NodeId | null,
  now: number,
): { readonly to: NodeId } | TransferRefusal {
  const { role: leader } = state;
  if (leader.type !== "leader") return "not-leader";
  if (leader.transfer !== null) return "transferring";
  if (to === state.id) return "is-leader";
  if (to !== null && !state.config.voters.includes(to)) return "not-a-voter";
  const target = to ?? bestTransferTarget(state, leader, now);
  if (target === null) return "nobody";
  leader.transfer = { to: target, until: now + state.options.electionTimeoutMs.max };
  advanceTransfer(state, now);
  return { to: target };
}

/**
 * Sends TimeoutNow once the target's log is complete and durable. Ends a transfer whose time
 * (`Transfer.until`) is over, and one whose target has lost its vote.
 */
export function advanceTransfer(state: NodeState, now: number): void {
  const { role: leader } = state;
  if (leader.type !== "leader" || leader.transfer === null) return;
  const { transfer } = leader;
  if (now >= transfer.until || !isVoter(state.config, transfer.to)) {
    leader.transfer = null;
    return;
  }
  const progress = leader.progress.get(transfer.to);
  if (progress?.match !== state.log.last.index || progress.lostAfter !== null) return;
  // Sent again in each heartbeat round, because it may be lost. A copy that arrives late does no harm: the
  // target ignores it because it is in a later term, or starts an election, which is safe at any time.
  if (progress.timeoutNowSentInRound === leader.heartbeatRound) return;
  progress.timeoutNowSentInRound = leader.heartbeatRound;
  sendTimeoutNow(state, leader, transfer.to);
}

/**
 * Asks `to` to start an election at once. The message may arrive at any time, and the election that it starts
 * doesn't wait for this leader's lease to end, so from here on there is no lease.
 */
export function sendTimeoutNow(state: NodeState, leader: Leader, to: NodeId): void {
  leader.leaseIsVoid = true;
  state.send(to, { type: "timeout-now", from: state.id, term: state.term });
}

/**
 * The voter that a leader asks to take over when it steps down at once, without waiting until the voter's log
 * is complete; null: none is known to be able to win. One that lacks a committed entry loses its election,
 * which would only have made the others enter another term.
 */
export function successorAtOnce(state: NodeState, leader: Leader, now: number): NodeId | null {
  const id = bestTransferTarget(state, leader, now);
  if (id === null) return null;
  return (leader.progress.get(id)?.match ?? 0) >= state.commitIndex ? id : null;
}

/**
 * The other voter with the most complete log, of those that answered within the longest election timeout. Of
 * several such voters, the first in the configuration.
 */
function bestTransferTarget(state: NodeState, leader: Leader, now: number): NodeId | null {
  let best: { readonly id: NodeId; readonly match: LogIndex } | null = null;
  for (const id of state.config.voters) {
    // The leader has no `Progress` of itself.
    const progress = leader.progress.get(id);
    if (progress === undefined || now - progress.activeAt >= state.options.electionTimeoutMs.max) continue;
    if (best === null || progress.match > best.match) best = { id, match: progress.match };
  }
  return best?.id ?? null;
}

/**
 * The leader asks this node to start an election now, without waiting for a timeout and without a pre-vote.
 */
export function onTimeoutNow(state: NodeState, message: TimeoutNow, now: number): void {
  const isFromLeader = message.term === state.term && message.from === state.leaderId;
  if (!isFromLeader || !state.isEligible || now >= state.stallDeadline) return;
  state.leaderId = null;
  state.failReads();
  state.resetElectionDeadline(now);
  startElection(state, true);
}
