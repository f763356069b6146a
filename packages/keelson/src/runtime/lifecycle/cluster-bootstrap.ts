import { encodeMembership, type Membership } from "../../codec/config.ts";
import { configOf } from "../../core/config.ts";
import type { RaftNode } from "../../core/node.ts";
import type { LogIndex, NodeId } from "../../core/position.ts";
import {
  AlreadyInitializedError,
  InvalidOptionError,
  OutcomeUnknownError,
  WrongIdentityError,
  type RaftError,
} from "../../errors.ts";
import type { LogStore } from "../../storage/log-store.ts";
import type { Driver, StorageWatchdog } from "../loop/index.ts";
import { describeCancellation, type CallRegistry } from "../calls/index.ts";
import { reasonOf, type Failure, checkId } from "../shared/index.ts";
import { checkAddress, type MembershipHistory } from "../members/index.ts";
import { beganWith, clusterIdOf, isNamed } from "../../codec/cluster-id.ts";

/** Voters a cluster may begin with: the paper's clusters have five, and each more makes every write wait for more. */
const VOTERS_MAX = 31;

export interface ClusterBootstrapParts {
  readonly id: NodeId;
  /** What the options say; null: nothing. */
  readonly clusterName: string | null;
  /** What the store holds. */
  readonly clusterId: string | null;
  readonly store: LogStore;
  readonly watchdog: StorageWatchdog;
  readonly core: RaftNode;
  readonly memberships: MembershipHistory;
  readonly driver: Driver;
  readonly calls: CallRegistry;
  /** Why the node takes no more calls; null: it does. */
  readonly refusal: () => RaftError | null;
  readonly failed: (failure: Failure) => void;
}

/** A wait until the entry at `index` is durable. */
interface DurableWait {
  readonly index: LogIndex;
  readonly resolve: () => void;
}

/** How a node comes to belong to a cluster: it founds one, or is reached by a member of one. Once, for ever. */
export class ClusterBootstrap {
  readonly #parts: ClusterBootstrapParts;
  #clusterId: string | null;
  /** Founding and joining both bind the store, so they go one after another. */
  #tail: Promise<unknown> = Promise.resolve();
  #durableWaits: DurableWait[] = [];

  constructor(parts: ClusterBootstrapParts) {
    this.#parts = parts;
    this.#clusterId = parts.clusterId;
  }

  /** null: the node belongs to no cluster yet. */
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
      const membership = membershipOf(members, this.#parts.id);
      const payload = encodeMembership(membership);
      if (!this.#isFounded(payload)) {
        await this.#bind(clusterIdOf(payload, this.#parts.clusterName));
        // Once bound, the node may have been reached, and given the first entry, while the store was writing.
        if (!this.#isFounded(payload)) this.#parts.driver.createCluster(membership, payload);
      }
      await this.#durable(1);
    });
  }

  /** A member of `clusterId` reached this node. */
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

  /** More of the log may be durable. */
  persisted(): void {
    if (this.#durableWaits.length === 0) return;
    const { durableIndex } = this.#parts.core;
    for (const { index, resolve } of this.#durableWaits) if (index <= durableIndex) resolve();
    this.#durableWaits = this.#durableWaits.filter(({ index }) => index > durableIndex);
  }

  /** The node stops. The registry of calls has ended the calls. */
  stop(): void {
    // What waits for its turn behind them gets it, and is refused.
    for (const { resolve } of this.#durableWaits.splice(0)) resolve();
  }

  /** Whether the log begins with this membership already. Throws if it begins with another. */
  #isFounded(payload: Uint8Array): boolean {
    const { core, memberships, id } = this.#parts;
    if (core.log.last.index === 0) return false;
    // The id tells it also when the first entry is gone from the log, and when the cluster was founded anew.
    if (this.#clusterId !== null && beganWith(this.#clusterId, payload)) return true;
    const { first } = memberships;
    const names = first === null ? "" : ` (${[...first.membership.members.keys()].join(", ")})`;
    throw new AlreadyInitializedError(
      `node ${id} belongs to a cluster already, which began with other members or addresses${names}; ` +
        "initialize is for new nodes: leave it out, or repeat it with the members that the cluster began with",
    );
  }

  /** Binds this node to a cluster, durably, before it says or takes anything in its name. */
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

/** The first members as a membership. Throws `InvalidOptionError` for what cannot be right. */
function membershipOf(members: Readonly<Record<NodeId, string>>, self: NodeId): Membership {
  const entries = Object.entries(members);
  if (!Object.hasOwn(members, self)) {
    throw new InvalidOptionError(
      `members are ${entries.map(([id]) => id).join(", ") || "none"}; they should include this node, ${self}`,
    );
  }
  if (entries.length > VOTERS_MAX) {
    throw new InvalidOptionError(
      `there are ${String(entries.length)} members; a cluster begins with at most ${String(VOTERS_MAX)}`,
    );
  }
  const ownerOf = new Map<string, NodeId>();
  for (const [id, address] of entries) {
    checkId("a member's id", id);
    checkAddress(id, address);
    const owner = ownerOf.get(address);
    if (owner !== undefined) {
      throw new InvalidOptionError(`members ${owner} and ${id} have the same address, ${address}`);
    }
    ownerOf.set(address, id);
  }
  const config = configOf(entries.map(([id]) => id));
  return { config, members: new Map(entries.map(([id, address]) => [id, { address }])) };
}
