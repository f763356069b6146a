// What protects the connections between nodes: TLS, a shared secret, both, or nothing. Reads the files that
// the options name, reads them again from time to time, and wraps connections accordingly.
import type { NodeId } from "../../core/position.ts";
import type {
  Certificate,
  Connection,
  Network,
  TlsCredentials,
  TlsNetwork,
} from "../../environment/environment.ts";
import { InvalidOptionError, textOfThrown } from "../../errors.ts";
import type { TransportHost } from "../transport.ts";
import { type Identify, refusalOfCertificate } from "./certificate-names.ts";
import { CredentialFiles, type FileOr, type FileTexts } from "./credential-files.ts";
import { SECRET_BYTES_MIN, SecretConnection, SECRETS_MAX } from "./secret-connection.ts";

/**
 * TLS between nodes. It is always mutual: both ends of a connection show a certificate, which the other
 * end's `ca` must have signed. `key`, `cert` and `ca` are PEM texts, or the files with them. Files are read
 * again every `reloadMs`: certificates are renewed without a restart.
 */
export interface PeerTls {
  /** The private key of this node. */
  readonly key: FileOr<string>;
  /**
   * The certificate of this node, then any certificates between it and the authority's. It names the node by
   * the alternative name `URI:keelson:NODE`, or `URI:keelson:CLUSTER/NODE` where one authority serves several
   * clusters (CLUSTER: `RaftOptions.clusterId`). A node accepts no other id from a peer than the one in the
   * peer's certificate.
   */
  readonly cert: FileOr<string>;
  /**
   * The certificates of the authorities whose certificates this node accepts. Take an authority of your own,
   * not a public one. While an authority is being replaced, have both.
   */
  readonly ca: FileOr<string>;
  /**
   * Finds the node ids that a certificate is for, if it doesn't name them as above. Must be the same on all
   * nodes. A certificate for which it returns none, or throws, is refused.
   */
  readonly identify?: Identify | undefined;
}

/**
 * A secret that all nodes of a cluster know: 32 to 1,024 visible ASCII characters, chosen at random, such as
 * `openssl rand -hex 32` makes; or the file with it, which is read again every `reloadMs`. To replace it
 * without a pause, first give every node both, in a list or on two lines of the file, then only the new one.
 */
export type PeerSecret = FileOr<string | readonly string[]>;

/** How the connections between nodes are protected. Must be of the same kind on all nodes. */
export interface PeerSecurityOptions {
  /** TLS with certificates. Default: none. */
  readonly tls?: PeerTls | undefined;
  /**
   * A shared secret. Both ends of a connection prove that they know it, without sending it, and everything
   * after that is protected against changes, but not encrypted. Default: none.
   */
  readonly secret?: PeerSecret | undefined;
}

/** The protection of one transport. */
export class PeerSecurity {
  readonly #tls: PeerTls | undefined;
  readonly #secret: PeerSecret | undefined;
  readonly #reloadMs: number;
  #files: CredentialFiles | null = null;
  #host: TransportHost | null = null;
  /** Set by `start` where the option `tls` is given. */
  #tlsNetwork: TlsNetwork | null = null;
  /** What `#tlsNetwork` uses. */
  #credentials: TlsCredentials | null = null;
  /** Set by `start` where the option `secret` is given: the secrets, the newest first. */
  #secrets: readonly Uint8Array[] | null = null;
  /** The last warning about the end of a certificate, so that each is logged once. */
  #loggedEnd = "";

  /** @throws InvalidOptionError a part of `tls` is missing, or a secret that isn't in a file can't be used */
  constructor({ tls, secret }: PeerSecurityOptions, reloadMs: number) {
    for (const name of tls === undefined ? [] : (["key", "cert", "ca"] as const)) {
      if (isText(tls?.[name])) continue;
      throw new InvalidOptionError(`tcp: tls.${name} is missing: give it as PEM text, or as { file: PATH }`);
    }
    if (secret !== undefined && !isFile(secret)) secretsIn(secret, "tcp: secret");
    this.#tls = tls;
    this.#secret = secret;
    this.#reloadMs = reloadMs;
  }

  /** Whether anybody who reaches the port can read and write. */
  get isOpen(): boolean {
    return this.#tls === undefined && this.#secret === undefined;
  }

