// TCP connections by `node:net`.
import net from "node:net";
import { textOfThrown } from "../../errors.ts";
import { formatAddress, parseAddress } from "../address.ts";
import type { Connection, ConnectionHandler, Listener, Network } from "../environment.ts";

/** Creates the network of production. */
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
    // A malformed address comes from the configuration of a peer. It is reported as a peer that can't be
    // reached, because the code that connects has no better way to handle it.
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
  // Errors such as EMFILE (too many open files) concern one connection that was not accepted. Later
  // connections may be accepted, so these errors must not end the process, as an unhandled "error" event
  // would.
  server.on("error", () => undefined);
  const bound = server.address();
  if (bound === null || typeof bound === "string") throw new Error("a TCP server has a port");
  return new NodeListener(server, formatAddress({ host, port: bound.port }));
}

function remoteAddress(socket: net.Socket): string {
  const { remoteAddress: host, remotePort: port } = socket;
  // Node no longer knows the address of a peer that disconnected before it was accepted.
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
    // `Server.close` stops accepting before it returns. Its callback waits for the accepted connections too,
    // which their owner closes, so it is not waited for here.
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
  /** The first reason for the close, from this side, the peer or the system; undefined: none so far. */
  #closeReason: string | undefined;
  /** Whether the socket is corked, which it is until the end of this tick. */
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
    // Neither side half-closes, so a peer that ended its direction has closed the connection.
    socket.on("end", () => (this.#closeReason ??= "closed by the peer"));
    socket.on("error", (error) => (this.#closeReason ??= textOfThrown(error)));
    // Node emits "close" once, after all other events, whichever side closed.
    socket.on("close", () => this.handler?.onClose(this.#closeReason ?? "closed"));
  }

  get bufferedBytes(): number {
    return this.#socket.writableLength;
  }

  write(bytes: Uint8Array): void {
    if (this.#socket.destroyed) return;
    if (!this.#corked) {
      // Corked until the end of this tick, so that all that is written in it leaves in one system call
      // (`writev`).
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
