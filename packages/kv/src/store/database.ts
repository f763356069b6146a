/**
 * What the state machine needs from its database: an ordered map from bytes to bytes, with atomic batches.
 */
export interface Database {
  /** undefined: there is no such key. */
  get(key: Uint8Array): Promise<Uint8Array | undefined>;
  /**
   * Applies all of the operations or none, also across a crash. With `sync`, this batch and all before it are
   * durable when the promise resolves. Without, a power cut may lose the batch, even if it keeps a later one.
   */
  batch(operations: DatabaseOperation[], options: { readonly sync: boolean }): Promise<void>;
  /** The entries of the range `[from, to)` in byte order of their keys, as of the moment of this call. */
  entries(from: Uint8Array, to: Uint8Array): AsyncIterable<readonly [key: Uint8Array, value: Uint8Array]>;
  close(): Promise<void>;
}

/** One change in a batch. */
export type DatabaseOperation =
  | { readonly type: "put"; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly type: "del"; readonly key: Uint8Array };

/** The database can't be opened, or the state in it can't be used. The message says what to do. */
export class DatabaseOpenError extends Error {
  override readonly name = "DatabaseOpenError";
}

/** The end of error messages that advise moving a damaged state away. */
export const REBUILD_ADVICE =
  "the log and the snapshot beside it hold all of it, and it is built anew from there";
