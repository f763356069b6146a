import { readFile } from "node:fs/promises";
import { StartError } from "./errors.ts";

/** Where the token's file is named, for those who do not want to with every command. */
export const TOKEN_FILE_VARIABLE = "KEELSON_ADMIN_TOKEN_FILE";

/** A shorter one is guessed, and a longer one does not fit beside the other headers of a request. */
const TOKEN = /^[!-~]{16,1024}$/;

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
