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
  const { voters, outgoingVoters } = config;
  return (
    hasMajority(voters, inFavour) && (outgoingVoters.length === 0 || hasMajority(outgoingVoters, inFavour))
  );
}

function hasMajority(voters: readonly NodeId[], inFavour: (id: NodeId) => boolean): boolean {
  let count = 0;
  for (const id of voters) if (inFavour(id)) count += 1;
  return count > voters.length / 2;
}

function majorityValue(voters: readonly NodeId[], valueOf: (id: NodeId) => number): number {
  // In descending order. This counts after each answer, and for a few values `sort` with a comparator takes
  // several times as long as inserting each at its place.
  const values: number[] = [];
  for (const id of voters) {
    const value = valueOf(id);
    let at = values.length;
    for (; at > 0; at--) {
      const before = values[at - 1] ?? Infinity;
      if (before >= value) break;
      values[at] = before;
    }
    values[at] = value;
  }
  // A majority of n voters is floor(n / 2) + 1. The value at position floor(n / 2), counted from 0, is the
  // greatest that so many have reached.
  return values[Math.floor(values.length / 2)] ?? 0;
}
