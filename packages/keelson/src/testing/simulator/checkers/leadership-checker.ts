/**
 * Checks that leaders come to lead, stay and go as the algorithm says.
 *
 * - ES: a term has one leader, elected by durable votes of a majority of its configuration.
 * - PBR: a leader's term is durable on its own disk.
 * - LC: a new leader's log holds every entry that was known to be committed in an earlier term.
 * - MONO: a leader's `match` of a follower never falls within its term.
 * - STABLE: a leader that hears from no majority steps down, and so does one whose disk, state machine or
 *   snapshots' files have stalled; where no fault may depose a leader, one that has led for `stableAfterMs`
 *   isn't deposed.
 * - FAILSTOP: a node whose state machine, snapshots' files or log hang stops.
 *
 * Times are on the node's own clock. What a node couldn't notice in time (it was paused, its timers were
 * late) is excused by the simulation. LC is checked against entries that a node has reported as committed: an
 * entry that is committed and that no node knows about yet isn't covered.
 */
import type { ClusterConfig } from "../../../core/config.ts";
import type { NodeId } from "../../../core/position.ts";
import { showHardState, type ClusterHistory, type NodeHistory } from "./cluster-history.ts";
import type { ClusterExpectations, NodeStatus } from "./node-status.ts";
import { assertInvariant } from "./violation.ts";
import { isQuorum } from "./votes.ts";

/** See the file's header. */
export class LeadershipChecker {
  readonly #history: ClusterHistory;
  readonly #expectations: ClusterExpectations;
  /** The leader that was elected last, and when, on its own clock. */
  #lastLeader: { readonly id: NodeId; readonly term: number; readonly since: number } | null = null;

  constructor(history: ClusterHistory, expectations: ClusterExpectations) {
    this.#history = history;
    this.#expectations = expectations;
  }

  /**
   * The node couldn't know that it was cut off, or that a part of it stalled: the times after which it must
   * have stepped down or stopped begin anew.
   */
  excuse(node: NodeHistory): void {
    node.withoutMajoritySince = null;
    node.oldestWrite = null;
    node.hungCall = null;
    node.hungLogCall = null;
    node.leadersHungCall = null;
  }

  /** Checks ES, PBR, STABLE and LC for a node that leads this term and wasn't seen to lead it before. */
  elected(node: NodeHistory, term: number, config: ClusterConfig, now: number): void {
    this.#checkElection(node, term, config);
    this.#history.leaders.set(term, node.id);
    node.leaderTerm = term;
    node.matches.clear();
    node.withoutMajoritySince = null;
    const last = this.#lastLeader;
    assertInvariant(
      last === null || now - last.since <= this.#expectations.stableAfterMs,
      "STABLE",
      () =>
        `${node.id} deposed ${String(last?.id)}, leader of term ${String(last?.term)}, though nothing was wrong`,
    );
    this.#lastLeader = { id: node.id, term, since: now };
    for (const [at, { chain, seenInTerm }] of this.#history.committed.entries()) {
      if (seenInTerm >= term) continue;
      assertInvariant(
        node.submitted[at]?.chain === chain,
        "LC",
        () => `${node.id}, leader of term ${String(term)}, lacks the committed entry ${String(at + 1)}`,
      );
    }
  }

  #checkElection(node: NodeHistory, term: number, config: ClusterConfig): void {
    const before = this.#history.leaders.get(term) ?? node.id;
    assertInvariant(
      before === node.id,
      "ES",
      () => `term ${String(term)} has two leaders, ${before} and ${node.id}`,
    );
    assertInvariant(
      node.hardState.term === term,
      "PBR",
      () => `${node.id} leads term ${String(term)}, and on its disk is ${showHardState(node.hardState)}`,
    );
    // Two leaders of one term are rare even where votes are counted wrongly. A missing vote shows at once.
    assertInvariant(
      isQuorum(config, (id) => this.#history.hasVotedFor(id, term, node.id)),
      "ES",
      () => `${node.id} leads term ${String(term)} without the durable votes of a majority`,
    );
  }

  /** Checks MONO and STABLE for a node that still leads the term that it was seen to lead before. */
  leading(node: NodeHistory, { members, config, term }: NodeStatus, now: number): void {
    for (const { id, match } of members) {
      if (match === null || id === node.id) continue;
      assertInvariant(
        match >= (node.matches.get(id) ?? 0),
        "MONO",
        () =>
          `${node.id}, leader of term ${String(term)}, takes back what it knew of ${id}, to ${String(match)}`,
      );
      node.matches.set(id, match);
    }
    const hears = (id: NodeId): boolean => members.some((member) => member.id === id && member.active);
    if (isQuorum(config, hears)) node.withoutMajoritySince = null;
    else node.withoutMajoritySince ??= now;
    assertInvariant(
      node.withoutMajoritySince === null ||
        now - node.withoutMajoritySince <= this.#expectations.withoutMajorityMsMax,
      "STABLE",
      () => `${node.id} goes on leading term ${String(term)} and hears no majority`,
    );
  }

  /**
   * STABLE, FAILSTOP: watches how long a part other than the log hangs; only a leader that others could
   * replace must step down.
   */
  watchParts(node: NodeHistory, call: object | null, mustStepDown: boolean, now: number): void {
    node.hungCall = seenSince(node.hungCall, call, now);
    node.leadersHungCall = mustStepDown ? seenSince(node.leadersHungCall, call, now) : null;
    const { stateStallMsMax, stateTimeoutMsMax } = this.#expectations;
    const ledMs = now - (node.leadersHungCall?.since ?? now);
    assertInvariant(
      ledMs <= stateStallMsMax,
      "STABLE",
      () =>
        `${node.id} goes on leading, and serves nothing for ${String(Math.round(ledMs))} ms: a part of it hangs`,
    );
    const hungMs = now - (node.hungCall?.since ?? now);
    assertInvariant(
      hungMs <= stateTimeoutMsMax,
      "FAILSTOP",
      () => `${node.id} goes on, and a part of it hangs for ${String(Math.round(hungMs))} ms`,
    );
  }

  /** FAILSTOP: watches how long a call for the log hangs, also where no other call is under way. */
  watchLog(node: NodeHistory, call: object | null, now: number): void {
    node.hungLogCall = seenSince(node.hungLogCall, call, now);
    const hungMs = now - (node.hungLogCall?.since ?? now);
    assertInvariant(
      hungMs <= this.#expectations.storageTimeoutMsMax,
      "FAILSTOP",
      () => `${node.id} goes on, and its log hangs for ${String(Math.round(hungMs))} ms`,
    );
  }

  /**
   * STABLE: watches how long the oldest write of entries takes; only a leader that others could replace must
   * step down.
   */
  watchDisk(node: NodeHistory, mustStepDown: boolean, now: number): void {
    const write = node.pending.find(({ records }) => records.length > 0);
    if (write === undefined || !mustStepDown) node.oldestWrite = null;
    else if (node.oldestWrite?.write !== write) node.oldestWrite = { write, since: now };
    const stalledMs = now - (node.oldestWrite?.since ?? now);
    assertInvariant(
      stalledMs <= this.#expectations.storageStallMsMax,
      "STABLE",
      () =>
        `${node.id} goes on leading, and its disk has not answered for ${String(Math.round(stalledMs))} ms`,
    );
  }
}

/** Since when this call has been seen to hang. */
function seenSince(
  before: NodeHistory["hungCall"],
  call: object | null,
  now: number,
): NodeHistory["hungCall"] {
  if (call === null) return null;
  return before?.call === call ? before : { call, since: now };
}
