import type { Raft, ReadOptions } from "keelson";
import type { SnapshotStore } from "keelson/storage/snapshots";
import type { KvCommand, KvResult } from "../store/commands.ts";
import type { Removal } from "./removal.ts";
import type { KvStateMachine } from "../store/state-machine.ts";

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
  /** Absent: the node is never removed. */
  readonly removal?: Removal;
  /** Absent: there is nothing to back up. */
  readonly snapshots?: SnapshotStore;
}

/** A read as clients ask for it: one that would wait for ever is refused. */
export function readFrom<T>(
  { node, removal }: Serving,
  query: () => T | Promise<T>,
  options: ReadOptions = {},
): Promise<T> {
  if (options.consistency !== "stale") removal?.check();
  return node.read(query, options);
}
