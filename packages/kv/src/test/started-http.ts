import { onTestFinished } from "vitest";
import { Access, OPEN_RULES, type AccessRules } from "../access/access.ts";
import { digestOf, Tokens } from "../access/tokens.ts";
import type { Role } from "../access/rights.ts";
import { HttpServer, type HttpServerOptions } from "../http/http-server.ts";
import type { KvStateMachine } from "../store/state-machine.ts";
import type { FakeNode } from "./fake-node.ts";
import { ANY_PORT, fakeServing } from "./serving.ts";

/** An HTTP server with a fake node. */
export interface Started {
  readonly server: HttpServer;
  readonly node: FakeNode;
  readonly store: KvStateMachine;
  readonly mistakes: unknown[];
  readonly request: (method: string, target: string, init?: RequestInit) => Promise<Response>;
}

/** Rules that require the token for operating; for reading and writing too, if `clients` is "token". */
export function withToken(
  token: string,
  role: Role = "operate",
  clients: AccessRules["clients"] = "everyone",
): AccessRules {
  const tokens = new Tokens([{ name: `a-${role}`, role, digest: digestOf(token) }]);
  return { ...OPEN_RULES, tokens, clients, operators: "token" };
}

export async function start(rules?: AccessRules, options: HttpServerOptions = {}): Promise<Started> {
  const serving = await fakeServing();
  const mistakes: unknown[] = [];
  const server = await HttpServer.listen(ANY_PORT, {
    onInternalError: (error) => mistakes.push(error),
    ...(rules === undefined ? {} : { access: new Access(rules) }),
    ...options,
  });
  onTestFinished(() => server.close());
  server.serve(serving);
  const request = (method: string, target: string, init: RequestInit = {}): Promise<Response> =>
    fetch(`http://${server.address}${target}`, { method, redirect: "manual", ...init });
  return { server, node: serving.node, store: serving.store, mistakes, request };
}

/** The error in an error answer. */
export async function errorOf(
  response: Response,
): Promise<{ code: string; message: string; outcome: string }> {
  const { error } = (await response.json()) as { error: { code: string; message: string; outcome: string } };
  return error;
}
