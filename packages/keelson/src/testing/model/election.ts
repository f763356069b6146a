/**
 * Terms, votes and roles: elections (§5.2, §5.4.1), pre-votes (dissertation 9.6), check-quorum (4.2.3, 6.2)
 * and campaigns that the leader asks for (3.10).
 */
import type { PreVote, RequestVote } from "../../core/message.ts";
import type { LogPosition } from "../../core/position.ts";
import { configAt, configOf, lastOf, votesAlone } from "./model-log.ts";
import { NOTHING_UNSAID, ofNewTerm, type Input, type ModelState, type Seen } from "./model-state.ts";
import { hasVote, isQuorum } from "./quorum.ts";
import { withoutLeading } from "./reads.ts";
import { rule } from "./rule.ts";

/** Counts the answers that this node may rely on: those to its own question, of its own term. */
export function withAnswers(state: ModelState, input: Input): ModelState {
  if (input.type !== "message") return state;
  const { message } = input;
  const { term, role, preVotes, preVoteRound, votes } = state;
  if (message.type === "pre-vote-reply" && message.granted && message.round === preVoteRound) {
    return role === "pre-candidate" ? { ...state, preVotes: new Set(preVotes).add(message.from) } : state;
  }
  if (message.type === "request-vote-reply" && message.granted && message.term === term) {
    return role === "candidate" ? { ...state, votes: new Set(votes).add(message.from) } : state;
  }
  return state;
}

/** Whether this node must not help to depose the leader that it hears (dissertation 4.2.3). */
export function hearsLeader({ role, leaderHeardAt, now, settings }: ModelState): boolean {
  return role === "leader" || now < leaderHeardAt + settings.electionTimeoutMinMs;
}

/** §5.1: terms only rise, to the term of a message, or by one when this node starts an election. */
export function enterTerm(before: ModelState, input: Input, after: Seen): ModelState {
  if (after.term === before.term) return before;
  rule(after.term > before.term, () => `the term falls to ${String(after.term)} (§5.1)`);
  if (after.role === "candidate") checkCampaign(before, input, after);
  else if (input.type === "create") rule(after.term === 1, () => "a cluster's first entry has term 1");
  else {
    rule(
      input.type === "message" && after.term <= input.message.term,
      () => `the term rises to ${String(after.term)} without a message of that term (§5.1)`,
    );
    const { message } = input;
    rule(
      !(message.type === "request-vote" && isRefused(before, message)),
      () => "takes a term from a candidate while it hears its leader (dissertation 4.2.3)",
    );
  }
  const unsaid = { ...NOTHING_UNSAID, earlier: [...before.unsaid.earlier, before] };
  const { reads } = withoutLeading(before);
  const fresh = { ...before, term: after.term, votedFor: null, reads, ...ofNewTerm(before.commit), unsaid };
  if (after.role !== "candidate") return fresh;
  const isTransfer = input.type === "message" && input.message.type === "timeout-now";
  return { ...fresh, campaign: { last: lastOf(before.log), byTransfer: isTransfer } };
}

/**
 * Whether the request must not have any effect, because this node hears its leader. It is not refused if the
 * leader itself asked for the election. That claim (`transfer`) is believed only of a voter that stands in
 * the term after the leader's.
 * The node may have entered that term already, because another message told it the term. Its promise to its
 * leader lasts all the same.
 */
function isRefused(state: ModelState, { transfer, term, from }: RequestVote): boolean {
  const isAsked = transfer && term <= state.term + 1 && hasVote(configOf(state.log), from);
  return state.settings.checkQuorum && !isAsked && hearsLeader(state);
}

/** §5.2: a node becomes a candidate of the next term, and votes for itself. */
function checkCampaign(before: ModelState, input: Input, after: Seen): void {
  const { term, settings, role, preVotes, log, id } = before;
  const isTransfer = input.type === "message" && input.message.type === "timeout-now";
  const from = isTransfer ? Math.max(term, input.message.term) : term;
  rule(
    after.term === from + 1,
    () => `an election in term ${String(after.term)} follows ${String(from)} (§5.2)`,
  );
  rule(after.votedFor === id, () => "a candidate votes for itself (§5.2)");
  rule(role !== "leader", () => "a leader becomes a candidate (§5.1)");
  checkEligible(before);
  if (isTransfer) {
    rule(input.message.term >= term, () => "a TimeoutNow of an earlier term starts an election (§5.1)");
    return;
  }
  checkPatience(before);
  const agrees = (voter: string): boolean => voter === id || preVotes.has(voter);
  const asked = !settings.preVote || isQuorum(configOf(log), agrees);
  rule(asked, () => "an election begins without a majority of pre-votes (dissertation 9.6)");
  rule(
    input.type === "timeout" || (input.type === "message" && input.message.type === "pre-vote-reply"),
    () => `a ${input.type} starts an election (§5.2)`,
  );
}

/**
 * Dissertation 6.4.1: a node that heard a leader, or may have heard one just before it started, waits for
 * the shortest election timeout, because the leader may serve reads under its lease. Only a node that nobody
 * else could have led needn't wait: it is the sole voter, and was it in the configuration before, too.
 */
