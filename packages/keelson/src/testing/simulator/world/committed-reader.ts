import type { Raft } from "../../../runtime/raft.ts";
import type { ClusterChecker } from "../checkers/cluster-checker.ts";
import { Violation } from "../checkers/violation.ts";

export interface CommittedReaderParts {
  readonly id: string;
  readonly raft: Raft<unknown, unknown>;
  readonly checker: ClusterChecker;
  readonly describe: (command: unknown) => string;
  /** After so many commands it leaves the stream, and goes on in a new one. */
  readonly commandsEach: number;
  readonly isDead: () => boolean;
  readonly report: (error: unknown) => void;
  readonly wait: (ms: number) => Promise<void>;
}

/** A disk that failed once may be read later. */
const RETRY_MS = 50;

/** Follows a node's stream of committed commands, as a program would that feeds something else from it. */
export class CommittedReader {
  readonly #parts: CommittedReaderParts;
  #readTo = 0;

  constructor(parts: CommittedReaderParts) {
    this.#parts = parts;
  }

  /** The last command that it was given. */
  get readTo(): number {
    return this.#readTo;
  }

  /** Until the node stops, or its process dies. */
  async run(): Promise<void> {
    const { raft, isDead, report, wait } = this.#parts;
    for (;;) {
      try {
        if (await this.#readSome()) return;
      } catch (error) {
        if (isDead()) return;
        if (error instanceof Violation) {
          report(error);
          return;
        }
        if (raft.metrics().role === "stopped") return;
        // What a snapshot covers is not told any more.
        this.#readTo = Math.max(this.#readTo, raft.metrics().firstIndex - 1);
        await wait(RETRY_MS);
      }
    }
  }

  /** True: the stream ended by itself. */
  async #readSome(): Promise<boolean> {
    const { id, raft, checker, describe, commandsEach, isDead } = this.#parts;
    let count = 0;
    for await (const { index, term, command, session } of raft.committed({ from: this.#readTo + 1 })) {
      if (isDead()) return true;
      // A retry shows as well, and had no effect: that one there has is known by then.
      const isRetry = session !== null && !checker.applies.applied.has(index);
      if (!isRetry) checker.applies.delivered(id, { index, term }, describe(command), this.#readTo);
      this.#readTo = index;
      count += 1;
      if (count === commandsEach) return false;
    }
    return true;
  }
}
