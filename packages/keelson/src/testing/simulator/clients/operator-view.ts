/**
 * What the simulated operator knows of the cluster: which nodes are usable, who leads, and what the cluster
 * can lose. It keeps the rule of any operator: never knowingly take away a majority.
 */
import { membersOf } from "../../../core/config.ts";
import type { NodeId } from "../../../core/position.ts";
import { isLostStoreId, type MembershipChange } from "../../../runtime/members/index.ts";
import type { ClusterChecker } from "../checkers/cluster-checker.ts";
import type { SimProcess } from "../world/sim-process.ts";

/** See the file's header. */
export class OperatorView {
  /** Every id that was ever asked for or lost its disk. An id is used once. */
  readonly usedIds: Set<string> = new Set<NodeId>();
  /** Nodes whose disks a fault damages or destroys, noted before it does. */
  readonly damaged: Set<string> = new Set<NodeId>();
  /** Nodes that the others may look for at another address than theirs. The majority must not need them. */
  readonly moving: Set<string> = new Set<NodeId>();
  /** For each change under way, the voters that it would leave. */
  readonly votersAfterChanges: Set<readonly string[]> = new Set<readonly NodeId[]>();
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
      if (!process.leads) continue;
      if ((process.core?.term ?? 0) > (best?.core?.term ?? 0)) best = process;
    }
    return best;
  }

  /**
   * Whether a leader proved that this member lost entries, as an error that stopped the node, any node's
   * metrics or the committed membership says. A node that was rolled back before its leader was elected
   * doesn't count: it catches up like a slow one. Nor does a node that leads, although a former leader knew
   * of its loss: it has caught up.
   */
  isKnownToBeRolledBack(id: NodeId): boolean {
    const process = this.process(id);
    if (process?.hasFoundLoss === true && !process.leads) return true;
    const storeId = this.#checker.history.committedMembership?.members.get(id)?.storeId;
    if (storeId !== undefined && isLostStoreId(storeId)) return true;
    return this.#processes.some(({ raft }) =>
      raft?.metrics().members.some((member) => member.id === id && member.lostEntries === true),
    );
  }

  /** A member whose removal is committed, with the store by which the others knew it; null: there is none. */
  removedMember(): { readonly id: NodeId; readonly storeId: string } | null {
    const { committed, committedMembership } = this.#checker.history;
    const removed = committedMembership?.removed ?? [];
    for (let at = committed.at(-1)?.inForce ?? null; at !== null; at = at.before) {
      for (const [id, { storeId }] of at.membership.members)
        if (removed.includes(id) && storeId !== undefined) return { id, storeId };
    }
    return null;
  }

  /** Whether this node knows that the removal of member `of` is committed. */
  knowsRemovalOf({ id, core }: SimProcess, of: NodeId): boolean {
    const inForce = this.#checker.history.node(id).submitted[(core?.commitIndex ?? 0) - 1]?.inForce;
    return inForce?.membership.removed?.includes(of) === true;
  }

  /** Whether this node counts where the operator looks for a majority that remains. */
  isUsable(id: NodeId): boolean {
    const process = this.process(id);
    return (
      process !== undefined &&
      !process.refusesToStart &&
      !process.hasLostDisk &&
      !process.wasRolledBack &&
      !this.damaged.has(id) &&
      !this.moving.has(id)
    );
  }

  /** Whether the usable nodes of this group, without one of them, are a majority of `size` nodes. */
  hasMajority(group: readonly NodeId[], without: NodeId | null, size: number = group.length): boolean {
    return group.filter((id) => id !== without && this.isUsable(id)).length * 2 > size;
  }

  /**
   * Whether a change leaves a majority of usable voters, whatever became of the changes before it: the leader
   * applies it to what they left, and the outcome of one may be unknown.
   */
  leavesMajority({ add = {}, remove = [], promote = [], demote = [] }: MembershipChange): boolean {
    return this.#checker.history.possibleConfigs.every(({ voters }) => {
      const stay = voters.filter((id) => !remove.includes(id) && !demote.includes(id));
      return this.hasMajority([...new Set([...stay, ...promote, ...Object.keys(add)])], null);
    });
  }

  /**
   * Whether every majority that counts now, or may count after a change under way, can do without this node
   * for good.
   */
  canLose({ id }: SimProcess): boolean {
    return this.#groups().every((group) => !group.includes(id) || this.hasMajority(group, id));
  }

  /** The groups of voters of which a majority counts now, or may count after a change under way. */
  #groups(): (readonly NodeId[])[] {
    return [
      ...this.#checker.history.configs.flatMap(({ voters, outgoingVoters }) => [voters, outgoingVoters]),
      ...this.votersAfterChanges,
    ];
  }

  /**
   * Whether a node's disk may be replaced by an older copy of itself. Nothing can be proved about what a node
   * acknowledged to an earlier leader, and until a leader finds out, the node votes with what it has left. So
   * every majority that counts, or may count after a change under way, must do without it, now and for what
   * it did before: usable nodes that hold all of its entries, and can't vote in a term in which it may have
   * voted for another.
   */
  canRollBack(process: SimProcess): boolean {
    const { history } = this.#checker;
    const { durable, hardState } = history.node(process.id);
    if (process.hasLostDisk || process.refusesToStart || history.committed.length === 0) return false;
    const covers = (id: NodeId): boolean => {
      const other = history.node(id);
      const { term, votedFor } = other.hardState;
      return (
        other.durable[durable.length - 1]?.chain === durable.at(-1)?.chain &&
        (term > hardState.term || (term === hardState.term && [null, votedFor].includes(hardState.votedFor)))
      );
    };
    return this.#groups().every(
      (group) =>
        !group.includes(process.id) || this.hasMajority(group.filter(covers), process.id, group.length),
    );
  }

  /**
   * Whether a node may lose its disk. A member may only when all others would refuse its new disk: they hold
   * its store id in a committed entry (M11).
   */
  canWipe(process: SimProcess, isChanging: boolean): boolean {
    const { history } = this.#checker;
    const { id } = process;
    const concerned = new Set([
      ...history.configs.flatMap(membersOf),
      ...[...this.votersAfterChanges].flat(),
    ]);
    if (!concerned.has(id)) return !isChanging && history.committed.length > 0;
    if (process.hasLostDisk || !this.canLose(process)) return false;
    return this.#processes
      .filter(
        (other) => other.id !== id && concerned.has(other.id) && !other.hasLostDisk && !other.refusesToStart,
      )
      .every((other) => history.knowsStoreId(other.id, id));
  }
}
