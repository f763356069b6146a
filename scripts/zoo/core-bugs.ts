import type { Bug } from "./bug.ts";

/** Bugs in the algorithm itself. */
export const CORE_BUGS: readonly Bug[] = [
  // --- Election ---------------------------------------------------------------------------------
  {
    code: "E1",
    title: "A voter compares the logs' lengths, not the terms of their last entries",
    file: "core/position.ts",
    from: "return a.term !== b.term ? a.term > b.term : a.index >= b.index;",
    to: "return a.index >= b.index;",
  },
  {
    code: "E1b",
    title: "A voter grants its vote without comparing the logs",
    file: "core/election.ts",
    from: "isUpToDate(message.last, state.log.last); //",
    to: "true; //",
  },
  {
    code: "E3",
    title: "A node sends its vote without ever saving it",
    file: "core/state.ts",
    from: "this.#votedFor = candidate;\n    this.#saveHardState();",
    to: "this.#votedFor = candidate;",
  },
  {
    code: "E4",
    title: "A node sends votes and vote requests before its term and vote are durable",
    file: "core/state.ts",
    from: "if (this.hardStateIsDurable) this.pendingActions.send(to, message);\n    else this.pendingActions.sendAfterPersist(to, message);",
    to: "this.pendingActions.send(to, message);",
  },
  {
    code: "E4b",
    title: "A candidate becomes leader before its own term and vote are durable",
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
    title: "A candidate that becomes a follower within its term forgets its vote",
    file: "core/state.ts",
    from: 'if (this.role.type !== "follower") {\n',
    to: 'if (this.role.type !== "follower") {\n      if (this.#votedFor !== null) {\n        this.#votedFor = null;\n        this.#saveHardState();\n      }\n',
  },
  {
    code: "E8",
    title: "A voter that enters a candidate's term records a vote for it without comparing the logs",
    file: "core/election.ts",
    from: "state.becomeFollower(message.term, null, now);\n  const granted =\n    message.term === state.term &&\n    mayVoteFor(state, message.from, keepsLeader) &&\n    isUpToDate(message.last, state.log.last);",
    to: "state.enterTermFor(message.term, message.from, now);\n  const granted =\n    message.term === state.term &&\n    mayVoteFor(state, message.from, keepsLeader) &&\n    (state.votedFor === message.from || isUpToDate(message.last, state.log.last));",
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
    title: "A voter gives a second candidate its vote in the same term",
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
    title: "A node that voted for the losing candidate ignores the leader of that term",
    file: "core/replication.ts",
    from: "if (message.term < state.term) {\n    // Tells",
    to: "if (\n    message.term < state.term ||\n    (message.term === state.term && state.votedFor !== null && state.votedFor !== message.from)\n  ) {\n    // Tells",
  },
  {
    code: "E11",
    title: "A pre-candidate with an older term ignores the newer term in the answers to its pre-votes",
    file: "core/election.ts",
    from: "export function onPreVoteReply(state: NodeState, message: PreVoteReply, now: number): void {\n  if (message.term > state.term) {\n    state.becomeFollower(message.term, null, now);\n    return;\n  }",
    to: "export function onPreVoteReply(state: NodeState, message: PreVoteReply, now: number): void {\n  void now;",
  },
  {
    code: "E15",
    title: "A node that hears its leader grants another candidate its vote",
    file: "core/state.ts",
    from: "return now < this.leaderHeardAt + this.options.electionTimeoutMs.min;",
    to: "return false;",
  },
  {
    code: "E15b",
    title: "Check-quorum doesn't make followers refuse votes while they hear their leader",
    file: "core/election.ts",
    from: "state.options.checkQuorum && state.heardLeaderRecently(now) && !isTransfer(state, message);",
    to: "false;",
  },
  {
    code: "E16",
    title: "A leader that hears no majority stays leader",
    file: "core/replication.ts",
    from: "return activeAt + state.options.electionTimeoutMs.max;",
    to: "return activeAt === -Infinity ? activeAt : Infinity;",
  },
  {
    code: "E20",
    title: "A node that isn't a voter starts elections",
    file: "core/state.ts",
    from: "if (this.isVoter) return true;",
    to: "return true;",
  },
  {
    code: "E23",
    title: "All nodes use the same election timeout",
    file: "core/state.ts",
    from: "return now + min + this.options.random() * (max - min);",
    to: "return now + (min + max) / 2;",
  },
  {
    code: "E24",
    title: "A restarted node sets no election deadline, and waits for a leader without limit",
    file: "core/node.ts",
    from: "state.resetElectionDeadline(now);\n    return node;",
    to: "return node;",
  },
  {
    code: "E24b",
    title: "A sole voter asks other nodes for pre-votes and waits for their answers",
    file: "core/election.ts",
    from: "if (state.isSoleVoter || !state.options.preVote) startElection(state, false);",
    to: "if (!state.options.preVote) startElection(state, false);",
  },
  {
    code: "E25",
    title: "A candidate counts a vote of an earlier term",
    file: "core/election.ts",
    from: 'if (role.type !== "candidate" || message.term < state.term || !message.granted) return;',
    to: 'if (role.type !== "candidate" || !message.granted) return;',
  },

  // --- Replication ------------------------------------------------------------------------------
  {
    code: "R1",
    title: "A follower removes all entries after `prev` before it appends",
    file: "core/replication.ts",
    from: "const from = firstDifference(state, entries);",
    to: "firstDifference(state, entries);\n  const from = entries.prev.index + 1;\n  if (from <= state.log.last.index) state.truncate(from);",
  },
  {
    code: "R2",
    title: "A restarted node that had voted for itself continues as leader of that term",
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
    title: "A follower commits entries that it hasn't compared with the leader's log",
    file: "core/replication.ts",
    from: "state.commitTo(Math.min(message.commit, following.matchedIndex));",
    to: "state.commitTo(Math.min(message.commit, state.log.last.index));",
  },
  {
    code: "R4",
    title: "A follower acknowledges its whole log, not only the entries compared with the leader's",
    file: "core/replication.ts",
    from: "const match = Math.min(following.matchedIndex, state.durableIndex);",
    to: "const match = state.durableIndex;",
  },
  {
    code: "R4b",
    title: "A follower takes entries that matched an earlier leader's log to match the next leader's",
    file: "core/state.ts",
    from: "this.following = newFollowing();\n    this.#saveHardState();",
    to: "this.following = { ...newFollowing(), matchedIndex: this.following.matchedIndex };\n    this.#saveHardState();",
  },
  {
    code: "R6",
    title: "A late acknowledgement lowers the leader's `match`",
    file: "core/progress.ts",
    from: "this.#match = Math.max(this.#match, match);",
    to: "this.#match = match;",
  },
  {
    code: "R7",
    title: "A leader counts an acknowledgement of an earlier term",
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
    title: "Overwritten entries that were durable still count as durable",
    file: "core/state.ts",
    from: "this.#durableIndex = Math.min(this.#durableIndex, index - 1);",
    to: "",
  },
  {
    code: "R13",
    title:
      "A leader takes a refusal for an outdated one while it pipelines, and never resends the lost entries",
    file: "core/progress.ts",
    from: "refused === this.#next - 1 : refused > this.#match;",
    to: "refused === this.#next - 1 : refused >= this.#next;",
  },
  {
    code: "R14",
    title:
      "An acknowledgement of several messages frees none of their places in the window, until the window stays full",
    file: "core/progress.ts",
    from: "if (oldest.last > this.#match) break;\n      this.#inFlightBytes",
    to: "if (oldest.last !== this.#match) break;\n      this.#inFlightBytes",
  },
  {
    code: "R14c",
    title: "A window that is given up keeps its bytes, until no further entry fits",
    file: "core/progress.ts",
    from: "    this.#inFlight = [];\n    this.#inFlightBytes = 0;\n    this.#probeSent",
    to: "    this.#inFlight = [];\n    this.#probeSent",
  },
  {
    code: "R15",
    title: "A truncation drops the entries that the same turn wanted written before it",
    file: "core/pending-actions.ts",
    from: "this.#append = { ...pending, to: Math.min(pending.to, index) };\n      return;",
    to: "this.#append = { truncateFrom: index, from: index, to: index };\n      return;",
  },

  // --- Commit -----------------------------------------------------------------------------------
  {
    code: "C1",
    title: "A leader commits an entry of an earlier term by counting",
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
    title: "One voter less than a majority counts as a majority",
    file: "core/quorum.ts",
    from: "values[Math.floor(values.length / 2)]",
    to: "values[Math.max(0, Math.floor(values.length / 2) - 1)]",
  },
  {
    code: "C5",
    title: "A leader counts itself for entries that its own disk doesn't hold yet",
    file: "core/commit.ts",
    from: "id === state.id ? state.durableIndex :",
    to: "id === state.id ? state.log.last.index :",
  },
  {
    code: "C5b",
    title: "A follower acknowledges entries that its disk doesn't hold yet",
    file: "core/replication.ts",
    from: "const match = Math.min(following.matchedIndex, state.durableIndex);",
    to: "const match = following.matchedIndex;",
  },
  {
    code: "C6",
    title: "A late message lowers the commit index",
    file: "core/state.ts",
    from: "if (index <= this.#commitIndex) return;\n    const term",
    to: "if (index === this.#commitIndex || index < this.log.base.index) return;\n    const term",
  },
  {
    code: "C11",
    title: "A node removes a committed entry and continues",
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
    title:
      "A leader sends its commit index only with entries, so followers never learn that the last one is committed",
    file: "core/replication.ts",
    from: "const { id: from, term, commitIndex: commit } = state;\n  const round",
    to: "const { id: from, term } = state;\n  const commit = entries.lastIndex > entries.prev.index ? state.commitIndex : 0;\n  const round",
  },
  {
    code: "D8",
    title: "The completion of an overwritten write counts for the entries that replaced it",
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
    title: "A follower reads at its own commit index instead of the leader's",
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
    title: "A node that loses its leader drops pending reads without an answer",
    file: "core/state.ts",
    from: "for (const read of this.reads.takeAll()) this.answerRead(read, null);",
    to: "this.reads.takeAll();",
  },
  {
    code: "L10",
    title: "A leader answers reads without confirming that it still leads",
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
    title: "A leader counts an answer to an earlier heartbeat round for the current one",
    file: "core/reads.ts",
    from: "(leader.progress.get(id)?.acknowledgedRound ?? 0) >= round,",
    to: "(leader.progress.get(id)?.acknowledgedRound ?? 0) >= round - 1,",
  },
];
