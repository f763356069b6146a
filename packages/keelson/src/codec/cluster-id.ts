import { sha256 } from "#platform";

/*
 * A cluster's id as text: `[NAME/]ORIGIN[+INCARNATION]`.
 *
 * | part | meaning |
 * |---|---|
 * | NAME | the name that the cluster was created under; absent if it has none |
 * | ORIGIN | 32 hexadecimal digits: a hash of the members that the cluster began with |
 * | INCARNATION | 16 random hexadecimal digits; absent until a new cluster is forced for the first time |
 *
 * Two nodes talk to each other only if their cluster ids are equal in all parts. Every log and every snapshot
 * holds the cluster's id.
 */
const NAME_END = "/";
const INCARNATION_BEGIN = "+";

const HASH_DIGITS = 32;
const INCARNATION_DIGITS = 16;

/**
 * The id of a cluster that begins with these members (an encoded membership), under this name or none. Nodes
 * that are initialized separately with the same members compute the same id, and so form one cluster. Other
 * members give another id, so two clusters that were given the same name by mistake refuse each other.
 */
export function clusterIdOf(payload: Uint8Array, name: string | null): string {
  const hash = sha256(payload).slice(0, HASH_DIGITS);
  return name === null ? hash : `${name}${NAME_END}${hash}`;
}

/** Whether the cluster was created under `name`; null: any cluster matches. */
export function isNamed(clusterId: string, name: string | null): boolean {
  return name === null || clusterId.startsWith(`${name}${NAME_END}`);
}

/**
 * Whether the cluster began with these members (an encoded membership), whatever its name and incarnation.
 */
export function beganWith(clusterId: string, payload: Uint8Array): boolean {
  const [named = ""] = clusterId.split(INCARNATION_BEGIN);
  return named.split(NAME_END).at(-1) === clusterIdOf(payload, null);
}

/**
 * The id with a new incarnation. It is random: if a new cluster is forced on two nodes of the same former
 * cluster, their logs may differ at the same indexes, so the two must never take each other for members of
 * one cluster.
 */
export function newIncarnation(clusterId: string, random: () => number): string {
  const [origin = ""] = clusterId.split(INCARNATION_BEGIN);
  let digits = "";
  while (digits.length < INCARNATION_DIGITS) digits += Math.floor(random() * 16).toString(16);
  return `${origin}${INCARNATION_BEGIN}${digits}`;
}

/**
 * Whether two ids differ at most in their incarnation. A forced new cluster begins with the entries of the
 * former one, so a snapshot of the one may belong to a log of the other.
 */
export function sameOrigin(a: string, b: string): boolean {
  return a.split(INCARNATION_BEGIN)[0] === b.split(INCARNATION_BEGIN)[0];
}
