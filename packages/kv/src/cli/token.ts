/** `keelson token`: makes a token, and adds its hash to a node's list of tokens. */
import { existsSync } from "node:fs";
import { rename, rm, writeFile } from "node:fs/promises";
import { ROLES } from "../access/rights.ts";
import { readToken } from "../access/token-file.ts";
import { digestOf, formatEntry, isTokenName, newToken, parseTokens } from "../access/tokens.ts";
import { StartError, UsageError } from "../shared/errors.ts";
import { readFileOf } from "../shared/secret-file.ts";
import { parseCommand, positionalsOf } from "./arguments.ts";

/** The text for `--help`. */
export const TOKEN_HELP = `Usage: keelson token NAME ROLE --tokens-file FILE [--out FILE | --of FILE]

Makes a token for NAME, and adds its hash and role to the list for keelson serve --tokens-file. The token itself goes
into a file of its own, which clients send (--token-file). Give the same list to every node; a changed list takes
effect within seconds. To take a token back, delete its line.

  ROLE is read (keys, members, status, metrics), write (that, and put and delete), or operate (that, and change the
  members, move the leader, take snapshots and backups).

  --tokens-file FILE   the list to add to; made if it is missing
  --out FILE           where to put the new token (default: NAME.token); must not exist
  --of FILE            take the token in FILE, such as that of --admin-token-file, instead of a new one
  --help               this text
`;

/** Only its owner may read what this command writes. */
const MODE = 0o600;

/** A parsed command line. */
export interface TokenOptions {
  readonly name: string;
  readonly role: (typeof ROLES)[number];
  readonly tokensFile: string;
  /** Where to put a new token. null: `of` has the token. */
  readonly out: string | null;
  readonly of: string | null;
}

/** @returns null if the help was asked for */
export function parseTokenOptions(args: readonly string[]): TokenOptions | null {
  const { values, positionals } = parseCommand(args, {
    "tokens-file": { type: "string" },
    out: { type: "string" },
    of: { type: "string" },
  });
  if (values.help) return null;
  const [name, roleText] = positionalsOf(positionals, "NAME", "ROLE");
  if (!isTokenName(name)) throw new UsageError(`NAME "${name}" is not 1 to 64 of A-Z a-z 0-9 . _ -`);
  const role = ROLES.find((one) => one === roleText);
  if (role === undefined) throw new UsageError(`ROLE "${roleText}" is not one of ${ROLES.join(", ")}`);
  const { "tokens-file": tokensFile, out, of = null } = values;
  if (tokensFile === undefined || tokensFile === "") throw new UsageError("--tokens-file is missing");
  if (out !== undefined && of !== null)
    throw new UsageError("--out is for a new token, and --of for one that exists: give one of them");
  return { name, role, tokensFile, out: of === null ? (out ?? `${name}.token`) : null, of };
}

/**
 * Makes the token. Resolves with the exit code. The token is never printed: terminals and logs keep what is.
 *
 * @throws StartError a file can't be read or written, or has such an entry
 */
export async function token(options: TokenOptions, print: (line: string) => void): Promise<number> {
  const { name, role, tokensFile, out, of } = options;
  const list = existsSync(tokensFile) ? await readFileOf(tokensFile, "the list of tokens") : "";
  const value = of === null ? newToken() : await readToken(of);
  const separator = list === "" || list.endsWith("\n") ? "" : "\n";
  const changed = `${list}${separator}${formatEntry({ name, role, digest: digestOf(value) })}`;
  parseTokens(changed, tokensFile);
  if (out !== null) await writeNew(out, `${value}\n`);
  try {
    const part = `${tokensFile}.part`;
    await rm(part, { force: true });
    await writeNew(part, changed);
    await rename(part, tokensFile);
  } catch (error) {
    if (out !== null) await rm(out, { force: true });
    throw error;
  }
  print(`${tokensFile}: ${name} may ${role}; the token is in ${out ?? String(of)}`);
  return 0;
}

async function writeNew(file: string, text: string): Promise<void> {
  try {
    await writeFile(file, text, { mode: MODE, flag: "wx", flush: true });
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    throw new StartError(code === "EEXIST" ? `${file} is there already` : message, { cause });
  }
}
