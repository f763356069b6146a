// What a node is at the moment (§5.1), each role with the state that belongs to it alone. A change of role
// replaces the whole object, so nothing of an earlier role can survive by mistake. What outlives a role is in
// `state.ts`.
import type { LogIndex, NodeId } from "./position.ts";
import { Progress, type ProgressImage } from "./progress.ts";

/** The role with its state. `type` tells which. */
export type RoleState = Follower | PreCandidate | Candidate | Leader;

/**
 * What a node is at the moment (§5.1); a `pre-candidate` asks whether it could win before it starts an
 * election.
 */
export type Role = RoleState["type"];

/** Follows a leader, or waits to hear of one. */
export interface Follower {
  readonly type: "follower";
}

/** A follower has no state of its own, so this object is the role of every follower. */
export const FOLLOWER: Follower = { type: "follower" };

/** Asks whether it could win the next term, without entering it (dissertation 9.6). */
export interface PreCandidate {
  readonly type: "pre-candidate";
  /** The number of this round of pre-votes. Only answers to this round count. */
  readonly round: number;
  /** The nodes that would vote for this node in the next term, itself included from the start. */
  readonly votes: Set<NodeId>;
}

/** Asks for votes in its current term (§5.2). */
export interface Candidate {
  readonly type: "candidate";
  /** The nodes whose durable vote this node has. Its own is added once it is durable (`countOwnVote`). */
  readonly votes: Set<NodeId>;
  /** The batch that makes this node's own vote durable; null once that vote has been counted. */
  ownVoteId: number | null;
}

/**
 * A transfer of leadership that is under way (dissertation 3.10). The leader accepts no commands meanwhile.
 */
export interface Transfer {
  readonly to: NodeId;
  /** Time in milliseconds at which the leader gives up and accepts commands again. */
  readonly until: number;
}

/** A heartbeat round that will extend the leader's lease when a quorum acknowledges it. */
export interface LeaseProbe {
  readonly round: number;
  /** Time in milliseconds at which the round began, which is before any of its messages was sent. */
  readonly at: number;
}

/**
 * Leads its current term (§5.3). Changed by `leadership.ts`, `replication.ts`, `reads.ts` and `transfer.ts`.
 */
export class Leader {
  readonly type = "leader";
  /**
   * What the leader knows about each node that it sends the log to: every other member, and removed members
   * until they know of their removal or the leader gives up telling them (`RemovalNotice`). Changes with the
   * configuration (`leadership.ts`). Never holds the leader itself.
   */
  readonly progress: Map<NodeId, Progress> = new Map();
  /** The index of the blank entry that this leader appended first (§8). Reads wait until it is committed. */
  readonly termStartIndex: LogIndex;
  /**
   * How many heartbeat rounds this leader has started in its term. Messages carry the number and answers name
   * the latest one received, so a quorum of answers to a round proves that the node still led when the round
   * began.
   */
  heartbeatRound = 0;
  /**
   * Time in milliseconds at which the next round is due; Infinity while there is no other node to send to.
   */
  heartbeatDeadline: number = Infinity;
  /** The transfer of leadership under way; null: none. */
  transfer: Transfer | null = null;
  /**
   * When the lease began, in milliseconds: the time at which the last `leaseProbe` began that a quorum has
   * acknowledged. -Infinity: none yet. Never falls.
   */
  leaseFrom: number = -Infinity;
  /**
   * The round that will extend the lease; null: the next one that starts. One at a time is enough, because
   * answers normally arrive long before the lease ends.
   */
  leaseProbe: LeaseProbe | null = null;
  /**
   * Whether this leader has sent TimeoutNow. Its target may win an election at any later time without waiting
   * for the lease to end (dissertation 3.10), so there is no lease in the rest of this term.
   */
  leaseIsVoid = false;

  constructor(termStartIndex: LogIndex) {
    this.termStartIndex = termStartIndex;
  }
}

/** A `RoleState` as plain values. Sets and maps are arrays here, in their order. */
export type RoleImage = Follower | PreCandidateImage | CandidateImage | LeaderImage;

/** A `PreCandidate` as plain values. */
export interface PreCandidateImage {
  readonly type: "pre-candidate";
  readonly round: number;
  readonly votes: readonly NodeId[];
}

/** A `Candidate` as plain values. */
export interface CandidateImage {
  readonly type: "candidate";
  readonly votes: readonly NodeId[];
  readonly ownVoteId: number | null;
}

/** A `Leader` as plain values. */
export interface LeaderImage {
  readonly type: "leader";
  readonly progress: readonly (readonly [NodeId, ProgressImage])[];
  readonly termStartIndex: LogIndex;
  readonly heartbeatRound: number;
  readonly heartbeatDeadline: number;
  readonly transfer: Transfer | null;
  readonly leaseFrom: number;
  readonly leaseProbe: LeaseProbe | null;
  readonly leaseIsVoid: boolean;
}

export function captureRole(role: RoleState): RoleImage {
  switch (role.type) {
    case "follower":
      return FOLLOWER;
    case "pre-candidate":
      return { type: role.type, round: role.round, votes: [...role.votes] };
    case "candidate":
      return { type: role.type, votes: [...role.votes], ownVoteId: role.ownVoteId };
    case "leader":
      return {
        type: role.type,
        progress: [...role.progress].map(([id, progress]) => [id, progress.capture()]),
        termStartIndex: role.termStartIndex,
        heartbeatRound: role.heartbeatRound,
        heartbeatDeadline: role.heartbeatDeadline,
        transfer: role.transfer,
        leaseFrom: role.leaseFrom,
        leaseProbe: role.leaseProbe,
        leaseIsVoid: role.leaseIsVoid,
      };
  }
}

export function reviveRole(image: RoleImage): RoleState {
  switch (image.type) {
    case "follower":
      return FOLLOWER;
    case "pre-candidate":
      return { type: image.type, round: image.round, votes: new Set(image.votes) };
    case "candidate":
      return { type: image.type, votes: new Set(image.votes), ownVoteId: image.ownVoteId };
    case "leader":
      return reviveLeader(image);
  }
}

function reviveLeader(image: LeaderImage): Leader {
  const leader = new Leader(image.termStartIndex);
  for (const [id, progress] of image.progress) leader.progress.set(id, Progress.revive(progress));
  leader.heartbeatRound = image.heartbeatRound;
  leader.heartbeatDeadline = image.heartbeatDeadline;
  leader.transfer = image.transfer;
  leader.leaseFrom = image.leaseFrom;
  leader.leaseProbe = image.leaseProbe;
  leader.leaseIsVoid = image.leaseIsVoid;
  return leader;
}
