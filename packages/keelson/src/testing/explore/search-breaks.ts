import type { Break } from "./breaks.ts";

/** A bug that the short version of a search must find. */
export interface SearchBreak extends Break {
  readonly search: string;
}

const READS: readonly SearchBreak[] = [
  {
    search: "reads",
    name: "read-shares-round",
    title: "A read is confirmed by the heartbeat round that was under way when it arrived",
    file: "reads.ts",
    from: "startHeartbeatRound(state, leader, now);\n  for (const read of waiting)",
    to: "for (const read of waiting)",
  },
  {
    search: "reads",
    name: "deposed-leader-answers",
    title: "A leader that steps down answers its open reads with its commit index",
    file: "state.ts",
    from: "for (const read of this.reads.takeAll()) this.answerRead(read, null);",
    to: "for (const read of this.reads.takeAll()) this.answerRead(read, this.commitIndex);",
  },
  {
    search: "reads",
    name: "failed-read-is-local",
    title: "A follower whose read its leader refused reads at its own commit index",
    file: "reads.ts",
    from: "state.pendingActions.read(message.id, message.index);",
    to: "state.pendingActions.read(message.id, message.index ?? state.commitIndex);",
  },
  {
    search: "reads",
    name: "former-leader-confirms",
    title: "A node that doesn't lead answers another node's read with its commit index",
    file: "reads.ts",
    from: "else state.answerRead({ id, from }, null);",
    to: "else state.answerRead({ id, from }, state.commitIndex);",
  },
];

const LEASES: readonly SearchBreak[] = [
  {
    search: "leases",
    name: "lease-outlives-timeout-now",
    title:
      "A leader trusts its lease again when the transfer, whose TimeoutNow may still arrive, took too long",
    file: "transfer.ts",
    from: "leader.leaseIsVoid = true;\n",
    to: "",
  },
  {
    search: "leases",
    name: "restart-forgets-promise",
    title: "A node that restarts helps another candidate at once, although its leader counts on it",
    file: "node.ts",
    from: "if (!state.isSoleVoter || state.hadOtherVoters) state.leaderHeardAt = now;",
    to: "",
    bounds: { crashes: 1, transfers: 0, heartbeats: 0 },
  },
  {
    search: "leases",
    name: "lease-before-term-start",
    title: "A new leader answers a lease read before an entry of its own term is committed",
    file: "reads.ts",
    from: 'if (leader.type !== "leader" || !state.termStartCommitted) return null;',
    to: 'if (leader.type !== "leader") return null;',
  },
  {
    search: "leases",
    name: "lease-of-any-round",
    title: "An answer to an earlier heartbeat round extends the lease from the current one",
    file: "reads.ts",
    from: "!isAcknowledgedByQuorum(state, leader, leaseProbe.round)) return;",
    to: "!isAcknowledgedByQuorum(state, leader, leaseProbe.round - 1)) return;",
  },
];

const TRANSFERS: readonly SearchBreak[] = [
  {
    search: "transfers",
    name: "timeout-now-too-soon",
    title: "A leader asks the target to take over before it holds the whole log",
    file: "transfer.ts",
    from: "if (progress?.match !== state.log.last.index || progress.lostAfter !== null) return;",
    to: "if (progress === undefined) return;",
  },
  {
    search: "transfers",
    name: "commands-during-transfer",
    title: "A leader takes commands while it transfers its leadership",
    file: "leadership.ts",
    from: 'return role.type === "leader" && role.transfer === null && state.isVoter;',
    to: 'return role.type === "leader" && state.isVoter;',
  },
  {
    search: "transfers",
    name: "timeout-now-of-anyone",
    title: "A node stands for election when a TimeoutNow arrives after it has entered a later term",
    file: "transfer.ts",
    from: "const isFromLeader = message.term === state.term && message.from === state.leaderId;",
    to: "const isFromLeader = message.term <= state.term;",
    bounds: { terms: 3 },
  },
  {
    search: "transfers",
    name: "vote-without-disk",
    title: "A candidate asks for votes and leads before its own vote is durable",
    file: "election.ts",
    from: "if (state.hardStateIsDurable) becomeLeader(state, now);",
    to: "becomeLeader(state, now);",
    also: [
      {
        file: "leadership.ts",
        from: 'state.role.type === "candidate" && state.hardStateIsDurable,',
        to: 'state.role.type === "candidate",',
      },
      {
        file: "state.ts",
        from: "if (this.hardStateIsDurable) this.pendingActions.send(to, message);\n    else this.pendingActions.sendAfterPersist(to, message);",
        to: "this.pendingActions.send(to, message);",
      },
    ],
  },
];

