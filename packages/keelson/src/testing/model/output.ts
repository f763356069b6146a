/** What a node may hand out: writes, messages, and answers to reads. */
import type { Actions, HardState } from "../../core/action.ts";
import type { AppendEntries, AppendEntriesReply, Message } from "../../core/message.ts";
import { samePosition, type NodeId } from "../../core/position.ts";
import { afterWrites, takeWrites } from "./durability.ts";
import { preVoteKey } from "./election.ts";
import { withRoundSent } from "./leading.ts";
import { configOf, lastOf, rangeOf, sameRange, termAt } from "./model-log.ts";
import { NOTHING_UNSAID, type Disk, type ModelState } from "./model-state.ts";
import { hasVote } from "./quorum.ts";
import { checkAnswer, confirmReads, ownRead, passedOn, withoutOwn, withoutPending } from "./reads.ts";
import { rule } from "./rule.ts";

/** What is durable when a message leaves. */
type Saved = Pick<Disk, "hardState" | "durable">;

/** The state after the node's actions are taken. Checks all that they hand out. */
export function taken(state: ModelState, actions: Actions): ModelState {
  const disk = takeWrites(state, actions);
  const confirmed = confirmReads(state);
  const { commit } = actions;
  rule(
    commit === null || (commit.index === state.commit && commit.term === termAt(state.log, commit.index)),
    () => `reports ${String(commit?.index)} as committed; the commit index is ${String(state.commit)}`,
  );
  let after = disk === confirmed.disk ? confirmed : { ...confirmed, disk };
  for (const { to, message } of actions.messages) {
    after = withDecided(after, to, message, state.disk, state.disk.hardState);
  }
  const saved = afterWrites(disk);
  for (const { to, message } of actions.messagesAfterPersist) {
    after = withDecided(after, to, message, saved, saved.hardState);
  }
  for (const { id, index } of actions.reads) {
    if (index !== null) checkAnswer(after, ownRead(id), index, id);
    after = { ...after, reads: withoutOwn(after.reads, id) };
  }
  const preCampaigns = state.role === "pre-candidate" ? [lastOf(state.log)] : [];
  const unsaid = preCampaigns.length === 0 ? NOTHING_UNSAID : { ...NOTHING_UNSAID, preCampaigns };
  return after.unsaid === unsaid ? after : { ...after, unsaid };
}

/**
 * Checks a message, and returns the state after it. If actions weren't taken since an earlier term, the
 * message may have been decided in that term; then it may say what was true and durable in that term, and no
 * more.
 */
function withDecided(
  state: ModelState,
  to: NodeId,
  message: Message,
  saved: Saved,
  hardState: HardState,
): ModelState {
  const earlier = state.unsaid.earlier.findLast(({ term }) => term === message.term);
  if (earlier === undefined) return withMessage(state, to, message, saved);
  const isSaved = earlier.term <= earlier.disk.hardState.term;
  withMessage(earlier, to, message, isSaved ? earlier.disk : { ...earlier.disk, hardState });
  return state;
}

