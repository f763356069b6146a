import { assert } from "./assert.ts";
import type { NodeId } from "./position.ts";

/**
 * Who takes part: the voters, the voters being left behind while a change is under way,
 * and the learners, who receive the log without a say (§6; dissertation 4.2.1).
 */
export interface ClusterConfig {
  /** The voters; during a change, those of C_new. */
  readonly voters: readonly NodeId[];
  /** The voters of C_old while the configuration is joint; empty otherwise. */
  readonly outgoingVoters: readonly NodeId[];
  /**
   * Non-voting members: they are sent the log and count in no majority. While the configuration is joint,
   * a voter of C_old that becomes a learner is both: it has its vote until C_old is left.
   */
  readonly learners: readonly NodeId[];
}

/** The configuration of a node that belongs to no cluster yet. */
export const EMPTY_CONFIG: ClusterConfig = { voters: [], outgoingVoters: [], learners: [] };

/** A configuration of `voters` alone. */
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

/** Whether two majorities are needed: the configuration is C_old,new (§6). */
export function isJoint(config: ClusterConfig): boolean {
  return config.outgoingVoters.length > 0;
}

/** Whether `id` has a vote in the old or the new part of the configuration. */
export function isVoter(config: ClusterConfig, id: NodeId): boolean {
  return config.voters.includes(id) || config.outgoingVoters.includes(id);
}

/**
 * The configuration to enter on the way from `current`, which is not joint, to `target`: C_old,new if
 * the voters change (§6: then both majorities must agree), `target` itself if only learners do.
 */
export function stepTowards(current: ClusterConfig, target: ClusterConfig): ClusterConfig {
  if (sameSet(current.voters, target.voters)) return target;
  return { ...target, outgoingVoters: current.voters };
}

/** C_new, to be entered once C_old,new is committed (§6). */
export function leaveJoint(config: ClusterConfig): ClusterConfig {
  return { ...config, outgoingVoters: [] };
}

/** Everyone who is sent the log, each once. */
export function membersOf(config: ClusterConfig): NodeId[] {
  return [...new Set([...config.voters, ...config.outgoingVoters, ...config.learners])];
}

/** Whether two configurations have the same members in the same parts. */
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
