import type { Bounds } from "./shared/bounds.ts";

/** A known bug: a change of the core's source text, made while the core is loaded. */
export interface Break {
  readonly name: string;
  readonly title: string;
  /** The file in `core/`, the text to replace, which must occur there once, and its replacement. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
  /** Further changes: of second safeguards that would hide the bug. */
  readonly also?: readonly { readonly file: string; readonly from: string; readonly to: string }[];
  /** The bounds within which the bug is found soonest, as changes to `PROFILES.breaks`. */
  readonly bounds?: Partial<Bounds>;
}

/** One change of membership, and no proposals. */
const MEMBERSHIP: Partial<Bounds> = { proposals: 0, change: "replace", changes: 1 };

/**
 * The only voter is replaced by another node: each quorum is a single disk, so nothing hides a missing vote.
 */
const HANDOVER: Partial<Bounds> = {
  proposals: 0,
  nodes: 2,
  initializedNodes: 1,
  change: "replace-all",
  changes: 1,
};

/** Bugs of other implementations, or against which the paper warns. An exploration must find each of them. */
export const BREAKS: readonly Break[] = [
  {
    name: "vote-by-length",
    title: "A voter compares the logs' lengths, not the terms of their last entries (§5.4.1)",
    file: "position.ts",
    from: "return a.term !== b.term ? a.term > b.term : a.index >= b.index;",
    to: "return a.index >= b.index;",
    bounds: { start: "deposed-leader", terms: 3, proposals: 0 },
  },
  {
    name: "vote-twice",
    title: "A voter gives a second candidate its vote in the same term (§5.2)",
    file: "election.ts",
    from: "if (state.votedFor !== null) return state.votedFor === candidate;",
    to: "",
  },
  {
    name: "vote-forgotten",
    title: "A candidate that follows the winner of its own term forgets its vote",
    file: "state.ts",
    from: 'if (this.role.type !== "follower") {\n',
    to: 'if (this.role.type !== "follower") {\n      if (this.#term === term) { this.#votedFor = null; this.#saveHardState(); }\n',
  },
  {
    name: "vote-undurable",
    title: "A node sends votes and vote requests before its term and vote are durable",
    file: "state.ts",
    from: "if (this.hardStateIsDurable) this.pendingActions.send(to, message);\n    else this.pendingActions.sendAfterPersist(to, message);",
    to: "this.pendingActions.send(to, message);",
  },
  {
    name: "stale-vote-counts",
    title: "A candidate counts a vote of an earlier term",
    file: "election.ts",
    from: 'if (role.type !== "candidate" || message.term < state.term || !message.granted) return;',
    to: 'if (role.type !== "candidate" || !message.granted) return;',
    bounds: { proposals: 0 },
  },
  {
    name: "commit-old-term",
    title: "A leader commits an entry of an earlier term by counting (§5.4.2, Figure 8)",
    file: "commit.ts",
    from: "if (index > state.commitIndex && state.log.termAt(index) === state.term)",
    to: "if (index > state.commitIndex)",
  },
  {
    name: "leader-counts-undurable",
    title: "A leader counts itself for entries that its own disk doesn't hold yet",
    file: "commit.ts",
    from: "id === state.id ? state.durableIndex :",
    to: "id === state.id ? state.log.last.index :",
  },
  {
    name: "ack-undurable",
    title: "A follower acknowledges entries that its disk doesn't hold yet",
    file: "replication.ts",
    from: "const match = Math.min(following.matchedIndex, state.durableIndex);",
    to: "const match = following.matchedIndex;",
  },
  {
    name: "ack-whole-log",
    title: "A follower acknowledges its whole log, not only the entries compared with the leader's",
    file: "replication.ts",
    from: "const match = Math.min(following.matchedIndex, state.durableIndex);",
    to: "const match = state.durableIndex;",
    bounds: { start: "stale-tail", proposals: 0, heartbeats: 1 },
  },
  {
    name: "stale-ack-counts",
    title: "A leader counts an acknowledgement of an earlier term",
    file: "replication.ts",
    from: 'if (leader.type !== "leader" || message.term < state.term) return;',
    to: 'if (leader.type !== "leader") return;',
    bounds: { start: "late-answer", terms: 3, proposals: 0 },
  },
  {
    name: "truncate-always",
    title: "A follower removes all entries after `prev` before it appends",
    file: "replication.ts",
    from: "const from = firstDifference(state, entries);",
    to: "firstDifference(state, entries); const from = entries.prev.index + 1; if (from <= state.log.last.index) state.truncate(from);",
  },
  {
    name: "commit-unverified",
    title: "A follower commits entries that it hasn't compared with the leader's log",
    file: "replication.ts",
    from: "state.commitTo(Math.min(message.commit, following.matchedIndex));",
    to: "state.commitTo(Math.min(message.commit, state.log.last.index));",
    bounds: { start: "stale-tail", proposals: 0, heartbeats: 1 },
  },
  {
    name: "verified-survives-term",
    title: "A follower takes entries that matched an earlier leader's log to match the next leader's",
    file: "state.ts",
    from: "this.following = newFollowing();\n    this.#saveHardState();",
    to: "this.following = { ...newFollowing(), matchedIndex: this.following.matchedIndex };\n    this.#saveHardState();",
    bounds: { start: "lost-write", proposals: 0, heartbeats: 1 },
  },
  {
    name: "durable-survives-truncation",
    title: "Overwritten entries that were durable still count as durable",
    file: "state.ts",
    from: "this.#durableIndex = Math.min(this.#durableIndex, index - 1);",
    to: "",
    bounds: { start: "stale-tail", proposals: 0 },
  },
  {
    name: "overwritten-write-counts",
    title: "The completion of an overwritten write counts for the entries that replaced it",
    file: "state.ts",
    from: "for (const append of this.#appendsInFlight) append.upTo = Math.min(append.upTo, index - 1);",
    to: "",
    bounds: { proposals: 0 },
  },
  {
    name: "match-falls",
    title: "A late acknowledgement lowers the leader's `match`",
    file: "progress.ts",
    from: "this.#match = Math.max(this.#match, match);",
    to: "this.#match = match;",
    bounds: { terms: 1 },
  },
  {
    name: "leave-joint-early",
    title: "A leader leaves the joint configuration before it is committed (§6)",
    file: "membership.ts",
    from: "if (index > state.commitIndex) return;",
    to: "",
    bounds: MEMBERSHIP,
  },
  {
    name: "count-new-only",
    title: "In a joint configuration, a majority of the new voters is enough (§6)",
    file: "quorum.ts",
    from: "return config.outgoingVoters.length === 0",
    to: "return config.outgoingVoters.length >= 0",
    bounds: HANDOVER,
  },
  {
    name: "removed-leader-counts",
    title: "A leader counts itself although it isn't a voter of the new configuration (§6)",
    file: "commit.ts",
    from: "const index = quorumValue(state.config, (id) =>",
    to: "const counted = state.isVoter ? state.config : { ...state.config, voters: [...state.config.voters, state.id] };\n  const index = quorumValue(counted, (id) =>",
    bounds: { ...MEMBERSHIP, start: "half-changed", change: "replace", terms: 2 },
  },
  {
    name: "one-step-change",
    title: "Voters change in one step, without a joint configuration (§6)",
    file: "config.ts",
    from: "return { ...target, outgoingVoters: current.voters };",
    to: "return target;",
    bounds: MEMBERSHIP,
  },
  {
    name: "change-during-change",
    title: "A change of membership begins before the one before it is committed",
    file: "membership.ts",
    from: 'if (index > state.commitIndex || isJoint(config)) return "change-under-way";',
    to: "",
    bounds: { ...MEMBERSHIP, change: "either", changes: 2, terms: 1 },
  },
  {
    name: "config-survives-truncation",
    title: "A configuration stays in force after its entry was overwritten",
    file: "log.ts",
    from: "while ((this.#configs.at(-1)?.index ?? 0) >= index) this.#configs.pop();",
    to: "",
    bounds: { ...MEMBERSHIP, change: "remove", changes: 0, start: "lone-change", terms: 3 },
  },
  {
    name: "config-when-committed",
    title: "A follower uses a configuration once it is committed, not as soon as it is in its log (§6)",
    file: "state.ts",
    from: "return this.log.config.config;",
    to: 'return this.log.configAt(this.role.type === "leader" ? this.log.last.index : Math.max(this.commitIndex, 1)).config;',
    bounds: { ...HANDOVER, crashes: 1 },
  },
  {
    name: "removed-leader-forgets-vote",
    title: "A leader that steps down within its term forgets its vote",
    file: "state.ts",
    from: 'if (this.role.type !== "follower") {\n',
    to: 'if (this.role.type === "leader" && this.role.progress.size > 0 && term === this.#term) { this.#votedFor = null; this.#saveHardState(); }\n    if (this.role.type !== "follower") {\n',
    bounds: { ...HANDOVER, terms: 1 },
  },
  {
    name: "snapshot-latest-config",
    title: "A snapshot holds the latest configuration instead of the one at its index (§7)",
    file: "log.ts",
    from: "const { config } = this.configAt(index);",
    to: "const { config } = this.config;",
    bounds: { ...MEMBERSHIP, snapshots: 1 },
  },
  {
    name: "snapshot-keeps-conflict",
    title: "Installing a snapshot keeps a log that contradicts it (§7, Figure 13)",
    file: "snapshot.ts",
    from: "else if (!state.log.contains(position)) state.replaceLog(position, config);",
    to: "else if (position.index > state.log.last.index) state.replaceLog(position, config);",
    bounds: { start: "deposed-leader", terms: 3, proposals: 0, snapshots: 1 },
  },
  {
    name: "snapshot-drops-rest",
    title: "Installing a snapshot drops the entries that follow it in the log (§7, Figure 13)",
    file: "snapshot.ts",
    from: "else if (!state.log.contains(position)) state.replaceLog(position, config);",
    to: "else state.replaceLog(position, config);",
    bounds: { start: "late-offer", terms: 3, proposals: 0, writes: 1 },
  },
  {
    name: "snapshot-commit-forgotten",
    title: "A node that installs a snapshot doesn't know that its contents are committed",
    file: "snapshot.ts",
    from: "  state.commitTo(position.index);\n",
    to: "",
    bounds: { proposals: 0, snapshots: 1, initializedNodes: 2, terms: 1 },
  },
];
