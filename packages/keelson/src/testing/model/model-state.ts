/**
 * What the model knows of one node: the state of Figure 2, and what the node may rely on because of the
 * messages that it has received and the writes that have been reported. Values, never changed in place.
 */
import type { Actions, HardState } from "../../core/action.ts";
import type { ClusterConfig } from "../../core/config.ts";
import type { LogView } from "../../core/log.ts";
import type { Message } from "../../core/message.ts";
import type { LogIndex, LogPosition, NodeId, Term } from "../../core/position.ts";
import type { Role } from "../../core/role.ts";
import { votesAlone, type ModelLog } from "./model-log.ts";

/** The options of the node that decide which steps are allowed. */
export interface ModelSettings {
  readonly electionTimeoutMinMs: number;
  readonly preVote: boolean;
  readonly checkQuorum: boolean;
  readonly clockDriftMax: number;
}

/** One input of the core, with its answer where it has one. `now` is the time that the caller named. */
export type Input =
  | { readonly type: "message"; readonly message: Message; readonly now: number }
  | { readonly type: "timeout"; readonly now: number }
  | { readonly type: "persisted"; readonly persistId: number; readonly now: number }
  | {
      readonly type: "propose";
      readonly count: number;
      readonly answer: LogPosition | null;
      readonly now: number;
    }
  | {
      readonly type: "change";
      readonly target: ClusterConfig;
      readonly answer: LogPosition | string;
      readonly now: number;
    }
  | {
      readonly type: "transfer";
      readonly to: NodeId | null;
      readonly answer: { readonly to: NodeId } | string;
      readonly now: number;
    }
  /** The node can't serve, or can again. */
  | { readonly type: "stall"; readonly isStalled: boolean; readonly now: number }
  | { readonly type: "create"; readonly voters: readonly NodeId[]; readonly now: number }
  | {
      readonly type: "installed";
      readonly position: LogPosition;
      readonly config: ClusterConfig;
      readonly now: number;
    }
  | { readonly type: "compacted"; readonly index: LogIndex; readonly now: number }
  | { readonly type: "read"; readonly id: number; readonly now: number }
  | { readonly type: "lease-read"; readonly answer: LogIndex | null; readonly now: number }
  | { readonly type: "take"; readonly actions: Actions };

/** What anyone can see of a core after a step. */
export interface Seen extends HardState {
  readonly role: Role;
  readonly leader: NodeId | null;
  readonly commit: LogIndex;
  /** The last entry that the core holds to be durable. */
  readonly durable: LogIndex;
  readonly transferTarget: NodeId | null;
  /** The configuration that the core acts on. */
  readonly config: ClusterConfig;
  readonly log: LogView;
  /** As leader: up to which index it takes its log to be replicated to this node. null: nothing is known. */
  matchOf(id: NodeId): LogIndex | null;
}

export interface ModelState {
  readonly id: NodeId;
  readonly settings: ModelSettings;
  /** The latest time that an input named. */
  readonly now: number;

  // The state of Figure 2, and the role.
  readonly term: Term;
  readonly votedFor: NodeId | null;
  readonly log: ModelLog;
  readonly commit: LogIndex;
  readonly role: Role;
  readonly leader: NodeId | null;
  readonly transferTarget: NodeId | null;

  // What is known about this term alone: empty when the term begins.
  /** The leader of the term, once it was heard or this node has won; it never changes within the term. */
  readonly leaderOfTerm: NodeId | null;
  /** A follower's log equals the log of this term's leader up to here. */
  readonly verified: LogIndex;
  /** The latest heartbeat round received from this term's leader. */
  readonly roundHeard: number;
  /** The round of pre-votes that was handed out last, while this node is a pre-candidate; null: none. */
  readonly preVoteRound: number | null;
  /** Nodes that granted this node a pre-vote of that round. */
  readonly preVotes: ReadonlySet<NodeId>;
  /** Nodes that voted for this node, itself left out: its own vote counts once it is durable. */
  readonly votes: ReadonlySet<NodeId>;
  /** How this node became a candidate; null: it was none in this term. */
  readonly campaign: Campaign | null;
  /** What this node knows as leader; null: it doesn't lead. */
  readonly leading: Leading | null;

  /** When a leader was last heard, on the clock of `now`; -Infinity: never. */
  readonly leaderHeardAt: number;
  readonly disk: Disk;
  /**
   * What was true at some time since actions were last taken. Messages may still say it, although later
   * inputs have changed the rest of the state.
   */
  readonly unsaid: Unsaid;
  readonly reads: Reads;
}

export interface Campaign {
  /** The last entry when it began; its requests for votes name it. */
  readonly last: LogPosition;
  /** A TimeoutNow of the leader began it (dissertation 3.10). */
  readonly byTransfer: boolean;
}

