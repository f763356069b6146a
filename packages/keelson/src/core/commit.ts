import { quorumValue } from "./quorum.ts";
import type { NodeState } from "./state.ts";

/**
 * Raises the leader's commit index to what a quorum has in its durable logs (§5.3). The leader counts itself
 * like any other node: only for what its own disk holds, and only while it is a voter.
 */
export function advanceCommit(state: NodeState): void {
  const { role: leader } = state;
  if (leader.type !== "leader") return;
  const index = quorumValue(state.config, (id) =>
    id === state.id ? state.durableIndex : (leader.progress.get(id)?.countedMatch ?? 0),
  );
  // §5.4.2: only an entry of the leader's own term commits by counting. It commits all entries before it too.
  if (index > state.commitIndex && state.log.termAt(index) === state.term) state.commitTo(index);
}
