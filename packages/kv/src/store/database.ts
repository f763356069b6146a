/**
 * What the state machine needs from its database: an ordered map from bytes to bytes, with atomic batches.
 */
export interface Database {
  /** undefined: there is no such key. */
  get(key: Uint8Array): Promise<Uint8Array | undefined>;
  /**
   * Applies all of the operations or none, also across a crash. With `sync`, this batch is durable when the
   * promise resolves. **Batches before it need not be**: those without `sync` may be lost in a power cut, one
   * by one, also when later batches are kept (`level-database.ts` says which).
   */
  batch(operations: DatabaseOperation[], options: { readonly sync: boolean }): Promise<void>;
  /** Makes all batches so far durable. Absent: a batch with `sync` makes those before it durable too. */
  checkpoint?(): Promise<void>;
  /**
   * Verifies what the database has on disk, also what no entry's own checksum covers: keys, and what leads to
   * them. Absent: there is nothing to verify. Calls `progress` now and then: it reads everything, which may
   * take long.
   *
   * @throws DatabaseCorruption
   */
  verify?(progress: () => void): Promise<void>;
  /** The entries of the range `[from, to)` in byte order of their keys, as of the moment of this call. */
  entries(from: Uint8Array, to: Uint8Array): AsyncIterable<readonly [key: Uint8Array, value: Uint8Array]>;
  /** Releases the files. The database isn't used afterwards. */
  close(): Promise<void>;
}

/** One change in a batch. */
export type DatabaseOperation =
  | { readonly type: "put"; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly type: "del"; readonly key: Uint8Array };

/**
 * The database can't be opened, or the state in it can't be used. The message says what to do. If it is this
 * class itself, and not `DatabaseDamagedError`, rebuilding the state is no remedy: something else has to be
 * put right first, such as a full disk.
 */
export class DatabaseOpenError extends Error {
  override readonly name: string = "DatabaseOpenError";
}

/**
 * The state is damaged, incomplete, or of an older format, and can't be used. It has to be rebuilt from the
 * log and the snapshot.
 */
export class DatabaseDamagedError extends DatabaseOpenError {
  override readonly name = "DatabaseDamagedError";
}

/** Thrown by an open database that notices that its own files are damaged. */
export class DatabaseCorruption extends Error {
  override readonly name = "DatabaseCorruption";
}

/** The end of error messages that advise moving a damaged state away. */
export const REBUILD_ADVICE =
  "the log and the snapshot beside it hold all of it, and it is built anew from there";

/**
 * How many bytes of changes LevelDB collects in memory (in a memtable) and in one of its log files, before it
 * begins the next of each; `openDatabase` sets it. LevelDB's default. `ringBatchesFor` derives from it which
 * batches a power cut can take.
 */
export const WRITE_BUFFER_BYTES: number = 4 * 1024 * 1024;
