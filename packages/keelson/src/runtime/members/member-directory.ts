import type { RaftNode } from "../../core/node.ts";
import type { NodeId } from "../../core/position.ts";
import { membersOf } from "../../core/config.ts";
import type { LeaderHint } from "../../errors.ts";
import type { MembershipHistory } from "./membership-history.ts";
import type { MemberMetrics } from "../shared/index.ts";
import type { TransportMessage, PeerInfo } from "../../transport/transport.ts";
import type { KnownPeers } from "./known-peers.ts";

/** Candidates that are answered though they are no members here; a cluster has few at a time. */
const CALLERS_MAX = 16;

/** Who the others are and where: from the membership in force, and from what they said when they were met. */
export class MemberDirectory {
  readonly #core: RaftNode;
  readonly #memberships: MembershipHistory;
  readonly #peers: KnownPeers;
  /** What this node says of itself. */
  readonly #data: string;
  /** Candidates from a configuration that this node has not got yet, by when they called last. */
  readonly #callers = new Set<NodeId>();

  constructor(core: RaftNode, memberships: MembershipHistory, peers: KnownPeers, data: string) {
    this.#core = core;
    this.#memberships = memberships;
    this.#peers = peers;
    this.#data = data;
  }

  /** null: no leader is known. */
  get leader(): LeaderHint | null {
    const { leader } = this.#core;
    if (leader === null) return null;
    return { id: leader, address: this.#memberships.addressOf(leader), data: this.#dataOf(leader) };
  }

  /**
   * Whom this node may have to talk to, and where: the members; those who must hear that they are members no
   * more; and whoever else must be answered, which is everyone who calls a node that knows no members yet, its
   * leader, and candidates. Last comes where they said themselves that they are: this node's log may not say it yet.
   */
  get addresses(): Map<NodeId, readonly string[]> {
    const { id: self, commitIndex, removedMembersToNotify, leader } = this.#core;
    const met = this.#peers.addresses;
    const membership = this.#memberships.current?.membership;
    const ids = new Set(membership === undefined ? met.keys() : membership.members.keys());
    // Removed members are sent their own removal.
    for (const id of [...removedMembersToNotify, ...this.#callers]) ids.add(id);
    if (leader !== null) ids.add(leader);
    ids.delete(self);
    const addresses = new Map<NodeId, readonly string[]>();
    for (const id of ids) {
      const known = this.#memberships.addressesOf(id, commitIndex);
      const last = known.length > 0 ? undefined : this.#memberships.lastDataOf(id)?.address;
      const places = [...known, last, met.get(id)].filter((address) => address !== undefined);
      if (places.length > 0) addresses.set(id, [...new Set(places)]);
    }
    return addresses;
  }

  /**
   * Notes who asks for a vote. §6: votes are given to candidates that are not in the voter's own configuration, which may
   * be an old one; a voter that cannot answer them may be the one that is missing for a leader. True: whom this node may
   * have to talk to has changed.
   */
  noteSender({ type, from }: TransportMessage["message"]): boolean {
    if (type !== "pre-vote" && type !== "request-vote") return false;
    if (this.#callers.has(from) || this.addresses.has(from)) return false;
    this.#callers.add(from);
    const [oldest] = this.#callers;
    if (this.#callers.size > CALLERS_MAX && oldest !== undefined) this.#callers.delete(oldest);
    return true;
  }

  /** The members are others: candidates that are still none will call again. */
  forgetCallers(): void {
    this.#callers.clear();
  }

  /** Why a peer of this cluster is not talked to; null: it is. */
  refusalOf({ id, storeId }: PeerInfo): string | null {
    const membership = this.#memberships.current?.membership;
    if (membership === undefined) return null;
    // What is not written down yet, or not here, is known at least since the peer was met.
    const met = membership.members.has(id) ? this.#peers.storeIdOf(id) : null;
    // Also of one that is about to be removed: until that is committed, it may turn out to be a member still.
    const known = this.#memberships.lastDataOf(id)?.storeId ?? met;
    if (known !== null && known !== storeId) {
      return (
        `node ${id} comes with a disk (${storeId}) that is not the one it had (${known}), so what it promised is ` +
        `forgotten: remove ${id} from the cluster, and add the new disk under an id of its own`
      );
    }
    // A leader that removes itself still has to see its removal committed; and who is told of it must answer.
    const committed = this.#memberships.at(this.#core.commitIndex)?.membership;
    if (committed?.removed?.includes(id) !== true || this.#core.removedMembersToNotify.includes(id))
      return null;
    return `node ${id} was removed from the cluster; an id is not used again`;
  }

  /** Each member, with its progress if this node leads. */
  metrics(isStopped: boolean): MemberMetrics[] {
    const { config, log, role } = this.#core;
    return membersOf(config).map((id) => {
      const progress = role === "leader" && !isStopped ? this.#progressOf(id) : undefined;
      return {
        id,
        address: this.#memberships.addressOf(id) ?? "",
        voter: config.voters.includes(id) || config.outgoingVoters.includes(id),
        data: this.#dataOf(id),
        lag: progress === undefined ? null : log.last.index - progress.match,
        match: progress?.match ?? null,
        active: progress?.recentlyActive ?? null,
      };
    });
  }

  #progressOf(id: NodeId): { readonly match: number; readonly recentlyActive: boolean } | undefined {
    if (id !== this.#core.id) return this.#core.progress(id);
    return { match: this.#core.durableIndex, recentlyActive: true };
  }

  #dataOf(id: NodeId): string | null {
    return id === this.#core.id ? this.#data : this.#peers.dataOf(id);
  }
}
