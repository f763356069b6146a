import type { Raft } from "../../../runtime/raft.ts";
import type { Usage } from "../plan/plan.ts";

export interface ChangeReaderParts {
  readonly raft: Raft<unknown, unknown>;
  /** How slow the reader is, and when it opens the stream anew; null: it reads at once, and stays. */
  readonly listeners: Usage["listeners"];
  readonly isDead: () => boolean;
  /** Waits in true time: the reader isn't part of the process. */
  readonly wait: (ms: number) => Promise<void>;
}

/** Reads a node's change stream, as a program would that follows the node's role and leader. */
export class ChangeReader {
  /** What the stream said last. It may lag behind the node. */
  readonly announced: { role: string; leader: string | null; leaderTerm: number } = {
    role: "follower",
    leader: null,
    leaderTerm: 0,
  };

  /** Reads until the node stops or its process dies. */
  async run({ raft, listeners, isDead, wait }: ChangeReaderParts): Promise<void> {
    for (let isOver = false; !isOver && !isDead();) {
      let count = 0;
      for await (const change of raft.changes()) {
        if (change.type === "role") this.announced.role = change.role;
        else if (change.type === "leader") {
          this.announced.leader = change.leader;
          this.announced.leaderTerm = change.term;
        }
        isOver = change.type === "stopped";
        if (listeners === null || isOver) continue;
        await wait(listeners.pauseMs);
        count += 1;
        if (count >= listeners.leaveAfter) break;
      }
    }
  }
}
