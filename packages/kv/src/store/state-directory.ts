/**
 * The directory of a node's state: opens the LevelDB in it, and moves it away when it can't be used.
 * Everything in it can be rebuilt from the log and the snapshot, so moving it away loses nothing if those are
 * whole; the library checks that first.
 */
import { open, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { isMissing } from "../leveldb/verify-tables.ts";
import { DatabaseDamagedError, type Database } from "./database.ts";
import { openDatabase } from "./level-database.ts";
import type { StateRecovery } from "./state-machine.ts";

/**
 * How many of the states that were set aside are kept: the newest. Only one, because each may be as large as
 * the state, and more would fill the disk. They are kept only to find out what happened; no node ever reads
 * one again.
 */
export const SET_ASIDE_MAX = 1;

/**
 * The name of a file in the database's directory that marks the state as damaged. It is a file rather than a
 * record of the database, because a damaged database may not take a record. LevelDB ignores it.
 */
const MARK_FILE = "DAMAGED";

/** The most characters of the mark that are read: it is one message. */
const MARK_CHARS_MAX = 1000;

/** Opens the database of a node's state, and moves it away if it can't be used. */
export class StateDirectory implements StateRecovery {
  readonly #directory: string;
  readonly #warn: (text: string) => void;

  constructor(directory: string, warn: (text: string) => void) {
    this.#directory = directory;
    this.#warn = warn;
  }

  /** @throws DatabaseDamagedError, DatabaseOpenError */
  async openDatabase(progress?: () => void): Promise<Database> {
    const mark = await readMark(this.#directory);
    if (mark !== null) throw new DatabaseDamagedError(mark);
    try {
      return await openDatabase(this.#directory, progress);
    } catch (error) {
      // LevelDB was open for a moment, and may have begun to write what it read of a damaged table into a new
      // one, with a fresh checksum. The next run wouldn't find the damage any more.
      if (error instanceof DatabaseDamagedError) await this.markDamaged(error.message);
      throw error;
    }
  }

  async markDamaged(reason: string): Promise<void> {
    try {
      await writeFile(path.join(this.#directory, MARK_FILE), reason);
    } catch (error) {
      // Go on without the mark: the next run will most likely find the damage by itself.
      this.#warn(`cannot mark the state as damaged: ${String(error)}`);
    }
  }

  async setAside(): Promise<void> {
    const parent = path.dirname(this.#directory);
    const prefix = `${path.basename(this.#directory)}-damaged-`;
    await removeOldest(parent, prefix, SET_ASIDE_MAX - 1);
    const aside = path.join(parent, prefix + new Date().toISOString().replace(/[-:]|\.\d+/g, ""));
    await rm(aside, { recursive: true, force: true });
    await rename(this.#directory, aside);
    await syncDirectory(parent);
    this.#warn(`the state was moved to ${aside}, and is being rebuilt; the directory can be deleted`);
  }

  report(text: string): void {
    this.#warn(text);
  }
}

/** Why an earlier run called the state damaged. null: it didn't. */
export async function readMark(directory: string): Promise<string | null> {
  try {
    return (await readFile(path.join(directory, MARK_FILE), "utf8")).slice(0, MARK_CHARS_MAX);
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

async function removeOldest(parent: string, prefix: string, keep: number): Promise<void> {
  const names = (await readdir(parent)).filter((name) => name.startsWith(prefix)).sort();
  for (const name of names.slice(0, Math.max(0, names.length - keep))) {
    await rm(path.join(parent, name), { recursive: true, force: true });
  }
}

async function syncDirectory(directory: string): Promise<void> {
  // Windows can't open directories; it writes names in order.
  if (process.platform === "win32") return;
  const handle = await open(directory, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
