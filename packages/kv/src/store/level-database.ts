/**
 * LevelDB (the package classic-level) as the state machine's `Database`.
 *
 * What a power cut can take, from LevelDB's source, which comes with the package (`db/db_impl.cc`):
 *
 * - A write with `sync` syncs the newest log file, so everything in that file. When a memtable is full,
 *   `Write` begins a new log file and closes the old one without a sync.
 * - At most two memtables exist. The older one is written to a table, and table and manifest are synced,
 *   before the newer one can be replaced. So what may be lost is the unsynced part of the newest two log
 *   files. When LevelDB opens the database, it skips damaged records of these files without an error.
 * - `CompactRange` first waits until both memtables are in synced tables, whatever the range.
 */
import { ClassicLevel } from "classic-level";
import {
  DatabaseCorruption,
  DatabaseDamagedError,
  DatabaseOpenError,
  REBUILD_ADVICE,
  WRITE_BUFFER_BYTES,
  type Database,
} from "./database.ts";
import { damageInTables } from "../leveldb/verify-tables.ts";
import { obstacleIn } from "./obstacles.ts";

/**
 * Table files that LevelDB keeps open, the fewest it accepts. It maps each into memory; a snapshot reads them
 * all, so a larger limit would make the process look as large as its state.
 */
const OPEN_FILES_MAX = 74;

/** Half of LevelDB's default. With `OPEN_FILES_MAX`, at most about 64 MiB of tables are mapped. */
const FILE_BYTES_MAX = 1024 * 1024;

/** A key that comes after every key of `state-layout.ts`. */
const AFTER_ALL_KEYS = Uint8Array.of(0xff);

/**
 * Opens the LevelDB in `directory`, or creates it. Reads all of its tables before, about 2 s for each
 * gigabyte, and calls `progress` for each.
 *
 * @throws DatabaseDamagedError its files are damaged, or some are missing; DatabaseOpenError it is in use by
 *   another process, or the disk is full, and the like
 */
export async function openDatabase(
  directory: string,
  progress: () => void = () => undefined,
): Promise<Database> {
  // Verify the tables before LevelDB opens them: a compaction would write what it reads of a damaged table
  // into a new one, under a fresh checksum.
  const damage = await damageInTables(directory, progress).catch((error: unknown) => {
    throw openError(directory, error);
  });
  const level = new ClassicLevel<Uint8Array, Uint8Array>(directory, {
    maxOpenFiles: OPEN_FILES_MAX,
    maxFileSize: FILE_BYTES_MAX,
    writeBufferSize: WRITE_BUFFER_BYTES,
    keyEncoding: "view",
    valueEncoding: "view",
  });
  try {
    await level.open();
  } catch (error) {
    throw openError(directory, error);
  }
  // Report the damage only now: if another process has the database open, that error comes first.
  if (damage !== null) {
    await level.close();
    throw new DatabaseDamagedError(`the database is damaged: ${damage}`);
  }
  return {
    get: (key) => level.get(key).catch(rethrow),
    batch: (operations, options) => level.batch(operations, options).catch(rethrow),
    // LevelDB takes its snapshot when the iterator is created, not when it is first read.
    entries: (from, to) => telling(level.iterator({ gte: from, lt: to })),
    // The range is empty, so this only writes the memtables into tables.
    checkpoint: () => level.compactRange(AFTER_ALL_KEYS, AFTER_ALL_KEYS).catch(rethrow),
    verify: async (onProgress) => {
      const found = await damageInTables(directory, onProgress).catch(rethrow);
      if (found !== null) throw new DatabaseCorruption(`the database is damaged: ${found}`);
    },
    close: () => level.close(),
  };
}

async function* telling<T>(entries: AsyncIterable<T>): AsyncGenerator<T, void, undefined> {
  try {
    yield* entries;
  } catch (error) {
    rethrow(error);
  }
}

/** Throws the error that tells what a failed call on the open database means. */
function rethrow(error: unknown): never {
  const { code, reason, cause } = partsOf(error);
  if (isDamage(code, reason)) throw new DatabaseCorruption(reason, { cause });
  const obstacle = obstacleIn(reason);
  if (obstacle !== null) throw new Error(`${obstacle.means}: ${reason}`, { cause });
  throw error;
}

/** The error that `openDatabase` throws for the one of LevelDB. */
export function openError(directory: string, error: unknown): DatabaseOpenError {
  const { code, reason, cause } = partsOf(error);
  // Check this before `obstacleIn`: the reason of a lock that is held may be EAGAIN or EACCES, which would
  // mean something else there.
  if (code === "LEVEL_LOCKED") {
    return new DatabaseOpenError(`${directory} is in use by another process; stop that one first`, { cause });
  }
  const what = `cannot open the database in ${directory}: `;
  // Check this before damage: a file that can't be opened for want of file handles is not missing.
  const obstacle = obstacleIn(`${code} ${reason}`);
  if (obstacle !== null) {
    return new DatabaseOpenError(
      `${what}${obstacle.means} (${reason}). Nothing is wrong with the state: ${obstacle.advice}, and start again`,
      { cause },
    );
  }
  if (isDamage(code, reason)) {
    return new DatabaseDamagedError(`${what}${reason}`, { cause });
  }
  return new DatabaseOpenError(
    `${what}${reason}. If it is damaged, move that directory away and start again: ${REBUILD_ADVICE}`,
    { cause },
  );
}

/**
 * Whether the error says that the files are damaged. LevelDB reports "Corruption" for contents that can't be.
 * A file that LevelDB needs and doesn't find counts as damage too: a power cut can take the name of a file,
 * even the manifest's, out of its directory.
 */
function isDamage(code: string, reason: string): boolean {
  if (code === "LEVEL_CORRUPTION") return true;
  return code === "LEVEL_IO_ERROR" && /no such file or directory/i.test(reason);
}

interface ErrorParts {
  readonly code: string;
  readonly reason: string;
  readonly cause: unknown;
}

/**
 * Code and message of LevelDB's error. abstract-level wraps the error of a failed `open`: LevelDB's is its
 * cause.
 */
function partsOf(error: unknown): ErrorParts {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  return { code, reason: cause instanceof Error ? cause.message : String(cause), cause };
}
