import type { Membership } from "../../codec/config.ts";
import type { RaftNode } from "../../core/node.ts";
import type { NodeId } from "../../core/position.ts";
import { isVoter, membersOf } from "../../core/config.ts";
import type { LeaderHint } from "../../errors.ts";
import type { MembershipHistory } from "./membership-history.ts";
import type { MemberMetrics } from "../shared/index.ts";
import { removalReason } from "../../transport/handshake.ts";
import type { TransportMessage, PeerInfo } from "../../transport/transport.ts";
import type { KnownPeers } from "./known-peers.ts";
import { hasCaughtUp } from "./caught-up.ts";
import { isLostStoreId, type LostEntries } from "./lost-entries.ts";

/**
 * Senders remembered at most that are not members here. A cluster has few leaders and candidates at a time;
 * the limit bounds the memory that strangers can make this node use.
 */
const UNKNOWN_SENDERS_MAX = 16;

/**
 * Messages that are answered even if their sender is no member here: it may be one by a configuration that
 * this node doesn't have yet.
 */
const ALWAYS_ANSWERED: ReadonlySet<TransportMessage["message"]["type"]> = new Set([
  "pre-vote",
  "request-vote",
  "append-entries",
  "install-snapshot",
] as const);

/**
 * Combines what the log says about other nodes (`MembershipHistory`: agreed on, durable, perhaps old) with
 * what they stated about themselves in handshakes (`KnownPeers`: newer, not agreed on). From these it decides
 * which nodes this one connects to and at which addresses, which it refuses in handshakes, and what it
 * reports of the members.
 */
export class MemberDirectory {
  readonly #core: RaftNode;
  readonly #memberships: MembershipHistory;
  readonly #peers: KnownPeers;
  readonly #lost: Pick<LostEntries, "isLostStore">;
  /** This node's own option `info`. */
  readonly #info: string;
  /** The option `reachAt`. */
  readonly #reachAt: ReadonlyMap<NodeId, string>;
  /**
   * Nodes that asked for a vote, or sent entries as a leader, and are not members here, the oldest first.
   * They may be members by a configuration that this node doesn't have yet. Emptied when the membership
   * changes.
   */
  readonly #unknownSenders = new Set<NodeId>();

  constructor(
    core: RaftNode,
    memberships: MembershipHistory,
    peers: KnownPeers,
    lost: Pick<LostEntries, "isLostStore">,
    info: string,
    reachAt: ReadonlyMap<NodeId, string> = new Map(),
  ) {
    this.#core = core;
    this.#memberships = memberships;
    this.#peers = peers;
    this.#lost = lost;
    this.#info = info;
    this.#reachAt = reachAt;
  }

