/**
 * The line protocol, for people with `nc` and for simple programs: one command a line, one answer a line, in
 * order, on a connection that stays open.
 *
 * ```text
 * line    = command, end
 * command = "put ", key, " ", value | "get ", key | "del ", key | "auth ", token
 * key     = 1 to 1024 bytes without spaces and line feeds
 * value   = any bytes without line feeds, at most 1,046,528, spaces included
 * end     = LF or CR LF
 *
 * answer to put and del = "Ok: Appended at ", N      N: how many puts and deletes were applied before
 * answer to get         = "Ok: ", value | "Error: value does not exist"
 * answer to auth        = "Ok: ", name, " may ", role
 * on a node that doesn't lead, to put and del = "Error: Leader is ", address | "Error: no leader"
 * address               = host, ":", port | "tls://", host, ":", port
 * if the outcome is unknown                   = "Error: the outcome is unknown: ", reason
 * to anything else                            = "Error: ", reason
 * ```
 *
 * Reads are linearizable. Writes have no conditions and belong to no session. A node that forwards
 * (`--forward`) passes put and del on to the leader, instead of naming it. A line over the limit is skipped
 * and answered with an error. So is a last line that has no end: it may have been cut off.
 *
 * If the node has a file of tokens, get and put need one (`access/rights.ts`): `auth` must come first, within
 * `authMsMax`, and counts for its connection.
 *
 * The server closes a connection whose client speaks another protocol, such as HTTP, before it executes
 * anything (`foreign-protocol.ts`), and one whose client sends `INVALID_LINES_MAX` lines in a row that are no
 * commands.
 */
import { createServer, type Server, type Socket } from "node:net";
import { createServer as createSecureServer } from "node:tls";
import { NotLeaderError, RaftError, type LeaderHint } from "keelson";
import { Access } from "../access/access.ts";
import { LINE_RIGHTS } from "../access/rights.ts";
import { ConnectionToken } from "../access/connection-token.ts";
import { clientAddressesOf, formatAddress, type Address } from "../shared/addresses.ts";
import { KEY_BYTES_MAX, VALUE_BYTES_MAX, type KvCommand } from "../store/commands.ts";
import type { Serving } from "../node/kv-node.ts";
import { isHttp, isText } from "./foreign-protocol.ts";
import { parseLine, type LineCommand } from "./line-command.ts";
import { LineSplitter, type Line } from "./line-splitter.ts";
import { ClientConnections } from "../shared/client-connections.ts";
import { closeServer, listen } from "../shared/listen.ts";
import { serverBudgets, type MemoryAccount, type ServerBudgets } from "../shared/memory-budget.ts";
import { readOrAbandon, ReadAccount } from "../shared/read-account.ts";
import { delayRefusal, ReadGate } from "../shared/read-gate.ts";
import { reasonOf } from "../shared/errors.ts";
import { followConnections, limitReadAhead } from "../tls/secure-sockets.ts";
import type { ServerTls } from "../tls/server-tls.ts";

/** Limits of a `LineServer`. */
export interface LineServerLimits {
  /**
   * The most connections at once, since each may buffer a line of 1 MiB. For a further one, the oldest is
   * closed whose client has not shown a right to be served: it is in a handshake, or needs a token and sent
   * none that is valid. If there is none, the further one gets an error and is closed. Default 256.
   */
  readonly connectionsMax: number;
  /**
   * Milliseconds without a byte in either direction after which a connection is closed. Default 10 minutes.
   */
  readonly idleMsMax: number;
  /** Milliseconds in which a client must take the next part (64 KiB) of its answer. Default 30,000. */
  readonly answerPartMsMax: number;
  /** Milliseconds in which a client must send a token, if it needs one. Default 10,000. */
  readonly authMsMax: number;
  /** Milliseconds in which a client must complete the handshake of TLS. Default 10,000. */
  readonly handshakeMsMax: number;
}

const DEFAULTS: LineServerLimits = {
  connectionsMax: 256,
  idleMsMax: 600_000,
  answerPartMsMax: 30_000,
  authMsMax: 10_000,
  handshakeMsMax: 10_000,
};

/** What a line server shares with the node's other server. By default it has its own. */
export interface LineServerParts {
  /** Who gets in. Default: everyone. */
  readonly access?: Access;
  /** Serve over TLS. Default: without. */
  readonly tls?: ServerTls;
  readonly connections?: ClientConnections;
  readonly budgets?: ServerBudgets;
}

