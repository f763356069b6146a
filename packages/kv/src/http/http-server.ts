import type { IncomingMessage, Server } from "node:http";
import { createAdaptorServer, type HttpBindings } from "@hono/node-server";
import { Hono, type Context } from "hono";
import type { RaftMetrics } from "keelson";
import { refuseAdmin, type AdminAccess } from "./admin-access.ts";
import { decodeClientAddresses, formatAddress, type Address } from "../shared/addresses.ts";
import type { KvCommand } from "../store/commands.ts";
import {
  changeMembers,
  memberIdOf,
  removeMember,
  shownMember,
  shownMembers,
  transferLeadership,
} from "./member-routes.ts";
import { Backups } from "./backup-route.ts";
import { BodyReader } from "./request-body.ts";
import { answerTo, errorAnswer, unavailable, type ErrorAnswer } from "./error-answers.ts";
import { HttpMetrics } from "./http-metrics.ts";
import { endSession, openSession } from "./session-routes.ts";
import {
  BadRequestError,
  conditionOf,
  consistencyOf,
  etagOf,
  hasVersion,
  keyOf,
  parametersOf,
  percentEncode,
  sessionOf,
  splitTarget,
  textOf,
  type ConsistencyName,
} from "./request-syntax.ts";
import { readFrom, type KvNode, type Serving } from "../node/kv-node.ts";
import { listen } from "../shared/listen.ts";
import type { ListedKey } from "../store/state-machine.ts";

/** Connections at once. Each costs a few kilobytes while it waits. */
const CONNECTIONS_MAX = 4096;
/** How long a client may take to send a request, and to begin the next on the same connection. */
const REQUEST_MS_MAX = 30_000;
const HEADERS_MS_MAX = 10_000;
const KEEP_ALIVE_MS = 60_000;
/** How long requests under way have when the server closes. */
const CLOSE_GRACE_MS = 1000;

/** Keys in a listing: unless told otherwise, and at most. */
const LIST_LIMIT_DEFAULT = 100;
const LIST_LIMIT_MAX = 1000;

/** A node further behind is not ready: what it would serve by `stale` is old. */
const READY_LAG_ENTRIES_MAX = 1000;

interface Env {
  readonly Bindings: HttpBindings;
}
type RequestContext = Context<Env>;

export interface HttpServerOptions {
  /** Called with what went wrong in a request through a mistake of ours. Default: nobody is told. */
  readonly onMistake?: (error: unknown) => void;
  /** Who may operate the cluster. Default: programs on the same machine. */
  readonly admin?: AdminAccess;
}

/** The HTTP interface: keys and values under /kv, and what to know about the node. */
export class HttpServer {
  readonly #server: Server;
  readonly #onMistake: (error: unknown) => void;
  readonly #admin: AdminAccess;
  readonly #bodies = new BodyReader();
  readonly #backups = new Backups();
  readonly #metrics = new HttpMetrics();
  #serving: Serving | null = null;
  #address: Address;

  private constructor(address: Address, options: HttpServerOptions) {
    this.#address = address;
    this.#onMistake = options.onMistake ?? (() => undefined);
    this.#admin = options.admin ?? { type: "local" };
    // Without TLS or HTTP/2 options it is always this kind.
    this.#server = createAdaptorServer({ fetch: this.#routes().fetch }) as Server;
    this.#server.maxConnections = CONNECTIONS_MAX;
    this.#server.requestTimeout = REQUEST_MS_MAX;
    this.#server.headersTimeout = HEADERS_MS_MAX;
    this.#server.keepAliveTimeout = KEEP_ALIVE_MS;
  }

