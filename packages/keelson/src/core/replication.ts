import { assert } from "./assert.ts";
import { sameConfig } from "./config.ts";
import { advanceCommit } from "./commit.ts";
import { checkRange } from "./log.ts";
import type { AppendEntries, AppendEntriesReply, EntryRange } from "./message.ts";
import type { LogIndex, NodeId } from "./position.ts";
import type { Progress } from "./progress.ts";
import { quorumValue } from "./quorum.ts";
import { extendLease } from "./reads.ts";
import type { NodeState } from "./state.ts";
import { bestTransferTarget, sendTimeoutNow } from "./transfer.ts";

// --- The leader's side -------------------------------------------------------------------------

/** The heartbeat is due, or the leader has lost touch with its majority (§5.2; dissertation 6.2). */
export function onLeaderTimeout(state: NodeState, now: number): void {
  if (now >= quorumDeadline(state)) {
    // It may have been deposed without knowing: clients are better served elsewhere.
    state.becomeFollower(state.term, null, now);
    return;
  }
  if (now >= state.stallDeadline) {
    // Nothing of its own will be durable any time soon; another's disk may do better.
    const successor = bestTransferTarget(state, now);
    if (successor !== null) sendTimeoutNow(state, successor);
    state.becomeFollower(state.term, null, now);
    return;
  }
  if (now >= state.heartbeatDeadline) {
    for (const progress of state.progress.values()) progress.allowNextProbe();
    state.startHeartbeatRound(now);
  }
}

/** When the leader must step down unless it hears from more of its members. */
export function quorumDeadline(state: NodeState): number {
  if (!state.options.checkQuorum) return Infinity;
  const activeAt = quorumValue(state.config, (id) =>
    id === state.id ? Infinity : (state.progress.get(id)?.activeAt ?? -Infinity),
  );
  return activeAt + state.options.electionTimeoutMs.max;
}

/** Sends each member what it lacks, as far as its window allows, and the heartbeats that are due. */
export function sendAppends(state: NodeState, now: number): void {
  for (const [to, progress] of state.progress) {
    const { inflightMessagesMax, inflightBytesMax } = state.options;
    while (progress.next <= state.log.last.index && progress.hasRoom(inflightMessagesMax, inflightBytesMax)) {
      if (!sendNext(state, to, progress, now)) break;
    }
    if (progress.heartbeatDue) sendHeartbeat(state, to, progress);
  }
}

/** One AppendEntries from `next` on; false: the log does not reach back so far. */
function sendNext(state: NodeState, to: NodeId, progress: Progress, now: number): boolean {
  const from = progress.next;
  if (from <= state.log.base.index) {
    progress.becomeSnapshot();
    // A snapshot is too much for telling somebody that it was removed.
    if (progress.removalNotice === null) state.pendingActions.sendSnapshot(to);
    return false;
  }
  // A node that has not answered for long gets questions, not megabytes.
  const asleep = progress.state === "probe" && now - progress.activeAt >= state.options.electionTimeoutMs.max;
  const end = asleep ? from : endOfMessage(state, from);
  sendEntries(state, to, state.log.slice(from - 1, end - 1));
  progress.recordSent(end - 1, state.options.bytesBetween(from, end));
  progress.heartbeatDue = false;
  return true;
}

/** An AppendEntries without entries, at the place where the follower is believed to be. */
function sendHeartbeat(state: NodeState, to: NodeId, progress: Progress): void {
  progress.heartbeatDue = false;
  const prev = Math.max(progress.next - 1, state.log.base.index);
  sendEntries(state, to, state.log.slice(prev, prev));
}

function sendEntries(state: NodeState, to: NodeId, entries: EntryRange): void {
  const { id: from, term, commitIndex: commit, heartbeatRound: round } = state;
  state.send(to, { type: "append-entries", from, term, entries, commit, round });
}

/** Where a message that begins at `from` ends: at the limits of entries and bytes, after one entry at least. */
function endOfMessage(state: NodeState, from: LogIndex): LogIndex {
  const { messageEntriesMax, messageBytesMax, bytesBetween } = state.options;
  const end = Math.min(state.log.last.index + 1, from + messageEntriesMax);
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
  const progress = state.progress.get(message.from);
  if (state.role !== "leader" || message.term < state.term || progress === undefined) return;
  assert(message.round <= state.heartbeatRound, "a follower answers only checks that were made");
  progress.activeAt = now;
  progress.acknowledgedRound = Math.max(progress.acknowledgedRound, message.round);
  if (message.outcome.accepted) {
    const { match } = message.outcome;
    assert(match <= state.log.last.index, "a follower acknowledges only what this leader has");
    progress.recordAccepted(match, state.log.base.index);
    advanceCommit(state);
  } else if (progress.isCurrentRefusal(message.outcome.refused)) {
    const { refused, hint } = message.outcome;
    // §5.3: skip all that cannot agree, a whole term at a time.
    const agreement = state.log.lastAgreement(Math.min(hint.index, refused), hint.term);
    const reachable = hint.index >= state.log.base.index ? agreement : hint.index;
    progress.becomeProbe(Math.min(reachable, refused - 1) + 1);
  } else if (progress.state === "snapshot" && progress.removalNotice === null) {
    // It still lacks what our log begins after: the snapshot was lost, or is older than the log's base by now.
    state.pendingActions.sendSnapshot(message.from);
  }
  extendLease(state);
}

