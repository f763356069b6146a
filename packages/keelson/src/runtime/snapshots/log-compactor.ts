// Decides which entries the log may forget because a snapshot covers them, and has the driver forget them
// (§7).
import type { RaftNode } from "../../core/node.ts";
import type { LogIndex } from "../../core/position.ts";
import type { SnapshotStore } from "../../storage/snapshot-store.ts";
import type { Driver, LogRecords } from "../loop/index.ts";
import type { MembershipHistory } from "../members/index.ts";
import type { SnapshotPolicy } from "../shared/index.ts";

export interface LogCompactorParts {
  readonly store: SnapshotStore;
  readonly policy: SnapshotPolicy;
  readonly applier: { readonly applied: { readonly index: LogIndex } };
  readonly core: RaftNode;
  readonly logRecords: LogRecords;
  readonly memberships: MembershipHistory;
  readonly driver: Driver;
  /**
   * For each node that is fetching a snapshot, or has just fetched one: the index after which it needs the
   * entries.
   */
  readonly neededAfter: () => readonly LogIndex[];
}

/**
 * Compacts the log: forgets entries that the newest snapshot covers, except those that followers may still
 * need.
 *
 * A follower that needs a forgotten entry must fetch a whole snapshot, which costs far more than the entries.
 * So two groups are kept, each up to a limit: the last entries before the snapshot, for followers that lag a
 * little (`keepEntries`, `keepBytes`), and the entries after a snapshot that is being transferred
 * (`transferKeepBytes`).
 */
export class LogCompactor {
  readonly #parts: LogCompactorParts;
  /** Whether a snapshot of another node is being installed, which replaces the log's beginning itself. */
  #suspended = false;
  /** The index of the snapshot that `compactIfReached` compacted the log for last. */
  #compactedFor: LogIndex = 0;
  #stopped = false;

  constructor(parts: LogCompactorParts) {
    this.#parts = parts;
  }

  /**
   * Compacts the log once for each snapshot that is the newest, as soon as the state has reached it. Called
   * whenever either may have changed: a snapshot was taken, fetched or installed, or a batch was applied.
   * Until then the log could rebuild the state without the snapshot, should its file turn out to be
   * unreadable. A snapshot that was fetched and couldn't be installed is reached once its entries have come
   * (Q3).
   */
  compactIfReached(): void {
    const { store, applier } = this.#parts;
    const index = store.newest?.position.index ?? 0;
    if (this.#stopped || this.#suspended) return;
    if (index <= this.#compactedFor || applier.applied.index < index) return;
    this.#compactedFor = index;
    this.compact();
  }

  /**
   * Forgets what may be forgotten now. Called when a transfer needs less of the log than before, and when the
   * node starts.
   */
  compact(): void {
    const { store, core, memberships, driver, applier } = this.#parts;
    const { newest } = store;
    if (newest === null || this.#stopped || this.#suspended) return;
    const { log } = core;
    // Only applied entries may go: those are committed, and durable on this node, as the core and the store
    // require.
    const covered = Math.min(newest.position.index, applier.applied.index);
    const index = Math.min(this.#keptForLagging(covered), this.#keptForTransfers(covered));
    const term = log.termAt(index);
    const membership = memberships.at(index);
    if (index <= log.base.index || term === undefined || membership === null) return;
    driver.compact({ position: { index, term }, membership });
  }

  suspend(): void {
    this.#suspended = true;
  }

  resume(): void {
    this.#suspended = false;
  }

  stop(): void {
    this.#stopped = true;
  }

  /**
   * For followers that lag a little: the entries after the returned index are kept. It is the lowest index
   * with at most `keepEntries` entries and at most `keepBytes` bytes between it and `covered`.
   */
  #keptForLagging(covered: LogIndex): LogIndex {
    const { logRecords, core, policy } = this.#parts;
    // Binary search. Invariant: `tooLow` is out of bounds or keeps too many bytes; `fits` keeps few enough.
    let tooLow = Math.max(core.log.base.index, covered - policy.keepEntries) - 1;
    let fits = Math.max(covered, tooLow);
    while (tooLow + 1 < fits) {
      const middle = Math.floor((tooLow + fits) / 2);
      if (logRecords.bytesBetween(middle + 1, covered + 1) <= policy.keepBytes) fits = middle;
      else tooLow = middle;
    }
    return fits;
  }

  /**
   * For nodes that fetch a snapshot: the entries after the returned index are kept; Infinity: none for them.
   *
   * A snapshot is of use only to a node that can go on from it with the leader's log. If the leader forgot
   * the next entries during the transfer, the node would need another snapshot as soon as it had this one,
   * and under steady writes it would never catch up (S12). Beyond `transferKeepBytes` the entries go all the
   * same: a node too slow for that limit must not fill the leader's disk. It must not cost the other nodes
   * their entries either, so each node counts by itself.
   */
  #keptForTransfers(covered: LogIndex): LogIndex {
    const { logRecords, core, policy } = this.#parts;
    const base = core.log.base.index;
    let kept = Infinity;
    for (const index of this.#parts.neededAfter()) {
      if (index < base || index >= covered || index >= kept) continue;
      if (logRecords.bytesBetween(index + 1, covered + 1) <= policy.transferKeepBytes) kept = index;
    }
    return kept;
  }
}
