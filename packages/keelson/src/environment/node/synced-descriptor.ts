// A second descriptor of an open file, whose writes are durable when they return (`O_DSYNC`). It saves the
// log one of two trips through Node's thread pool for each batch: write and sync are one system call.
//
// Hazard: `O_DSYNC` isn't everywhere what `fdatasync` is. macOS ignores it, where Node's `fdatasync` asks the
// drive to empty its cache (`F_FULLFSYNC`). Windows only asks the drive to write through its cache, which
// drives may ignore. A file system on a network, or in a program (FUSE), may keep one promise and not the
// other. Rule: it is used on Linux, for the file systems below: their write ends with the same function that
// `fdatasync` calls, for the range that was written (`vfs_fsync_range` with `datasync`), with the same flush
// of the drive's cache. Everywhere else the file has no such descriptor, and a durable write is a write and
// then `fdatasync`.
import fs from "node:fs";

/** What `statfs` calls them: ext2 to ext4, XFS, Btrfs. */
const FILE_SYSTEMS: readonly bigint[] = [0xef53n, 0x58465342n, 0x9123683en];

/**
 * Opens the descriptor for the file that `fd` is open for, also if the file was renamed. Resolves with null
 * where there is none: the caller writes and syncs in two calls.
 */
export async function openSyncedDescriptor(fd: number): Promise<number | null> {
  if (process.platform !== "linux") return null;
  const link = `/proc/self/fd/${String(fd)}`;
  let synced: number | null = null;
  try {
    const { type } = await fs.promises.statfs(link, { bigint: true });
    if (!FILE_SYSTEMS.includes(type)) return null;
    synced = await openFile(link, fs.constants.O_WRONLY | fs.constants.O_DSYNC);
    // Where /proc is imitated, the link may lead to the file that has the name now.
    if (await isSameFile(fd, synced)) return synced;
  } catch {
    // Without /proc, or without a free descriptor.
  }
  if (synced !== null) fs.close(synced, () => undefined);
  return null;
}

function openFile(file: string, flags: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.open(file, flags, (error, fd) => {
      if (error === null) resolve(fd);
      else reject(error);
    });
  });
}

async function isSameFile(one: number, other: number): Promise<boolean> {
  const [first, second] = await Promise.all([identityOf(one), identityOf(other)]);
  return first.dev === second.dev && first.ino === second.ino;
}

function identityOf(fd: number): Promise<fs.BigIntStats> {
  return new Promise((resolve, reject) => {
    fs.fstat(fd, { bigint: true }, (error, stats) => {
      if (error === null) resolve(stats);
      else reject(error);
    });
  });
}