  /** Takes the address. Requests are refused with 503 until `serve`. */
  static async listen(address: Address, options: HttpServerOptions = {}): Promise<HttpServer> {
    const server = new HttpServer(address, options);
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

  /** Refuses new requests; those under way have a moment to end. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => {
        resolve();
      });
    });
    this.#serving = null;
    this.#server.closeIdleConnections();
    const timer = setTimeout(() => {
      this.#server.closeAllConnections();
    }, CLOSE_GRACE_MS);
    await closed;
    clearTimeout(timer);
  }

  #routes(): Hono<Env> {
    const app = new Hono<Env>();
    // Before "/kv/*", which matches it too.
    app.get("/kv", (context) => this.#answer(context, "/kv", (serving) => this.#list(context, serving)));
    app.put("/kv/*", (context) =>
      this.#answer(context, "/kv/:key", (serving) => this.#put(context, serving)),
    );
    app.get("/kv/*", (context) =>
      this.#answer(context, "/kv/:key", (serving) => this.#get(context, serving)),
    );
    app.delete("/kv/*", (context) =>
      this.#answer(context, "/kv/:key", (serving) => this.#delete(context, serving)),
    );
    app.get("/members", (context) =>
      this.#answer(context, "/members", ({ node }) => context.json(shownMembers(node.metrics()))),
    );
    app.post("/members", (context) =>
      this.#operate(context, "/members", ({ node }) =>
        this.#withBody(context, (body) => changeMembers(node, body)),
      ),
    );
    app.delete("/members/:id", (context) =>
      this.#operate(context, "/members/:id", async ({ node }) =>
        context.json(await removeMember(node, memberIdOf(targetOf(context)))),
      ),
    );
    app.post("/transfer", (context) =>
      this.#operate(context, "/transfer", ({ node }) =>
        this.#withBody(context, (body) => transferLeadership(node, body)),
      ),
    );
    app.post("/sessions", (context) =>
      this.#answer(context, "/sessions", (serving) => openSession(serving, targetOf(context))),
    );
    app.delete("/sessions/*", (context) =>
      this.#answer(context, "/sessions/:session", (serving) => endSession(serving, targetOf(context))),
    );
    app.get("/snapshot", (context) =>
      this.#operate(context, "/snapshot", (serving) => this.#sendBackup(context, serving)),
    );
    app.post("/snapshot", (context) =>
      this.#operate(context, "/snapshot", async ({ node }) => context.json(await node.snapshot())),
    );
    app.get("/status", (context) =>
      this.#answer(context, "/status", ({ node }) => context.json(statusOf(node.metrics()))),
    );
    app.get("/metrics", (context) =>
      this.#answer(context, "/metrics", async ({ node }) =>
        context.body(await this.#metrics.text(node.metrics()), 200, {
          "Content-Type": this.#metrics.contentType,
        }),
      ),
    );
    app.get("/healthz", (context) =>
      this.#answer(context, "/healthz", (serving) => health(context, serving)),
    );
    app.get("/readyz", (context) =>
      this.#answer(context, "/readyz", (serving) => readiness(context, serving)),
    );
    app.all("*", (context) => this.#answer(context, "other", () => noRoute(context)));
    return app;
  }

  /** As `#answer`, for those who may operate the cluster. */
  #operate(
    context: RequestContext,
    route: string,
    run: (serving: Serving) => Response | Promise<Response>,
  ): Promise<Response> {
    return this.#answer(context, route, (serving) => {
      const refusal = refuseAdmin(this.#admin, incomingOf(context));
      return refusal === null ? run(serving) : failure(refusal);
    });
  }

  /** Every answer goes out through here: counted, and with every failure made an answer. */
  async #answer(
    context: RequestContext,
    route: string,
    run: (serving: Serving) => Response | Promise<Response>,
  ): Promise<Response> {
    const response = await this.#attempt(context, run);
    this.#metrics.answered(context.req.method, route, response.status);
    return response;
  }

  async #attempt(
    context: RequestContext,
    run: (serving: Serving) => Response | Promise<Response>,
  ): Promise<Response> {
    const serving = this.#serving;
    if (serving === null)
      return failure(unavailable("STARTING", "the node is starting or closing; try again"));
    try {
      return await run(serving);
    } catch (error) {
      const answer = answerTo(error, targetOf(context));
      if (answer.status === 500) this.#onMistake(error);
      return failure(answer);
    }
  }

  /** For requests whose body and answer are JSON. */
  async #withBody(context: RequestContext, run: (body: Buffer) => Promise<object>): Promise<Response> {
    parametersOf(targetOf(context), []);
    const body = await this.#bodies.read(incomingOf(context));
    return Buffer.isBuffer(body) ? context.json(await run(body)) : failure(body);
  }

  async #put(context: RequestContext, serving: Serving): Promise<Response> {
    const key = keyOf(targetOf(context));
    const condition = conditionIn(context);
    parametersOf(targetOf(context), []);
    const value = await this.#bodies.read(incomingOf(context));
    if (!Buffer.isBuffer(value)) return failure(value);
    return this.#write(context, serving, { type: "put", key, value, condition });
  }

  async #delete(context: RequestContext, serving: Serving): Promise<Response> {
    const key = keyOf(targetOf(context));
    parametersOf(targetOf(context), []);
    return this.#write(context, serving, { type: "delete", key, condition: conditionIn(context) });
  }

  async #write(context: RequestContext, { node }: Serving, command: KvCommand): Promise<Response> {
    const session = sessionOf((name) => context.req.header(name));
    const begun = performance.now();
    const result = await node.write(command, session === null ? {} : { session });
    this.#metrics.wrote((performance.now() - begun) / 1000);
    if (result.type === "condition-failed") {
      const has = result.version === null ? "the key has no value" : `the key's version is ${result.version}`;
      const headers = result.version === null ? {} : { ETag: etagOf(result.version) };
      return failure(errorAnswer(412, "CONDITION_FAILED", `the condition does not hold: ${has}`, headers));
    }
    const { index, version, existed } = result;
    if (version === null) return Response.json({ index, existed });
    return Response.json({ index, version }, { headers: { ETag: etagOf(version) } });
  }

  async #get(context: RequestContext, serving: Serving): Promise<Response> {
    const target = targetOf(context);
    const key = keyOf(target);
    const consistency = consistencyOf(parametersOf(target, ["consistency"]).get("consistency"));
    const age = stalenessHeaders(serving.node, consistency);
    const found = await readFrom(serving, () => serving.store.get(key), { consistency });
    if (found === null) return failure(errorAnswer(404, "NOT_FOUND", "the key has no value", age));
    // A cache in between would make a linearizable read a stale one.
    const headers = { ETag: etagOf(found.version), "Cache-Control": "no-cache", ...age };
    if (hasVersion(context.req.header("If-None-Match"), found.version)) {
      return new Response(null, { status: 304, headers });
    }
    return new Response(Buffer.from(found.value), {
      headers: {
        ...headers,
        "Content-Type": "application/octet-stream",
        // The bytes are whatever someone put: a browser must not make a page of them.
        "X-Content-Type-Options": "nosniff",
      },
    });
  }

  async #sendBackup(context: RequestContext, { node, removal, snapshots }: Serving): Promise<Response> {
    const consistency = consistencyOf(parametersOf(targetOf(context), ["consistency"]).get("consistency"));
    // Answered as GET is, HEAD would take a snapshot, and hold it for a body that nobody reads.
    if (context.req.method === "HEAD") return noRoute(context);
    if (snapshots === undefined) return failure(errorAnswer(404, "NO_ROUTE", "this node takes no snapshots"));
    const isStaleFine = consistency === "stale";
    if (!isStaleFine) removal?.check();
    const answer = await this.#backups.send(node, snapshots, isStaleFine);
    return answer instanceof Response ? answer : failure(answer);
  }

  async #list(context: RequestContext, serving: Serving): Promise<Response> {
    const parameters = parametersOf(targetOf(context), ["prefix", "limit", "after", "consistency"]);
    const consistency = consistencyOf(parameters.get("consistency"));
    const limit = limitOf(parameters.get("limit"));
    const prefix = parameters.get("prefix") ?? Buffer.alloc(0);
    const after = parameters.get("after");
    const options = after === undefined ? { prefix, limit } : { prefix, limit, after };
    const headers = stalenessHeaders(serving.node, consistency);
    const { keys, more } = await readFrom(serving, () => serving.store.list(options), {
      consistency,
    });
    const last = keys.at(-1);
    const next =
      !more || last === undefined
        ? null
        : `/kv?prefix=${percentEncode(prefix)}&limit=${limit}&after=${percentEncode(last.key)}` +
          (consistency === "linearizable" ? "" : `&consistency=${consistency}`);
    return Response.json({ keys: keys.map(listedOf), next }, { headers });
  }
}