/**
 * The most lines in a row that are no commands. A person mistypes a few; a program that sends more speaks
 * another protocol, or is out of step.
 */
const INVALID_LINES_MAX = 16;
/** Wrong tokens after which a connection is closed. A person may paste the wrong one. */
const WRONG_TOKENS_MAX = 3;
/** Bytes of an answer given to the socket at a time. */
const PART_BYTES = 64 * 1024;
/**
 * Bytes that Node may read ahead while a command is executed. Each piece that Node reads costs some hundred
 * bytes besides its content, so the default of 64 KiB would let a client that sends single bytes hold tens of
 * megabytes that nothing counts.
 */
const READ_AHEAD_BYTES = 512;
/** How long a connection may take to send its last line after the server has decided to close it. */
const GOODBYE_MS = 1000;
/** The most values that are read from the database at once. */
const READS_MAX = 16;

/** The longest valid line: `put` with the largest key and value. */
const LINE_BYTES_MAX = "put ".length + KEY_BYTES_MAX + " ".length + VALUE_BYTES_MAX;
/** The longest line of a client that needs a token and has sent none: strangers must not fill the memory. */
const STRANGER_LINE_BYTES_MAX = 2048;

/** How long clients have to receive their last answers after `close`. Then their connections are cut. */
const CLOSE_GRACE_MS = 500;

/** The line interface of a node. It takes its address first and gets the node later, with `serve`. */
export class LineServer {
  readonly #server: Server;
  readonly #limits: LineServerLimits;
  readonly #access: Access;
  readonly #connections: ClientConnections;
  readonly #budgets: ServerBudgets;
  readonly #reads = new ReadGate(READS_MAX, VALUE_BYTES_MAX);
  /**
   * The TCP sockets of the open connections, the oldest first, without those refused for being too many; each
   * with what its client may do. null: it has not completed the handshake of TLS.
   */
  readonly #open = new Map<Socket, Authentication | null>();
  /** The connections that can send commands. */
  readonly #sockets = new Set<Socket>();
  /** null before `serve` and after `close`: then every command gets an error. */
  #serving: Serving | null = null;
  /**
   * The address to listen on; once `listen` has resolved, the bound one, with the port that the system chose.
   */
  #address: Address;

  private constructor(limits: LineServerLimits, parts: LineServerParts, address: Address) {
    this.#limits = limits;
    this.#access = parts.access ?? new Access();
    this.#connections = parts.connections ?? new ClientConnections();
    this.#connections.onMakeRoom(() => this.#closeStranger());
    this.#budgets = parts.budgets ?? serverBudgets();
    this.#address = address;
    this.#server = this.#makeServer(parts.tls);
  }

  #makeServer(tls: ServerTls | undefined): Server {
    // A client may close its half after its last command, as `nc` does, and still get the answers.
    const options = { allowHalfOpen: true, noDelay: true, highWaterMark: READ_AHEAD_BYTES };
    if (tls === undefined) {
      return createServer(options, (socket) => {
        // Without a listener, a broken connection would end the process. `#converse` notices it by itself.
        socket.on("error", () => undefined);
        if (this.#accept(socket)) void this.#converse(socket, socket);
        else this.#sendAway(socket);
      });
    }
    const handshakeTimeout = this.#limits.handshakeMsMax;
    const server = createSecureServer({ ...options, ...tls.options, handshakeTimeout });
    tls.follow(server);
    followConnections(server, {
      onAccept: (carrier) => this.#accept(carrier),
      onSecure: (socket, carrier) => {
        limitReadAhead(socket, READ_AHEAD_BYTES);
        void this.#converse(socket, carrier);
      },
    });
    return server;
  }

