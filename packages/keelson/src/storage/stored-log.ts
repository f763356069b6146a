// Tells which positions a log holds, from the `StoredLog` that its store returned when it was opened.
import type { LogIndex, LogPosition, Term } from "../core/position.ts";
import type { StoredLog } from "./log-store.ts";

/** The part of a stored log that says which positions it holds. */
type Positions = Pick<StoredLog, "base" | "terms" | "lastIndex">;

/** Whether the log holds this entry, or begins right after it, with the same term. */
export function isIn(stored: Positions, { index, term }: LogPosition): boolean {
  return index >= stored.base.index && index <= stored.lastIndex && termIn(stored, index) === term;
}

/** The term of an entry that the log holds, or that it begins right after. */
export function termIn(stored: Positions, index: LogIndex): Term {
  if (index === stored.base.index) return stored.base.term;
  return stored.terms.findLast((run) => run.index <= index)?.term ?? 0;
}

/**
 * Whether a snapshot up to `position` has not been installed in the log: it is ahead of the log, or
 * contradicts it. If the snapshot was received from another node, its installation was interrupted; if this
 * node took it, the log has lost entries.
 */
export function isUninstalled(stored: Positions, position: LogPosition): boolean {
  return position.index > stored.base.index && !isIn(stored, position);
}