  /** Where to listen and dial. */
  get network(): Network {
    if (this.#tls !== undefined && this.#tlsNetwork !== null) return this.#tlsNetwork;
    if (this.#tls !== undefined || this.#host === null) throw new Error("the transport has not started");
    return this.#host.environment.network;
  }

  /**
   * Reads the files. Rejects with `InvalidOptionError` if one of them can't be read or used: a node whose
   * protection doesn't work must not start without it.
   */
  async start(host: TransportHost): Promise<void> {
    this.#host = host;
    if (this.isOpen) return;
    const use = (texts: FileTexts): void => {
      this.#take(texts, host);
    };
    const files = new CredentialFiles(host, this.#reloadMs, use, () => {
      this.#warnOfEnd();
    });
    this.#files = files;
    for (const one of [this.#tls?.key, this.#tls?.cert, this.#tls?.ca, this.#secret]) {
      if (isFile(one)) files.add(one.file);
    }
    await files.start();
  }

  /** Resolves when no file is being read any more. */
  async close(): Promise<void> {
    await this.#files?.close();
  }

  /** Wraps a connection that `network` has just dialed or accepted. */
  wrap(connection: Connection, isDialer: boolean): Connection {
    if (this.#secret === undefined) return connection;
    if (this.#secrets === null || this.#host === null) throw new Error("the transport has not started");
    const nonce = this.#host.environment.randomBytes(32);
    return new SecretConnection(connection, this.#secrets, isDialer, nonce);
  }

  /**
   * Why the peer at the other end of a connection is not the node `id` of the cluster (null: of any); null:
   * it is.
   */
  refusalOf(certificate: Certificate | undefined, id: NodeId, clusterId: string | null): string | null {
    if (this.#tls === undefined) return null;
    return refusalOfCertificate(certificate, id, clusterId, this.#tls.identify);
  }

  /** Uses what the files hold now. All of it is checked before any of it is used. */
  #take(texts: FileTexts, host: TransportHost): void {
    const secret = this.#secret;
    const secrets =
      secret === undefined
        ? null
        : isFile(secret)
          ? secretsIn(linesOf(textOf(secret, texts)), `the secret in ${secret.file}`)
          : secretsIn(secret, "tcp: secret");
    if (this.#tls !== undefined) this.#takeTls(this.#tls, texts, host);
    const isReplaced = this.#secrets !== null && String(secrets) !== String(this.#secrets);
    this.#secrets = secrets;
    // An operator who replaces a secret has to know when each node has the new one.
    if (isReplaced) {
      const count = String(secrets?.length);
      host.log("info", `the secret in the file was replaced, and is in use; there are ${count}`);
    }
  }

  #takeTls({ key, cert, ca }: PeerTls, texts: FileTexts, host: TransportHost): void {
    const credentials: TlsCredentials = {
      key: textOf(key, texts),
      cert: textOf(cert, texts),
      ca: textOf(ca, texts),
    };
    const isFirst = this.#credentials === null;
    if (JSON.stringify(credentials) === JSON.stringify(this.#credentials)) return;
    const next = tlsNetworkOf(host.environment.network, credentials);
    this.#checkOwn(next.certificate, host);
    if (this.#tlsNetwork === null) this.#tlsNetwork = next;
    else this.#tlsNetwork.setCredentials(credentials);
    this.#credentials = credentials;
    if (!isFirst) {
      const until = next.certificate.validTo;
      host.log(
        "info",
        `new certificates for the other nodes are in use; this node's is valid until ${until}`,
      );
    }
  }

  /** Warns when the last fifth of the certificate's time has begun, and when it is over. */
  #warnOfEnd(): void {
    if (this.#tlsNetwork === null || this.#host === null) return;
    const { validFromMs, validToMs, validTo } = this.#tlsNetwork.certificate;
    const leftMs = validToMs - this.#host.environment.wallClock();
    if (leftMs > (validToMs - validFromMs) * RENEWAL_SHARE) return;
    const text =
      leftMs > 0
        ? `this node's certificate for the other nodes is valid until ${validTo} only: renew it`
        : `this node's certificate for the other nodes has expired (${validTo}): renew it, other nodes refuse it`;
    if (text === this.#loggedEnd) return;
    this.#loggedEnd = text;
    this.#host.log("warn", text);
  }

  /** A node that shows another node's certificate would be refused by all, each time with a riddle. */
  #checkOwn(certificate: Certificate, host: TransportHost): void {
    const refusal = this.refusalOf(certificate, host.self.id, host.clusterId());
    if (refusal !== null) throw new InvalidOptionError(`tcp: tls.cert is not for this node: ${refusal}`);
  }
}

/** The share of a certificate's time that should be left when it is renewed, as most tools do. */
const RENEWAL_SHARE = 0.2;

function isFile(one: unknown): one is { readonly file: string } {
  return typeof one === "object" && one !== null && "file" in one && typeof one.file === "string";
}

function isText(one: unknown): boolean {
  return isFile(one) || (typeof one === "string" && one !== "");
}

function textOf(one: FileOr<string>, texts: FileTexts): string {
  return isFile(one) ? (texts.get(one.file) ?? "") : one;
}

function tlsNetworkOf(network: Network, credentials: TlsCredentials): TlsNetwork {
  if (network.withTls === undefined) throw new InvalidOptionError("tcp: tls: this environment has no TLS");
  try {
    return network.withTls(credentials);
  } catch (error) {
    throw new InvalidOptionError(`tcp: tls: ${textOfThrown(error)}`);
  }
}

function linesOf(text: string): string[] {
  return text.split(/\r?\n/).filter((line) => line !== "");
}

/** The text of a usable secret. */
const SECRET = new RegExp(`^[!-~]{${String(SECRET_BYTES_MIN)},1024}$`);

/** @throws InvalidOptionError without the secret's text: messages end up in logs */
function secretsIn(given: string | readonly string[], what: string): Uint8Array[] {
  const secrets: readonly unknown[] = typeof given === "string" ? [given] : given;
  const isUsable = (one: unknown): one is string => typeof one === "string" && SECRET.test(one);
  if (secrets.length < 1 || secrets.length > SECRETS_MAX || !secrets.every(isUsable)) {
    throw new InvalidOptionError(
      `${what} can't be used: it should be one secret, or up to ${String(SECRETS_MAX)} while it is being replaced (in a ` +
        `file, each on a line of its own), each of ${String(SECRET_BYTES_MIN)} to 1024 visible ASCII characters, such as ` +
        '"openssl rand -hex 32" makes',
    );
  }
  return secrets.map((secret) => new TextEncoder().encode(secret));
}
