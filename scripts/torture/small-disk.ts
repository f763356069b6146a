import { spawnSync } from "node:child_process";
import { closeSync, cpSync, fsyncSync, mkdirSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import path from "node:path";

/** The disk grows with the log: it is enlarged when less than this is free. */
const FREE_BYTES_MIN = 64 * 1024 * 1024;
const FIRST_MEGABYTES = 128;
const BALLAST = "ballast";

/** A file system in memory for one node, which can be filled to the last byte. */
export class SmallDisk {
  readonly directory: string;
  #megabytes = FIRST_MEGABYTES;

  private constructor(directory: string) {
    this.directory = directory;
  }

  /** Resolves with a text if it can't be made here: the reason. */
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

  /** Fills the file system completely. */
  fill(): void {
    const file = openSync(path.join(this.directory, BALLAST), "a");
    try {
      // Write smaller and smaller pieces, so that no byte stays free.
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

  /** Copies the files out of memory, where they would be lost with the run. */
  copyTo(directory: string): void {
    cpSync(this.directory, directory, { recursive: true });
  }

  unmount(): void {
    spawnSync("umount", ["--lazy", this.directory]);
  }
}
