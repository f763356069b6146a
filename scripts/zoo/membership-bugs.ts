import type { Bug } from "./bug.ts";

/**
 * Bugs in how members and leaders change, and in what a leader may answer by itself.
 *
 * Three that others had do no harm here that a run could show:
 * - M1, a change before an entry of the leader's term is committed. It splits clusters that change one voter at a
 *   time. Here voters change through C_old,new alone: two of these that begin from one C_old both need its majority, and
 *   one that begins from a C_new which is not committed yet needs the majority of that C_new, as whoever still holds
 *   the C_old,new before it does. The rule stays as a second lock; the core's tests hold it (M1 there).
 * - M4b, of two configurations that are removed from the log at once one stays in force. A leader begins no change before
 *   the configuration before it is committed, so no log ever holds two that can be removed; M4 is the case of one.
 * - M9, a removed node is still listened to. What it could do, asking for votes, the followers' promise to their leader
 *   keeps it from (E15, E15b); it is refused so that it hears of its removal. The runtime's tests hold that (M9 there).
 */
export const MEMBERSHIP_BUGS: readonly Bug[] = [
  {
    code: "M3",
    title: "The joint configuration is left before it is committed",
    file: "core/membership.ts",
    from: "if (index > state.commitIndex) return;\n",
    to: "if (index > state.commitIndex && !isJoint(config)) return;\n",
  },
  {
    code: "M3b",
    title: "Only the leader that began a change ends it",
    file: "core/membership.ts",
    from: "if (isJoint(config)) appendConfig(",
    to: "if (isJoint(config) && state.log.termAt(index) !== state.term) return;\n  if (isJoint(config)) appendConfig(",
  },
  {
    code: "M3c",
    title: "A joint configuration needs the majority of the new voters alone",
    file: "core/quorum.ts",
    from: "return config.outgoingVoters.length === 0\n    ? value\n    : Math.min(value, majorityValue(config.outgoingVoters, valueOf));",
    to: "return value;",
  },
  {
    code: "M3d",
    title: "Voters change in one step, without a joint configuration",
    file: "core/config.ts",
    from: "if (sameSet(current.voters, target.voters)) return target;\n",
    to: "return target;\n",
  },
  {
    code: "M4",
    title: "A configuration stays in force when its entry is removed from the log",
    file: "core/log.ts",
    from: "while ((this.#configs.at(-1)?.index ?? 0) >= index) this.#configs.pop();",
    to: "",
  },
  {
    code: "M8",
    title: "A leader that was removed goes on leading",
    file: "core/membership.ts",
    from: "else if (!state.isVoter) stepDownAfterRemoval(state, leader, now);",
    to: "",
  },
  {
    code: "M8b",
    title: "A leader that is being removed steps down before that is committed, and stands for no election",
    file: "core/membership.ts",
    from: "if (index > state.commitIndex) return;\n",
    to: "if (index > state.commitIndex && (isJoint(config) || state.isVoter)) return;\n",
    also: [
      {
        file: "core/state.ts",
        from: "return index > this.#commitIndex && isVoter(this.log.configAt(index - 1).config, this.id);",
        to: "return index < 0;",
      },
    ],
  },
  {
    code: "M10",
    title: "The id of a removed member may be used again",
    file: "runtime/members/next-membership.ts",
    from: "const removed = [...(current.removed ?? []), ...gone].slice(-REMOVED_MAX);",
    to: "const removed = gone.slice(gone.length);",
  },
  {
    code: "M11",
    title: "A member that lost its disk comes back as the member that it was",
    file: "runtime/members/member-directory.ts",
    from: "if (known !== null && known !== storeId) {",
    to: 'if (known !== null && storeId === "") {',
  },
  {
    code: "M15",
    title: "A new voter need not have caught up",
    file: "runtime/members/membership-changes.ts",
    from: "await this.#caughtUp(promoted, attempt);",
    to: "",
  },
  {
    code: "M18",
    title: "A leader that crashed over its own removal does not stand for election",
    file: "core/state.ts",
    from: "return index > this.#commitIndex && isVoter(this.log.configAt(index - 1).config, this.id);",
    to: "return index < 0;",
  },
  {
    code: "C2c",
    title: "Learners count towards the majority",
    file: "core/quorum.ts",
    from: "const value = majorityValue(config.voters, valueOf);",
    to: "const value = majorityValue([...config.voters, ...config.learners], valueOf);",
  },
  {
    code: "C3",
    title: "A leader counts itself, though it is no voter any more",
    file: "core/commit.ts",
    from: "const index = quorumValue(state.config, (id) =>",
    to: "const voters = [...new Set([...state.config.voters, state.id])];\n  const index = quorumValue({ ...state.config, voters }, (id) =>",
  },
  {
    code: "D11",
    title: "A leader whose disk hangs goes on leading",
    file: "core/state.ts",
    from: "return oldest.takenAt + this.options.storageStallMs;",
    to: "return Infinity;",
  },
  {
    code: "E17",
    title: "Whom the leader asked to take over is refused, because the leader is heard",
    file: "core/election.ts",
    from: "state.heardLeaderRecently(now) && !isTransfer(state, message);",
    to: "state.heardLeaderRecently(now);",
  },
  {
    code: "E20b",
    title: "A learner stands for election",
    file: "core/state.ts",
    from: "if (this.isVoter) return true;\n    const",
    to: "if (this.isVoter || this.config.learners.includes(this.id)) return true;\n    const",
  },
  {
    code: "L5",
    title: "A lease lasts as long as the longest election timeout",
    file: "core/reads.ts",
    from: "const leaseMs = (electionTimeoutMs.min * (1 - clockDriftMax)) / (1 + clockDriftMax);",
    to: "const leaseMs = (electionTimeoutMs.max * (1 - clockDriftMax)) / (1 + clockDriftMax);",
  },
  {
    code: "L5b",
    title: "The only heir of a leader does not wait for the end of its lease",
    file: "core/state.ts",
    from: "if (this.isSoleVoter) return Math.max(now, this.leaderHeardAt + min);",
    to: "if (this.isSoleVoter) return now;",
  },
  {
    code: "L6",
    title: "A lease goes on while leadership is handed over",
    file: "core/reads.ts",
    from: "if (leader.leaseIsVoid || leader.transfer !== null) return null;",
    to: "",
  },
  {
    code: "L7",
    title: "A lease is counted from when the answers came",
    file: "core/reads.ts",
    from: "leader.leaseFrom = leaseProbe.at;",
    to: "leader.leaseFrom = Math.max(...[...leader.progress.values()].map(({ activeAt }) => activeAt));",
  },
  {
    code: "L7b",
    title: "A lease is taken for granted, whoever answers",
    file: "core/reads.ts",
    from: "checkQuorum && now < leader.leaseFrom + leaseMs",
    to: "checkQuorum && now < Infinity + leaseMs",
  },
  {
    code: "T2",
    title: "Leadership is handed to a learner, who takes it",
    file: "core/transfer.ts",
    from: 'if (to !== null && !state.config.voters.includes(to)) return "not-a-voter";',
    to: "",
    also: [
      {
        file: "core/transfer.ts",
        from: "now >= transfer.until || !isVoter(state.config, transfer.to)",
        to: "now >= transfer.until",
      },
      { file: "core/transfer.ts", from: "|| !state.isEligible ||", to: "||" },
    ],
  },
  {
    code: "T3",
    title: "A leader waits for ever for the one that it hands over to",
    file: "core/transfer.ts",
    from: "until: now + state.options.electionTimeoutMs.max };",
    to: "until: Infinity };",
  },
  {
    code: "T3b",
    title: "The timer for the end of a transfer is set again and again, and the transfer does not end",
    file: "core/transfer.ts",
    from: "if (now >= transfer.until || !isVoter(",
    to: "if (!isVoter(",
  },
  {
    code: "T6",
    title: "Commands under way when leadership is handed over are said not to be done",
    file: "runtime/writes/pending-proposals.ts",
    from: "  committed(): void {\n",
    to: '  committed(): void {\n    if (this.#core.transferTarget !== null) {\n      for (const { position, call } of [...this.#whileLeading.values()]) {\n        this.#remove(position);\n        call.reject(new AbortedError("not-done", "leadership is handed over"));\n      }\n    }\n',
    also: [
      {
        file: "runtime/writes/pending-proposals.ts",
        from: "import { CommandLostError,",
        to: "import { AbortedError, CommandLostError,",
      },
    ],
  },
  {
    code: "M13",
    title: "A configuration is in force only when it is committed",
    file: "core/state.ts",
    from: "return this.log.config.config;",
    to: "return this.log.configAt(Math.max(this.#commitIndex, this.log.base.index, 1)).config;",
    also: [
      {
        file: "runtime/loop/driver.ts",
        from: "membership !== undefined && sameConfig(membership.config, config),",
        to: "membership !== undefined,",
      },
    ],
  },
];
