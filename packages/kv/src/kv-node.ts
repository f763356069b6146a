import type { Raft } from "keelson";
import type { KvCommand, KvResult } from "./commands.ts";
import type { KvStateMachine } from "./state-machine.ts";

/** What the servers need of the library: a node of the cluster. */
export type KvNode = Pick<
  Raft<KvCommand, KvResult>,
  | "write"
  | "beginSession"
  | "endSession"
  | "read"
  | "metrics"
  | "staleness"
  | "changeMembership"
  | "addLearner"
  | "transferLeadership"
  | "snapshot"
>;

/** A node and its state, once they are open. */
export interface Serving {
  readonly node: KvNode;
  readonly store: KvStateMachine;
}
