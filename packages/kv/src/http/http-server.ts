/**
 * The HTTP server: listens, finds the route of each request, and turns errors into answers.
 *
 * KEY and ID are percent-encoded; a KEY may hold any bytes, slashes included. It is read from the target as
 * the client wrote it, so `/kv/..` is the key "..". For clients that resolve `..` themselves, as most do, a
 * key may also be given as `/kv/?key=KEY`.
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
 * - (op): for operators only; anyone else gets 401 or 403. If the node has a file of tokens, everything but
 *   the health checks needs one (`access/rights.ts`).
 * - `consistency` is `linearizable` (the default), `lease` or `stale`. Answers to stale reads have the header
 *   `Keelson-Staleness`, which says how old they may be.
 * - A condition is `If-Match` or `If-None-Match: *`. If it doesn't hold, the answer is 412.
 * - A session is given by `Keelson-Session`, `Keelson-Sequence` and `Keelson-Unanswered`
 *   (`request-syntax.ts`).
 * - HEAD is answered like GET, without the body. Only `HEAD /snapshot` gets 405: it would take a snapshot for
 *   nothing.
 *
 * The port also speaks the binary protocol (`binary-server/`), to clients whose first byte says so
 * (`first-bytes.ts`). Its connections count for the same limits.
 *
 * No answer has CORS headers, and requests that a web page made are refused (`browser-guard.ts`).
 *
 * Every error answer has the body `{error: {code, message, outcome}}`. `outcome` says whether the request
 * took effect: `not-done`, `unknown` or `done`. The statuses of errors, and which error of the library gets
 * which, are in `error-answers.ts`.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { Socket } from "node:net";
import { Access } from "../access/access.ts";
import { rightOfRoute, UNKNOWN_ROUTE_RIGHT, type Right } from "../access/rights.ts";
import type { BinaryConnection } from "../binary-server/binary-connection.ts";
import { BinaryServer, type BinaryLimits } from "../binary-server/binary-server.ts";
import { formatAddress, type Address } from "../shared/addresses.ts";
import { ClientConnections } from "../shared/client-connections.ts";
import { closeServer, listen } from "../shared/listen.ts";
import { serverBudgets, STALLED_MS, type ServerBudgets } from "../shared/memory-budget.ts";
import type { KvNode, Serving } from "../node/kv-node.ts";
import { STARTING } from "../operations/failures.ts";
import { KeyOperations } from "../operations/key-operations.ts";
import { followConnections, limitReadAhead } from "../tls/secure-sockets.ts";
import type { ServerTls } from "../tls/server-tls.ts";
import { errorResponse, jsonAnswer, type Answer } from "./answer.ts";
import { AnswerWriter } from "./answer-writer.ts";
import { Backups } from "./backup-route.ts";
import { BrowserGuard } from "./browser-guard.ts";
import { answerOf, answerTo, errorAnswer, noRoom, type ErrorAnswer } from "./error-answers.ts";
import { ExchangeQueue, WaitingRequests, type Exchange } from "./exchange-queue.ts";
import { byFirstByte } from "./first-bytes.ts";
import { HttpMetrics } from "./http-metrics.ts";
import { HttpRequest } from "./http-request.ts";
import { InputPacer } from "./input-pacer.ts";
import { KeyRoutes } from "./key-routes.ts";
import {
  changeMembers,
  memberIdOf,
  membersViewOf,
  removeMember,
  transferLeadership,
} from "./member-routes.ts";
import { healthAnswer, readinessAnswer, statusOf } from "./node-routes.ts";
import { RequestBody } from "./request-body.ts";
import { consistencyOf, parametersOf } from "./request-syntax.ts";
import { RouteAccess } from "./route-access.ts";
import { endSession, openSession } from "./session-routes.ts";

/** Limits of an `HttpServer`. */
export interface HttpServerLimits {
  /**
   * The most connections at once. For a further one, the one that was idle longest is closed, or else one
   * whose client has stalled; if there is neither, the further one is refused. Default 4096.
   */
  readonly connectionsMax: number;
  /**
   * Milliseconds in which a client must take the next part (64 KiB) of its answer; a backup's parts are
   * larger. Default 30,000.
   */
  readonly answerPartMsMax: number;
  /**
   * Milliseconds in which a client must send a request. Slower clients would hold connections. Default
   * 30,000.
   */
  readonly requestMsMax: number;
  /** Milliseconds in which it must send the request's headers. Default 10,000. */
  readonly headersMsMax: number;
  /** Milliseconds in which a client must complete the handshake of TLS. Default 10,000. */
  readonly handshakeMsMax: number;
}

