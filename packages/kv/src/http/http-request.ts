/** One HTTP request, as the routes see it. */
import type { IncomingMessage } from "node:http";
import type { MemoryAccount } from "../shared/memory-budget.ts";
import type { RequestBody } from "./request-body.ts";
import { authorityOf, splitTarget } from "./request-syntax.ts";

export class HttpRequest {
  /** The request as Node received it. */
  readonly incoming: IncomingMessage;
  /** null: the method takes no body, and one that came anyway is discarded. */
  readonly body: RequestBody | null;
  /** Charged for the bytes of the answer. */
  readonly answerAccount: MemoryAccount;
  /**
   * The path, byte for byte as the client wrote it. It decides the route, and it is also what keys are read
   * from. A parsed URL would do for neither: it has resolved `..` and lost which bytes of a key were meant.
   */
  readonly path: string;
  /** The path with the query. */
  readonly target: string;
  /** The host and port of a target that is a whole URL. null: it is only a path. */
  readonly authority: string | null;

  constructor(incoming: IncomingMessage, body: RequestBody | null, answerAccount: MemoryAccount) {
    this.incoming = incoming;
    this.body = body;
    this.answerAccount = answerAccount;
    const url = incoming.url ?? "/";
    const { path, query } = splitTarget(url);
    this.path = path;
    this.target = query === "" ? path : `${path}?${query}`;
    this.authority = authorityOf(url);
  }

  get method(): string {
    return this.incoming.method ?? "GET";
  }

  /** A header's value. Node joins the values of a header that may occur more than once. */
  header(name: string): string | undefined {
    const value = this.incoming.headers[lowerCaseOf(name)];
    return Array.isArray(value) ? value.join(", ") : value;
  }
}

/** By header name as the program writes it. Those names are constants, so it stays small. */
const lowerCase = new Map<string, string>();

/** The name in lower case, as Node has it, without a new string for each request. */
function lowerCaseOf(name: string): string {
  let found = lowerCase.get(name);
  if (found === undefined) lowerCase.set(name, (found = name.toLowerCase()));
  return found;
}
