/**
 * KNOWN: a caller that is told where the leader is can go there.
 *
 * - A node names a leader (`raft.leader`, its metrics, its changes) only together with the term that this
 *   leader has won, and itself only while it leads.
 * - The node that `NotLeaderError` names led some term, or is a member; the node itself is never named. A
 *   node that forwards calls doesn't refuse one because another leads.
 */
import { NotLeaderError } from "../../../errors.ts";
import type { NodeId } from "../../../core/position.ts";
import type { ClusterHistory } from "./cluster-history.ts";
import { assertInvariant } from "./violation.ts";
import { isQuorum } from "./votes.ts";

/** What a node says of the leader: in its state, or in its last change. */
export interface NamedLeader {
  /** null: it knows none. */
  readonly leader: NodeId | null;
  /** The term that goes with it. */
  readonly term: number;
  /** The node's role at the same moment. Absent: not known. */
  readonly role?: string;
}

/** See the file's header. */
export class HintChecker {
  readonly #history: ClusterHistory;

  constructor(history: ClusterHistory) {
    this.#history = history;
  }

  /**
   * Checks the leader that this error names, with which node `id` refused a call. `forwards`: the node passes
   * such calls on to the leader.
   */
  refused(id: NodeId, error: unknown, forwards: boolean): void {
    if (!(error instanceof NotLeaderError) || error.leader === null) return;
    const { id: hint } = error.leader;
    assertInvariant(!forwards, "KNOWN", () => `${id} forwards calls, and refused one because ${hint} leads`);
    const { leaders, committedMembership } = this.#history;
    const hasLed = [...leaders.values()].includes(hint);
    assertInvariant(
      hint !== id && (hasLed || committedMembership?.members.has(hint) === true),
      "KNOWN",
      () => `${id} sends a caller to ${hint}, which never led and is no member`,
    );
  }

  /** Checks the leader that node `id` names, after `StatusChecker` has seen the node's role. */
  named(id: NodeId, { leader, term, role = "leader" }: NamedLeader): void {
    if (leader === null) return;
    const seen = this.#history.leaders.get(term);
    assertInvariant(
      seen === undefined ? this.#hasVotes(leader, term) : leader === seen,
      "KNOWN",
      () => `${id} names ${leader} as the leader of term ${String(term)}; ${seen ?? "nobody"} leads it`,
    );
    assertInvariant(
      leader !== id || role === "leader" || role === "stopped",
      "KNOWN",
      () => `${id} names itself as the leader of term ${String(term)}, and is a ${role}`,
    );
  }

  /**
   * Whether a majority has voted for this node. Asked where nobody was seen to lead the term: a leader may
   * die or be paused in the turn in which it wins, when its first messages have left.
   */
  #hasVotes(candidate: NodeId, term: number): boolean {
    return this.#history.configs.some((config) =>
      isQuorum(config, (voter) => this.#history.hasVotedFor(voter, term, candidate)),
    );
  }
}
