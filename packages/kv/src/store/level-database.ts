import { ClassicLevel } from "classic-level";
import { DatabaseOpenError, REBUILT, type Database } from "./database.ts";

/**
 * Files of LevelDB that are open at a time; it takes no fewer. Each is mapped into memory, so a snapshot, which reads
 * them all, would otherwise make a process look as large as its state.
 */
const OPEN_FILES_MAX = 74;

/** Half of LevelDB's default: those that are open and mapped are 64 MiB at most. */
const FILE_BYTES_MAX = 1024 * 1024;

/** Opens the LevelDB in `directory`, and makes it if there is none. */
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
