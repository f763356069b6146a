import type { RemovedError } from "../../errors.ts";

/** Whether this node was removed from its cluster, as far as it knows. No leader serves its calls then. */
export interface RemovalStatus {
  readonly isRemoved: boolean;
  /** The error of a call that needs a leader; null: this node wasn't removed. */
  readonly refusal: RemovedError | null;
}
