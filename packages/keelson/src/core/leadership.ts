// The leader's own steps: it becomes leader, appends entries of its term, starts heartbeat rounds, and keeps
// one `Progress` for each node that it replicates to. Changes the `Leader` state; sends nothing itself.
import { assert } from "./assert.ts";
import { membersOf, type ClusterConfig } from "./config.ts";
import type { LogPosition } from "./position.ts";
import { Progress } from "./progress.ts";
import { Leader } from "./role.ts";
import type { NodeState } from "./state.ts";

/**
 * For how many of the longest election timeouts a leader tries to tell a removed member about its removal.
 * Long enough for a member that restarts; limited, because the member may never come back.
 */
const REMOVAL_NOTICE_TIMEOUTS = 4;

/** Makes a candidate with a quorum of votes the leader (§5.2). Its own term and vote must be durable. */
export function becomeLeader(state: NodeState, now: number): void {
  assert(
    state.role.type === "candidate" && state.hardStateIsDurable,
    "only a candidate whose vote is durable can win",
  );
  const leader = new Leader(state.log.last.index + 1);
  state.role = leader;
  state.leaderId = state.id;
  state.electionDeadline = null;
  updateReplicationTargets(state, leader, now);
  // §8: a blank entry, because entries of earlier terms are known to be committed only once one of this term
  // is.
  appendOwn(state, 1);
  startHeartbeatRound(state, leader, now);
}

/**
 * Whether commands are accepted: this node leads, is a voter, and isn't transferring its leadership. A leader
 * that isn't a voter any more steps down once its removal is committed. During a transfer, further entries
 * would keep the target from ever having all of them.
 */
export function takesCommands(state: NodeState): boolean {
  const { role } = state;
  return role.type === "leader" && role.transfer === null && state.isVoter;
}

/** Appends `count` entries of this leader's term. They leave with the next actions. */
export function appendOwn(state: NodeState, count: number): LogPosition {
  const from = state.log.lastIndex + 1;
  state.log.extend(state.term, count);
  state.pendingActions.append(from, from + count);
  return state.log.last;
}

/** Appends a configuration entry of this leader's term; it is in force from now on (§6). */
export function appendConfig(
  state: NodeState,
  leader: Leader,
  config: ClusterConfig,
  now: number,
): LogPosition {
  state.log.extendConfig(state.term, config);
  const { last } = state.log;
  state.pendingActions.append(last.index, last.index + 1);
  updateReplicationTargets(state, leader, now);
  startHeartbeatRound(state, leader, now);
  return last;
}

/**
 * The leader replicates to the members of the configuration in force, and to removed members until
 * `endRemovalNotices` ends that.
 */
function updateReplicationTargets(state: NodeState, leader: Leader, now: number): void {
  const members = new Set(membersOf(state.config));
  for (const id of members) {
    const known = leader.progress.get(id);
    if (known !== undefined) known.removalNotice = null;
    // §5.3: the leader first assumes that every log equals its own.
    else if (id !== state.id) leader.progress.set(id, new Progress(state.log.last.index + 1, now));
  }
  const until = now + REMOVAL_NOTICE_TIMEOUTS * state.options.electionTimeoutMs.max;
  for (const [id, progress] of leader.progress) {
    if (!members.has(id)) progress.removalNotice ??= { index: state.log.last.index, until, round: null };
  }
}

/**
 * Starts a heartbeat round: every node that the leader replicates to is due a message with the round's
 * number. A quorum of answers to it proves that this node still led when the round began.
 */
export function startHeartbeatRound(state: NodeState, leader: Leader, now: number): void {
  leader.heartbeatRound += 1;
  leader.leaseProbe ??= { round: leader.heartbeatRound, at: now };
  endRemovalNotices(state, leader, now);
  leader.heartbeatDeadline = leader.progress.size === 0 ? Infinity : now + state.options.heartbeatMs;
  for (const progress of leader.progress.values()) progress.heartbeatDue = true;
}

/**
 * Stops replicating to removed members that know about their removal, and to those that the leader gives up
 * telling: their time is over, or they would need a snapshot first.
 */
function endRemovalNotices(state: NodeState, leader: Leader, now: number): void {
  for (const [id, progress] of leader.progress) {
    const { removalNotice } = progress;
    if (removalNotice === null) continue;
    const knows = removalNotice.round !== null && progress.acknowledgedRound >= removalNotice.round;
    if (knows || now >= removalNotice.until || progress.state === "snapshot") leader.progress.delete(id);
    else if (
      removalNotice.round === null &&
      removalNotice.index <= state.commitIndex &&
      progress.match >= removalNotice.index
    ) {
      // The member has the entry that removed it, and this round's message will tell it that the entry is
      // committed.
      progress.removalNotice = { ...removalNotice, round: leader.heartbeatRound };
    }
  }
}
