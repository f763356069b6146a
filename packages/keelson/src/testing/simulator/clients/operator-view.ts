/**
 * What the simulated operator knows of the cluster: which nodes are usable, who leads, and what the cluster
 * can lose. It keeps the rule of any operator: never knowingly take away a majority.
 */
import { membersOf } from "../../../core/config.ts";
import type { NodeId } from "../../../core/position.ts";
import type { ClusterChecker } from "../checkers/cluster-checker.ts";
import type { SimProcess } from "../world/sim-process.ts";

/** See the file's header. */
export class OperatorView {
  /** Every id that was ever asked for or lost its disk. An id is used once. */
  readonly usedIds = new Set<NodeId>();
  /** Nodes whose disks are damaged, or soon will be. */
  readonly damaged = new Set<NodeId>();
  /** Nodes that the others may look for at another address than theirs. The majority must not need them. */
  readonly moving = new Set<NodeId>();
  /** The voters that the change under way would leave; none: no change is under way. */
  votersAfterChange: readonly NodeId[] = [];
  readonly #processes: readonly SimProcess[];
  readonly #checker: ClusterChecker;

  constructor(processes: readonly SimProcess[], checker: ClusterChecker) {
    this.#processes = processes;
    this.#checker = checker;
  }

  process(id: NodeId): SimProcess | undefined {
    return this.#processes.find((process) => process.id === id);
  }

  /** The node that leads the highest term, by its own word; null: no node says that it leads. */
  leader(): SimProcess | null {
    let best: SimProcess | null = null;
    for (const process of this.#processes) {
      const metrics = process.raft?.metrics();
      if (metrics?.role !== "leader") continue;
      if (metrics.term > (best?.raft?.metrics().term ?? 0)) best = process;
    }
    return best;
  }

  /** Whether a majority may rely on this node. */
  isUsable(id: NodeId): boolean {
    const process = this.process(id);
    return (
      process !== undefined &&
      !process.refusesToStart &&
      !process.hasLostDisk &&
      !this.damaged.has(id) &&
      !this.moving.has(id)
    );
  }

  /** Whether the usable nodes of this group, without one of them, are a majority of it. */
  hasMajority(group: readonly NodeId[], without: NodeId | null): boolean {
    return group.filter((id) => id !== without && this.isUsable(id)).length * 2 > group.length;
  }

  /** Whether every majority that counts now, or may count soon, can do without this node for good. */
  canLose({ id }: SimProcess): boolean {
    const groups = [
      ...this.#checker.history.configs.flatMap(({ voters, outgoingVoters }) => [voters, outgoingVoters]),
      this.votersAfterChange,
    ];
    return groups.every((group) => !group.includes(id) || this.hasMajority(group, id));
  }

  /**
   * Whether a node may lose its disk. A member may only when all others would refuse its new disk: they hold
   * its store id in a committed entry (M11).
   */
  canWipe(process: SimProcess, isChanging: boolean): boolean {
    const { history } = this.#checker;
    const { id } = process;
    const concerned = new Set([...history.configs.flatMap(membersOf), ...this.votersAfterChange]);
    if (!concerned.has(id)) return !isChanging && history.committed.length > 0;
    if (process.hasLostDisk || !this.canLose(process)) return false;
    return this.#processes
      .filter(
        (other) => other.id !== id && concerned.has(other.id) && !other.hasLostDisk && !other.refusesToStart,
      )
      .every((other) => history.knowsStoreId(other.id, id));
  }
}