function checkPatience({ log, id, now, leaderHeardAt, settings }: ModelState): void {
  rule(
    now >= leaderHeardAt + settings.electionTimeoutMinMs || votesAlone(log, id),
    () =>
      `stands for election, and may have heard a leader at ${String(leaderHeardAt)} ms (dissertation 6.4.1)`,
  );
}

/** Only a voter campaigns; a former voter may, until it knows that its removal is committed. */
function checkEligible({ log, commit, id }: ModelState): void {
  const last = configAt(log, log.lastIndex);
  const isEligible =
    hasVote(last.config, id) ||
    (last.index > commit && hasVote(configAt(log, Math.max(last.index - 1, log.base.index)).config, id));
  rule(isEligible, () => "a node without a vote campaigns (§6)");
}

/**
 * Figure 2, RequestVote: one vote per term, for a candidate whose log is at least as up-to-date. `state` has
 * the term after the step.
 */
export function checkVote(
  before: ModelState,
  state: ModelState,
  input: Input,
  { votedFor, role }: Seen,
): void {
  const known = state.votedFor;
  if (votedFor === known) return;
  rule(known === null, () => `the vote for ${String(known)} becomes one for ${String(votedFor)} (§5.2)`);
  if (role === "candidate" && before.term < state.term) return;
  rule(
    input.type === "message" && input.message.type === "request-vote",
    () => `gives a vote to ${String(votedFor)}, who didn't ask for it now (§5.2)`,
  );
  const { message } = input;
  rule(message.from === votedFor, () => `${message.from} asks, and ${String(votedFor)} gets the vote (§5.2)`);
  rule(message.term === state.term, () => "votes in another term than the candidate's (§5.1)");
  rule(
    !isRefused(before, message),
    () => "votes for a candidate while it hears its leader (dissertation 6.4.1)",
  );
  rule(
    isUpToDate(message.last, lastOf(before.log)),
    () => "votes for a candidate whose log is less up-to-date (§5.4.1)",
  );
}

/** §5.4.1: the later last term wins; in the same term, the longer log. */
export function isUpToDate(candidate: LogPosition, own: LogPosition): boolean {
  return candidate.term === own.term ? candidate.index >= own.index : candidate.term > own.term;
}

/**
 * Figure 4: which role may follow which. `state` has the term after the step, and `before` that before it.
 */
export function checkRole(before: ModelState, state: ModelState, input: Input, { role, leader }: Seen): void {
  checkLeaderOfTerm(state, leader);
  if (role === "leader") {
    if (before.role !== "leader" || before.term !== state.term) checkElected(before, state, input);
    return;
  }
  if (role === "candidate") {
    rule(
      state.term > before.term || before.role === "candidate",
      () => `a ${before.role} becomes a candidate without a new term (§5.2)`,
    );
  } else if (role === "pre-candidate" && before.role !== "pre-candidate") {
    rule(input.type === "timeout", () => `a ${input.type} starts a pre-vote (dissertation 9.6)`);
    rule(before.role !== "leader", () => "a leader starts a pre-vote");
    checkEligible(before);
    checkPatience(before);
  }
}

/** Election Safety (§5.2): a term has at most one leader. */
function checkLeaderOfTerm({ leaderOfTerm, term }: ModelState, leader: string | null): void {
  rule(
    leader === null || leaderOfTerm === null || leader === leaderOfTerm,
    () => `${String(leaderOfTerm)} led term ${String(term)}, and now ${String(leader)} does (§5.2)`,
  );
}

/** §5.2: a candidate that has the votes of a majority leads. Its own vote counts once it is durable. */
function checkElected(before: ModelState, state: ModelState, input: Input): void {
  const { id, term, votes, disk, log } = state;
  rule(
    before.role === "candidate" && before.term === term,
    () => `a ${before.role} becomes the leader without an election (§5.2)`,
  );
  const { hardState } = disk;
  rule(
    hardState.term === term && hardState.votedFor === id,
    () => "leads before its term and its own vote are durable (Figure 2)",
  );
  rule(
    isQuorum(configOf(log), (voter) => voter === id || votes.has(voter)),
    () => `leads with the votes of ${[id, ...votes].join(" ")} only (§5.2)`,
  );
  rule(
    input.type === "persisted" || (input.type === "message" && input.message.type === "request-vote-reply"),
    () => `a ${input.type} ends an election (§5.2)`,
  );
}

/** Notes a pre-vote that may be granted. `state` has the term after the step. */
export function withPreVote(state: ModelState, input: Input): ModelState {
  if (input.type !== "message" || input.message.type !== "pre-vote") return state;
  const { message } = input;
  if (!mayGrantPreVote(state, message)) return state;
  const preVotes = new Set(state.unsaid.preVotes).add(preVoteKey(message.from, message.round));
  return { ...state, unsaid: { ...state.unsaid, preVotes } };
}

/** Whether the answer to this question may be yes (dissertation 9.6): the vote itself would be given. */
function mayGrantPreVote(state: ModelState, { from, term, last }: PreVote): boolean {
  const wouldVote = term + 1 > state.term || (term + 1 === state.term && (state.votedFor ?? from) === from);
  return wouldVote && isUpToDate(last, lastOf(state.log)) && !hearsLeader(state);
}

/** A name for a pre-vote request. The answer to it carries the same round, so it has the same name. */
export function preVoteKey(from: string, round: number): string {
  return `${from} ${String(round)}`;
}
