import { createHash } from "node:crypto";

/**
 * A cluster's id: `[NAME/]ORIGIN[+INCARNATION]`. The origin is made from the members that the cluster began
 * with; the incarnation is drawn at random whenever the cluster is founded anew from what one node has left
 * (`forceNewCluster`). Nodes talk to each other only if the whole of it is the same.
 */
const NAME_END = "/";
const INCARNATION_BEGIN = "+";

const HASH_DIGITS = 32;
const INCARNATION_DIGITS = 16;

/**
 * The id of the cluster that begins with these members (an encoded membership), under a name if there is one. The
 * same members give the same id, so nodes that are initialized apart found one cluster; others give another,
 * so that two clusters under one name never take each other's messages.
 */
export function clusterIdOf(payload: Uint8Array, name: string | null): string {
  const hash = createHash("sha256").update(payload).digest("hex").slice(0, HASH_DIGITS);
  return name === null ? hash : `${name}${NAME_END}${hash}`;
}

/** Whether the cluster was created under `name`; null: any will do. */
export function isNamed(clusterId: string, name: string | null): boolean {
  return name === null || clusterId.startsWith(`${name}${NAME_END}`);
}

/** Whether the cluster, in whichever incarnation, began with these members. */
export function beganWith(clusterId: string, payload: Uint8Array): boolean {
  const [named = ""] = clusterId.split(INCARNATION_BEGIN);
  return named.split(NAME_END).at(-1) === clusterIdOf(payload, null);
}

/** The id of a new incarnation: random, so that two nodes that are told to go on alone never meet as one cluster. */
export function newIncarnation(clusterId: string, random: () => number): string {
  const [origin = ""] = clusterId.split(INCARNATION_BEGIN);
  let digits = "";
  while (digits.length < INCARNATION_DIGITS) digits += Math.floor(random() * 16).toString(16);
  return `${origin}${INCARNATION_BEGIN}${digits}`;
}

/** Whether two ids are of one cluster, in whichever incarnations: what the one held, the other began with. */
export function sameOrigin(a: string, b: string): boolean {
  return a.split(INCARNATION_BEGIN)[0] === b.split(INCARNATION_BEGIN)[0];
}
