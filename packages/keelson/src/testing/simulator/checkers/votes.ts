import type { ClusterConfig } from "../../../core/config.ts";
import type { NodeId } from "../../../core/position.ts";

/** Counted here, and not by the code that the checkers check. In a joint configuration both majorities are needed (§6). */
export function isQuorum({ voters, outgoingVoters }: ClusterConfig, isOne: (id: NodeId) => boolean): boolean {
  return [voters, outgoingVoters].every(
    (group) => group.length === 0 || group.filter(isOne).length * 2 > group.length,
  );
}

/** Nobody else has a vote. */
export function isSoleVoter({ voters, outgoingVoters }: ClusterConfig, id: NodeId): boolean {
  return [...voters, ...outgoingVoters].every((voter) => voter === id);
}

/** In the old or the new part of the configuration. */
export function hasVote(config: ClusterConfig | undefined, id: NodeId): boolean {
  return config !== undefined && [config.voters, config.outgoingVoters].some((group) => group.includes(id));
}

/** For people. */
export function showConfig(config: ClusterConfig | undefined): string {
  if (config === undefined) return "no configuration";
  const { voters, outgoingVoters, learners } = config;
  const parts = [outgoingVoters, voters].filter((group) => group.length > 0).map((group) => group.join(" "));
  return `{${parts.join(" -> ")}${learners.length === 0 ? "" : `, learners ${learners.join(" ")}`}}`;
}
