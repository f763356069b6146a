// TLS connections by `node:tls`.
import { constants, X509Certificate } from "node:crypto";
import net from "node:net";
import tls from "node:tls";
import { textOfThrown } from "../../errors.ts";
import { parseAddress } from "../address.ts";
import type {
  AlternativeName,
  Certificate,
  Connection,
  ConnectionHandler,
  Listener,
  TlsCredentials,
  TlsNetwork,
} from "../environment.ts";
import { nameLookups } from "./name-lookups.ts";
import { NodeConnection, NodeListener, remoteAddress } from "./node-connection.ts";

/**
 * TLS 1.3 and nothing older: both ends are Keelson nodes. It has no renegotiation, and encrypts the client's
 * certificate.
 *
 * No tickets, so no session is resumed. Hazard: a resumed session isn't checked against the authorities
 * again, which may have been replaced since.
 */
const SETTINGS = {
  minVersion: "TLSv1.3",
  maxVersion: "TLSv1.3",
  secureOptions: constants.SSL_OP_NO_TICKET,
} as const;

/** The network of production with TLS on every connection. */
export class NodeTlsNetwork implements TlsNetwork {
  #credentials: TlsCredentials;
  #certificate: Certificate;
  /** Made once for all connections that are dialed: it holds the parsed keys and certificates. */
  #context: tls.SecureContext;
  /** The servers that listen, so that they get new credentials too. */
  readonly #servers = new Set<tls.Server>();

  constructor(credentials: TlsCredentials) {
    this.#credentials = credentials;
    this.#context = contextOf(credentials);
    this.#certificate = certificateOf(new X509Certificate(credentials.cert));
  }

  get certificate(): Certificate {
    return this.#certificate;
  }

  setCredentials(credentials: TlsCredentials): void {
    // Everything that can fail comes before the first change, so that new credentials count as a whole.
    const context = contextOf(credentials);
    const certificate = certificateOf(new X509Certificate(credentials.cert));
    this.#context = context;
    this.#certificate = certificate;
    this.#credentials = credentials;
    for (const server of this.#servers) server.setSecureContext({ ...SETTINGS, ...credentials });
  }

  connect(address: string): Connection {
    try {
      return this.#connect(address);
    } catch (error) {
      // As in plain TCP: a malformed address is reported as a peer that can't be reached.
      const cause = error instanceof Error ? error : new Error(String(error));
      return new NodeConnection(new net.Socket().destroy(cause), address);
    }
  }

  #connect(address: string): Connection {
    const { host, port } = parseAddress(address);
    const isWanted = (): boolean => !socket.destroyed;
    const socket = tls.connect({
      host,
      port,
      lookup: nameLookups.forAttempt(isWanted),
      secureContext: this.#context,
      ...SETTINGS,
      rejectUnauthorized: true,
      // The owner compares the certificate with the node that it wants to reach, whatever its address is.
      checkServerIdentity: () => undefined,
    });
    socket.setNoDelay(true);
    return secured(socket, address);
  }

