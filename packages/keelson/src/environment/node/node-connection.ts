// What TCP and TLS by Node have in common: a listener, and a connection over a socket that is connected, or
// is connecting.
import type net from "node:net";
import { textOfThrown } from "../../errors.ts";
import { formatAddress, parseAddress } from "../address.ts";
import type { Certificate, Connection, ConnectionHandler, Listener } from "../environment.ts";

/** The address of a socket's other end. */
export function remoteAddress(socket: net.Socket): string {
  const { remoteAddress: host, remotePort: port } = socket;
  // Node no longer knows the address of a peer that disconnected before it was accepted.
  return host === undefined || port === undefined ? "unknown" : formatAddress({ host, port });
}

/** A server that listens. */
export class NodeListener implements Listener {
  readonly address: string;
  readonly isExposed: boolean;
  readonly #server: net.Server;
  #closed: Promise<void> | undefined;

  private constructor(server: net.Server, address: string, isExposed: boolean) {
    this.#server = server;
    this.address = address;
    this.isExposed = isExposed;
  }

  /** Listens at the address; rejects if it is not available. */
  static async listen(server: net.Server, address: string): Promise<NodeListener> {
    const { host, port } = parseAddress(address, "listen");
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
    return new NodeListener(server, formatAddress({ host, port: bound.port }), !isLoopback(bound.address));
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

/** Whether an address, as the operating system writes it, can only be reached from this machine. */
function isLoopback(address: string): boolean {
  return address === "::1" || /^(?:::ffff:)?127\./i.test(address);
}

/** How a connection over a socket differs from plain TCP. */
export interface SocketKind {
  /** The event after which the dialing end may write. */
  readonly openEvent: "connect" | "secureConnect";
  /** The reason that is reported when the socket fails. */
  readonly describe: (error: Error) => string;
  /** Whether the socket failed because this end doesn't trust the other one. */
  readonly isRefusal: (error: Error) => boolean;
  /** The peer's certificate, once the connection is open. */
  readonly certificate: () => Certificate | undefined;
}

const PLAIN: SocketKind = {
  openEvent: "connect",
  describe: textOfThrown,
  isRefusal: () => false,
  certificate: () => undefined,
};

/** A connection over one socket. */
export class NodeConnection implements Connection {
  handler: ConnectionHandler | null = null;
  readonly peer: string;
  refusal: string | undefined = undefined;
  readonly #socket: net.Socket;
  readonly #kind: SocketKind;
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

  constructor(socket: net.Socket, peer: string, kind: SocketKind = PLAIN) {
    this.#socket = socket;
    this.#kind = kind;
    this.peer = peer;
    socket.on(kind.openEvent, () => this.handler?.onOpen?.());
    socket.on("data", (bytes: Buffer) => this.handler?.onData(bytes));
    // Neither side half-closes, so a peer that ended its direction has closed the connection.
    socket.on("end", () => (this.#closeReason ??= "closed by the peer"));
    socket.on("error", (error) => {
      this.#closeReason ??= kind.describe(error);
      if (kind.isRefusal(error)) this.refusal ??= this.#closeReason;
    });
    // Node emits "close" once, after all other events, whichever side closed.
    socket.on("close", () => this.handler?.onClose(this.#closeReason ?? "closed"));
  }

  get certificate(): Certificate | undefined {
    return this.#kind.certificate();
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
