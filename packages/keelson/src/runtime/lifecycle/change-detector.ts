import type { RaftNode } from "../../core/node.ts";
import type { NodeId, Term } from "../../core/position.ts";
import type { Role } from "../../core/role.ts";
import type { MembershipAt, MembershipHistory, RemovalWatch } from "../members/index.ts";
import type { RaftChange } from "../streams/index.ts";

/** What one input to the core changed. */
export interface CoreChange {
  /** This node led, and no longer leads in that term. */
  readonly leadershipEnded: boolean;
  /** The role, the term or the leader changed. */
  readonly leadershipChanged: boolean;
  readonly roleChanged: boolean;
  /** The leader changed, or the same node leads in a later term, or its leader became unknown. */
  readonly leaderChanged: boolean;
  /** Another membership is in force, committed or not (§6). */
  readonly membershipChanged: boolean;
  /** The number of removed members that are still to be told of their removal changed. */
  readonly removedMembersChanged: boolean;
}

/** The state that the last `detect` saw. */
interface Seen {
  readonly role: Role;
  readonly term: Term;
  readonly leader: NodeId | null;
  readonly membership: MembershipAt | null;
  /** Removed members that are still to be told of their removal. */
  readonly removedMembers: number;
}

/** Returned by `detect` when nothing changed. */
export const NO_CHANGE: CoreChange = {
  leadershipEnded: false,
  leadershipChanged: false,
  roleChanged: false,
  leaderChanged: false,
  membershipChanged: false,
  removedMembersChanged: false,
};

/**
 * Compares the core's state after each input with its state before: the core reports no changes by itself.
 */
export class ChangeDetector {
  readonly #core: RaftNode;
  readonly #memberships: MembershipHistory;
  readonly #removal: Pick<RemovalWatch, "evidence">;
  #seen: Seen;
  #elections = 0;

  constructor(core: RaftNode, memberships: MembershipHistory, removal: Pick<RemovalWatch, "evidence">) {
    this.#core = core;
    this.#removal = removal;
    this.#memberships = memberships;
    this.#seen = { ...this.#now(), removedMembers: 0 };
  }

  /** Elections that this node began since it was opened. */
  get elections(): number {
    return this.#elections;
  }

  /**
   * Role, leader, membership and removal as they are now, in the form of the changes that would lead to them.
   */
  get current(): RaftChange[] {
    const { role, term, leader, membership } = this.#now();
    const changes: RaftChange[] = [
      { type: "role", role, term },
      { type: "leader", leader, term },
    ];
    if (membership !== null) changes.push(membershipChange(membership));
    const { evidence } = this.#removal;
    if (evidence !== null) changes.push({ type: "removed", ...evidence });
    return changes;
  }

  /** What changed since the last call. */
  detect(): CoreChange {
    const before = this.#seen;
    if (this.#isSame(before)) return NO_CHANGE;
    const { role, term, leader, membership, removedMembers } = (this.#seen = this.#now());
    if (role === "candidate" && (before.role !== "candidate" || term !== before.term)) this.#elections += 1;
    const roleChanged = role !== before.role;
    return {
      leadershipEnded: before.role === "leader" && (role !== "leader" || term !== before.term),
      leadershipChanged: roleChanged || term !== before.term || leader !== before.leader,
      roleChanged,
      leaderChanged: leader !== before.leader || (leader !== null && term !== before.term),
      membershipChanged: membership !== before.membership,
      removedMembersChanged: removedMembers !== before.removedMembers,
    };
  }

  /**
   * Whether nothing has changed, which is so after most inputs. Compared field by field, so that no object is
   * made for each input.
   */
  #isSame({ role, term, leader, membership, removedMembers }: Seen): boolean {
    const core = this.#core;
    return (
      role === core.role &&
      term === core.term &&
      leader === core.leader &&
      membership === this.#memberships.current &&
      removedMembers === core.removedMembersToNotify.length
    );
  }

  #now(): Seen {
    const { role, term, leader, removedMembersToNotify } = this.#core;
    const membership = this.#memberships.current;
    return { role, term, leader, membership, removedMembers: removedMembersToNotify.length };
  }
}

/** The change to report when a membership comes into force. */
export function membershipChange({ index, membership }: MembershipAt): RaftChange {
  return { type: "membership", index, config: membership.config };
}
