// How a node comes to belong to a cluster. It does so once, for good.
import type { RaftNode } from "../../core/node.ts";
import type { LogIndex, NodeId } from "../../core/position.ts";
import {
  AlreadyInitializedError,
  OutcomeUnknownError,
  WrongIdentityError,
  type RaftError,
} from "../../errors.ts";
import type { LogStore } from "../../storage/log-store.ts";
import type { Driver, StorageWatchdog } from "../loop/index.ts";
import { describeCancellation, type CallRegistry } from "../calls/index.ts";
import { reasonOf, type Failure } from "../shared/index.ts";
import type { MembershipHistory } from "../members/index.ts";
import { beganWith, isNamed } from "../../codec/cluster-id.ts";
import { plannedCluster } from "./first-membership.ts";

export interface ClusterBootstrapParts {
  /** This node's id. */
  readonly id: NodeId;
  /** The option `clusterId`; null: it was not given. */
  readonly clusterName: string | null;
  /** The id that the log was bound to when it was opened; null: none. */
  readonly clusterId: string | null;
  readonly store: LogStore;
  readonly watchdog: StorageWatchdog;
  readonly core: RaftNode;
  readonly memberships: MembershipHistory;
  readonly driver: Driver;
  readonly calls: CallRegistry;
  /** The error for a call that is made now; null: the node takes calls. */
  readonly refusal: () => RaftError | null;
  readonly failed: (failure: Failure) => void;
}

/** A wait until the entry at `index` is durable. */
interface DurableWait {
  readonly index: LogIndex;
  readonly resolve: () => void;
}

/**
 * Makes the node belong to a cluster: one that `initialize` creates, or one whose member reaches it.
 *
 * In both cases the log is first bound to the cluster's id, durably. If the node took part before that, then
 * after a crash it could join another cluster with a log, a term and votes of this one.
 *
 * Nodes that are initialized separately with the same members form one cluster, because they compute the same
 * id and write the same first entry, byte for byte (`clusterIdOf`).
 */
export class ClusterBootstrap {
  readonly #parts: ClusterBootstrapParts;
  /** The id that the log is bound to; null: none yet. Set once. */
  #clusterId: string | null;
  /** Resolves after the last `initialize` or `adopt`: both bind the log, so they run one after another. */
  #tail: Promise<unknown> = Promise.resolve();
  /** Calls of `initialize` whose first entry is not durable yet. */
  #durableWaits: DurableWait[] = [];

  constructor(parts: ClusterBootstrapParts) {
    this.#parts = parts;
    this.#clusterId = parts.clusterId;
  }

  /** The id of the node's cluster; null: it belongs to none yet. */
  get clusterId(): string | null {
    return this.#clusterId;
  }

  /** Creates the cluster. Resolves when its first entry is durable on this node. */
  initialize(members: Readonly<Record<NodeId, string>>): Promise<void> {
    const { calls } = this.#parts;
    calls.check({});
    const call = calls.begin<undefined>(
      "initialize",
      { timeoutMs: Infinity },
      {
        onCancel: (cancellation) => new OutcomeUnknownError(describeCancellation(cancellation)),
      },
    );
    this.#initialize(members).then(
      () => {
        call.resolve(undefined);
      },
      (error: unknown) => {
        call.reject(error);
      },
    );
    return call.promise;
  }

  #initialize(members: Readonly<Record<NodeId, string>>): Promise<void> {
    return this.#inTurn(async () => {
      const { id, clusterName } = this.#parts;
      const { membership, payload, clusterId } = plannedCluster(members, id, clusterName);
      if (!this.#beginsWith(payload)) {
        await this.#bind(clusterId);
        // Meanwhile another member may have reached this node and replicated the first entry to it.
        if (!this.#beginsWith(payload)) this.#parts.driver.createCluster(membership, payload);
      }
      await this.#durable(1);
    });
  }

  /**
   * A member of the cluster `clusterId` reached this node, which belongs to none. Resolves when it has joined
   * it.
   */
  adopt(clusterId: string): Promise<void> {
    return this.#inTurn(async () => {
      const { clusterName } = this.#parts;
      if (!isNamed(clusterId, clusterName)) {
        throw new WrongIdentityError(
          `this node waits for cluster "${String(clusterName)}", not for ${clusterId}`,
        );
      }
      await this.#bind(clusterId);
    });
  }

  /**
   * Ends the waits whose entry is durable now. Called after each drain, as the durable index may have moved.
   */
  afterDrain(): void {
    if (this.#durableWaits.length === 0) return;
    const { durableIndex } = this.#parts.core;
    for (const { index, resolve } of this.#durableWaits) if (index <= durableIndex) resolve();
    this.#durableWaits = this.#durableWaits.filter(({ index }) => index > durableIndex);
  }

  /** The node stops. The registry of calls has ended the calls. */
  stop(): void {
    // Resolved, so that calls of `adopt` and `initialize` that wait behind these in `#tail` get their turn.
    // There they are refused, because the node has stopped.
    for (const { resolve } of this.#durableWaits.splice(0)) resolve();
  }

  /**
   * Whether the log begins with this membership (encoded); false: the log is empty.
   *
   * @throws AlreadyInitializedError it begins with another membership
   */
  #beginsWith(payload: Uint8Array): boolean {
    const { core, memberships, id } = this.#parts;
    if (core.log.last.index === 0) return false;
    // The cluster's id is derived from the first membership. The first entry itself may have been compacted.
    if (this.#clusterId !== null && beganWith(this.#clusterId, payload)) return true;
    const { first } = memberships;
    const names = first === null ? "" : ` (${[...first.membership.members.keys()].join(", ")})`;
    throw new AlreadyInitializedError(
      `node ${id} belongs to a cluster already, which began with other members or addresses${names}; ` +
        "initialize is for new nodes: leave it out, or repeat it with the members that the cluster began with",
    );
  }

  /** Binds the log to a cluster. Resolves when that is durable. */
  async #bind(clusterId: string): Promise<void> {
    const { store, watchdog, failed, refusal, id } = this.#parts;
    const stopped = refusal();
    if (stopped !== null) throw stopped;
    if (this.#clusterId === clusterId) return;
    if (this.#clusterId !== null) {
      throw new AlreadyInitializedError(
        `node ${id} belongs to cluster ${this.#clusterId}, so it cannot belong to cluster ${clusterId} as well`,
      );
    }
    try {
      await watchdog.monitor("binding the log to its cluster", () => store.setClusterId(clusterId));
    } catch (error) {
      if (error instanceof WrongIdentityError) throw error;
      failed({
        kind: "storage",
        message: `the log could not be bound to its cluster, so the node stops: ${reasonOf(error)}`,
        cause: error,
      });
      throw refusal() ?? error;
    }
    this.#clusterId = clusterId;
    const stoppedMeanwhile = refusal();
    if (stoppedMeanwhile !== null) throw stoppedMeanwhile;
  }

  /** Resolves when the entry at `index` is durable, or the node stops. */
  #durable(index: LogIndex): Promise<void> {
    const stopped = this.#parts.refusal();
    if (stopped !== null) return Promise.reject(stopped);
    if (this.#parts.core.durableIndex >= index) return Promise.resolve();
    return new Promise((resolve) => {
      this.#durableWaits.push({ index, resolve });
    });
  }

  #inTurn(run: () => Promise<void>): Promise<void> {
    const result = this.#tail.then(run);
    this.#tail = result.catch(() => undefined);
    return result;
  }
}
