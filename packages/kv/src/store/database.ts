/** What the state machine asks of its database: an ordered map of bytes, and batches that are atomic. */
export interface Database {
  get(key: Uint8Array): Promise<Uint8Array | undefined>;
  /** All or nothing, also across a crash. `sync`: durable, with all before it, when the promise resolves. */
  batch(operations: DatabaseOperation[], options: { readonly sync: boolean }): Promise<void>;
  /** From a snapshot taken now, in the order of the keys' bytes; the range is `[from, to)`. */
  entries(from: Uint8Array, to: Uint8Array): AsyncIterable<readonly [key: Uint8Array, value: Uint8Array]>;
  close(): Promise<void>;
}

export type DatabaseOperation =
  | { readonly type: "put"; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly type: "del"; readonly key: Uint8Array };

/** A database that could not be opened; the message says what to do. */
export class DatabaseOpenError extends Error {
  override readonly name = "DatabaseOpenError";
}

/** What helps against a damaged state, for messages. */
export const REBUILT = "the log and the snapshot beside it hold all of it, and it is built anew from there";
