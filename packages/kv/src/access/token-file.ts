/** The token that a client sends: how it is read from its file, and how it is sent. */
import { readFileOf } from "../shared/secret-file.ts";
import { StartError, UsageError } from "../shared/errors.ts";

/**
 * The environment variables that name the token's file when the command line doesn't; the first has priority.
 */
export const TOKEN_FILE_VARIABLE = "KEELSON_TOKEN_FILE";
export const ADMIN_TOKEN_FILE_VARIABLE = "KEELSON_ADMIN_TOKEN_FILE";

/** A shorter token could be guessed. The upper limit keeps a request's headers well within Node's 16 KiB. */
const TOKEN = /^[!-~]{16,1024}$/;

/**
 * Reads a token from its file, without the line's end.
 *
 * @throws StartError the file can't be read, is open to others, or holds no valid token
 */
export async function readToken(file: string): Promise<string> {
  return tokenIn(await readFileOf(file, "the token"), file);
}

/** Whether this can be a token. */
export function isToken(text: string): boolean {
  return TOKEN.test(text);
}

/** The token in the text of its file. */
export function tokenIn(text: string, file: string): string {
  const token = text.replace(/\r?\n$/, "");
  if (isToken(token)) return token;
  // The message doesn't quote the content: it may be a secret, and messages end up in logs.
  throw new StartError(
    `${file} holds no token: it should be one line of 16 to 1024 visible ASCII characters without spaces, ` +
      `such as "openssl rand -hex 32" makes`,
  );
}

/**
 * The token that a command sends. null: none. `file`: from the command line, else the environment variables
 * count; "" in any of them means none.
 */
export async function tokenToSend(file: string | undefined): Promise<string | null> {
  const named = file ?? process.env[TOKEN_FILE_VARIABLE] ?? process.env[ADMIN_TOKEN_FILE_VARIABLE];
  return named === undefined || named === "" ? null : readToken(named);
}

/**
 * The file of `--token-file`, or of `--admin-token-file`, its older name.
 *
 * @throws UsageError both are given
 */
export function tokenFileIn(values: {
  readonly "token-file"?: string | undefined;
  readonly "admin-token-file"?: string | undefined;
}): string | undefined {
  const { "token-file": file, "admin-token-file": olderName } = values;
  if (file !== undefined && olderName !== undefined)
    throw new UsageError("--token-file and --admin-token-file are the same: give one of them");
  return file ?? olderName;
}

/** The request header that carries the token. */
export function authorization(token: string | null): Readonly<Record<string, string>> {
  return token === null ? {} : { Authorization: `Bearer ${token}` };
}
