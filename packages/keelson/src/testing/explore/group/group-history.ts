import type { NodeId } from "../../../core/index.ts";
import type { Entry } from "../host/entry.ts";
import { renamed, type Renaming } from "../host/renaming.ts";

/** A committed entry, and the term of the leader that first committed it. */
export interface Committed extends Entry {
  readonly seenInTerm: number;
}

/**
 * What an invariant must know of the past although the nodes may have forgotten it. It is a part of the
 * group's state: two states with different histories may be judged differently later.
 */
export interface GroupHistory {
  /** By term: the node that led it; null: no node so far. */
  readonly leaders: readonly (NodeId | null)[];
  /** The longest prefix of the log that any node has taken as committed. */
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
