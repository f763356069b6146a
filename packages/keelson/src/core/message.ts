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
 * The entries `(prev.index, lastIndex]` without their payloads: where they begin, where the
 * term changes, and which of them are configurations. Whoever sends a message attaches the
 * payloads; whoever receives one keeps them until the core says to write them.
 */
export interface EntryRange {
  /** The entry just before the first of these. */
  readonly prev: LogPosition;
  /** The index of the last entry; equal to `prev.index` when there is none. */
  readonly lastIndex: LogIndex;
  /** Ascending; the first begins at `prev.index + 1`. Empty when there is no entry. */
  readonly terms: readonly TermRun[];
  /** Ascending. */
  readonly configs: readonly ConfigAt[];
}

interface Header {
  readonly from: NodeId;
  /** The sender's current term. */
  readonly term: Term;
}

/** "Would you vote for me in `term + 1`?" (dissertation 9.6). Binds nobody. */
export interface PreVote extends Header {
  readonly type: "pre-vote";
  readonly last: LogPosition;
}

/** The answer to `PreVote`. */
export interface PreVoteReply extends Header {
  readonly type: "pre-vote-reply";
  readonly granted: boolean;
  /** The `term` of the request that this answers: it tells one round of asking from another. */
  readonly requestTerm: Term;
}

/** RequestVote (§5.2). */
export interface RequestVote extends Header {
  readonly type: "request-vote";
  readonly last: LogPosition;
  /** The leader asked for this election (dissertation 3.10), so its lease does not speak against it. */
  readonly transfer: boolean;
}

/** The answer to `RequestVote`; a vote that is granted is durable. */
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
  /** The leader's count of leadership checks; an answer names the latest it has seen. */
  readonly round: number;
}

/** The answer to `AppendEntries`: how far the log agrees and is durable, or where to look for agreement. */
export interface AppendEntriesReply extends Header {
  readonly type: "append-entries-reply";
  /** The latest `round` seen from this leader in this term. */
  readonly round: number;
  readonly outcome:
    | {
        readonly accepted: true;
        /** The log equals the leader's, and is durable, up to here. */
        readonly match: LogIndex;
      }
    | {
        readonly accepted: false;
        /** The `prev.index` that was refused: it tells a stale refusal from one that counts. */
        readonly refused: LogIndex;
        /** The last place at which this log may agree with the leader's (§5.3, fast back-up). */
        readonly hint: LogPosition;
      };
}

/** The leader's log no longer reaches back to what this follower needs (§7). */
export interface InstallSnapshot extends Header {
  readonly type: "install-snapshot";
  /** The last entry that the snapshot covers. */
  readonly last: LogPosition;
  /** The configuration at `last`. */
  readonly config: ClusterConfig;
  readonly round: number;
}

/** A follower asks for an index to read at (dissertation 6.4). Carries a term, and moves none. */
export interface ReadIndexRequest extends Header {
  readonly type: "read-index";
  readonly id: number;
}

/** The answer to `ReadIndexRequest`. */
export interface ReadIndexReply extends Header {
  readonly type: "read-index-reply";
  readonly id: number;
  /** Where to read, or null: the node asked does not lead, or lost its lead meanwhile. */
  readonly index: LogIndex | null;
}

/** TimeoutNow (dissertation 3.10): the leader asks this voter, whose log is complete, to stand for election at once. */
export interface TimeoutNow extends Header {
  readonly type: "timeout-now";
}

/** What nodes say to each other. One way; each may be lost, doubled, late or out of order. */
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

/** What tells messages apart. */
export type MessageType = Message["type"];