function withMessage(state: ModelState, to: NodeId, message: Message, saved: Saved): ModelState {
  const { id, term } = state;
  rule(message.from === id, () => `sends in the name of ${message.from}`);
  rule(
    message.term === term,
    () => `sends a ${message.type} of term ${String(message.term)} in term ${String(term)}`,
  );
  rule(term <= saved.hardState.term, () => `sends a ${message.type} before its term is durable (Figure 2)`);
  switch (message.type) {
    case "pre-vote":
      rule(
        state.unsaid.preCampaigns.some((last) => samePosition(message.last, last)),
        () => "asks for pre-votes in another role, or with another log (dissertation 9.6)",
      );
      // Answers to an earlier round count no more.
      if (message.round === state.preVoteRound) return state;
      return { ...state, preVoteRound: message.round, preVotes: new Set() };
    case "pre-vote-reply":
      rule(
        !message.granted || state.unsaid.preVotes.has(preVoteKey(to, message.round)),
        () => `grants ${to} a pre-vote that it wouldn't give as a vote (dissertation 9.6)`,
      );
      return state;
    case "request-vote": {
      const { campaign } = state;
      rule(
        campaign !== null && samePosition(message.last, campaign.last),
        () => "asks for votes and isn't a candidate, or with another log (§5.2)",
      );
      rule(
        !message.transfer || campaign.byTransfer,
        () => "claims that the leader asked for its election (dissertation 3.10)",
      );
      checkVoteIsSaved(state, id, saved);
      return state;
    }
    case "request-vote-reply":
      if (message.granted) checkVoteIsSaved(state, to, saved);
      return state;
    case "append-entries":
      checkAppendEntries(state, message);
      return withRoundSent(state, message);
    case "append-entries-reply":
      checkAcknowledgement(state, to, message, saved);
      return state;
    case "install-snapshot":
      rule(state.leaderOfTerm === id, () => "offers a snapshot and doesn't lead (§7)");
      return state;
    case "read-index":
      return state;
    case "read-index-reply": {
      const key = passedOn(to, message.id);
      if (message.index !== null) checkAnswer(state, key, message.index, null);
      return { ...state, reads: withoutPending(state.reads, key) };
    }
    case "timeout-now":
      rule(
        state.leaderOfTerm === id && hasVote(configOf(state.log), to),
        () => `asks ${to} to take over, and doesn't lead, or ${to} has no vote (dissertation 3.10)`,
      );
      // A leader that has stepped down meanwhile couldn't wait until the log of its successor was complete.
      rule(
        state.leading === null || state.unsaid.caughtUp.has(to),
        () => `asks ${to} to take over, which doesn't hold the whole log (dissertation 3.10)`,
      );
      return state.leading === null
        ? state
        : { ...state, leading: { ...state.leading, timeoutNowSent: true } };
  }
}

/** Figure 2: the vote is on stable storage before anyone is told. */
function checkVoteIsSaved({ term, votedFor }: ModelState, candidate: NodeId, { hardState }: Saved): void {
  rule(votedFor === candidate, () => `tells ${candidate} of a vote that ${String(votedFor)} has (§5.2)`);
  rule(
    hardState.term === term && hardState.votedFor === candidate,
    () => "tells of a vote before it is durable (Figure 2)",
  );
}

function checkAppendEntries({ id, log, commit, leaderOfTerm }: ModelState, message: AppendEntries): void {
  const { entries } = message;
  rule(leaderOfTerm === id, () => "sends entries and doesn't lead (§5.3)");
  rule(message.commit <= commit, () => `names ${String(message.commit)} as committed, not ${String(commit)}`);
  const own = rangeOf(log, entries.prev.index, entries.lastIndex);
  rule(
    own !== null && sameRange(own, entries),
    () => `sends entries after ${String(entries.prev.index)} that its log doesn't hold (§5.3)`,
  );
}

/** Figure 2, AppendEntries: "true" means that the log equals the leader's up to here, on stable storage. */
function checkAcknowledgement(
  state: ModelState,
  to: NodeId,
  message: AppendEntriesReply,
  saved: Saved,
): void {
  const { outcome, round } = message;
  const { leaderOfTerm, verified, commit, roundHeard } = state;
  const heard = leaderOfTerm === to ? roundHeard : 0;
  rule(
    round <= heard,
    () => `answers round ${String(round)} of ${to}; the latest it heard is ${String(heard)}`,
  );
  // Figure 2, AppendEntries 1: a leader of an earlier term is refused, too.
  if (!outcome.accepted) return;
  rule(leaderOfTerm === to, () => `acknowledges entries to ${to}, which doesn't lead its term (§5.3)`);
  const { match } = outcome;
  rule(
    match <= Math.max(verified, commit),
    () => `acknowledges ${String(match)}; only ${String(verified)} equals the leader's log (§5.3)`,
  );
  rule(
    match <= Math.max(saved.durable, state.log.base.index),
    () => `acknowledges ${String(match)}; durable is ${String(saved.durable)} (Figure 2)`,
  );
}
