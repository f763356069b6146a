import type { ClusterConfig } from "../core/config.ts";
import type { NodeId } from "../core/position.ts";

/** What the cluster keeps about a member, in the configuration entry itself. */
export interface MemberData {
  /** Where the other nodes reach it ("host:port"). */
  readonly address: string;
}

/** The payload of a configuration entry: who takes part, and where they are. */
export interface Membership {
  readonly config: ClusterConfig;
  /** Has a key for each member of `config`. */
  readonly members: ReadonlyMap<NodeId, MemberData>;
}
