/**
 * Where a client may follow a redirect to.
 *
 * Hazard: an answer names the node to ask next, in its `Location`. A client that sends its token wherever an
 * answer points gives the token to whoever can forge one answer, or to a stranger who got the address of a
 * former node. So a token goes only to nodes that the client was told about, and nothing goes from a node
 * with TLS to one without.
 */
import { KvClientError } from "./client-error.ts";
import { isSecure, nodeOf, urlOf } from "./sender.ts";

/** The code of the error if a redirect isn't followed. */
export const REDIRECT_REFUSED = "REDIRECT_REFUSED";

/** The nodes that a client was told about. */
export class KnownNodes {
  /** By host and port, as URLs write them. */
  readonly #nodes: ReadonlyMap<string, string>;
  readonly #hasToken: boolean;

  constructor(nodes: readonly string[], hasToken: boolean) {
    const known = nodes.filter((node) => URL.canParse(urlOf(node)));
    this.#nodes = new Map(known.map((node) => [new URL(urlOf(node)).host, node]));
    this.#hasToken = hasToken;
  }

  /**
   * The node that an answer of `from` points to with this `Location`. null: it points nowhere.
   *
   * @throws KvClientError (`REDIRECT_REFUSED`) the client may not go there
   */
  follow(from: string, location: string): string | null {
    if (!URL.canParse(location)) return null;
    const url = new URL(location);
    if ((url.protocol !== "http:" && url.protocol !== "https:") || url.host === "") return null;
    const known = this.#nodes.get(url.host);
    const node = nodeOf(url);
    if (known !== undefined) return isSecure(known) ? known : this.#checked(from, node);
    if (!this.#hasToken) return this.#checked(from, node);
    throw refusal(
      `${from} says that ${url.origin} leads, which isn't among the nodes that this client was told about, ` +
        "so it gets no token; name all nodes",
    );
  }

  #checked(from: string, node: string): string {
    if (!isSecure(from) || isSecure(node)) return node;
    throw refusal(`${from} uses TLS and says that ${node} leads, which doesn't; nothing is sent there`);
  }
}

function refusal(message: string): KvClientError {
  return new KvClientError(REDIRECT_REFUSED, "not-done", 307, message);
}
