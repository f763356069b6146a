/** What the HTTP and the line server need of a running node. Tests pass a fake. */
import type { Raft, ReadOptions } from "keelson";
import type { SnapshotStore } from "keelson/storage/snapshots";
import type { KvCommand, KvResult } from "../store/commands.ts";
import type { KvStateMachine } from "../store/state-machine.ts";
import type { RemovalWatch } from "./removal-watch.ts";

/** The methods of `Raft` that the servers call. */
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

/** A node with its state. The servers get it when it is open. */
export interface Serving {
  readonly node: KvNode;
  readonly store: KvStateMachine;
  /**
   * Notices that the node was removed from its cluster. Absent: the servers never refuse reads for that
   * reason.
   */
  readonly removal?: RemovalWatch;
  /** Absent: the node takes no snapshots, so it can't send backups. */
  readonly snapshots?: SnapshotStore;
}

/**
 * Reads for a client.
 *
 * @throws RemovedError the node was removed, and the read needs a leader
 */
export function readFrom<T>(
  { node, removal }: Serving,
  query: () => T | Promise<T>,
  options: ReadOptions = {},
): Promise<T> {
  if (options.consistency !== "stale") removal?.throwIfRemoved();
  return node.read(query, options);
}
