// Who takes part in decisions (§6): voters, outgoing voters and learners, and the steps from one
// configuration to another.
import { assert } from "./assert.ts";
import type { NodeId } from "./position.ts";

/**
 * The members of a cluster, and which of them vote (§6; dissertation 4.2.1). Each node uses the last
 * configuration in its log as soon as it is there, committed or not.
 */
export interface ClusterConfig {
  /** The voters; while the configuration is joint, those of C_new. */
  readonly voters: readonly NodeId[];
  /** The voters of C_old while the configuration is joint; empty otherwise. */
  readonly outgoingVoters: readonly NodeId[];
  /**
   * Non-voting members: they are sent the log and count in no majority. While the configuration is joint, a
   * voter that becomes a learner is in `outgoingVoters` too, so it keeps its vote until C_new is in force.
   */
  readonly learners: readonly NodeId[];
}

/** The configuration of a node that doesn't belong to a cluster yet. */
export const EMPTY_CONFIG: ClusterConfig = { voters: [], outgoingVoters: [], learners: [] };

/** A configuration that is not joint. Duplicates are dropped. Throws if a node is both voter and learner. */
export function configOf(voters: Iterable<NodeId>, learners: Iterable<NodeId> = []): ClusterConfig {
  const config = {
    voters: [...new Set(voters)].sort(),
    outgoingVoters: [],
    learners: [...new Set(learners)].sort(),
  };
  assert(
    config.learners.every((id) => !config.voters.includes(id)),
    "a member is either a voter or a learner",
  );
  return config;
}

/** Whether the configuration is C_old,new, in which decisions need two majorities (§6). */
export function isJoint(config: ClusterConfig): boolean {
  return config.outgoingVoters.length > 0;
}

/** Whether `id` has a vote: among the voters or, while the configuration is joint, the outgoing voters. */
export function isVoter(config: ClusterConfig, id: NodeId): boolean {
  return config.voters.includes(id) || config.outgoingVoters.includes(id);
}

/**
 * The first configuration on the way from `current`, which is not joint, to `target`: C_old,new if the voters
 * change (§6), or `target` itself if only the learners do.
 */
export function stepTowards(current: ClusterConfig, target: ClusterConfig): ClusterConfig {
  if (sameSet(current.voters, target.voters)) return target;
  return { ...target, outgoingVoters: current.voters };
}

/** C_new: what follows C_old,new once that is committed (§6). */
export function leaveJoint(config: ClusterConfig): ClusterConfig {
  return { ...config, outgoingVoters: [] };
}

/** All members, each once: the nodes that a leader sends the log to. */
export function membersOf(config: ClusterConfig): NodeId[] {
  return [...new Set([...config.voters, ...config.outgoingVoters, ...config.learners])];
}

/** Whether two configurations have the same voters, outgoing voters and learners, in any order. */
export function sameConfig(a: ClusterConfig, b: ClusterConfig): boolean {
  return (
    sameSet(a.voters, b.voters) &&
    sameSet(a.outgoingVoters, b.outgoingVoters) &&
    sameSet(a.learners, b.learners)
  );
}

function sameSet(a: readonly NodeId[], b: readonly NodeId[]): boolean {
  return a.length === b.length && a.every((id) => b.includes(id));
}
