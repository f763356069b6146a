/** The token that protects operating a cluster: how it is read from its file, and how it is sent. */
import { readFile } from "node:fs/promises";
import { StartError, reasonOf } from "./errors.ts";

/** The environment variable that names the token's file when the command line doesn't. */
export const TOKEN_FILE_VARIABLE = "KEELSON_ADMIN_TOKEN_FILE";

/** A shorter token could be guessed. The upper limit keeps a request's headers well within Node's 16 KiB. */
const TOKEN = /^[!-~]{16,1024}$/;

/**
 * Reads the token from its file, without the line's end.
 *
 * @throws StartError the file can't be read, or holds no valid token
 */
export async function readToken(file: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    const reason = reasonOf(cause);
    throw new StartError(`the token in ${file} cannot be read: ${reason}`, { cause });
  }
  const token = text.replace(/\r?\n$/, "");
  if (TOKEN.test(token)) return token;
  // The message doesn't quote the content: it may be a secret, and messages end up in logs.
  throw new StartError(
    `${file} holds no token: it should be one line of 16 to 1024 visible ASCII characters without spaces, ` +
      `such as "openssl rand -hex 32" makes`,
  );
}

/**
 * The token that a command sends. null: none. `file`: from the command line, else the environment variable
 * counts; "" in either means none.
 */
export async function tokenToSend(file: string | undefined): Promise<string | null> {
  const named = file ?? process.env[TOKEN_FILE_VARIABLE];
  return named === undefined || named === "" ? null : readToken(named);
}

/** The request header that carries the token. */
export function authorization(token: string | null): Readonly<Record<string, string>> {
  return token === null ? {} : { Authorization: `Bearer ${token}` };
}
