// Replication of the log (§5.3): what a leader sends and how it takes the answers, and what a follower does
// with AppendEntries.
import { assert } from "./assert.ts";
import { sameConfig } from "./config.ts";
import { advanceCommit } from "./commit.ts";
import { startHeartbeatRound } from "./leadership.ts";
import { checkRange } from "./log.ts";
import type { AppendEntries, AppendEntriesReply, EntryRange } from "./message.ts";
import type { LogIndex, LogPosition, NodeId, Term } from "./position.ts";
import type { Progress } from "./progress.ts";
import { quorumValue } from "./quorum.ts";
import { extendLease } from "./reads.ts";
import type { Leader } from "./role.ts";
import type { NodeState } from "./state.ts";
import { sendTimeoutNow, successorAtOnce } from "./transfer.ts";

// --- The leader's side -------------------------------------------------------------------------

/**
 * A deadline of the leader has come: its next heartbeat round, or a reason to step down (§5.2; dissertation
 * 6.2).
 */
export function onLeaderTimeout(state: NodeState, leader: Leader, now: number): void {
  if (now >= quorumDeadline(state, leader)) {
    // Another leader may have been elected, and no quorum can commit here. Clients should look elsewhere.
    state.becomeFollower(state.term, null, now);
    return;
  }
  if (now >= state.stallDeadline) {
    // This node can't make entries durable, or can't apply them, so it asks another node to lead and steps
    // down.
    const target = successorAtOnce(state, leader, now);
    if (target !== null) sendTimeoutNow(state, leader, target);
    state.becomeFollower(state.term, null, now);
    return;
  }
  if (now >= leader.heartbeatDeadline) {
    for (const progress of leader.progress.values()) progress.allowNextProbe();
    startHeartbeatRound(state, leader, now);
  }
}

/**
 * Time in milliseconds at which the leader must step down unless a quorum answers before; Infinity: never,
 * because it is a quorum by itself, or `checkQuorum` is off.
 */
export function quorumDeadline(state: NodeState, leader: Leader): number {
  if (!state.options.checkQuorum) return Infinity;
  const activeAt = quorumValue(state.config, (id) =>
    id === state.id ? Infinity : (leader.progress.get(id)?.activeAt ?? -Infinity),
  );
  return activeAt + state.options.electionTimeoutMs.max;
}

/**
 * Sends each node the entries that it lacks, as far as its window allows, and the heartbeats that are due.
 */
export function sendAppends(state: NodeState, leader: Leader, now: number): void {
  for (const [to, progress] of leader.progress) {
    const { inflightMessagesMax, inflightBytesMax } = state.options;
    while (progress.next <= state.log.lastIndex && progress.hasRoom(inflightMessagesMax, inflightBytesMax)) {
      if (!sendNext(state, leader, to, progress, now)) break;
    }
    if (progress.heartbeatDue) sendHeartbeat(state, leader, to, progress);
  }
}

/** Sends one AppendEntries that begins at `next`; false: the log no longer holds that entry. */
function sendNext(state: NodeState, leader: Leader, to: NodeId, progress: Progress, now: number): boolean {
  const from = progress.next;
  if (from <= state.log.base.index) {
    progress.becomeSnapshot();
    // A removed member gets no snapshot: that would be much work for telling it that it was removed.
    if (progress.removalNotice === null) state.pendingActions.sendSnapshot(to);
    return false;
  }
  // A node that hasn't answered for the longest election timeout is probably down: probe it without entries,
  // so that no payloads are read and sent in vain.
  const isSilent =
    progress.state === "probe" && now - progress.activeAt >= state.options.electionTimeoutMs.max;
  const end = isSilent ? from : endOfMessage(state, from);
  sendEntries(state, leader, to, state.log.slice(from - 1, end - 1));
  progress.recordSent(end - 1, state.options.bytesBetween(from, end));
  progress.heartbeatDue = false;
  return true;
}

/** Sends an AppendEntries without entries, whose `prev` is where the logs are believed to agree. */
function sendHeartbeat(state: NodeState, leader: Leader, to: NodeId, progress: Progress): void {
  progress.heartbeatDue = false;
  const prev = Math.max(progress.next - 1, state.log.base.index);
  sendEntries(state, leader, to, state.log.slice(prev, prev));
}

