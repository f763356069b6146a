// A network within one process, and the transport on it: for tests, examples and the simulator. Messages pass
// through the same handshake rules and the same frames as over TCP; connections, queues and time are
// simplified.
import { FrameReader } from "../../codec/frame-reader.ts";
import { encodeMessage, type Frame } from "../../codec/frame.ts";
import { assert } from "../../core/assert.ts";
import type { NodeId } from "../../core/position.ts";
import { ClosedError, DecodeError, textOfThrown } from "../../errors.ts";
import {
  ClusterAdoption,
  explainRefusal,
  helloOf,
  inquiryOf,
  refusalOf,
  refusalOfInquiry,
  STRANGER_REASON,
} from "../handshake.ts";
import type { InquiryAnswer, TransportMessage, Transport, TransportHost } from "../transport.ts";

/**
 * How a message travels: the delay of each of its deliveries, in milliseconds. `[0]` delivers it at the end
 * of this turn, `[]` loses it, `[0, 50]` delivers it twice; messages with different delays overtake each
 * other.
 */
export type DeliveryDelays = (
  from: NodeId,
  to: NodeId,
  transportMessage: TransportMessage,
) => readonly number[];

const HEALTHY = [0] as const;

/** The network that some transports share. Addresses are any strings that differ from each other. */
export class MemoryNetwork {
  /**
   * Called for each message that is sent. Set it to lose, delay, duplicate or reorder messages. Default:
   * `[0]`.
   */
  deliveryDelaysMs: DeliveryDelays = () => HEALTHY;
  /** The transports that are started and not closed, by address. */
  readonly #transports = new Map<string, MemoryTransport>();
  /** The directions that are cut, as "from\nto". */
  readonly #cuts = new Set<string>();

  /**
   * Cuts the link between two nodes in both directions until `heal`. Messages that are sent or would arrive
   * meanwhile are lost.
   */
  cut(a: NodeId, b: NodeId): void {
    this.#cuts.add(`${a}\n${b}`);
    this.#cuts.add(`${b}\n${a}`);
  }

  /** Undoes `cut` for two nodes; without arguments, undoes all cuts. */
  heal(a?: NodeId, b?: NodeId): void {
    if (a === undefined || b === undefined) {
      this.#cuts.clear();
      return;
    }
    this.#cuts.delete(`${a}\n${b}`);
    this.#cuts.delete(`${b}\n${a}`);
  }

  /** Whether messages from one node to the other are lost at the moment. */
  isCut(from: NodeId, to: NodeId): boolean {
    return this.#cuts.has(`${from}\n${to}`);
  }

