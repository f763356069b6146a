import { once } from "node:events";
import { createConnection, type Socket } from "node:net";
import { createInterface } from "node:readline";

/** A client of the line protocol, like `nc` for a person. */
export class LineClient {
  readonly socket: Socket;
  readonly #lines: AsyncIterator<string>;

  private constructor(socket: Socket) {
    this.socket = socket;
    this.#lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  }

  static async connect(address: string): Promise<LineClient> {
    const [host = "", port = ""] = address.split(":");
    const socket = createConnection({ host, port: Number(port), allowHalfOpen: true });
    socket.on("error", () => undefined);
    const client = new LineClient(socket);
    await once(socket, "connect");
    return client;
  }

  /** Sends the text as it is. */
  send(text: string): void {
    this.socket.write(text);
  }

  /** The next line. null: the connection has ended. */
  async line(): Promise<string | null> {
    const next = await this.#lines.next();
    return next.done === true ? null : next.value;
  }

  async ask(line: string): Promise<string | null> {
    this.send(`${line}\n`);
    return this.line();
  }

  close(): void {
    this.socket.destroy();
  }
}
