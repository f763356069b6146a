// What becomes of a proposed entry when it is applied, and what the caller of a write gets of it.
import type { LogIndex, LogPosition } from "../../core/position.ts";
import type { CommandRejectedError, RaftError } from "../../errors.ts";

/** A command's result, and the index of the entry that it came from. */
export interface WriteResult<Result> {
  readonly index: LogIndex;
  readonly result: Result;
}

/** The same, with the result as bytes, for a call of another node. */
export interface EncodedWriteResult {
  readonly index: LogIndex;
  readonly bytes: Uint8Array;
}

/** What became of a command that was just applied, before its result is encoded. */
export type AppliedCommand<Result> =
  | { readonly position: LogPosition; readonly type: "done"; readonly result: Result }
  | { readonly position: LogPosition; readonly type: "rejected"; readonly error: CommandRejectedError };

/** The outcome of one entry, for the caller who proposed it, if this node did. */
export type AppliedEntry<Result> =
  | {
      readonly position: LogPosition;
      readonly type: "done";
      /**
       * Where the command took effect. Of a retry in a session, which isn't applied again, this is an earlier
       * entry.
       */
      readonly index: LogIndex;
      /**
       * The encoded result, which a session may keep: it must not be changed. null: no call on this node
       * waits for it, or the codec has no methods for results.
       */
      readonly bytes: Uint8Array | null;
      /** Decodes the result; throws what the codec throws. Only called if a caller waits on this node. */
      readonly result: () => Result;
    }
  | { readonly position: LogPosition; readonly type: "rejected"; readonly error: RaftError }
  | { readonly position: LogPosition; readonly type: "session-opened" | "session-closed" | "time-passed" };
