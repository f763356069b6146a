import type { ComponentLog } from "../../log-event.ts";
import type { LogIndex } from "../../core/position.ts";
import { asError } from "./file-error.ts";
import type { Segments } from "./segments.ts";

/** Removes the segments of an open log that are no longer needed, oldest first, in the background. */
export class SegmentRemover {
  readonly #segments: Segments;
  /** The writer's reads in progress. They may use any segment, so none is removed before they have ended. */
  readonly #reads: ReadonlySet<Promise<unknown>>;
  readonly #log: ComponentLog;
  /** The base's index as of the last durable batch. Segments without entries above it are obsolete. */
  #durableBase: LogIndex = 0;
  /** Set for good when a segment could not be removed. */
  #failed = false;
  #inProgress: Promise<void> | null = null;

  constructor(segments: Segments, reads: ReadonlySet<Promise<unknown>>, log: ComponentLog) {
    this.#segments = segments;
    this.#reads = reads;
    this.#log = log;
  }

  /** The removal in progress; null: none. Doesn't reject. */
  get inProgress(): Promise<void> | null {
    return this.#inProgress;
  }

  /**
   * The base is at `index` now, durably: segments without later entries may be removed. Not earlier: a crash
   * could then bring back the former base, whose log needs these segments.
   */
  baseIsDurable(index: LogIndex): void {
    this.#durableBase = index;
    this.#inProgress ??= this.#removeObsolete().finally(() => {
      this.#inProgress = null;
    });
  }

  async #removeObsolete(): Promise<void> {
    for (;;) {
      const obsolete = this.#segments.firstObsolete(this.#durableBase);
      if (obsolete === undefined || this.#failed) return;
      // Wait for the reads in progress, which may use the segment. Reads that begin later can't: the segment
      // holds no entry of the log any more.
      await Promise.allSettled(this.#reads);
      try {
        await this.#segments.removeFirst(obsolete);
      } catch (error) {
        // The segment takes space and does no other harm. Whether its file is still there is unknown, though,
        // and removing later ones could leave a gap in the numbers. So remove nothing more until the log is
        // opened again.
        this.#failed = true;
        const { message } = asError(error);
        this.#log("warn", `a segment that is no longer needed could not be removed: ${message}`, {
          file: obsolete.path,
        });
      }
    }
  }
}