  /** The leader, for callers that were refused; null: this node knows none. */
  get leader(): LeaderHint | null {
    const { leader } = this.#core;
    if (leader === null) return null;
    return { id: leader, address: this.#memberships.addressOf(leader), info: this.#infoOf(leader) };
  }

  /**
   * The nodes that the transport may connect to, each with its possible addresses, the most likely first:
   *
   * - the members; before this node has a membership, every node that has connected to it;
   * - removed members that are still to be told of their removal;
   * - the leader, and leaders and candidates of other terms that sent something, even if they are no members
   *   here: this node's configuration may be old.
   *
   * First come addresses of the option `reachAt`. The others come from the log
   * (`MembershipHistory.addressesOf`), or from the last membership that a removed node belonged to. Last
   * comes the address that the node itself stated: it may have moved, and the log doesn't say so yet.
   */
  get addresses(): Map<NodeId, readonly string[]> {
    const { id: self, commitIndex, removedMembersToNotify, leader } = this.#core;
    const stated = this.#peers.statedAddresses;
    const membership = this.#memberships.current?.membership;
    const ids = new Set(membership === undefined ? stated.keys() : membership.members.keys());
    for (const id of [...removedMembersToNotify, ...this.#unknownSenders]) ids.add(id);
    if (leader !== null) ids.add(leader);
    ids.delete(self);
    const addresses = new Map<NodeId, readonly string[]>();
    for (const id of ids) {
      const known = this.#memberships.addressesOf(id, commitIndex);
      const last = known.length > 0 ? undefined : this.#memberships.lastDataOf(id)?.address;
      const all = [this.#reachAt.get(id), ...known, last, stated.get(id)].filter(
        (address) => address !== undefined,
      );
      if (all.length > 0) addresses.set(id, [...new Set(all)]);
    }
    return addresses;
  }

  /**
   * Remembers the sender of a message that must be answered, though it is not a member here: this node's
   * configuration may be old. §6: a voter grants its vote to candidates that are not in its own
   * configuration, and the vote that they lack for a majority might be this one. A leader of an earlier term
   * must hear of the later one, or it goes on sending, and this node goes on standing for election, without
   * end. True: `addresses` has changed.
   */
  noteSender({ type, from }: TransportMessage["message"]): boolean {
    if (!ALWAYS_ANSWERED.has(type) || this.#unknownSenders.has(from)) return false;
    // Nearly always it is the leader or a member: the addresses need not be gathered then.
    const isMember = this.#memberships.current?.membership.members.has(from) === true;
    if (isMember || from === this.#core.leader || this.addresses.has(from)) return false;
    this.#unknownSenders.add(from);
    const [oldest] = this.#unknownSenders;
    if (this.#unknownSenders.size > UNKNOWN_SENDERS_MAX && oldest !== undefined) {
      this.#unknownSenders.delete(oldest);
    }
    return true;
  }

  /** The membership changed. A sender that still isn't a member is remembered again with its next message. */
  forgetUnknownSenders(): void {
    this.#unknownSenders.clear();
  }

  /**
   * Why a peer of the same cluster is refused in a handshake; null: it isn't.
   *
   * - A member's id with another store: the old store held votes and acknowledgements that the new one
   *   doesn't know of. It could vote twice in a term, or break a majority that counted an entry on the old
   *   store (M11).
   * - A removed member: it is told of its removal by being refused (M9). An id is never used again (M10).
   * - An id that was never a member, unless the peer is vouched for. A stranger could otherwise ask for votes
   *   (Z17). A member that this node's log doesn't know yet is vouched for if it can name this node's store
   *   id, which it has from its own log or an earlier handshake (§6: votes are also given to candidates
   *   outside the voter's own configuration). A new node need not reach others: the leader reaches it. A node
   *   that is only about to join refuses nobody for this reason (`#isJoining`).
   *
   * The peer is told the reason, so it names no store id but the peer's own.
   */
  refusalOf({ id, storeId }: PeerInfo, isVouchedFor: boolean): string | null {
    const membership = this.#memberships.current?.membership;
    if (membership === undefined) return null;
    // The peer may connect, so that it can be told that it lost entries. Nothing else it sends is taken: see
    // `LostEntries.isLost`.
    if (this.#lost.isLostStore(id, storeId)) return null;
    // The leader records a member's store id only some time after the member joined, and this node's log may
    // lag behind that. Until then, the id of the last handshake counts.
    const met = membership.members.has(id) ? this.#peers.storeIdOf(id) : null;
    // Memberships before the last one count too: while a removal isn't committed, the node may remain a
    // member.
    const known = this.#memberships.lastDataOf(id)?.storeId ?? met;
    if (known !== null && isLostStoreId(known)) {
      return (
        `node ${id} lost entries that it had acknowledged as durable: its directory was replaced by an older copy, or ` +
        `its disk forgot writes. Remove ${id} from the cluster, and add its machine anew, with an empty directory ` +
        "and a new id"
      );
    }
    if (known !== null && known !== storeId) {
      return (
        `node ${id} comes with a disk (${storeId}) that is not the one it had, so what it promised is ` +
        `forgotten: remove ${id} from the cluster, and add the new disk under an id of its own`
      );
    }
    // A removed node is refused only once its removal is committed: a leader that removes itself needs its
    // connections until then. And a node that is still being told of its removal must be able to answer.
    const committed = this.#memberships.at(this.#core.commitIndex)?.membership;
    if (committed?.removed?.includes(id) === true) {
      if (this.#core.removedMembersToNotify.includes(id)) return null;
      return removalReason(id);
    }
    const wasMember = membership.removed?.includes(id) === true || this.#memberships.lastDataOf(id) !== null;
    if (wasMember || isVouchedFor) return null;
    if (this.#isJoining(membership, committed)) return null;
    return `node ${id} is not, and never was, a member as far as this node knows; add it to the cluster first`;
  }

  /**
   * Whether this node is being added, and doesn't know yet that this was committed.
   *
   * Until then it can tell a member from a stranger no better than a node without a cluster. The leader that
   * adds it may fail before the change is committed. The cluster then goes on without that change, and
   * perhaps with members that this node has never heard of. They have never met it, so they can't name its
   * store: if it refused them, it could never be added again. A voter always refuses, for its vote counts.
   */
  #isJoining(membership: Membership, committed: Membership | undefined): boolean {
    const self = this.#core.id;
    if (isVoter(membership.config, self)) return false;
    const wasCommitted = committed?.members.has(self) === true || committed?.removed?.includes(self) === true;
    return !wasCommitted && membership.removed?.includes(self) !== true;
  }

  /**
   * The id of another node's store, as far as this node knows it. By naming it, this node shows that one that
   * it is a member.
   */
  storeIdOf(id: NodeId): string | null {
    const recorded = this.#memberships.lastDataOf(id)?.storeId;
    return recorded === undefined || isLostStoreId(recorded) ? this.#peers.storeIdOf(id) : recorded;
  }

  /** The members, each with its replication progress if this node leads. */
  metrics(isStopped: boolean): MemberMetrics[] {
    const { config, log, role } = this.#core;
    return membersOf(config).map((id) => {
      const progress = role === "leader" && !isStopped ? this.#progressOf(id) : undefined;
      return {
        id,
        address: this.#memberships.addressOf(id) ?? "",
        voter: config.voters.includes(id) || config.outgoingVoters.includes(id),
        info: this.#infoOf(id),
        lag: progress === undefined || progress.lostEntries ? null : log.last.index - progress.match,
        match: progress === undefined || progress.lostEntries ? null : progress.match,
        active: progress?.recentlyActive ?? null,
        caughtUp: progress === undefined || progress.lostEntries ? null : hasCaughtUp(this.#core, id),
        lostEntries: this.#lostEntries(id, progress?.lostEntries ?? null),
      };
    });
  }

  #progressOf(id: NodeId): MemberProgress | undefined {
    if (id === this.#core.id)
      return { match: this.#core.durableIndex, recentlyActive: true, lostEntries: false };
    const progress = this.#core.progress(id);
    return progress === undefined ? undefined : { ...progress, lostEntries: progress.lostAfter !== null };
  }

  /**
   * What this leader found out itself (null: it doesn't lead), or an earlier one wrote into the membership.
   */
  #lostEntries(id: NodeId, found: boolean | null): boolean | null {
    const written = this.#memberships.current?.membership.members.get(id)?.storeId;
    return written !== undefined && isLostStoreId(written) ? true : found;
  }

  #infoOf(id: NodeId): string | null {
    return id === this.#core.id ? this.#info : this.#peers.infoOf(id);
  }
}

/** What a leader knows about a member, itself included. */
interface MemberProgress {
  readonly match: number;
  readonly recentlyActive: boolean;
  readonly lostEntries: boolean;
}
