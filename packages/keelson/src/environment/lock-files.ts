/**
 * The names of the files that `FileSystem.lock` leaves in a directory. They stay when the lock is released:
 * removing the lock file would let two processes each lock a file of that name.
 */

/** The file that the kernel locks. It stays empty. */
export const LOCK_FILE = "lock.db";
/** The file that says who holds the lock, in a line for people. Empty, or outdated, when nobody does. */
export const HOLDER_FILE = "lock.holder";

/**
 * Whether a file of this name belongs to the lock. Such a file doesn't count as contents of the directory.
 */
export function isLockFile(name: string): boolean {
  return name === LOCK_FILE || name === HOLDER_FILE || name === `${LOCK_FILE}-journal`;
}
