/**
 * The token of a client that names it once for its connection, as by the line protocol and the binary one.
 *
 * Hazard: a token is taken from the node's list while a connection that named it is open. So only its digest
 * is kept, and it is looked up again whenever the list was replaced.
 */
import type { Access } from "./access.ts";
import { digestOf, type TokenEntry, type Tokens } from "./tokens.ts";

export class ConnectionToken {
  readonly #access: Access;
  /** Of the last valid token that the client sent. null: it sent none. */
  #digest: Buffer | null = null;
  /** The node's tokens among which the client's was looked up last, and its entry there. */
  #tokens: Tokens | null = null;
  #found: TokenEntry | null = null;

  constructor(access: Access) {
    this.#access = access;
  }

  /** The client needs a token and has none that is valid. */
  get isStranger(): boolean {
    return this.#access.clientsNeedToken && this.entry === null;
  }

  /** The entry of the client's token, as of now. null: it has none that is valid. */
  get entry(): TokenEntry | null {
    if (this.#digest === null) return null;
    const { tokens } = this.#access;
    if (tokens !== this.#tokens) {
      this.#tokens = tokens;
      this.#found = tokens.find(this.#digest);
    }
    return this.#found;
  }

  /** Takes a token that the client sent. Returns its entry; null: it is wrong, and the one before stays. */
  offer(token: string): TokenEntry | null {
    const digest = digestOf(token);
    const { tokens } = this.#access;
    const entry = tokens.find(digest);
    if (entry === null) return null;
    this.#digest = digest;
    this.#tokens = tokens;
    this.#found = entry;
    return entry;
  }
}
