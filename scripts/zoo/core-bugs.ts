import type { Bug } from "./bug.ts";

/** Bugs in the algorithm itself. */
export const CORE_BUGS: readonly Bug[] = [
  // --- Election ---------------------------------------------------------------------------------
  {
    code: "E1",
    title: "A vote compares the length of the logs and not the last term",
    file: "core/position.ts",
    from: "return a.term !== b.term ? a.term > b.term : a.index >= b.index;",
    to: "return a.index >= b.index;",
  },
  {
    code: "E1b",
    title: "A vote does not compare the logs at all",
    file: "core/election.ts",
    from: "isUpToDate(message.last, state.log.last); //",
    to: "true; //",
  },
  {
    code: "E3",
    title: "A vote is given and never saved",
    file: "core/state.ts",
    from: "this.#votedFor = candidate;\n    this.#saveHardState();",
    to: "this.#votedFor = candidate;",
  },
  {
    code: "E4",
    title: "Votes, and requests for votes, leave before term and vote are durable",
    file: "core/state.ts",
    from: "if (this.hardStateIsDurable) this.pendingActions.send(to, message);\n    else this.pendingActions.sendAfterPersist(to, message);",
    to: "this.pendingActions.send(to, message);",
  },
  {
    code: "E4b",
    title: "A candidate leads before its term and its vote are durable",
    file: "core/election.ts",
    from: "if (state.hardStateIsDurable) becomeLeader(state, now);",
    to: "becomeLeader(state, now);",
    also: [
      {
        file: "core/election.ts",
        from: 'state.role = { type: "candidate", votes: new Set(), ownVoteId: state.pendingActions.persistId };',
        to: 'const role: Candidate = { type: "candidate", votes: new Set([state.id]), ownVoteId: null };\n  state.role = role;\n  if (state.isSoleVoter) return countVote(state, role, state.id, 0);',
      },
      {
        file: "core/leadership.ts",
        from: 'state.role.type === "candidate" && state.hardStateIsDurable,',
        to: 'state.role.type === "candidate",',
      },
    ],
  },
  {
    code: "E6",
    title: "A candidate that follows the winner of its own term forgets its vote",
    file: "core/state.ts",
    from: 'if (this.role.type !== "follower") {\n',
    to: 'if (this.role.type !== "follower") {\n      if (this.#votedFor !== null) {\n        this.#votedFor = null;\n        this.#saveHardState();\n      }\n',
  },
  {
    code: "E8",
    title: "A candidate that was seen counts as one that was voted for",
    file: "core/election.ts",
    from: "state.becomeFollower(message.term, null, now);\n  const granted =\n    message.term === state.term &&\n    mayVoteFor(state, message.from) &&\n    isUpToDate(message.last, state.log.last);",
    to: "state.enterTermFor(message.term, message.from, now);\n  const granted =\n    message.term === state.term &&\n    mayVoteFor(state, message.from) &&\n    (state.votedFor === message.from || isUpToDate(message.last, state.log.last));",
    also: [
      {
        file: "core/state.ts",
        from: "  voteFor(candidate: NodeId): void {",
        to: "  enterTermFor(term: Term, candidate: NodeId, now: number): void {\n    this.enterTerm(term, candidate);\n    this.becomeFollower(term, null, now);\n  }\n\n  voteFor(candidate: NodeId): void {",
      },
    ],
  },
  {
    code: "E9",
    title: "A second candidate gets a vote in the same term",
    file: "core/election.ts",
    from: "if (state.votedFor !== null) return state.votedFor === candidate;",
    to: "",
    also: [
      {
        file: "core/election.ts",
        from: "if (state.votedFor === null) state.voteFor(message.from);",
        to: "if (state.votedFor !== message.from) state.voteFor(message.from);",
      },
      {
        file: "core/state.ts",
        from: 'assert(this.#votedFor === null, "a vote in a term is given once (§5.2)");\n',
        to: "",
      },
    ],
  },
  {
    code: "E10",
    title: "A node that voted for the loser ignores the winner of the same term",
    file: "core/replication.ts",
    from: "if (message.term < state.term) {\n    // Tells",
    to: "if (\n    message.term < state.term ||\n    (message.term === state.term && state.votedFor !== null && state.votedFor !== message.from)\n  ) {\n    // Tells",
  },
  {
    code: "E11",
    title: "A node that was left behind never learns the term from the questions before an election",
    file: "core/election.ts",
    from: 'if (!refuse && message.term > state.term) state.becomeFollower(message.term, null, now);\n  state.send(message.from, {\n    type: "pre-vote-reply",',
    to: 'state.send(message.from, {\n    type: "pre-vote-reply",',
    also: [
      {
        file: "core/election.ts",
        from: "export function onPreVoteReply(state: NodeState, message: PreVoteReply, now: number): void {\n  if (message.term > state.term) {\n    state.becomeFollower(message.term, null, now);\n    return;\n  }",
        to: "export function onPreVoteReply(state: NodeState, message: PreVoteReply, now: number): void {\n  void now;",
      },
    ],
  },
  {
    code: "E15",
    title: "A node that hears its leader helps others to depose it",
    file: "core/state.ts",
    from: "return now < this.leaderHeardAt + this.options.electionTimeoutMs.min;",
    to: "return false;",
  },
  {
    code: "E15b",
    title: "Check-quorum does not keep followers from voting while they hear their leader",
    file: "core/election.ts",
    from: "state.options.checkQuorum && state.heardLeaderRecently(now) && !isTransfer(state, message);",
    to: "false;",
  },
  {
    code: "E16",
    title: "A leader that hears no majority goes on leading",
    file: "core/replication.ts",
    from: "return activeAt + state.options.electionTimeoutMs.max;",
    to: "return activeAt === -Infinity ? activeAt : Infinity;",
  },
  {
    code: "E20",
    title: "A node that is no voter campaigns",
    file: "core/state.ts",
    from: "if (this.isVoter) return true;",
    to: "return true;",
  },
  {
    code: "E23",
    title: "All nodes draw the same election timeout",
    file: "core/state.ts",
    from: "return now + min + this.options.random() * (max - min);",
    to: "return now + (min + max) / 2;",
  },
  {
    code: "E24",
    title: "A restarted node waits for a leader for ever",
    file: "core/node.ts",
    from: "state.resetElectionDeadline(now);\n    return node;",
    to: "return node;",
  },
  {
    code: "E24b",
    title: "A sole voter asks others before it campaigns, and waits for their answers",
    file: "core/election.ts",
    from: "if (state.isSoleVoter || !state.options.preVote) startElection(state, false);",
    to: "if (!state.options.preVote) startElection(state, false);",
  },
  {
    code: "E25",
    title: "A vote of an earlier term counts in a later one",
    file: "core/election.ts",
    from: 'if (role.type !== "candidate" || message.term < state.term || !message.granted) return;',
    to: 'if (role.type !== "candidate" || !message.granted) return;',
  },

  // --- Replication ------------------------------------------------------------------------------
  {
    code: "R1",
    title: "A follower removes everything after `prev` before it appends",
    file: "core/replication.ts",
    from: "const from = firstDifference(state, entries);",
    to: "firstDifference(state, entries);\n  const from = entries.prev.index + 1;\n  if (from <= state.log.last.index) state.truncate(from);",
  },
  {
    code: "R2",
    title: "A restarted node that had voted for itself goes on as the leader of that term",
    file: "core/node.ts",
    from: "state.resetElectionDeadline(now);\n    return node;",
    to: 'state.resetElectionDeadline(now);\n    if (state.votedFor === state.id && state.log.last.term === state.term) {\n      state.role = { type: "candidate", votes: new Set(), ownVoteId: null };\n      becomeLeader(state, now);\n    }\n    return node;',
    also: [
      {
        file: "core/node.ts",
        from: "import { appendOwn, takesCommands }",
        to: "import { appendOwn, becomeLeader, takesCommands }",
      },
    ],
  },
  {
    code: "R3",
    title: "A follower takes the leader's commit index for entries that were not compared",
    file: "core/replication.ts",
    from: "state.commitTo(Math.min(message.commit, following.matchedIndex));",
    to: "state.commitTo(Math.min(message.commit, state.log.last.index));",
  },
  {
    code: "R4",
    title: "A follower acknowledges its whole log and not only what was compared",
    file: "core/replication.ts",
    from: "const match = Math.min(following.matchedIndex, state.durableIndex);",
    to: "const match = state.durableIndex;",
  },
  {
    code: "R4b",
    title: "What equalled the log of an earlier leader is taken to equal the next one's",
    file: "core/state.ts",
    from: "this.following = newFollowing();\n    this.#saveHardState();",
    to: "this.following = { ...newFollowing(), matchedIndex: this.following.matchedIndex };\n    this.#saveHardState();",
  },
  {
    code: "R6",
    title: "A late acknowledgement takes `match` back",
    file: "core/progress.ts",
    from: "this.#match = Math.max(this.#match, match);",
    to: "this.#match = match;",
  },
  {
    code: "R7",
    title: "An acknowledgement of an earlier term counts in a later one",
    file: "core/replication.ts",
    from: 'if (leader.type !== "leader" || message.term < state.term) return;',
    to: 'if (leader.type !== "leader") return;',
    also: [
      {
        file: "core/replication.ts",
        from: 'assert(message.round <= leader.heartbeatRound, "a follower answers only checks that were made");',
        to: "",
      },
    ],
  },
  {
    code: "R8",
    title: "What was durable and was overwritten since still counts as durable",
    file: "core/state.ts",
    from: "this.#durableIndex = Math.min(this.#durableIndex, index - 1);",
    to: "",
  },
  {
    code: "R13",
    title:
      "A refusal in the middle of sending ahead is taken for an old one, so what was lost is never sent again",
    file: "core/progress.ts",
    from: "refused === this.#next - 1 : refused > this.#match;",
    to: "refused === this.#next - 1 : refused >= this.#next;",
  },
  {
    code: "R14",
    title:
      "An acknowledgement of several messages takes none of them off the books, so one day the window is full",
    file: "core/progress.ts",
    from: "if (message.last > this.#match) break;\n      this.#inFlightBytes",
    to: "if (message.last !== this.#match) break;\n      this.#inFlightBytes",
  },
  {
    code: "R15",
    title: "What is to be written before a truncation of the same turn is dropped",
    file: "core/pending-actions.ts",
    from: "this.#append = { ...pending, to: Math.min(pending.to, index) };\n      return;",
    to: "this.#append = { truncateFrom: index, from: index, to: index };\n      return;",
  },

  // --- Commit -----------------------------------------------------------------------------------
  {
    code: "C1",
    title: "An entry of an earlier term commits by counting",
    file: "core/commit.ts",
    from: "if (index > state.commitIndex && state.log.termAt(index) === state.term)",
    to: "if (index > state.commitIndex)",
  },
  {
    code: "C2",
    title: "Half of an even number of voters counts as a majority",
    file: "core/quorum.ts",
    from: "values[Math.floor(values.length / 2)]",
    to: "values[Math.floor((values.length - 1) / 2)]",
  },
  {
    code: "C2b",
    title: "One less than a majority counts as one",
    file: "core/quorum.ts",
    from: "values[Math.floor(values.length / 2)]",
    to: "values[Math.max(0, Math.floor(values.length / 2) - 1)]",
  },
  {
    code: "C5",
    title: "A leader counts itself for what its own disk does not hold yet",
    file: "core/commit.ts",
    from: "id === state.id ? state.durableIndex :",
    to: "id === state.id ? state.log.last.index :",
  },
  {
    code: "C5b",
    title: "A follower acknowledges what its disk does not hold yet",
    file: "core/replication.ts",
    from: "const match = Math.min(following.matchedIndex, state.durableIndex);",
    to: "const match = following.matchedIndex;",
  },
  {
    code: "C6",
    title: "A late message takes the commit index back",
    file: "core/state.ts",
    from: "if (index <= this.#commitIndex) return;\n    const term",
    to: "if (index === this.#commitIndex || index < this.log.base.index) return;\n    const term",
  },
  {
    code: "C11",
    title: "A committed entry is removed, and the node carries on",
    file: "core/replication.ts",
    from: "const from = firstDifference(state, entries);",
    to: "firstDifference(state, entries);\n  const from = entries.prev.index + 1;\n  if (from <= state.log.last.index) state.truncate(from);",
    also: [
      {
        file: "core/state.ts",
        from: 'assert(index > this.#commitIndex, "a committed entry is never removed (§5.4)");',
        to: "this.#commitIndex = Math.min(this.#commitIndex, index - 1);",
      },
    ],
  },
  {
    code: "C12",
    title: "A leader tells its commit index with entries only, so the last one is never heard of",
    file: "core/replication.ts",
    from: "const { id: from, term, commitIndex: commit } = state;\n  const round",
    to: "const { id: from, term } = state;\n  const commit = entries.lastIndex > entries.prev.index ? state.commitIndex : 0;\n  const round",
  },
  {
    code: "D8",
    title: "The end of a write that was overwritten since counts for its successor",
    file: "core/state.ts",
    from: "for (const append of this.#appendsInFlight) append.upTo = Math.min(append.upTo, index - 1);",
    to: "",
  },

  // --- Reads ------------------------------------------------------------------------------------
  {
    code: "L1",
    title: "A new leader answers reads before an entry of its own term is committed",
    file: "core/reads.ts",
    from: "if (!state.termStartCommitted) return;",
    to: "",
  },
  {
    code: "L4",
    title: "A follower reads at its own commit index and not at the leader's",
    file: "core/reads.ts",
    from: "state.pendingActions.read(message.id, message.index);",
    to: "state.pendingActions.read(message.id, message.index === null ? null : state.commitIndex);",
    also: [
      {
        file: "core/reads.ts",
        from: "state.commitTo(Math.min(message.index, state.following.matchedIndex));",
        to: "",
      },
    ],
  },
  {
    code: "L4b",
    title: "A follower answers reads without asking its leader",
    file: "core/reads.ts",
    from: "state.reads.addForwarded({ id, expiresAt });",
    to: "state.pendingActions.read(id, state.commitIndex);",
    also: [
      {
        file: "core/reads.ts",
        from: 'state.send(state.leaderId, { type: "read-index", from: state.id, term: state.term, id });',
        to: "",
      },
    ],
  },
  {
    code: "L9",
    title: "Reads that wait are dropped without an answer when the leader is lost",
    file: "core/state.ts",
    from: "for (const read of this.reads.takeAll()) this.answerRead(read, null);",
    to: "this.reads.takeAll();",
  },
  {
    code: "L10",
    title: "A leader answers reads without asking whether it still leads",
    file: "core/reads.ts",
    from: "if (!isAcknowledgedByQuorum(state, leader, first.round)) return;",
    to: "",
    also: [
      {
        file: "core/reads.ts",
        from: "const verdict = isAcknowledgedByQuorum(state, leader, confirm.round);",
        to: "const verdict = true;",
      },
    ],
  },
  {
    code: "L10b",
    title: "An answer to the check before counts for this one",
    file: "core/reads.ts",
    from: "(leader.progress.get(id)?.acknowledgedRound ?? 0) >= round,",
    to: "(leader.progress.get(id)?.acknowledgedRound ?? 0) >= round - 1,",
  },
];
