import { encodeMembership, type Membership } from "../../codec/config.ts";
import { clusterIdOf, isNamed } from "../../codec/cluster-id.ts";
import { configOf } from "../../core/config.ts";
import type { NodeId } from "../../core/position.ts";
import type { Environment } from "../../environment/environment.ts";
import { nodeEnvironment } from "#node-environment";
import { lockStore } from "../lock-store.ts";
import { inspectUnlocked } from "./inspect-wal.ts";
import type { WalInspection } from "./wal-inspection.ts";

/*
 * A node was told to create a cluster with a mistake in an address. The members can't reach each other, or
 * they belong to different clusters, because a cluster's id is made from its first members. The node may
 * begin anew with the corrected addresses, but only if it has had no part in the cluster that it leaves.
 *
 * The hazard: two clusters, that of the wrong list and that of the corrected one, with leaders elected by the
 * same nodes. The first one's committed entries would be lost, or both would take writes.
 *
 * The condition, checked under the lock of the log, while the node can't run:
 *
 * 1. The node has never given a vote in the cluster that it leaves, not even to itself: it is still in the
 *    first entry's term, in which no node is elected, and its vote is empty. Terms only rise, so an earlier
 *    vote would show. A node sends a vote only once it is durable.
 * 2. It has never acknowledged an entry of a leader: its log holds the first entry alone, which `initialize`
 *    wrote.
 * 3. Both lists name the same ids; only addresses differ.
 *
 * By 1, the nodes that ever vote in the one cluster and those that ever vote in the other have no node in
 * common: who voted can't leave, and who left never voted and never will. By 3, any majority of the one
 * shares a node with any majority of the other. So at most one of the two can ever elect a leader, whichever
 * nodes change over, and in whatever order. With other ids, two majorities could be disjoint
 * ({a, b} of {a, b, c} and {c, d} of {b, c, d}). Equal sets of ids are also equal over several corrections,
 * one after another.
 */

/** Options of `discardUnusedLog`. */
export interface DiscardOptions {
  /** The members that the node is to create a cluster with, address by id. */
  readonly members: Readonly<Record<NodeId, string>>;
  /** Default: Node's. */
  readonly environment?: Environment | undefined;
}

/** What `discardUnusedLog` found. */
export interface DiscardedLog {
  /** Whether the log was removed. */
  readonly isDiscarded: boolean;
  /** Why the log was not removed; "": it was removed. */
  readonly reason: string;
  /** The members that the cluster began with, address by id; null: the log doesn't tell any more. */
  readonly firstMembers: Readonly<Record<NodeId, string>> | null;
}

/**
 * Removes the log of a node that was told to create a cluster with a mistake in an address, and has had no
 * part in any election since. The node must not be running. Afterwards it starts as a new one, with a new
 * store id.
 *
 * @throws DirectoryLockedError the node is running; InvalidOptionError there is no log; StorageFailedError
 *   the log can't be read
 */
export async function discardUnusedLog(directory: string, options: DiscardOptions): Promise<DiscardedLog> {
  const { members, environment = nodeEnvironment() } = options;
  const { files } = environment;
  const lock = await lockStore(files, directory);
  try {
    const found = await inspectUnlocked(directory, { environment });
    const first = found.memberships[0];
    const firstMembers = first?.index === 1 ? addressesOf(first.membership) : null;
    const reason = reasonToKeep(found, firstMembers, members);
    if (reason !== null) return { isDiscarded: false, reason, firstMembers };
    // Remove the newest segment first: then a crash leaves a log with the first entry or less, or none, but
    // never a log whose beginning is missing.
    for (const { file } of [...found.segments].reverse()) {
      await files.remove(file);
      await files.syncDirectory(directory);
    }
    return { isDiscarded: true, reason: "", firstMembers };
  } finally {
    await lock.release();
  }
}

/** Why the log must be kept; null: the condition above holds. */
function reasonToKeep(
  found: WalInspection,
  firstMembers: Readonly<Record<NodeId, string>> | null,
  members: Readonly<Record<NodeId, string>>,
): string | null {
  const { damage, base, last, hardState, clusterId } = found;
  if (damage !== null) return damage.message;
  if (base.index > 0 || last.index > 1) return "it has entries of that cluster";
  if (firstMembers === null || clusterId === null) return "it has not begun to create a cluster itself";
  if (!isOwnFirstEntry(clusterId, firstMembers)) return "it was not this node that created the cluster";
  if (hardState.votedFor !== null || hardState.term > last.term) {
    return "it has taken part in an election of that cluster";
  }
  const [before, after] = [firstMembers, members].map((one) => Object.keys(one).sort().join(", "));
  if (before !== after)
    return `the cluster began with the ids ${String(before)}, and not with ${String(after)}`;
  return null;
}

/**
 * Whether the cluster's id is the one that `initialize` makes from these members, in its first incarnation.
 */
function isOwnFirstEntry(clusterId: string, members: Readonly<Record<NodeId, string>>): boolean {
  const config = configOf(Object.keys(members));
  const payload = encodeMembership({
    config,
    members: new Map(Object.entries(members).map(([id, address]) => [id, { address }])),
  });
  const [name = ""] = clusterId.split("/");
  return clusterId === clusterIdOf(payload, isNamed(clusterId, name) ? name : null);
}

function addressesOf({ members }: Membership): Readonly<Record<NodeId, string>> {
  return Object.fromEntries([...members].map(([id, { address }]) => [id, address]));
}
