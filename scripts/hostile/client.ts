import { once } from "node:events";
import { createConnection, type Socket } from "node:net";
import { connect as connectTls, type ConnectionOptions } from "node:tls";

import { pause } from "./victims.ts";

/** A client that behaves badly: some connections to one port, and what is done with them. */
export class HostileClient {
  readonly #address: string;
  readonly #ca: string | null;
  readonly #sockets: Socket[] = [];
  readonly #below: HostileClient[] = [];
  /** The TCP sockets below those of TLS. */
  readonly #carriers = new WeakMap<Socket, Socket>();

  /** `ca`: speak TLS, and trust this authority; null: in the clear. */
  constructor(address: string, ca: string | null) {
    this.#address = address;
    this.#ca = ca;
  }

  /** A client that doesn't speak TLS to the same port, to misbehave below it. */
  belowTls(): HostileClient {
    const client = new HostileClient(this.#address, null);
    this.#below.push(client);
    return client;
  }

  /**
   * Opens connections, and finishes the handshakes of TLS. One that the server refuses or closes is not an
   * error.
   */
  async connect(count: number, tls: ConnectionOptions = {}): Promise<Socket[]> {
    const colon = this.#address.lastIndexOf(":");
    const options = { host: this.#address.slice(0, colon), port: Number(this.#address.slice(colon + 1)) };
    const opened = await Promise.all(
      Array.from({ length: count }, async () => {
        const carrier = createConnection({ ...options, noDelay: true });
        carrier.on("error", () => undefined);
        this.#sockets.push(carrier);
        await Promise.race([once(carrier, "connect"), once(carrier, "close")]).catch(() => undefined);
        if (this.#ca === null || carrier.destroyed) return carrier;
        const socket = connectTls({ ...tls, socket: carrier, host: options.host, ca: this.#ca });
        socket.on("error", () => undefined);
        this.#carriers.set(socket, carrier);
        await Promise.race([once(socket, "secureConnect"), once(socket, "close")]).catch(() => undefined);
        return socket;
      }),
    );
    return opened;
  }

  /** Sends the same on some connections, and never reads. */
  async unread(count: number, bytes: string | Buffer): Promise<void> {
    for (const socket of await this.connect(count)) socket.pause().write(bytes);
  }

  /** Sends and reads, until the server closes the connection or `ms` have passed. */
  async ask(bytes: string | Buffer, ms = 3000): Promise<string> {
    const [socket] = await this.connect(1);
    if (socket === undefined) return "";
    let answer = "";
    socket.on("data", (chunk: Buffer) => {
      if (answer.length < 100_000) answer += chunk.toString("latin1");
    });
    socket.write(bytes);
    await Promise.race([new Promise((resolve) => socket.once("close", resolve)), pause(ms)]);
    socket.destroy();
    return answer;
  }

  /** Sends one piece after another, each in a packet of its own as far as that can be arranged. */
  async piecemeal(socket: Socket, pieces: Iterable<string | Buffer>): Promise<void> {
    let sent = 0;
    for (const piece of pieces) {
      if (!socket.writable) return;
      socket.write(piece);
      sent += 1;
      if (sent % 16 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Resets the connection. TLS has no reset, so its TCP connection gets one. */
  reset(socket: Socket): void {
    (this.#carriers.get(socket) ?? socket).resetAndDestroy();
  }

  close(): void {
    for (const client of this.#below) client.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}
