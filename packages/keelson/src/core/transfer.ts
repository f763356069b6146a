import type { TimeoutNow } from "./message.ts";
import type { LogIndex, NodeId } from "./position.ts";
import { isVoter } from "./config.ts";
import { campaign } from "./election.ts";
import type { NodeState } from "./state.ts";

/**
 * Why leadership is not handed over; nothing was done. `not-leader`: ask the leader. `transferring`: it is being handed
 * over already. `not-a-voter`: the target has no vote. `is-leader`: the target leads already. `nobody`: no other
 * voter has answered lately.
 */
export type TransferRefusal = "not-leader" | "transferring" | "not-a-voter" | "is-leader" | "nobody";

/** Begins to hand leadership to `to`, or to whoever is closest to the end of the log. */
export function startTransfer(
  state: NodeState,
  to: NodeId | null,
  now: number,
): { readonly to: NodeId } | TransferRefusal {
  if (state.role !== "leader") return "not-leader";
  if (state.transfer !== null) return "transferring";
  if (to === state.id) return "is-leader";
  if (to !== null && !state.config.voters.includes(to)) return "not-a-voter";
  const target = to ?? bestTransferTarget(state, now);
  if (target === null) return "nobody";
  state.transfer = { to: target, until: now + state.options.electionTimeoutMs.max };
  advanceTransfer(state, now);
  return { to: target };
}

/** Tells the target to begin once its log is complete and durable; ends the attempt that took too long. */
export function advanceTransfer(state: NodeState, now: number): void {
  const { transfer } = state;
  if (transfer === null) return;
  if (now >= transfer.until || !isVoter(state.config, transfer.to)) {
    state.transfer = null;
    return;
  }
  const progress = state.progress.get(transfer.to);
  if (progress?.match !== state.log.last.index || progress.timeoutNowSentInRound === state.heartbeatRound)
    return;
  // Once a round, because it may be lost. One that comes late finds a later term, or begins one in vain.
  progress.timeoutNowSentInRound = state.heartbeatRound;
  sendTimeoutNow(state, transfer.to);
}

/** From here on somebody may win an election in spite of this leader's lease, for as long as the message may travel. */
export function sendTimeoutNow(state: NodeState, to: NodeId): void {
  state.leaseIsVoid = true;
  state.send(to, { type: "timeout-now", from: state.id, term: state.term });
}

/** The other voter that has most of the log, if one has answered lately; the first by name of several. */
export function bestTransferTarget(state: NodeState, now: number): NodeId | null {
  let best: { readonly id: NodeId; readonly match: LogIndex } | null = null;
  for (const id of state.config.voters) {
    // Of itself it keeps none.
    const progress = state.progress.get(id);
    if (progress === undefined || now - progress.activeAt >= state.options.electionTimeoutMs.max) continue;
    if (best === null || progress.match > best.match) best = { id, match: progress.match };
  }
  return best?.id ?? null;
}

/** The leader asks this node to stand for election now, without waiting and without asking around first. */
export function onTimeoutNow(state: NodeState, message: TimeoutNow, now: number): void {
  const isFromLeader = message.term === state.term && message.from === state.leaderId;
  if (!isFromLeader || !state.isEligible || now >= state.stallDeadline) return;
  state.leaderId = null;
  state.failReads();
  state.resetElectionDeadline(now);
  campaign(state, true);
}
