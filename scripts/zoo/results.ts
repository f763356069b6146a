/** The stored results of the zoo: `zoo.json`, and the table that is made of it, `zoo.md`. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { format, resolveConfig } from "prettier";

import type { Bug } from "./bug.ts";
import { tableOf, type Line } from "./report.ts";

/** See the file's header. Other processes may write the same files. */
export class StoredResults {
  readonly #directory: string;
  readonly #bugs: readonly Pick<Bug, "code">[];

  /** `bugs`: all that there are, in the order of the files; results of others are dropped. */
  constructor(directory: string, bugs: readonly Pick<Bug, "code">[]) {
    this.#directory = directory;
    this.#bugs = bugs;
  }

  /** The results as the file has them now. */
  get lines(): Line[] {
    const file = path.join(this.#directory, "zoo.json");
    if (!existsSync(file)) return [];
    const { bugs } = JSON.parse(readFileSync(file, "utf8")) as { bugs: Line[] };
    return bugs;
  }

  /**
   * Replaces one bug's result. Reads the others from the file at this moment: a process that works beside
   * this one may have recorded them since this one began.
   */
  record(line: Line): Promise<void> {
    return this.replaceAll([...this.lines.filter(({ code }) => code !== line.code), line]);
  }

  /** Replaces all results. */
  async replaceAll(lines: readonly Line[]): Promise<void> {
    const inOrder = this.#bugs.flatMap((bug) => lines.filter(({ code }) => code === bug.code));
    // Before anything is waited for, so that no other call comes between reading the file and writing it.
    const json = `${JSON.stringify({ bugs: inOrder }, null, 2)}\n`;
    writeFileSync(path.join(this.#directory, "zoo.json"), json);
    const file = path.join(this.#directory, "zoo.md");
    const options = { ...(await resolveConfig(file)), filepath: file };
    const open = this.#bugs
      .map(({ code }) => code)
      .filter((code) => !lines.some((line) => line.code === code));
    writeFileSync(file, await format(tableOf(inOrder, open), options));
  }
}
