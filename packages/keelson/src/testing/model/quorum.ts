/**
 * Majorities and configurations (§5.2, §6), written apart from the core so that a mistake there isn't
 * repeated.
 */
import type { ClusterConfig } from "../../core/config.ts";
import type { NodeId } from "../../core/position.ts";

/** Whether more than half of the voters agree; in a joint configuration, more than half of both sets (§6). */
export function isQuorum(
  { voters, outgoingVoters }: ClusterConfig,
  agrees: (id: NodeId) => boolean,
): boolean {
  return voters.length > 0 && isMajority(voters, agrees) && isMajority(outgoingVoters, agrees);
}

function isMajority(group: readonly NodeId[], agrees: (id: NodeId) => boolean): boolean {
  let count = 0;
  for (const id of group) if (agrees(id)) count += 1;
  return group.length === 0 || 2 * count > group.length;
}

/** Whether the node has a vote, in C_old or in C_new. */
export function hasVote({ voters, outgoingVoters }: ClusterConfig, id: NodeId): boolean {
  return voters.includes(id) || outgoingVoters.includes(id);
}

/** Whether two lists name the same nodes. */
export function sameNodes(a: readonly NodeId[], b: readonly NodeId[]): boolean {
  return a.length === b.length && a.every((id) => b.includes(id));
}

/** Whether two configurations have the same members in the same parts. */
export function sameConfig(a: ClusterConfig, b: ClusterConfig): boolean {
  return (
    a === b ||
    (sameNodes(a.voters, b.voters) &&
      sameNodes(a.outgoingVoters, b.outgoingVoters) &&
      sameNodes(a.learners, b.learners))
  );
}

/** A configuration for the text of a violation. */
export function showConfig({ voters, outgoingVoters, learners }: ClusterConfig): string {
  const old = outgoingVoters.length === 0 ? "" : `${outgoingVoters.join(" ")} -> `;
  return `{${old}${voters.join(" ")}${learners.length === 0 ? "" : `, learners ${learners.join(" ")}`}}`;
}
