import type { Bounds } from "../../packages/keelson/src/testing/explore/index.ts";
import type { SourceChange } from "../lib/patched-modules.ts";
import type { Store } from "../sim/stores.ts";

/**
 * A known bug: a change of the source text, made while the code is loaded. Another implementation had it, or
 * it is easy to make. It is small, and a node with it still starts.
 */
export interface Bug extends SourceChange {
  /** The pitfall's code, with a small letter if there are several bugs for one pitfall. */
  readonly code: string;
  readonly title: string;
  /** Further changes: of a bug that needs them, or of a second safeguard that would hide the bug. */
  readonly also?: readonly SourceChange[];
  /** The state machine of the simulated cluster. Default: the simulator's own. */
  readonly store?: Store;
  /**
   * What looks for the bug. Default: the simulator. The explorer looks for bugs that need too many
   * coincidences for random runs.
   */
  readonly finder?:
    | (
        | "transport suite"
        | "log store suite"
        | "storage suite"
        | "memory suite"
        | "peer suite"
        | "state suite"
      )
    | "exploration";
  /** The bounds of the exploration. */
  readonly bounds?: Partial<Bounds>;
}

/** All changes of a bug. */
export function changesOf({ file, from, to, also = [] }: Bug): readonly SourceChange[] {
  return [{ file, from, to }, ...also];
}
