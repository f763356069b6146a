/** Decides who may use a node's client ports: which token, if any, a request needs. */
import { isEnough, type Right } from "./rights.ts";
import { digestOf, Tokens, type TokenEntry } from "./tokens.ts";

/** Who gets in. */
export interface AccessRules {
  readonly tokens: Tokens;
  /** Who may read and write: everyone, or those with a token of that role. */
  readonly clients: "everyone" | "token";
  /** Who may operate the cluster: everyone, programs on this machine, or those with a token of that role. */
  readonly operators: "everyone" | "local" | "token";
}

/** Without any setting: programs on this machine operate the cluster, and everyone reads and writes. */
export const OPEN_RULES: AccessRules = { tokens: new Tokens([]), clients: "everyone", operators: "local" };

/**
 * The rules for clients without a token, or with one that isn't enough: `allowed`; allowed only for
 * programs on this machine (`local`); or `refused`, with what to say.
 */
export type Verdict =
  | { readonly type: "allowed" | "local" }
  | { readonly type: "refused"; readonly hasToken: boolean; readonly reason: string };

const ALLOWED: Verdict = { type: "allowed" };
const LOCAL: Verdict = { type: "local" };

/** The access rules in force. They may change while the node runs. */
export class Access {
  #rules: AccessRules;

  constructor(rules: AccessRules = OPEN_RULES) {
    this.#rules = rules;
  }

  /**
   * Requests and commands that come from now on are judged by these, on open connections too. Those that were
   * allowed before go on.
   */
  replace(rules: AccessRules): void {
    this.#rules = rules;
  }

  /** Whether reading and writing need a token. */
  get clientsNeedToken(): boolean {
    return this.#rules.clients === "token";
  }

  /** The tokens in force: another object after each change. */
  get tokens(): Tokens {
    return this.#rules.tokens;
  }

  /** The entry of a token as it was sent. null: it is no token of this node. */
  findToken(token: string): TokenEntry | null {
    return this.tokens.find(digestOf(token));
  }

  /** Whether the holder of `entry` may do what needs `right`. null: no valid token came. */
  judge(entry: TokenEntry | null, right: Right): Verdict {
    if (entry !== null && isEnough(entry.role, right)) return ALLOWED;
    const { clients, operators } = this.#rules;
    const rule = right === "anyone" ? "everyone" : right === "operate" ? operators : clients;
    if (rule === "everyone") return ALLOWED;
    if (rule === "local") return LOCAL;
    if (entry === null)
      return { type: "refused", hasToken: false, reason: `this needs a token of the role ${right}` };
    const reason = `the token ${entry.name} has the role ${entry.role}, and this needs ${right}`;
    return { type: "refused", hasToken: true, reason };
  }
}
