// Snapshots, as far as the core is concerned (§7): when to install one, and what that means for the log. The
// caller moves the bytes.
import { assert } from "./assert.ts";
import type { ClusterConfig } from "./config.ts";
import type { InstallSnapshot } from "./message.ts";
import type { LogIndex, LogPosition } from "./position.ts";
import { followLeader } from "./replication.ts";
import type { NodeState } from "./state.ts";

/** The leader offers a snapshot, because its log no longer holds the entries that this node lacks (§7). */
export function onInstallSnapshot(state: NodeState, message: InstallSnapshot, now: number): void {
  if (message.term < state.term) {
    // Any answer will do: it only tells a deposed leader the later term, and the leader looks at nothing else
    // in it.
    const { id: from, term } = state;
    const outcome = { accepted: false, refused: 0, hint: { term: 0, index: 0 } } as const;
    state.send(message.from, { type: "append-entries-reply", from, term, round: 0, outcome });
    return;
  }
  followLeader(state, message.term, message.from, message.round, now);
  const { last } = message;
  if (last.index > state.commitIndex) {
    state.pendingActions.installSnapshot(message);
    return;
  }
  // This node has everything that the snapshot covers. The leader doesn't know it yet, so acknowledge it.
  checkAgainstCommitted(state, last);
  const { following } = state;
  following.matchedIndex = Math.max(following.matchedIndex, last.index);
  following.acknowledgementDue = true;
}

/** The state machine and the log store durably hold a snapshot, and the stored log begins after it. */
export function snapshotInstalled(
  state: NodeState,
  position: LogPosition,
  config: ClusterConfig,
  now: number,
): void {
  if (position.index <= state.log.base.index) return; // An earlier snapshot: the log begins after it already.
  if (position.index <= state.commitIndex) checkAgainstCommitted(state, position);
  // Figure 13, step 6: if the log holds the snapshot's last entry, the entries after it stay.
  else if (!state.log.contains(position)) state.replaceLog(position, config);
  const { following } = state;
  following.matchedIndex = Math.max(following.matchedIndex, position.index);
  state.commitTo(position.index);
  state.discardCoveredLog(position.index);
  following.acknowledgementDue = true;
  // A candidate was a voter of the configuration that the snapshot replaced. If it isn't a voter of the new
  // one, it must not go on campaigning.
  const isCandidate = state.role.type === "pre-candidate" || state.role.type === "candidate";
  if (isCandidate && !state.isEligible) state.becomeFollower(state.term, null, now);
}

/**
 * A durable snapshot of this node's own state covers the entries up to `index`, so the log need not keep
 * them.
 */
export function compactLog(state: NodeState, index: LogIndex): void {
  assert(index <= state.commitIndex, "only committed entries are compacted");
  assert(index <= state.durableIndex, "only durable entries are compacted");
  state.log.compact(index);
}

function checkAgainstCommitted(state: NodeState, position: LogPosition): void {
  const term = state.log.termAt(position.index);
  assert(
    term === undefined || term === position.term,
    "a snapshot contradicts an entry that is committed here",
  );
}
