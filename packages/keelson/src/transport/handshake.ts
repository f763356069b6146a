/*
 * The handshake of two nodes, and the rules for it that all transports share.
 *
 * 1. The node that wants to send opens a connection and says `hello`: the protocol versions it speaks, its
 *    cluster, who it is (id, store id, address, info, priority), which node it wants to reach, and that
 *    node's store id if it knows it.
 * 2. The accepting node checks the hello with `refusalOf`. On a mismatch it closes the connection. It says
 *    why to a peer that has named its cluster; for others the reason is only in its own log.
 * 3. If the accepting node belongs to no cluster yet, it joins the one that the hello names
 *    (`ClusterAdoption`), durably and before it reads anything else, and then checks the hello again.
 * 4. It answers `welcome`: the version that both will use, its cluster, and who it is.
 * 5. The first node checks the welcome (id, cluster, version, and its host's own refusal). On a mismatch it
 *    says why and closes the connection.
 * 6. Messages may now flow from the first node to the second.
 *
 * Where nodes have certificates or a secret, all of this comes after the proof of who the peer is
 * (docs/design/peer-security.md), and a peer's id must be one that its certificate names.
 *
 * Before a cluster exists, its first members ask each other whether they may create it: `inquiry` in place of
 * `hello`, answered by `consent` or by a reason (`refusalOfInquiry`). Unlike a hello, it makes nobody join.
 *
 * Why both sides check, and before any message is read: an address may have passed to another node or another
 * cluster since it was written down. A message of another cluster could carry a higher term, and one look at
 * it would depose a healthy leader (W1, M16). A hello is small and limited in size, so refusing costs next to
 * nothing.
 */
import { sameOrigin } from "../codec/cluster-id.ts";
import type { Hello, Identity, Inquiry } from "../codec/frame-control-message.ts";
import type { NodeId } from "../core/position.ts";
import type { PeerInfo, TransportHost } from "./transport.ts";

/** The oldest version of the protocol that this code speaks. */
export const PROTOCOL_VERSION_MIN = 1;
/** The newest version of the protocol that this code speaks. So far there is only one. */
export const PROTOCOL_VERSION_MAX = 1;

/** What a node says first on a connection that it opened to `to`. `address` is its own. */
export function helloOf(host: TransportHost, clusterId: string, address: string, to: NodeId): Hello {
  const toStoreId = host.storeIdOf?.(to) ?? null;
  return {
    type: "hello",
    versionMin: PROTOCOL_VERSION_MIN,
    versionMax: PROTOCOL_VERSION_MAX,
    clusterId,
    from: identityOf(host, address),
    to,
    ...(toStoreId === null ? {} : { toStoreId }),
  };
}

/** What a node asks `to` that wants to create the cluster `clusterId`. `address` is its own. */
export function inquiryOf(host: TransportHost, clusterId: string, address: string, to: NodeId): Inquiry {
  return {
    type: "inquiry",
    versionMin: PROTOCOL_VERSION_MIN,
    versionMax: PROTOCOL_VERSION_MAX,
    clusterId,
    from: identityOf(host, address),
    to,
  };
}

/** How a node names itself in a handshake. `address` is its own. */
export function identityOf(host: TransportHost, address: string): Identity {
  const { id, storeId, info, priority = 0 } = host.self;
  return { id, storeId, info, address, priority };
}

/** What the host is told about a node that has named itself by `Identity` in a handshake. */
export function peerInfoOf({ id, storeId, info, address, priority }: Identity): PeerInfo {
  return { id, storeId, info, address, priority };
}

/** Why a node refuses a connection. */
export interface Refusal {
  /** What the peer is told. */
  readonly told: string;
  /** What this node writes into its own log, for its operator. */
  readonly logged: string;
}

/**
 * What a stranger is told. It names neither this node nor its cluster: with these a stranger could pass the
 * next handshake, and its messages could depose leaders (Z17).
 */
export const STRANGER_REASON = "this node does not talk to the caller; this node's log says why";

/**
 * What a peer is told whose cluster id differs from this node's only in the incarnation: it knows all the
 * rest of the id.
 */
const OTHER_INCARNATION =
  "the caller and this node belong to different incarnations of one cluster: a new cluster was forced on one of " +
  "them; add the caller's machine anew, with an empty directory and a new id";

/**
 * Turns the reason that a peer gave into one that this node's operator can use. To a node that may be of
 * another cluster, a peer says only `STRANGER_REASON`; that it does tells what may be wrong.
 */
export function explainRefusal(reason: string, peerId: NodeId): string {
  if (!reason.includes(STRANGER_REASON)) return reason;
  return (
    `the node there does not talk to the caller: it belongs to ANOTHER CLUSTER, or is not ${peerId}; its own log says ` +
    "which. A machine joins this cluster with an empty directory and a new id"
  );
}

