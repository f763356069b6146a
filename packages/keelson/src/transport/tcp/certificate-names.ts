/*
 * Which node a certificate is for. It says so by alternative names of the kind URI:
 *
 * | name | the certificate is for |
 * |---|---|
 * | `keelson:NODE` | the node NODE of any cluster that trusts the authority |
 * | `keelson:CLUSTER/NODE` | the node NODE of a cluster that was created under the name CLUSTER |
 *
 * Both parts are percent-encoded where they hold other characters than `A-Z a-z 0-9 . _ - ~`. A certificate
 * may have several such names. Host names in it mean nothing here: addresses change owners, node ids don't.
 */
import { isNamed } from "../../codec/cluster-id.ts";
import type { NodeId } from "../../core/position.ts";
import type { Certificate } from "../../environment/environment.ts";

const SCHEME = "keelson:";

/** Finds the ids of the nodes that a certificate is for. It must not wait, and must not throw. */
export type Identify = (certificate: Certificate) => readonly NodeId[];

/**
 * Why the node `id` of the cluster (null: of any) may not use this certificate; null: it may. `identify`
 * replaces the names above, for authorities that put something else into certificates.
 */
export function refusalOfCertificate(
  certificate: Certificate | undefined,
  id: NodeId,
  clusterId: string | null,
  identify: Identify | undefined,
): string | null {
  // The network lets nobody without a certificate pass; if it did, that node would be nobody.
  if (certificate === undefined) return `it showed no certificate, and says that it is ${id}`;
  const names = identify === undefined ? namesIn(certificate) : idsOf(certificate, identify);
  const isFor = ({ node, cluster }: Name): boolean =>
    node === id && (clusterId === null || isNamed(clusterId, cluster));
  if (names.some(isFor)) return null;
  const about = `certificate ${JSON.stringify(certificate.subject)}`;
  if (names.length === 0) {
    return `its ${about} names no node: it needs the alternative name URI:${SCHEME}${id}`;
  }
  const texts = names.map(({ node, cluster }) => (cluster === null ? node : `${node} of ${cluster}`));
  return `its ${about} is for ${texts.join(", ")}, not for ${id} of this cluster`;
}

interface Name {
  /** The name under which the node's cluster was created; null: any cluster. */
  readonly cluster: string | null;
  readonly node: NodeId;
}

function namesIn({ alternativeNames }: Certificate): Name[] {
  return alternativeNames
    .filter(({ type, value }) => type === "URI" && value.startsWith(SCHEME))
    .map(({ value }) => nameOf(value.slice(SCHEME.length)))
    .filter((name) => name !== null);
}

/** Null: the text has another form, so it names nobody. */
function nameOf(text: string): Name | null {
  try {
    const parts = text.split("/").map(decodeURIComponent);
    if (parts.length > 2 || parts.includes("")) return null;
    const node = parts.at(-1) ?? "";
    return { node, cluster: parts.length === 2 ? (parts[0] ?? "") : null };
  } catch {
    return null;
  }
}

/** A function of the user that throws, or returns something else, identifies nobody (Z12). */
function idsOf(certificate: Certificate, identify: Identify): Name[] {
  try {
    const ids: readonly unknown[] = identify(certificate);
    return ids.filter((id) => typeof id === "string").map((node) => ({ node, cluster: null }));
  } catch {
    return [];
  }
}
