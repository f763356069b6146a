import type { Address } from "../shared/addresses.ts";

/** What a node of the server needs to know to start. */
export interface ServerSettings {
  readonly id: string;
  /** The first members: id to address, as the other nodes reach it. null: this node founds no cluster. */
  readonly peers: Readonly<Record<string, string>> | null;
  /** HTTP addresses of nodes of a cluster that is to take this one in. null: none. */
  readonly join: readonly string[] | null;
  readonly data: string;
  readonly line: Address;
  readonly http: Address;
  /** Where to accept the other nodes' connections. */
  readonly listen: Address;
  /** Where the other nodes reach this one. */
  readonly address: string;
  /** Told to clients that ask a follower. null: as bound. */
  readonly advertiseLine: string | null;
  readonly advertiseHttp: string | null;
  /** null: made from the first members. */
  readonly clusterId: string | null;
  /** Pass writes on to the leader instead of saying where it is. */
  readonly forward: boolean;
  readonly snapshots: SnapshotSettings;
  /** The file with the token that operating the cluster over HTTP needs. null: it needs none. */
  readonly adminTokenFile: string | null;
  /** Without a token, the cluster may be operated from everywhere, not from this machine only. */
  readonly adminOpen: boolean;
}

/** When the node takes snapshots; undefined: as the library thinks best. */
export interface SnapshotSettings {
  readonly everyEntries?: number;
  readonly everyBytes?: number;
  readonly keepEntries?: number;
  readonly fetchBytesPerSecond?: number;
}
