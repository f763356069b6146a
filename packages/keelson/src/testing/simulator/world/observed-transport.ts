/**
 * A node's transport, with an observer that sees each message as it leaves and before and after it arrives.
 */
import type { RuntimeMessage } from "../../../codec/frame-runtime-message.ts";
import type { Message } from "../../../core/message.ts";
import type { NodeId } from "../../../core/position.ts";
import type { Transport, TransportHost, TransportMessage } from "../../../transport/transport.ts";
import type { EventDelivery } from "./event-delivery.ts";
import type { MessageReplayer } from "./message-replayer.ts";

/** What sees the messages. */
export interface TransportObserver {
  /** The node is sending this, to the core or the runtime of another node. */
  sending(to: NodeId, transportMessage: TransportMessage): void;
  /** The transport refused to send this, and tells the node so. */
  notSent(message: Message | RuntimeMessage): void;
  /** The node is about to be given this, for its core or its runtime. */
  receiving(message: Message | RuntimeMessage): void;
  /** The node has been given it. */
  received(message: Message | RuntimeMessage): void;
}

/** Sends what the node sends, and delivers what arrives through the process's `EventDelivery`. */
export class ObservedTransport implements Transport {
  readonly #inner: Transport;
  readonly #delivery: EventDelivery;
  readonly #observer: TransportObserver;
  readonly #replayer: MessageReplayer | null;

  /** `replayer`: what delivers late copies; null: nothing does. */
  constructor(
    inner: Transport,
    delivery: EventDelivery,
    observer: TransportObserver,
    replayer: MessageReplayer | null,
  ) {
    this.#inner = inner;
    this.#delivery = delivery;
    this.#observer = observer;
    this.#replayer = replayer;
  }

  get address(): string {
    return this.#inner.address;
  }

  start(host: TransportHost): Promise<void> {
    if (this.#delivery.isDead()) return new Promise<never>(() => undefined);
    const observed: TransportHost = {
      environment: host.environment,
      self: host.self,
      clusterId: () => host.clusterId(),
      adoptClusterId: (clusterId) => host.adoptClusterId(clusterId),
      refusalOf: (peer, isVouchedFor) => host.refusalOf?.(peer, isVouchedFor) ?? null,
      storeIdOf: (id) => host.storeIdOf?.(id) ?? null,
      onPeer: (peer) => {
        host.onPeer(peer);
      },
      onRefused: (peer, reason) => {
        host.onRefused?.(peer, reason);
      },
      receive: (transportMessage) => {
        this.#delivery.deliver(() => {
          const copies = this.#replayer?.dueBefore(transportMessage) ?? [];
          for (const copy of copies) this.#pass(host, copy);
          this.#pass(host, transportMessage);
        });
      },
      log: (level, text, fields) => {
        host.log(level, text, fields);
      },
    };
    return this.#inner.start(observed);
  }

  #pass(host: TransportHost, transportMessage: TransportMessage): void {
    const { message } = transportMessage;
    this.#observer.receiving(message);
    host.receive(transportMessage);
    this.#observer.received(message);
  }

  setPeers(peers: ReadonlyMap<NodeId, readonly string[]>): void {
    this.#inner.setPeers(peers);
  }

  send(to: NodeId, transportMessage: TransportMessage): boolean {
    if (this.#delivery.isDead()) return false;
    this.#observer.sending(to, transportMessage);
    const isSent = this.#inner.send(to, transportMessage);
    if (!isSent) this.#observer.notSent(transportMessage.message);
    return isSent;
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}
