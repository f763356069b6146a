import type { ClusterConfig } from "./config.ts";
import type { NodeId } from "./position.ts";

/**
 * The greatest value that a majority has reached: of the voters, and while the configuration is
 * joint also of the outgoing ones (§6: agreement needs both). Learners do not count. 0 if there
 * are no voters at all.
 */
export function quorumValue(config: ClusterConfig, valueOf: (id: NodeId) => number): number {
  const value = majorityValue(config.voters, valueOf);
  return config.outgoingVoters.length === 0
    ? value
    : Math.min(value, majorityValue(config.outgoingVoters, valueOf));
}

/** Whether a majority, of each part of the configuration, is in favour. */
export function hasQuorum(config: ClusterConfig, inFavour: (id: NodeId) => boolean): boolean {
  return quorumValue(config, (id) => (inFavour(id) ? 1 : 0)) > 0;
}

function majorityValue(voters: readonly NodeId[], valueOf: (id: NodeId) => number): number {
  const values = voters.map(valueOf).sort((a, b) => b - a);
  // Of n voters, floor(n / 2) + 1 are a majority: the value of the last of these is what all have reached.
  return values[Math.floor(values.length / 2)] ?? 0;
}
