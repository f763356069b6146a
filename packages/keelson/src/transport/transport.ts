// The interface between a node and its transport: what a transport must do (`Transport`), and what it may
// call on the node that uses it (`TransportHost`). Implementations are in memory/ and tcp/; the handshake
// that they share is in handshake.ts. One suite checks every implementation: `describeTransport` in
// keelson/testing.
import type { LogFields } from "../log-event.ts";
import type { RuntimeMessage } from "../codec/frame-runtime-message.ts";
import type { Message } from "../core/message.ts";
import type { NodeId } from "../core/position.ts";
import type { Environment } from "../environment/environment.ts";

/**
 * What a transport carries: a message between two cores with its entries' records, or between two runtimes.
 */
export interface TransportMessage {
  /**
   * `message.from` is always the node that sends it. The addressee is not in it: `Transport.send` names it.
   */
  readonly message: Message | RuntimeMessage;
  /**
   * For AppendEntries, the encoded record of each entry in the message's range, in order: the bytes that are
   * on disk. Empty for all other messages.
   */
  readonly records: readonly Uint8Array[];
}

/** What a node tells about itself in the handshake. */
export interface PeerInfo {
  readonly id: NodeId;
  /**
   * The random name of the node's storage. A known id with another store id is a node that lost its disk, and
   * with it its votes and acknowledgements. At most 256 bytes of UTF-8.
   */
  readonly storeId: string;
  /** Free text from the application, such as the addresses for its clients; at most 4,096 bytes of UTF-8. */
  readonly info: string;
  /**
   * Where the peer says that it can be reached. Given to `onPeer` and `refusalOf`; absent in
   * `TransportHost.self`, because the transport knows its own address. A node that knows no membership yet
   * needs it to answer the peer.
   */
  readonly address?: string;
  /** How much this node should lead, compared with the others: an integer from 0. Default 0. */
  readonly priority?: number;
}

/**
 * What a node says to another one that wants to create a cluster with it. "consent": it has no objection.
 * "refusal": it has, for a reason for people. "silence": it can't be reached, or didn't answer in time.
 */
export type InquiryAnswer =
  | { readonly type: "consent" }
  | { readonly type: "refusal"; readonly reason: string }
  | { readonly type: "silence" };

/** The node that a transport works for. The transport calls these methods; none of them may throw. */
export interface TransportHost {
  readonly environment: Environment;
  readonly self: PeerInfo;
  /**
   * The id of the node's cluster; null until the node belongs to one. Never changes once it is set. The
   * transport compares it in each handshake, before it reads any message: a term of another cluster must
   * never reach the core.
   */
  clusterId(): string | null;
  /**
   * Why this node objects to the creation of the cluster `clusterId`, by a node that `refusalOf` doesn't
   * refuse: it wants to create another one, or that cluster exists already. null or absent: it doesn't.
   * Called for each inquiry, in a node without a cluster and in a member of that cluster. The peer is told
   * the reason.
   */
  refusalOfCreation?(clusterId: string): string | null;
  /**
   * A member of a cluster reached this node, which has none. Resolves when the node has durably joined that
   * cluster, and rejects if it joined another one meanwhile. The transport delivers nothing from that member
   * before.
   */
  adoptClusterId(clusterId: string): Promise<void>;
  /**
   * Why this node refuses to exchange messages with a peer that named its cluster, such as a removed id, an
   * id that was never a member, or another store id than the one that is known; null or absent: it does not
   * refuse. Called in each handshake on both sides, before `onPeer`. The peer is told the reason, so it must
   * not hold what only members know, such as store ids.
   *
   * `isVouchedFor`: the peer named this node's store id, which it can only have from its log as a member, or
   * from a handshake that succeeded before; or this node itself chose to reach it.
   */
  refusalOf?(peer: PeerInfo, isVouchedFor: boolean): string | null;
  /**
   * The store id of the node `id`, as far as this node knows; null: not known. Absent: none is known. The
   * hello to that node names it: if it is right, this node is vouched for there (`isVouchedFor` above).
   */
  storeIdOf?(id: NodeId): string | null;
  /**
   * A handshake with the peer is complete. Called again after each reconnect, and before any of its messages.
   */
  onPeer(peer: PeerInfo): void;
  /**
   * The node that was reached as `peer` refused this one in the handshake, and gave this reason. It has not
   * shown that it is that peer. Called for each attempt. Absent: nobody needs to know.
   */
  onRefused?(peer: NodeId, reason: string): void;
  /**
   * A message from the peer that `message.from` names. The host owns `records` and the message's payload from
   * now on: the transport neither changes nor reuses their bytes.
   */
  receive(transportMessage: TransportMessage): void;
  /** Writes something that an operator should know into the node's log. */
  log(level: "info" | "warn", text: string, fields?: LogFields): void;
}

