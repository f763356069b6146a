import { encodeMembership, REMOVED_MAX, type Membership } from "../../codec/config.ts";
import { encodeRecord, EntryKind } from "../../codec/record.ts";
import { configOf, membersOf } from "../../core/config.ts";
import type { LogPosition, NodeId, Term } from "../../core/position.ts";
import { formatAddress, parseAddress } from "../../environment/address.ts";
import type { Environment } from "../../environment/environment.ts";
import { nodeEnvironment } from "../../environment/node/node-environment.ts";
import { InvalidOptionError, StorageFailedError } from "../../errors.ts";
import { newIncarnation } from "../../codec/cluster-id.ts";
import { inspectWal, type WalInspection } from "./inspect-wal.ts";
import { WalLog } from "./wal-log.ts";

/** What `forceNewCluster` is going to do to a log, or has done. */
export interface ForceNewClusterPlan {
  readonly nodeId: NodeId;
  /** The id of this log. */
  readonly storeId: string;
  /** Where this node will be reached, as the only member. */
  readonly address: string;
  /** The cluster that is given up, and the members it had, as far as this log knows. */
  readonly clusterId: string;
  readonly members: readonly NodeId[];
  /** Who was a member before. */
  readonly removed: readonly NodeId[];
  /**
   * This log's last entry: what the others acknowledged after it, or instead of what stands before it, is
   * lost.
   */
  readonly last: LogPosition;
  /** The highest term that this node has seen. */
  readonly term: Term;
  /**
   * Entries up to here are in a snapshot, so they were committed. Of later ones the log alone cannot tell.
   */
  readonly base: LogPosition;
}

/** The node alone; the others' ids are used up (M10). */
function membershipOf({ nodeId, address, storeId, members, removed }: ForceNewClusterPlan): Membership {
  const gone = [...removed, ...members].filter((id, at, all) => id !== nodeId && all.indexOf(id) === at);
  const alone = { config: configOf([nodeId]), members: new Map([[nodeId, { address, storeId }]]) };
  return gone.length === 0 ? alone : { ...alone, removed: gone.slice(-REMOVED_MAX) };
}

/** What `forceNewCluster` wrote. */
export interface ForcedNewCluster {
  readonly clusterId: string;
  readonly position: LogPosition;
}

/** Options of `planForceNewCluster` and `forceNewCluster`. */
export interface ForceNewClusterOptions {
  /** "host:port". Default: the node's address in the last configuration. */
  readonly address?: string;
  /** Default: Node's disk and chance. */
  readonly environment?: Environment;
}

/**
 * What `forceNewCluster` would do; changes nothing.
 *
 * @throws InvalidOptionError there is no log, it belongs to no cluster, or nothing would be gained;
 *   CorruptLogError, StorageFailedError
 */
export async function planForceNewCluster(
  directory: string,
  options: ForceNewClusterOptions = {},
): Promise<ForceNewClusterPlan> {
  const { environment = nodeEnvironment() } = options;
  const found = await inspectWal(directory, { environment });
  const { nodeId, storeId, clusterId, base, last, damage } = found;
  if (damage !== null) throw new StorageFailedError(damage.message, "not-done");
  const current = found.memberships.at(-1)?.membership;
  if (nodeId === null || storeId === null || clusterId === null || current === undefined) {
    throw new InvalidOptionError(
      `the log in ${directory} belongs to no cluster yet, so there is nothing to recover: start the node`,
    );
  }
  const { voters, outgoingVoters } = current.config;
  if (voters.length === 1 && voters[0] === nodeId && outgoingVoters.length === 0) {
    throw new InvalidOptionError(`node ${nodeId} is the only voter of its cluster already: start it`);
  }
  const address = addressOf(options.address, current.members.get(nodeId)?.address, nodeId);
  const members = membersOf(current.config).sort();
  const { removed = [] } = current;
  return { nodeId, storeId, address, clusterId, members, removed, last, base, term: termOf(found) };
}

/**
 * For a cluster that has lost its majority for good: turns the log of one node that is left into that of
 * a cluster of this node alone. Everything that is in the log is kept, also what was never committed; what
 * is only in the logs of others is lost. The cluster gets a new incarnation of its id, so that the former
 * members are refused when they come back: their logs may hold other entries at the same indexes. They can
 * be added with empty directories and ids of their own.
 *
 * The node must not run. It is one atomic write: after a crash, the log is as it was, or founded anew.
 *
 * @throws InvalidOptionError, CorruptLogError, DirectoryLockedError, StorageFailedError
 */
export async function forceNewCluster(
  directory: string,
  options: ForceNewClusterOptions = {},
): Promise<ForcedNewCluster> {
  const { environment = nodeEnvironment() } = options;
  const { nodeId } = await planForceNewCluster(directory, options);
  const log = new WalLog(directory);
  await log.open({ nodeId, clusterId: null }, environment);
  try {
    // Once more, now that nobody else can change it.
    const plan = await planForceNewCluster(directory, options);
    const position = { term: plan.term + 1, index: plan.last.index + 1 };
    const payload = encodeMembership(membershipOf(plan));
    const clusterId = newIncarnation(plan.clusterId, () => environment.random());
    await log.appendInNewCluster(clusterId, {
      // The node votes for itself in the term of the entry, so that nobody else can have had it.
      hardState: { term: position.term, votedFor: nodeId },
      truncateFrom: null,
      records: [encodeRecord(position.index, position.term, EntryKind.config, payload)],
    });
    return { clusterId, position };
  } finally {
    await log.close();
  }
}

function termOf({ hardState, last }: WalInspection): Term {
  return Math.max(hardState.term, last.term);
}

function addressOf(given: string | undefined, stored: string | undefined, nodeId: NodeId): string {
  if (given !== undefined) return formatAddress(parseAddress(given, "address"));
  if (stored !== undefined) return stored;
  throw new InvalidOptionError(
    `node ${nodeId} is no member of the last configuration in its log, which therefore has no address of it: give one`,
  );
}
