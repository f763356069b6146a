import type { Bug } from "./bug.ts";

/**
 * Bugs in how members and leaders change, and in what a leader may answer by itself.
 *
 * One that others had does no harm here that a run could show: M4b, of two configurations that are removed from the
 * log at once one stays in force. A leader begins no change before the configuration before it is committed, so no log
 * ever holds two that can be removed; M4 is the case of one.
 */
export const MEMBERSHIP_BUGS: readonly Bug[] = [
  {
    code: "M3",
    title: "A leader leaves the joint configuration before it is committed",
    file: "core/membership.ts",
    from: "if (index > state.commitIndex) return;\n",
    to: "if (index > state.commitIndex && !isJoint(config)) return;\n",
  },
  {
    code: "M3b",
    title: "Only the leader that started a change completes it",
    file: "core/membership.ts",
    from: "if (isJoint(config)) appendConfig(",
    to: "if (isJoint(config) && state.log.termAt(index) !== state.term) return;\n  if (isJoint(config)) appendConfig(",
  },
  {
    code: "M3c",
    title: "In a joint configuration, a majority of the new voters is enough",
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
    title: "A configuration stays in force after its entry was truncated",
    file: "core/log.ts",
    from: "while ((this.#configs.at(-1)?.index ?? 0) >= index) this.#configs.pop();",
    to: "",
  },
  {
    code: "M8",
    title: "A removed leader stays leader",
    file: "core/membership.ts",
    from: "else if (!state.isVoter) stepDownAfterRemoval(state, leader, now);",
    to: "",
  },
  {
    code: "M8b",
    title:
      "A leader that is being removed steps down, and starts no election, before its removal is committed",
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
    title: "The id of a removed member can be used again",
    file: "runtime/members/next-membership.ts",
    from: "const removed = [...(current.removed ?? []), ...gone].slice(-REMOVED_MAX);",
    to: "const removed = gone.slice(gone.length);",
  },
  {
    code: "M10b",
    title: "A snapshot holds the members, and forgets which were removed",
    file: "runtime/snapshots/snapshot-taker.ts",
    from: "      membership: encodeMembership(membership.membership),",
    to: "      membership: encodeMembership({ config: membership.membership.config, members: membership.membership.members }),",
  },
  {
    code: "M10c",
    title: "A compacted log holds the members, and forgets which were removed",
    file: "runtime/loop/driver.ts",
    from: "this.#store.compact({ position, config: encodeMembership(membership.membership) }),",
    to: "this.#store.compact({ position, config: encodeMembership({ config: membership.membership.config, members: membership.membership.members }) }),",
  },
  {
    code: "M11",
    title: "A member that lost its disk comes back under its old id",
    file: "runtime/members/member-directory.ts",
    from: "if (known !== null && known !== storeId) {",
    to: 'if (known !== null && storeId === "") {',
  },
  {
    code: "M15",
    title: "A learner is promoted to voter before it has caught up",
    file: "runtime/members/membership-changes.ts",
    from: "await this.#caughtUp(promoted, attempt);",
    to: "",
  },
  {
    code: "M18",
    title: "A leader that crashed during its own removal doesn't start an election",
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
    title: "A leader counts itself although it is no longer a voter",
    file: "core/commit.ts",
    from: "const index = quorumValue(state.config, (id) =>",
    to: "const voters = [...new Set([...state.config.voters, state.id])];\n  const index = quorumValue({ ...state.config, voters }, (id) =>",
  },
  {
    code: "D11",
    title: "A leader whose disk hangs stays leader",
    file: "core/state.ts",
    from: "Math.min(oldest + this.options.storageStallMs, ",
    to: "Math.min(Infinity, ",
  },
  {
    code: "E17",
    title: "A transfer's target is refused votes because the voters still hear the leader",
    file: "core/election.ts",
    from: "state.heardLeaderRecently(now) && !isTransfer(state, message);",
    to: "state.heardLeaderRecently(now);",
  },
  {
    code: "E20b",
    title: "A learner starts elections",
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
    title: "A sole voter that succeeds a leader doesn't wait for the end of that leader's lease",
    file: "core/state.ts",
    from: "if (this.isSoleVoter) return Math.max(now, this.leaderHeardAt + min);",
    to: "if (this.isSoleVoter) return now;",
  },
  {
    code: "L5c",
    title: "A follower that learned the next term from an answer votes while its old leader has a lease",
    file: "core/election.ts",
    from: "return state.leaderId === null && !keepsLeader;",
    to: "return state.leaderId === null;",
  },
  {
    code: "L5d",
    title: "The lease allows for a slow clock of the leader, and not for a fast one of a follower",
    file: "core/reads.ts",
    from: "const leaseMs = (electionTimeoutMs.min * (1 - clockDriftMax)) / (1 + clockDriftMax);",
    to: "const leaseMs = electionTimeoutMs.min * (1 - clockDriftMax);",
  },
  {
    code: "L6",
    title: "A leader answers reads from its lease during a leadership transfer",
    file: "core/reads.ts",
    from: "if (leader.leaseIsVoid || leader.transfer !== null) return null;",
    to: "",
  },
  {
    code: "L6b",
    title: "A leader whose transfer took too long has its lease back, though TimeoutNow is on its way",
    file: "core/transfer.ts",
    from: "    leader.transfer = null;\n    return;",
    to: "    leader.transfer = null;\n    leader.leaseIsVoid = false;\n    return;",
  },
  {
    code: "L7",
    title: "A lease is counted from when the answers arrived, not from when the heartbeat was sent",
    file: "core/reads.ts",
    from: "leader.leaseFrom = leaseProbe.at;",
    to: "leader.leaseFrom = Math.max(...[...leader.progress.values()].map(({ activeAt }) => activeAt));",
  },
  {
    code: "L7b",
    title: "A leader trusts its lease whether or not a majority answers",
    file: "core/reads.ts",
    from: "checkQuorum && now < leader.leaseFrom + leaseMs",
    to: "checkQuorum && now < Infinity + leaseMs",
  },
  {
    code: "L7c",
    title:
      "Each round takes the place of the one that the lease waits for, so rounds in quick succession end it",
    file: "core/leadership.ts",
    from: "leader.leaseProbe ??=",
    to: "leader.leaseProbe =",
  },
  {
    code: "T2",
    title: "A leader transfers leadership to a learner, which takes it",
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
    title: "A leader waits without limit for the target of a transfer",
    file: "core/transfer.ts",
    from: "until: now + state.options.electionTimeoutMs.max };",
    to: "until: Infinity };",
  },
  {
    code: "T3b",
    title: "A transfer whose deadline has passed doesn't end, and its timer fires again and again",
    file: "core/transfer.ts",
    from: "if (now >= transfer.until || !isVoter(",
    to: "if (!isVoter(",
  },
  {
    code: "T3c",
    title: "A transfer is reported as done when the leader has merely stepped down",
    file: "runtime/members/leadership-transfers.ts",
    from: "    } else if (leader !== null) {\n      this.#end(() => {\n        pending.call.resolve(leader);",
    to: "    } else {\n      this.#end(() => {\n        pending.call.resolve(leader ?? pending.to);",
  },
  {
    code: "T6",
    title: "Commands pending during a leadership transfer are reported as not done",
    file: "runtime/writes/pending-proposals.ts",
    from: "  committed(): void {\n",
    to: '  committed(): void {\n    if (this.#core.transferTarget !== null) {\n      for (const proposal of [...this.#whileLeading.values()]) {\n        this.#remove(proposal.position);\n        proposal.reject(new AbortedError("not-done", "leadership is handed over"));\n      }\n    }\n',
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
    title: "A configuration is in force only once it is committed",
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