  /**
   * Binds the address. Until `serve`, each command is answered with an error.
   *
   * @throws ListenError the address can't be had
   */
  static async listen(
    address: Address,
    limits: Partial<LineServerLimits> = {},
    parts: LineServerParts = {},
  ): Promise<LineServer> {
    const server = new LineServer({ ...DEFAULTS, ...limits }, parts, address);
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

  /** Takes no more commands, and waits up to `CLOSE_GRACE_MS` for the answers to those under way. */
  async close(): Promise<void> {
    this.#serving = null;
    const closed = closeServer(this.#server, CLOSE_GRACE_MS, () => {
      for (const carrier of this.#open.keys()) carrier.destroy();
    });
    // Closes our half, so that clients see the end after their last answers.
    for (const socket of this.#sockets) socket.end();
    await closed;
  }

  /** Counts a new connection. False: there is no room for it. */
  #accept(carrier: Socket): boolean {
    const { connectionsMax } = this.#limits;
    if (this.#open.size >= connectionsMax) this.#closeStranger();
    if (this.#open.size >= connectionsMax || !this.#connections.admit(carrier)) return false;
    this.#open.set(carrier, null);
    carrier.once("close", () => this.#open.delete(carrier));
    return true;
  }

  /**
   * Makes room for another client: closes the oldest connection of a client that has not shown a right to be
   * served. Otherwise such clients could keep all others out. False: there is none.
   */
  #closeStranger(): boolean {
    for (const [carrier, authentication] of this.#open) {
      if (authentication?.isStranger === false) continue;
      // It isn't counted from now on, although its "close" event comes later.
      this.#open.delete(carrier);
      this.#connections.forget(carrier);
      carrier.destroy();
      return true;
    }
    return false;
  }

  #sendAway(socket: Socket): void {
    const max = Math.min(this.#limits.connectionsMax, this.#connections.max);
    goodbye(socket, `Error: too many connections; the limit is ${max}`);
  }

  /** Takes commands from a connection that was accepted, until it ends. `carrier`: its TCP socket. */
  async #converse(socket: Socket, carrier: Socket): Promise<void> {
    const { idleMsMax } = this.#limits;
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    socket.setTimeout(idleMsMax, () => {
      goodbye(socket, `Error: nothing was said for ${idleMsMax / 1000} s; goodbye`);
    });
    const authentication = new Authentication(this.#access);
    this.#open.set(carrier, authentication);
    this.#requireToken(socket, authentication);
    const conversation = new Conversation(
      socket,
      this.#limits.answerPartMsMax,
      this.#budgets,
      authentication,
      (command, held) => this.#answer(command, held),
    );
    try {
      await conversation.run();
    } catch {
      socket.destroy();
    }
  }

  /** Closes the connection if its client needs a token and doesn't send it in time. */
  #requireToken(socket: Socket, authentication: Authentication): void {
    if (!authentication.isStranger) return;
    const { authMsMax } = this.#limits;
    const timer = setTimeout(() => {
      if (authentication.isStranger)
        goodbye(socket, `Error: no token came within ${authMsMax / 1000} s; goodbye`);
    }, authMsMax);
    socket.once("close", () => {
      clearTimeout(timer);
    });
  }

  /** The answer: a line as text, or the bytes of a value, which follow "Ok: ". */
  async #answer(command: Command, held: MemoryAccount): Promise<string | Buffer> {
    const serving = this.#serving;
    if (serving === null) return "Error: the node is starting or closing; try again";
    try {
      if (command.type !== "get") return await write(serving, { ...command, condition: null });
      return await get(serving, command.key, held, this.#reads);
    } catch (error) {
      return `Error: ${describeError(error)}`;
    }
  }
}

/** A line that is a command on keys. */
type Command = Exclude<LineCommand, { type: "invalid" | "auth" }>;

/** What the client of one connection may do, by the token that it sent. */
class Authentication {
  readonly #access: Access;
  readonly #token: ConnectionToken;
  #wrongTokens = 0;

  constructor(access: Access) {
    this.#access = access;
    this.#token = new ConnectionToken(access);
  }

  /** The client needs a token and has none that is valid. */
  get isStranger(): boolean {
    return this.#token.isStranger;
  }

  /** Too many wrong tokens came. */
  get isOver(): boolean {
    return this.#wrongTokens >= WRONG_TOKENS_MAX;
  }

  /** The answer to `auth`. */
  authenticate(token: string): string {
    const entry = this.#token.offer(token);
    if (entry !== null) return `Ok: ${entry.name} may ${entry.role}`;
    this.#wrongTokens += 1;
    return "Error: the token is wrong";
  }

  /** Why the client may not give the command. null: it may. */
  refusalOf(command: Command["type"]): string | null {
    const verdict = this.#access.judge(
      this.#token.entry,
      LINE_RIGHTS[command === "delete" ? "del" : command],
    );
    if (verdict.type !== "refused") return null;
    return verdict.hasToken ? verdict.reason : `${verdict.reason}; send it first: auth TOKEN`;
  }
}

/** One connection: its lines, one after another, and their answers. */
class Conversation {
  readonly #socket: Socket;
  readonly #partMsMax: number;
  /** Charged for the line that is being received. */
  readonly #received: MemoryAccount;
  /** Charged for the answer that is being sent. */
  readonly #held: MemoryAccount;
  readonly #authentication: Authentication;
  readonly #answer: (command: Command, held: MemoryAccount) => Promise<string | Buffer>;
  readonly #splitter: LineSplitter;
  /** Whether a line has come. */
  #hasSpoken = false;
  /** Lines in a row that were no commands. */
  #invalidLines = 0;
  /** Ends the wait for the socket to take what was written. */
  #wake: () => void = () => undefined;