export interface Leading {
  /** The blank entry that begins the term (§8). */
  readonly termStart: LogIndex;
  /** matchIndex (Figure 2), by follower: the highest index acknowledged to this leader. */
  readonly match: ReadonlyMap<NodeId, LogIndex>;
  /** The latest heartbeat round that each follower has answered. */
  readonly roundOf: ReadonlyMap<NodeId, number>;
  /** The highest round in a message that was handed out. */
  readonly roundSent: number;
  /** When the first message of each round was handed out, as far as it may still carry a lease. */
  readonly roundSentAt: ReadonlyMap<number, number>;
  /** When the newest round was sent that carried a lease under an earlier configuration; -Infinity: none. */
  readonly leaseFrom: number;
  /** A TimeoutNow was handed out: from then on another election may ignore the lease (dissertation 6.4.1). */
  readonly timeoutNowSent: boolean;
}

/** What the node's disk holds of its term, vote and log. */
export interface Disk {
  readonly hardState: HardState;
  /** Up to here the node's log is durable. */
  readonly durable: LogIndex;
  /** Up to here the node's log was handed out to be written, or is durable. */
  readonly handedOut: LogIndex;
  /** The last entry that the stored log may hold, once all writes are done. */
  readonly storeEnd: LogIndex;
  /** The latest hard state that was handed out. */
  readonly handedOutState: HardState;
  readonly inFlight: readonly Write[];
}

/** A batch that was handed out and not yet reported as durable. */
export interface Write {
  readonly persistId: number;
  readonly hardState: HardState;
  /** Up to here the node's log is durable when this and all earlier batches are. */
  readonly durable: LogIndex;
}

export interface Unsaid {
  /** Pre-votes that may be granted, as `FROM ROUND`. */
  readonly preVotes: ReadonlySet<string>;
  /** Where this node's log ended while it was a pre-candidate: an installed snapshot may move the end. */
  readonly preCampaigns: readonly LogPosition[];
  /** As leader: the voters that held its whole log. */
  readonly caughtUp: ReadonlySet<NodeId>;
  /** The node's last state in each earlier term that it was in: an answer may have been decided then. */
  readonly earlier: readonly ModelState[];
}

/** A read that waits for a leader's confirmation, and since when. */
export interface PendingRead {
  readonly term: Term;
  /** Rounds up to this one began before the read arrived, so they confirm nothing. */
  readonly roundSent: number;
  readonly commit: LogIndex;
  /** How often it arrived and wasn't answered: messages may be duplicated, and each copy may be answered. */
  readonly copies: number;
  /** The indexes that may be answered, if the leader has confirmed it; null: it has not. */
  readonly answer: { readonly min: LogIndex; readonly max: LogIndex } | null;
}

export interface Reads {
  /** By reader: `own ID`, or `FROM ID` for a read that another node passed on. */
  readonly pending: ReadonlyMap<string, PendingRead>;
  /** What a leader answered to this node's reads. */
  readonly answers: ReadonlyMap<number, readonly LogIndex[]>;
}

export const NOTHING_UNSAID: Unsaid = {
  preVotes: new Set(),
  preCampaigns: [],
  caughtUp: new Set(),
  earlier: [],
};

/**
 * What a node knows when a term begins: only that its committed entries are in the logs of all later leaders.
 */
export function ofNewTerm(
  commit: LogIndex,
): Pick<
  ModelState,
  "leaderOfTerm" | "verified" | "roundHeard" | "preVoteRound" | "preVotes" | "votes" | "campaign" | "leading"
> {
  return {
    leaderOfTerm: null,
    verified: commit,
    roundHeard: 0,
    preVoteRound: null,
    preVotes: new Set<NodeId>(),
    votes: new Set<NodeId>(),
    campaign: null,
    leading: null,
  };
}

/** A node that starts with what its disk holds: nothing that was only in memory counts. */
export function started(
  id: NodeId,
  settings: ModelSettings,
  seen: Seen,
  log: ModelLog,
  now: number,
): ModelState {
  const { term, votedFor, role, leader, commit } = seen;
  const hardState = { term, votedFor };
  const { lastIndex } = log;
  return {
    ...{ id, settings, now, term, votedFor, log, commit, role, leader },
    transferTarget: null,
    ...ofNewTerm(commit),
    unsaid: NOTHING_UNSAID,
    // Just before the restart, the node may have promised its leader not to help another candidate
    // (dissertation 6.4.1). Nobody else could lead a node that votes alone.
    leaderHeardAt: term === 0 || votesAlone(log, id) ? -Infinity : now,
    disk: {
      ...{ hardState, handedOutState: hardState, inFlight: [] },
      ...{ durable: lastIndex, handedOut: lastIndex, storeEnd: lastIndex },
    },
    reads: { pending: new Map(), answers: new Map() },
  };
}
