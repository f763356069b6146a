/** Nodes of the model in the states that its tests begin with, and their steps in short form. */
import { expect } from "vitest";

import type { Actions, AddressedMessage } from "../../../core/action.ts";
import type { ClusterConfig } from "../../../core/config.ts";
import type { LogView } from "../../../core/log.ts";
import type { EntryRange, Message } from "../../../core/message.ts";
import {
  configAt,
  configOf,
  contains,
  lastOf,
  logAfter,
  rangeOf,
  termAt,
  withConfig,
  withEntries,
  type ModelLog,
} from "../model-log.ts";
import { started, type Input, type ModelSettings, type ModelState, type Seen } from "../model-state.ts";
import { Forbidden } from "../rule.ts";
import { step } from "../step.ts";

export const SETTINGS: ModelSettings = {
  electionTimeoutMinMs: 400,
  preVote: false,
  checkQuorum: true,
  clockDriftMax: 0,
};

export const ABC: ClusterConfig = { voters: ["a", "b", "c"], outgoingVoters: [], learners: [] };

/** A log that begins with a configuration of term 1, and goes on with an entry of each of these terms. */
export function log(terms: readonly number[], config: ClusterConfig = ABC): ModelLog {
  const first = withConfig(logAfter({ index: 0, term: 0 }, { ...ABC, voters: [] }), 1, config);
  return terms.reduce((before, term) => withEntries(before, term, 1), first);
}

/** The entries of `log` after `prevIndex`, as a leader sends them. */
export function entries(of: ModelLog, prevIndex: number, lastIndex = of.lastIndex): EntryRange {
  const range = rangeOf(of, prevIndex, lastIndex);
  if (range === null) throw new Error("the log doesn't hold these entries");
  return range;
}

export function view(of: ModelLog): LogView {
  return {
    base: of.base,
    last: lastOf(of),
    termAt: (index) => termAt(of, index),
    contains: (position) => contains(of, position),
    configAt: (index) => configAt(of, index),
    slice: (prevIndex, lastIndex) => entries(of, prevIndex, lastIndex),
  };
}

/** What a step changes; the log as the model's. */
export interface Changes extends Partial<Omit<Seen, "log" | "matchOf">> {
  readonly log?: ModelLog;
  readonly match?: Readonly<Record<string, number>>;
}

export function seen(state: ModelState, { log: changed, match = {}, ...changes }: Changes = {}): Seen {
  const { term, votedFor, role, leader, commit, transferTarget } = state;
  return {
    ...{ term, votedFor, role, leader, commit, transferTarget, durable: 0 },
    config: configOf(changed ?? state.log),
    ...changes,
    log: view(changed ?? state.log),
    matchOf: (id) => match[id] ?? null,
  };
}

/** Node a, restarted in term 2 without a vote; its log ends with an entry of term 2. */
export function follower(changes: Changes = {}, settings: Partial<ModelSettings> = {}): ModelState {
  const own = changes.log ?? log([1, 2]);
  const blank: Seen = {
    ...{ term: 2, votedFor: null, role: "follower", leader: null, commit: 0, durable: 0 },
    ...{ transferTarget: null, config: configOf(own), log: view(own), matchOf: () => null },
  };
  const restarted = { ...blank, ...changes, log: view(own) };
  // It was up for long, so that it hears no leader any more.
  return { ...started("a", { ...SETTINGS, ...settings }, restarted, own, 0), now: 10_000 };
}

/** Node a as a candidate of term 3, before its vote is written. */
export function campaigning(changes: Changes = {}): ModelState {
  return allowed(follower(changes), timeout(), { term: 3, votedFor: "a", role: "candidate" });
}

/** The same, once its vote is durable. */
export function candidate(changes: Changes = {}): ModelState {
  const hardState = { term: 3, votedFor: "a" };
  const taken = allowed(campaigning(changes), take({ hardState, needsPersist: true }));
  return allowed(taken, persisted(1));
}

/**
 * Node a as the leader of term 3, elected by b; its log ends with the blank entry, which is being written.
 */
export function leader(changes: Changes = {}): ModelState {
  const before = candidate(changes);
  const longer = withEntries(before.log, 3, 1);
  const vote = message({ type: "request-vote-reply", from: "b", term: 3, granted: true });
  const elected = allowed(before, vote, { role: "leader", leader: "a", log: longer });
  const append = { truncateFrom: null, from: longer.lastIndex, to: longer.lastIndex + 1 };
  return allowed(elected, take({ persistId: 2, append, needsPersist: true }));
}

/** The same, once its blank entry is durable there and on b, and therefore committed. */
export function committedLeader(changes: Changes = {}): ModelState {
  const before = leader(changes);
  const commit = before.log.lastIndex;
  return allowed(allowed(before, persisted(2)), acknowledgement("b", commit), { commit });
}

/** Node a follows b, the leader of term 2, which has sent a heartbeat. */
export function following(changes: Changes = {}, settings: Partial<ModelSettings> = {}): ModelState {
  return allowed(follower(changes, settings), heartbeat(), { leader: "b" });
}

export function message(of: Message, now = 10_000): Input {
  return { type: "message", message: of, now };
}

/** A heartbeat of b, which doesn't match: nothing is known of the log. */
export function heartbeat(round = 1): Input {
  const none = { prev: { index: 9, term: 2 }, lastIndex: 9, terms: [], configs: [] };
  return message({ type: "append-entries", from: "b", term: 2, entries: none, commit: 0, round });
}

export function acknowledgement(from: string, match: number, round = 0, term = 3): Input {
  const outcome = { accepted: true, match } as const;
  return message({ type: "append-entries-reply", from, term, round, outcome });
}

export function timeout(now = 10_000): Input {
  return { type: "timeout", now };
}

export function persisted(persistId: number): Input {
  return { type: "persisted", persistId, now: 10_000 };
}

export function take(taken: Partial<Omit<Actions, typeof Symbol.iterator>>): Input {
  const nothing = {
    ...{ persistId: 1, timer: null, hardState: null, append: null, messages: [], messagesAfterPersist: [] },
    ...{ commit: null, reads: [], snapshots: [], installSnapshot: null, needsPersist: false },
  };
  const effects = { ...nothing, ...taken };
  return {
    type: "take",
    actions: Object.assign(effects, { [Symbol.iterator]: () => [][Symbol.iterator]() }),
  };
}

/** Takes one message, which leaves at once. */
export function send(to: string, of: Message): Input {
  const addressed: AddressedMessage = { to, message: of };
  return take({ messages: [addressed] });
}

/** The step is allowed. Returns the state after it. */
export function allowed(state: ModelState, input: Input, changes: Changes = {}): ModelState {
  return step(state, input, seen(state, changes));
}

/** The step is forbidden, by the rule whose text matches. */
export function forbidden(state: ModelState, input: Input, changes: Changes, text: RegExp): void {
  let found: unknown = null;
  try {
    step(state, input, seen(state, changes));
  } catch (error) {
    found = error;
  }
  expect(found).toBeInstanceOf(Forbidden);
  expect((found as Forbidden).message).toMatch(text);
}
