// Changes of membership by joint consensus (§6): beginning one, leaving the joint configuration, and the end
// of a leader that was removed.
import { assert } from "./assert.ts";
import { configOf, isJoint, leaveJoint, sameConfig, stepTowards, type ClusterConfig } from "./config.ts";
import { appendConfig } from "./leadership.ts";
import type { LogPosition } from "./position.ts";
import { sendAppends } from "./replication.ts";
import type { Leader } from "./role.ts";
import type { NodeState } from "./state.ts";
import { sendTimeoutNow, successorAtOnce } from "./transfer.ts";

/**
 * Why a change of membership was refused. Nothing was done.
 * - `not-leader`: this node doesn't lead. Ask the leader.
 * - `term-not-started`: no entry of this leader's term is committed yet. Try again once one is.
 * - `change-under-way`: another change is not complete. Wait for it.
 * - `transferring`: leadership is being transferred.
 */
export type ConfigRefusal = "not-leader" | "term-not-started" | "change-under-way" | "transferring";

/**
 * Begins the change to `target` (§6): appends C_old,new, or `target` itself if the voters stay the same. Each
 * node uses the last configuration in its log from the moment it is there, committed or not.
 */
export function proposeConfig(
  state: NodeState,
  target: ClusterConfig,
  now: number,
): LogPosition | ConfigRefusal {
  assert(!isJoint(target), "a change is to a configuration, not to a step on the way");
  assert(sameConfig(target, configOf(target.voters, target.learners)), "each member is named once");
  assert(target.voters.length > 0, "a cluster without voters could never decide anything again");
  const { role: leader } = state;
  if (leader.type !== "leader") return "not-leader";
  if (leader.transfer !== null) return "transferring";
  // Ongaro, raft-dev 2015: otherwise an uncommitted change of an earlier term and this one can have
  // majorities that don't overlap.
  if (!state.termStartCommitted) return "term-not-started";
  const { index, config } = state.log.config;
  if (index > state.commitIndex || isJoint(config)) return "change-under-way";
  return appendConfig(state, leader, stepTowards(config, target), now);
}

/** What a leader does once the entry that holds its configuration is committed (§6). */
export function advanceMembership(state: NodeState, now: number): void {
  const { role: leader } = state;
  if (leader.type !== "leader" || !state.termStartCommitted) return;
  const { index, config } = state.log.config;
  if (index > state.commitIndex) return;
  // C_old,new is committed by both majorities, so every future leader has it, and C_old can't decide alone
  // any more.
  if (isJoint(config)) appendConfig(state, leader, leaveJoint(config), now);
  else if (!state.isVoter) stepDownAfterRemoval(state, leader, now);
}

/**
 * C_new is committed, and this leader isn't one of its voters. It sends the new commit index to all nodes,
 * asks a voter to take over, and steps down.
 */
function stepDownAfterRemoval(state: NodeState, leader: Leader, now: number): void {
  for (const progress of leader.progress.values()) progress.heartbeatDue = true;
  sendAppends(state, leader, now);
  const target = successorAtOnce(state, leader, now);
  if (target !== null) sendTimeoutNow(state, leader, target);
  state.becomeFollower(state.term, null, now);
}
