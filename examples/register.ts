// A register that several servers keep: one JSON value, to get, put, and compare and set. Server and client
// in one file.
//
//   node --conditions=source examples/register.ts --help
//
// `Register` is all that a replicated state needs. Below it: the server, a node with a small HTTP interface,
// and the client.
import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import { json } from "node:stream/consumers";
import { parseArgs, isDeepStrictEqual } from "node:util";

import { isRaftError, Raft } from "keelson";

const HELP = `A replicated register: a JSON value that several servers keep.

Usage:
  register get ADDRESS...                         prints the value; null at first
  register put VALUE ADDRESS...                   sets the value, and prints the one before
  register cas EXPECTED VALUE ADDRESS...          sets the value if it is EXPECTED, and prints whether it was
  register server ID (NODE-ID NODE-ADDRESS)...    starts the server ID; all servers name the same ids and addresses

A VALUE is JSON; what isn't JSON is taken as a string. An ADDRESS is HOST:PORT of a server. The client asks one server
after another until one answers; each server passes writes on to the leader. A write takes effect once, however often the
client has to send it.

A server takes clients at its address, and the other servers at the same host and a port that is higher by 10000 (from
port 55536 on: lower). The cluster begins when all servers have been up, and works while a majority of them is.

Options:
  --data DIR      where a server keeps its log and snapshots (default: ./register-data/ID)
  --timeout SEC   how long a client tries (default: 10)
  -h, --help      this text
`;

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

type Command =
  | { readonly type: "put"; readonly value: Json }
  | { readonly type: "cas"; readonly expected: Json; readonly value: Json };

/** The state that is replicated. Every server applies the same commands in the same order. */
class Register {
  #value: Json = null;

  /** The value before a `put`; for `cas`, whether the value was set. */
  apply(command: Command): Json {
    const before = this.#value;
    if (command.type === "put") {
      this.#value = command.value;
      return before;
    }
    const isExpected = isDeepStrictEqual(before, command.expected);
    if (isExpected) this.#value = command.value;
    return isExpected;
  }

  query(): Json {
    return this.#value;
  }