  /** Makes a transport reachable. Called by `MemoryTransport`; throws if another one has the address. */
  register(address: string, transport: MemoryTransport): void {
    if (this.#transports.has(address))
      throw new Error(`listen EADDRINUSE: address already in use ${address}`);
    this.#transports.set(address, transport);
  }

  /** Undoes `register`. Does nothing if another transport has the address by now. */
  unregister(address: string, transport: MemoryTransport): void {
    if (this.#transports.get(address) === transport) this.#transports.delete(address);
  }

  /** The transport that is reachable at this address. */
  transportAt(address: string): MemoryTransport | undefined {
    return this.#transports.get(address);
  }
}

/** Creates a network within this process, for `memoryTransport`. */
export function memoryNetwork(): MemoryNetwork {
  return new MemoryNetwork();
}

/**
 * A transport for one node on a network in memory. It encodes and decodes messages as a transport over a wire
 * does, so the receiver gets bytes of its own.
 *
 * @example
 * const network = memoryNetwork();
 * const transport = memoryTransport(network, "a");
 */
export function memoryTransport(network: MemoryNetwork, address: string): Transport {
  return new MemoryTransport(network, address);
}

class MemoryTransport implements Transport {
  readonly address: string;
  readonly #network: MemoryNetwork;
  /** Set by `start`, together with `#adoption`. */
  #host: TransportHost | null = null;
  #adoption: ClusterAdoption | null = null;
  /** Set by `close`, never reset. */
  #closed = false;
  /** One per peer that `setPeers` named with an address, this node excepted. */
  readonly #links = new Map<NodeId, MemoryLink>();
  /** What `setPeers` was last given. */
  #peers: ReadonlyMap<NodeId, readonly string[]> = new Map();

  constructor(network: MemoryNetwork, address: string) {
    this.#network = network;
    this.address = address;
  }

  /** The node that uses this transport; null before `start` and after `close`. */
  get host(): TransportHost | null {
    return this.#closed ? null : this.#host;
  }

  start(host: TransportHost): Promise<void> {
    if (this.#closed || this.#host !== null) return Promise.reject(new ClosedError());
    try {
      this.#network.register(this.address, this);
    } catch (error) {
      return Promise.reject(error instanceof Error ? error : new Error(String(error)));
    }
    this.#host = host;
    this.#adoption = new ClusterAdoption(host);
    this.setPeers(this.#peers);
    return Promise.resolve();
  }

  setPeers(peers: ReadonlyMap<NodeId, readonly string[]>): void {
    this.#peers = new Map(peers);
    const host = this.host;
    if (host === null) return;
    for (const [id, link] of this.#links) {
      const addresses = peers.get(id) ?? [];
      if (link.isAtOneOf(addresses)) {
        link.addresses = addresses;
        continue;
      }
      link.close();
      this.#links.delete(id);
    }
    for (const [id, addresses] of peers) {
      if (id === host.self.id || this.#links.has(id) || addresses.length === 0) continue;
      const link = new MemoryLink(this.#network, this, host, id, addresses);
      this.#links.set(id, link);
      host.environment.defer(() => {
        link.connect();
      });
    }
  }

  inquireAt(id: NodeId, address: string, clusterId: string): Promise<InquiryAnswer> {
    const { host } = this;
    const asked = this.#network.transportAt(address)?.host ?? null;
    if (host === null || asked === null || this.#network.isCut(host.self.id, id)) {
      return Promise.resolve({ type: "silence" });
    }
    const refusal = refusalOfInquiry(inquiryOf(host, clusterId, this.address, id), asked);
    if (refusal === null) return Promise.resolve({ type: "consent" });
    if (refusal.told !== refusal.logged) {
      asked.log("warn", `refused ${this.address} (${host.self.id}): ${refusal.logged}`, {
        from: host.self.id,
      });
    }
    return Promise.resolve({ type: "refusal", reason: explainRefusal(refusal.told, id) });
  }

  send(to: NodeId, transportMessage: TransportMessage): boolean {
    return this.#links.get(to)?.send(transportMessage) ?? false;
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#network.unregister(this.address, this);
    for (const link of this.#links.values()) link.close();
    this.#links.clear();
    return Promise.resolve();
  }

  /** Joins this node, which has no cluster, to that of a member that wants to reach it. */
  async adoptCluster(clusterId: string): Promise<void> {
    await this.#adoption?.adopt(clusterId);
    for (const link of this.#links.values()) link.connect();
  }
}

/**
 * What an outgoing connection is over TCP: the handshake with one peer, and the messages on their way to it.
 */
class MemoryLink {
  /** Where the peer may be, likeliest first. Never empty. Set by `MemoryTransport.setPeers`. */
  addresses: readonly string[];
  readonly #network: MemoryNetwork;
  readonly #from: MemoryTransport;
  readonly #host: TransportHost;
  readonly #to: NodeId;
  /**
   * The transport with which the handshake was completed; null: none yet. After the peer's restart there is
   * another transport at its address, so the handshake is repeated.
   */
  #target: MemoryTransport | null = null;
  /** The peer's transport while the peer joins this node's cluster; null: it doesn't. */
  #adopting: MemoryTransport | null = null;
  /** Set by `close`, never reset. */
  #closed = false;
  /** Bytes sent that have not arrived; at most `IN_TRANSIT_BYTES_MAX`, or one message. */
  #bytesInTransit = 0;
  /** The latest refusal that was logged since the last successful handshake; empty: none. */
  #lastLoggedRefusal = "";
  /** The latest refusal that the other end logged; empty: none. */
  #lastLoggedByPeer = "";
  /** The timers of the deliveries to come. */
  readonly #timers = new Set<{ cancel(): void }>();

  constructor(
    network: MemoryNetwork,
    from: MemoryTransport,
    host: TransportHost,
    to: NodeId,
    addresses: readonly string[],
  ) {
    this.#network = network;
    this.#from = from;
    this.#host = host;
    this.#to = to;
    this.addresses = addresses;
  }

  /** Whether the handshake was completed at one of these addresses, or can still be. */
  isAtOneOf(addresses: readonly string[]): boolean {
    return this.#target === null ? addresses.length > 0 : addresses.includes(this.#target.address);
  }

  send(transportMessage: TransportMessage): boolean {
    if (!this.#isConnected()) {
      this.connect();
      if (!this.#isConnected()) return false;
    }
    assert(transportMessage.message.from === this.#host.self.id, "a node sends in its own name");
    const frame = encodeMessage(transportMessage.message, transportMessage.records);
    if (this.#bytesInTransit > 0 && this.#bytesInTransit + frame.bytes > IN_TRANSIT_BYTES_MAX) return false;
    for (const delayMs of this.#network.deliveryDelaysMs(this.#host.self.id, this.#to, transportMessage)) {
      // Copied now: the receiver must get bytes of its own, and they must be those of this moment.
      const bytes = joined(frame.chunks, frame.bytes);
      this.#bytesInTransit += bytes.length;
      this.#after(delayMs, () => {
        this.#bytesInTransit -= bytes.length;
        this.#deliver(bytes);
      });
    }
    return true;
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
  }

  /**
   * Completes the handshake with the peer, at the first of its addresses where that succeeds; does nothing if
   * it is complete. No message is delivered before.
   */
  connect(): void {
    if (this.#closed || this.#isCut()) return;
    for (const address of this.addresses) {
      const target = this.#network.transportAt(address);
      if (this.#isInUse(this.#adopting) || this.#isConnected()) return;
      if (target !== undefined) this.#connectTo(target);
    }
  }

  #connectTo(target: MemoryTransport): void {
    const clusterId = this.#host.clusterId();
    const { address, host } = target;
    if (clusterId === null || host === null) return;
    const hello = helloOf(this.#host, clusterId, this.#from.address, this.#to);
    const answer = { ...host.self, address };
    const refused = refusalOf(hello, host);
    if (refused !== null) {
      this.#refused(host, refused.logged, refused.told, address);
      return;
    }
    const refusal = this.#host.refusalOf?.(answer, true) ?? null;
    if (refusal !== null) {
      this.#logRefusal(refusal, address);
      return;
    }
    if (host.clusterId() !== null) {
      this.#completeHandshake(target, host);
      return;
    }
    this.#adopting = target;
    const ended = (): void => {
      if (this.#adopting === target) this.#adopting = null;
    };
    target.adoptCluster(clusterId).then(
      () => {
        ended();
        this.connect();
      },
      (error: unknown) => {
        ended();
        this.#refused(host, textOfThrown(error), STRANGER_REASON, address);
      },
    );
  }

  #completeHandshake(target: MemoryTransport, host: TransportHost): void {
    this.#target = target;
    this.#lastLoggedRefusal = "";
    host.onPeer({ ...this.#host.self, address: this.#from.address });
    this.#host.onPeer({ ...host.self, address: target.address });
  }

  #isConnected(): boolean {
    return this.#isInUse(this.#target);
  }

  /** Whether the peer that has this transport still runs. A peer that died while it joined never answers. */
  #isInUse(transport: MemoryTransport | null): boolean {
    return transport !== null && this.#network.transportAt(transport.address) === transport;
  }

  #isCut(): boolean {
    return this.#network.isCut(this.#host.self.id, this.#to);
  }

  #deliver(bytes: Uint8Array): void {
    const host = this.#target?.host;
    // The peer's transport is closed, or the link is cut: the message is lost.
    if (this.#closed || this.#isCut() || host === undefined || host === null) return;
    const reader = new FrameReader();
    let frame: Frame | null;
    try {
      reader.feed(bytes);
      frame = reader.next();
    } catch (error) {
      // Over TCP, a message that can't be decoded ends the connection.
      if (!(error instanceof DecodeError)) throw error;
      host.log("warn", `dropped a message of ${this.#host.self.id}: ${error.message}`);
      return;
    }
    if (frame?.type === "message") host.receive({ message: frame.message, records: frame.records });
  }

  /** The other end refuses this one: both logs say so, each what its node may know. */
  #refused(host: TransportHost, logged: string, told: string, address: string): void {
    const { id } = this.#host.self;
    if (logged !== this.#lastLoggedByPeer) {
      host.log("warn", `refused ${this.#from.address} (${id}): ${logged}`, { from: id });
    }
    this.#lastLoggedByPeer = logged;
    this.#logRefusal(told, address);
    this.#host.onRefused?.(this.#to, told);
  }

  #after(delayMs: number, callback: () => void): void {
    const { environment } = this.#host;
    if (delayMs <= 0) {
      environment.defer(callback);
      return;
    }
    const timer = environment.setTimer(delayMs, () => {
      this.#timers.delete(timer);
      callback();
    });
    this.#timers.add(timer);
  }

  #logRefusal(reason: string, address: string): void {
    if (reason === this.#lastLoggedRefusal) return;
    this.#lastLoggedRefusal = reason;
    this.#host.log("warn", `no connection to ${this.#to} at ${address}: ${reason}`, {
      peer: this.#to,
      reason,
    });
  }
}

function joined(chunks: readonly Uint8Array[], bytes: number): Uint8Array {
  const whole = new Uint8Array(bytes);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

/**
 * The most bytes that may be on their way from one node to another. A message is always taken when there are
 * none.
 */
const IN_TRANSIT_BYTES_MAX = 32 * 1024 * 1024;
