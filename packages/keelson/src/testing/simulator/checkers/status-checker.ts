/**
 * Checks what a node reports of itself after each turn in which it did something, against what was seen from
 * outside.
 *
 * - ORD: compacted ≤ snapshot and applied ≤ commit ≤ last index.
 * - MONO: the commit index never falls while a process runs.
 * - BOUND: proposals and forwarded calls under way stay within their limits.
 * - CFG: the configuration in force is that of the log's last configuration entry, committed or not (§6).
 * - ES: only a voter campaigns, or a former voter that doesn't know its removal to be committed.
 *
 * Leadership and commits have checkers of their own, which it calls.
 */
import { membersOf, sameConfig } from "../../../core/config.ts";
import type { NodeId } from "../../../core/position.ts";
import type { ClusterHistory, NodeHistory } from "./cluster-history.ts";
import { CommitChecker } from "./commit-checker.ts";
import { LeadershipChecker } from "./leadership-checker.ts";
import type { MembershipChecker } from "./membership-checker.ts";
import { storeIsGivenUpTo, type ClusterExpectations, type NodeStatus } from "./node-status.ts";
import { assertInvariant } from "./violation.ts";
import { hasVote, isSoleVoter, showConfig } from "./votes.ts";

/** See the file's header. */
export class StatusChecker {
  readonly #history: ClusterHistory;
  readonly #expectations: ClusterExpectations;
  readonly #leadership: LeadershipChecker;
  readonly #commits: CommitChecker;

  constructor(history: ClusterHistory, memberships: MembershipChecker, expectations: ClusterExpectations) {
    this.#history = history;
    this.#expectations = expectations;
    this.#leadership = new LeadershipChecker(history, expectations);
    this.#commits = new CommitChecker(history, memberships);
  }

  /**
   * The process was paused or its timers were late, so it couldn't notice in time that it should step down:
   * the times for that begin anew.
   */
  excuse(id: NodeId): void {
    this.#leadership.excuse(this.#history.node(id));
  }

  /** Checks the report of a node that may have done something. `now` is the time on its own clock. */
  step(id: NodeId, status: NodeStatus, now: number): void {
    const node = this.#history.node(id);
    const { commitIndex, role, term, config } = status;
    checkOrder(id, status);
    assertInvariant(
      commitIndex >= node.commit,
      "MONO",
      () => `the commit index of ${id} fell to ${String(commitIndex)}`,
    );
    checkConfig(node, status);
    checkRemoval(id, status);
    this.#checkLimits(id, status);
    const ledBefore = role === "leader" && node.leaderTerm === term;
    if (role !== "leader") node.withoutMajoritySince = null;
    else if (ledBefore) this.#leadership.leading(node, status, now);
    else this.#leadership.elected(node, term, config, now);
    const mustStepDown = role === "leader" && !isSoleVoter(config, id);
    this.#leadership.watchDisk(node, mustStepDown, now);
    const hungCall = role === "stopped" ? null : (status.hungCall ?? null);
    this.#leadership.watchParts(node, hungCall, mustStepDown, now);
    this.#leadership.watchLog(node, role === "stopped" ? null : (status.hungLogCall ?? null), now);
    if (commitIndex <= node.commit) return;
    if (ledBefore) this.#commits.checkTerm(node, commitIndex, term);
    this.#commits.committed(node, commitIndex, term, storeIsGivenUpTo(status));
  }

  #checkLimits(id: NodeId, { pendingEntries, pendingBytes, forwardedBytes = 0 }: NodeStatus): void {
    const { pendingEntriesMax, pendingBytesMax } = this.#expectations;
    assertInvariant(
      pendingEntries <= pendingEntriesMax && pendingBytes <= pendingBytesMax,
      "BOUND",
      () => `${id} has ${String(pendingEntries)} proposals of ${String(pendingBytes)} bytes under way`,
    );
    assertInvariant(
      forwardedBytes >= 0 && forwardedBytes <= pendingBytesMax,
      "BOUND",
      () => `${id} has passed on ${String(forwardedBytes)} bytes`,
    );
  }
}

function checkOrder(id: NodeId, status: NodeStatus): void {
  const { commitIndex, appliedIndex, lastIndex } = status;
  assertInvariant(
    appliedIndex <= commitIndex && commitIndex <= lastIndex,
    "ORD",
    () => `${id}: applied ${String(appliedIndex)}, commit ${String(commitIndex)}, last ${String(lastIndex)}`,
  );
  const compacted = (status.firstIndex ?? 1) - 1;
  const snapshot = status.newestSnapshot === undefined ? compacted : (status.newestSnapshot ?? 0);
  assertInvariant(
    compacted <= appliedIndex && compacted <= snapshot,
    "ORD",
    () =>
      `${id} forgot ${String(compacted)} entries; applied ${String(appliedIndex)}, snapshot ${String(snapshot)}`,
  );
}

/**
 * A removal that isn't committed may be undone, and until then the node may be needed for a majority (§6).
 */
function checkRemoval(id: NodeId, { removedAt = null, commitIndex, role, config }: NodeStatus): void {
  if (removedAt === null) return;
  assertInvariant(
    removedAt <= commitIndex && role !== "leader" && !membersOf(config).includes(id),
    "CFG",
    () =>
      `${id} counts as removed by entry ${String(removedAt)}, and knows ${String(commitIndex)} to be committed`,
  );
}

function checkConfig(node: NodeHistory, status: NodeStatus): void {
  const { role, lastIndex, commitIndex, config } = status;
  const { id, submitted } = node;
  // The store is given the entries of this turn at its end. Until then its log may end before the node's.
  const isWholeLog = lastIndex === submitted.length && lastIndex <= storeIsGivenUpTo(status);
  const last = submitted.at(-1)?.inForce ?? null;
  const inForce = isWholeLog ? last : null;
  assertInvariant(
    inForce === null || sameConfig(inForce.membership.config, config),
    "CFG",
    () => `${id} acts on ${showConfig(config)}; its log says ${showConfig(inForce?.membership.config)}`,
  );
  if (role !== "candidate" && role !== "pre-candidate") return;
  // A leader that crashed during its own removal may have to win once more to commit the removal (M18).
  const mayCampaign =
    hasVote(config, id) ||
    (last !== null && last.index > commitIndex && hasVote(last.before?.membership.config, id));
  assertInvariant(mayCampaign, "ES", () => `${id} campaigns and is no voter of ${showConfig(config)}`);
}
