/** What a node of the server needs to know to start. `keelson serve` makes it from the command line. */
import type { PeerSecurityOptions } from "keelson/transport/tcp";
import type { Address } from "../shared/addresses.ts";
import type { ServerTlsFiles } from "../tls/server-tls.ts";

/** The settings of one node. */
export interface ServerSettings {
  /** The node id. */
  readonly id: string;
  /**
   * The cluster's first members: address by id, as other nodes reach them. null: the node creates no cluster.
   */
  readonly peers: Readonly<Record<string, string>> | null;
  /** HTTP addresses of members of a cluster that this node should join. null: it joins none. */
  readonly join: readonly string[] | null;
  /** By id, the addresses of members that are no longer where the log says they are. Default: none. */
  readonly reach?: Readonly<Record<string, string>> | undefined;
  /** The data directory (`node/data-directory.ts`). */
  readonly data: string;
  /** Where the line server listens. */
  readonly line: Address;
  /** Where the HTTP server listens. */
  readonly http: Address;
  /** Where the transport listens for other nodes. */
  readonly listen: Address;
  /** Where other nodes reach the transport, "host:port". */
  readonly address: string;
  /**
   * Where clients reach the line server, "host:port": the address to which other nodes redirect them. null:
   * the one it listens on.
   */
  readonly advertiseLine: string | null;
  /** The same for the HTTP server. */
  readonly advertiseHttp: string | null;
  /**
   * Hosts, besides those above and loopback names, by which clients may call the HTTP server: requests with
   * any other in `Host` are refused, because a web page may have made them. Default: none.
   */
  readonly httpNames?: readonly string[] | undefined;
  /** The cluster's name. null: derived from the first members. */
  readonly clusterId: string | null;
  /** A follower forwards writes to the leader instead of redirecting clients. */
  readonly forward: boolean;
  readonly snapshots: SnapshotSettings;
  /** The file with the token that operators must send. null: there is no token. */
  readonly adminTokenFile: string | null;
  /**
   * The file that lists tokens by their hashes, with their roles. With it, everything but health checks needs
   * a token. null, or absent: there is none.
   */
  readonly tokensFile?: string | null | undefined;
  /** The files for TLS at the HTTP and the line server. null, or absent: they serve without TLS. */
  readonly tls?: ServerTlsFiles | null | undefined;
  /** How often changed files of tokens and certificates are looked for. Default: every 5 s. */
  readonly reloadMs?: number | undefined;
  /** Counts only without a token: anyone may operate the cluster, not only programs on this machine. */
  readonly adminOpen: boolean;
  /** How the connections between nodes are protected. Default: not at all. */
  readonly peerSecurity?: PeerSecurityOptions | undefined;
}

/**
 * When the node takes snapshots, and how fast it fetches them: options of the library. Absent: its defaults.
 */
export interface SnapshotSettings {
  readonly everyEntries?: number | undefined;
  readonly everyBytes?: number | undefined;
  readonly keepEntries?: number | undefined;
  readonly fetchBytesPerSecond?: number | undefined;
}
