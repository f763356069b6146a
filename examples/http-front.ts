// An HTTP front that takes each request on any node, and lets no request take effect twice.
//
// Three nodes keep a counter. Each has an HTTP server, and passes requests on to the leader. The client opens
// a session at one node and numbers its requests. When an answer doesn't come, it sends the same request to
// the next node, which returns the first answer if the request has taken effect. A session is named by a
// token that only the servers can make, so no client can use the session of another.
//
//   node --conditions=source examples/http-front.ts
//
// The program loses every third answer on purpose, stops the leader halfway, and checks that each request
// counted once.
import assert from "node:assert/strict";
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

import { isRaftError, Raft } from "keelson";
import { memoryLog } from "keelson/storage/memory";
import { memoryNetwork, memoryTransport } from "keelson/transport/memory";

// --- The nodes -----------------------------------------------------------------------------------

type Add = { readonly add: number };
type Total = { readonly total: number };

class Counter {
  total = 0;

  apply({ add }: Add): Total {
    this.total += add;
    return { total: this.total };
  }
}

const network = memoryNetwork();
const addresses = { a: "a:1", b: "b:1", c: "c:1" };

async function openNode(id: string, address: string): Promise<Front> {
  const counter = new Counter();
  const transport = memoryTransport(network, address);
  const raft = await Raft.open({ id, stateMachine: counter, log: memoryLog(), transport });
  await raft.initialize(addresses);
  return Front.listen(raft, counter);
}

// --- The sessions' tokens ------------------------------------------------------------------------

/** The same on all servers, and known to nobody else. A real one comes from a file or a secret store. */
const secret = randomBytes(32);

/** The sessions' ids are small numbers, which anybody could guess. The second half of a token can't be. */
function tokenOf(session: number): string {
  return `${session}.${createHmac("sha256", secret).update(`${session}`).digest("base64url")}`;
}

/** The session of a token; null: no server made the token. */
function sessionOf(token: unknown): number | null {
  if (typeof token !== "string" || !/^\d{1,15}\.[\w-]{43}$/.test(token)) return null;
  const session = Number.parseInt(token, 10);
  const expected = Buffer.from(tokenOf(session));
  const given = Buffer.from(token);
  return given.length === expected.length && timingSafeEqual(given, expected) ? session : null;
}

// --- The HTTP server of a node -------------------------------------------------------------------

interface Reply {
  readonly status: number;
  readonly body: unknown;
}

/** How long an unused session is kept: longer than the longest pause of a client that means to continue. */
const SESSION_MS = 10 * 60_000;

/**
 * How many sessions a server opens in a minute. The cluster keeps 10,000 and ends those that were unused for
 * longest: without a limit, anybody who may open sessions could end those of all others.
 */
const SESSIONS_PER_MINUTE_MAX = 300;

const BODY_BYTES_MAX = 4 * 1024;

class Front {
  readonly raft: Raft<Add, Total>;
  readonly #counter: Counter;
  readonly #server: Server;
  /** The minute of the last opened session, and how many were opened in it. */
  #opened = { minute: 0, sessions: 0 };
  #answers = 0;

  private constructor(raft: Raft<Add, Total>, counter: Counter) {
    this.raft = raft;
    this.#counter = counter;
    this.#server = createServer((request, response) => void this.#answer(request, response));
  }

