/**
 * Sends HTTP requests to nodes, with or without TLS.
 *
 * Without TLS it is `fetch`. `fetch` can't be told which authorities to trust or which certificate to show,
 * so requests over TLS go through `node:https`, with the same kind of answer.
 */
import type { IncomingMessage } from "node:http";
import { Agent, request as httpsRequest } from "node:https";
import { Readable } from "node:stream";
import type { ConnectionOptions } from "node:tls";

/** How a client of nodes with TLS checks them, and proves who it is. All are in PEM. */
export interface ClientTls {
  /**
   * The authorities whose certificates are accepted for nodes. Default: those that Node knows. In any case
   * the certificate must name the host that the client called.
   */
  readonly ca?: string | Uint8Array | undefined;
  /** The client's own certificate with its intermediate ones, for nodes that require one. */
  readonly cert?: string | Uint8Array | undefined;
  /** The private key of `cert`. */
  readonly key?: string | Uint8Array | undefined;
}

/** A request to a node. */
export interface NodeRequest {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
  readonly body?: string | Uint8Array | undefined;
}

/** No secure connection came about, so nothing of the request was sent. `cause` says why. */
export class NotConnectedError extends Error {
  override readonly name = "NotConnectedError";
}

/** Where a node's requests go: "https://host:port" as it is, and "host:port" without TLS. */
export function urlOf(node: string): string {
  return node.includes("://") ? node : `http://${node}`;
}

/** A node's address in the form that this program uses: "host:port" without TLS, else "https://host:port". */
export function nodeOf({ protocol, host }: URL): string {
  return protocol === "https:" ? `https://${host}` : host;
}

/** Whether requests to the node are sent over TLS. */
export function isSecure(node: string): boolean {
  return node.startsWith("https://");
}

/** How to make a connection over TLS, for each protocol the same. */
export function secureOptions({ ca, cert, key }: ClientTls): ConnectionOptions {
  const bytes = (pem: string | Uint8Array | undefined): string | Buffer | undefined =>
    pem === undefined || typeof pem === "string" ? pem : Buffer.from(pem);
  const options = { ca: bytes(ca), cert: bytes(cert), key: bytes(key) };
  // An option that is undefined would turn Node's default off.
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  // Said here, the environment variable NODE_TLS_REJECT_UNAUTHORIZED can't turn it off.
  return { minVersion: "TLSv1.2", rejectUnauthorized: true, ...given };
}

/** Sends requests, and keeps connections open for further ones. */
export class Sender {
  readonly #agent: Agent;

  constructor(tls: ClientTls = {}) {
    this.#agent = new Agent({ keepAlive: true, ...secureOptions(tls) });
  }

  /**
   * Sends one request to a node. Redirects are not followed. Rejects as `fetch` does, or `NotConnectedError`.
   */
  send(node: string, target: string, { body, signal, ...init }: NodeRequest): Promise<Response> {
    const url = `${urlOf(node)}${target}`;
    if (isSecure(node)) return this.#sendSecurely(url, { body, signal, ...init });
    return fetch(url, {
      ...init,
      redirect: "manual",
      ...(signal === undefined ? {} : { signal }),
      ...(body === undefined ? {} : { body }),
    });
  }

  #sendSecurely(url: string, { method, headers, signal, body }: NodeRequest): Promise<Response> {
    return new Promise((resolve, reject) => {
      let isConnected = false;
      const options = { agent: this.#agent, method, headers, ...(signal === undefined ? {} : { signal }) };
      const request = httpsRequest(url, options, (incoming) => {
        resolve(responseOf(incoming));
      });
      request.once("socket", (socket) => {
        isConnected = request.reusedSocket;
        socket.once("secureConnect", () => {
          isConnected = true;
        });
      });
      request.on("error", (cause) => {
        const wasSent = isConnected && !isAboutCertificate(cause);
        reject(wasSent || signal?.aborted === true ? cause : new NotConnectedError(cause.message, { cause }));
      });
      request.end(body);
    });
  }
}

/**
 * Whether the server refused this client's certificate, or the lack of one. In TLS 1.3 the client learns it
 * only after it has sent its request; but a server that refuses the handshake has not looked at the request.
 */
export function isAboutCertificate(error: NodeJS.ErrnoException): boolean {
  return /^ERR_SSL_.*ALERT_(?:.*CERTIFICATE.*|UNKNOWN_CA|ACCESS_DENIED)/.test(error.code ?? "");
}

/** Statuses of answers that have no body (RFC 9110); `Response` takes none for them. */
const WITHOUT_BODY = [204, 205, 304];

function responseOf(incoming: IncomingMessage): Response {
  const headers = new Headers();
  for (let at = 0; at + 1 < incoming.rawHeaders.length; at += 2)
    headers.append(incoming.rawHeaders[at] ?? "", incoming.rawHeaders[at + 1] ?? "");
  const status = incoming.statusCode ?? 0;
  if (WITHOUT_BODY.includes(status)) {
    incoming.resume();
    return new Response(null, { status, headers });
  }
  return new Response(Readable.toWeb(incoming) as ReadableStream, { status, headers });
}
