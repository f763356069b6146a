/** LevelDB (the package classic-level) as the state machine's `Database`. */
import { ClassicLevel } from "classic-level";
import { DatabaseOpenError, REBUILD_ADVICE, type Database } from "./database.ts";

/**
 * Table files that LevelDB keeps open, the fewest it accepts. It maps each into memory; a snapshot reads them
 * all, so a larger limit would make the process look as large as its state.
 */
const OPEN_FILES_MAX = 74;

/** Half of LevelDB's default. With `OPEN_FILES_MAX`, at most about 64 MiB of tables are mapped. */
const FILE_BYTES_MAX = 1024 * 1024;

/**
 * Opens the LevelDB in `directory`, or creates it.
 *
 * @throws DatabaseOpenError it is damaged or in use by another process
 */
export async function openDatabase(directory: string): Promise<Database> {
  const level = new ClassicLevel<Uint8Array, Uint8Array>(directory, {
    maxOpenFiles: OPEN_FILES_MAX,
    maxFileSize: FILE_BYTES_MAX,
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
    // LevelDB takes its snapshot when the iterator is created, not when it is first read.
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
    `cannot open the database in ${directory}: ${reason}. If it is damaged, move that directory away and start again: ${REBUILD_ADVICE}`,
    { cause },
  );
}
