import type { Bug } from "./bug.ts";

/**
 * Bugs at limits that ordinary runs don't reach, of what is kept for ever, and of nodes that can't do their
 * work any more: stalled ones, and stopped ones.
 */
export const LIMIT_BUGS: readonly Bug[] = [
  {
    code: "Z27a",
    title: "Sessions read from disk are in the order of the disk, so another one is pushed out",
    file: "runtime/sessions/session-table.ts",
    from: "    sessions.sort((a, b) => a.lastUsedIndex - b.lastUsedIndex);\n",
    to: "",
  },
  {
    code: "Z27b",
    title: "A session that is used keeps its place among those to be pushed out",
    file: "runtime/sessions/session-table.ts",
    from: "    this.#sessions.delete(session.id);\n    this.#sessions.set(session.id, session);\n",
    to: "",
  },
  {
    code: "Z28a",
    title: "Requests for a read index are kept after they were answered",
    file: "runtime/reads/read-index-queue.ts",
    from: "      this.#requested.delete(id);\n      if (index !== null)",
    to: "      if (index !== null)",
  },
  {
    code: "Z28b",
    title: "Reads whose query was asynchronous are kept after they have ended",
    file: "runtime/reads/read-index-queue.ts",
    from: "      if (this.#running.delete(read)) this.#size -= 1;",
    to: "      if (this.#running.has(read)) this.#size -= 1;",
  },
  {
    code: "O8a",
    title: "A stream of committed commands that is opened after the node has stopped never ends",
    file: "runtime/streams/committed-stream.ts",
    from: "    if (this.#ended !== null) cursor.end(this.#ended.error);\n",
    to: "",
  },
  {
    code: "O8b",
    title: "Of several readers that wait for a change, only the first learns that the node has stopped",
    file: "runtime/streams/change-stream.ts",
    from: "    for (const reader of this.#readers.splice(0)) reader(END);",
    to: "    for (const reader of this.#readers.splice(0, 1)) reader(END);",
  },
  {
    code: "Q24a",
    title: "A node whose disk or state machine has stalled takes over when its leader asks it to",
    file: "core/transfer.ts",
    from: "if (!isFromLeader || !state.isEligible || now >= state.stallDeadline) return;",
    to: "if (!isFromLeader || !state.isEligible) return;",
  },
  {
    code: "Q24b",
    title: "A candidate whose state machine stalls goes on, and leads",
    file: "core/node.ts",
    from: '    else if (role.type !== "follower") state.becomeFollower(state.term, null, this.#now);\n',
    to: "",
  },
  {
    code: "R21",
    title: "The limit on the bytes that are under way to a follower isn't kept",
    file: "core/progress.ts",
    from: "this.#inFlight.length < messagesMax && this.#inFlightBytes < bytesMax",
    to: "this.#inFlight.length < messagesMax && bytesMax > 0",
  },
  {
    code: "X7",
    title: "A node that closes doesn't wait for the commands that its state machine is working on",
    file: "runtime/loop/applier.ts",
    from: "    this.#stopped = true;\n    await this.#loopEnded;",
    to: "    this.#stopped = true;\n    await Promise.resolve();",
  },
  {
    code: "E27a",
    title: "A candidate that a change of membership takes the vote from doesn't count its own",
    file: "core/election.ts",
    from: "  countVote(state, role, state.id, now);",
    to: "  if (state.config.voters.includes(state.id)) countVote(state, role, state.id, now);",
  },
  {
    code: "E27b",
    title: "A node doesn't count its own pre-vote",
    file: "core/election.ts",
    from: "round, votes: new Set([from]) };",
    to: "round, votes: new Set() };",
  },
  {
    code: "Q22c",
    title: "A vote doesn't restart the voter's own election timeout",
    file: "core/election.ts",
    from: "    state.resetElectionDeadline(now);\n  }\n  const { id: from, term } = state;\n  state.send(message.from,",
    to: "  }\n  const { id: from, term } = state;\n  state.send(message.from,",
  },
  {
    code: "Q23e",
    title: "In a joint configuration the leader steps down only if the new voters don't answer",
    file: "core/replication.ts",
    from: "  const activeAt = quorumValue(state.config, (id) =>",
    to: "  const activeAt = quorumValue({ ...state.config, outgoingVoters: [] }, (id) =>",
  },
  {
    code: "Z25b",
    title: "An earlier deadline of the core waits for the timer of a later one",
    file: "runtime/loop/driver.ts",
    from: "(this.#timer !== null && this.#timer.at <= deadline)",
    to: "this.#timer !== null",
  },
  {
    code: "S13",
    title: "Commands that an installed snapshot covers are reported as certainly not done",
    file: "runtime/writes/pending-proposals.ts",
    from: "        new OutcomeUnknownError(\n          `the state after",
    to: "        new CommandLostError(\n          `the state after",
  },
  {
    code: "S20",
    title: "Bytes that were sent count as being sent, until no more of a large snapshot is",
    file: "runtime/snapshots/snapshot-sender.ts",
    from: "      transfer.answeringBytes -= message.bytes;\n",
    to: "",
  },
];
