import type { RuntimeMessage } from "../codec/frame-runtime-message.ts";
import type { Message } from "../core/message.ts";
import type { NodeId } from "../core/position.ts";
import type { Environment } from "../environment/environment.ts";

/** A message of the core with the payloads of its entries, or a message of the runtime. */
export interface TransportMessage {
  readonly message: Message | RuntimeMessage;
  /** Of an AppendEntries: one encoded record for each entry of its range, as it is on disk. Otherwise empty. */
  readonly records: readonly Uint8Array[];
}

/** What a node says of itself to those it talks to. */
export interface PeerInfo {
  readonly id: NodeId;
  /** The random name of the peer's store: another one under the same id is another disk. */
  readonly storeId: string;
  /** Free text of the application, such as the addresses for its clients; at most 4 KiB. */
  readonly data: string;
  /** Of a peer that was met: where it says that others reach it. A node without a cluster has no other way to answer. */
  readonly address?: string;
  /** How much it should lead, compared with others: from 0 on. Default 0. */
  readonly priority?: number;
}

/** The node that a transport works for. */
export interface TransportHost {
  readonly environment: Environment;
  readonly self: PeerInfo;
  /** null until the node belongs to a cluster. Checked before a message's term is looked at. */
  clusterId(): string | null;
  /**
   * A node without a cluster was reached by a member of one that wants it. Resolves when the node has
   * durably joined it, and rejects if it belongs elsewhere by now. Nothing is received before.
   */
  adoptClusterId(clusterId: string): Promise<void>;
  /**
   * Why this node does not talk to a peer of its own cluster; null or absent: it does. Asked before the peer is met, on
   * both sides. The peer is told the reason.
   */
  refusalOf?(peer: PeerInfo): string | null;
  /** A peer was met, or met again; called before anything of that meeting is received. */
  onPeer(peer: PeerInfo): void;
  /** A message from the peer that its header names. The records belong to the host from now on. */
  receive(transportMessage: TransportMessage): void;
  /** Something that a person who runs the node should know. */
  log(level: "info" | "warn", text: string, fields?: Readonly<Record<string, unknown>>): void;
}

/**
 * Carries messages between nodes, one way each. It may drop, delay, double and reorder them; it
 * must not change them, nor hand over one that was meant for another node or cluster. One suite
 * checks every implementation (`keelson/testing`: `describeTransport`).
 */
export interface Transport {
  /** Begins to listen. Rejects if the address cannot be had. */
  start(host: TransportHost): Promise<void>;
  /** Where others can reach this node; known after `start`. */
  readonly address: string;
  /**
   * Sets who may be talked to, and where: each at the first of its addresses where it answers, because a node that
   * moves is for a while at the old one or at the new one. Connections to nodes that are no longer named are closed, and
   * those to an address that is not. Incoming connections are accepted from every node of the cluster.
   */
  setPeers(peers: ReadonlyMap<NodeId, readonly string[]>): void;
  /**
   * Sends or drops; never blocks, never throws for want of a connection. False: dropped for sure
   * (unknown peer, no connection, full queue).
   */
  send(to: NodeId, transportMessage: TransportMessage): boolean;
  /** Closes every connection and timer; resolves when none is left. Idempotent. */
  close(): Promise<void>;
}
