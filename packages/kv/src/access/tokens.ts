/** Tokens, their roles, and the file that lists them by their hashes. */
import { hash, randomBytes, timingSafeEqual } from "node:crypto";
import { StartError } from "../shared/errors.ts";
import { ROLES, type Role } from "./rights.ts";

/** A token's entry. The token itself isn't kept. */
export interface TokenEntry {
  /** For messages: whose token it is. */
  readonly name: string;
  readonly role: Role;
  /** The SHA-256 of the token. */
  readonly digest: Buffer;
}

/**
 * The most tokens of a node. A token that comes with a request is compared with all of them, which takes some
 * tenths of a microsecond each.
 */
const TOKENS_MAX = 256;
const TOKEN_BYTES = 32;
const NAME = /^[A-Za-z0-9._-]{1,64}$/;
const DIGEST = /^sha256:([0-9a-f]{64})$/;

/** The tokens that a node knows. */
export class Tokens {
  readonly entries: readonly TokenEntry[];

  constructor(entries: readonly TokenEntry[]) {
    this.entries = entries;
  }

  /**
   * The entry of the token with this digest. null: there is none.
   *
   * A plain comparison ends at the first difference, so its time would tell how much of a guess is right.
   * `timingSafeEqual` compares all bytes, and the loop all entries.
   */
  find(digest: Buffer): TokenEntry | null {
    let found: TokenEntry | null = null;
    for (const entry of this.entries) if (timingSafeEqual(entry.digest, digest)) found = entry;
    return found;
  }
}

/**
 * The digest that stands for a token in the file. It has no salt and takes no time to compute, so it protects
 * only tokens that can't be guessed, such as `newToken` makes.
 */
export function digestOf(token: string): Buffer {
  return hash("sha256", token, "buffer");
}

/** A new random token. */
export function newToken(): string {
  return randomBytes(TOKEN_BYTES).toString("hex");
}

/** An entry as a line of the file. */
export function formatEntry({ name, role, digest }: TokenEntry): string {
  return `${name} ${role} sha256:${digest.toString("hex")}\n`;
}

/** Whether this may name a token. */
export function isTokenName(name: string): boolean {
  return NAME.test(name);
}

/**
 * Reads the text of a file of tokens: a line for each, `NAME ROLE sha256:HEX`. Empty lines and those that
 * begin with `#` are left out.
 *
 * @throws StartError with the file's name, and the line's number instead of its content: it may be a token
 */
export function parseTokens(text: string, file: string): TokenEntry[] {
  const entries: TokenEntry[] = [];
  for (const [at, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    const refuse = (reason: string): never => {
      throw new StartError(`${file}, line ${at + 1}: ${reason}`);
    };
    const [name = "", role = "", hash = "", ...rest] = line.trim().split(/\s+/);
    const hex = DIGEST.exec(hash)?.[1];
    if (!isTokenName(name) || hex === undefined || rest.length > 0)
      return refuse("it should be NAME ROLE sha256:HEX, as keelson token writes it");
    const known = ROLES.find((one) => one === role);
    if (known === undefined) return refuse(`there is no such role; there are ${ROLES.join(", ")}`);
    const entry = { name, role: known, digest: Buffer.from(hex, "hex") };
    if (entries.some((one) => one.name === name)) return refuse(`a second token is called ${name}`);
    if (new Tokens(entries).find(entry.digest) !== null)
      return refuse("the token stands on another line too");
    if (entries.push(entry) > TOKENS_MAX) return refuse(`the limit is ${TOKENS_MAX} tokens`);
  }
  return entries;
}
