/** Decides whether a request may have its route, before anything is read or done for it. */
import type { IncomingMessage } from "node:http";
import type { Access } from "../access/access.ts";
import type { Right } from "../access/rights.ts";
import { isLoopback } from "../shared/addresses.ts";
import type { BrowserGuard } from "./browser-guard.ts";
import { errorAnswer, forbidden, type ErrorAnswer } from "./error-answers.ts";
import type { HttpRequest } from "./http-request.ts";

/** The access rules, as far as they concern HTTP. */
export class RouteAccess {
  readonly #access: Access;
  readonly #guard: BrowserGuard;

  constructor(access: Access, guard: BrowserGuard) {
    this.#access = access;
    this.#guard = guard;
  }

  /** The answer that refuses the request. null: it is allowed. */
  refuse(request: HttpRequest, right: Right): ErrorAnswer | null {
    const { incoming } = request;
    const token = bearerOf(incoming.headers);
    const entry = token === null ? null : this.#access.findToken(token);
    // No web page knows a token, so a valid one also proves that no page made the request.
    const refusal = entry === null ? this.#guard.refuse(request, right) : null;
    if (refusal !== null) return refusal;
    const verdict = this.#access.judge(entry, right);
    switch (verdict.type) {
      case "allowed":
        return null;
      case "local":
        return refuseRemote(incoming);
      case "refused":
        return verdict.hasToken
          ? forbidden(verdict.reason)
          : unauthorized(verdict.reason, incoming.headers.authorization !== undefined);
    }
  }
}

/** The answer to a request that isn't from a program on this machine. null: it is from one. */
export function refuseRemote({ headers, socket }: IncomingMessage): ErrorAnswer | null {
  if (!isLoopback(socket.remoteAddress ?? "")) return forbidden(FROM_ELSEWHERE);
  // A browser on this machine runs scripts of any web site. Their requests have an Origin header; those of
  // other programs have none.
  return headers.origin === undefined ? null : forbidden("pages in a browser may not ask for this");
}

const FROM_ELSEWHERE =
  "this node is operated from its own machine only; to do it from others, start every node with --tokens-file FILE or --admin-token-file FILE";

/** The token of `Authorization: Bearer TOKEN`. null: there is none. */
function bearerOf({ authorization }: IncomingMessage["headers"]): string | null {
  if (authorization === undefined) return null;
  const [scheme = "", token = "", ...rest] = authorization.split(" ");
  return scheme.toLowerCase() === "bearer" && token !== "" && rest.length === 0 ? token : null;
}

function unauthorized(reason: string, hasAuthorization: boolean): ErrorAnswer {
  const what = hasAuthorization ? "the token is wrong" : "no token came with the request";
  const message = `${what}; ${reason}, sent as "Authorization: Bearer TOKEN" (commands take --token-file FILE)`;
  return errorAnswer(401, "UNAUTHORIZED", message, { "WWW-Authenticate": "Bearer" });
}