  static async listen(raft: Raft<Add, Total>, counter: Counter): Promise<Front> {
    const front = new Front(raft, counter);
    await new Promise<void>((resolve) => front.#server.listen(0, "127.0.0.1", resolve));
    return front;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    await this.raft.close();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { status, body } = await this.#handle(request).catch(replyTo);
    // As if the connection had broken after the request had taken effect.
    if (request.url === "/add" && ++this.#answers % 3 === 0) response.destroy();
    else response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  }

  async #handle(request: IncomingMessage): Promise<Reply> {
    switch (`${request.method} ${request.url}`) {
      case "POST /sessions":
        return this.#openSession();
      case "POST /add":
        return this.#add(await bodyOf(request));
      case "GET /total":
        // Linearizable: it sees all that any server has answered before.
        return { status: 200, body: { total: await this.raft.read(() => this.#counter.total) } };
      default:
        return { status: 404, body: { error: "no such page" } };
    }
  }

  async #openSession(): Promise<Reply> {
    const minute = Math.floor(Date.now() / 60_000);
    if (this.#opened.minute !== minute) this.#opened = { minute, sessions: 0 };
    if (++this.#opened.sessions > SESSIONS_PER_MINUTE_MAX) {
      return { status: 429, body: { error: "too many sessions; try again in a minute" } };
    }
    const { id } = await this.raft.beginSession({ ttlMs: SESSION_MS });
    return { status: 201, body: { session: tokenOf(id) } };
  }

  async #add({ session, number, add }: Record<string, unknown>): Promise<Reply> {
    const id = sessionOf(session);
    if (id === null) return { status: 403, body: { error: "this is no session" } };
    if (!isCount(number) || !isCount(add))
      return { status: 400, body: { error: "number and add: 1 or more" } };
    // The client sends one request after another, so this one is also the lowest that it has no answer for.
    const body = await this.raft.write(
      { add },
      { session: { id, sequence: number, lowestUnanswered: number } },
    );
    return { status: 200, body };
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) > 0;
}

class BadRequest extends Error {}

async function bodyOf(request: IncomingMessage): Promise<Record<string, unknown>> {
  let text = "";
  for await (const chunk of request.setEncoding("utf8") as AsyncIterable<string>) {
    text += chunk;
    if (text.length > BODY_BYTES_MAX) throw new BadRequest("the body is too large");
  }
  try {
    const body: unknown = JSON.parse(text);
    if (typeof body === "object" && body !== null) return body as Record<string, unknown>;
  } catch {
    // Not JSON: refused below.
  }
  throw new BadRequest("the body is no JSON object");
}

/** 503 and 504 ask the client to send the same request again, here or elsewhere. The others are final. */
function replyTo(error: unknown): Reply {
  if (error instanceof BadRequest) return { status: 400, body: { error: error.message } };
  if (!isRaftError(error)) return { status: 500, body: { error: String(error) } };
  const body = { error: error.message, code: error.code, outcome: error.outcome };
  switch (error.code) {
    case "COMMAND_INVALID":
    case "INVALID_OPTION":
      return { status: 400, body };
    case "SESSION_EXPIRED":
    case "ANSWER_FORGOTTEN":
      return { status: 410, body };
    default:
      if (error.outcome === "done") return { status: 500, body };
      return { status: error.outcome === "not-done" ? 503 : 504, body };
  }
}

// --- A client ------------------------------------------------------------------------------------

/** Sends one request after another, each until it has an answer, to one server after another. */
class Client {
  readonly #urls: readonly string[];
  #at = 0;
  #session = "";
  #number = 0;
  repeated = 0;

  constructor(urls: readonly string[]) {
    this.#urls = urls;
  }

  async open(): Promise<void> {
    const { session } = (await this.#send("/sessions", {})) as { session: string };
    this.#session = session;
  }

  async add(add: number): Promise<Total> {
    // The number is taken once, before the first attempt. All attempts carry it.
    return (await this.#send("/add", { session: this.#session, number: ++this.#number, add })) as Total;
  }

  async #send(path: string, content: object): Promise<unknown> {
    const body = JSON.stringify(content);
    // A real client gives up at some time, and must report "unknown" then: an attempt may be on its way.
    for (let attempt = 0; ; attempt++) {
      const response = await this.#attempt(path, body);
      if (response?.ok === true) return response.json();
      if (response !== null && response.status < 503) throw new Error(`${response.status} for ${path}`);
      this.repeated += 1;
      this.#at = (this.#at + 1) % this.#urls.length;
      await new Promise((resolve) => setTimeout(resolve, Math.min(20 * 2 ** attempt, 500)));
    }
  }

  /** null: no answer, which says nothing about what the server did. */
  async #attempt(path: string, body: string): Promise<Response | null> {
    try {
      const signal = AbortSignal.timeout(15_000);
      return await fetch(`${this.#urls[this.#at]}${path}`, { method: "POST", body, signal });
    } catch {
      return null;
    }
  }
}

// --- What must hold ------------------------------------------------------------------------------

let fronts = await Promise.all(Object.entries(addresses).map(([id, address]) => openNode(id, address)));
const urls = fronts.map(({ url }) => url);
const clients = urls.map((url) => new Client([url, ...urls.filter((other) => other !== url)]));
await Promise.all(clients.map((client) => client.open()));

const REQUESTS = 20;
async function addOnes(client: Client): Promise<void> {
  for (let n = 0; n < REQUESTS; n++) await client.add(1);
}

await Promise.all(clients.map(addOnes));
const leader = fronts.find(({ raft }) => raft.metrics().role === "leader");
assert(leader !== undefined, "one of the nodes leads");
fronts = fronts.filter((front) => front !== leader);
await Promise.all([leader.close(), ...clients.map(addOnes)]);

const [front] = fronts;
assert(front !== undefined, "two nodes are left");
const { total } = (await (await fetch(`${front.url}/total`)).json()) as Total;
const repeated = clients.reduce((sum, client) => sum + client.repeated, 0);
assert(repeated > REQUESTS, "answers were lost");
assert.equal(total, 2 * REQUESTS * clients.length);
console.log(`${total} requests counted once each, though many were sent again`);

// A session's id alone opens nothing.
const forged = JSON.stringify({ session: `1.${"A".repeat(43)}`, number: 1, add: 1_000 });
const refused = await fetch(`${front.url}/add`, { method: "POST", body: forged }).catch(() => null);
assert(refused === null || refused.status === 403, "a forged session is refused");
const after = (await (await fetch(`${front.url}/total`)).json()) as Total;
assert.equal(after.total, total);
console.log("a session that was made up is refused");

await Promise.all(fronts.map((each) => each.close()));