  async listen(address: string, accept: (connection: Connection) => void): Promise<Listener> {
    /** The accepted connections whose handshake is not complete, by the socket's two addresses. */
    const pending = new Map<string, AcceptedTlsConnection>();
    const server = tls.createServer({
      ...this.#credentials,
      ...SETTINGS,
      noDelay: true,
      requestCert: true,
      // Not Node's `rejectUnauthorized`, which closes the connection without telling why. `onSecure` refuses.
      rejectUnauthorized: false,
    });
    server.on("connection", (socket: net.Socket) => {
      const key = socketKey(socket);
      const connection = new AcceptedTlsConnection(socket, () => {
        if (pending.get(key) === connection) pending.delete(key);
      });
      pending.set(key, connection);
      accept(connection);
    });
    server.on("secureConnection", (socket) => {
      const connection = pending.get(socketKey(socket));
      pending.delete(socketKey(socket));
      if (connection !== undefined) connection.onSecure(socket);
      else socket.on("error", () => undefined).destroy();
    });
    server.on("tlsClientError", (error, socket) => {
      // A peer that went away said nothing that could be refused.
      const isRefusal = codeOf(error).startsWith("ERR_SSL_");
      if (isRefusal) pending.get(socketKey(socket))?.onHandshakeFailed(reasonOf(error));
    });
    const listener = await NodeListener.listen(server, address);
    this.#servers.add(server);
    server.on("close", () => this.#servers.delete(server));
    // They may have been replaced while the server began to listen.
    server.setSecureContext({ ...SETTINGS, ...this.#credentials });
    return listener;
  }
}

/**
 * A connection that was accepted: a TCP socket until the TLS handshake is complete, then a TLS socket over
 * it. Node makes the TLS socket out of the other one by itself, and hands it out after the handshake.
 */
class AcceptedTlsConnection implements Connection {
  readonly peer: string;
  refusal: string | undefined = undefined;
  readonly #socket: net.Socket;
  /** Null until the TLS handshake is complete. */
  #secured: NodeConnection | null = null;
  #handler: ConnectionHandler | null = null;
  /** Why the connection closed before its handshake was complete; undefined: not known. */
  #closeReason: string | undefined;
  #isPaused = false;

  /** `onEnd` is called when the socket is closed before the handshake is complete. */
  constructor(socket: net.Socket, onEnd: () => void) {
    this.#socket = socket;
    this.peer = remoteAddress(socket);
    socket.on("error", (error) => (this.#closeReason ??= textOfThrown(error)));
    socket.on("close", () => {
      if (this.#secured !== null) return;
      onEnd();
      this.#handler?.onClose(this.#closeReason ?? "closed by the peer");
    });
  }

  get handler(): ConnectionHandler | null {
    return this.#handler;
  }

  set handler(handler: ConnectionHandler | null) {
    this.#handler = handler;
    if (this.#secured !== null) this.#secured.handler = handler;
  }

  get certificate(): Certificate | undefined {
    return this.#secured?.certificate;
  }

  get bufferedBytes(): number {
    return this.#secured?.bufferedBytes ?? 0;
  }

  /** The TLS handshake is complete. Refuses the peer if its certificate isn't valid. */
  onSecure(socket: tls.TLSSocket): void {
    if (this.#socket.destroyed || !socket.authorized) {
      socket.on("error", () => undefined);
      const code = String(socket.authorizationError);
      const reason = CERTIFICATE_FAULTS[code] ?? `its certificate isn't accepted (${code})`;
      this.onHandshakeFailed(socket.getPeerX509Certificate() === undefined ? NO_CERTIFICATE : reason);
      socket.destroy();
      return;
    }
    this.#secured = secured(socket, this.peer);
    this.#secured.handler = this.#handler;
    if (this.#isPaused) this.#secured.pause();
  }

  /** The handshake failed because of what the peer sent. The socket is closed, or will be in this turn. */
  onHandshakeFailed(reason: string): void {
    this.refusal ??= reason;
    this.#closeReason ??= reason;
  }

  /** Does nothing before the handshake is complete: the accepting end has nothing to say before. */
  write(bytes: Uint8Array): void {
    this.#secured?.write(bytes);
  }

  pause(): void {
    this.#isPaused = true;
    this.#secured?.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#secured?.resume();
  }

  destroy(reason?: string): void {
    this.#closeReason ??= reason ?? "closed here";
    if (this.#secured === null) this.#socket.destroy();
    else this.#secured.destroy(reason);
  }
}

function secured(socket: tls.TLSSocket, peer: string): NodeConnection {
  /** Read once: it is asked for when the connection opens, and Node makes a new object each time. */
  let certificate: Certificate | undefined;
  return new NodeConnection(socket, peer, {
    openEvent: "secureConnect",
    describe: reasonOf,
    isRefusal: (error) => codeOf(error) in CERTIFICATE_FAULTS,
    certificate: () => (certificate ??= peerCertificateOf(socket)),
  });
}

/** Both addresses of a socket. No two open sockets of one listener have the same. */
function socketKey({ remoteAddress, remotePort, localAddress, localPort }: net.Socket): string {
  return [remoteAddress, remotePort, localAddress, localPort].join(" ");
}

function contextOf(credentials: TlsCredentials): tls.SecureContext {
  // Node takes an empty list of authorities for its own list, which would trust the whole world.
  if (!credentials.ca.includes(PEM_CERTIFICATE)) throw new Error("ca holds no certificate in PEM form");
  if (!credentials.cert.includes(PEM_CERTIFICATE)) throw new Error("cert holds no certificate in PEM form");
  try {
    return tls.createSecureContext({ ...SETTINGS, ...credentials });
  } catch (error) {
    throw new Error(reasonOf(error), { cause: error });
  }
}

const PEM_CERTIFICATE = "-----BEGIN CERTIFICATE-----";

function peerCertificateOf(socket: tls.TLSSocket): Certificate | undefined {
  const certificate = socket.getPeerX509Certificate();
  return certificate === undefined ? undefined : certificateOf(certificate);
}

function certificateOf(certificate: X509Certificate): Certificate {
  return {
    subject: certificate.subject,
    alternativeNames: alternativeNamesIn(certificate.subjectAltName ?? ""),
    fingerprint256: certificate.fingerprint256,
    validFromMs: Date.parse(certificate.validFrom),
    validToMs: Date.parse(certificate.validTo),
    validTo: new Date(certificate.validTo).toISOString(),
  };
}

/**
 * Splits Node's list, such as `URI:keelson:n1, DNS:"a, b"`. Hazard: a name may itself contain a comma and
 * something that looks like another name; Node writes such a name as a JSON string.
 */
export function alternativeNamesIn(text: string): AlternativeName[] {
  const names: AlternativeName[] = [];
  const pattern = /([^:,"]+):((?:"(?:[^"\\]|\\.)*"|[^,"])*)(?:, |$)/y;
  while (pattern.lastIndex < text.length) {
    const [, type, value] = pattern.exec(text) ?? [];
    // A list that can't be read as a whole names nobody.
    if (type === undefined || value === undefined) return [];
    names.push({ type, value: value.startsWith('"') ? String(JSON.parse(value)) : value });
  }
  return names;
}

/** What is wrong with a peer's certificate, by OpenSSL's code, and what to do. */
const CERTIFICATE_FAULTS: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: "its certificate has expired: renew it (or this machine's clock is wrong)",
  CERT_NOT_YET_VALID: "its certificate isn't valid yet: is a clock wrong?",
  DEPTH_ZERO_SELF_SIGNED_CERT: "its certificate is signed by itself, not by an authority in this node's ca",
  SELF_SIGNED_CERT_IN_CHAIN: "its certificate is signed by an authority that isn't in this node's ca",
  UNABLE_TO_GET_ISSUER_CERT: "its certificate is signed by an authority that isn't in this node's ca",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "its certificate is signed by an authority that isn't in this node's ca",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    "its certificate is signed by an authority that isn't in this node's ca, or its cert lacks the certificates between",
  CERT_SIGNATURE_FAILURE:
    "its certificate isn't signed by the authority in this node's ca, only by one of its name",
  INVALID_PURPOSE:
    "its certificate isn't for this use: nodes need extended key usage serverAuth and clientAuth",
  INVALID_CA: "its certificate is signed by a certificate that isn't an authority's",
};

const NO_CERTIFICATE = "it showed no certificate: give it one that this node's ca has signed";
const NO_TLS = "it doesn't speak TLS: give it a key, a certificate and the ca as well";
const REFUSED_HERE = "the other end doesn't accept this node's certificate";

/** The same for other errors of TLS, by Node's code. */
const TLS_FAULTS: Readonly<Record<string, string>> = {
  ERR_SSL_WRONG_VERSION_NUMBER: NO_TLS,
  ERR_SSL_HTTP_REQUEST: NO_TLS,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: NO_TLS,
  ERR_SSL_UNSUPPORTED_PROTOCOL: "it doesn't speak TLS 1.3",
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: "it doesn't speak TLS 1.3",
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: REFUSED_HERE,
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: `${REFUSED_HERE}: its ca doesn't have the authority`,
  "ERR_SSL_SSL/TLS_ALERT_CERTIFICATE_EXPIRED": `${REFUSED_HERE}: it has expired`,
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED: `${REFUSED_HERE}: it has expired`,
  ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE: REFUSED_HERE,
  ERR_OSSL_X509_KEY_VALUES_MISMATCH: "the key isn't that of the certificate",
};

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}

/** The text of an error of TLS. OpenSSL's own has several lines, with places in its sources. */
function reasonOf(error: unknown): string {
  const code = codeOf(error);
  const known = CERTIFICATE_FAULTS[code] ?? TLS_FAULTS[code];
  if (known !== undefined) return known;
  return code.startsWith("ERR_SSL_") || code.startsWith("ERR_OSSL_")
    ? `TLS failed: ${code
        .replace(/^ERR_(?:OSSL|SSL)_/, "")
        .toLowerCase()
        .replaceAll("_", " ")}`
    : textOfThrown(error);
}