function incomingOf(context: RequestContext): IncomingMessage {
  return context.env.incoming;
}

/** Path and query exactly as the client wrote them: a parsed URL has lost which bytes were meant. */
function targetOf(context: RequestContext): string {
  const { path, query } = splitTarget(incomingOf(context).url ?? "/");
  return query === "" ? path : `${path}?${query}`;
}

function conditionIn(context: RequestContext): KvCommand["condition"] {
  return conditionOf(context.req.header("If-Match"), context.req.header("If-None-Match"));
}

function failure({ status, headers, body }: ErrorAnswer): Response {
  return Response.json(body, { status, headers });
}

/**
 * What a stale read may miss, as a dictionary (RFC 9651): the last entry that the answer contains, the last that this
 * node knows to be committed, and how long ago it heard from a leader. Taken before the read, so the answer is no older.
 */
function stalenessHeaders(node: KvNode, consistency: ConsistencyName): Record<string, string> {
  if (consistency !== "stale") return {};
  const { appliedIndex, commitIndex, leaderHeardMsAgo } = node.staleness();
  const heard = leaderHeardMsAgo === null ? "" : `, leader-heard-ms=${Math.ceil(leaderHeardMsAgo)}`;
  return { "Keelson-Staleness": `applied=${appliedIndex}, commit=${commitIndex}${heard}` };
}

