/** Majorities, counted apart from the code under test, so that a bug there isn't repeated here. */
import type { ClusterConfig } from "../../../core/config.ts";
import type { NodeId } from "../../../core/position.ts";

/**
 * Whether a majority of the voters satisfies `isOne`; in a joint configuration, a majority of both sets (§6).
 */
export function isQuorum({ voters, outgoingVoters }: ClusterConfig, isOne: (id: NodeId) => boolean): boolean {
  return [voters, outgoingVoters].every(
    (group) => group.length === 0 || group.filter(isOne).length * 2 > group.length,
  );
}

/** Whether no other node has a vote. */
export function isSoleVoter({ voters, outgoingVoters }: ClusterConfig, id: NodeId): boolean {
  return [...voters, ...outgoingVoters].every((voter) => voter === id);
}

/** Whether the node has a vote in the old or the new set of the configuration. */
export function hasVote(config: ClusterConfig | undefined, id: NodeId): boolean {
  return config !== undefined && [config.voters, config.outgoingVoters].some((group) => group.includes(id));
}

/** A configuration, for a violation's text. */
export function showConfig(config: ClusterConfig | undefined): string {
  if (config === undefined) return "no configuration";
  const { voters, outgoingVoters, learners } = config;
  const parts = [outgoingVoters, voters].filter((group) => group.length > 0).map((group) => group.join(" "));
  return `{${parts.join(" -> ")}${learners.length === 0 ? "" : `, learners ${learners.join(" ")}`}}`;
}
