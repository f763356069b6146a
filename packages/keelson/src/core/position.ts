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

/**
 * The largest term that a node may be in. Hazard: a term near 2^53 leaves no room for another election, and a
 * node never goes back to an earlier one, so a single damaged or hostile message could end a cluster for
 * good. So messages with later terms are refused where they are decoded. Even one election each millisecond
 * would reach this term only after 8,900 years.
 */
export const TERM_MAX: number = 2 ** 48;

/**
 * How far one message may take a node's term. Terms grow by one per election. Even a node that is cut off and
 * starts an election without a pre-vote after each default timeout needs days to raise its term by so much.
 * So a message whose term is further ahead is probably damaged or hostile, and its term is not adopted: see
 * `RaftNode.handleMessage`.
 */
export const TERM_JUMP_MAX: number = 2 ** 20;

/** The largest index of an entry: a million entries a second reach it after 35 years. */
export const INDEX_MAX: number = 2 ** 50;

/**
 * The largest number of a heartbeat round, which begins at 0 in each term, of a round of pre-votes, and of a
 * read. At a million a second it is reached after 26 years at the earliest: reads and rounds of pre-votes
 * begin at up to `FIRST_NUMBER_MAX`.
 */
export const ROUND_MAX: number = 2 ** 50;

/**
 * A process begins to number its reads and its rounds of pre-votes at a random number below this. A late
 * answer to an earlier process of the same node is then not taken for an answer to this one.
 */
export const FIRST_NUMBER_MAX: number = 2 ** 48;

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
