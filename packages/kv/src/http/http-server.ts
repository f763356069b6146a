/**
 * The HTTP server: listens, finds the route of each request, and turns errors into answers.
 *
 * KEY and ID are percent-encoded; a KEY may hold any bytes, slashes included.
 *
 * | request                 | takes                                   | answer, if it succeeds           |
 * | ----------------------- | --------------------------------------- | -------------------------------- |
 * | GET /kv                 | prefix, after, limit (100), consistency | 200 {keys, next}                 |
 * | PUT /kv/KEY             | the value as body; condition; session   | 200 {index, version}, ETag       |
 * | GET /kv/KEY             | consistency; If-None-Match              | 200 the value, ETag; or 304      |
 * | DELETE /kv/KEY          | condition; session                      | 200 {index, existed}             |
 * | POST /sessions          | ttlMs (60,000)                          | 201 {session, ttlMs}, Location   |
 * | DELETE /sessions/ID     |                                         | 204, even if it has ended before |
 * | GET /members            |                                         | 200 MembersView                  |
 * | POST /members (op)      | ChangeBody in member-routes.ts          | 200 MembersView                  |
 * | DELETE /members/ID (op) |                                         | 200 MembersView                  |
 * | POST /transfer (op)     | {to}, or an empty body                  | 200 {leader}                     |
 * | GET /snapshot (op)      | consistency                             | 200 the file, Keelson-Snapshot   |
 * | POST /snapshot (op)     |                                         | 200 {index, term, bytes}         |
 * | GET /status             |                                         | 200 see statusOf                 |
 * | GET /metrics            |                                         | 200 for Prometheus               |
 * | GET /healthz            |                                         | 200; 503 if the node has stopped |
 * | GET /readyz             |                                         | 200; 503 if it is not ready      |
 *
 * - (op): for operators only (`admin-access.ts`); anyone else gets 401 or 403.
 * - `consistency` is `linearizable` (the default), `lease` or `stale`. Answers to stale reads have the header
 *   `Keelson-Staleness`, which says how old they may be.
 * - A condition is `If-Match` or `If-None-Match: *`. If it doesn't hold, the answer is 412.
 * - A session is given by `Keelson-Session`, `Keelson-Sequence` and `Keelson-Unanswered`
 *   (`request-syntax.ts`).
 * - HEAD is answered like GET, without the body. Only `HEAD /snapshot` gets 405: it would take a snapshot for
 *   nothing.
 *
 * Every error answer has the body `{error: {code, message, outcome}}`. `outcome` says whether the request
 * took effect: `not-done`, `unknown` or `done`. The statuses of errors, and which error of the library gets
 * which, are in `error-answers.ts`.
 */
import type { Server } from "node:http";
import { createAdaptorServer } from "@hono/node-server";
import { Hono } from "hono";
import { formatAddress, type Address } from "../shared/addresses.ts";
import { listen } from "../shared/listen.ts";
import type { KvNode, Serving } from "../node/kv-node.ts";
import { refuseAdmin, type AdminAccess } from "./admin-access.ts";
import { Backups } from "./backup-route.ts";
import { answerTo, errorAnswer, unavailable } from "./error-answers.ts";
import { HttpMetrics } from "./http-metrics.ts";
import { KeyRoutes } from "./key-routes.ts";
import {
  changeMembers,
  memberIdOf,
  membersViewOf,
  removeMember,
  transferLeadership,
} from "./member-routes.ts";
import { healthAnswer, readinessAnswer, statusOf } from "./node-routes.ts";
import { BodyReader } from "./request-body.ts";
import { errorResponse, incomingOf, targetOf, type HttpEnv, type RequestContext } from "./request-context.ts";
import { consistencyOf, parametersOf } from "./request-syntax.ts";
import { endSession, openSession } from "./session-routes.ts";

/** The most connections at once. Each costs a few kilobytes even while it is idle. */
const CONNECTIONS_MAX = 4096;
/** How long a client may take to send one request, and its headers; slower clients would hold connections. */
const REQUEST_MS_MAX = 30_000;
const HEADERS_MS_MAX = 10_000;
/** How long a connection stays open without a request. */
const KEEP_ALIVE_MS = 60_000;
/** How long requests under way have to end after `close`. Then their connections are cut. */
const CLOSE_GRACE_MS = 1000;

