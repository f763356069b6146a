// What a node does about members that lost entries which they had acknowledged as durable, and when it learns
// that it is one: a directory that was replaced by an older copy, or a disk that forgot a write.
//
// The leader's core finds out (`Progress.lostAfter`): a follower refuses entries that it acknowledged in this
// leader's own term. Hazard: such a follower may have forgotten its vote too, so as a voter it could elect a
// leader without committed entries (M11). So the leader reports the loss in its log messages and metrics,
// takes no message from the follower any more, and tells the follower, which checks the claim against its own
// log and stops. The leader also writes the loss into the membership (`MembershipChanges.recordStoreIds`):
// then the other nodes refuse it, also under later leaders.
//
// What can't be known: acknowledgements of earlier terms are in no node's memory. A follower that was set
// back before this leader was elected looks like one that was slow.
import type { LogFields } from "../../log-event.ts";
import type { EntriesLost } from "../../codec/frame-runtime-message.ts";
import type { RaftNode } from "../../core/node.ts";
import type { LogPosition, NodeId, Term } from "../../core/position.ts";
import type { Failure } from "../shared/index.ts";

/**
 * Begins the store id that a membership holds for a member whose disk lost entries. No store has such an id.
 */
const LOST_STORE_PREFIX = "lost:";

/** Members remembered at most: a cluster has a handful, and losing a disk is rare. */
const LOST_MEMBERS_MAX = 64;

export interface LostEntriesParts {
  readonly core: RaftNode;
  /** The id of a member's storage; null: there was no handshake with the member yet. */
  readonly storeIdOf: (id: NodeId) => string | null;
  /** Sends a message to another node's runtime, or drops it. */
  readonly send: (to: NodeId, message: EntriesLost) => void;
  readonly log: (level: "error", text: string, fields: LogFields) => void;
  readonly failed: (failure: Failure) => void;
}

/** One member that lost entries. */
interface LostMember {
  /** The id of the storage that lost them; null: there was no handshake with the member. */
  readonly storeId: string | null;
  /** The last entry that it had acknowledged. */
  readonly acknowledged: LogPosition;
  /** The term in which it acknowledged that entry. */
  readonly term: Term;
}

/** The members that lost entries, as far as this process found out as their leader. */
export class LostEntries {
  readonly #parts: LostEntriesParts;
  /**
   * By id. `afterCoreInput` adds to them. They stay when this node's leadership ends: the disks are still
   * those that lost entries.
   */
  readonly #members = new Map<NodeId, LostMember>();

  constructor(parts: LostEntriesParts) {
    this.#parts = parts;
  }

  /** After each input to the core. */
  afterCoreInput(): void {
    const { core } = this.#parts;
    for (const id of core.membersWithLostEntries) {
      if (this.#members.get(id)?.term === core.term) continue;
      const acknowledged = core.progress(id)?.lostAfter;
      if (acknowledged !== undefined && acknowledged !== null) this.#found(id, acknowledged);
    }
  }

  /** Whether nothing may be taken from this member: its present storage lost entries. */
  isLost(id: NodeId): boolean {
    const member = this.#members.get(id);
    return member !== undefined && member.storeId === this.#parts.storeIdOf(id);
  }

  /** Whether this storage of this member lost entries. */
  isLostStore(id: NodeId, storeId: string): boolean {
    return this.#members.get(id)?.storeId === storeId;
  }

  /** Tells every member concerned again: a message may be lost. */
  tellAll(): void {
    for (const id of this.#members.keys()) this.tell(id);
  }

  /** Tells a member that it lost entries, if it did. */
  tell(id: NodeId): void {
    const member = this.#members.get(id);
    if (member === undefined || !this.isLost(id)) return;
    const { core, send } = this.#parts;
    const { term, acknowledged } = member;
    send(id, { type: "entries-lost", from: core.id, term, acknowledged });
  }

  /**
   * A leader says that this node lost entries. Believed only if this node's own log proves it: in the term in
   * which it acknowledged an entry, a node never removes that entry again.
   */
  onEntriesLost({ from, term, acknowledged }: EntriesLost): void {
    const { core, failed } = this.#parts;
    if (term !== core.term || core.role === "leader") return;
    const { index } = acknowledged;
    const { last } = core.log;
    const own = core.log.termAt(index);
    const isThere = index <= last.index && (own === undefined || [0, own].includes(acknowledged.term));
    if (isThere) return;
    failed({
      kind: "lost-entries",
      message:
        `this node lost entries that it had acknowledged as durable: ${from} has its acknowledgement of entry ` +
        `${String(index)} in term ${String(term)}, and its log ends at entry ${String(last.index)} of term ` +
        `${String(last.term)}. Its directory was replaced by an older copy, or its disk forgot writes; it may have ` +
        `forgotten a vote too. So the node stops. Do not start it again: remove ${core.id} from the cluster, and add ` +
        "this machine anew, with an empty directory and a new id",
      cause: null,
    });
  }

  #found(id: NodeId, acknowledged: LogPosition): void {
    const { core, storeIdOf, log } = this.#parts;
    const { term } = core;
    const oldest = this.#members.keys().next().value;
    if (this.#members.size >= LOST_MEMBERS_MAX && oldest !== undefined) this.#members.delete(oldest);
    this.#members.set(id, { storeId: storeIdOf(id), acknowledged, term });
    log(
      "error",
      `${id} lost entries that it had acknowledged as durable, up to entry ${String(acknowledged.index)}: its ` +
        "directory was replaced by an older copy, or its disk forgot writes. It is not counted any more, and should " +
        `stop; remove ${id} from the cluster, and add its machine anew, with an empty directory and a new id`,
      { member: id, acknowledged: acknowledged.index, term },
    );
    this.tell(id);
  }
}

/** What a membership holds instead of the id of a storage that lost entries. */
export function lostStoreId(storeId: string): string {
  return isLostStoreId(storeId)
    ? storeId
    : `${LOST_STORE_PREFIX}${storeId.slice(0, LOST_STORE_ID_CHARS_MAX)}`;
}

/** Whether a membership says with this that the member's storage lost entries. */
export function isLostStoreId(storeId: string): boolean {
  return storeId.startsWith(LOST_STORE_PREFIX);
}

/** Characters kept of the id of a storage that lost entries, which is for people only. */
const LOST_STORE_ID_CHARS_MAX = 64;
