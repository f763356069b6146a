/** One simulated process's view of the network: connections and data reach it only while it lives. */
import type { Connection, ConnectionHandler, Listener, Network } from "../../../environment/environment.ts";
import type { EventDelivery } from "./event-delivery.ts";

/**
 * Overwrites lent bytes after the call that lent them, so that code that kept a view of them reads garbage
 * (Z11).
 */
const AFTER_LENDING = 0xdb;

/** Wraps the network for a process that is about to start. */
export function processNetwork(inner: Network, delivery: EventDelivery): Network {
  return {
    listen: async (address, accept): Promise<Listener> => {
      // A call that a dead process had under way must not take the address from the next process.
      if (delivery.isDead()) return new Promise<never>(() => undefined);
      return await inner.listen(address, (connection) => {
        const wrapped = new ProcessConnection(connection, delivery);
        delivery.deliver(() => {
          accept(wrapped);
        });
      });
    },
    connect: (address) => new ProcessConnection(inner.connect(address), delivery),
  };
}

class ProcessConnection implements Connection {
  handler: ConnectionHandler | null = null;
  readonly #inner: Connection;

  constructor(inner: Connection, delivery: EventDelivery) {
    this.#inner = inner;
    inner.handler = {
      onOpen: () => {
        delivery.deliver(() => this.handler?.onOpen?.());
      },
      onData: (bytes) => {
        // The bytes are lent for this call only, and a paused process gets them later.
        const copy = bytes.slice();
        delivery.deliver(() => {
          this.handler?.onData(copy);
          copy.fill(AFTER_LENDING);
        });
      },
      onDrain: () => {
        delivery.deliver(() => this.handler?.onDrain?.());
      },
      onClose: (reason) => {
        delivery.deliver(() => this.handler?.onClose(reason));
      },
    };
  }

  get peer(): string {
    return this.#inner.peer;
  }

  get bufferedBytes(): number {
    return this.#inner.bufferedBytes;
  }

  write(bytes: Uint8Array): void {
    this.#inner.write(bytes);
  }

  pause(): void {
    this.#inner.pause();
  }

  resume(): void {
    this.#inner.resume();
  }

  destroy(reason?: string): void {
    this.#inner.destroy(reason);
  }
}
