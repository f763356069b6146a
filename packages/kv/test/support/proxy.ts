import { createConnection, createServer, type Server, type Socket } from "node:net";

/** Who talks to whom; both are node ids. */
interface Link {
  readonly from: string;
  readonly to: string;
}

/**
 * The network between the nodes: each listens behind a proxy here, so that connections can be cut.
 * Which node opened a connection shows in its first bytes, where it says where its clients reach it.
 */
export class ProxyNetwork {
  readonly #servers: Server[] = [];
  readonly #links = new Map<Socket, Link>();
  readonly #cut = new Set<string>();
  /** Text that only the greeting of one node has, to that node's id. */
  readonly #signs = new Map<string, string>();

  /** A way to node `to`, which listens at `target`. `sign`: text that is in its greetings only. */
  async add(to: string, sign: string, target: string, port: number): Promise<string> {
    this.#signs.set(sign, to);
    const server = createServer((socket) => {
      this.#accept(socket, to, target);
    });
    this.#servers.push(server);
    await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    return `127.0.0.1:${port}`;
  }

  /** Drops all connections from and to a node, and each new one, until `mend`. */
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
    socket.once("data", (greeting: Buffer) => {
      socket.pause();
      const text = greeting.toString("latin1");
      const from = [...this.#signs].find(([sign]) => text.includes(sign))?.[1];
      if (from === undefined)
        throw new Error("a greeting that shows no sender: the test no longer knows the protocol");
      if (this.#cut.has(from) || this.#cut.has(to)) socket.resetAndDestroy();
      else this.#join(socket, greeting, { from, to }, target);
    });
  }

  #join(socket: Socket, greeting: Buffer, link: Link, target: string): void {
    const [host = "", port = ""] = target.split(":");
    const other = createConnection({ host, port: Number(port), noDelay: true });
    other.write(greeting);
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
