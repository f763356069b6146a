import type { NodeId } from "../../core/position.ts";
import type { PeerInfo } from "../../transport/transport.ts";

/** Nodes remembered at most; a cluster has a handful, and whoever it once had need not stay for ever. */
const PEERS_MAX = 256;

/** What the other nodes say of themselves. */
export class KnownPeers {
  readonly #infos = new Map<NodeId, PeerInfo>();
  readonly #warn: (text: string, fields: Readonly<Record<string, unknown>>) => void;

  constructor(warn: (text: string, fields: Readonly<Record<string, unknown>>) => void) {
    this.#warn = warn;
  }

  met(peer: PeerInfo): void {
    const before = this.#infos.get(peer.id);
    if (before !== undefined && before.storeId !== peer.storeId) {
      this.#warn("a node came back with another disk: what its old one promised is forgotten", {
        id: peer.id,
        storeId: peer.storeId,
        storeIdBefore: before.storeId,
      });
    }
    // Set anew, so that the map is in order of the last meeting.
    this.#infos.delete(peer.id);
    this.#infos.set(peer.id, peer);
    const oldest = this.#infos.keys().next().value;
    if (this.#infos.size > PEERS_MAX && oldest !== undefined) this.#infos.delete(oldest);
  }

  /** Where those who were met say that they are reached. */
  get addresses(): Map<NodeId, string> {
    const addresses = new Map<NodeId, string>();
    for (const { id, address } of this.#infos.values()) if (address !== undefined) addresses.set(id, address);
    return addresses;
  }

  /** The id of a peer's storage; null: not met yet. */
  storeIdOf(id: NodeId): string | null {
    return this.#infos.get(id)?.storeId ?? null;
  }

  /** How much a peer should lead; 0 for one that was not met yet. */
  priorityOf(id: NodeId): number {
    return this.#infos.get(id)?.priority ?? 0;
  }

  /** null: not met yet. */
  dataOf(id: NodeId): string | null {
    return this.#infos.get(id)?.data ?? null;
  }
}
