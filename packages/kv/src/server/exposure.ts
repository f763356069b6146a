/** Finds out whether a node's client ports are open to strangers, for a warning at its start. */
import { formatAddress, isLoopback, type Address } from "../shared/addresses.ts";
import type { ServerSettings } from "./server-settings.ts";

type Exposed = Pick<ServerSettings, "line" | "http" | "tls" | "tokensFile" | "adminOpen" | "adminTokenFile">;

/** One text for each way in which a port is open to other machines; none if all is closed. */
export function exposuresOf(settings: Exposed): string[] {
  const { line, http, adminOpen, adminTokenFile } = settings;
  const tls = settings.tls ?? null;
  const hasTokens = (settings.tokensFile ?? null) !== null;
  const remote = [
    { name: "HTTP", address: http },
    { name: "line", address: line },
  ].filter(({ address }) => isRemote(address));
  if (remote.length === 0) return [];
  const ports = remote
    .map(({ name, address }) => `the ${name} port at ${formatAddress(address)}`)
    .join(" and ");
  const texts: string[] = [];
  if (!hasTokens && (tls?.clientCa ?? null) === null) {
    texts.push(
      `other machines can reach ${ports}, and whoever does may read and write all keys: ` +
        "--tokens-file FILE requires tokens, --tls-client-ca FILE certificates",
    );
  }
  if (
    adminOpen &&
    adminTokenFile === null &&
    !hasTokens &&
    (tls?.clientCa ?? null) === null &&
    isRemote(http)
  )
    texts.push("with --admin-open, whoever reaches the HTTP port may remove members and take backups");
  if (tls === null) {
    texts.push(
      `other machines can reach ${ports}, without TLS: whoever can read the network reads keys, values and tokens; ` +
        "--tls-cert FILE and --tls-key FILE encrypt it",
    );
  }
  return texts;
}

/** Whether other machines may be able to connect to the address. A name may stand for any address. */
export function isRemote({ host }: Address): boolean {
  return !isLoopback(host) && !/^(?:.+\.)?localhost\.?$/i.test(host);
}
