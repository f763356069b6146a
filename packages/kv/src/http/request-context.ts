/**
 * What every route needs from Hono's context: the request as Node received it, and answers that are errors.
 */
import type { IncomingMessage } from "node:http";
import type { HttpBindings } from "@hono/node-server";
import type { Context } from "hono";
import type { ErrorAnswer } from "./error-answers.ts";
import { splitTarget } from "./request-syntax.ts";

/** Hono's type parameter: `context.env` holds Node's request and response. */
export interface HttpEnv {
  readonly Bindings: HttpBindings;
}

/** One request, in Hono's form. */
export type RequestContext = Context<HttpEnv>;

/** The request as Node received it. */
export function incomingOf(context: RequestContext): IncomingMessage {
  return context.env.incoming;
}

/**
 * The request's path and query, byte for byte as the client wrote them. A parsed URL would do for neither: it
 * has lost which bytes of a key were meant.
 */
export function targetOf(context: RequestContext): string {
  const { path, query } = splitTarget(incomingOf(context).url ?? "/");
  return query === "" ? path : `${path}?${query}`;
}

/** The error answer as a `Response`. */
export function errorResponse({ status, headers, body }: ErrorAnswer): Response {
  return Response.json(body, { status, headers });
}
