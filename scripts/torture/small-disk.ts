import { spawnSync } from "node:child_process";
import { closeSync, cpSync, fsyncSync, mkdirSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import path from "node:path";

/** The log begins small and grows; the disk is made larger when less than this is free. */
const FREE_BYTES_MIN = 64 * 1024 * 1024;
const FIRST_MEGABYTES = 128;
const BALLAST = "ballast";

/** A file system of a node's own, in memory, that can be filled to the last byte. */
export class SmallDisk {
  readonly directory: string;
  #megabytes = FIRST_MEGABYTES;

  private constructor(directory: string) {
    this.directory = directory;
  }

  /** A text: why there can be none here. */
  static mount(directory: string): SmallDisk | string {
    mkdirSync(directory, { recursive: true });
    const { error, status, stderr } = spawnSync(
      "mount",
      ["-t", "tmpfs", "-o", `size=${FIRST_MEGABYTES}m`, "tmpfs", directory],
      { encoding: "utf8" },
    );
    if (error !== undefined) return error.message;
    return status === 0 ? new SmallDisk(directory) : stderr.trim();
  }

  /** Leaves no byte free. */
  fill(): void {
    const file = openSync(path.join(this.directory, BALLAST), "a");
    try {
      // Less and less at a time, so that nothing remains.
      for (let bytes = 1024 * 1024; bytes >= 1;) {
        try {
          if (writeSync(file, Buffer.alloc(bytes)) < bytes) bytes = Math.floor(bytes / 2);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
          bytes = Math.floor(bytes / 2);
        }
      }
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  }

  free(): void {
    rmSync(path.join(this.directory, BALLAST), { force: true });
    const { bavail, bsize } = statfsSync(this.directory);
    if (bavail * bsize > FREE_BYTES_MIN) return;
    this.#megabytes *= 2;
    spawnSync("mount", ["-o", `remount,size=${this.#megabytes}m`, this.directory]);
  }

  /** What is in memory goes with the run: this keeps it. */
  copyTo(directory: string): void {
    cpSync(this.directory, directory, { recursive: true });
  }

  unmount(): void {
    spawnSync("umount", ["--lazy", this.directory]);
  }
}
