// The rule by which a leader considers a member caught up: `addLearner` and `changeMembership` wait for it,
// and `MemberMetrics.caughtUp` shows it.
import type { RaftNode } from "../../core/node.ts";
import type { NodeId } from "../../core/position.ts";

/**
 * A member has caught up when it lacks at most this many entries, about as many as a busy leader sends in a
 * few messages. It can't be 0: under steady writes a follower is always a few entries behind. If a learner
 * that lacks more became a voter, commits might have to wait until it has received them (dissertation 4.2.1).
 */
export const CAUGHT_UP_LAG_MAX = 1024;

/**
 * Whether this leader's log is nearly all durable on the member: it is being sent entries, not a snapshot, it
 * has answered within the longest election timeout, and it lacks at most `CAUGHT_UP_LAG_MAX` entries.
 */
export function hasCaughtUp(core: Pick<RaftNode, "id" | "log" | "progress">, id: NodeId): boolean {
  if (id === core.id) return true;
  const progress = core.progress(id);
  return (
    progress?.state === "replicate" &&
    progress.recentlyActive &&
    core.log.last.index - progress.match <= CAUGHT_UP_LAG_MAX
  );
}