const DEFAULTS: HttpServerLimits = {
  connectionsMax: 4096,
  answerPartMsMax: 30_000,
  requestMsMax: 30_000,
  headersMsMax: 10_000,
  handshakeMsMax: 10_000,
};

/** How long a connection stays open without a request. */
const KEEP_ALIVE_MS = 60_000;
/**
 * How often Node checks the two time limits of requests, and so how late it may notice that one is exceeded.
 * Its default is 30 s.
 */
const CHECK_EVERY_MS = 5000;
/**
 * The most requests that wait behind another on their connection, over all connections. Each takes some KiB.
 */
const WAITING_MAX = 2048;
/**
 * Bytes that a TLS connection may hold whose requests can't be parsed yet. What comes while they are parsed
 * is not held, so this costs nothing.
 */
const READ_AHEAD_BYTES = 2048;
/** How long requests under way have to end after `close`. Then their connections are cut. */
const CLOSE_GRACE_MS = 1000;

/** Options of `HttpServer.listen`. */
export interface HttpServerOptions {
  /**
   * Called with each error that is a bug of this program; the client only gets a 500. Default: does nothing.
   */
  readonly onInternalError?: (error: unknown) => void;
  /** Who gets in. Default: everyone reads and writes, and programs on this machine operate the cluster. */
  readonly access?: Access;
  /** Serve over TLS. Default: without. */
  readonly tls?: ServerTls;
  /**
   * Hosts by which clients may call this server, besides loopback names and the address that they connect to:
   * see `browser-guard.ts`. The host that it listens on is always one, unless it stands for all addresses
   * (0.0.0.0 or [::]).
   */
  readonly names?: readonly string[];
  readonly limits?: Partial<HttpServerLimits>;
  /** Limits of connections that speak the binary protocol. */
  readonly binaryLimits?: Partial<BinaryLimits>;
  /** Shared with the node's other server. Default: its own. */
  readonly connections?: ClientConnections;
  /** Shared with the node's other server. Default: its own. */
  readonly budgets?: ServerBudgets;
}

/** Answers a request. Throws whatever the node throws. */
type Handler = (request: HttpRequest, serving: Serving) => Answer | Promise<Answer>;

interface Route extends RouteParts {
  /** What answers each method, HEAD included, and what a client needs for it. */
  readonly methods: ReadonlyMap<string, { readonly handler: Handler; readonly right: Right }>;
}

/** A route before its rights were looked up. */
interface RouteParts {
  readonly path: RegExp;
  /** How the metrics and the table of rights (`access/rights.ts`) name the route. */
  readonly label: string;
  /** By method. HEAD is answered like GET. */
  readonly handlers: Readonly<Record<string, Handler>>;
}

