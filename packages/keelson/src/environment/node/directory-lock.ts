// The lock that keeps two processes from using one data directory.
import fs from "node:fs/promises";
import { hostname } from "node:os";
import path from "node:path";
import type * as Sqlite from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import type { FileLock, LockMode } from "../environment.ts";
import { HOLDER_FILE, LOCK_FILE } from "../lock-files.ts";
import { textOfThrown } from "../../errors.ts";

/**
 * Locks a directory: at most one process holds the exclusive lock, and it is free as soon as its holder has
 * ended, in whatever way. Two nodes on one data directory would overwrite each other's log.
 *
 * **A kernel lock.** A lock made of file names or process ids must decide whether the holder is still
 * running, and can't: a process in another container has a process id that isn't visible here. So the kernel
 * decides. Node has no call for file locks, but SQLite takes one (`fcntl`, on the bytes that its file format
 * reserves for that) while a transaction is open (https://sqlite.org/lockingv3.html). `LOCK_FILE` is an empty
 * SQLite database in which nothing is ever stored; the lock is an open transaction on it. It works across
 * containers, because the kernel keeps the locks of a file, not of a process's view of it.
 *
 * **The lock file is never renamed or removed.** Otherwise two processes could each lock a file of that name.
 *
 * **No other code may open `LOCK_FILE` in this process.** When a process closes any descriptor of a file, the
 * kernel drops all locks that the process has on it (`man 2 fcntl`, "Record locks"). SQLite knows of all its
 * own descriptors and so of locks within this process, also in other threads; it can't know of others.
 *
 * Limits: a network file system must pass `fcntl` locks on to its server, and the directory must not be
 * shared between kernels in another way. See docs/operations.md.
 */
export async function lockDirectory(directory: string, mode: LockMode = "exclusive"): Promise<FileLock> {
  for (let attempt = 1; ; attempt++) {
    try {
      return mode === "exclusive" ? await lockExclusively(directory) : await lockShared(directory);
    } catch (error) {
      if (!isLocked(error)) throw await describeFailure(directory, error);
      if (attempt === ATTEMPTS_MAX) throw await describeHolder(directory, mode);
      // Of two processes that try in the same moment, each may stop the other. Another attempt, after a
      // random time, decides between them.
      await sleep(RETRY_MS_MIN + Math.random() * RETRY_MS_MIN);
    }
  }
}

/**
 * How many attempts fail before the directory counts as locked. The waits between them take 105 to 210 ms in
 * all.
 */
const ATTEMPTS_MAX = 8;
const RETRY_MS_MIN = 15;