function limitOf(value: Buffer | undefined): number {
  const text = value?.toString("utf8") ?? String(LIST_LIMIT_DEFAULT);
  const limit = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (limit >= 1 && limit <= LIST_LIMIT_MAX) return limit;
  throw new BadRequestError(`limit is a whole number from 1 to ${LIST_LIMIT_MAX}, not "${text}"`);
}

/** A key as text if it is UTF-8, and otherwise in base64, which `encoding` then says. */
function listedOf({ key, version, bytes }: ListedKey): object {
  const text = textOf(key);
  return text === null
    ? { key: Buffer.from(key).toString("base64"), encoding: "base64", version, bytes }
    : { key: text, version, bytes };
}

/** The node and its cluster, for people and programs. */
function statusOf(metrics: RaftMetrics): object {
  const { id, clusterId, role, term, leader } = metrics;
  return {
    id,
    pid: process.pid,
    clusterId,
    role,
    term,
    leader:
      leader === null
        ? null
        : { id: leader.id, address: leader.address, ...decodeClientAddresses(leader.data) },
    commit: metrics.commitIndex,
    applied: metrics.appliedIndex,
    durable: metrics.durableIndex,
    first: metrics.firstIndex,
    last: metrics.lastIndex,
    changing: metrics.config.outgoingVoters.length > 0,
    members: metrics.members.map((member) => shownMember(member, metrics)),
    pending: { entries: metrics.pendingEntries, bytes: metrics.pendingBytes, reads: metrics.pendingReads },
    sessions: metrics.sessions,
    snapshots: metrics.snapshots,
    counters: metrics.counters,
  };
}

/** Whether the process should live: it answers, and its node has not stopped. */
function health(context: RequestContext, { node }: Serving): Response {
  if (node.metrics().role !== "stopped") return context.json({ ok: true });
  return failure(errorAnswer(503, "STOPPED", "the node has stopped; the server's log says why"));
}

/** Whether clients should be sent here. */
function readiness(context: RequestContext, { node }: Serving): Response {
  const { role, leader, commitIndex, appliedIndex } = node.metrics();
  if (role === "stopped") return failure(unavailable("STOPPED", "the node has stopped"));
  if (leader === null) return failure(unavailable("NO_LEADER", "no leader is known"));
  const behind = commitIndex - appliedIndex;
  if (behind > READY_LAG_ENTRIES_MAX) {
    return failure(unavailable("CATCHING_UP", `${behind} entries are committed and not applied yet`));
  }
  return context.json({ ok: true, leader: leader.id });
}

const METHODS: readonly (readonly [path: RegExp, methods: string])[] = [
  [/^\/kv\/./, "GET, HEAD, PUT, DELETE"],
  [/^\/sessions$/, "POST"],
  [/^\/sessions\/./, "DELETE"],
  [/^\/members$/, "GET, HEAD, POST"],
  [/^\/members\/[^/]+$/, "DELETE"],
  [/^\/transfer$/, "POST"],
  [/^\/snapshot$/, "GET, POST"],
  [/^\/(kv|status|metrics|healthz|readyz)$/, "GET, HEAD"],
];

function noRoute(context: RequestContext): Response {
  const known = METHODS.find(([path]) => path.test(context.req.path));
  if (known === undefined) {
    return failure(
      errorAnswer(
        404,
        "NO_ROUTE",
        "there is /kv/KEY, /kv, /members, /transfer, /snapshot, /status, /metrics, /healthz and /readyz",
      ),
    );
  }
  const [, methods] = known;
  const message = `${context.req.method} is not possible here; ${methods} are`;
  return failure(errorAnswer(405, "METHOD_NOT_ALLOWED", message, { Allow: methods }));
}
