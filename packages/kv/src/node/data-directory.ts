import { existsSync } from "node:fs";
import path from "node:path";

/** Where a node keeps what it has; `--data` of `keelson serve`. */
export interface DataDirectory {
  readonly log: string;
  /** null: only the log was named. */
  readonly state: string | null;
  readonly snapshots: string | null;
}

/** The parts of a node's data directory. */
export function dataDirectory(directory: string): { readonly [Part in keyof DataDirectory]: string } {
  return {
    log: path.join(directory, "log"),
    state: path.join(directory, "state"),
    snapshots: path.join(directory, "snapshots"),
  };
}

/** A person may name the data directory, or the log in it. */
export function findDataDirectory(directory: string): DataDirectory {
  const parts = dataDirectory(directory);
  return existsSync(parts.log) ? parts : { log: directory, state: null, snapshots: null };
}
