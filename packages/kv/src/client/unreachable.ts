/** What the errors of `fetch` and `Sender` say about a node that it could not reach. */
import { reasonOf } from "../shared/errors.ts";
import { isAboutCertificate } from "./sender.ts";

/** A message for people that says why `fetch` could not reach a node, and what to do. */
export function unreachable(node: string, error: unknown): string {
  const { cause, code, isHttp } = partsOf(error);
  const known = code === null ? undefined : (REASONS[code] ?? tlsReason(code, cause));
  const reason = isHttp ? (known ?? code ?? textOf(cause)) : NO_HTTP;
  return `${node} cannot be reached: ${reason}`;
}

/**
 * Whether waiting for the node can't help: nothing listens at its address, there is no such host, or what
 * listens speaks another protocol. A node that hangs, or a network that loses packets, is another matter.
 * False for an answer that is an error: the node was reached.
 */
export function isRefused(error: unknown): boolean {
  const { code, isHttp } = partsOf(error);
  if (!isHttp) return true;
  if (code === null) return false;
  return REFUSALS.includes(code) || tlsReason(code, error) !== undefined;
}

/** `fetch` throws a `TypeError` with the error of the connection as its cause. `error` may be of any kind. */
function partsOf(error: unknown): {
  readonly cause: unknown;
  readonly code: string | null;
  readonly isHttp: boolean;
} {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  if (!(cause instanceof Error)) return { cause, code: null, isHttp: true };
  const code = "code" in cause && typeof cause.code === "string" ? cause.code : null;
  return { cause, code, isHttp: cause.name !== "HTTPParserError" };
}

const REFUSALS = ["ECONNREFUSED", "ENOTFOUND", "EADDRNOTAVAIL"];

/** Codes of OpenSSL and Node for a certificate that the client doesn't accept. */
const UNTRUSTED = /^(?:CERT_|CRL_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|INVALID_CA|PATH_LENGTH_|ERR_TLS_CERT_)/;

/** Why no secure connection came about, and what to do. undefined: the error is not about TLS. */
function tlsReason(code: string, error: unknown): string | undefined {
  if (UNTRUSTED.test(code)) {
    const text = error instanceof Error && error.message !== "" ? error.message : code;
    return `its certificate isn't accepted (${text}); --tls-ca FILE names the authorities to trust`;
  }
  if (error instanceof Error && isAboutCertificate(error))
    return `it refuses this client's certificate, or wants one (${code}); give --tls-cert FILE and --tls-key FILE`;
  return /^ERR_SSL_|^EPROTO$/.test(code) ? `it doesn't speak TLS as this client does (${code})` : undefined;
}

/** Reasons by error code. */
const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nothing listens there; is the node running, and is this its --http address?",
  ENOTFOUND: "the host name is not known",
  EAI_AGAIN: "the host name cannot be looked up at the moment",
  UND_ERR_SOCKET: "it hung up",
};
const NO_HTTP =
  "what listens there does not speak HTTP; give the node's --http address, as https://HOST:PORT if it uses TLS";

function textOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.name === "TimeoutError" ? "it does not answer" : reasonOf(error);
}
