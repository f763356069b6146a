/** A node's name, unique in its cluster for ever: an id is never given to another node. */
export type NodeId = string;

/** An election term (§5.1): a safe integer that only grows; 0 is before the first. */
export type Term = number;

/** The index of a log entry: a safe integer; the log begins at 1, and 0 means none. */
export type LogIndex = number;

/** The place of one entry: by the Log Matching Property (§5.3) it names one entry in all logs. */
export interface LogPosition {
  readonly term: Term;
  readonly index: LogIndex;
}

/** The place before the first entry. */
export const ORIGIN: LogPosition = { term: 0, index: 0 };

/** Whether two positions name the same entry. */
export function samePosition(a: LogPosition, b: LogPosition): boolean {
  return a.index === b.index && a.term === b.term;
}

/**
 * Whether a log ending at `a` is at least as up-to-date as one ending at `b` (§5.4.1):
 * the later term wins, and only within one term the longer log.
 */
export function isUpToDate(a: LogPosition, b: LogPosition): boolean {
  return a.term !== b.term ? a.term > b.term : a.index >= b.index;
}
