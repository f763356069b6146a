import type { FileLock, FileSystem, LockMode } from "../environment/environment.ts";
import { DirectoryLockedError } from "../errors.ts";

/**
 * Locks the directory of a store. A process that writes must do so before it does anything else there: two
 * processes that write one log would destroy it. A process that only reads takes the lock in mode "shared".
 *
 * @throws DirectoryLockedError another process, or this one, holds the lock
 */
export async function lockStore(
  files: FileSystem,
  directory: string,
  mode: LockMode = "exclusive",
): Promise<FileLock> {
  try {
    return await files.lock(directory, mode);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ELOCKED")) throw error;
    throw new DirectoryLockedError(error.message, { cause: error });
  }
}

/** Holds the shared lock of a directory while `use` reads it. */
export async function whileShared<T>(
  files: FileSystem,
  directory: string,
  use: () => Promise<T>,
): Promise<T> {
  const lock = await lockStore(files, directory, "shared");
  try {
    return await use();
  } finally {
    await lock.release();
  }
}
