/**
 * Makes the simulated operator's requests to change the membership, from the committed membership of the
 * moment.
 */
import type { Membership } from "../../../codec/config.ts";
import { isJoint, membersOf } from "../../../core/config.ts";
import type { NodeId } from "../../../core/position.ts";
import type { MembershipChange } from "../../../runtime/members/index.ts";
import type { ClusterChecker } from "../checkers/cluster-checker.ts";
import type { Chance } from "../plan/chance.ts";
import type { ChangeKind } from "../plan/faults.ts";
import type { SimProcess } from "../world/sim-process.ts";
import type { OperatorView } from "./operator-view.ts";

/** What the leader is asked for. */
export interface ChangeRequest {
  /** `clean up`: after healing, members that can't come back are removed. */
  readonly how: ChangeKind | "clean up";
  readonly change: MembershipChange;
  /** A learner to add, instead of the change. */
  readonly learner: { readonly id: NodeId; readonly address: string } | null;
  /** The voters when it is done. */
  readonly voters: readonly NodeId[];
}

export interface ChangeRequestsParts {
  readonly chance: Chance;
  readonly processes: readonly SimProcess[];
  readonly checker: ClusterChecker;
  readonly view: OperatorView;
  /** Replaces a removed node's disk by an empty one, so that the operator can ask to add its id again. */
  readonly wipe: (process: SimProcess) => void;
}

type Maker = (membership: Membership) => ChangeRequest | null;

/** See the file's header. A request is null if it would change nothing or take away a majority. */
export class ChangeRequests {
  readonly #parts: ChangeRequestsParts;
  /** How many voters were added at an address where no node is. */
  #unreachableAdded = 0;
  readonly #makers: { readonly [How in ChangeKind]: Maker };

