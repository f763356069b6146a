/** What the HTTP and the line server need of a running node. Tests pass a fake. */
import { NotLeaderError, type Raft } from "keelson";
import type { SnapshotStore } from "keelson/storage/snapshots";
import type { KvCommand, KvResult } from "../store/commands.ts";
import type { KvStateMachine } from "../store/state-machine.ts";

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

/** What `kvNodeOf` needs of a node. */
export type FollowableNode = KvNode &
  Pick<Raft<KvCommand, KvResult>, "leader" | "initialized" | "removed" | "stopped">;

/**
 * A node whose calls fail at once with `NotLeaderError` where the library would wait for a leader: a client
 * of the servers tries the next node meanwhile, which may be one that isn't cut off. Only with `forward` do
 * writes wait. Changes of the members and transfers are never forwarded: what the servers answer is taken
 * from this node's own view of the members, which is behind on a follower.
 */
export function kvNodeOf(raft: FollowableNode, forward: boolean): KvNode {
  let hasStopped = false;
  void raft.stopped.then(() => {
    hasStopped = true;
  });
  // A node that has stopped or was removed has an error of its own.
  const hasOwnError = (): boolean => hasStopped || raft.removed;
  const checkKnowsLeader = (): void => {
    if (!forward && !hasOwnError() && raft.leader === null) throw new NotLeaderError(null);
  };
  const checkLeads = (): void => {
    if (hasOwnError() || raft.leader?.id === raft.metrics().id) return;
    throw new NotLeaderError(raft.leader);
  };
  return {
    write: async (command, options) => {
      checkKnowsLeader();
      return raft.write(command, options);
    },
    beginSession: async (options) => {
      checkKnowsLeader();
      return raft.beginSession(options);
    },
    endSession: async (id, options) => {
      checkKnowsLeader();
      return raft.endSession(id, options);
    },
    read: async (query, options) => {
      if (!hasStopped && !raft.initialized && options?.consistency !== "stale")
        throw new NotLeaderError(null);
      return raft.read(query, options);
    },
    changeMembership: async (change, options) => {
      checkLeads();
      return raft.changeMembership(change, options);
    },
    addLearner: async (id, address, options) => {
      checkLeads();
      return raft.addLearner(id, address, options);
    },
    transferLeadership: async (to, options) => {
      checkLeads();
      return raft.transferLeadership(to, options);
    },
    snapshot: (options) => raft.snapshot(options),
    metrics: () => raft.metrics(),
    staleness: () => raft.staleness(),
  };
}

/** A node with its state. The servers get it when it is open. */
export interface Serving {
  readonly node: KvNode;
  readonly store: KvStateMachine;
  /** Absent: the node takes no snapshots, so it can't send backups. */
  readonly snapshots?: SnapshotStore;
}