function sendEntries(state: NodeState, leader: Leader, to: NodeId, entries: EntryRange): void {
  const { id: from, term, commitIndex: commit } = state;
  const round = leader.heartbeatRound;
  state.send(to, { type: "append-entries", from, term, entries, commit, round });
}

/**
 * The index after the last entry of a message that begins at `from`: the message has at least one entry, and
 * otherwise as many as the limits allow.
 */
function endOfMessage(state: NodeState, from: LogIndex): LogIndex {
  const { messageEntriesMax, messageBytesMax, bytesBetween } = state.options;
  const end = Math.min(state.log.lastIndex + 1, from + messageEntriesMax);
  if (bytesBetween(from, end) <= messageBytesMax) return end;
  let fits = from + 1;
  let tooFar = end;
  while (fits + 1 < tooFar) {
    const middle = Math.floor((fits + tooFar) / 2);
    if (bytesBetween(from, middle) <= messageBytesMax) fits = middle;
    else tooFar = middle;
  }
  return fits;
}

export function onAppendEntriesReply(state: NodeState, message: AppendEntriesReply, now: number): void {
  if (message.term > state.term) {
    state.becomeFollower(message.term, null, now);
    return;
  }
  const { role: leader } = state;
  if (leader.type !== "leader" || message.term < state.term) return;
  const progress = leader.progress.get(message.from);
  if (progress === undefined) return;
  assert(message.round <= leader.heartbeatRound, "a follower answers only checks that were made");
  if (progress.lostAfter !== null) return;
  if (!message.outcome.accepted && progress.provesLoss(message.outcome.refused, message.round)) {
    const { match: index } = progress;
    progress.recordLoss({ term: state.log.termAt(index) ?? 0, index });
    return;
  }
  progress.activeAt = now;
  progress.acknowledgedRound = Math.max(progress.acknowledgedRound, message.round);
  if (message.outcome.accepted) {
    const { match } = message.outcome;
    assert(match <= state.log.lastIndex, "a follower acknowledges only what this leader has");
    progress.recordAccepted(match, state.log.base.index, leader.heartbeatRound);
    advanceCommit(state);
  } else if (progress.isCurrentRefusal(message.outcome.refused)) {
    const { refused, hint } = message.outcome;
    // §5.3: skip what can't agree, a whole term at a time.
    const agreement = state.log.lastAgreement(Math.min(hint.index, refused), hint.term);
    const reachable = hint.index >= state.log.base.index ? agreement : hint.index;
    progress.becomeProbe(Math.min(reachable, refused - 1) + 1);
  } else if (progress.state === "snapshot" && progress.removalNotice === null) {
    // The follower still lacks entries that this log no longer holds: the offer of a snapshot was lost, or
    // the log has been compacted further since.
    state.pendingActions.sendSnapshot(message.from);
  }
  extendLease(state, leader);
}

// --- The follower's side -----------------------------------------------------------------------

/** AppendEntries, receiver implementation (Figure 2). */
export function onAppendEntries(state: NodeState, message: AppendEntries, now: number): void {
  if (message.term < state.term) {
    // Tells a deposed leader the later term. That leader looks at nothing else in the answer.
    refuse(state, message, { term: 0, index: 0 });
    return;
  }
  checkRange(message.entries);
  const newest = message.entries.terms.at(-1) ?? message.entries.prev;
  assert(newest.term <= message.term, "a leader has no entries of terms after its own");
  followLeader(state, message.term, message.from, message.round, now);

  const { prev, lastIndex } = message.entries;
  if (prev.index >= state.log.base.index && !state.log.contains(prev)) {
    assert(prev.index > state.commitIndex, "a leader's log holds what is committed (§5.4)");
    // The last index at which the logs may agree. Committed entries agree in any case.
    const index = Math.max(state.log.lastAgreement(prev.index, prev.term), state.commitIndex);
    refuse(state, message, { index, term: state.log.termAt(index) ?? 0 });
    return;
  }
  appendMissing(state, message.entries);
  const { following } = state;
  following.matchedIndex = Math.max(following.matchedIndex, lastIndex);
  following.acknowledgementDue = true;
  // The leader's commit index says nothing about entries after `matchedIndex`: the leader may replace them.
  state.commitTo(Math.min(message.commit, following.matchedIndex));
}