const PRE_VOTES: readonly SearchBreak[] = [
  {
    search: "pre-votes",
    name: "pre-votes-add-up",
    title: "A pre-candidate that asks again keeps the grants of its earlier round",
    file: "election.ts",
    from: 'state.role = { type: "pre-candidate", round, votes: new Set([from]) };',
    to: 'const before = state.role.type === "pre-candidate" ? state.role.votes : [];\n  state.role = { type: "pre-candidate", round, votes: new Set([from, ...before]) };',
  },
  {
    search: "pre-votes",
    name: "pre-vote-despite-leader",
    title: "A node that hears its leader grants another node's pre-vote",
    file: "election.ts",
    from: "!state.heardLeaderRecently(now) && message.term",
    to: "message.term",
  },
  {
    search: "pre-votes",
    name: "pre-vote-by-term-alone",
    title: "A node grants a pre-vote without comparing the logs",
    file: "election.ts",
    from: " && message.term >= state.term && isUpToDate(message.last, state.log.last);",
    to: " && message.term >= state.term;",
    bounds: { start: "deposed-leader", terms: 3, nodes: 3, initializedNodes: 3 },
  },
  {
    search: "pre-votes",
    name: "pre-vote-forgets-leader",
    title: "A node that is asked for its pre-vote forgets its leader",
    file: "election.ts",
    from: "const { from: to, round } = message;\n",
    to: "const { from: to, round } = message;\n  state.leaderId = null;\n",
  },
];

const MEMBERSHIP: readonly SearchBreak[] = [
  {
    search: "membership",
    name: "elected-by-new-voters",
    title: "In a joint configuration, the votes of the new voters alone elect a leader (§6)",
    file: "election.ts",
    from: "if (!hasQuorum(state.config, (id) => candidate.votes.has(id))) return;",
    to: "if (!hasQuorum({ ...state.config, outgoingVoters: [] }, (id) => candidate.votes.has(id))) return;",
    bounds: { start: "half-changed", change: "replace", terms: 2, reads: 0 },
  },
  {
    search: "membership",
    name: "committed-by-old-config",
    title: "A leader counts with the last committed configuration, not with the last in its log (§6)",
    file: "commit.ts",
    from: "quorumValue(state.config,",
    to: "quorumValue(state.log.configAt(Math.max(state.commitIndex, 1)).config,",
  },
  {
    search: "membership",
    name: "change-before-term-start",
    title: "A leader begins a change before an entry of its own term is committed (§6)",
    file: "membership.ts",
    from: 'if (!state.termStartCommitted) return "term-not-started";\n',
    to: "",
  },
];

