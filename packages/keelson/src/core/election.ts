import { isVoter, membersOf } from "./config.ts";
import type { PreVote, PreVoteReply, RequestVote, RequestVoteReply } from "./message.ts";
import { isUpToDate } from "./position.ts";
import { hasQuorum } from "./quorum.ts";
import type { NodeState } from "./state.ts";

/** The election timeout passed without a word from a leader (§5.2). */
export function onElectionTimeout(state: NodeState, now: number): void {
  state.resetElectionDeadline(now);
  state.leaderId = null;
  state.failReads();
  if (state.isSoleVoter || !state.options.preVote) campaign(state, false);
  else askForPreVotes(state);
  // All that a sole voter waits for is the write of its own vote: one more term would be one more write to wait for.
  if (state.isSoleVoter) state.electionDeadline = null;
}

/** Asks whether an election could be won, changing nothing anywhere (dissertation 9.6). */
function askForPreVotes(state: NodeState): void {
  state.role = "pre-candidate";
  state.votes = new Set([state.id]);
  state.ownVoteId = null;
  const { id: from, term } = state;
  for (const to of votersToAsk(state)) {
    state.send(to, { type: "pre-vote", from, term, last: state.log.last });
  }
}

/** Enters the next term and asks for votes in it (§5.2). */
export function campaign(state: NodeState, transfer: boolean): void {
  state.role = "candidate";
  state.votes = new Set();
  state.enterTerm(state.term + 1, state.id);
  // The request says "I voted for myself", so neither it nor that vote counts before the vote is durable.
  state.ownVoteId = state.pendingActions.persistId;
  const { id: from, term } = state;
  for (const to of votersToAsk(state)) {
    state.send(to, { type: "request-vote", from, term, last: state.log.last, transfer });
  }
}

/** A candidate's own vote is durable: it may count now. */
export function countOwnVote(state: NodeState, persistId: number, now: number): void {
  if (state.ownVoteId === null || persistId < state.ownVoteId) return;
  state.ownVoteId = null;
  countVote(state, state.id, now);
}

export function onPreVote(state: NodeState, message: PreVote, now: number): void {
  // A node that hears its leader helps nobody else, whatever term it comes with (dissertation 4.2.3).
  const refuse = state.heardLeaderRecently(now);
  if (!refuse && message.term > state.term) state.becomeFollower(message.term, null, now);
  state.send(message.from, {
    type: "pre-vote-reply",
    from: state.id,
    term: state.term,
    requestTerm: message.term,
    // A refusal carries our term too: a node left behind learns it, and asks again in that one.
    granted: !refuse && message.term === state.term && isUpToDate(message.last, state.log.last),
  });
}

export function onPreVoteReply(state: NodeState, message: PreVoteReply, now: number): void {
  if (message.term > state.term) {
    state.becomeFollower(message.term, null, now);
    return;
  }
  if (state.role !== "pre-candidate" || !message.granted || message.requestTerm !== state.term) return;
  state.votes.add(message.from);
  if (hasQuorum(state.config, (id) => state.votes.has(id))) campaign(state, false);
}

export function onRequestVote(state: NodeState, message: RequestVote, now: number): void {
  const undisturbed = state.options.checkQuorum && state.heardLeaderRecently(now) && !message.transfer;
  if (message.term > state.term && !undisturbed) state.becomeFollower(message.term, null, now);
  const granted =
    message.term === state.term &&
    mayVoteFor(state, message.from) &&
    isUpToDate(message.last, state.log.last); // §5.4.1: the term of the last entry first, then the length.
  if (granted) {
    if (state.votedFor === null) state.voteFor(message.from);
    state.resetElectionDeadline(now);
  }
  const { id: from, term } = state;
  state.send(message.from, { type: "request-vote-reply", from, term, granted });
}

/** §5.2: one vote a term, and the same answer to a repeated question. */
function mayVoteFor(state: NodeState, candidate: string): boolean {
  if (state.votedFor !== null) return state.votedFor === candidate;
  return state.leaderId === null;
}

export function onRequestVoteReply(state: NodeState, message: RequestVoteReply, now: number): void {
  if (message.term > state.term) {
    state.becomeFollower(message.term, null, now);
    return;
  }
  if (state.role !== "candidate" || message.term < state.term || !message.granted) return;
  countVote(state, message.from, now);
}

function countVote(state: NodeState, from: string, now: number): void {
  state.votes.add(from);
  if (!hasQuorum(state.config, (id) => state.votes.has(id))) return;
  // With enough other votes the own one is not needed to win, but a leader's term must be durable.
  if (state.hardStateIsDurable) state.becomeLeader(now);
}

function votersToAsk(state: NodeState): string[] {
  return membersOf(state.config).filter((id) => id !== state.id && isVoter(state.config, id));
}
