/**
 * The processes and folders of a run, so that none is left behind when the run ends early: by Ctrl-C, by a
 * signal, or by an error.
 */
import { rmSync } from "node:fs";
import type { ChildProcess } from "node:child_process";

const children = new Set<ChildProcess>();
const folders = new Set<string>();

/** Kills the child when this process ends. Returns the child. */
export function endWithUs<C extends ChildProcess>(child: C): C {
  children.add(child);
  child.once("exit", () => children.delete(child));
  return child;
}

/** Removes the folder when this process ends. Returns the folder. */
export function removeWithUs(folder: string): string {
  folders.add(folder);
  return folder;
}

export function removeFolder(folder: string): void {
  // A killed process may still be writing for a moment.
  rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  folders.delete(folder);
}

process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
  for (const folder of folders) removeFolder(folder);
});

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    process.exit(1);
  });
}
