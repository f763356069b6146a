import { reasonOf } from "../shared/errors.ts";
/** A message for people that says why `fetch` could not reach a node, and what to do. */
export function unreachable(node: string, error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const code =
    cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : null;
  const isHttp = !(cause instanceof Error && cause.name === "HTTPParserError");
  const reason = isHttp ? ((code === null ? undefined : REASONS[code]) ?? code ?? textOf(cause)) : NO_HTTP;
  return `${node} cannot be reached: ${reason}`;
}

/**
 * Whether waiting for the node can't help: nothing listens at its address, or there is no such host. It may be
 * started later, but nothing says so. A node that hangs, or a network that loses packets, is another matter.
 */
export function isRefused(error: unknown): boolean {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  // An answer that is an error has no cause: the node was reached.
  if (!(cause instanceof Error)) return false;
  if (cause.name === "HTTPParserError") return true;
  const code = "code" in cause ? cause.code : null;
  return typeof code === "string" && ["ECONNREFUSED", "ENOTFOUND", "EADDRNOTAVAIL"].includes(code);
}

/** Reasons by error code. */
const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nothing listens there; is the node running, and is this its --http address?",
  ENOTFOUND: "the host name is not known",
  EAI_AGAIN: "the host name cannot be looked up at the moment",
  UND_ERR_SOCKET: "it hung up",
};
const NO_HTTP = "what listens there does not speak HTTP; give the node's --http address";

function textOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.name === "TimeoutError" ? "it does not answer" : reasonOf(error);
}