  constructor(
    socket: Socket,
    partMsMax: number,
    { requests, answers }: ServerBudgets,
    authentication: Authentication,
    answer: (command: Command, held: MemoryAccount) => Promise<string | Buffer>,
  ) {
    this.#socket = socket;
    this.#partMsMax = partMsMax;
    this.#received = requests.open();
    this.#held = answers.open();
    this.#answer = answer;
    this.#authentication = authentication;
    this.#splitter = new LineSplitter(LINE_BYTES_MAX, this.#received);
    if (authentication.isStranger) this.#splitter.limit(STRANGER_LINE_BYTES_MAX);
    // One listener for the connection's lifetime, not one for each answer. It leaves `#held` alone: a read
    // for the answer may still be under way. `#reply` closes that account.
    socket.once("close", () => {
      this.#wake();
      this.#splitter.close();
    });
  }

  /**
   * Answers the lines one after another. It reads no further while it answers, so TCP slows down a client
   * that sends faster than it is answered, and we needn't buffer its lines.
   */
  async run(): Promise<void> {
    const chunks = this.#socket.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
    for await (const chunk of chunks) {
      this.#received.stopWaiting();
      for (const line of this.#splitter.push(chunk)) if (!(await this.#reply(line))) return;
      // If the client stops in the middle of a line, the bytes of that line may be evicted. Between two lines
      // the account holds nothing, so it is never evicted then.
      this.#received.waitForClient(() => {
        goodbye(this.#socket, "Error: the rest of the line did not come, and others need its room");
      });
    }
    const last = this.#splitter.end();
    if (last === null || (await this.#reply(last, false))) this.#socket.end();
    this.#splitter.close();
  }

  /** False: nothing more is read from this connection. */
  async #reply(line: Line, hasEnd = true): Promise<boolean> {
    const objection = this.#objectionTo(line);
    this.#hasSpoken = true;
    if (objection !== null) {
      goodbye(this.#socket, `Error: ${objection}`);
      return false;
    }
    const command = line.type !== "line" ? this.#tooLong() : hasEnd ? parseLine(line.bytes) : CUT_OFF;
    const answer = await this.#answerTo(command);
    await this.#send(
      typeof answer === "string" ? [Buffer.from(`${answer}\n`, "utf8")] : [OK, answer, LINE_END],
    );
    this.#held.close();
    if (this.#authentication.isOver)
      goodbye(this.#socket, `Error: ${WRONG_TOKENS_MAX} wrong tokens; goodbye`);
    return this.#socket.writable;
  }

  /** The answer to a line. Nothing is done for a client that may not have it done. */
  #answerTo(command: LineCommand): string | Promise<string | Buffer> {
    if (command.type === "auth") {
      const answer = this.#authentication.authenticate(command.token);
      if (!this.#authentication.isStranger) this.#splitter.limit(LINE_BYTES_MAX);
      return answer;
    }
    const refusal =
      command.type === "invalid" ? command.reason : this.#authentication.refusalOf(command.type);
    this.#invalidLines = refusal === null ? 0 : this.#invalidLines + 1;
    return refusal === null && command.type !== "invalid"
      ? this.#answer(command, this.#held)
      : `Error: ${String(refusal)}`;
  }

  #tooLong(): LineCommand {
    const { bytesMax } = this.#splitter;
    const remedy = bytesMax < LINE_BYTES_MAX ? "; longer ones need a token, sent first: auth TOKEN" : "";
    return { type: "invalid", reason: `the line is longer than ${bytesMax} bytes; it was left out${remedy}` };
  }

  /** Why the connection must be closed instead of executing the line. null: it need not. */
  #objectionTo(line: Line): string | null {
    if (line.type === "no-room")
      return "the server holds too many bytes of requests already; try again later";
    const start = line.type === "line" ? line.bytes : line.start;
    const first = start[0];
    if (!this.#hasSpoken && first !== undefined && !isText(first)) return NOT_OURS;
    if (isHttp(start)) return NOT_OURS;
    // Only the beginning of a line over the limit is kept, so a request line can't be recognized by its end.
    // But no command except `put` is that long, so anything else is no command.
    if (line.type === "too-long" && start.toString("latin1", 0, PUT.length) !== PUT) return NOT_OURS;
    return this.#invalidLines < INVALID_LINES_MAX
      ? null
      : `${INVALID_LINES_MAX} lines in a row were no commands, or not allowed`;
  }

  /** Resolves when the client has taken the answer, or the connection is gone. */
  async #send(pieces: readonly Buffer[]): Promise<void> {
    this.#held.waitForClient(() => {
      this.#socket.destroy();
    });
    const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
    // A large value is not copied for the sake of the bytes around it.
    const answers = bytes <= PART_BYTES ? [Buffer.concat(pieces)] : pieces;
    for (const answer of answers) {
      for (let from = 0; from < answer.length && this.#socket.writable; from += PART_BYTES) {
        await this.#sendPart(answer.subarray(from, from + PART_BYTES));
        this.#held.progress();
      }
    }
  }