const LEARNERS: readonly SearchBreak[] = [
  {
    search: "learners",
    name: "learner-confirms-reads",
    title: "The leader's read is confirmed by a majority of all members, learners included",
    file: "reads.ts",
    from: "state.config,\n    (id) => id === state.id ||",
    to: "{ ...state.config, voters: [...state.config.voters, ...state.config.learners] },\n    (id) => id === state.id ||",
  },
  {
    search: "learners",
    name: "learner-commits",
    title: "A leader commits what a majority of all members holds, learners included",
    file: "commit.ts",
    from: "quorumValue(state.config,",
    to: "quorumValue({ ...state.config, voters: [...state.config.voters, ...state.config.learners] },",
  },
  {
    search: "learners",
    name: "learner-asks-for-votes",
    title: "A learner stands for election",
    file: "state.ts",
    from: "if (this.isVoter) return true;\n    const",
    to: "if (this.isVoter || this.config.learners.includes(this.id)) return true;\n    const",
  },
  {
    search: "learners",
    name: "learner-takes-over",
    title: "A leader transfers its leadership to a learner",
    file: "transfer.ts",
    from: 'if (to !== null && !state.config.voters.includes(to)) return "not-a-voter";\n',
    to: "",
    also: [{ file: "transfer.ts", from: " || !isVoter(state.config, transfer.to)", to: "" }],
    bounds: { transfers: 1, changes: 0 },
  },
];

const SNAPSHOTS: readonly SearchBreak[] = [
  {
    search: "snapshots",
    name: "offer-is-acknowledged",
    title: "A follower acknowledges the entries of a snapshot that it was only offered",
    file: "snapshot.ts",
    from: "    state.pendingActions.installSnapshot(message);\n    return;",
    to: "    state.pendingActions.installSnapshot(message);\n    state.following.matchedIndex = message.last.index;\n    state.following.acknowledgementDue = true;\n    return;",
    bounds: { start: "deposed-leader", terms: 3, snapshots: 1 },
  },
  {
    search: "snapshots",
    name: "offer-of-deposed-leader",
    title: "A follower takes the snapshot offer of a leader of an earlier term",
    file: "snapshot.ts",
    from: "if (message.term < state.term) {",
    to: "if (message.term < 0) {",
    bounds: { start: "late-offer", terms: 3, initializedNodes: 3 },
  },
  {
    search: "snapshots",
    name: "snapshot-write-forgotten",
    title: "Entries up to an installed snapshot are written again, before the log's beginning",
    file: "state.ts",
    from: "    this.pendingActions.dropCovered(index);\n",
    to: "",
    bounds: { batching: true, start: "late-offer", terms: 3, initializedNodes: 3 },
  },
  {
    search: "snapshots",
    name: "compacted-past-base",
    title: "A leader sends entries from before its log's beginning with a wrong previous term",
    file: "replication.ts",
    from: "if (from <= state.log.base.index) {",
    to: "if (from < state.log.base.index) {",
  },
];

const RESTARTS: readonly SearchBreak[] = [
  {
    search: "restarts",
    name: "one-write-vouches-for-all",
    title: "When one write is durable, all writes under way count as durable",
    file: "state.ts",
    from: "while ((this.#appendsInFlight[0]?.persistId ?? Infinity) <= persistId) {",
    to: "while (this.#appendsInFlight.length > 0) {",
  },
  {
    search: "restarts",
    name: "acknowledged-in-undurable-term",
    title: "A follower acknowledges entries before the term in which it took them is durable",
    file: "replication.ts",
    from: "  if (!state.hardStateIsDurable) return;\n",
    to: "",
  },
  {
    search: "restarts",
    name: "term-durable-too-early",
    title: "Term and vote count as durable when the batch before theirs is",
    file: "state.ts",
    from: "return this.#hardStateId <= this.#persistedId;",
    to: "return this.#hardStateId <= this.#persistedId + 1;",
  },
  {
    search: "restarts",
    name: "restart-commits-whole-log",
    title: "A restarted node takes all entries on its disk for committed",
    file: "state.ts",
    from: "this.#commitIndex = commitIndex;\n  }",
    to: "this.#commitIndex = image.lastIndex;\n  }",
  },
];

/** Bugs of each searched part. `npm run explore -- --breaks` puts them back, one at a time. */
export const SEARCH_BREAKS: readonly SearchBreak[] = [
  ...RESTARTS,
  ...PRE_VOTES,
  ...READS,
  ...LEASES,
  ...TRANSFERS,
  ...MEMBERSHIP,
  ...LEARNERS,
  ...SNAPSHOTS,
];
