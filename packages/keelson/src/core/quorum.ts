// Majorities of a configuration, in one place, so that elections, commits and leadership checks count alike.
import type { ClusterConfig } from "./config.ts";
import type { NodeId } from "./position.ts";

/**
 * The greatest value that a quorum has reached: a majority of the voters, and in a joint configuration also a
 * majority of the outgoing voters (§6). Learners don't count. 0 if there are no voters.
 */
export function quorumValue(config: ClusterConfig, valueOf: (id: NodeId) => number): number {
  const value = majorityValue(config.voters, valueOf);
  return config.outgoingVoters.length === 0
    ? value
    : Math.min(value, majorityValue(config.outgoingVoters, valueOf));
}

/** Whether the nodes for which `inFavour` holds are a quorum of the configuration. */
export function hasQuorum(config: ClusterConfig, inFavour: (id: NodeId) => boolean): boolean {
  return quorumValue(config, (id) => (inFavour(id) ? 1 : 0)) > 0;
}

function majorityValue(voters: readonly NodeId[], valueOf: (id: NodeId) => number): number {
  const values = voters.map(valueOf).sort((a, b) => b - a);
  // A majority of n voters is floor(n / 2) + 1. In descending order, the value at position floor(n / 2),
  // counted from 0, is the greatest that so many have reached.
  return values[Math.floor(values.length / 2)] ?? 0;
}
