import { createHash } from "node:crypto";

const HASH_BYTES = 16;

/**
 * The id of the cluster that begins with these members (an encoded membership), under a name if there is one. The
 * same members give the same id, so nodes that are initialized apart found one cluster; others give another,
 * so that two clusters under one name never take each other's messages.
 */
export function clusterIdOf(payload: Uint8Array, name: string | null): string {
  const hash = createHash("sha256")
    .update(payload)
    .digest("hex")
    .slice(0, HASH_BYTES * 2);
  return name === null ? hash : `${name}/${hash}`;
}

/** Whether the cluster was created under `name`; null: any will do. */
export function isNamed(clusterId: string, name: string | null): boolean {
  return name === null || clusterId.startsWith(`${name}/`);
}
