import { assert } from "./assert.ts";
import type { ClusterConfig } from "./config.ts";
import type { InstallSnapshot } from "./message.ts";
import type { LogIndex, LogPosition } from "./position.ts";
import { followLeader } from "./replication.ts";
import type { NodeState } from "./state.ts";

/** The leader offers a snapshot, because its log no longer holds what this node lacks (§7). */
export function onInstallSnapshot(state: NodeState, message: InstallSnapshot, now: number): void {
  if (message.term < state.term) {
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
  checkAgainstCommitted(state, last);
  state.matchedIndex = Math.max(state.matchedIndex, last.index);
  state.acknowledgementDue = true;
}

/** The state machine holds a snapshot now, durably, and so does the log store, whose log begins after it. */
export function snapshotInstalled(
  state: NodeState,
  position: LogPosition,
  config: ClusterConfig,
  now: number,
): void {
  if (position.index <= state.log.base.index) return; // An old one: the log began later already.
  if (position.index <= state.commitIndex) checkAgainstCommitted(state, position);
  // Figure 13, step 6: if the log holds the snapshot's last entry, what follows it stays.
  else if (!state.log.contains(position)) state.replaceLog(position, config);
  state.matchedIndex = Math.max(state.matchedIndex, position.index);
  state.commitTo(position.index);
  state.discardCoveredLog(position.index);
  state.acknowledgementDue = true;
  // It stood for election as a voter of the configuration before, and has no vote in this one.
  const stands = state.role === "pre-candidate" || state.role === "candidate";
  if (stands && !state.isEligible) state.becomeFollower(state.term, null, now);
}

/** A snapshot of this node's own state was taken: the log need not keep the entries up to `index`. */
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
