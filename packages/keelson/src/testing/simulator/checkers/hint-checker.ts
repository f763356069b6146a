/**
 * KNOWN: a caller that is told where the leader is can go there. The node that `NotLeaderError` names led
 * some term, or is a member; the node itself is never named. A node that forwards calls doesn't refuse one
 * because another leads.
 */
import { NotLeaderError } from "../../../errors.ts";
import type { NodeId } from "../../../core/position.ts";
import type { ClusterHistory } from "./cluster-history.ts";
import { assertInvariant } from "./violation.ts";

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
}
