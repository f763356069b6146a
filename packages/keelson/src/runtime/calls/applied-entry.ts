// What becomes of a proposed entry when it is applied, and what the caller of a write gets of it.
import type { LogIndex, LogPosition } from "../../core/position.ts";
import type { RaftError } from "../../errors.ts";

/** A command's result, and the index of the entry that it came from. */
export interface WriteResult<Result> {
  readonly index: LogIndex;
  readonly result: Result;
}

/** The outcome of one entry, for the caller who proposed it, if this node did. */
export type AppliedEntry<Result> =
  | {
      readonly position: LogPosition;
      readonly type: "done";
      readonly result: Result;
    }
  /** A retry in a session: the command took effect at `index`, earlier, with this result. It wasn't applied again. */
  | {
      readonly position: LogPosition;
      readonly type: "duplicate";
      readonly index: LogIndex;
      readonly result: () => Result;
    }
  | { readonly position: LogPosition; readonly type: "rejected"; readonly error: RaftError }
  | { readonly position: LogPosition; readonly type: "session-opened" | "session-closed" | "time-passed" };
