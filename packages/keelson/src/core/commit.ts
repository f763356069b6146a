import { quorumValue } from "./quorum.ts";
import type { NodeState } from "./state.ts";

/**
 * Moves the leader's commit index to what a majority has on its durable logs (§5.3). The leader is
 * one of them only as far as its own writes are durable, and only if it is a voter.
 */
export function advanceCommit(state: NodeState): void {
  if (state.role !== "leader") return;
  const index = quorumValue(state.config, (id) =>
    id === state.id ? state.durableIndex : (state.progress.get(id)?.match ?? 0),
  );
  // §5.4.2: only an entry of the leader's own term commits by counting; earlier ones go with it.
  if (index > state.commitIndex && state.log.termAt(index) === state.term) state.commitTo(index);
}