/** Options of `HttpServer.listen`. */
export interface HttpServerOptions {
  /**
   * Called with each error that is a bug of this program; the client only gets a 500. Default: does nothing.
   */
  readonly onInternalError?: (error: unknown) => void;
  /** Who may operate the cluster. Default: programs on the same machine. */
  readonly admin?: AdminAccess;
}

/** Answers a request. Throws whatever the node throws. */
type Handler = (context: RequestContext, serving: Serving) => Response | Promise<Response>;

/** The HTTP interface of a node. It takes its address first and gets the node later, with `serve`. */
export class HttpServer {
  readonly #server: Server;
  readonly #onInternalError: (error: unknown) => void;
  readonly #admin: AdminAccess;
  readonly #bodies = new BodyReader();
  readonly #backups = new Backups();
  readonly #metrics = new HttpMetrics();
  readonly #keys = new KeyRoutes(this.#bodies, this.#metrics);
  /** null before `serve` and after `close`: then every request gets 503. */
  #serving: Serving | null = null;
  /** As asked for; from `listen` on, as bound. */
  #address: Address;

  private constructor(address: Address, options: HttpServerOptions) {
    this.#address = address;
    this.#onInternalError = options.onInternalError ?? (() => undefined);
    this.#admin = options.admin ?? { type: "local" };
    // Without options for TLS or HTTP/2, the adaptor makes a plain HTTP server.
    this.#server = createAdaptorServer({ fetch: this.#routes().fetch }) as Server;
    this.#server.maxConnections = CONNECTIONS_MAX;
    this.#server.requestTimeout = REQUEST_MS_MAX;
    this.#server.headersTimeout = HEADERS_MS_MAX;
    this.#server.keepAliveTimeout = KEEP_ALIVE_MS;
  }

  /**
   * Binds the address. Requests get 503 until `serve`.
   *
   * @throws ListenError the address can't be had
   */
  static async listen(address: Address, options: HttpServerOptions = {}): Promise<HttpServer> {
    const server = new HttpServer(address, options);
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

  /** Refuses new requests, and waits a moment for those under way. */
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

  #routes(): Hono<HttpEnv> {
    const app = new Hono<HttpEnv>();
    this.#addClientRoutes(app);
    this.#addOperationRoutes(app);
    this.#addNodeRoutes(app);
    app.all("*", this.#route("other", noRoute));
    return app;
  }

  /** What a client of the store uses: keys and sessions. */
  #addClientRoutes(app: Hono<HttpEnv>): void {
    const keys = this.#keys;
    // Hono tries routes in order, and "/kv/*" matches "/kv" too. So "/kv" comes first.
    app.get(
      "/kv",
      this.#route("/kv", (context, serving) => keys.list(context, serving)),
    );
    app.put(
      "/kv/*",
      this.#route("/kv/:key", (context, serving) => keys.put(context, serving)),
    );
    app.get(
      "/kv/*",
      this.#route("/kv/:key", (context, serving) => keys.get(context, serving)),
    );
    app.delete(
      "/kv/*",
      this.#route("/kv/:key", (context, serving) => keys.delete(context, serving)),
    );
    app.post(
      "/sessions",
      this.#route("/sessions", (context, serving) => openSession(serving, targetOf(context))),
    );
    app.delete(
      "/sessions/*",
      this.#route("/sessions/:session", (context, serving) => endSession(serving, targetOf(context))),
    );
  }

