/**
 * A node's certificate for its clients, its private key, and the authorities of the certificates that clients
 * must show, if they must. Changed files are taken over while the node runs.
 */
import { constants, X509Certificate } from "node:crypto";
import { createSecureContext, type SecureContextOptions, type Server, type TlsOptions } from "node:tls";
import { reasonOf, StartError } from "../shared/errors.ts";
import { Reloader, type ReloadLog } from "../shared/reloader.ts";
import { readFileOf } from "../shared/secret-file.ts";

/** Files in PEM. */
export interface ServerTlsFiles {
  /** The node's certificate, followed by intermediate ones. */
  readonly cert: string;
  /** Its private key, without a passphrase. */
  readonly key: string;
  /** Certificates of the authorities for clients. null: clients need no certificate. */
  readonly clientCa: string | null;
}

/** A certificate that expires within this time is reported. */
const EXPIRY_WARNING_MS = 14 * 24 * 3600 * 1000;

/** What the TLS servers of a node use. */
export class ServerTls {
  readonly #files: ServerTlsFiles;
  readonly #servers = new Set<Server>();
  readonly #onLog: ReloadLog;
  #context: SecureContextOptions = {};
  #reloader: Reloader | null = null;

  private constructor(files: ServerTlsFiles, onLog: ReloadLog) {
    this.#files = files;
    this.#onLog = onLog;
  }

  /**
   * Reads the files, and reads them again from time to time.
   *
   * @throws StartError they can't be used
   */
  static async open(files: ServerTlsFiles, onLog: ReloadLog, reloadMs?: number): Promise<ServerTls> {
    const tls = new ServerTls(files, onLog);
    const what = `the certificate in ${files.cert}`;
    const reloadable = {
      what,
      read: () => tls.#read(),
      use: (contents: readonly string[]) => {
        tls.#use(contents);
      },
    };
    tls.#reloader = await Reloader.start(reloadable, onLog, reloadMs);
    return tls;
  }

  /** Options for a TLS server. A client without the right certificate gets no further than the handshake. */
  get options(): TlsOptions {
    const requiresCertificate = this.#files.clientCa !== null;
    return { ...this.#context, requestCert: requiresCertificate, rejectUnauthorized: requiresCertificate };
  }

  /** Gives the server each later certificate too. Open connections keep the one that they began with. */
  follow(server: Server): void {
    this.#servers.add(server);
    server.once("close", () => this.#servers.delete(server));
  }

  close(): void {
    this.#reloader?.close();
  }

  async #read(): Promise<string[]> {
    const { cert, key, clientCa } = this.#files;
    return [
      await readFileOf(cert, "the certificate", false),
      await readFileOf(key, "the private key"),
      ...(clientCa === null ? [] : [await readFileOf(clientCa, "the list of authorities", false)]),
    ];
  }

  #use([cert = "", key = "", ca]: readonly string[]): void {
    const [own] = certificatesIn(cert, this.#files.cert);
    // Node takes a list without certificates for one that trusts nobody.
    if (ca !== undefined) certificatesIn(ca, String(this.#files.clientCa));
    const context = {
      ...{ cert, key, minVersion: "TLSv1.2" as const },
      ...(ca === undefined ? {} : { ca }),
      // A client of TLS 1.2 may ask for a new handshake on its connection: a few of its bytes for much of the
      // server's processor time. No client needs it, and TLS 1.3 has none.
      secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
    };
    try {
      createSecureContext(context);
    } catch (cause) {
      // OpenSSL's messages don't quote the key.
      const reason = `${this.#files.cert} and ${this.#files.key} can't be used together: ${reasonOf(cause)}`;
      throw new StartError(reason, { cause });
    }
    this.#context = context;
    for (const server of this.#servers) server.setSecureContext(context);
    if (own !== undefined) this.#reportExpiry(own);
  }

  #reportExpiry({ validTo }: X509Certificate): void {
    const leftMs = Date.parse(validTo) - Date.now();
    if (leftMs > EXPIRY_WARNING_MS) return;
    const verb = leftMs < 0 ? "expired" : "expires";
    this.#onLog("warn", `the certificate in ${this.#files.cert} ${verb} on ${validTo}: replace the file`);
  }
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** The certificates in a text, at least one. */
function certificatesIn(text: string, file: string): X509Certificate[] {
  const blocks = text.match(CERTIFICATE) ?? [];
  if (blocks.length === 0) throw new StartError(`${file} holds no certificate in PEM`);
  try {
    return blocks.map((block) => new X509Certificate(block));
  } catch (cause) {
    throw new StartError(`${file} holds a certificate that can't be read: ${reasonOf(cause)}`, { cause });
  }
}