  constructor(parts: ChangeRequestsParts) {
    this.#parts = parts;
    this.#makers = {
      ...this.#singleChanges(),
      replace: (membership) =>
        this.#request("replace", membership, {
          add: this.#newcomers(membership, 1),
          remove: [this.#pickLeaving(membership)],
        }),
      several: (membership) => this.#several(membership),
      exchange: (membership) => this.#exchange(membership),
      retire: (membership) => this.#leaderOfTwoLeaves("retire", membership),
      bequeath: (membership) => this.#leaderOfTwoLeaves("bequeath", membership),
      move: (membership) => this.#move(membership),
      ghost: (membership) => {
        this.#unreachableAdded += 1;
        const id = `g${String(this.#unreachableAdded)}`;
        return this.#request("ghost", membership, { add: { [id]: "nowhere:7000" } });
      },
      reuse: (membership) => this.#reuse(membership),
    };
  }

  /**
   * A request of this kind. Null while the committed configuration is joint, or if the request isn't possible
   * now.
   */
  make(how: ChangeKind): ChangeRequest | null {
    const membership = this.#parts.checker.history.committedMembership;
    if (membership === null || isJoint(membership.config)) return null;
    return this.#makers[how](membership);
  }

  /**
   * Completes a joint configuration, or else removes the members whose disks are lost, that a leader knows to
   * have lost entries, or that never ran.
   */
  cleanUp(membership: Membership): ChangeRequest | null {
    if (isJoint(membership.config)) return this.#request("clean up", membership, { promote: [] });
    const remove = [...membership.members.keys()].filter((id) => {
      const process = this.#parts.view.process(id);
      return process === undefined || process.hasLostDisk || this.#parts.view.isKnownToBeRolledBack(id);
    });
    return this.#request("clean up", membership, { remove });
  }

  #singleChanges() {
    const { chance, view } = this.#parts;
    return {
      add: (membership: Membership) =>
        this.#request("add", membership, { add: this.#newcomers(membership, 1) }),
      learn: (membership: Membership) => this.#learner(membership),
      remove: (membership: Membership) =>
        this.#request("remove", membership, { remove: [this.#pickLeaving(membership)] }),
      "remove-leader": (membership: Membership) => {
        const leader = view.leader();
        return leader === null ? null : this.#request("remove-leader", membership, { remove: [leader.id] });
      },
      promote: (membership: Membership) => {
        const learners = this.#usableLearners(membership);
        if (learners.length === 0) return null;
        return this.#request("promote", membership, { promote: [chance.pick(learners)] });
      },
      demote: (membership: Membership) =>
        this.#request("demote", membership, { demote: [chance.pick(membership.config.voters)] }),
    };
  }

  #request(
    how: ChangeRequest["how"],
    { config }: Membership,
    change: MembershipChange,
  ): ChangeRequest | null {
    const { view } = this.#parts;
    const { add = {}, remove = [], promote = [], demote = [], addresses = {} } = change;
    const named = [...Object.keys(add), ...remove, ...promote, ...demote, ...Object.keys(addresses)];
    if (named.length === 0) return null;
    const stay = config.voters.filter((id) => !remove.includes(id) && !demote.includes(id));
    const voters = [...stay, ...promote, ...Object.keys(add)];
    // A voter at an address where no node is never catches up, so it never becomes one.
    const expected = how === "ghost" ? config.voters : voters;
    if (expected.length === 0 || !view.hasMajority(expected, null)) return null;
    for (const id of Object.keys(add)) view.usedIds.add(id);
    return { how, change, learner: null, voters: expected };
  }

  #learner(membership: Membership): ChangeRequest | null {
    const [newcomer] = Object.entries(this.#newcomers(membership, 1));
    if (newcomer === undefined) return null;
    const [id, address] = newcomer;
    this.#parts.view.usedIds.add(id);
    return { how: "learn", change: {}, learner: { id, address }, voters: membership.config.voters };
  }

  #several(membership: Membership): ChangeRequest | null {
    const { chance } = this.#parts;
    const leaving = chance.some(membership.config.voters, 0.5);
    const isDemoted = chance.happens(0.3);
    return this.#request("several", membership, {
      add: this.#newcomers(membership, 2),
      ...(isDemoted ? { demote: leaving } : { remove: leaving }),
      promote: this.#usableLearners(membership).slice(0, 1),
    });
  }

  /** Adds learners until there are two; then they replace all voters but the leader. */
  #exchange(membership: Membership): ChangeRequest | null {
    const learners = this.#usableLearners(membership);
    if (learners.length < 2) return this.#learner(membership);
    const leader = this.#parts.view.leader();
    const remove = membership.config.voters.filter((id) => id !== leader?.id);
    return this.#request("exchange", membership, { promote: learners, remove });
  }

  /** If there are two voters, removes the leader. Otherwise adds a voter instead. */
  #leaderOfTwoLeaves(how: "retire" | "bequeath", membership: Membership): ChangeRequest | null {
    const { voters } = membership.config;
    const leader = this.#parts.view.leader();
    const isPair = voters.length === 2 && leader !== null && voters.includes(leader.id);
    if (!isPair) return this.#request("add", membership, { add: this.#newcomers(membership, 1) });
    return this.#request(how, membership, { remove: [leader.id] });
  }

  /** Gives a member the next port. Until it listens there, the majority must not need it. */
  #move(membership: Membership): ChangeRequest | null {
    const { chance, view } = this.#parts;
    const movable = [...membership.members].filter(([id]) => {
      const process = view.process(id);
      return process !== undefined && view.isUsable(id) && view.canLose(process);
    });
    if (movable.length === 0) return null;
    const [id, { address }] = chance.pick(movable);
    view.moving.add(id);
    const [host, port] = address.split(":");
    return this.#request("move", membership, {
      addresses: { [id]: `${String(host)}:${String(Number(port) + 1)}` },
    });
  }

  #reuse(membership: Membership): ChangeRequest | null {
    const { processes, checker, chance, wipe } = this.#parts;
    const removed = processes.filter(({ id }) => membership.removed?.includes(id) === true);
    const concerned = checker.history.configs.flatMap(membersOf);
    const free = removed.filter(({ id }) => !concerned.includes(id));
    if (free.length === 0) return null;
    const process = chance.pick(free);
    wipe(process);
    return this.#request("reuse", membership, { add: { [process.id]: process.address } });
  }

  /** At most `countMax` nodes that were never members and that no request named, with their addresses. */
  #newcomers({ members, removed = [] }: Membership, countMax: number): Record<NodeId, string> {
    const { processes, view } = this.#parts;
    const fresh = processes.filter(
      ({ id, refusesToStart, hasLostDisk }) =>
        !view.usedIds.has(id) && !members.has(id) && !removed.includes(id) && !refusesToStart && !hasLostDisk,
    );
    return Object.fromEntries(fresh.slice(0, countMax).map(({ id, address }) => [id, address]));
  }

  #usableLearners({ config }: Membership): NodeId[] {
    return config.learners.filter((id) => this.#parts.view.isUsable(id));
  }

  /** Any member; mostly an unusable one, if there is one. */
  #pickLeaving({ members }: Membership): NodeId {
    const { chance, view } = this.#parts;
    const ids = [...members.keys()];
    const unusable = ids.filter((id) => !view.isUsable(id));
    return chance.pick(unusable.length > 0 && chance.happens(0.7) ? unusable : ids);
  }
}
