import net from "node:net";
import { formatAddress, parseAddress } from "../address.ts";
import type { Connection, ConnectionHandler, Listener, Network } from "../environment.ts";

/** TCP by `node:net`. */
export function nodeNetwork(): Network {
  return { listen, connect };
}

function connect(address: string): Connection {
  return new NodeConnection(connectSocket(address), address);
}

function connectSocket(address: string): net.Socket {
  try {
    const { host, port } = parseAddress(address);
    return net.connect({ host, port, noDelay: true });
  } catch (error) {
    // An address that cannot be is a peer that cannot be reached: the caller hears of it as `onClose`.
    return new net.Socket().destroy(error instanceof Error ? error : new Error(String(error)));
  }
}

async function listen(address: string, accept: (connection: Connection) => void): Promise<Listener> {
  const { host, port } = parseAddress(address, "listen");
  const server = net.createServer({ noDelay: true }, (socket) => {
    accept(new NodeConnection(socket, remoteAddress(socket)));
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port }, () => {
      server.off("error", reject);
      resolve();
    });
  });
  // EMFILE and its like arrive here: one connection is not accepted, the next may be.
  server.on("error", () => undefined);
  const bound = server.address();
  if (bound === null || typeof bound === "string") throw new Error("a TCP server has a port");
  return new NodeListener(server, formatAddress({ host, port: bound.port }));
}

function remoteAddress(socket: net.Socket): string {
  const { remoteAddress: host, remotePort: port } = socket;
  // Both are gone when the peer left before it was accepted.
  return host === undefined || port === undefined ? "unknown" : formatAddress({ host, port });
}

class NodeListener implements Listener {
  readonly address: string;
  readonly #server: net.Server;
  #closed: Promise<void> | undefined;

  constructor(server: net.Server, address: string) {
    this.#server = server;
    this.address = address;
  }

  close(): Promise<void> {
    // Server.close calls back only when the accepted connections are gone as well, and those are
    // their owner's to close. That nothing more is accepted is true as soon as it returns.
    this.#closed ??= new Promise((resolve) => {
      this.#server.close();
      resolve();
    });
    return this.#closed;
  }
}

class NodeConnection implements Connection {
  handler: ConnectionHandler | null = null;
  readonly peer: string;
  readonly #socket: net.Socket;
  #closeReason: string | undefined;
  #corked = false;
  readonly #onWritten = (): void => {
    if (this.#socket.writableLength === 0 && !this.#socket.destroyed) this.handler?.onDrain?.();
  };
  readonly #uncork = (): void => {
    this.#corked = false;
    this.#socket.uncork();
  };

  constructor(socket: net.Socket, peer: string) {
    this.#socket = socket;
    this.peer = peer;
    socket.on("connect", () => this.handler?.onOpen?.());
    socket.on("data", (bytes: Buffer) => this.handler?.onData(bytes));
    // We never half-close: the peer that ended its side is gone.
    socket.on("end", () => (this.#closeReason ??= "closed by the peer"));
    socket.on("error", (error) => (this.#closeReason ??= error.message));
    // Node emits "close" once, after everything else, however it came about.
    socket.on("close", () => this.handler?.onClose(this.#closeReason ?? "closed"));
  }

  get bufferedBytes(): number {
    return this.#socket.writableLength;
  }

  write(bytes: Uint8Array): void {
    if (this.#socket.destroyed) return;
    if (!this.#corked) {
      // What is written in one go leaves as one system call (writev).
      this.#corked = true;
      this.#socket.cork();
      process.nextTick(this.#uncork);
    }
    this.#socket.write(bytes, this.#onWritten);
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  destroy(reason?: string): void {
    this.#closeReason ??= reason ?? "closed here";
    this.#socket.destroy();
  }
}