  /** The value as it is now: it is encoded before the first `yield`. */
  async *snapshot(): AsyncGenerator<Uint8Array> {
    yield await Promise.resolve(new TextEncoder().encode(JSON.stringify(this.#value)));
  }

  async restore(state: AsyncIterable<Uint8Array>): Promise<void> {
    this.#value = (await json(state)) as Json;
  }
}

// --- The server ------------------------------------------------------------------------------------

/** What a client asks. A write names its session, in which it takes effect once. */
type Request =
  | { readonly type: "open-session" }
  | { readonly type: "write"; readonly session: number; readonly command: Command }
  | { readonly type: "read" };

/** What a server answers, with status 200; otherwise `{ error, isFinal }`, with 503 or 400. */
interface Answer {
  readonly result?: Json;
  readonly error?: string;
  /** Whether asking again, here or elsewhere, is of no use. */
  readonly isFinal?: boolean;
}

/** How long a server tries to serve one request; less than a client waits for it. */
const SERVE_MS = 2000;
const REQUEST_BYTES_MAX = 1024 * 1024;

async function serve(id: string, addresses: ReadonlyMap<string, string>, data: string): Promise<void> {
  const own = addresses.get(id);
  if (own === undefined)
    throw new UsageError(`${id} is not among the servers ${[...addresses.keys()].join(", ")}`);
  const register = new Register();
  await using raft = await Raft.open({
    id,
    members: Object.fromEntries([...addresses].map(([each, address]) => [each, raftAddressOf(address)])),
    data,
    stateMachine: register,
    onLog: ({ level, text }) => {
      if (level !== "info") console.error(`${level}: ${text}`);
    },
  });
  const answer = async (request: Request): Promise<Json> => {
    const options = { timeoutMs: SERVE_MS };
    switch (request.type) {
      case "open-session":
        return (await raft.beginSession(options)).id;
      case "write": {
        const session = { id: request.session, sequence: 1, lowestUnanswered: 1 };
        return raft.write(request.command, { ...options, session });
      }
      case "read":
        return raft.read(() => register.query(), options);
    }
  };
  const server = createServer((request, response) => {
    const respond = (status: number, body: Answer): void => {
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    };
    bodyOf(request)
      .then(answer)
      .then(
        (result) => {
          respond(200, { result });
        },
        (error: unknown) => {
          const isFinal = isRaftError(error) && !error.retryable && error.code !== "CLOSED";
          respond(isFinal ? 400 : 503, { error: String(error), isFinal });
        },
      );
  });
  const { hostname, port } = new URL(`http://${own}`);
  server.listen(Number(port), hostname.replace(/^\[|\]$/g, ""));
  await once(server, "listening");
  console.log(`server ${id} is at ${own}`);
  const reason = await Promise.race([once(process, "SIGINT"), once(process, "SIGTERM"), raft.stopped]);
  server.close();
  server.closeAllConnections();
  if (reason instanceof Error) throw reason;
}

async function bodyOf(request: IncomingMessage): Promise<Request> {
  let text = "";
  for await (const chunk of request.setEncoding("utf8")) {
    text += String(chunk);
    if (text.length > REQUEST_BYTES_MAX) throw new Error("the request is too large");
  }
  return JSON.parse(text) as Request;
}

/** Where the servers reach each other: beside the port for clients. */
function raftAddressOf(address: string): string {
  const { hostname, port } = new URL(`http://${address}`);
  const above = Number(port) + 10_000;
  return `${hostname}:${above > 65_535 ? above - 20_000 : above}`;
}

// --- The client ------------------------------------------------------------------------------------

/** How long the client waits for one answer, and between two rounds of all servers. */
const ANSWER_MS_MAX = 3000;
const PAUSE_MS = 200;

class Client {
  readonly #addresses: readonly string[];
  readonly #deadline: number;

  constructor(addresses: readonly string[], timeoutMs: number) {
    this.#addresses = addresses;
    this.#deadline = Date.now() + timeoutMs;
  }

  get(): Promise<Json> {
    return this.#ask({ type: "read" }, "nothing was read");
  }

  /** Opening a session twice does no harm. In it, the write is sent until its result is known. */
  async write(command: Command): Promise<Json> {
    const session = Number(await this.#ask({ type: "open-session" }, "nothing was written"));
    return this.#ask(
      { type: "write", session, command },
      "the write may have taken effect, or may still do so",
    );
  }

  /** Asks one server after another. `otherwise`: what is known if none answers. */
  async #ask(request: Request, otherwise: string): Promise<Json> {
    const reasons = new Map<string, string>();
    while (Date.now() < this.#deadline) {
      for (const address of this.#addresses) {
        const { result, error, isFinal } = await this.#askOne(address, request);
        if (error === undefined) return result ?? null;
        // What a server said tells more than that a last attempt was cut short.
        if (isFinal !== undefined || !reasons.has(address)) reasons.set(address, error);
        if (isFinal === true) throw new GaveUp(`${address} refuses: ${error}`);
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
    const all = [...reasons].map(([address, reason]) => `\n  ${address}: ${reason}`).join("");
    throw new GaveUp(`no server could answer in time; ${otherwise}${all}`);
  }

  async #askOne(address: string, request: Request): Promise<Answer> {
    const ms = Math.max(1, Math.min(ANSWER_MS_MAX, this.#deadline - Date.now()));
    try {
      const response = await fetch(`http://${address}/`, {
        method: "POST",
        body: JSON.stringify(request),
        signal: AbortSignal.timeout(ms),
      });
      return (await response.json()) as Answer;
    } catch (error) {
      // `fetch` says only that it failed; the cause says why.
      const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
      return { error: cause instanceof Error ? cause.message || cause.name : String(cause) };
    }
  }
}

/** The client has no result, or the wrong one; the message says it all. */
class GaveUp extends Error {}
class UsageError extends Error {}

// --- The command line ------------------------------------------------------------------------------

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      data: { type: "string" },
      timeout: { type: "string", default: "10" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    console.log(HELP);
    return;
  }
  const seconds = Number(values.timeout);
  if (!(seconds > 0)) throw new UsageError(`--timeout ${values.timeout} is not a number of seconds`);
  const client = (addresses: readonly string[]): Client => new Client(addressesIn(addresses), seconds * 1000);
  const [name, ...rest] = positionals;
  switch (name) {
    case "get":
      print(await client(rest).get());
      return;
    case "put": {
      const [value, ...addresses] = rest;
      const command = { type: "put", value: valueOf(value) } as const;
      print(await client(addresses).write(command));
      return;
    }
    case "cas": {
      const [expected, value, ...addresses] = rest;
      const command = { type: "cas", expected: valueOf(expected), value: valueOf(value) } as const;
      print(await client(addresses).write(command));
      return;
    }
    case "server": {
      const [id = "", ...pairs] = rest;
      await serve(id, serversIn(pairs), values.data ?? `./register-data/${id}`);
      return;
    }
    default:
      throw new UsageError(name === undefined ? "a command is missing" : `there is no command ${name}`);
  }
}

function print(value: Json): void {
  console.log(JSON.stringify(value));
}

/** JSON, or else the text itself. */
function valueOf(text: string | undefined): Json {
  if (text === undefined) throw new UsageError("a value is missing");
  try {
    return JSON.parse(text) as Json;
  } catch {
    return text;
  }
}

function serversIn(pairs: readonly string[]): Map<string, string> {
  const servers = new Map<string, string>();
  for (let at = 0; at < pairs.length; at += 2) {
    const [id = "", address = ""] = pairs.slice(at, at + 2);
    servers.set(id, addressesIn([address])[0] ?? "");
  }
  return servers;
}

function addressesIn(texts: readonly string[]): readonly string[] {
  if (texts.length === 0) throw new UsageError("the address of a server is missing");
  const wrong = texts.find((text) => !/^(?:[\w.-]+|\[[\da-f:.]+\]):[1-9]\d{0,4}$/i.test(text));
  if (wrong !== undefined) throw new UsageError(`"${wrong}" is not HOST:PORT, such as 127.0.0.1:8080`);
  return texts;
}

try {
  await main();
} catch (error) {
  const isUsage = error instanceof UsageError || (error instanceof TypeError && "code" in error);
  const isTold = isUsage || error instanceof GaveUp || isRaftError(error);
  console.error(isTold ? `register: ${error.message}` : error);
  if (isUsage) console.error("See: register --help");
  process.exitCode = isUsage ? 2 : 1;
}
