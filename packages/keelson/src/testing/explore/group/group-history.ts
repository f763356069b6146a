import type { NodeId } from "../../../core/index.ts";
import type { Entry } from "../host/entry.ts";
import { renamed, type Renaming } from "../host/renaming.ts";

/** A committed entry, and the term of the leader that first committed it. */
export interface Committed extends Entry {
  readonly seenInTerm: number;
}

/**
 * What happened that the nodes may have forgotten, as far as an invariant asks for it. It is part
 * of the state: two pasts that differ here may be judged differently later.
 */
export interface GroupHistory {
  /** By term: who ever led it; null: nobody yet. */
  readonly leaders: readonly (NodeId | null)[];
  /** The longest prefix that any node ever took for committed. */
  readonly committed: readonly Committed[];
}

export const EMPTY_HISTORY: GroupHistory = { leaders: [], committed: [] };

export function renameHistory(renaming: Renaming, { leaders, committed }: GroupHistory): GroupHistory {
  return { leaders: leaders.map((name) => (name === null ? null : renamed(renaming, name))), committed };
}

export function encodeHistory({ leaders, committed }: GroupHistory): string {
  const entries = committed.map(({ term, payload, seenInTerm }) => `${term}:${payload}:${seenInTerm}`);
  return `${leaders.map((name) => name ?? "-").join("")} ${entries.join(" ")}`;
}