/** Takes the exclusive lock, or throws SQLite's error. */
async function lockExclusively(directory: string): Promise<FileLock> {
  // The journal is kept in memory, because SQLite would create a file for it at the start of the transaction.
  const database = await openLockFile(directory, "PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
  await removeFormerLocks(directory);
  await writeHolder(directory, descriptionOfSelf());
  return {
    release: async () => {
      if (!HELD.has(database)) return;
      await writeHolder(directory, "");
      closeLockFile(database);
    },
  };
}

/**
 * Takes the shared lock. Creates nothing, so that it works on a read-only volume too. A directory without a
 * lock file is in use by nobody. Where there is a lock file, a process may hold it, even if this one can't
 * write there.
 */
async function lockShared(directory: string): Promise<FileLock> {
  try {
    await fs.access(path.join(directory, LOCK_FILE));
  } catch (error) {
    if (codeOf(error) === "ENOENT") return { release: () => Promise.resolve() };
    throw error;
  }
  const database = await openLockFile(directory, "BEGIN; SELECT count(*) FROM sqlite_schema", true);
  return {
    release: () => {
      closeLockFile(database);
      return Promise.resolve();
    },
  };
}

/**
 * The databases whose transaction is a lock that is held. Referenced here so that they aren't collected, and
 * their locks dropped, while their `FileLock` is still in use somewhere.
 */
const HELD = new Set<Sqlite.DatabaseSync>();

async function openLockFile(directory: string, sql: string, readOnly = false): Promise<Sqlite.DatabaseSync> {
  const { DatabaseSync } = await loadSqlite();
  // An absolute path: SQLite gives names such as ":memory:" and "file:..." a meaning of their own.
  const database = new DatabaseSync(path.resolve(directory, LOCK_FILE), { readOnly });
  try {
    database.exec(sql);
  } catch (error) {
    database.close();
    throw error;
  }
  HELD.add(database);
  return database;
}

function closeLockFile(database: Sqlite.DatabaseSync): void {
  // Closing rolls the transaction back, which releases the lock.
  if (HELD.delete(database)) database.close();
}

/** Loaded only when a directory is locked: Node 22 prints a warning that its SQLite is experimental. */
async function loadSqlite(): Promise<typeof Sqlite> {
  try {
    return await import("node:sqlite");
  } catch (cause) {
    throw new Error(
      `a directory is locked through node:sqlite, which Node ${process.version} does not offer; ` +
        "use Node 22.13 or later",
      { cause },
    );
  }
}

/** The files of the lock that versions before 0.1 used. Only the holder of the lock may remove them. */
const FORMER_LOCK = /^lock-\d+-\d+-[0-9a-f]+-[0-9a-f]+\.(wanted|held)$/;

async function removeFormerLocks(directory: string): Promise<void> {
  for (const name of await fs.readdir(directory)) {
    if (FORMER_LOCK.test(name)) await fs.rm(path.join(directory, name), { force: true });
  }
}

/** Who holds the lock, for the message to a process that is refused. Decides nothing. */
function descriptionOfSelf(): string {
  return `process ${String(process.pid)} on ${hostname()}, since ${new Date().toISOString()}\n`;
}

/**
 * Writes the line about the holder, in place: nothing in the directory is renamed. Failures are ignored,
 * because only a message depends on it.
 */
async function writeHolder(directory: string, text: string): Promise<void> {
  await fs.writeFile(path.join(directory, HOLDER_FILE), text).catch(() => undefined);
}

/**
 * The most characters of a description of the holder. A longer one isn't from this program, and is ignored.
 */
const HOLDER_CHARS_MAX = 200;

async function readHolder(directory: string): Promise<string | null> {
  const text = await fs.readFile(path.join(directory, HOLDER_FILE), "utf8").catch(() => "");
  const line = text.trim();
  return line === "" || line.length > HOLDER_CHARS_MAX || /\p{Cc}/u.test(line) ? null : line;
}

/** The error for a process that finds the directory locked. */
async function describeHolder(directory: string, mode: LockMode): Promise<Error> {
  const isBeingRead = mode === "exclusive" && (await canShare(directory));
  const holder = isBeingRead ? null : await readHolder(directory);
  const by = isBeingRead
    ? "another process that reads it, such as keelson inspect. Try again when that has ended"
    : holder === null
      ? "another process, which has not said which one it is. Stop that process first. If there is none on " +
        "any machine or in any container that shares the directory, its file system has no working locks"
      : `${holder}. Stop that process first; it may be in another container`;
  return failure("ELOCKED", `${directory} is in use by ${by}`);
}

/** Whether the shared lock is free: then the exclusive one isn't held either. */
async function canShare(directory: string): Promise<boolean> {
  try {
    await (await lockShared(directory)).release();
    return true;
  } catch {
    return false;
  }
}

/** SQLite's primary result codes (https://sqlite.org/rescode.html). */
const SQLITE = { busy: 5, readOnly: 8, ioError: 10, cannotOpen: 14, protocol: 15, notADatabase: 26 } as const;
const SQLITE_PRIMARY_MASK = 0xff;

function primaryCode(error: unknown): number | null {
  if (!(error instanceof Error && "errcode" in error && typeof error.errcode === "number")) return null;
  return error.errcode & SQLITE_PRIMARY_MASK;
}

function isLocked(error: unknown): boolean {
  return primaryCode(error) === SQLITE.busy;
}

/** Says what keeps the lock from being taken, when that isn't another process. */
async function describeFailure(directory: string, cause: unknown): Promise<unknown> {
  const file = path.join(directory, LOCK_FILE);
  const code = primaryCode(cause);
  if (code === null) return cause;
  // SQLite doesn't pass on the system's error code, but the same fault shows in other calls.
  const system = await systemFault(directory);
  if (system !== null) return failure(system.code, `${file} cannot be locked: ${system.text}`, cause);
  const detail = textOfThrown(cause);
  switch (code) {
    case SQLITE.ioError:
    case SQLITE.protocol:
      return failure(
        "ENOLCK",
        `${file} cannot be locked (${detail}): the file system offers no locks, or its server does not answer. ` +
          "Use a local file system",
        cause,
      );
    case SQLITE.readOnly:
    case SQLITE.cannotOpen:
      return failure(
        "EACCES",
        `${file} cannot be locked: it cannot be opened for writing (${detail})`,
        cause,
      );
    case SQLITE.notADatabase:
      return failure(
        "EINVAL",
        `${file} is no lock file of this program: something else wrote into it`,
        cause,
      );
    default:
      return failure("EIO", `${file} cannot be locked: ${detail}`, cause);
  }
}

/** Why files in the directory can't be created or opened; null: nothing is wrong. */
async function systemFault(directory: string): Promise<{ code: string; text: string } | null> {
  try {
    await fs.access(directory, fs.constants.W_OK | fs.constants.X_OK);
    await (await fs.opendir(directory)).close();
    const { bavail, ffree, files } = await fs.statfs(directory);
    // File systems without a table of inodes report none at all.
    const isFull = bavail === 0 || (files > 0 && ffree === 0);
    return isFull ? { code: "ENOSPC", text: "ENOSPC: no space left on the device" } : null;
  } catch (error) {
    return { code: codeOf(error) ?? "EIO", text: textOfThrown(error) };
  }
}

function failure(code: string, text: string, cause?: unknown): Error {
  return Object.assign(new Error(text, cause === undefined ? {} : { cause }), { code });
}

function codeOf(error: unknown): string | null {
  return error instanceof Error && "code" in error ? String(error.code) : null;
}