/** The HTTP interface of a node. It takes its address first and gets the node later, with `serve`. */
export class HttpServer {
  readonly #server: Server;
  readonly #onInternalError: (error: unknown) => void;
  readonly #access: RouteAccess;
  readonly #limits: HttpServerLimits;
  readonly #connections: ClientConnections;
  readonly #budgets: ServerBudgets;
  readonly #waiting = new WaitingRequests(WAITING_MAX);
  readonly #pacer = new InputPacer();
  readonly #backups = new Backups();
  readonly #metrics = new HttpMetrics();
  readonly #operations = new KeyOperations((seconds) => {
    this.#metrics.wrote(seconds);
  });
  readonly #keys = new KeyRoutes(this.#operations);
  readonly #routes: readonly Route[];
  /** The TCP sockets of the open connections. With TLS, some of them have not completed the handshake. */
  readonly #open = new Set<Socket>();
  /** By TLS socket, the TCP socket that carries it. Without TLS, empty. */
  readonly #carriers = new WeakMap<Socket, Socket>();
  readonly #binary: BinaryServer;
  /** The connections that speak the binary protocol. */
  readonly #binaries = new Map<Socket, BinaryConnection>();
  /** Connections that have not sent a byte yet. */
  readonly #undecided = new Set<Socket>();
  /** The connections that can send requests, with their requests. */
  readonly #queues = new Map<Socket, ExchangeQueue>();
  /**
   * Connections without a request in progress, in a handshake or after it; the one that has been so longest
   * comes first.
   */
  readonly #idle = new Set<Socket>();
  /** null before `serve` and after `close`: then every request gets 503. */
  #serving: Serving | null = null;
  /**
   * The address to listen on; once `listen` has resolved, the bound one, with the port that the system chose.
   */
  #address: Address;

  private constructor(address: Address, options: HttpServerOptions) {
    this.#address = address;
    this.#onInternalError = options.onInternalError ?? (() => undefined);
    const guard = new BrowserGuard([address.host, ...(options.names ?? [])]);
    const access = options.access ?? new Access();
    this.#access = new RouteAccess(access, guard);
    this.#limits = { ...DEFAULTS, ...options.limits };
    this.#connections = options.connections ?? new ClientConnections();
    this.#connections.onMakeRoom(() => this.#closeIdle() || this.#closeStalled());
    this.#budgets = options.budgets ?? serverBudgets();
    this.#routes = this.#makeRoutes();
    this.#binary = new BinaryServer({
      access,
      operations: this.#operations,
      budgets: this.#budgets,
      onAnswered: (operation, status) => {
        this.#metrics.called(operation, status);
      },
      onInternalError: this.#onInternalError,
      onIdle: (socket, isIdle) => {
        if (isIdle) this.#idle.add(socket);
        else this.#idle.delete(socket);
      },
      ...(options.binaryLimits === undefined ? {} : { limits: options.binaryLimits }),
    });
    this.#server = this.#makeServer(options.tls);
    this.#server.on("request", (incoming, outgoing) => {
      this.#onRequest(incoming, outgoing);
    });
  }

  #makeServer(tls: ServerTls | undefined): Server {
    const { requestMsMax, headersMsMax, handshakeMsMax } = this.#limits;
    const options = {
      requestTimeout: requestMsMax,
      headersTimeout: headersMsMax,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: Math.min(CHECK_EVERY_MS, headersMsMax),
    };
    if (tls === undefined) {
      const server = createServer(options);
      const speakHttp = takeListener(server, "connection");
      server.on("connection", (socket: Socket) => {
        if (this.#accept(socket)) this.#decide(socket, speakHttp);
        else socket.destroy();
      });
      return server;
    }
    const server = createSecureServer({ ...options, ...tls.options, handshakeTimeout: handshakeMsMax });
    tls.follow(server);
    const speakHttp = takeListener(server, "secureConnection");
    followConnections(server, {
      onAccept: (carrier) => this.#accept(carrier),
      onSecure: (socket, carrier) => {
        this.#idle.delete(carrier);
        this.#carriers.set(socket, carrier);
        limitReadAhead(socket, READ_AHEAD_BYTES);
        this.#decide(socket, speakHttp);
      },
    });
    return server;
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

  /** All routes with their methods, as the table of rights names them. */
  get routes(): string[] {
    return this.#routes.flatMap(({ label, handlers }) =>
      Object.keys(handlers).map((method) => `${method} ${label}`),
    );
  }

  serve(serving: Serving): void {
    this.#serving = serving;
    this.#binary.serve(serving);
  }

  /** Refuses new requests, and waits up to `CLOSE_GRACE_MS` for those under way. */
  async close(): Promise<void> {
    this.#serving = null;
    const closed = closeServer(this.#server, CLOSE_GRACE_MS, () => {
      this.#server.closeAllConnections();
      for (const carrier of this.#open) carrier.destroy();
    });
    this.#server.closeIdleConnections();
    for (const socket of this.#undecided) socket.destroy();
    this.#binary.close();
    await closed;
  }

  /** Counts a new connection. False: there is no room for it. */
  #accept(carrier: Socket): boolean {
    if (this.#open.size >= this.#limits.connectionsMax && !this.#closeIdle()) this.#closeStalled();
    if (this.#open.size >= this.#limits.connectionsMax || !this.#connections.admit(carrier)) return false;
    this.#open.add(carrier);
    this.#idle.add(carrier);
    carrier.once("close", () => {
      this.#open.delete(carrier);
      this.#idle.delete(carrier);
    });
    return true;
  }

  /** Finds out which protocol the client of an accepted connection speaks, and speaks it. */
  #decide(socket: Socket, speakHttp: (socket: Socket) => void): void {
    this.#idle.add(socket);
    this.#undecided.add(socket);
    socket.once("close", () => {
      this.#undecided.delete(socket);
      this.#idle.delete(socket);
    });
    byFirstByte(socket, this.#limits.headersMsMax, {
      onHttp: () => {
        this.#undecided.delete(socket);
        speakHttp(socket);
        this.#begin(socket);
      },
      onBinary: () => {
        this.#undecided.delete(socket);
        this.#binaries.set(socket, this.#binary.add(socket));
        socket.once("close", () => this.#binaries.delete(socket));
      },
    });
  }

  /** Takes requests from a connection that was accepted. */
  #begin(socket: Socket): void {
    const queue = new ExchangeQueue(this.#waiting, (exchange) => this.#run(exchange));
    this.#pacer.pace(socket, queue);
    this.#queues.set(socket, queue);
    socket.once("close", () => {
      queue.close();
      this.#queues.delete(socket);
    });
  }

  /** Closes the connection that has been idle longest. False: none is. */
  #closeIdle(): boolean {
    const [socket] = this.#idle;
    if (socket === undefined) return false;
    this.#drop(socket);
    return true;
  }

  /**
   * Closes the connection whose client has let its request wait longest, if that is at least `STALLED_MS`:
   * clients that don't read must not keep others out until their deadlines. False: there is none.
   */
  #closeStalled(): boolean {
    let stalled: Socket | null = null;
    let stalledSince = performance.now() - STALLED_MS;
    for (const [socket, { waitsSince: since }] of [...this.#queues, ...this.#binaries]) {
      if (since === null || since > stalledSince) continue;
      stalled = socket;
      stalledSince = since;
    }
    if (stalled === null) return false;
    this.#drop(stalled);
    return true;
  }

  /**
   * Destroys a connection to make room for another. It isn't counted from now on, although its "close" event
   * comes later.
   */
  #drop(socket: Socket): void {
    this.#idle.delete(socket);
    this.#queues.delete(socket);
    this.#binaries.delete(socket);
    this.#undecided.delete(socket);
    const carrier = this.#carriers.get(socket) ?? socket;
    this.#open.delete(carrier);
    this.#connections.forget(carrier);
    socket.destroy();
  }

  #onRequest(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const queue = this.#queues.get(incoming.socket);
    if (queue === undefined) return;
    this.#idle.delete(incoming.socket);
    queue.add(incoming, () => {
      const { requests, answers } = this.#budgets;
      const hasBody = TAKES_BODY.has(incoming.method ?? "GET");
      // A body that the method doesn't take is discarded as it comes. Node would keep some of it until the
      // answer is complete.
      if (!hasBody) incoming.resume();
      const body = hasBody ? new RequestBody(incoming, requests) : null;
      return { request: new HttpRequest(incoming, body, answers.open()), outgoing };
    });
  }

  /** Carries out one request, and resolves when the client has its answer or is gone. */
  async #run({ request, outgoing }: Exchange): Promise<void> {
    const writer = new AnswerWriter(outgoing, request.answerAccount, this.#limits.answerPartMsMax);
    try {
      const answer = await this.#answer(request);
      request.body?.drop();
      await writer.send(answer, request.method === "HEAD");
    } catch (error) {
      this.#onInternalError(error);
      request.incoming.socket.destroy();
    } finally {
      request.body?.drop();
    }
    const { socket } = request.incoming;
    // If no other request waits, the connection is idle: this request leaves the queue next.
    if (!socket.destroyed && this.#queues.get(socket)?.waiting === 0) this.#idle.add(socket);
  }

  /** The answer to a request, counted by its route. */
  async #answer(request: HttpRequest): Promise<Answer> {
    const route = this.#routes.find(({ path }) => path.test(request.path));
    const answer = withinBudget(request, await this.#answerOf(route, request));
    this.#metrics.answered(request.method, route?.label ?? "other", answer.status);
    return answer;
  }

  /** Runs the handler, and makes an answer of whatever it throws. */
  async #answerOf(route: Route | undefined, request: HttpRequest): Promise<Answer> {
    const method = route?.methods.get(request.method);
    const refusal = this.#access.refuse(request, method?.right ?? UNKNOWN_ROUTE_RIGHT);
    if (refusal !== null) return errorResponse(refusal);
    if (route === undefined) return errorResponse(noRoute());
    if (method === undefined) return errorResponse(wrongMethod(request, route));
    const serving = this.#serving;
    if (serving === null) return errorResponse(answerOf(STARTING));
    try {
      return await method.handler(request, serving);
    } catch (error) {
      const answer = answerTo(error, request.target);
      if (answer.status === 500) this.#onInternalError(error);
      return errorResponse(answer);
    }
  }

  #makeRoutes(): Route[] {
    return [...this.#clientRoutes(), ...this.#operationRoutes(), ...this.#nodeRoutes()].map(withMethods);
  }

  /** What a client of the store uses: keys and sessions. */
  #clientRoutes(): RouteParts[] {
    const keys = this.#keys;
    return [
      {
        path: /^\/kv$/,
        label: "/kv",
        handlers: { GET: (request, serving) => keys.list(request, serving) },
      },
      {
        path: /^\/kv\//,
        label: "/kv/:key",
        handlers: {
          GET: (request, serving) => keys.get(request, serving),
          PUT: (request, serving) => keys.put(request, serving),
          DELETE: (request, serving) => keys.delete(request, serving),
        },
      },
      {
        path: /^\/sessions$/,
        label: "/sessions",
        handlers: { POST: ({ target }, serving) => openSession(this.#operations, serving, target) },
      },
      {
        path: /^\/sessions\//,
        label: "/sessions/:session",
        handlers: { DELETE: ({ target }, serving) => endSession(this.#operations, serving, target) },
      },
    ];
  }

  /** What operators use: members, leadership, snapshots. */
  #operationRoutes(): RouteParts[] {
    return [
      {
        path: /^\/members$/,
        label: "/members",
        handlers: {
          GET: (_, { node }) => jsonAnswer(membersViewOf(node.metrics())),
          POST: (request, { node }) => withBody(request, (body) => changeMembers(node, body)),
        },
      },
      {
        path: /^\/members\/[^/]+$/,
        label: "/members/:id",
        handlers: {
          DELETE: async ({ target }, { node }) => jsonAnswer(await removeMember(node, memberIdOf(target))),
        },
      },
      {
        path: /^\/transfer$/,
        label: "/transfer",
        handlers: {
          POST: (request, { node }) => withBody(request, (body) => transferLeadership(node, body)),
        },
      },
      {
        path: /^\/snapshot$/,
        label: "/snapshot",
        handlers: {
          GET: (request, serving) => this.#backup(request, serving),
          POST: async (_, { node }) => jsonAnswer(await node.snapshot()),
        },
      },
    ];
  }

  /** What monitoring uses. */
  #nodeRoutes(): RouteParts[] {
    const route = (label: string, GET: Handler): RouteParts => ({
      path: new RegExp(`^${label}$`),
      label,
      handlers: { GET },
    });
    return [
      route("/status", (_, { node }) => jsonAnswer(statusOf(node.metrics()))),
      route("/metrics", (_, { node }) => this.#metricsOf(node)),
      route("/healthz", (_, serving) => healthAnswer(serving)),
      route("/readyz", (_, serving) => readinessAnswer(serving)),
    ];
  }

  async #metricsOf(node: KvNode): Promise<Answer> {
    const text = await this.#metrics.text(node.metrics());
    const headers = { "Content-Type": this.#metrics.contentType };
    return { status: 200, headers, body: Buffer.from(text, "utf8") };
  }

  async #backup(request: HttpRequest, { node, snapshots }: Serving): Promise<Answer> {
    const { target, method } = request;
    const consistency = consistencyOf(parametersOf(target, ["consistency"]).get("consistency"));
    // GET's handler answers HEAD too. It would take a snapshot and keep it open for an unread body.
    if (method === "HEAD") {
      return errorResponse(methodNotAllowed(method, "GET, POST"));
    }
    if (snapshots === undefined) {
      return errorResponse(errorAnswer(404, "NO_ROUTE", "this node takes no snapshots"));
    }
    return this.#backups.send(node, snapshots, consistency === "stale");
  }
}

