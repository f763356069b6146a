/**
 * Checks the session tables of all nodes against each other.
 *
 * - SMS: the table is replicated state, so its figures depend on the last applied entry alone. A node that
 *   keeps a session which others have ended applies a command that they refuse, or the other way round.
 *
 * It compares whenever a node has applied something, and not only at the end: an expired session may be gone
 * by then.
 */
import type { LogIndex, NodeId } from "../../../core/position.ts";
import type { SessionMetrics } from "../../../runtime/shared/index.ts";
import { assertInvariant } from "./violation.ts";

/** See the file's header. */
export class SessionChecker {
  /** By the last applied entry: the figures of the node that was seen there first. Grows with the run. */
  readonly #seen = new Map<LogIndex, { readonly id: NodeId; readonly figures: SessionMetrics }>();
  /** By node: where it was compared last, so that a node which applies nothing costs nothing. */
  readonly #comparedAt = new Map<NodeId, LogIndex>();

  /**
   * Compares a node's figures after entry `applied` with those of the first node that was seen there. To be
   * called only while the node applies no batch.
   */
  step(id: NodeId, applied: LogIndex, figures: SessionMetrics): void {
    if (this.#comparedAt.get(id) === applied) return;
    this.#comparedAt.set(id, applied);
    const first = this.#seen.get(applied);
    if (first === undefined) {
      this.#seen.set(applied, { id, figures });
      return;
    }
    assertInvariant(
      text(first.figures) === text(figures),
      "SMS",
      () =>
        `after entry ${String(applied)} the sessions of ${id} are ${text(figures)}, and those of ${first.id} were ${text(first.figures)}`,
    );
  }

  /**
   * The node's state was opened, or restored from a snapshot. Its table was made anew, so it is compared
   * again even after the same entry.
   */
  restored(id: NodeId): void {
    this.#comparedAt.delete(id);
  }
}

function text({ open, bytes, timeMs }: SessionMetrics): string {
  return `${String(open)} of ${String(bytes)} bytes at ${String(timeMs)} ms`;
}