/**
 * A refusal that tells the peer its reason, because that says nothing which the peer didn't say itself or
 * doesn't know.
 */
export function openRefusal(reason: string): Refusal {
  return { told: reason, logged: reason };
}

/**
 * What a node that was removed is told by a member that knows its removal to be committed. The node
 * recognises its removal by this text (`saysRemoved`), also from a member of another version: don't change
 * it.
 */
export function removalReason(id: NodeId): string {
  return `node ${id} was removed from the cluster; an id is not used again`;
}

/** Whether a peer refuses the node `id` because that was removed from the cluster. */
export function saysRemoved(reason: string, id: NodeId): boolean {
  return reason === removalReason(id);
}

/** A refusal of a peer that has not shown that it belongs to this node's cluster. */
export function refusalOfStranger(reason: string): Refusal {
  return { told: STRANGER_REASON, logged: reason };
}

/**
 * Why a node refuses the connection on which this hello came; null: it accepts, though a node without a
 * cluster must join first.
 *
 * The checks go from the general to the particular, so that the reason names the first thing that is wrong:
 * the protocol's version (the rest of the hello means something only in a version that both speak), the
 * cluster, the addressee, the sender's id, and last the host's own reasons, which only make sense for a peer
 * of the same cluster.
 *
 * A peer is told the reason once it has named this node's cluster. Before, it may be anyone, so the reason
 * goes into this node's log alone.
 */
export function refusalOf(hello: Hello | Inquiry, host: TransportHost): Refusal | null {
  if (hello.versionMin > PROTOCOL_VERSION_MAX || hello.versionMax < PROTOCOL_VERSION_MIN) {
    const own = `${String(PROTOCOL_VERSION_MIN)} to ${String(PROTOCOL_VERSION_MAX)}`;
    return openRefusal(
      `protocol versions ${String(hello.versionMin)} to ${String(hello.versionMax)} are not those of this node, ${own}`,
    );
  }
  const clusterId = host.clusterId();
  if (hello.clusterId === "") return openRefusal("the caller belongs to no cluster");
  if (clusterId !== null && clusterId !== hello.clusterId) {
    const logged = `this node belongs to cluster ${clusterId}, not to ${hello.clusterId}`;
    return sameOrigin(clusterId, hello.clusterId)
      ? { told: OTHER_INCARNATION, logged }
      : refusalOfStranger(logged);
  }
  const { id, storeId } = host.self;
  // A node without a cluster can't tell a member of one from a stranger.
  const refuse = clusterId === null ? refusalOfStranger : openRefusal;
  if (hello.to !== id) return refuse(`this is node ${id}, not ${hello.to}`);
  if (hello.from.id === id) return refuse(`node ${id} reached itself, or two nodes have this id`);
  const isVouchedFor = hello.type === "hello" && hello.toStoreId === storeId;
  const reason = host.refusalOf?.(peerInfoOf(hello.from), isVouchedFor) ?? null;
  return reason === null ? null : refuse(reason);
}

/**
 * Why the node that inquires may not create its cluster, as far as this node can tell; null: no objection. It
 * is refused as with a hello first, so by a member that knows another store of it: then the cluster isn't
 * new.
 */
export function refusalOfInquiry(inquiry: Inquiry, host: TransportHost): Refusal | null {
  const refusal = refusalOf(inquiry, host);
  if (refusal !== null) return refusal;
  const reason = host.refusalOfCreation?.(inquiry.clusterId) ?? null;
  return reason === null ? null : openRefusal(reason);
}

/**
 * Joins a node without a cluster to the first cluster that reaches it.
 *
 * Joining writes to the disk, and several members may connect meanwhile. All members of the same cluster
 * share one attempt; members of another cluster are refused until it ends.
 */
export class ClusterAdoption {
  readonly #host: TransportHost;
  /** The attempt in progress; null: none. `done` settles with it. */
  #current: { readonly clusterId: string; readonly done: Promise<void> } | null = null;

  constructor(host: TransportHost) {
    this.#host = host;
  }

  /**
   * Resolves when the node belongs to the cluster; rejects if it belongs, or is about to belong, to another.
   */
  async adopt(clusterId: string): Promise<void> {
    const current = this.#current;
    if (current !== null && current.clusterId !== clusterId) {
      throw new Error(`this node is joining cluster ${current.clusterId}, not ${clusterId}`);
    }
    this.#current ??= { clusterId, done: this.#attempt(clusterId) };
    await this.#current.done;
  }

  async #attempt(clusterId: string): Promise<void> {
    try {
      await this.#host.adoptClusterId(clusterId);
      // A host that resolves without joining would be asked again by the repeated check of the hello, without
      // end.
      if (this.#host.clusterId() !== clusterId)
        throw new Error(`this node did not join cluster ${clusterId}`);
    } finally {
      this.#current = null;
    }
  }
}