  /** What operators use: members, leadership, snapshots. */
  #addOperationRoutes(app: Hono<HttpEnv>): void {
    app.get(
      "/members",
      this.#route("/members", (context, { node }) => context.json(membersViewOf(node.metrics()))),
    );
    app.post(
      "/members",
      this.#adminRoute("/members", (context, { node }) =>
        this.#withBody(context, (body) => changeMembers(node, body)),
      ),
    );
    app.delete(
      "/members/:id",
      this.#adminRoute("/members/:id", async (context, { node }) =>
        context.json(await removeMember(node, memberIdOf(targetOf(context)))),
      ),
    );
    app.post(
      "/transfer",
      this.#adminRoute("/transfer", (context, { node }) =>
        this.#withBody(context, (body) => transferLeadership(node, body)),
      ),
    );
    app.get(
      "/snapshot",
      this.#adminRoute("/snapshot", (context, serving) => this.#sendBackup(context, serving)),
    );
    app.post(
      "/snapshot",
      this.#adminRoute("/snapshot", async (context, { node }) => context.json(await node.snapshot())),
    );
  }

  /** What monitoring uses. */
  #addNodeRoutes(app: Hono<HttpEnv>): void {
    app.get(
      "/status",
      this.#route("/status", (context, { node }) => context.json(statusOf(node.metrics()))),
    );
    app.get(
      "/metrics",
      this.#route("/metrics", (context, { node }) => this.#sendMetrics(context, node)),
    );
    app.get("/healthz", this.#route("/healthz", healthAnswer));
    app.get("/readyz", this.#route("/readyz", readinessAnswer));
  }

  /** As `#route`, but refuses requests from anyone who may not operate the cluster. */
  #adminRoute(label: string, handler: Handler): (context: RequestContext) => Promise<Response> {
    return this.#route(label, (context, serving) => {
      const refusal = refuseAdmin(this.#admin, incomingOf(context));
      return refusal === null ? handler(context, serving) : errorResponse(refusal);
    });
  }

  /** Every answer passes through here: it counts answers by `label`, which is the route in the metrics. */
  #route(label: string, handler: Handler): (context: RequestContext) => Promise<Response> {
    return async (context) => {
      const response = await this.#answer(context, handler);
      this.#metrics.answered(context.req.method, label, response.status);
      return response;
    };
  }

  /** Runs the handler, and makes an answer of whatever it throws. */
  async #answer(context: RequestContext, handler: Handler): Promise<Response> {
    const serving = this.#serving;
    if (serving === null)
      return errorResponse(unavailable("STARTING", "the node is starting or closing; try again"));
    try {
      return await handler(context, serving);
    } catch (error) {
      const answer = answerTo(error, targetOf(context));
      if (answer.status === 500) this.#onInternalError(error);
      return errorResponse(answer);
    }
  }

  /** For requests whose body and answer are JSON. */
  async #withBody(context: RequestContext, run: (body: Buffer) => Promise<object>): Promise<Response> {
    parametersOf(targetOf(context), []);
    const body = await this.#bodies.read(incomingOf(context));
    return Buffer.isBuffer(body) ? context.json(await run(body)) : errorResponse(body);
  }

  async #sendMetrics(context: RequestContext, node: KvNode): Promise<Response> {
    const text = await this.#metrics.text(node.metrics());
    return context.body(text, 200, { "Content-Type": this.#metrics.contentType });
  }

  async #sendBackup(context: RequestContext, { node, removal, snapshots }: Serving): Promise<Response> {
    const consistency = consistencyOf(parametersOf(targetOf(context), ["consistency"]).get("consistency"));
    // Hono runs GET's handler for HEAD too. It would take a snapshot and keep it open for an unread body.
    if (context.req.method === "HEAD") return noRoute(context);
    if (snapshots === undefined) {
      return errorResponse(errorAnswer(404, "NO_ROUTE", "this node takes no snapshots"));
    }
    const mayBeStale = consistency === "stale";
    if (!mayBeStale) removal?.throwIfRemoved();
    const answer = await this.#backups.send(node, snapshots, mayBeStale);
    return answer instanceof Response ? answer : errorResponse(answer);
  }
}

/** Which methods each path has, for requests that match no route. */
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

/** 405 for a known path, 404 for any other. */
function noRoute(context: RequestContext): Response {
  const known = METHODS.find(([path]) => path.test(context.req.path));
  if (known === undefined) {
    return errorResponse(
      errorAnswer(
        404,
        "NO_ROUTE",
        "there is /kv/KEY, /kv, /members, /transfer, /snapshot, /status, /metrics, /healthz and /readyz",
      ),
    );
  }
  const [, methods] = known;
  const message = `${context.req.method} is not possible here; ${methods} are`;
  return errorResponse(errorAnswer(405, "METHOD_NOT_ALLOWED", message, { Allow: methods }));
}
