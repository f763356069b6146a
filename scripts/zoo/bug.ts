import type { Bounds } from "../../packages/keelson/src/testing/explore/index.ts";
import type { SourceChange } from "../lib/patched-modules.ts";
import type { Store } from "../sim/stores.ts";

/**
 * A known bug, as a change of the source text that is made while it is loaded. It is one that others had, or
 * that is easily made: plausible, small, and nothing that stops a node from starting.
 */
export interface Bug extends SourceChange {
  /** A pitfall's code, and a small letter where it comes in several forms. */
  readonly code: string;
  readonly title: string;
  /** Further changes, for a bug that a second line of defence would hide. */
  readonly also?: readonly SourceChange[];
  /** What the simulated cluster replicates; default: the simulation's own store. */
  readonly store?: Store;
  /** What looks for it; default: the simulator. The exploration is for those that take too many coincidences. */
  readonly finder?: "transport suite" | "log store suite" | "storage suite" | "state suite" | "exploration";
  /** Where the exploration looks. */
  readonly bounds?: Partial<Bounds>;
}

export function changesOf({ file, from, to, also = [] }: Bug): readonly SourceChange[] {
  return [{ file, from, to }, ...also];
}
