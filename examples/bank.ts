// A replicated bank: accounts, transfers that may be refused, and an HTTP server on every node that takes
// each request, whichever node leads. A client numbers its requests in a session, so it may repeat them and
// no money moves twice. docs/guide/bank.md builds this program step by step.
//
// Start it three times, each as another member, with the node's id, its directory, its HTTP port and the
// members:
//
//   members="a=127.0.0.1:7001 b=127.0.0.1:7002 c=127.0.0.1:7003"
//   node --conditions=source examples/bank.ts a bank/a 8001 $members
//   node --conditions=source examples/bank.ts b bank/b 8002 $members
//   node --conditions=source examples/bank.ts c bank/c 8003 $members
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";

import { isRaftError, Raft, RaftError, type StandardSchema, type StateMachine } from "keelson";

// --- The state machine ---------------------------------------------------------------------------

/**
 * What clients ask for. Amounts are whole cents, because fractions of binary numbers don't add up exactly.
 */
type Command =
  | { readonly type: "open"; readonly account: string; readonly amount: number }
  | { readonly type: "transfer"; readonly from: string; readonly to: string; readonly amount: number };

/** What the bank answers. A refusal is an answer like any other: every node gives the same one. */
type Answer =
  { readonly type: "done"; readonly balance: number } | { readonly type: "refused"; readonly reason: string };

class Bank implements StateMachine<Command, Answer> {
  readonly #balances = new Map<string, number>();
  readonly schema = commandSchema;

  apply(command: Command): Answer {
    switch (command.type) {
      case "open":
        return this.#open(command.account, command.amount);
      case "transfer":
        return this.#transfer(command.from, command.to, command.amount);
    }
  }

  #open(account: string, amount: number): Answer {
    if (this.#balances.has(account)) return refused(`there is an account ${account} already`);
    this.#balances.set(account, amount);
    return { type: "done", balance: amount };
  }

  /**
   * Checks everything before it changes anything, so a refused transfer leaves both accounts as they were.
   */
  #transfer(from: string, to: string, amount: number): Answer {
    const source = this.#balances.get(from);
    const target = this.#balances.get(to);
    if (source === undefined) return refused(`there is no account ${from}`);
    if (target === undefined) return refused(`there is no account ${to}`);
    if (from === to) return refused("both accounts are the same");
    if (source < amount) return refused(`${from} has ${source}, which is less than ${amount}`);
    this.#balances.set(from, source - amount);
    this.#balances.set(to, target + amount);
    return { type: "done", balance: source - amount };
  }

  balanceOf(account: string): number | undefined {
    return this.#balances.get(account);
  }

  /** The copy is made before the first `yield`, so transfers that are applied meanwhile don't show in it. */
  async *snapshot(): AsyncIterable<Uint8Array> {
    const copy = [...this.#balances];
    const encoder = new TextEncoder();
    for (const entry of copy) yield await Promise.resolve(encoder.encode(`${JSON.stringify(entry)}\n`));
  }

  /** The chunks may be cut anywhere, so they are joined before they are decoded. */
  async restore(state: AsyncIterable<Uint8Array>): Promise<void> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of state) chunks.push(Uint8Array.from(chunk));
    const lines = Buffer.concat(chunks).toString().split("\n").slice(0, -1);
    this.#balances.clear();
    for (const line of lines) this.#balances.set(...(JSON.parse(line) as [string, number]));
  }
}

function refused(reason: string): Answer {
  return { type: "refused", reason };
}

// --- The commands that are let in ----------------------------------------------------------------

/**
 * Checks what clients send before it gets into the log. Zod, Valibot or ArkType would make such a schema too.
 */
const commandSchema: StandardSchema<Command> = {
  "~standard": {
    version: 1,
    vendor: "bank",
    validate: (value) =>
      isCommand(value)
        ? { value }
        : { issues: [{ message: "a command opens an account, or transfers a whole amount above 0" }] },
  },
};

function isCommand(value: unknown): value is Command {
  if (!isRecord(value) || !Number.isSafeInteger(value["amount"])) return false;
  const amount = Number(value["amount"]);
  if (value["type"] === "open") return isName(value["account"]) && amount >= 0;
  return value["type"] === "transfer" && isName(value["from"]) && isName(value["to"]) && amount > 0;
}

