import { createHash, timingSafeEqual } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { errorAnswer, type ErrorAnswer } from "./error-answers.ts";
import { StartError } from "../shared/errors.ts";

/** Who may operate the cluster over HTTP: change its members, move the leader, take snapshots and backups. */
export type AdminAccess =
  /** Who has the token. */
  | { readonly type: "token"; readonly token: string }
  /** Programs on the same machine. */
  | { readonly type: "local" }
  /** Everyone who can reach the port. */
  | { readonly type: "open" };

/** Where the token's file is named, for those who do not want to with every command. */
export const TOKEN_FILE_VARIABLE = "KEELSON_ADMIN_TOKEN_FILE";

/** A shorter one is guessed, and a longer one does not fit beside the other headers of a request. */
const TOKEN = /^[!-~]{16,1024}$/;

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

/** The token in a file, without the line's end. @throws StartError */
export async function readToken(file: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new StartError(`the token in ${file} cannot be read: ${reason}`, { cause });
  }
  const token = text.replace(/\r?\n$/, "");
  if (TOKEN.test(token)) return token;
  // Not what it is, which would end up in logs.
  throw new StartError(
    `${file} holds no token: it should be one line of 16 to 1024 visible ASCII characters without spaces, ` +
      `such as "openssl rand -hex 32" makes`,
  );
}

/** The token that a command sends; null: none. `file`: as on the command line. */
export async function tokenToSend(file: string | undefined): Promise<string | null> {
  const named = file ?? process.env[TOKEN_FILE_VARIABLE];
  return named === undefined || named === "" ? null : readToken(named);
}

/** The header that goes with a request. */
export function authorization(token: string | null): Readonly<Record<string, string>> {
  return token === null ? {} : { Authorization: `Bearer ${token}` };
}
