/** Decides who may operate the cluster over HTTP. */
import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { isLoopback } from "../shared/addresses.ts";
import { errorAnswer, type ErrorAnswer } from "./error-answers.ts";

/** Who may change the members, transfer leadership, and take snapshots and backups. */
export type AdminAccess =
  /** Requests that carry the token. */
  | { readonly type: "token"; readonly token: string }
  /** Programs on the same machine: requests from a loopback address that no web page made. */
  | { readonly type: "local" }
  /** Every request. */
  | { readonly type: "open" };

/**
 * The answer that refuses the request. null: it is allowed. What a page in a browser sent is refused before,
 * in `browser-guard.ts`.
 */
export function refuseAdmin(access: AdminAccess, { headers, socket }: IncomingMessage): ErrorAnswer | null {
  switch (access.type) {
    case "open":
      return null;
    case "token": {
      if (hasToken(access, headers)) return null;
      const what =
        headers.authorization === undefined ? "no token came with the request" : "the token is wrong";
      const message = `${what}; this needs the node's --admin-token-file, sent as "Authorization: Bearer TOKEN"`;
      return errorAnswer(401, "UNAUTHORIZED", message, { "WWW-Authenticate": "Bearer" });
    }
    case "local":
      if (!isLoopback(socket.remoteAddress ?? "")) return forbidden(FROM_ELSEWHERE);
      // A browser on this machine runs scripts of any web site. Their requests have an Origin header; those
      // of other programs have none.
      return headers.origin === undefined ? null : forbidden("pages in a browser may not ask for this");
  }
}

/**
 * Whether the request carries the token. No web page knows the token, so this also proves that no page made
 * it.
 */
export function hasToken(access: AdminAccess, headers: IncomingMessage["headers"]): boolean {
  if (access.type !== "token") return false;
  const [scheme = "", given = "", ...rest] = (headers.authorization ?? "").split(" ");
  return scheme.toLowerCase() === "bearer" && rest.length === 0 && isSame(given, access.token);
}

const FROM_ELSEWHERE =
  "this node is operated from its own machine only; to do it from others, start every node with --admin-token-file FILE";

function forbidden(message: string): ErrorAnswer {
  return errorAnswer(403, "FORBIDDEN", message);
}

/**
 * Whether the tokens are equal. A plain comparison ends at the first difference, so its time would tell how
 * much of a guess is right. `timingSafeEqual` compares all bytes; it needs equal lengths, which digests have.
 */
function isSame(given: string, token: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(token));
}