  #sendPart(part: Buffer): Promise<void> {
    return new Promise((resolve) => {
      // Destroy the socket instead of ending it: `end` waits until everything is sent, and a client that
      // doesn't read would keep its answer in memory.
      const timer = setTimeout(() => {
        this.#socket.destroy();
      }, this.#partMsMax);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
      this.#socket.write(part, this.#wake);
    });
  }
}

const PUT = "put ";
const NOT_OURS =
  "this is no command but another protocol, such as HTTP, which has a port of its own; nothing was done";
/**
 * The last line of a connection, without a line end, isn't executed: a client that is killed while it sends
 * `put ship 12345` must not store `12`.
 */
const CUT_OFF: LineCommand = {
  type: "invalid",
  reason: "the line has no end, so it may have been cut off, and was not executed; end it with a line feed",
};

/** Sends a last line and closes the connection, even if the client doesn't read it. */
function goodbye(socket: Socket, line: string): void {
  if (socket.destroyed) return;
  // What still comes is not looked at.
  socket.pause();
  socket.end(`${line}\n`);
  socket.destroySoon();
  const timer = setTimeout(() => {
    socket.destroy();
  }, GOODBYE_MS);
  socket.once("close", () => {
    clearTimeout(timer);
  });
}

const OK = Buffer.from("Ok: ");
const LINE_END = Buffer.from("\n");
const LINE_BREAK = 0x0a;

async function write({ node }: Serving, command: KvCommand): Promise<string> {
  const result = await node.write(command);
  return result.type === "applied" ? `Ok: Appended at ${result.index}` : "Error: the condition does not hold";
}

async function get(
  serving: Serving,
  key: Buffer,
  held: MemoryAccount,
  reads: ReadGate,
): Promise<string | Buffer> {
  const account = new ReadAccount(held);
  const found = await readOrAbandon(account, () =>
    serving.node.read(() => reads.readValue(account, () => serving.store.get(key))),
  );
  if (found === "no-room") {
    await delayRefusal();
    return "Error: clients have not read the answers that they asked for, which take all room; try again";
  }
  if (found === null) return "Error: value does not exist";
  // A value put over HTTP may contain a line feed. Sent as it is, it would look like two answers.
  if (found.value.includes(LINE_BREAK)) return "Error: the value has a line break in it; get it by HTTP";
  return Buffer.from(found.value.buffer, found.value.byteOffset, found.value.byteLength);
}

/** The error's message as one line, for after "Error: ". */
function describeError(error: unknown): string {
  if (error instanceof NotLeaderError) return describeLeader(error.leader);
  if (error instanceof RaftError && error.outcome === "unknown") {
    return `the outcome is unknown: ${oneLine(error.message)}`;
  }
  return oneLine(reasonOf(error));
}

function describeLeader(leader: LeaderHint | null): string {
  if (leader === null) return "no leader";
  const addresses = clientAddressesOf(leader);
  return addresses === null
    ? `the leader is ${leader.id}, whose address for clients is not known yet; try again`
    : `Leader is ${addresses.tls === true ? "tls://" : ""}${addresses.line}`;
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, " ");
}
