/** Majorities, counted apart from the code under test, so that a bug there isn't repeated here. */
import type { ClusterConfig } from "../../../core/config.ts";
import type { NodeId } from "../../../core/position.ts";

/**
 * Whether a majority of the voters satisfies `isOne`; in a joint configuration, a majority of both sets (§6).
 */
export function isQuorum({ voters, outgoingVoters }: ClusterConfig, isOne: (id: NodeId) => boolean): boolean {
  return isMajority(voters, isOne) && isMajority(outgoingVoters, isOne);
}

/** Whether a majority of the group satisfies `isOne`; of an empty group too. */
function isMajority(group: readonly NodeId[], isOne: (id: NodeId) => boolean): boolean {
  let count = 0;
  for (const id of group) if (isOne(id)) count += 1;
  return group.length === 0 || count * 2 > group.length;
}

/** Whether no other node has a vote. */
export function isSoleVoter({ voters, outgoingVoters }: ClusterConfig, id: NodeId): boolean {
  const isOwn = (voter: NodeId): boolean => voter === id;
  return voters.every(isOwn) && outgoingVoters.every(isOwn);
}

/** Whether the node has a vote in the old or the new set of the configuration. */
export function hasVote(config: ClusterConfig | undefined, id: NodeId): boolean {
  return config !== undefined && (config.voters.includes(id) || config.outgoingVoters.includes(id));
}

/** A configuration, for a violation's text. */
export function showConfig(config: ClusterConfig | undefined): string {
  if (config === undefined) return "no configuration";
  const { voters, outgoingVoters, learners } = config;
  const parts = [outgoingVoters, voters].filter((group) => group.length > 0).map((group) => group.join(" "));
  return `{${parts.join(" -> ")}${learners.length === 0 ? "" : `, learners ${learners.join(" ")}`}}`;
}