/**
 * A message of the leader of this term or a later one: this node follows it, and for the shortest election
 * timeout helps no other candidate.
 */
export function followLeader(
  state: NodeState,
  term: Term,
  leaderId: NodeId,
  round: number,
  now: number,
): void {
  assert(
    term > state.term || state.leaderId === null || state.leaderId === leaderId,
    "a term has one leader (§5.2), and here is another",
  );
  state.becomeFollower(term, leaderId, now);
  state.leaderHeardAt = now;
  state.resetElectionDeadline(now);
  state.following.receivedRound = Math.max(state.following.receivedRound, round);
}

/**
 * Appends the entries that the log lacks. Truncates only if an entry differs (§5.3): a message that arrives
 * late must not remove entries that came after it.
 */
function appendMissing(state: NodeState, entries: EntryRange): void {
  const from = firstDifference(state, entries);
  checkConfigsAgree(state, entries, from);
  if (from > entries.lastIndex) return;
  if (from <= state.log.lastIndex) state.truncate(from);
  state.log.extendFrom(entries, from);
  state.pendingActions.append(from, entries.lastIndex + 1);
}

/** The first entry of the range that the log doesn't hold. Takes a step per term run, not per entry. */
function firstDifference(state: NodeState, entries: EntryRange): LogIndex {
  const { base } = state.log;
  for (let at = 0; at < entries.terms.length; at++) {
    const run = entries.terms[at];
    if (run === undefined) break;
    const end = entries.terms[at + 1]?.index ?? entries.lastIndex + 1;
    // Entries up to the base are committed, so they are equal in both logs.
    let index = Math.max(run.index, base.index + 1);
    while (index < end) {
      if (state.log.termAt(index) !== run.term) return index;
      index = Math.min(end, state.log.endOfRun(index));
    }
  }
  return entries.lastIndex + 1;
}

/** Entries at the same position are equal (Log Matching, §5.3), so their configurations must be too. */
function checkConfigsAgree(state: NodeState, entries: EntryRange, before: LogIndex): void {
  for (const { index, config } of entries.configs) {
    if (index >= before || index <= state.log.base.index) continue;
    const own = state.log.configAt(index);
    assert(
      own.index === index && sameConfig(own.config, config),
      "two logs hold different configurations at one position",
    );
  }
}

function refuse(state: NodeState, message: AppendEntries, hint: LogPosition): void {
  const { id: from, term } = state;
  const round = message.term === term ? state.following.receivedRound : 0;
  const outcome = { accepted: false, refused: message.entries.prev.index, hint } as const;
  state.send(message.from, { type: "append-entries-reply", from, term, round, outcome });
}

/**
 * Acknowledges the entries that are durable here and equal to the leader's: when there are more of them than
 * were acknowledged before, or at once if the leader has started a new heartbeat round. One acknowledgement
 * answers all messages received since the last one.
 */
export function sendAcknowledgement(state: NodeState): void {
  const { following } = state;
  if (!following.acknowledgementDue || state.leaderId === null) return;
  if (!state.hardStateIsDurable) return;
  const match = Math.min(following.matchedIndex, state.durableIndex);
  const isComplete = match === following.matchedIndex;
  const isNewRound = following.receivedRound !== following.acknowledgedRound;
  if (!isComplete && !isNewRound && match <= following.acknowledgedIndex) return;
  following.acknowledgementDue = !isComplete;
  following.acknowledgedRound = following.receivedRound;
  following.acknowledgedIndex = match;
  const { id: from, term } = state;
  const round = following.receivedRound;
  const outcome = { accepted: true, match } as const;
  state.pendingActions.send(state.leaderId, { type: "append-entries-reply", from, term, round, outcome });
}
