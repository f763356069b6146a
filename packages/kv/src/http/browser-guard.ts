/**
 * Refuses requests that a web page made a browser send.
 *
 * Hazard: a browser on an operator's machine, or inside the network, sends requests for any page that it
 * shows. Some need no permission by the server: images, forms, and `fetch` with `mode: "no-cors"`. The page
 * can't read the answers, but the requests take effect. And by DNS rebinding (a name of the page's own that
 * resolves to this node's address) a page can read them too.
 *
 * The rules:
 *
 * - `Host` must name this node: a loopback name, the address that the connection came in on, or a name from
 *   the settings. A rebound name is none of them. Programs that send no `Host` (HTTP/1.0) are no browsers.
 * - `Sec-Fetch-Site` and `Origin`, if there, must not name another origin. Browsers send the first to
 *   loopback addresses and over TLS only, and the second with everything except plain GET and HEAD requests.
 * - What operates the cluster, and every POST, is refused if there is any sign of a browser, the user agent
 *   included: no page can change that in a request without permission. This covers browsers that send no
 *   `Sec-Fetch-Site`, and links that a user follows.
 * - No answer has CORS headers, so browsers send no PUT or DELETE for a page of another origin, and show it
 *   no answers.
 */
import type { IncomingMessage } from "node:http";
import { isIP, type Socket } from "node:net";
import { isLoopback } from "../shared/addresses.ts";
import type { Right } from "../access/rights.ts";
import { errorAnswer, forbidden, type ErrorAnswer } from "./error-answers.ts";
import type { HttpRequest } from "./http-request.ts";

/** A host with an optional port, as in `Host`. */
const HOST_AND_PORT = /^(\[[0-9a-f:.]+\]|[^\s:/?#@\\[\]]+)(?::\d{0,5})?$/i;

/** Knows the names of this node. */
export class BrowserGuard {
  /** Hosts by which clients may call this node, as `canonicalHost` writes them. */
  readonly #names: ReadonlySet<string>;
  /**
   * By connection, the `Host` that was last found to name this node. It stays right: neither the names nor
   * the connection's own address change. A client sends the same one with each request, and to parse it
   * costs more than all other checks.
   */
  readonly #ownHosts = new WeakMap<Socket, string>();

  /** `names`: hosts by which clients may call this node, besides loopback names and its own address. */
  constructor(names: readonly string[]) {
    const hosts = names.map(canonicalHost).filter((host) => host !== null);
    // A server may listen on 0.0.0.0 or [::], which stand for all of its addresses. Clients don't call it by
    // these.
    this.#names = new Set(hosts.filter((host) => host !== "0.0.0.0" && host !== "[::]"));
  }

  /**
   * The answer that refuses the request. null: it is allowed. `right`: what its route needs. Health checks
   * reveal and cost nothing, so anyone may make them.
   */
  refuse(request: HttpRequest, right: Right): ErrorAnswer | null {
    if (right === "anyone") return null;
    return this.#refuseHost(request) ?? refusePage(request, right);
  }

  #refuseHost({ incoming, authority }: HttpRequest): ErrorAnswer | null {
    const host = incoming.headers.host;
    if (authority === null && host !== undefined && this.#ownHosts.get(incoming.socket) === host) {
      return hasOneHost(incoming) ? null : tooManyHosts();
    }
    const given = incoming.headersDistinct["host"] ?? [];
    if (given.length > 1) return tooManyHosts();
    // A target that is a whole URL takes precedence over Host (RFC 9112, 3.2.2); both must be right.
    const local = incoming.socket.localAddress ?? "";
    const foreign = [...given, ...(authority === null ? [] : [authority])].find(
      (text) => text !== "" && !this.#isOwn(text, local),
    );
    if (foreign === undefined) {
      if (host !== undefined && host.length <= HOST_CHARS_MAX) this.#ownHosts.set(incoming.socket, host);
      return null;
    }
    return forbidden(
      `this node is not called ${JSON.stringify(foreign.slice(0, 100))}, and a web page could have sent this request; ` +
        "use the node's address, or start it with --http-names NAME if clients may call it so",
    );
  }

  #isOwn(text: string, localAddress: string): boolean {
    const host = canonicalHost(text);
    if (host === null) return false;
    const address = host.startsWith("[") ? host.slice(1, -1) : host;
    if (host === "localhost" || isLoopback(unmapped(address))) return true;
    return host === canonicalHost(bracketed(unmapped(localAddress))) || this.#names.has(host);
  }
}

/** Node's `headers` keeps the first `Host` and drops the others, so count them where none is dropped. */
function hasOneHost({ rawHeaders }: IncomingMessage): boolean {
  let count = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] ?? "";
    if (name.length === HOST.length && name.toLowerCase() === HOST) count += 1;
  }
  return count === 1;
}

const HOST = "host";
/**
 * The most characters of a `Host` that is remembered for a connection: names in DNS have at most 253, and
 * then there is the port. Longer ones are parsed for each request.
 */
const HOST_CHARS_MAX = 260;

function tooManyHosts(): ErrorAnswer {
  return errorAnswer(400, "BAD_REQUEST", "the request has more than one Host header");
}

/**
 * The host of "host" or "host:port" as browsers write it: in lower case, without a trailing dot, IP addresses
 * in their usual form. null: it is no host.
 */
function canonicalHost(text: string): string | null {
  const host = HOST_AND_PORT.exec(bracketed(text))?.[1];
  if (host === undefined) return null;
  try {
    const { hostname } = new URL(`http://${host}/`);
    const canonical = hostname.endsWith(".") ? hostname.slice(0, -1) : hostname;
    return canonical.startsWith("[") ? bracketed(unmapped(canonical.slice(1, -1))) : canonical;
  } catch {
    return null;
  }
}

/** A bare IPv6 address in brackets; anything else as it is. */
function bracketed(text: string): string {
  return isIP(text) === 6 ? `[${text}]` : text;
}

/**
 * The IPv4 address that is mapped into an IPv6 one (RFC 4291, 2.5.5.2), in either notation. Any other address
 * is returned as it is.
 */
function unmapped(address: string): string {
  const dotted = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (dotted !== undefined) return dotted;
  const [, high, low] = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/i.exec(address) ?? [];
  if (high === undefined || low === undefined) return address;
  const [a, b] = [Number.parseInt(high, 16), Number.parseInt(low, 16)];
  return `${a >> 8}.${a & 255}.${b >> 8}.${b & 255}`;
}

function refusePage(request: HttpRequest, right: Right): ErrorAnswer | null {
  const site = request.header("sec-fetch-site");
  const origin = request.header("origin");
  const isFromAnother =
    (site !== undefined && site !== "same-origin" && site !== "none") ||
    (origin !== undefined && origin.toLowerCase() !== ownOrigin(request).toLowerCase());
  if (isFromAnother) return forbidden("pages in a browser may not ask for this");
  if (right !== "operate" && request.method !== "POST") return null;
  const isBrowser =
    site !== undefined || origin !== undefined || /^Mozilla\//.test(request.header("user-agent") ?? "");
  return isBrowser ? forbidden("browsers may not ask for this; use curl or the command line") : null;
}

/** The origin of a page that this server itself would show. */
function ownOrigin(request: HttpRequest): string {
  const isTls = "encrypted" in request.incoming.socket;
  return `${isTls ? "https" : "http"}://${request.header("host") ?? ""}`;
}
