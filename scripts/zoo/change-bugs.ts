import type { Bug } from "./bug.ts";

/**
 * Bugs of changes across leaders: of what a leader does in its first turn over what its predecessor left, and
 * of voters whose own configuration is older than the candidate's.
 */
export const CHANGE_BUGS: readonly Bug[] = [
  {
    code: "M1",
    title: "A new leader begins a change before an entry of its own term is committed",
    file: "core/membership.ts",
    from: 'if (!state.termStartCommitted) return "term-not-started";\n',
    to: "",
    also: [
      {
        file: "runtime/members/membership-changes.ts",
        from: "return core.termStartCommitted && !this.#isRecordingStoreIds();",
        to: "return !this.#isRecordingStoreIds();",
      },
    ],
  },
  {
    code: "M20",
    title: "A voter refuses its vote to a candidate that its own, older configuration doesn't name",
    file: "core/election.ts",
    from: "    message.term === state.term &&\n    mayVoteFor(state, message.from, keepsLeader) &&",
    to: "    message.term === state.term &&\n    (state.log.last.index === 0 || isVoter(state.config, message.from)) &&\n    mayVoteFor(state, message.from, keepsLeader) &&",
  },
  {
    code: "M20b",
    title: "A node that has no vote in its own, older configuration refuses to vote",
    file: "core/election.ts",
    from: "    message.term === state.term &&\n    mayVoteFor(state, message.from, keepsLeader) &&",
    to: "    message.term === state.term &&\n    (state.log.last.index === 0 || state.isVoter) &&\n    mayVoteFor(state, message.from, keepsLeader) &&",
  },
  {
    code: "M20c",
    title: "A candidate counts votes of nodes that its own, newer configuration gives none",
    file: "core/election.ts",
    from: "  candidate.votes.add(from);\n  if (!hasQuorum(state.config, (id) => candidate.votes.has(id))) return;\n",
    to: "  candidate.votes.add(from);\n  if (candidate.votes.size * 2 <= state.config.voters.length) return;\n",
  },
  {
    code: "M21",
    title: "A change is made from the last committed membership, which lacks what another leader has begun",
    file: "runtime/members/membership-changes.ts",
    from: "    const current = this.#parts.memberships.current;\n    if (current === null) throw",
    to: "    const { core, memberships } = this.#parts;\n    const current = memberships.at(core.commitIndex);\n    if (current === null) throw",
  },
];