// --- The follower's side -----------------------------------------------------------------------

/** AppendEntries, receiver implementation (Figure 2). */
export function onAppendEntries(state: NodeState, message: AppendEntries, now: number): void {
  if (message.term < state.term) {
    // Tells a deposed leader so; it looks at nothing but the term.
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
    // The furthest place where the logs can agree; what is committed agrees in any case.
    const index = Math.max(state.log.lastAgreement(prev.index, prev.term), state.commitIndex);
    refuse(state, message, { index, term: state.log.termAt(index) ?? 0 });
    return;
  }
  appendMissing(state, message.entries);
  state.matchedIndex = Math.max(state.matchedIndex, lastIndex);
  state.acknowledgementDue = true;
  // The leader's index holds only for what is known to equal its log; the rest of ours may go yet.
  state.commitTo(Math.min(message.commit, state.matchedIndex));
}

/** A leader of this term, or a later one, spoke: follow it, and let its followers' promise run on. */
export function followLeader(
  state: NodeState,
  term: number,
  leader: NodeId,
  round: number,
  now: number,
): void {
  assert(
    term > state.term || state.leaderId === null || state.leaderId === leader,
    "a term has one leader (§5.2), and here is another",
  );
  state.becomeFollower(term, leader, now);
  state.leaderHeardAt = now;
  state.resetElectionDeadline(now);
  state.receivedRound = Math.max(state.receivedRound, round);
}

/** Adds what the log lacks. Removes entries only where one of them differs (§5.3): a late message must not cut the log. */
function appendMissing(state: NodeState, entries: EntryRange): void {
  const from = firstDifference(state, entries);
  checkConfigsAgree(state, entries, from);
  if (from > entries.lastIndex) return;
  if (from <= state.log.last.index) state.truncate(from);
  state.log.extendFrom(entries, from);
  state.pendingActions.append(from, entries.lastIndex + 1);
}

/** The first entry of the range that the log does not hold. One step for each run of a term, not for each entry. */
function firstDifference(state: NodeState, entries: EntryRange): LogIndex {
  const { base } = state.log;
  for (const [at, run] of entries.terms.entries()) {
    const end = entries.terms[at + 1]?.index ?? entries.lastIndex + 1;
    // What the snapshot covers is committed, so it is the same on both sides.
    let index = Math.max(run.index, base.index + 1);
    while (index < end) {
      if (state.log.termAt(index) !== run.term) return index;
      index = Math.min(end, state.log.endOfRun(index));
    }
  }
  return entries.lastIndex + 1;
}

/** Entries of one position are one entry (Log Matching, §5.3): their configurations too. */
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

function refuse(state: NodeState, message: AppendEntries, hint: { term: number; index: number }): void {
  const { id: from, term, receivedRound } = state;
  const round = message.term === term ? receivedRound : 0;
  const outcome = { accepted: false, refused: message.entries.prev.index, hint } as const;
  state.send(message.from, { type: "append-entries-reply", from, term, round, outcome });
}

/**
 * Acknowledges what is durable, as soon as it is, or at once if the leader asks whether it still
 * leads. All that was received since the last acknowledgement shares one.
 */
export function sendAcknowledgement(state: NodeState): void {
  if (!state.acknowledgementDue || state.leaderId === null) return;
  if (!state.hardStateIsDurable) return;
  const match = Math.min(state.matchedIndex, state.durableIndex);
  const complete = match === state.matchedIndex;
  if (!complete && state.receivedRound === state.acknowledgedRound && match <= state.acknowledgedIndex)
    return;
  state.acknowledgementDue = !complete;
  state.acknowledgedRound = state.receivedRound;
  state.acknowledgedIndex = match;
  const { id: from, term, receivedRound: round } = state;
  const outcome = { accepted: true, match } as const;
  state.pendingActions.send(state.leaderId, { type: "append-entries-reply", from, term, round, outcome });
}
