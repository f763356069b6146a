/** What a leader knows of its followers (Figure 2, volatile state on leaders), and what it hands out. */
import type { AppendEntries } from "../../core/message.ts";
import { lastOf } from "./model-log.ts";
import type { Input, Leading, ModelState, Seen } from "./model-state.ts";
import { leaseMs } from "./reads.ts";
import { rule } from "./rule.ts";

/** A leader begins to lead: it knows nothing of the others yet. */
export function newLeading({ log }: ModelState): Leading {
  return {
    termStart: log.lastIndex + 1,
    match: new Map(),
    roundOf: new Map(),
    roundSent: 0,
    roundSentAt: new Map(),
    leaseFrom: -Infinity,
    timeoutNowSent: false,
  };
}

/** Counts a follower's answer: only one of this term, given to this leader. */
export function withAcknowledgement(state: ModelState, input: Input): ModelState {
  const { leading, term } = state;
  if (leading === null || input.type !== "message") return state;
  const { message } = input;
  if (message.type !== "append-entries-reply" || message.term !== term) return state;
  const { from, round, outcome } = message;
  const roundOf = new Map(leading.roundOf).set(from, Math.max(leading.roundOf.get(from) ?? 0, round));
  if (!outcome.accepted) return { ...state, leading: { ...leading, roundOf } };
  const match = new Map(leading.match).set(from, Math.max(leading.match.get(from) ?? 0, outcome.match));
  return { ...state, leading: { ...leading, roundOf, match } };
}

/** matchIndex is at most what the follower acknowledged to this leader (Figure 2). */
export function checkMatch({ leading, log }: ModelState, input: Input, seen: Seen): void {
  if (leading === null || seen.role !== "leader" || input.type !== "message") return;
  const { from } = input.message;
  const match = seen.matchOf(from) ?? 0;
  const known = Math.min(leading.match.get(from) ?? 0, log.lastIndex);
  rule(match <= known, () => `counts ${String(match)} of ${from}, which acknowledged ${String(known)}`);
}

/** Remembers which voters hold the whole log: only they may be asked to take over (dissertation 3.10). */
export function withCaughtUp(state: ModelState, voters: Iterable<string>): ModelState {
  const { leading, log, unsaid } = state;
  if (leading === null) return state;
  const last = lastOf(log).index;
  let { caughtUp } = unsaid;
  for (const voter of voters) {
    if (caughtUp.has(voter) || (leading.match.get(voter) ?? 0) < last) continue;
    caughtUp = new Set(caughtUp).add(voter);
  }
  return caughtUp === unsaid.caughtUp ? state : { ...state, unsaid: { ...unsaid, caughtUp } };
}

/** Notes that a message with this heartbeat round is handed out, and when. */
export function withRoundSent(state: ModelState, { round }: AppendEntries): ModelState {
  const { leading, now, settings } = state;
  if (leading === null || round <= leading.roundSent) return state;
  const ms = leaseMs(settings);
  const roundSentAt = new Map([...leading.roundSentAt].filter(([, at]) => now < at + ms)).set(round, now);
  return { ...state, leading: { ...leading, roundSent: round, roundSentAt } };
}
