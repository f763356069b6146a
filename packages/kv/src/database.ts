import { ClassicLevel } from "classic-level";

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
export const REBUILT = "the log holds all of it, and it is built anew from there";

/** Opens the LevelDB in `directory`, and makes it if there is none. */
export async function openDatabase(directory: string): Promise<Database> {
  const level = new ClassicLevel<Uint8Array, Uint8Array>(directory, {
    keyEncoding: "view",
    valueEncoding: "view",
  });
  try {
    await level.open();
  } catch (error) {
    throw openError(directory, error);
  }
  return {
    get: (key) => level.get(key),
    batch: (operations, options) => level.batch(operations, options),
    entries: (from, to) => level.iterator({ gte: from, lt: to }),
    close: () => level.close(),
  };
}

function openError(directory: string, error: unknown): DatabaseOpenError {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  const reason = cause instanceof Error ? cause.message : String(cause);
  if (code === "LEVEL_LOCKED") {
    return new DatabaseOpenError(`${directory} is in use by another process; stop that one first`, { cause });
  }
  return new DatabaseOpenError(
    `cannot open the database in ${directory}: ${reason}. If it is damaged, move that directory away and start again: ${REBUILT}`,
    { cause },
  );
}
