/** The layout of a node's data directory, which `keelson serve --data` names. */
import { existsSync } from "node:fs";
import path from "node:path";

/** The directories in a node's data directory. */
export interface DataDirectory {
  /** The write-ahead log, with the hard state. */
  readonly log: string;
  /** The state machine's database. null: not known, because only the log was named. */
  readonly state: string | null;
  /** The newest snapshot. null: not known, because only the log was named. */
  readonly snapshots: string | null;
}

export const LOG_DIRECTORY = "log";
export const SNAPSHOTS_DIRECTORY = "snapshots";

/** The parts of the data directory `directory`, whether they exist or not. */
export function dataDirectory(directory: string): { readonly [Part in keyof DataDirectory]: string } {
  return {
    log: path.join(directory, LOG_DIRECTORY),
    state: path.join(directory, "state"),
    snapshots: path.join(directory, SNAPSHOTS_DIRECTORY),
  };
}

/** Finds the parts for a command whose user may name either the data directory or the log in it. */
export function findDataDirectory(directory: string): DataDirectory {
  const parts = dataDirectory(directory);
  return existsSync(parts.log) ? parts : { log: directory, state: null, snapshots: null };
}