function isName(value: unknown): value is string {
  return typeof value === "string" && /^[\w-]{1,64}$/.test(value);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

// --- The node ------------------------------------------------------------------------------------

const [id = "", data = "", httpPort = "", ...pairs] = process.argv.slice(2);
const members = Object.fromEntries(pairs.map((pair) => pair.split("=") as [string, string]));

const bank = new Bank();
const raft = await Raft.open({
  id,
  data,
  members,
  stateMachine: bank,
  onLog: ({ level, text }) => {
    if (level !== "info") console.error(`${level}: ${text}`);
  },
});

// --- The HTTP server -----------------------------------------------------------------------------

interface Reply {
  readonly status: number;
  readonly body: unknown;
}

async function handle(request: IncomingMessage): Promise<Reply> {
  const [, collection, name] = (request.url ?? "").split("/");
  if (request.method === "GET" && collection === "accounts" && isName(name)) return getAccount(name);
  if (request.method === "POST" && collection === "sessions") return postSession();
  if (request.method === "POST" && collection === "commands") return postCommand(await jsonOf(request));
  return { status: 404, body: { error: "no such page" } };
}

/** A linearizable read: it sees every transfer that any node answered before. */
async function getAccount(name: string): Promise<Reply> {
  const balance = await raft.read(() => bank.balanceOf(name));
  if (balance === undefined) return { status: 404, body: { error: `there is no account ${name}` } };
  return { status: 200, body: { balance } };
}

/** Opens a session for a client that numbers its requests itself. The client may then use any node. */
async function postSession(): Promise<Reply> {
  const { id: session, ttlMs } = await raft.beginSession({ ttlMs: 3_600_000 });
  return { status: 201, body: { session, ttlMs } };
}

/**
 * A client sends request `number` of its session until it has an answer, and only then the next number. So
 * the number is also the lowest one that it has no answer for.
 */
async function postCommand(body: unknown): Promise<Reply> {
  if (!isRecord(body)) return { status: 400, body: { error: "the body is no JSON object" } };
  const { session, number, command } = body;
  if (!isNumber(session) || !isNumber(number)) {
    return { status: 400, body: { error: "session and number must be whole numbers above 0" } };
  }
  // The schema checks the command.
  const answer = await raft.write(command as Command, {
    session: { id: session, sequence: number, lowestUnanswered: number },
  });
  return { status: answer.type === "done" ? 200 : 409, body: answer };
}

function isNumber(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) > 0;
}

/** The status tells the client what to do; the body tells what this request did. */
function replyTo(error: unknown): Reply {
  if (!isRaftError(error)) throw error;
  const body = { error: error.message, code: error.code, outcome: error.outcome };
  switch (error.code) {
    case "COMMAND_INVALID":
    case "COMMAND_TOO_LARGE":
    case "INVALID_OPTION":
      return { status: 400, body };
    case "SESSION_EXPIRED":
    case "ANSWER_FORGOTTEN":
      return { status: 410, body };
    default:
      if (error.outcome === "done") return { status: 500, body };
      // Send the same request again, here or to another node: 503 had no effect, 504 may have had one.
      return { status: error.outcome === "not-done" ? 503 : 504, body };
  }
}

const BODY_BYTES_MAX = 64 * 1024;

class BadRequest extends Error {}

async function jsonOf(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) throw new BadRequest(`the body is larger than ${BODY_BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString());
  } catch {
    throw new BadRequest("the body is no JSON");
  }
}

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  let reply: Reply;
  try {
    reply = await handle(request);
  } catch (error) {
    if (error instanceof BadRequest) reply = { status: 400, body: { error: error.message } };
    else if (error instanceof RaftError) reply = replyTo(error);
    else reply = { status: 500, body: { error: String(error) } };
  }
  response.writeHead(reply.status, { "content-type": "application/json" });
  response.end(`${JSON.stringify(reply.body)}\n`);
}

const server = createServer((request, response) => {
  answer(request, response).catch((error: unknown) => {
    console.error(error);
    response.destroy();
  });
});
server.listen(Number(httpPort), "127.0.0.1", () => {
  console.log(`${id} listens for clients at 127.0.0.1:${httpPort}`);
});

// --- The end -------------------------------------------------------------------------------------

for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => void raft.close());

// After a failure the process ends, so that whatever supervises it starts it again.
const error = await raft.stopped;
server.close();
server.closeAllConnections();
if (error !== undefined) {
  console.error(error);
  process.exitCode = 1;
}
