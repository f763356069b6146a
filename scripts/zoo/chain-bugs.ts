import type { Bug } from "./bug.ts";

/** Bugs by which messages cause each other without end, while nothing advances (Q8). Z20 is another one. */
export const CHAIN_BUGS: readonly Bug[] = [
  {
    code: "Q8a",
    title: "A leader sends the same entries again at once whenever they are refused, and never goes back",
    file: "core/progress.ts",
    from: "this.#next = Math.max(next, this.#match + 1);",
    to: "this.#next = Math.max(next, this.#next);",
  },
  {
    code: "Q8b",
    title: "A node whose pre-vote is refused asks again at once",
    file: "core/election.ts",
    from: 'if (role.type !== "pre-candidate" || !message.granted || message.round !== role.round) return;',
    to: 'if (role.type !== "pre-candidate" || message.round !== role.round) return;\n  if (!message.granted) {\n    askForPreVotes(state);\n    return;\n  }',
  },
  {
    code: "Q8c",
    title: "A follower whose read is refused by the node that it follows asks it again at once",
    file: "core/reads.ts",
    from: "if (!state.reads.takeForwarded(message.id)) return;",
    to: 'if (message.index === null && state.leaderId !== null) {\n    const { id: from, term } = state;\n    state.send(state.leaderId, { type: "read-index", from, term, id: message.id });\n    return;\n  }\n  if (!state.reads.takeForwarded(message.id)) return;',
  },
  {
    code: "Q8d",
    title: "A leader answers each refusal of a follower that needs a snapshot with another heartbeat",
    file: "core/replication.ts",
    from: "    state.pendingActions.sendSnapshot(message.from);\n  }\n  extendLease",
    to: "    state.pendingActions.sendSnapshot(message.from);\n    progress.heartbeatDue = true;\n  }\n  extendLease",
  },
  {
    code: "Q8e",
    title: "A receiver whose source doesn't have the snapshot asks it again at once",
    file: "runtime/snapshots/snapshot-fetcher.ts",
    from: "this.#enqueue(transfer, () => this.#giveUp(transfer));\n  }\n\n  /** Ends the transfer; what",
    to: "this.#sendRequest(transfer, 0, 0);\n  }\n\n  /** Ends the transfer; what",
  },
];
