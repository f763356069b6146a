import type { Bug } from "./bug.ts";

/**
 * Bugs in whom a node believes: claims of messages, votes and pre-votes, confirmations of reads, and hints.
 */
export const QUESTION_BUGS: readonly Bug[] = [
  {
    code: "Q4a",
    title: "A candidate always says that its leader asked for the election",
    file: "core/election.ts",
    from: "if (hasQuorum(state.config, (id) => role.votes.has(id))) startElection(state, false);",
    to: "if (hasQuorum(state.config, (id) => role.votes.has(id))) startElection(state, true);",
  },
  {
    code: "Q4b",
    title: "A node stands for election when a TimeoutNow of an earlier term arrives late",
    file: "core/transfer.ts",
    from: "const isFromLeader = message.term === state.term && message.from === state.leaderId;",
    to: "const isFromLeader = message.term <= state.term;",
  },
  {
    code: "Q4c",
    title: "A node stands for election without pre-votes when its leader is silent",
    file: "core/election.ts",
    from: "if (state.isSoleVoter || !state.options.preVote) startElection(state, false);",
    to: "if (state.isSoleVoter || !state.options.preVote || state.leaderHeardAt > 0) startElection(state, false);",
  },
  {
    code: "Q5a",
    title: "Pre-votes of an earlier round in the same term are counted",
    file: "core/election.ts",
    from: 'if (role.type !== "pre-candidate" || !message.granted || message.round !== role.round) return;',
    to: 'if (role.type !== "pre-candidate" || !message.granted) return;',
  },
  {
    code: "Q5b",
    title: "A node takes the term of a pre-vote that it only answers",
    file: "core/election.ts",
    from: "  const { from: to, round } = message;\n",
    to: "  const { from: to, round } = message;\n  if (message.term > state.term) state.becomeFollower(message.term, null, state.leaderHeardAt);\n",
  },
  {
    code: "Q5c",
    title: "A node that hears its leader refuses its vote, but takes the term of the request",
    file: "core/election.ts",
    from: "if (message.term > state.term && !keepsLeader) state.becomeFollower(message.term, null, now);\n  const granted =\n    message.term === state.term &&",
    to: "if (message.term > state.term) state.becomeFollower(message.term, null, now);\n  const granted =\n    !keepsLeader &&\n    message.term === state.term &&",
  },
  {
    code: "Q6a",
    title: "The answers of learners and removed members count for a read",
    file: "core/reads.ts",
    from: "  return hasQuorum(\n    state.config,\n    (id) => id === state.id || (leader.progress.get(id)?.acknowledgedRound ?? 0) >= round,\n  );",
    to: "  const answered = [...leader.progress.values()].filter((progress) => progress.acknowledgedRound >= round);\n  return (\n    hasQuorum(state.config, (id) => id === state.id) ||\n    (answered.length + 1) * 2 > leader.progress.size + 1\n  );",
  },
  {
    code: "Q6b",
    title: "A read is confirmed by the heartbeat round before it",
    file: "core/reads.ts",
    from: "  startHeartbeatRound(state, leader, now);\n  for (const read of waiting)",
    to: "  if (now < 0) startHeartbeatRound(state, leader, now);\n  for (const read of waiting)",
  },
  {
    code: "Q6c",
    title: "In a joint configuration, only the new voters confirm a read",
    file: "core/reads.ts",
    from: "  return hasQuorum(\n    state.config,\n    (id) =>",
    to: "  return hasQuorum(\n    { ...state.config, outgoingVoters: [] },\n    (id) =>",
  },
  {
    code: "Q6d",
    title: "A sole voter answers a read before an entry of its new term is committed",
    file: "core/reads.ts",
    from: "  if (!state.termStartCommitted) return;\n  const waiting",
    to: "  if (!state.termStartCommitted && !state.isSoleVoter) return;\n  const waiting",
  },
  {
    code: "Q6e",
    title: "The answers of learners count for a read",
    file: "core/reads.ts",
    from: "  return hasQuorum(\n    state.config,\n    (id) =>",
    to: "  const { voters, learners } = state.config;\n  return hasQuorum(\n    { ...state.config, voters: [...voters, ...learners] },\n    (id) =>",
  },
  {
    code: "Q6f",
    title:
      "The answer of a member that the leader has removed, and that doesn't know it yet, counts for a read",
    file: "core/reads.ts",
    from: "  return hasQuorum(\n    state.config,\n    (id) => id === state.id ||",
    to: "  const gone = [...leader.progress.values()].filter(({ removalNotice }) => removalNotice !== null);\n  return hasQuorum(\n    state.config,\n    (id) => id === state.id || gone.some(({ acknowledgedRound }) => acknowledgedRound >= round) ||",
  },
  {
    code: "Q7a",
    title: "A caller is sent to the candidate that the node voted for, before anybody leads",
    file: "runtime/members/member-directory.ts",
    from: "    const { leader } = this.#core;\n    if (leader === null) return null;",
    to: "    const leader = this.#core.leader ?? this.#core.votedFor;\n    if (leader === null) return null;",
  },
];
