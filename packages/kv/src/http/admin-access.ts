import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { errorAnswer, type ErrorAnswer } from "./error-answers.ts";

/** Who may operate the cluster over HTTP: change its members, move the leader, take snapshots and backups. */
export type AdminAccess =
  /** Who has the token. */
  | { readonly type: "token"; readonly token: string }
  /** Programs on the same machine. */
  | { readonly type: "local" }
  /** Everyone who can reach the port. */
  | { readonly type: "open" };

/** Refuses a request that is not allowed; null: it is. */
export function refuseAdmin(access: AdminAccess, { headers, socket }: IncomingMessage): ErrorAnswer | null {
  switch (access.type) {
    case "open":
      return null;
    case "token": {
      const [scheme = "", given = "", ...rest] = (headers.authorization ?? "").split(" ");
      if (scheme.toLowerCase() === "bearer" && rest.length === 0 && isSame(given, access.token)) return null;
      const what =
        headers.authorization === undefined ? "no token came with the request" : "the token is wrong";
      const message = `${what}; this needs the node's --admin-token-file, sent as "Authorization: Bearer TOKEN"`;
      return errorAnswer(401, "UNAUTHORIZED", message, { "WWW-Authenticate": "Bearer" });
    }
    case "local":
      if (!isLoopback(socket.remoteAddress ?? "")) return forbidden(FROM_AFAR);
      // The browser on this machine runs programs of strangers too, and says so.
      return headers.origin === undefined ? null : forbidden("pages in a browser may not ask for this");
  }
}

const FROM_AFAR =
  "this node is operated from its own machine only; to do it from others, start every node with --admin-token-file FILE";

function forbidden(message: string): ErrorAnswer {
  return errorAnswer(403, "FORBIDDEN", message);
}

/** In a time that tells nothing of how much is right: digests, which have one length, are compared as a whole. */
function isSame(given: string, token: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(token));
}

function isLoopback(address: string): boolean {
  return /^(?:::ffff:)?127\.\d+\.\d+\.\d+$/.test(address) || address === "::1";
}
