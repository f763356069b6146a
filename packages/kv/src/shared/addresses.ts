import * as v from "valibot";
import type { LeaderHint } from "keelson";

/** A place to listen or to connect to. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

const PORT_MAX = 65_535;
/** A host name has at most 253 characters; then a colon and a port. */
const ADDRESS_CHARS_MAX = 260;
const HOST = /^(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])$/;

/** Reads "host:port", with an IPv6 address in brackets. null: it is not one. */
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

export function formatAddress({ host, port }: Address): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Where a node's clients reach it. */
export interface ClientAddresses {
  readonly line: string;
  readonly http: string;
}

// These go into answers to clients, so nothing but an address may pass.
const AddressText = v.pipe(
  v.string(),
  v.check((text) => parseAddress(text) !== null),
);
const ClientAddressesText = v.pipe(
  v.string(),
  v.parseJson(),
  v.object({ line: AddressText, http: AddressText }),
);

/** The text that a node tells the others of itself (`RaftOptions.data`). */
export function encodeClientAddresses({ line, http }: ClientAddresses): string {
  return JSON.stringify({ line, http });
}

/** What another node told of itself. null: nothing, or not what a node of ours would tell. */
export function decodeClientAddresses(data: string | null): ClientAddresses | null {
  const result = v.safeParse(ClientAddressesText, data);
  return result.success ? result.output : null;
}

/** Where clients reach the leader. null: no leader is known, or it was not met yet. */
export function clientAddressesOf(leader: LeaderHint | null): ClientAddresses | null {
  return leader === null ? null : decodeClientAddresses(leader.data);
}
