import type { Bounds } from "./shared/bounds.ts";

/** A known bug, as a change of the core's source text that is made while it is loaded. */
export interface Break {
  readonly name: string;
  readonly title: string;
  /** The file in `core/`, the text that must stand there once, and what stands there instead. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
  /** Where it shows soonest, as changes to the bounds of that name. */
  readonly bounds?: Partial<Bounds>;
}

/** A change of membership, under one leader or two. */
const MEMBERSHIP: Partial<Bounds> = { proposals: 0, change: "replace", changes: 1 };

/** The only voter hands over to another node: every vote and every disk counts. */
const HANDOVER: Partial<Bounds> = {
  proposals: 0,
  nodes: 2,
  initializedNodes: 1,
  change: "replace-all",
  changes: 1,
};

/** Bugs that other implementations had, or that the paper warns of. The exploration must find each. */
export const BREAKS: readonly Break[] = [
  {
    name: "vote-by-length",
    title: "The vote compares the length of the logs and not the last term (§5.4.1)",
    file: "position.ts",
    from: "return a.term !== b.term ? a.term > b.term : a.index >= b.index;",
    to: "return a.index >= b.index;",
    bounds: { start: "deposed-leader", terms: 3, proposals: 0 },
  },
  {
    name: "vote-twice",
    title: "A second candidate gets a vote in the same term (§5.2)",
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
    title: "A vote and a request for votes leave before the term and the vote are durable",
    file: "state.ts",
    from: "if (this.hardStateIsDurable) this.pendingActions.send(to, message);\n    else this.pendingActions.sendAfterPersist(to, message);",
    to: "this.pendingActions.send(to, message);",
  },
  {
    name: "stale-vote-counts",
    title: "A vote of an earlier term counts in a later one",
    file: "election.ts",
    from: 'if (role.type !== "candidate" || message.term < state.term || !message.granted) return;',
    to: 'if (role.type !== "candidate" || !message.granted) return;',
    bounds: { proposals: 0 },
  },
  {
    name: "commit-old-term",
    title: "An entry of an earlier term commits by counting (§5.4.2, Figure 8)",
    file: "commit.ts",
    from: "if (index > state.commitIndex && state.log.termAt(index) === state.term)",
    to: "if (index > state.commitIndex)",
  },
  {
    name: "leader-counts-undurable",
    title: "The leader counts itself for what its own disk does not hold yet",
    file: "commit.ts",
    from: "id === state.id ? state.durableIndex :",
    to: "id === state.id ? state.log.last.index :",
  },
  {
    name: "ack-undurable",
    title: "A follower acknowledges what its disk does not hold yet",
    file: "replication.ts",
    from: "const match = Math.min(following.matchedIndex, state.durableIndex);",
    to: "const match = following.matchedIndex;",
  },
  {
    name: "ack-whole-log",
    title: "A follower acknowledges its whole log, and not only what this leader's message verified",
    file: "replication.ts",
    from: "const match = Math.min(following.matchedIndex, state.durableIndex);",
    to: "const match = state.durableIndex;",
    bounds: { start: "stale-tail", proposals: 0, heartbeats: 1 },
  },
  {
    name: "stale-ack-counts",
    title: "An acknowledgement of an earlier term counts in a later one",
    file: "replication.ts",
    from: 'if (leader.type !== "leader" || message.term < state.term) return;',
    to: 'if (leader.type !== "leader") return;',
    bounds: { start: "late-answer", terms: 3, proposals: 0 },
  },
  {
    name: "truncate-always",
    title: "A follower removes everything after `prev` before it appends",
    file: "replication.ts",
    from: "const from = firstDifference(state, entries);",
    to: "firstDifference(state, entries); const from = entries.prev.index + 1; if (from <= state.log.last.index) state.truncate(from);",
  },
  {
    name: "commit-unverified",
    title: "A follower takes the leader's commit index for entries that were not compared",
    file: "replication.ts",
    from: "state.commitTo(Math.min(message.commit, following.matchedIndex));",
    to: "state.commitTo(Math.min(message.commit, state.log.last.index));",
    bounds: { start: "stale-tail", proposals: 0, heartbeats: 1 },
  },
  {
    name: "verified-survives-term",
    title: "What equalled the log of an earlier leader is taken to equal the next one's",
    file: "state.ts",
    from: "this.following = newFollowing();\n    this.#saveHardState();",
    to: "this.following = { ...newFollowing(), matchedIndex: this.following.matchedIndex };\n    this.#saveHardState();",
    bounds: { start: "lost-write", proposals: 0, heartbeats: 1 },
  },
  {
    name: "durable-survives-truncation",
    title: "What was durable and was overwritten since still counts as durable",
    file: "state.ts",
    from: "this.#durableIndex = Math.min(this.#durableIndex, index - 1);",
    to: "",
    bounds: { start: "stale-tail", proposals: 0 },
  },
  {
    name: "overwritten-write-counts",
    title: "The completion of a write that was overwritten since counts for its successor",
    file: "state.ts",
    from: "for (const append of this.#appendsInFlight) append.upTo = Math.min(append.upTo, index - 1);",
    to: "",
    bounds: { proposals: 0 },
  },
  {
    name: "match-falls",
    title: "A late acknowledgement takes `match` back",
    file: "progress.ts",
    from: "this.#match = Math.max(this.#match, match);",
    to: "this.#match = match;",
    bounds: { terms: 1 },
  },
  {
    name: "leave-joint-early",
    title: "The joint configuration is left before it is committed (§6)",
    file: "membership.ts",
    from: "if (index > state.commitIndex) return;",
    to: "",
    bounds: MEMBERSHIP,
  },
  {
    name: "count-new-only",
    title: "While the configuration is joint, a majority of the new part is enough (§6)",
    file: "quorum.ts",
    from: "return config.outgoingVoters.length === 0",
    to: "return config.outgoingVoters.length >= 0",
    bounds: HANDOVER,
  },
  {
    name: "removed-leader-counts",
    title: "A leader that is no voter of the new configuration counts itself (§6)",
    file: "commit.ts",
    from: "const index = quorumValue(state.config, (id) =>",
    to: "const counted = state.isVoter ? state.config : { ...state.config, voters: [...state.config.voters, state.id] };\n  const index = quorumValue(counted, (id) =>",
    bounds: { ...MEMBERSHIP, start: "half-changed", change: "replace", terms: 2 },
  },
  {
    name: "one-step-change",
    title: "The voters are changed without a joint configuration in between (§6)",
    file: "config.ts",
    from: "return { ...target, outgoingVoters: current.voters };",
    to: "return target;",
    bounds: MEMBERSHIP,
  },
  {
    name: "change-during-change",
    title: "A change begins before the one before it is committed",
    file: "membership.ts",
    from: 'if (index > state.commitIndex || isJoint(config)) return "change-under-way";',
    to: "",
    bounds: { ...MEMBERSHIP, change: "either", changes: 2, terms: 1 },
  },
  {
    name: "config-survives-truncation",
    title: "A configuration stays in force when its entry is overwritten",
    file: "log.ts",
    from: "while ((this.#configs.at(-1)?.index ?? 0) >= index) this.#configs.pop();",
    to: "",
    bounds: { ...MEMBERSHIP, change: "remove", changes: 0, start: "lone-change", terms: 3 },
  },
  {
    name: "config-when-committed",
    title:
      "A follower uses a configuration only once it is committed, and not from when it is in its log (§6)",
    file: "state.ts",
    from: "return this.log.config.config;",
    to: 'return this.log.configAt(this.role.type === "leader" ? this.log.last.index : Math.max(this.commitIndex, 1)).config;',
    bounds: { ...HANDOVER, crashes: 1 },
  },
  {
    name: "removed-leader-forgets-vote",
    title: "A leader that steps down in its term forgets its vote",
    file: "state.ts",
    from: 'if (this.role.type !== "follower") {\n',
    to: 'if (this.role.type === "leader" && this.role.progress.size > 0 && term === this.#term) { this.#votedFor = null; this.#saveHardState(); }\n    if (this.role.type !== "follower") {\n',
    bounds: { ...HANDOVER, terms: 1 },
  },
  {
    name: "snapshot-latest-config",
    title: "A snapshot keeps the latest configuration, and not the one at its index (§7)",
    file: "log.ts",
    from: "const { config } = this.configAt(index);",
    to: "const { config } = this.config;",
    bounds: { ...MEMBERSHIP, snapshots: 1 },
  },
  {
    name: "snapshot-keeps-conflict",
    title: "A log that differs at the snapshot's end is kept as it is (§7, Figure 13)",
    file: "snapshot.ts",
    from: "else if (!state.log.contains(position)) state.replaceLog(position, config);",
    to: "else if (position.index > state.log.last.index) state.replaceLog(position, config);",
    bounds: { start: "deposed-leader", terms: 3, proposals: 0, snapshots: 1 },
  },
  {
    name: "snapshot-drops-rest",
    title: "The log after a snapshot is dropped, though it goes on from it (§7, Figure 13)",
    file: "snapshot.ts",
    from: "else if (!state.log.contains(position)) state.replaceLog(position, config);",
    to: "else state.replaceLog(position, config);",
    bounds: { start: "late-offer", terms: 3, proposals: 0, writes: 1 },
  },
  {
    name: "snapshot-commit-forgotten",
    title: "A node that installs a snapshot does not know that what it covers is committed",
    file: "snapshot.ts",
    from: "  state.commitTo(position.index);\n",
    to: "",
    bounds: { proposals: 0, snapshots: 1, initializedNodes: 2, terms: 1 },
  },
];
