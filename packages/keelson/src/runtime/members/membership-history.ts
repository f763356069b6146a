import type { MemberData, Membership } from "../../codec/config.ts";
import { assert } from "../../core/assert.ts";
import type { LogIndex, NodeId } from "../../core/position.ts";

/** A membership, and the index of the entry that holds it. */
export interface MembershipAt {
  readonly index: LogIndex;
  readonly membership: Membership;
}

/**
 * The memberships in the log, in order of their entries. The core knows configurations as sets of ids; this
 * knows the addresses and stores that go with them.
 *
 * Written by the driver, together with the core's log: appended, truncated, compacted and replaced in the
 * same input. So the last one always belongs to the last configuration entry of the log, which is in force
 * whether it is committed or not (§6).
 */
export class MembershipHistory {
  /** Ascending by index. After a compaction, the first one may be that of an entry before the log's first. */
  #entries: MembershipAt[] = [];

  /** The membership in force; null: the node belongs to no cluster yet. */
  get current(): MembershipAt | null {
    return this.#entries.at(-1) ?? null;
  }

  /** The membership in force at an index; null: none was yet, or the log no longer reaches back to it. */
  at(index: LogIndex): MembershipAt | null {
    return this.#entries.findLast((entry) => entry.index <= index) ?? null;
  }

  /** The oldest membership that is known: the first of the cluster if the log was never compacted. */
  get first(): MembershipAt | null {
    return this.#entries[0] ?? null;
  }

  /** A member's address in the membership in force; null: it isn't a member. */
  addressOf(id: NodeId): string | null {
    return this.current?.membership.members.get(id)?.address ?? null;
  }

  /**
   * The addresses at which a member may be reached: its address in the membership in force, then its
   * addresses in the memberships before that, back to the last one known to be committed. As long as a new
   * address isn't committed, its entry may be removed from the log, and the member stay at the old one.
   */
  addressesOf(id: NodeId, committed: LogIndex): string[] {
    const settled = this.#entries.findLastIndex(({ index }) => index <= committed);
    const addresses = this.#entries
      .slice(Math.max(0, settled))
      .map(({ membership }) => membership.members.get(id)?.address);
    return [...new Set(addresses.reverse())].filter((address) => address !== undefined);
  }

  /** A node's data in the last known membership that it belongs to; null: it belongs to none of them. */
  lastDataOf(id: NodeId): MemberData | null {
    const last = this.#entries.findLast(({ membership }) => membership.members.has(id));
    return last?.membership.members.get(id) ?? null;
  }

  /** A configuration entry was appended to the log. */
  add(at: MembershipAt): void {
    assert(at.index > (this.current?.index ?? 0), "memberships follow each other along the log");
    this.#entries.push(at);
  }

  /** The log was compacted up to `index`. The membership in force there is kept: it still applies. */
  compact(index: LogIndex): void {
    const base = this.at(index);
    if (base !== null) this.#entries = this.#entries.filter((one) => one === base || one.index > index);
  }

  /** A snapshot replaced the whole log; `base` is its membership. */
  reset(base: MembershipAt): void {
    this.#entries = [base];
  }

  /** The entries of the log from `index` on were removed. */
  truncate(index: LogIndex): void {
    while ((this.#entries.at(-1)?.index ?? 0) >= index) this.#entries.pop();
  }
}
