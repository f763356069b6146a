/** Addresses as text: "host:port", and the addresses for clients that each node tells the others. */
import * as v from "valibot";
import type { LeaderHint } from "keelson";

/** An address to listen on or connect to. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

const PORT_MAX = 65_535;
/** A host name has at most 253 characters; a colon and a port follow. */
const ADDRESS_CHARS_MAX = 260;
const HOST = /^(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])$/;

/** Reads "host:port"; an IPv6 address is in brackets. null: the text is no such address. */
export function parseAddress(text: string): Address | null {
  if (text.length > ADDRESS_CHARS_MAX) return null;
  const colon = text.lastIndexOf(":");
  const host = text.slice(0, Math.max(0, colon));
  const digits = text.slice(colon + 1);
  if (!HOST.test(host) || !/^\d{1,5}$/.test(digits)) return null;
  const port = Number(digits);
  if (port > PORT_MAX) return null;
  return { host: host.startsWith("[") ? host.slice(1, -1) : host, port };
}

/**
 * Whether others may be able to reach this address: not if its host means all interfaces, or its port is 0.
 */
export function isReachable({ host, port }: Address): boolean {
  const v4 = host.replace(/^::ffff:/i, "");
  return port !== 0 && !/^0+(?:\.0+){0,3}$/.test(v4) && !/^[0:]*:[0:]*$/.test(v4);
}

/** The inverse of `parseAddress`. */
export function formatAddress({ host, port }: Address): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Whether the address, as sockets give it, belongs to this machine's loopback interface. */
export function isLoopback(address: string): boolean {
  return /^(?:::ffff:)?127\.\d+\.\d+\.\d+$/.test(address) || address === "::1";
}

/** Where clients reach a node, as "host:port". */
export interface ClientAddresses {
  readonly line: string;
  readonly http: string;
  /** Whether the node uses TLS at both. Absent: it doesn't. */
  readonly tls?: true;
}

// Client addresses come from other nodes and go into headers of our answers, so reject everything but an
// address.
const AddressText = v.pipe(
  v.string(),
  v.check((text) => parseAddress(text) !== null),
);
const ClientAddressesText = v.pipe(
  v.string(),
  v.parseJson(),
  v.object({ line: AddressText, http: AddressText, tls: v.optional(v.literal(true)) }),
);

/** The text that a node tells the other nodes about itself (`RaftOptions.info`). */
export function encodeClientAddresses({ line, http, tls }: ClientAddresses): string {
  return JSON.stringify({ line, http, tls });
}

/** Reads what another node told about itself. null: nothing, or no client addresses. */
export function decodeClientAddresses(info: string | null): ClientAddresses | null {
  const result = v.safeParse(ClientAddressesText, info);
  if (!result.success) return null;
  const { line, http, tls } = result.output;
  return tls === undefined ? { line, http } : { line, http, tls };
}

/** Where clients reach the leader. null: no leader is known, or this node has no info from it yet. */
export function clientAddressesOf(leader: LeaderHint | null): ClientAddresses | null {
  return leader === null ? null : decodeClientAddresses(leader.info);
}
