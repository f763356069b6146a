import type { LogFields } from "../../log-event.ts";
import type { NodeId } from "../../core/position.ts";
import type { PeerInfo } from "../../transport/transport.ts";

/** Nodes remembered at most. A cluster has a handful; the limit bounds memory if ever new ids connect. */
const PEERS_MAX = 256;

/**
 * What the other nodes stated about themselves in handshakes: store id, address, info and priority. It is
 * newer than what the log says of them but not agreed on, it covers nodes that are no members, and it is lost
 * in a restart.
 */
export class KnownPeers {
  /** What each peer stated in its last handshake, in the order of these handshakes. */
  readonly #infos = new Map<NodeId, PeerInfo>();
  readonly #warn: (text: string, fields: LogFields) => void;

  constructor(warn: (text: string, fields: LogFields) => void) {
    this.#warn = warn;
  }

  /** A handshake with this peer succeeded. */
  onHandshake(peer: PeerInfo): void {
    const before = this.#infos.get(peer.id);
    if (before !== undefined && before.storeId !== peer.storeId) {
      this.#warn("a node came back with another disk: what its old one promised is forgotten", {
        peer: peer.id,
        storeId: peer.storeId,
        storeIdBefore: before.storeId,
      });
    }
    // Deleted first, so that it moves to the end of the map.
    this.#infos.delete(peer.id);
    this.#infos.set(peer.id, peer);
    const oldest = this.#infos.keys().next().value;
    if (this.#infos.size > PEERS_MAX && oldest !== undefined) this.#infos.delete(oldest);
  }

  /** The addresses at which the peers say that others reach them. */
  get statedAddresses(): Map<NodeId, string> {
    const addresses = new Map<NodeId, string>();
    for (const { id, address } of this.#infos.values()) if (address !== undefined) addresses.set(id, address);
    return addresses;
  }

  /** The id of a peer's store; null: there was no handshake with it. */
  storeIdOf(id: NodeId): string | null {
    return this.#infos.get(id)?.storeId ?? null;
  }

  /** A peer's option `priority`; 0 if there was no handshake with it. */
  priorityOf(id: NodeId): number {
    return this.#infos.get(id)?.priority ?? 0;
  }

  /** A peer's option `info`; null: there was no handshake with it. */
  infoOf(id: NodeId): string | null {
    return this.#infos.get(id)?.info ?? null;
  }
}
