import type { Hello, Identity } from "../codec/frame-control-message.ts";
import type { NodeId } from "../core/position.ts";
import type { PeerInfo, TransportHost } from "./transport.ts";

/** The versions of the protocol that this code speaks, from and to; more when there is a second one. */
export const PROTOCOL_VERSION_MIN = 1;
export const PROTOCOL_VERSION_MAX = 1;

/** What a node says of itself when it dials. */
export function helloOf(host: TransportHost, clusterId: string, address: string, to: NodeId): Hello {
  return {
    type: "hello",
    versionMin: PROTOCOL_VERSION_MIN,
    versionMax: PROTOCOL_VERSION_MAX,
    clusterId,
    from: identityOf(host, address),
    to,
  };
}

export function identityOf(host: TransportHost, address: string): Identity {
  const { id, storeId, data, priority = 0 } = host.self;
  return { id, storeId, data, address, priority };
}

export function peerInfoOf({ id, storeId, data, address, priority }: Identity): PeerInfo {
  return { id, storeId, data, address, priority };
}

/**
 * Why a node will not talk to whoever said this; null: it will, once it has a cluster. Strangers are
 * told apart here, before a message is read: a term of another cluster must never be looked at.
 */
export function refusalOf(hello: Hello, host: TransportHost): string | null {
  if (hello.versionMin > PROTOCOL_VERSION_MAX || hello.versionMax < PROTOCOL_VERSION_MIN) {
    const own = `${String(PROTOCOL_VERSION_MIN)} to ${String(PROTOCOL_VERSION_MAX)}`;
    return `protocol versions ${String(hello.versionMin)} to ${String(hello.versionMax)} are not those of this node, ${own}`;
  }
  const clusterId = host.clusterId();
  if (hello.clusterId === "") return "the caller belongs to no cluster";
  if (clusterId !== null && clusterId !== hello.clusterId) {
    return `this node belongs to cluster ${clusterId}, not to ${hello.clusterId}`;
  }
  const { id } = host.self;
  if (hello.to !== id) return `this is node ${id}, not ${hello.to}`;
  if (hello.from.id === id) return `node ${id} reached itself, or two nodes have this id`;
  return host.refusalOf?.(peerInfoOf(hello.from)) ?? null;
}

/**
 * Joins a node to the first cluster that asks. Several members may knock while that is under way:
 * those of the same cluster wait for the one attempt, others are refused.
 */
export class ClusterAdoption {
  readonly #host: TransportHost;
  #current: { readonly clusterId: string; readonly done: Promise<void> } | null = null;

  constructor(host: TransportHost) {
    this.#host = host;
  }

  /** Resolves when the node belongs to the cluster; rejects if it belongs, or is going to belong, to another. */
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
      // Asked again and again, a host that says yes and does nothing would keep us at it for ever.
      if (this.#host.clusterId() !== clusterId)
        throw new Error(`this node did not join cluster ${clusterId}`);
    } finally {
      this.#current = null;
    }
  }
}
