/**
 * Carries calls in the binary protocol to nodes that speak it, and over HTTP to others.
 *
 * **The decision**, once for each node: the first call opens a binary connection. A node of an earlier
 * version answers its opening bytes with an HTTP error; then this call and all further ones go over HTTP. A
 * connection that ends or stays silent before the node's welcome proves nothing the first time, since the
 * node may just have been stopped; the second time in a row, HTTP is tried, because a proxy may be in
 * between. When a call over HTTP gets no answer, the node may have been replaced by a newer one: the next
 * call decides anew.
 *
 * A call is sent in one of the two ways only: it goes over HTTP if it surely wasn't sent in the other.
 */
import { createSecureContext, type ConnectionOptions } from "node:tls";
import { HttpTransport } from "./http-transport.ts";
import type { AttemptLimits, CallResults, NodeAnswer, NodeCall, Transport } from "./node-call.ts";
import { NodeConnection, type ConnectionEnd } from "./node-connection.ts";
import { isSecure, secureOptions, Sender, urlOf, type ClientTls } from "./sender.ts";

/** The protocols that calls can go over. */
export type NodeProtocol = "binary" | "http";

/** Connections in a row that must end before the node's welcome until HTTP is used. */
const FAILURES_MAX = 2;
/** Nodes of which something is remembered. More than any cluster has; redirects could name any number. */
const NODES_MAX = 256;

/** What is known of one node. */
interface Known {
  /** null: there is none. */
  connection: NodeConnection | null;
  /** Connections in a row that ended before the node's welcome. */
  failures: number;
  /** Whether calls go over HTTP. */
  useHttp: boolean;
}

/**
 * Sends each call to its node, over one connection for each node where the node speaks the binary protocol.
 */
export class NodeTransport implements Transport {
  readonly #http: HttpTransport;
  readonly #tls: ClientTls;
  /** How to connect to nodes with TLS; made for the first of them. */
  #secure: ConnectionOptions | null = null;
  readonly #token: string | null;
  readonly #httpOnly: boolean;
  readonly #known = new Map<string, Known>();

  /** `httpOnly`: never try the binary protocol. */
  constructor(tls: ClientTls | undefined, token: string | null, httpOnly: boolean) {
    this.#http = new HttpTransport(new Sender(tls), token);
    this.#tls = tls ?? {};
    this.#token = token;
    this.#httpOnly = httpOnly;
  }

  /** The protocol that each node is known to be called with. */
  protocols(): Map<string, NodeProtocol> {
    const found = new Map<string, NodeProtocol>();
    for (const [node, { connection, useHttp }] of this.#known) {
      if (useHttp) found.set(node, "http");
      else if (connection?.isOpen === true) found.set(node, "binary");
    }
    return found;
  }

  /** Closes connections that no call uses. */
  closeIdle(): void {
    for (const { connection } of this.#known.values()) connection?.closeIfIdle();
  }

  async attempt<Call extends NodeCall>(
    node: string,
    call: Call,
    limits: AttemptLimits,
  ): Promise<NodeAnswer<CallResults[Call["type"]]>> {
    const known = this.#of(node);
    if (known.useHttp) return this.#overHttp(known, node, call, limits);
    const connection = this.#connection(known, node);
    if (connection === null) return this.#overHttp(known, node, call, limits);
    const begun = performance.now();
    const answer = await connection.attempt(call, limits);
    if (answer !== "use-http") return answer;
    const timeoutMs = Math.max(1, Math.ceil(limits.timeoutMs - (performance.now() - begun)));
    return this.#overHttp(known, node, call, { ...limits, timeoutMs });
  }

  async #overHttp<Call extends NodeCall>(
    known: Known,
    node: string,
    call: Call,
    limits: AttemptLimits,
  ): Promise<NodeAnswer<CallResults[Call["type"]]>> {
    const answer = await this.#http.attempt(node, call, limits);
    const hasAnswered = answer.type !== "failed" || answer.error.status !== null;
    if (!hasAnswered && answer.error.code !== "ABORTED") known.useHttp = this.#mustUseHttp(node);
    return answer;
  }

  /** The connection for further calls. null: none can be made with these options of TLS. */
  #connection(known: Known, node: string): NodeConnection | null {
    if (known.connection?.isUsable === true) return known.connection;
    const secure = this.#secureOptions(node);
    if (secure === null) return null;
    const connection = new NodeConnection(node, {
      secure,
      token: this.#token,
      onWelcome: () => {
        known.failures = 0;
      },
      onEnd: (how) => {
        if (known.connection === connection) known.connection = null;
        known.useHttp ||= showsOther(known, how);
        return known.useHttp;
      },
    });
    known.connection = connection;
    return connection;
  }

  /** null: they can't be used, as a certificate that isn't PEM. Over HTTP, the call's error says so. */
  #secureOptions(node: string): ConnectionOptions | null {
    if (!isSecure(node)) return {};
    if (this.#secure !== null) return this.#secure;
    const options = secureOptions(this.#tls);
    try {
      this.#secure = { ...options, secureContext: createSecureContext(options) };
    } catch {
      return null;
    }
    return this.#secure;
  }

  /** A path before the targets belongs to a proxy, which takes HTTP only. */
  #mustUseHttp(node: string): boolean {
    const url = urlOf(node);
    return this.#httpOnly || !URL.canParse(url) || new URL(url).pathname !== "/";
  }

  #of(node: string): Known {
    const found = this.#known.get(node);
    if (found !== undefined) return found;
    if (this.#known.size >= NODES_MAX) this.#forgetOne();
    const known = { connection: null, failures: 0, useHttp: this.#mustUseHttp(node) };
    this.#known.set(node, known);
    return known;
  }

  /** Forgets the node that has been known longest. Calls in progress there still get their answers. */
  #forgetOne(): void {
    const [first] = this.#known;
    if (first === undefined) return;
    const [node, { connection }] = first;
    this.#known.delete(node);
    connection?.closeIfIdle();
  }
}

/** Whether the end of a connection shows that the node doesn't speak the binary protocol. */
function showsOther(known: Known, how: ConnectionEnd): boolean {
  if (how === "other-protocol") return true;
  if (how !== "no-welcome") return false;
  known.failures += 1;
  if (known.failures < FAILURES_MAX) return false;
  known.failures = 0;
  return true;
}
