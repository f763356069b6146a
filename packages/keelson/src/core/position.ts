// Terms, indexes and positions: what names an entry (§5.1, §5.3).

/** A node's name, unique in its cluster. The id of a removed node is never given to another one. */
export type NodeId = string;

/**
 * An election term (§5.1): a safe integer that never falls on a node. 0 is the term before the first
 * election.
 */
export type Term = number;

/** The index of a log entry: a safe integer. The log begins at 1; 0 means none. */
export type LogIndex = number;

/** The position of an entry. By the Log Matching Property (§5.3) it names the same entry in every log. */
export interface LogPosition {
  readonly term: Term;
  readonly index: LogIndex;
}

/** The position before the first entry. */
export const ORIGIN: LogPosition = { term: 0, index: 0 };

/** Whether two positions name the same entry. */
export function samePosition(a: LogPosition, b: LogPosition): boolean {
  return a.index === b.index && a.term === b.term;
}

/**
 * Whether a log whose last entry is at `a` is at least as up-to-date as one whose last entry is at `b`
 * (§5.4.1): the later term wins; in the same term, the longer log.
 */
export function isUpToDate(a: LogPosition, b: LogPosition): boolean {
  return a.term !== b.term ? a.term > b.term : a.index >= b.index;
}
