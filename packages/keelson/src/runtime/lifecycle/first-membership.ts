// The members that a cluster begins with, as `initialize` and the option `members` name them.
import { encodeMembership, type Membership } from "../../codec/config.ts";
import { clusterIdOf } from "../../codec/cluster-id.ts";
import { configOf } from "../../core/config.ts";
import type { NodeId } from "../../core/position.ts";
import { InvalidOptionError } from "../../errors.ts";
import { checkAddress } from "../members/index.ts";
import { checkId } from "../shared/index.ts";

/**
 * Voters that a cluster may begin with. Five are common; every additional voter makes each write wait for
 * more nodes.
 */
const VOTERS_MAX = 31;

/** A cluster before it exists: its first membership, and the id that follows from it. */
export interface PlannedCluster {
  /** Address by id, as the caller gave them. */
  readonly members: Readonly<Record<NodeId, string>>;
  readonly membership: Membership;
  /** The encoded membership: the payload of the cluster's first entry. */
  readonly payload: Uint8Array;
  readonly clusterId: string;
}

/**
 * The cluster that these first members (id to address) make, under this name or none (null).
 *
 * @throws InvalidOptionError
 */
export function plannedCluster(
  members: Readonly<Record<NodeId, string>>,
  self: NodeId,
  name: string | null,
): PlannedCluster {
  const membership = firstMembership(members, self);
  const payload = encodeMembership(membership);
  return { members, membership, payload, clusterId: clusterIdOf(payload, name) };
}

function firstMembership(members: Readonly<Record<NodeId, string>>, self: NodeId): Membership {
  const entries = Object.entries(members);
  if (!Object.hasOwn(members, self)) {
    throw new InvalidOptionError(
      `members are ${entries.map(([id]) => id).join(", ") || "none"}; they should include this node, ${self}. A node that ` +
        "a running cluster will take in needs no members: name it in changeMembership, at a member",
    );
  }
  if (entries.length > VOTERS_MAX) {
    throw new InvalidOptionError(
      `there are ${String(entries.length)} members; a cluster begins with at most ${String(VOTERS_MAX)}`,
    );
  }
  const ownerOf = new Map<string, NodeId>();
  for (const [id, address] of entries) {
    checkId("a member's id", id);
    checkAddress(id, address);
    const owner = ownerOf.get(address);
    if (owner !== undefined) {
      throw new InvalidOptionError(`members ${owner} and ${id} have the same address, ${address}`);
    }
    ownerOf.set(address, id);
  }
  const config = configOf(entries.map(([id]) => id));
  return { config, members: new Map(entries.map(([id, address]) => [id, { address }])) };
}
