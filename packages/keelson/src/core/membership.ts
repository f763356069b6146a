import { configOf, isJoint, leaveJoint, sameConfig, stepTowards, type ClusterConfig } from "./config.ts";
import { assert } from "./assert.ts";
import type { LogPosition } from "./position.ts";
import { sendAppends } from "./replication.ts";
import type { NodeState } from "./state.ts";
import { bestTransferTarget, sendTimeoutNow } from "./transfer.ts";

/**
 * Why a change of membership was not begun; nothing was done. `not-leader`: ask the leader. `term-not-started`: no
 * entry of this leader's term is committed yet; try again in a moment. `change-under-way`: wait for that one to
 * end. `transferring`: leadership is being handed over.
 */
export type ConfigRefusal = "not-leader" | "term-not-started" | "change-under-way" | "transferring";

/**
 * Begins the change to `target` (§6): appends C_old,new, or `target` itself if its voters are those there are. A node
 * uses the latest configuration in its log from the moment that it is there.
 */
export function proposeConfig(
  state: NodeState,
  target: ClusterConfig,
  now: number,
): LogPosition | ConfigRefusal {
  assert(!isJoint(target), "a change is to a configuration, not to a step on the way");
  assert(sameConfig(target, configOf(target.voters, target.learners)), "each member is named once");
  assert(target.voters.length > 0, "a cluster without voters could never decide anything again");
  if (state.role !== "leader") return "not-leader";
  if (state.transfer !== null) return "transferring";
  // Ongaro, raft-dev 2015: without this, changes of two terms can have majorities that do not overlap.
  if (!state.termStartCommitted) return "term-not-started";
  const { index, config } = state.log.config;
  if (index > state.commitIndex || isJoint(config)) return "change-under-way";
  return state.appendConfig(stepTowards(config, target), now);
}

/** What a leader does about its configuration once the entry that holds it is committed (§6). */
export function advanceMembership(state: NodeState, now: number): void {
  if (!state.termStartCommitted) return;
  const { index, config } = state.log.config;
  if (index > state.commitIndex) return;
  // C_old,new is committed, by both majorities: whoever wins an election now has it, so C_old has no say any more.
  if (isJoint(config)) state.appendConfig(leaveJoint(config), now);
  else if (!state.isVoter) stepDownAfterRemoval(state, now);
}

/** The leader is not a voter of C_new, which is committed: it says so to all, names a successor, and steps down. */
function stepDownAfterRemoval(state: NodeState, now: number): void {
  for (const progress of state.progress.values()) progress.heartbeatDue = true;
  sendAppends(state, now);
  const successor = bestTransferTarget(state, now);
  if (successor !== null) sendTimeoutNow(state, successor);
  state.becomeFollower(state.term, null, now);
}
