import type { Bug } from "./bug.ts";

/** Bugs that leave an idle cluster unfinished or busy, and bugs that make catching up slow. */
export const REST_BUGS: readonly Bug[] = [
  {
    code: "Q1a",
    title: "A snapshot that becomes due while another one is being taken waits for the next write",
    file: "runtime/snapshots/snapshot-taker.ts",
    from: "        this.#inProgress = null;\n        this.takeIfDue();",
    to: "        this.#inProgress = null;",
  },
  {
    code: "Q1b",
    title: "A snapshot is offered once, and the offer is lost",
    file: "core/replication.ts",
    from: "    state.pendingActions.sendSnapshot(message.from);",
    to: "    void message;",
  },
  {
    code: "Q1c",
    title: "After a failed snapshot, the next one waits for a write instead of the end of a pause",
    file: "runtime/snapshots/snapshot-taker.ts",
    from: "      this.#notBefore = -Infinity;\n      this.takeIfDue();",
    to: "      this.#notBefore = -Infinity;",
  },
  {
    code: "Q2a",
    title: "The leader goes back one entry for each refusal",
    file: "core/replication.ts",
    from: "progress.becomeProbe(Math.min(reachable, refused - 1) + 1);",
    to: "progress.becomeProbe(Math.max(Math.min(reachable, refused - 1) + 1, refused));",
  },
  {
    code: "Q2b",
    title: "A follower stays in the state of probing, and gets one message per heartbeat",
    file: "core/progress.ts",
    from: '      this.#become("replicate");\n      this.#next = this.#match + 1;',
    to: "      this.#next = this.#match + 1;",
  },
  {
    code: "Q2c",
    title: "A follower acknowledges entries only with the next heartbeat round",
    file: "core/replication.ts",
    from: "if (!isComplete && !isNewRound && match <= following.acknowledgedIndex) return;",
    to: "if (!isComplete && !isNewRound && match <= following.acknowledgedIndex) return;\n  if (!isNewRound) return;",
  },
  {
    code: "Q2d",
    title: "An acknowledgement that waits for the disk is dropped, and given with the next heartbeat",
    file: "core/replication.ts",
    from: "following.acknowledgementDue = !isComplete;",
    to: "following.acknowledgementDue = false;",
  },
  {
    code: "Q3a",
    title: "The log that was kept for the receiver of a snapshot is kept after it has caught up",
    file: "runtime/snapshots/snapshot-manager.ts",
    from: "      ended: () => {\n        compactor.compact();",
    to: "      ended: () => {\n        void compactor;",
  },
  {
    code: "Q3b",
    title: "A removed member gets heartbeats without limit",
    file: "core/leadership.ts",
    from: 'if (knows || now >= removalNotice.until || progress.state === "snapshot") leader.progress.delete(id);',
    to: 'if (now === -1 || (knows && progress.state === "snapshot")) leader.progress.delete(id);',
  },
  {
    code: "Q3c",
    title: "Each acknowledgement is answered with another heartbeat",
    file: "core/replication.ts",
    from: "    advanceCommit(state);\n  } else if",
    to: "    advanceCommit(state);\n    progress.heartbeatDue = true;\n  } else if",
  },
  {
    code: "Q3d",
    title: "The log is not compacted for a fetched snapshot that could not be installed",
    file: "runtime/snapshots/snapshot-manager.ts",
    from: "    this.#compactor.compactIfReached();\n    this.#fetcher.onApplied(",
    to: "    this.#fetcher.onApplied(",
  },
];
