/** Listening on an address, with errors that say what to do; and the end of it. */
import type { Server } from "node:net";
import { formatAddress, type Address } from "./addresses.ts";

/** The server can't listen on the address. The message says why and what to do. */
export class ListenError extends Error {
  override readonly name = "ListenError";
}

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: "it is in use by another process; stop that one or choose another port",
  EADDRNOTAVAIL: "this machine has no such address",
  EACCES: "this user may not listen there; ports below 1024 are often reserved",
  ENOTFOUND: "the host name is not known",
};

/** The message for an error of Node's `listen`. */
export function cannotListen(address: Address, { code, message }: NodeJS.ErrnoException): string {
  return `cannot listen on ${formatAddress(address)}: ${REASONS[code ?? ""] ?? message}`;
}

/**
 * Listens, and resolves with the bound address: for port 0, with the port that the system chose.
 *
 * @throws ListenError
 */
export async function listen(server: Server, { host, port }: Address): Promise<Address> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) => {
      reject(new ListenError(cannotListen({ host, port }, cause), { cause }));
    });
    server.listen({ host, port, exclusive: true }, resolve);
  });
  const taken = server.address();
  return { host, port: taken !== null && typeof taken === "object" ? taken.port : port };
}

/**
 * Takes no more connections, and resolves when all are closed. Those left after `graceMs` are cut by `cut`.
 */
export async function closeServer(server: Server, graceMs: number, cut: () => void): Promise<void> {
  const timer = setTimeout(cut, graceMs);
  await new Promise<void>((resolve) => {
    server.close(() => {
      resolve();
    });
  });
  clearTimeout(timer);
}
