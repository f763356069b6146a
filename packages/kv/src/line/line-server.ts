/**
 * The line protocol, for people with `nc` and for simple programs: one command a line, one answer a line, in
 * order, on a connection that stays open.
 *
 * ```text
 * line    = command, end
 * command = "put ", key, " ", value | "get ", key | "del ", key
 * key     = 1 to 1024 bytes without spaces and line feeds
 * value   = any bytes without line feeds, at most 1,046,528, spaces included
 * end     = LF or CR LF; the last line may end with the connection instead
 *
 * answer to put and del = "Ok: Appended at ", N      N: how many puts and deletes were applied before
 * answer to get         = "Ok: ", value | "Error: value does not exist"
 * on a node that doesn't lead, to put and del = "Error: Leader is ", host, ":", port | "Error: no leader"
 * if the outcome is unknown                   = "Error: the outcome is unknown: ", reason
 * to anything else                            = "Error: ", reason
 * ```
 *
 * Reads are linearizable. Writes have no conditions and belong to no session. A line over the limit is
 * skipped and answered with an error.
 */
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { NotLeaderError, RaftError, type LeaderHint } from "keelson";
import { clientAddressesOf, formatAddress, type Address } from "../shared/addresses.ts";
import { KEY_BYTES_MAX, VALUE_BYTES_MAX, type KvCommand } from "../store/commands.ts";
import { readFrom, type Serving } from "../node/kv-node.ts";
import { parseLine, type LineCommand } from "./line-command.ts";
import { LineSplitter, type Line } from "./line-splitter.ts";
import { listen } from "../shared/listen.ts";

/** Limits of a `LineServer`. */
export interface LineServerLimits {
  /** The most connections at once; each may buffer a line of 1 MiB. Default 256. */
  readonly connectionsMax: number;
  /**
   * Milliseconds without a byte in either direction after which a connection is closed. Default 10 minutes.
   */
  readonly idleMsMax: number;
}

const DEFAULTS: LineServerLimits = { connectionsMax: 256, idleMsMax: 600_000 };

/** The longest valid line: `put` with the largest key and value. */
const LINE_BYTES_MAX = "put ".length + KEY_BYTES_MAX + " ".length + VALUE_BYTES_MAX;

/** How long clients have to receive their last answers after `close`. Then their connections are cut. */
const CLOSE_GRACE_MS = 500;

/** The line interface of a node. It takes its address first and gets the node later, with `serve`. */
export class LineServer {
  readonly #server: Server;
  readonly #limits: LineServerLimits;
  /** The open connections, without those refused for being too many. */
  readonly #sockets = new Set<Socket>();
  /** null before `serve` and after `close`: then every command gets an error. */
  #serving: Serving | null = null;
  /** As asked for; from `listen` on, as bound. */
  #address: Address;

  private constructor(limits: LineServerLimits, address: Address) {
    this.#limits = limits;
    this.#address = address;
    // A client may close its half after its last command, as `nc` does, and still get the answers.
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      void this.#accept(socket);
    });
  }

  /**
   * Binds the address. Until `serve`, each command is answered with an error.
   *
   * @throws ListenError the address can't be had
   */
  static async listen(address: Address, limits: Partial<LineServerLimits> = {}): Promise<LineServer> {
    const server = new LineServer({ ...DEFAULTS, ...limits }, address);
    server.#address = await listen(server.#server, address);
    return server;
  }

  /** Where it listens: "host:port", with the port that the system chose for port 0. */
  get address(): string {
    return formatAddress(this.#address);
  }

  serve(serving: Serving): void {
    this.#serving = serving;
  }

  /** Takes no more commands, and waits a moment for the answers to those under way. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => {
        resolve();
      });
    });
    this.#serving = null;
    // Closes our half, so that clients see the end after their last answers.
    for (const socket of this.#sockets) socket.end();
    const timer = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, CLOSE_GRACE_MS);
    await closed;
    clearTimeout(timer);
  }

  async #accept(socket: Socket): Promise<void> {
    const { connectionsMax, idleMsMax } = this.#limits;
    // Without a listener, a broken connection would end the process. `#answerLines` notices it by itself.
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
      await this.#answerLines(socket);
      socket.end();
    } catch {
      socket.destroy();
    }
  }

  /**
   * Answers the lines of a connection one after another. It reads no further while it answers, so TCP slows
   * down a client that sends faster than it is answered, and we needn't buffer its lines.
   */
  async #answerLines(socket: Socket): Promise<void> {
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
    // Wait for a client that doesn't read its answers; the idle limit ends a connection that stays stuck.
    if (!isRoom) await Promise.race([once(socket, "drain"), once(socket, "close")]);
  }

  /** The answer: a line as text, or the bytes of a value, which follow "Ok: ". */
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
  // A value put over HTTP may contain a line feed. Sent as it is, it would look like two answers.
  if (found.value.includes(LINE_BREAK)) return "Error: the value has a line break in it; get it by HTTP";
  return Buffer.from(found.value);
}

/** The error's message as one line, for after "Error: ". */
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
