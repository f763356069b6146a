/**
 * Makes certificates for tests, by writing X.509 (RFC 5280) byte by byte: Node can read certificates, and not
 * make them. Nothing here is secret or meant for use.
 */
import { createPublicKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";

/** A key and its certificate, as PEM. */
export interface Issued {
  readonly key: string;
  readonly cert: string;
}

/** What a test's certificate says, where it isn't the usual. */
export interface CertificateFields {
  readonly commonName?: string;
  /**
   * Alternative names, as "IP:127.0.0.1" (IPv4 only), "DNS:db1" or "URI:a:b". Default: the IPv4 loopback
   * address.
   */
  readonly names?: readonly string[];
  readonly validFrom?: Date;
  readonly validTo?: Date;
  /** Object identifiers. Default: for TLS servers and clients. */
  readonly usages?: readonly string[];
}

const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";

const ED25519 = sequence(oid("1.3.101.112"));
const DAY_MS = 24 * 60 * 60 * 1000;

/** An authority that signs certificates. */
export class TestAuthority {
  /** Its own certificate. */
  readonly cert: string;
  readonly #name: Buffer;
  readonly #key: KeyObject;
  #serial = 1;

  constructor(commonName = "test authority") {
    const { privateKey, publicKey } = generateKeyPairSync("ed25519");
    this.#key = privateKey;
    this.#name = nameOf(commonName);
    const isAuthority = sequence(Buffer.from([0x01, 0x01, 0xff]));
    const signsCertificates = Buffer.from([0x03, 0x02, 0x01, 0x06]);
    this.cert = this.#sign(this.#name, publicKey, {}, [
      extension("2.5.29.19", isAuthority),
      extension("2.5.29.15", signsCertificates),
    ]);
  }

  /** A new key, and a certificate for it. */
  issue(fields: CertificateFields = {}): Issued {
    const { privateKey } = generateKeyPairSync("ed25519");
    const { names = ["IP:127.0.0.1"], usages = [SERVER_AUTH, CLIENT_AUTH], commonName = "a node" } = fields;
    const extensions = [extension("2.5.29.37", sequence(...usages.map(oid)))];
    if (names.length > 0) extensions.push(extension("2.5.29.17", sequence(...names.map(alternativeName))));
    return {
      key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
      cert: this.#sign(nameOf(commonName), createPublicKey(privateKey), fields, extensions),
    };
  }

  #sign(
    subject: Buffer,
    publicKey: KeyObject,
    { validFrom = new Date(Date.now() - DAY_MS), validTo = new Date(Date.now() + DAY_MS) }: CertificateFields,
    extensions: readonly Buffer[],
  ): string {
    const contents = sequence(
      der(0xa0, der(0x02, Buffer.from([2]))),
      der(0x02, Buffer.from([this.#serial++])),
      ED25519,
      this.#name,
      sequence(time(validFrom), time(validTo)),
      subject,
      publicKey.export({ type: "spki", format: "der" }),
      der(0xa3, sequence(...extensions)),
    );
    const signature = sign(null, contents, this.#key);
    const certificate = sequence(contents, ED25519, der(0x03, Buffer.from([0]), signature));
    return `-----BEGIN CERTIFICATE-----\n${certificate.toString("base64")}\n-----END CERTIFICATE-----\n`;
  }
}

/** A value with its tag and its length. */
function der(tag: number, ...parts: readonly Buffer[]): Buffer {
  const contents = Buffer.concat(parts);
  const { length } = contents;
  const lengthBytes =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...lengthBytes]), contents]);
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return der(0x30, ...parts);
}

function oid(text: string): Buffer {
  const [first = 0, second = 0, ...others] = text.split(".").map(Number);
  const bytes = [first * 40 + second];
  for (const number of others) {
    const digits = [number & 0x7f];
    for (let rest = number >> 7; rest > 0; rest >>= 7) digits.unshift((rest & 0x7f) | 0x80);
    bytes.push(...digits);
  }
  return der(0x06, Buffer.from(bytes));
}

function nameOf(commonName: string): Buffer {
  const attribute = sequence(oid("2.5.4.3"), der(0x0c, Buffer.from(commonName)));
  return sequence(der(0x31, attribute));
}

function time(date: Date): Buffer {
  return der(0x18, Buffer.from(`${date.toISOString().replace(/[-:T]/g, "").slice(0, 14)}Z`));
}

function extension(id: string, value: Buffer): Buffer {
  return sequence(oid(id), der(0x04, value));
}

function alternativeName(text: string): Buffer {
  const value = text.slice(text.indexOf(":") + 1);
  return text.startsWith("IP:")
    ? der(0x87, Buffer.from(value.split(".").map(Number)))
    : der(text.startsWith("URI:") ? 0x86 : 0x82, Buffer.from(value));
}
