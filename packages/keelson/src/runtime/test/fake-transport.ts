// A network and transports for tests of the runtime. Skips frames and connections;
// keeps handshakes and their refusals.

import type { NodeId } from "../../core/position.ts";
import type { SimulatedClock } from "../../environment/simulated/simulated-clock.ts";
import { inquiryOf, refusalOfInquiry } from "../../transport/handshake.ts";
import type { InquiryAnswer, TransportMessage, Transport, TransportHost } from "../../transport/transport.ts";

/** Carries messages between the fake transports of one test, with delays by its clock. */
export class FakeNet {
  readonly #clock: SimulatedClock;
  readonly #random: () => number;
  readonly #listening = new Map<string, FakeTransport>();
  /** Directions that are cut: "a>b" means that no message from a reaches b. */
  readonly #cut = new Set<string>();
  delayMs = { min: 0.5, max: 1 };
  /** The share of messages that are lost, from 0 to 1. */
  lossRate = 0;
  /** The share of messages that are sent twice, from 0 to 1. */
  duplicateRate = 0;

  constructor(clock: SimulatedClock, random: () => number) {
    this.#clock = clock;
    this.#random = random;
  }

  transport(address: string): FakeTransport {
    return new FakeTransport(this, address);
  }

  listen(transport: FakeTransport): void {
    this.#listening.set(transport.address, transport);
  }

  leave(transport: FakeTransport): void {
    if (this.#listening.get(transport.address) === transport) this.#listening.delete(transport.address);
  }

  hostAt(address: string): TransportHost | null {
    return this.#listening.get(address)?.host ?? null;
  }

  isCut(from: NodeId, to: NodeId): boolean {
    return this.#cut.has(`${from}>${to}`) || this.#cut.has(`${to}>${from}`);
  }

  isListening(address: string): boolean {
    return this.#listening.has(address);
  }

  /** Cuts a node off from these others, in both directions. */
  isolate(id: NodeId, others: readonly NodeId[]): void {
    for (const other of others) {
      this.#cut.add(`${id}>${other}`);
      this.#cut.add(`${other}>${id}`);
    }
  }

  cut(from: NodeId, to: NodeId): void {
    this.#cut.add(`${from}>${to}`);
  }

  heal(): void {
    this.#cut.clear();
  }

  deliver(
    from: TransportHost,
    fromAddress: string,
    to: NodeId,
    address: string,
    transportMessage: TransportMessage,
  ): void {
    const copies = this.#random() < this.duplicateRate ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      if (this.#random() < this.lossRate) continue;
      const delay = this.delayMs.min + this.#random() * (this.delayMs.max - this.delayMs.min);
      this.#clock.setTimer(delay, () => {
        if (this.#cut.has(`${from.self.id}>${to}`)) return;
        void this.#listening.get(address)?.receive(from, fromAddress, transportMessage);
      });
    }
  }
}

export class FakeTransport implements Transport {
  readonly address: string;
  peers: ReadonlyMap<NodeId, readonly string[]> = new Map();
  isClosed = false;
  /** While true, `close` never resolves. */
  closeHangs = false;
  /**
   * If set, is given each message before it leaves; returning false drops the message, and its sender knows.
   */
  filter: ((to: NodeId, transportMessage: TransportMessage) => boolean) | null = null;
  /** If set, is given each message when it has left; returning true loses it, and its sender doesn't know. */
  loses: ((to: NodeId, transportMessage: TransportMessage) => boolean) | null = null;
  readonly #net: FakeNet;
  #host: TransportHost | null = null;
  /** The nodes that the host was told about (`onPeer`): the store id and address of each. */
  readonly #announced = new Set<string>();

  constructor(net: FakeNet, address: string) {
    this.#net = net;
    this.address = address;
  }

  start(host: TransportHost): Promise<void> {
    this.#host = host;
    this.#net.listen(this);
    return Promise.resolve();
  }

  setPeers(peers: ReadonlyMap<NodeId, readonly string[]>): void {
    this.peers = peers;
  }

  async inquireAt(id: NodeId, address: string, clusterId: string): Promise<InquiryAnswer> {
    await Promise.resolve();
    const from = this.#host;
    const asked = this.#net.hostAt(address);
    if (from === null || asked === null || this.#net.isCut(from.self.id, id)) return { type: "silence" };
    const refusal = refusalOfInquiry(inquiryOf(from, clusterId, this.address, id), asked);
    return refusal === null ? { type: "consent" } : { type: "refusal", reason: refusal.told };
  }

  /** The node that uses this transport; null before `start` and after `close`. */
  get host(): TransportHost | null {
    return this.isClosed ? null : this.#host;
  }

  send(to: NodeId, transportMessage: TransportMessage): boolean {
    const address = this.peers.get(to)?.find((one) => this.#net.isListening(one));
    if (address === undefined || this.#host === null || this.isClosed) return false;
    if (this.filter?.(to, transportMessage) === false) return false;
    if (this.loses?.(to, transportMessage) === true) return true;
    this.#net.deliver(this.#host, this.address, to, address, transportMessage);
    return true;
  }

  close(): Promise<void> {
    this.isClosed = true;
    this.#net.leave(this);
    return this.closeHangs ? new Promise(() => undefined) : Promise.resolve();
  }

  async receive(from: TransportHost, address: string, transportMessage: TransportMessage): Promise<void> {
    const host = this.#host;
    const clusterId = from.clusterId();
    if (host === null || this.isClosed || clusterId === null) return;
    if (host.clusterId() === null) await host.adoptClusterId(clusterId).catch(() => undefined);
    if (host.clusterId() !== clusterId) return;
    // As in a real handshake, either end may refuse the other.
    const isVouchedFor = from.storeIdOf?.(host.self.id) === host.self.storeId;
    const refusal = host.refusalOf?.({ ...from.self, address }, isVouchedFor) ?? null;
    if (refusal !== null) from.onRefused?.(host.self.id, refusal);
    if (refusal !== null || (from.refusalOf?.(host.self, true) ?? null) !== null) return;
    const caller = `${from.self.storeId} at ${address}`;
    if (!this.#announced.has(caller)) {
      this.#announced.add(caller);
      host.onPeer({ ...from.self, address });
    }
    host.receive(transportMessage);
  }
}
