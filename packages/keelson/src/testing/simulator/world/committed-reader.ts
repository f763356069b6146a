import type { LogIndex } from "../../../core/position.ts";
import type { Raft } from "../../../runtime/raft.ts";
import type { ApplyChecker } from "../checkers/apply-checker.ts";
import { Violation } from "../checkers/violation.ts";

export interface CommittedReaderParts {
  readonly id: string;
  readonly raft: Raft<unknown, unknown>;
  readonly checker: ApplyChecker;
  readonly describe: (command: unknown) => string;
  /** After so many commands the reader leaves the stream, and goes on in a new one. */
  readonly reopenAfter: number;
  readonly isDead: () => boolean;
  readonly report: (error: unknown) => void;
  /** Waits in true time: the reader isn't part of the process. */
  readonly wait: (ms: number) => Promise<void>;
}

/** Streams of one reader that begin anew: few, as the disk may be slow. */
const REREADS_MAX = 3;

/** How long the reader waits after a failure of the stream, such as a read error of the disk. */
const RETRY_MS = 50;

/**
 * Reads a node's stream of committed commands, as a program would that feeds another system, and checks the
 * order.
 */
export class CommittedReader {
  readonly #parts: CommittedReaderParts;
  /** The last command that the stream yielded, or that a snapshot covered before it was read. */
  #readTo: LogIndex = 0;
  /**
   * How many more streams begin with the oldest entry that the node keeps, as for a program that is new: what
   * a reader that keeps up is given comes from memory, the rest from the disk.
   */
  #rereadsLeft = REREADS_MAX;
  /** The streams that were opened. */
  #streams = 0;
  /** The commands that streams yielded, those that were read before included. */
  #commandsRead = 0;

  constructor(parts: CommittedReaderParts) {
    this.#parts = parts;
  }

  get readTo(): LogIndex {
    return this.#readTo;
  }

  /** Grows whenever a stream yields something, so that a slow reader can be told from one that hangs. */
  get commandsRead(): number {
    return this.#commandsRead;
  }

  /** Reads until the node stops or its process dies. */
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
        // The stream fails if a snapshot covers the next command: continue after the snapshot.
        this.#readTo = Math.max(this.#readTo, raft.metrics().firstIndex - 1);
        await wait(RETRY_MS);
      }
    }
  }

  /** Reads one stream. True: it ended because the node stopped. */
  async #readSome(): Promise<boolean> {
    const { id, raft, checker, describe, reopenAfter, isDead } = this.#parts;
    let count = 0;
    const rereads = this.#streams % 2 === 1 && this.#rereadsLeft > 0;
    if (rereads) this.#rereadsLeft -= 1;
    this.#streams += 1;
    let before = rereads ? raft.metrics().firstIndex - 1 : this.#readTo;
    // A snapshot may have covered more since the last stream.
    this.#readTo = Math.max(this.#readTo, before);
    for await (const { index, term, command, session } of raft.committed({ from: before + 1 })) {
      if (isDead()) return true;
      // The stream also yields repetitions of session commands. They had no effect, so no one has applied
      // them.
      const isDuplicate = session !== null && !checker.applied.has(index);
      if (!isDuplicate) checker.delivered(id, { index, term }, describe(command), before);
      before = index;
      this.#commandsRead += 1;
      // What was read before doesn't count, so that the reader comes to an end.
      if (index <= this.#readTo) continue;
      this.#readTo = index;
      count += 1;
      if (count === reopenAfter) return false;
    }
    return true;
  }
}