/**
 * Carries one-way messages between the nodes of a cluster.
 *
 * **May happen to a message:** it is lost, delayed, delivered more than once, or delivered after a later one.
 * Raft and the runtime's own protocols allow for all of these. They only cost time, so a transport that can
 * avoid them should.
 *
 * **Must not happen:**
 * - A message arrives changed. Whatever is damaged on its way is dropped.
 * - A message arrives at another node than the one it was sent to, at a node of another cluster, or under
 *   another node's name.
 * - A message arrives before `onPeer` was called for its sender, at a node without a cluster, or after
 *   `close`.
 * - Memory grows without limit because a peer is slow, absent or hostile.
 *
 * **Who owns the bytes:** the sender of `records` and payloads goes on sharing them with its log and with the
 * messages to other peers. It must not change them after `send`, because a transport may read them until the
 * operating system has taken them. The receiver gets bytes of its own.
 */
export interface Transport {
  /**
   * Begins to accept messages, and to connect to the peers that `setPeers` named. Rejects if the address is
   * not available, and with `ClosedError` when called a second time or after `close`.
   */
  start(host: TransportHost): Promise<void>;
  /** The address at which other nodes reach this one. Final once `start` has resolved. */
  readonly address: string;
  /**
   * Sets the peers that this node may send to, and replaces those of the last call. Each peer has a list of
   * addresses, likeliest first, and is used at the first one that answers: while a node moves, it may be at
   * its old address or at its new one. Connections to peers or addresses that are no longer named are closed;
   * others stay.
   *
   * Incoming messages don't depend on this call: any node of the cluster may connect. May be called before
   * `start`. This node's own id, and a peer without an address, are ignored.
   */
  setPeers(peers: ReadonlyMap<NodeId, readonly string[]>): void;
  /**
   * Asks a node that may become a peer whether it refuses this one, in a handshake apart from the connections
   * to peers. Resolves within a few seconds: with the reason, for people, or with null if it doesn't refuse,
   * or can't be reached (it may not run yet). Absent: the transport can't ask.
   */
  refusalAt?(id: NodeId, address: string): Promise<string | null>;
  /**
   * Asks a node whether this one may create the cluster `clusterId` with it, on a connection of its own.
   * Resolves within a few seconds. The node that is asked doesn't join anything. Absent: the transport can't
   * ask, and `RaftOptions.members` can't be used with it.
   */
  inquireAt?(id: NodeId, address: string, clusterId: string): Promise<InquiryAnswer>;
  /**
   * Queues a message for a peer, or drops it. Never waits, and doesn't throw because a peer cannot be
   * reached. False: it was certainly dropped, because the peer is unknown, there is no connection, or its
   * queue is full. True promises nothing: the message may still be lost.
   */
  send(to: NodeId, transportMessage: TransportMessage): boolean;
  /**
   * Closes all connections and timers; resolves when none is left. May be called at any time, and repeatedly.
   */
  close(): Promise<void>;
}
