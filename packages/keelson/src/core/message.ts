// The messages between nodes, without the entries' payloads. `node.ts` dispatches each type to its handler.
import type { ClusterConfig } from "./config.ts";
import type { LogIndex, LogPosition, NodeId, Term } from "./position.ts";

/** A run of consecutive entries of one term. */
export interface TermRun {
  /** The first index of the run. */
  readonly index: LogIndex;
  readonly term: Term;
}

/** A configuration and the index of the entry that holds it. */
export interface ConfigAt {
  readonly index: LogIndex;
  readonly config: ClusterConfig;
}

/**
 * The entries `(prev.index, lastIndex]` without their payloads: where they begin, where the term changes, and
 * which of them are configurations. The caller of the sender's core attaches the payloads; the caller of the
 * receiver's core keeps them until that core asks for the entries to be written.
 */
export interface EntryRange {
  /** The position of the entry before the first one. */
  readonly prev: LogPosition;
  /** The index of the last entry; equal to `prev.index` when there is none. */
  readonly lastIndex: LogIndex;
  /** In order; the first begins at `prev.index + 1`. Empty if there are no entries. */
  readonly terms: readonly TermRun[];
  /** In order. */
  readonly configs: readonly ConfigAt[];
}

interface Header {
  readonly from: NodeId;
  /** The sender's current term. */
  readonly term: Term;
}

/**
 * Asks whether the receiver would vote for the sender in `term + 1` (dissertation 9.6). The answer is no
 * promise, and the question changes nothing on the receiver.
 */
export interface PreVote extends Header {
  readonly type: "pre-vote";
  /** The sender's number of this round of questions. The answer repeats it. */
  readonly round: number;
  /** The position of the sender's last entry. */
  readonly last: LogPosition;
}

/** The answer to `PreVote`. */
export interface PreVoteReply extends Header {
  readonly type: "pre-vote-reply";
  readonly granted: boolean;
  /** The round of the question, so that a late answer isn't counted in a later round. */
  readonly round: number;
}

/** RequestVote (§5.2). */
export interface RequestVote extends Header {
  readonly type: "request-vote";
  /** The position of the sender's last entry. */
  readonly last: LogPosition;
  /**
   * Whether the leader asked for this election with TimeoutNow (dissertation 3.10). Then voters that heard
   * the leader recently may grant it: the leader has given up its lease.
   */
  readonly transfer: boolean;
}

/** The answer to `RequestVote`. A granted vote is durable before the answer is sent. */
export interface RequestVoteReply extends Header {
  readonly type: "request-vote-reply";
  readonly granted: boolean;
}

/** AppendEntries (§5.3); without entries, a heartbeat. */
export interface AppendEntries extends Header {
  readonly type: "append-entries";
  readonly entries: EntryRange;
  /** The leader's commit index. */
  readonly commit: LogIndex;
  /** The leader's heartbeat round. The answer names the latest round that the follower has received. */
  readonly round: number;
}

/**
 * The answer to `AppendEntries`, and to `InstallSnapshot`: how far the log equals the leader's and is
 * durable, or where the two may agree.
 */
export interface AppendEntriesReply extends Header {
  readonly type: "append-entries-reply";
  /** The latest heartbeat round received from this leader in this term. */
  readonly round: number;
  readonly outcome:
    | {
        readonly accepted: true;
        /** Up to here the follower's log equals the leader's and is durable. */
        readonly match: LogIndex;
      }
    | {
        readonly accepted: false;
        /** The `prev.index` that was refused, so that the leader can ignore refusals that arrive late. */
        readonly refused: LogIndex;
        /**
         * The last position at which this log may agree with the leader's (§5.3): the leader continues there.
         */
        readonly hint: LogPosition;
      };
}

/** The leader offers a snapshot, because its log no longer holds the entries that the follower lacks (§7). */
export interface InstallSnapshot extends Header {
  readonly type: "install-snapshot";
  /** The position of the last entry that the snapshot covers. */
  readonly last: LogPosition;
  /** The configuration at `last`. */
  readonly config: ClusterConfig;
  /** The leader's heartbeat round, as in `AppendEntries`. */
  readonly round: number;
}

/**
 * A follower asks the leader for a read index (dissertation 6.4). The receiver ignores the term: a mere read
 * must not depose a leader.
 */
export interface ReadIndexRequest extends Header {
  readonly type: "read-index";
  /** The asking node's number of the read. */
  readonly id: number;
}

/** The answer to `ReadIndexRequest`. */
export interface ReadIndexReply extends Header {
  readonly type: "read-index-reply";
  readonly id: number;
  /**
   * The index at which to read; null: the node that was asked can't tell, because it doesn't lead, holds too
   * many unanswered reads, or couldn't confirm within the longest election timeout that it still leads.
   */
  readonly index: LogIndex | null;
}

/**
 * TimeoutNow (dissertation 3.10): the leader asks this voter to start an election at once. In a transfer the
 * leader sends it only once the voter's log is complete. A leader that steps down at once can't wait for
 * that: it asks the voter with the most complete log, which may lack entries, and may then lose.
 */
export interface TimeoutNow extends Header {
  readonly type: "timeout-now";
}

/** A message between nodes. It may be lost, duplicated, delayed or reordered. */
export type Message =
  | PreVote
  | PreVoteReply
  | RequestVote
  | RequestVoteReply
  | AppendEntries
  | AppendEntriesReply
  | InstallSnapshot
  | ReadIndexRequest
  | ReadIndexReply
  | TimeoutNow;

/** The `type` of a message. */
export type MessageType = Message["type"];
