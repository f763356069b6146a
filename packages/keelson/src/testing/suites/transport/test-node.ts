// Nodes for the cases of the transport suite: a transport, and a host that records what the transport tells
// it.
import { encodeRecord, EntryKind } from "../../../codec/record.ts";
import type { AppendEntries, Message } from "../../../core/message.ts";
import type { NodeId } from "../../../core/position.ts";
import type { Environment } from "../../../environment/environment.ts";
import type { PeerInfo, Transport, TransportHost, TransportMessage } from "../../../transport/transport.ts";
import type { TransportRig } from "./transport-rig.ts";

/** A transport's host that records every call of the transport. */
export class TestHost implements TransportHost {
  readonly environment: Environment;
  readonly self: PeerInfo;
  readonly received: TransportMessage[] = [];
  readonly peers: PeerInfo[] = [];
  readonly logs: string[] = [];
  /**
   * What the transport told this host, in order: that it met a peer, received a message or joined a cluster.
   */
  readonly events: string[] = [];
  cluster: string | null;
  /** What `adoptClusterId` waits for before the node has joined a cluster. If it rejects, joining fails. */
  adoption: Promise<void> = Promise.resolve();
  adoptions = 0;

  constructor(id: NodeId, environment: Environment, cluster: string | null = "c1", storeId = `store-${id}`) {
    this.environment = environment;
    this.cluster = cluster;
    this.self = { id, storeId, info: `info of ${id}: é`, priority: 7 };
  }

  clusterId(): string | null {
    return this.cluster;
  }

  async adoptClusterId(clusterId: string): Promise<void> {
    this.adoptions++;
    await this.adoption;
    this.events.push("adopted");
    this.cluster = clusterId;
  }

  /** The peer that this host refuses. */
  unwelcome: NodeId | null = null;

  refusalOf({ id }: PeerInfo, _isVouchedFor: boolean): string | null {
    return id === this.unwelcome ? `${id} is not welcome` : null;
  }

  /** What this host objects to the creation of a cluster; null: nothing. */
  objection: string | null = null;

  refusalOfCreation(_clusterId: string): string | null {
    return this.objection;
  }

  onPeer(peer: PeerInfo): void {
    this.events.push(`met ${peer.id}`);
    this.peers.push(peer);
  }

  /** The refusals that this host was told of, each as "peer: reason". */
  readonly refusals: string[] = [];

  onRefused(peer: NodeId, reason: string): void {
    this.refusals.push(`${peer}: ${reason}`);
  }

  receive(transportMessage: TransportMessage): void {
    this.events.push(`received from ${transportMessage.message.from}`);
    this.received.push(transportMessage);
  }

  log(level: "info" | "warn", text: string): void {
    this.logs.push(`${level}: ${text}`);
  }
}

/** A transport with its host. */
export class TestNode {
  readonly host: TestHost;
  readonly transport: Transport;

  constructor(host: TestHost, transport: Transport) {
    this.host = host;
    this.transport = transport;
  }

  static async start(
    rig: TransportRig,
    id: NodeId,
    cluster: string | null = "c1",
    storeId?: string,
  ): Promise<TestNode> {
    const host = new TestHost(id, rig.environment(id), cluster, storeId);
    const node = new TestNode(host, rig.transport(id));
    await node.transport.start(host);
    return node;
  }

  get id(): NodeId {
    return this.host.self.id;
  }

  knows(...peers: TestNode[]): void {
    this.transport.setPeers(new Map(peers.map((peer) => [peer.id, [peer.transport.address]])));
  }

  send(
    to: TestNode | NodeId,
    message: Message = vote(this.id),
    records: readonly Uint8Array[] = [],
  ): boolean {
    return this.transport.send(typeof to === "string" ? to : to.id, { message, records });
  }

  /** Sends messages until one arrives, then clears what was received. */
  async reaches(rig: TransportRig, to: TestNode): Promise<void> {
    await rig.until(() => this.send(to), `a way from ${this.id} to ${to.id}`);
    await rig.until(() => to.host.received.length > 0, `the first message from ${this.id} to ${to.id}`);
    await rig.quiet();
    to.host.received.length = 0;
  }
}

/** A small message; `term` distinguishes several. */
export function vote(from: NodeId, term = 1): Message {
  return { type: "request-vote-reply", from, term, granted: false };
}

/** An AppendEntries message with one entry for each payload. */
export function append(
  from: NodeId,
  payloads: readonly Uint8Array[],
): { message: AppendEntries; records: Uint8Array[] } {
  const records = payloads.map((payload, at) => encodeRecord(at + 1, 1, EntryKind.command, payload));
  const entries = {
    prev: { term: 0, index: 0 },
    lastIndex: records.length,
    terms: records.length === 0 ? [] : [{ index: 1, term: 1 }],
    configs: [],
  };
  return { message: { type: "append-entries", from, term: 1, entries, commit: 0, round: 0 }, records };
}

export async function pair(rig: TransportRig): Promise<[TestNode, TestNode]> {
  const a = await TestNode.start(rig, "a");
  const b = await TestNode.start(rig, "b");
  a.knows(b);
  b.knows(a);
  await a.reaches(rig, b);
  await b.reaches(rig, a);
  return [a, b];
}

export async function closeAll(rig: TransportRig, ...nodes: TestNode[]): Promise<void> {
  let open = nodes.length;
  for (const node of nodes) void node.transport.close().then(() => open--);
  await rig.until(() => open === 0, "the end of every node");
  rig.assertNothingLeft();
}

export async function closeOne(rig: TransportRig, node: TestNode): Promise<void> {
  let closed = false;
  void node.transport.close().then(() => (closed = true));
  await rig.until(() => closed, `the end of ${node.id}`);
}

export function hasLog(node: TestNode, text: string): boolean {
  return node.host.logs.some((line) => line.includes(text));
}