/**
 * Takes away the listener by which Node's HTTP server begins to speak HTTP on a connection, and returns it.
 *
 * @throws Error this version of Node has another way. Then there is no way to decide first
 */
function takeListener(server: Server, event: "connection" | "secureConnection"): (socket: Socket) => void {
  const [listener, ...others] = server.listeners(event) as ((this: Server, socket: Socket) => void)[];
  if (listener === undefined || others.length > 0)
    throw new Error(`Node's HTTP server has ${server.listenerCount(event)} listeners of "${event}", not one`);
  server.off(event, listener);
  return listener.bind(server);
}

const TAKES_BODY = new Set(["PUT", "POST"]);

/**
 * Charges the answer's account for the body, unless the route did so already. If there is no room for it, a
 * read gets an error instead; the answer to anything else is sent all the same, because it says what was
 * done.
 */
function withinBudget({ answerAccount, method }: HttpRequest, answer: Answer): Answer {
  if (!(answer.body instanceof Uint8Array)) return answer;
  const hasRoom = answerAccount.take(Math.max(0, answer.body.length - answerAccount.bytes));
  return hasRoom || method !== "GET" ? answer : errorResponse(noRoom());
}

/** Looks the rights up in the table once, not for each request. */
function withMethods(route: RouteParts): Route {
  const methods = new Map<string, { readonly handler: Handler; readonly right: Right }>();
  for (const [name, handler] of Object.entries(route.handlers)) {
    for (const method of name === "GET" ? ["GET", "HEAD"] : [name])
      methods.set(method, { handler, right: rightOfRoute(method, route.label) });
  }
  return { ...route, methods };
}

/**
 * Handles a request whose body and answer are JSON: receives the body, calls `run`, and encodes the result.
 */
async function withBody(request: HttpRequest, run: (body: Buffer) => Promise<object>): Promise<Answer> {
  parametersOf(request.target, []);
  const body = (await request.body?.whole()) ?? Buffer.alloc(0);
  return Buffer.isBuffer(body) ? jsonAnswer(await run(body)) : errorResponse(body);
}

function noRoute(): ErrorAnswer {
  return errorAnswer(
    404,
    "NO_ROUTE",
    "there is /kv/KEY, /kv, /members, /transfer, /snapshot, /status, /metrics, /healthz and /readyz",
  );
}

function wrongMethod({ method }: HttpRequest, { methods }: Route): ErrorAnswer {
  return methodNotAllowed(method, [...methods.keys()].join(", "));
}

function methodNotAllowed(method: string, methods: string): ErrorAnswer {
  const message = `${method} is not possible here; ${methods} are`;
  return errorAnswer(405, "METHOD_NOT_ALLOWED", message, { Allow: methods });
}
