import { encodeMembership, REMOVED_MAX, type Membership } from "../../codec/config.ts";
import { encodeRecord, EntryKind } from "../../codec/record.ts";
import { configOf, membersOf } from "../../core/config.ts";
import type { LogPosition, NodeId, Term } from "../../core/position.ts";
import { formatAddress, parseAddress } from "../../environment/address.ts";
import type { Environment } from "../../environment/environment.ts";
import { nodeEnvironment } from "../../environment/node/node-environment.ts";
import { InvalidOptionError, StorageFailedError } from "../../errors.ts";
import { newIncarnation } from "../../codec/cluster-id.ts";
import { inspectWal } from "./inspect-wal.ts";
import type { WalInspection } from "./wal-inspection.ts";
import { WalLog } from "./wal-log.ts";

/*
 * Disaster recovery: a cluster has lost a majority of its members for good, and one remaining node is to go
 * on alone. What `keelson recover` calls. Nothing here runs while the node does.
 */

/** What `forceNewCluster` is going to do to a log: for the operator to confirm. */
export interface ForceNewClusterPlan {
  readonly nodeId: NodeId;
  readonly storeId: string;
  /** Where this node will be reached as the only member ("host:port"). */
  readonly address: string;
  /** The id of the cluster that is given up. */
  readonly clusterId: string;
  /** That cluster's members, this node included, by the last configuration in this log; ascending. */
  readonly members: readonly NodeId[];
  /** Ids that were removed from that cluster before. */
  readonly removed: readonly NodeId[];
  /** The last entry in this log. Entries that only other nodes hold are lost, committed ones too. */
  readonly last: LogPosition;
  /** The highest term that this log knows of. */
  readonly term: Term;
  /**
   * The log's base. Entries up to here were committed; the log alone doesn't tell whether later ones were.
   */
  readonly base: LogPosition;
}

/** What `forceNewCluster` wrote. */
export interface ForcedNewCluster {
  /** The former cluster's id with a new incarnation. */
  readonly clusterId: string;
  /** The configuration entry of the new cluster, which has this node as its only member. */
  readonly position: LogPosition;
}

/** Options of `planForceNewCluster` and `forceNewCluster`. */
export interface ForceNewClusterOptions {
  /** "host:port". Default: the node's address in the last configuration. */
  readonly address?: string;
  /** Default: Node's. */
  readonly environment?: Environment;
}

/**
 * Finds out what `forceNewCluster` would do. Changes nothing.
 *
 * @throws InvalidOptionError there is no log, it belongs to no cluster, or the node is its cluster's only
 *   voter already; StorageFailedError the log is damaged or can't be read
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
 * Turns the log of one remaining node into that of a new cluster of this node alone. Only for a cluster that
 * has lost its majority for good: entries that only other nodes hold are lost, committed or not. All entries
 * in this log are kept, and become committed.
 *
 * The cluster id gets a new incarnation, so that former members that come back are refused. Their logs may
 * hold other entries at the same indexes. They can join again with empty directories and new ids.
 *
 * The node must not be running. The log is changed by one atomic write: a crash leaves it as it was, or done.
 *
 * @throws InvalidOptionError as for `planForceNewCluster`; DirectoryLockedError the node is running;
 *   CorruptLogError, StorageFailedError
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
    // Plan again: before the lock was taken, the node may have run and changed the log.
    const plan = await planForceNewCluster(directory, options);
    const position = { term: plan.term + 1, index: plan.last.index + 1 };
    const payload = encodeMembership(membershipOf(plan));
    const clusterId = newIncarnation(plan.clusterId, () => environment.random());
    await log.appendInNewCluster(clusterId, {
      // A term may have entries only if its leader was elected. So the node votes for itself in the entry's
      // term.
      hardState: { term: position.term, votedFor: nodeId },
      truncateFrom: null,
      records: [encodeRecord(position.index, position.term, EntryKind.config, payload)],
    });
    return { clusterId, position };
  } finally {
    await log.close();
  }
}

/**
 * The node as the only member. The former members' ids stay in the configuration as removed, so that they
 * never come back (M10).
 */
function membershipOf({ nodeId, address, storeId, members, removed }: ForceNewClusterPlan): Membership {
  const gone = [...removed, ...members].filter((id, at, all) => id !== nodeId && all.indexOf(id) === at);
  const alone = { config: configOf([nodeId]), members: new Map([[nodeId, { address, storeId }]]) };
  return gone.length === 0 ? alone : { ...alone, removed: gone.slice(-REMOVED_MAX) };
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
