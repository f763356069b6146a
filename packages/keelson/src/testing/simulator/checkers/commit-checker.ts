/**
 * Checks each entry when a node first reports it as committed, and keeps the committed log.
 *
 * - CQ: the entry is on the durable logs of a majority, counted here from what stores reported. For a leader,
 *   the entry at its new commit index has its own term (§5.4.2).
 * - SMS: every node commits the same entry at an index.
 * - CFG: see `MembershipChecker`.
 *
 * A disk that was lost still counts with what it held: its node acknowledged those entries before.
 */
import type { ClusterConfig } from "../../../core/config.ts";
import type { LogIndex } from "../../../core/position.ts";
import type { ClusterHistory, NodeHistory, SeenConfig, SeenEntry } from "./cluster-history.ts";
import type { MembershipChecker } from "./membership-checker.ts";
import { assertInvariant } from "./violation.ts";
import { isQuorum, showConfig } from "./votes.ts";

/** See the file's header. */
export class CommitChecker {
  readonly #history: ClusterHistory;
  readonly #memberships: MembershipChecker;

  constructor(history: ClusterHistory, memberships: MembershipChecker) {
    this.#history = history;
    this.#memberships = memberships;
  }

  /**
   * CQ, §5.4.2: the leader of `term` moves its commit index to `commit`. Checks that the entry there has its
   * term.
   */
  checkTerm(node: NodeHistory, commit: LogIndex, term: number): void {
    const entry = node.submitted[commit - 1];
    assertInvariant(
      entry === undefined || entry.term === term,
      "CQ",
      () =>
        `${node.id}, leader of term ${String(term)}, commits up to ${String(commit)}, an entry of an earlier term`,
    );
  }

  /**
   * Checks the entries up to `commit`, to which the node's commit index rose, and adds those that are new to
   * the committed log. Its store was given everything up to `storeGivenUpTo`; entries after that can only be
   * judged by what the store has been given before.
   */
  committed(node: NodeHistory, commit: LogIndex, term: number, storeGivenUpTo: LogIndex): void {
    const atCommit = node.submitted[commit - 1]?.inForce ?? null;
    const last = node.submitted.at(-1)?.inForce ?? null;
    for (let at = node.commit; at < commit; at++) {
      const entry = node.submitted[at];
      // The store is given an entry of this turn at the end of the turn. The entry is checked then.
      if (entry === undefined) return;
      const before = this.#history.committed[at];
      const holds =
        before === undefined ? this.#hasQuorum(at, entry, atCommit, last) : before.chain === entry.chain;
      // The node may have replaced this entry, and not have told its store yet. Then it is checked later.
      if (!holds && at >= storeGivenUpTo) return;
      if (before === undefined) {
        assertInvariant(
          holds,
          "CQ",
          () =>
            `${node.id} commits ${String(at + 1)} without a majority of ${showConfig(atCommit?.membership.config)} ` +
            "that has it on disk",
        );
        this.#memberships.committed(entry.inForce, this.#history.committed.at(-1)?.inForce ?? null);
        this.#history.committed.push({ ...entry, seenInTerm: term });
      } else {
        assertInvariant(
          holds,
          "SMS",
          () => `${node.id} commits another entry ${String(at + 1)} than was committed before`,
        );
      }
      node.commit = at + 1;
    }
  }

  /**
   * Whether a majority holds the entry at index `at + 1`. Which configuration counted it isn't visible from
   * outside. Up to the last committed configuration entry it was `atCommit`, since the next configuration is
   * proposed only after that one is committed; after it, it may also have been the last one in the log.
   */
  #hasQuorum(
    at: number,
    { chain }: SeenEntry,
    atCommit: SeenConfig | null,
    last: SeenConfig | null,
  ): boolean {
    const byLast = atCommit !== null && at >= atCommit.index && this.#isDurable(last, at, chain);
    return byLast || this.#isDurable(atCommit, at, chain);
  }

  #isDurable(entry: SeenConfig | null, at: number, chain: number): boolean {
    const config: ClusterConfig | undefined = entry?.membership.config;
    return (
      config !== undefined &&
      isQuorum(config, (id) => {
        const { durable, durableBeforeDiskLoss } = this.#history.node(id);
        return durable[at]?.chain === chain || durableBeforeDiskLoss[at]?.chain === chain;
      })
    );
  }
}
