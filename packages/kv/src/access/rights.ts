/**
 * What each role may do: one table for HTTP, one for the line protocol and one for the binary protocol. The
 * servers decide by these tables (`access.ts`), the tests try every entry, and docs/operations.md shows them.
 *
 * Default: a route that isn't in the table needs the strongest role. So a route that somebody adds without
 * thinking of rights is closed to clients instead of open to strangers.
 */

/** From the weakest to the strongest. Each role may do what those before it may. */
export const ROLES = ["read", "write", "operate"] as const;

/**
 * What the holder of a token may do. `operate`: change the cluster, and take backups, which hold all keys.
 */
export type Role = (typeof ROLES)[number];

/** Who may do something: anyone, or the holder of a token with at least this role. */
export type Right = "anyone" | Role;

/** By method and route, as in `HttpServer`. HEAD needs what GET needs. */
export const HTTP_RIGHTS: Readonly<Record<string, Right>> = {
  "GET /kv": "read",
  "GET /kv/:key": "read",
  "PUT /kv/:key": "write",
  "DELETE /kv/:key": "write",
  "POST /sessions": "write",
  "DELETE /sessions/:session": "write",
  "GET /members": "read",
  "POST /members": "operate",
  "DELETE /members/:id": "operate",
  "POST /transfer": "operate",
  "GET /snapshot": "operate",
  "POST /snapshot": "operate",
  "GET /status": "read",
  "GET /metrics": "read",
  "GET /healthz": "anyone",
  "GET /readyz": "anyone",
};

/** By command of the line protocol. */
export const LINE_RIGHTS = {
  auth: "anyone",
  get: "read",
  put: "write",
  del: "write",
} as const;

/** By operation of the binary protocol: what HTTP needs for the same. */
export const BINARY_RIGHTS: Readonly<
  Record<"get" | "list" | "put" | "delete" | "open-session" | "end-session", Right>
> = {
  get: "read",
  list: "read",
  put: "write",
  delete: "write",
  "open-session": "write",
  "end-session": "write",
};

/**
 * What a request for a path that the server doesn't know needs, so that strangers can't find out which exist.
 */
export const UNKNOWN_ROUTE_RIGHT: Right = "read";

/** What a method needs at a route. */
export function rightOfRoute(method: string, route: string): Right {
  const name = `${method === "HEAD" ? "GET" : method} ${route}`;
  return (Object.hasOwn(HTTP_RIGHTS, name) ? HTTP_RIGHTS[name] : undefined) ?? "operate";
}

/** Whether a token of this role is enough. */
export function isEnough(role: Role, right: Right): boolean {
  return right === "anyone" || ROLES.indexOf(role) >= ROLES.indexOf(right);
}
