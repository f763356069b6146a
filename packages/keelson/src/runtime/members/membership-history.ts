import type { MemberData, Membership } from "../../codec/config.ts";
import { assert } from "../../core/assert.ts";
import type { LogIndex, NodeId } from "../../core/position.ts";

/** A membership and the entry that holds it. */
export interface MembershipAt {
  readonly index: LogIndex;
  readonly membership: Membership;
}

/**
 * The memberships of the log, with their addresses, by index. It is cut when the core's log is cut,
 * so that the one in force is always that of the last configuration entry, committed or not (§6).
 */
export class MembershipHistory {
  #entries: MembershipAt[] = [];

  /** The one in force; null: the node belongs to no cluster yet. */
  get current(): MembershipAt | null {
    return this.#entries.at(-1) ?? null;
  }

  /** The one in force at an index; null: there was none yet. */
  at(index: LogIndex): MembershipAt | null {
    return this.#entries.findLast((entry) => entry.index <= index) ?? null;
  }

  /** The one the cluster began with, as far as the log reaches back. */
  get first(): MembershipAt | null {
    return this.#entries[0] ?? null;
  }

  addressOf(id: NodeId): string | null {
    return this.current?.membership.members.get(id)?.address ?? null;
  }

  /**
   * Where a member may be: as the membership in force says, and those before it back to the last that is known to be
   * committed. Until a new address is, the member may never go there.
   */
  addressesOf(id: NodeId, committed: LogIndex): string[] {
    const settled = this.#entries.findLastIndex(({ index }) => index <= committed);
    const addresses = this.#entries
      .slice(Math.max(0, settled))
      .map(({ membership }) => membership.members.get(id)?.address);
    return [...new Set(addresses.reverse())].filter((address) => address !== undefined);
  }

  /** What is known of a node, or was when it last was a member, as far back as the log reaches; null: nothing. */
  lastDataOf(id: NodeId): MemberData | null {
    const last = this.#entries.findLast(({ membership }) => membership.members.has(id));
    return last?.membership.members.get(id) ?? null;
  }

  add(at: MembershipAt): void {
    assert(at.index > (this.current?.index ?? 0), "memberships follow each other along the log");
    this.#entries.push(at);
  }

  /** The log up to `index` is forgotten; which membership was in force there is not. */
  compact(index: LogIndex): void {
    const base = this.at(index);
    if (base !== null) this.#entries = this.#entries.filter((one) => one === base || one.index > index);
  }

  /** The whole log is replaced by what a snapshot covers. */
  reset(base: MembershipAt): void {
    this.#entries = [base];
  }

  /** The log was cut before `index`. */
  truncate(index: LogIndex): void {
    while ((this.#entries.at(-1)?.index ?? 0) >= index) this.#entries.pop();
  }
}
