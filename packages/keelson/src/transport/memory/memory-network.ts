import { FrameReader } from "../../codec/frame-reader.ts";
import { encodeMessage } from "../../codec/frame.ts";
import { assert } from "../../core/assert.ts";
import type { NodeId } from "../../core/position.ts";
import { ClosedError } from "../../errors.ts";
import { ClusterAdoption, helloOf, refusalOf } from "../handshake.ts";
import type { TransportMessage, Transport, TransportHost } from "../transport.ts";

/** Bytes under way from one node to another; more are dropped. */
const QUEUE_BYTES_MAX = 32 * 1024 * 1024;

/**
 * What becomes of a message: the delays after which it arrives, in milliseconds. `[]` loses it, `[0]`
 * is a healthy link, `[0, 50]` delivers it twice, and differing delays change the order.
 */
export type DeliveryDelays = (
  from: NodeId,
  to: NodeId,
  transportMessage: TransportMessage,
) => readonly number[];

const HEALTHY = [0] as const;

/** A network inside one process, for tests and examples: nodes reach each other by any names as addresses. */
export class MemoryNetwork {
  /** Decides over each message; set it to make trouble. */
  deliveryDelaysMs: DeliveryDelays = () => HEALTHY;
  readonly #transports = new Map<string, MemoryTransport>();
  readonly #cuts = new Set<string>();

  /** Nothing passes between two nodes, in either direction, until `heal`. What is under way is lost. */
  cut(a: NodeId, b: NodeId): void {
    this.#cuts.add(`${a}\n${b}`);
    this.#cuts.add(`${b}\n${a}`);
  }

  /** Undoes `cut`; without arguments, every cut. */
  heal(a?: NodeId, b?: NodeId): void {
    if (a === undefined || b === undefined) {
      this.#cuts.clear();
      return;
    }
    this.#cuts.delete(`${a}\n${b}`);
    this.#cuts.delete(`${b}\n${a}`);
  }

  isCut(from: NodeId, to: NodeId): boolean {
    return this.#cuts.has(`${from}\n${to}`);
  }

  /** For `MemoryTransport`. */
  register(address: string, transport: MemoryTransport): void {
    if (this.#transports.has(address))
      throw new Error(`listen EADDRINUSE: address already in use ${address}`);
    this.#transports.set(address, transport);
  }

  unregister(address: string, transport: MemoryTransport): void {
    if (this.#transports.get(address) === transport) this.#transports.delete(address);
  }

  transportAt(address: string): MemoryTransport | undefined {
    return this.#transports.get(address);
  }
}

/** A network within this process, for `memoryTransport`. */
export function memoryNetwork(): MemoryNetwork {
  return new MemoryNetwork();
}

/**
 * A transport on a network in memory. Parcels go through the same frames as on a wire, so the
 * receiver gets bytes of its own.
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
  #host: TransportHost | null = null;
  #adoption: ClusterAdoption | null = null;
  #closed = false;
  readonly #links = new Map<NodeId, MemoryLink>();
  #peers: ReadonlyMap<NodeId, readonly string[]> = new Map();

  constructor(network: MemoryNetwork, address: string) {
    this.#network = network;
    this.address = address;
  }

  /** The node behind it; null before `start` and after `close`. */
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

  /** Joins the cluster of a member that knocks. */
  async adoptCluster(clusterId: string): Promise<void> {
    await this.#adoption?.adopt(clusterId);
    for (const link of this.#links.values()) link.connect();
  }
}

/** The way from one transport to one peer. */
class MemoryLink {
  /** Where the peer may be, the likeliest place first. */
  addresses: readonly string[];
  readonly #network: MemoryNetwork;
  readonly #from: MemoryTransport;
  readonly #host: TransportHost;
  readonly #to: NodeId;
  /** Whom we met at the address: another one there, after a restart, is met anew. */
  #target: MemoryTransport | null = null;
  #adopting = false;
  #closed = false;
  #bytesInTransit = 0;
  #lastLoggedRefusal = "";
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

  /** A meeting at a place that is not named any more counts for nothing. */
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
    if (this.#bytesInTransit > 0 && this.#bytesInTransit + frame.bytes > QUEUE_BYTES_MAX) return false;
    for (const delayMs of this.#network.deliveryDelaysMs(this.#host.self.id, this.#to, transportMessage)) {
      // Now, because the sender may go on to use its bytes.
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

  /** Shows each side who the other is, as connections do; nothing is delivered before. */
  connect(): void {
    if (this.#closed || this.#isCut()) return;
    for (const address of this.addresses) {
      const target = this.#network.transportAt(address);
      if (this.#adopting || this.#isConnected()) return;
      if (target !== undefined) this.#connectTo(target);
    }
  }

  #connectTo(target: MemoryTransport): void {
    const clusterId = this.#host.clusterId();
    const { address, host } = target;
    if (clusterId === null || host === null) return;
    const hello = helloOf(this.#host, clusterId, this.#from.address, this.#to);
    const answer = { ...host.self, address };
    const refusal = refusalOf(hello, host) ?? this.#host.refusalOf?.(answer) ?? null;
    if (refusal !== null) {
      this.#logRefusal(refusal, address);
      return;
    }
    if (host.clusterId() !== null) {
      this.#completeHandshake(target, host);
      return;
    }
    this.#adopting = true;
    target.adoptCluster(clusterId).then(
      () => {
        this.#adopting = false;
        this.connect();
      },
      (error: unknown) => {
        this.#adopting = false;
        this.#logRefusal(error instanceof Error ? error.message : String(error), address);
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
    return this.#target !== null && this.#network.transportAt(this.#target.address) === this.#target;
  }

  #isCut(): boolean {
    return this.#network.isCut(this.#host.self.id, this.#to);
  }

  #deliver(bytes: Uint8Array): void {
    const host = this.#target?.host;
    // Who was met then is not there any more, or cannot be reached: the message is lost.
    if (this.#closed || this.#isCut() || host === undefined || host === null) return;
    const reader = new FrameReader();
    reader.feed(bytes);
    const frame = reader.next();
    if (frame?.type === "message") host.receive({ message: frame.message, records: frame.records });
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
