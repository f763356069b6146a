import type { LogIndex } from "./position.ts";

/**
 * What a node has received from the leader of its current term, and what it has acknowledged to it. Each term
 * begins with a new object, because what equals one leader's log says nothing about the next one's. Within a
 * term it survives changes of role: a term has at most one leader, and what matched its log still does.
 */
export interface Following {
  /**
   * Up to here, this log is known to equal the leader's. Raised by AppendEntries and by snapshots. Entries
   * after it may be uncommitted leftovers of earlier terms that the leader will replace, so they are neither
   * acknowledged nor committed.
   */
  matchedIndex: LogIndex;
  /** The highest heartbeat round that a message of the leader carried; 0: none. Never falls. */
  receivedRound: number;
  /** The heartbeat round that the last acknowledgement named. At most `receivedRound`. */
  acknowledgedRound: number;
  /**
   * The index that the last acknowledgement named: up to it, this log is durable and equal to the leader's.
   * At most `matchedIndex`.
   */
  acknowledgedIndex: LogIndex;
  /**
   * Whether the leader must still hear how far this log has come. Set by each message that an acknowledgement
   * answers; cleared once everything up to `matchedIndex` is durable and acknowledged.
   */
  acknowledgementDue: boolean;
}

/** What a node has received at the start of a term, before it has heard that term's leader: nothing. */
export function newFollowing(): Following {
  return {
    matchedIndex: 0,
    receivedRound: 0,
    acknowledgedRound: 0,
    acknowledgedIndex: 0,
    acknowledgementDue: false,
  };
}
