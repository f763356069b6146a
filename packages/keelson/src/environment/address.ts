// Addresses as text, "host:port" or "[v6]:port": parsing, formatting, and the hosts that only make sense to
// listen at.
import { InvalidOptionError } from "../errors.ts";

/** The parts of an address. An IPv6 host is without its brackets. */
export interface HostPort {
  readonly host: string;
  readonly port: number;
}

const PORT_MAX = 65_535;

/**
 * Parses an address.
 *
 * @param what the name of the option that it comes from, for the error
 * @throws InvalidOptionError says what is wrong, and what an address looks like
 */
export function parseAddress(address: string, what = "address"): HostPort {
  const bracketed = /^\[([0-9a-fA-F:.%\w]+)\]:(\d{1,5})$/.exec(address);
  const plain = /^([^:\s[\]]+):(\d{1,5})$/.exec(address);
  const [, host, digits] = bracketed ?? plain ?? [];
  if (host === undefined || digits === undefined) {
    throw new InvalidOptionError(
      `${what} is ${JSON.stringify(address)}; it should look like "127.0.0.1:7001", "db1.example:7001" or "[::1]:7001"`,
    );
  }
  const port = Number(digits);
  if (port > PORT_MAX) {
    throw new InvalidOptionError(
      `${what} is ${JSON.stringify(address)}; a port is at most ${String(PORT_MAX)}`,
    );
  }
  return { host, port };
}

/** The text of an address; the inverse of `parseAddress`. */
export function formatAddress({ host, port }: HostPort): string {
  return host.includes(":") ? `[${host}]:${String(port)}` : `${host}:${String(port)}`;
}

/**
 * Whether the host means "all interfaces of this machine" (0.0.0.0, ::), which other machines can't connect
 * to.
 */
export function isWildcardHost(host: string): boolean {
  // Also in other notations: "0" and "0.0" are 0.0.0.0, and so is "::ffff:0.0.0.0".
  const v4 = host.replace(/^::ffff:/i, "");
  return /^0+(?:\.0+){0,3}$/.test(v4) || /^[0:]*:[0:]*$/.test(v4);
}

/**
 * Whether other nodes may be able to dial this address: not if its host is a wildcard or its port is 0. A
 * text that isn't "host:port" counts as one that can be dialled: transports may have addresses of their own
 * kind.
 */
export function isDialable(address: string): boolean {
  const colon = address.lastIndexOf(":");
  if (colon === -1) return true;
  const host = address.slice(0, colon).replace(/^\[(.*)\]$/, "$1");
  return !(isWildcardHost(host) || /^0+$/.test(address.slice(colon + 1)));
}
