import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { NotLeaderError, RaftError, type LeaderHint } from "keelson";
import { clientAddressesOf, formatAddress, type Address } from "../shared/addresses.ts";
import { KEY_BYTES_MAX, VALUE_BYTES_MAX, type KvCommand } from "../store/commands.ts";
import { readFrom, type Serving } from "../node/kv-node.ts";
import { parseLine, type LineCommand } from "./line-command.ts";
import { LineSplitter, type Line } from "./line-splitter.ts";
import { listen } from "../shared/listen.ts";

export interface LineServerLimits {
  /** Connections at once; each may hold a line in memory. Default 256. */
  readonly connectionsMax: number;
  /** Milliseconds without a byte either way after which a connection is closed. Default 10 minutes. */
  readonly idleMsMax: number;
}

const DEFAULTS: LineServerLimits = { connectionsMax: 256, idleMsMax: 600_000 };

/** The longest line that can be right: `put`, a key and a value of the largest size. */
const LINE_BYTES_MAX = "put ".length + KEY_BYTES_MAX + " ".length + VALUE_BYTES_MAX;

/** How long connections have to take their last answers when the server closes. */
const CLOSE_GRACE_MS = 500;

/**
 * The line protocol: one command a line, one answer a line, in order, for as long as the client
 * likes. Good for people with `nc`.
 */
export class LineServer {
  readonly #server: Server;
  readonly #limits: LineServerLimits;
  readonly #sockets = new Set<Socket>();
  #serving: Serving | null = null;
  #address: Address;

  private constructor(limits: LineServerLimits, address: Address) {
    this.#limits = limits;
    this.#address = address;
    // A client that has sent all it wants may close its half and still read the answers.
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      void this.#accept(socket);
    });
  }

  /** Takes the address. Commands are answered after `serve`. */
  static async listen(address: Address, limits: Partial<LineServerLimits> = {}): Promise<LineServer> {
    const server = new LineServer({ ...DEFAULTS, ...limits }, address);
    server.#address = await listen(server.#server, address);
    return server;
  }

  /** Where it listens, with the port that was given for port 0. */
  get address(): string {
    return formatAddress(this.#address);
  }

  serve(serving: Serving): void {
    this.#serving = serving;
  }

  /** Takes no more commands; answers to those under way still go out. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => {
        resolve();
      });
    });
    this.#serving = null;
    // Ends our half: whoever waits for more learns that there is none.
    for (const socket of this.#sockets) socket.end();
    const timer = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, CLOSE_GRACE_MS);
    await closed;
    clearTimeout(timer);
  }

  async #accept(socket: Socket): Promise<void> {
    const { connectionsMax, idleMsMax } = this.#limits;
    // A client that goes away is no failure of ours; `#talk` notices it by itself.
    socket.on("error", () => undefined);
    if (this.#sockets.size >= connectionsMax) {
      socket.end(`Error: too many connections; the limit is ${connectionsMax}\n`);
      socket.destroySoon();
      return;
    }
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    socket.setTimeout(idleMsMax, () => {
      socket.end(`Error: nothing was said for ${idleMsMax / 1000} s; goodbye\n`);
      socket.destroySoon();
    });
    try {
      await this.#talk(socket);
      socket.end();
    } catch {
      socket.destroy();
    }
  }

  /** Reads no further than the line that is being answered, so a client that only writes is slowed down, not buffered. */
  async #talk(socket: Socket): Promise<void> {
    const splitter = new LineSplitter(LINE_BYTES_MAX);
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      for (const line of splitter.push(chunk)) await this.#reply(socket, line);
    }
    const last = splitter.end();
    if (last !== null) await this.#reply(socket, last);
  }

  async #reply(socket: Socket, line: Line): Promise<void> {
    const answer =
      line.type === "line"
        ? await this.#answer(parseLine(line.bytes))
        : `Error: the line is longer than ${LINE_BYTES_MAX} bytes; it was left out`;
    if (!socket.writable) return;
    const isRoom = socket.write(
      typeof answer === "string" ? `${answer}\n` : Buffer.concat([OK, answer, LINE_END]),
    );
    // Whoever does not read their answers gets no more of them, and in the end the idle limit.
    if (!isRoom) await Promise.race([once(socket, "drain"), once(socket, "close")]);
  }

  /** A line of text, or the bytes of a value. */
  async #answer(command: LineCommand): Promise<string | Buffer> {
    if (command.type === "invalid") return `Error: ${command.reason}`;
    const serving = this.#serving;
    if (serving === null) return "Error: the node is starting or closing; try again";
    try {
      if (command.type !== "get") return await write(serving, { ...command, condition: null });
      return await get(serving, command.key);
    } catch (error) {
      return `Error: ${describeError(error)}`;
    }
  }
}

const OK = Buffer.from("Ok: ");
const LINE_END = Buffer.from("\n");
const LINE_BREAK = 0x0a;

async function write({ node }: Serving, command: KvCommand): Promise<string> {
  const result = await node.write(command);
  return result.type === "applied" ? `Ok: Appended at ${result.index}` : "Error: the condition does not hold";
}

async function get(serving: Serving, key: Buffer): Promise<string | Buffer> {
  const found = await readFrom(serving, () => serving.store.get(key));
  if (found === null) return "Error: value does not exist";
  // It would look like two answers. Values put by line have no line breaks; those put by HTTP may.
  if (found.value.includes(LINE_BREAK)) return "Error: the value has a line break in it; get it by HTTP";
  return Buffer.from(found.value);
}

/** In words, on one line. */
function describeError(error: unknown): string {
  if (error instanceof NotLeaderError) return describeLeader(error.leader);
  if (error instanceof RaftError && error.outcome === "unknown") {
    return `the outcome is unknown: ${oneLine(error.message)}`;
  }
  return oneLine(error instanceof Error ? error.message : String(error));
}

function describeLeader(leader: LeaderHint | null): string {
  if (leader === null) return "no leader";
  const addresses = clientAddressesOf(leader);
  return addresses === null
    ? `the leader is ${leader.id}, whose address for clients is not known yet; try again`
    : `Leader is ${addresses.line}`;
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, " ");
}
