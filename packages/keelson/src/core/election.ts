// Elections (§5.2, §5.4.1): timeouts, pre-votes (dissertation 9.6), votes, and winning.
import { isVoter, membersOf } from "./config.ts";
import { becomeLeader } from "./leadership.ts";
import type { PreVote, PreVoteReply, RequestVote, RequestVoteReply } from "./message.ts";
import { isUpToDate, type NodeId } from "./position.ts";
import { hasQuorum } from "./quorum.ts";
import type { Candidate } from "./role.ts";
import type { NodeState } from "./state.ts";

/** The election timeout passed, and no leader was heard (§5.2). */
export function onElectionTimeout(state: NodeState, now: number): void {
  state.resetElectionDeadline(now);
  state.leaderId = null;
  state.failReads();
  if (state.isSoleVoter || !state.options.preVote) startElection(state, false);
  else askForPreVotes(state);
  // A sole voter wins as soon as its own vote is durable. A retry would start a new term and wait for another
  // write, so it sets no deadline.
  if (state.isSoleVoter) state.electionDeadline = null;
}

/** Asks whether an election could be won, without changing a term anywhere (dissertation 9.6). */
function askForPreVotes(state: NodeState): void {
  state.preVoteRound += 1;
  const { id: from, term, preVoteRound: round } = state;
  state.role = { type: "pre-candidate", round, votes: new Set([from]) };
  for (const to of votersToAsk(state)) {
    state.send(to, { type: "pre-vote", from, term, round, last: state.log.last });
  }
}

/**
 * Enters the next term and asks for votes in it (§5.2). `transfer`: the leader asked this node to, by
 * TimeoutNow.
 */
export function startElection(state: NodeState, transfer: boolean): void {
  state.enterTerm(state.term + 1, state.id);
  // A crash could take back a vote that isn't durable, and this node could then vote for another candidate.
  // So its own vote counts, and the requests leave, only once this batch is durable.
  state.role = { type: "candidate", votes: new Set(), ownVoteId: state.pendingActions.persistId };
  const { id: from, term } = state;
  for (const to of votersToAsk(state)) {
    state.send(to, { type: "request-vote", from, term, last: state.log.last, transfer });
  }
}

/** The batch `persistId` is durable: if it holds this candidate's own vote, that vote counts now. */
export function countOwnVote(state: NodeState, persistId: number, now: number): void {
  const { role } = state;
  if (role.type !== "candidate" || role.ownVoteId === null || persistId < role.ownVoteId) return;
  role.ownVoteId = null;
  countVote(state, role, state.id, now);
}

/**
 * Answers a pre-vote. Nothing changes on this node: not even a later term is taken from a mere question
 * (dissertation 9.6).
 */
export function onPreVote(state: NodeState, message: PreVote, now: number): void {
  const { from: to, round } = message;
  // While this node hears its leader it helps no other candidate, whatever the candidate's term (dissertation
  // 4.2.3).
  const granted =
    !state.heardLeaderRecently(now) && message.term >= state.term && isUpToDate(message.last, state.log.last);
  // The answer carries this node's term, granted or not: a sender in an earlier term enters it, and asks
  // again at its next election timeout.
  const { id: from, term } = state;
  state.send(to, { type: "pre-vote-reply", from, term, round, granted });
}

export function onPreVoteReply(state: NodeState, message: PreVoteReply, now: number): void {
  if (message.term > state.term) {
    state.becomeFollower(message.term, null, now);
    return;
  }
  const { role } = state;
  if (role.type !== "pre-candidate" || !message.granted || message.round !== role.round) return;
  role.votes.add(message.from);
  // This node's storage or state machine may have stalled since it asked for pre-votes. Then it must not
  // lead.
  if (now >= state.stallDeadline) return;
  if (hasQuorum(state.config, (id) => role.votes.has(id))) startElection(state, false);
}

export function onRequestVote(state: NodeState, message: RequestVote, now: number): void {
  const keepsLeader =
    state.options.checkQuorum && state.heardLeaderRecently(now) && !isTransfer(state, message);
  if (message.term > state.term && !keepsLeader) state.becomeFollower(message.term, null, now);
  const granted =
    message.term === state.term &&
    mayVoteFor(state, message.from, keepsLeader) &&
    isUpToDate(message.last, state.log.last); // §5.4.1: the term of the last entry first, then the length.
  if (granted) {
    if (state.votedFor === null) state.voteFor(message.from);
    state.resetElectionDeadline(now);
  }
  const { id: from, term } = state;
  state.send(message.from, { type: "request-vote-reply", from, term, granted });
}

/**
 * Whether the leader asked this candidate to take over (dissertation 3.10), so that the candidate may get a
 * vote though the leader is up. Only the candidate says so, and a damaged or hostile message may say it too.
 * So it counts only if the leader that this node hears can have asked it: the candidate is a voter, and its
 * term is the one after the leader's, which this node may have entered already.
 */
function isTransfer(state: NodeState, message: RequestVote): boolean {
  return message.transfer && message.term <= state.term + 1 && isVoter(state.config, message.from);
}

/**
 * §5.2: one vote per term, and the same answer when the request is repeated. A node that knows this term's
 * leader votes for no other: the election is decided. With `keepsLeader`, this node heard the leader of an
 * earlier term within the shortest election timeout, and doesn't vote either: that leader may still serve
 * reads under its lease (dissertation 6.4.1). This node may have learnt the later term from a third node's
 * message, which ends no lease.
 */
function mayVoteFor(state: NodeState, candidate: NodeId, keepsLeader: boolean): boolean {
  if (state.votedFor !== null) return state.votedFor === candidate;
  return state.leaderId === null && !keepsLeader;
}

export function onRequestVoteReply(state: NodeState, message: RequestVoteReply, now: number): void {
  if (message.term > state.term) {
    state.becomeFollower(message.term, null, now);
    return;
  }
  const { role } = state;
  if (role.type !== "candidate" || message.term < state.term || !message.granted) return;
  countVote(state, role, message.from, now);
}

function countVote(state: NodeState, candidate: Candidate, from: NodeId, now: number): void {
  candidate.votes.add(from);
  if (!hasQuorum(state.config, (id) => candidate.votes.has(id))) return;
  // Other nodes' votes can be enough without its own. But the term must be durable before this node leads in
  // it: after a crash it could otherwise enter the same term again, and vote for another candidate.
  if (state.hardStateIsDurable) becomeLeader(state, now);
}

function votersToAsk(state: NodeState): NodeId[] {
  return membersOf(state.config).filter((id) => id !== state.id && isVoter(state.config, id));
}
