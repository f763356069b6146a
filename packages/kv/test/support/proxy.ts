import { createConnection, createServer, type Server, type Socket } from "node:net";

/** The two ends of a connection, as node ids. */
interface Link {
  readonly from: string;
  readonly to: string;
}

/**
 * The network between the nodes. A proxy in front of each node can cut its connections. The caller of a
 * connection is known by its handshake, which contains its client addresses.
 */
export class ProxyNetwork {
  readonly #servers: Server[] = [];
  readonly #links = new Map<Socket, Link>();
  readonly #cut = new Set<string>();
  /** Node ids by a text that only that node's handshake contains. */
  readonly #signs = new Map<string, string>();

  /**
   * Adds a proxy in front of the node `to`, which listens at `target`. Only its handshake contains `sign`.
   */
  async add(to: string, sign: string, target: string, port: number): Promise<string> {
    this.#signs.set(sign, to);
    const server = createServer((socket) => {
      this.#accept(socket, to, target);
    });
    this.#servers.push(server);
    await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    return `127.0.0.1:${port}`;
  }

  /** Closes all connections from and to a node, and each new one, until `mend`. */
  cut(id: string): void {
    this.#cut.add(id);
    for (const [socket, { from, to }] of this.#links) if (from === id || to === id) socket.resetAndDestroy();
  }

  mend(): void {
    this.#cut.clear();
  }

  close(): void {
    for (const socket of this.#links.keys()) socket.destroy();
    for (const server of this.#servers) server.close();
  }

  #accept(socket: Socket, to: string, target: string): void {
    socket.on("error", () => undefined);
    socket.once("data", (handshake: Buffer) => {
      socket.pause();
      const text = handshake.toString("latin1");
      const from = [...this.#signs].find(([sign]) => text.includes(sign))?.[1];
      if (from === undefined)
        throw new Error("a greeting that shows no sender: the test no longer knows the protocol");
      if (this.#cut.has(from) || this.#cut.has(to)) socket.resetAndDestroy();
      else this.#join(socket, handshake, { from, to }, target);
    });
  }

  #join(socket: Socket, handshake: Buffer, link: Link, target: string): void {
    const [host = "", port = ""] = target.split(":");
    const other = createConnection({ host, port: Number(port), noDelay: true });
    other.write(handshake);
    socket.setNoDelay(true);
    this.#links.set(socket, link);
    const end = (): void => {
      this.#links.delete(socket);
      socket.destroy();
      other.destroy();
    };
    other.on("error", end).on("close", end);
    socket.on("close", end);
    socket.pipe(other);
    other.pipe(socket);
  }
}
