import { mkdirSync, readdirSync } from "node:fs";

/**
 * Makes the directory that the option `--NAME` names. Throws an Error if it holds anything: files of an
 * earlier run would be taken for this run's.
 */
export function makeEmptyDirectory(name: string, directory: string): void {
  mkdirSync(directory, { recursive: true });
  if (readdirSync(directory).length > 0)
    throw new Error(`--${name} ${directory} is not empty; a run begins with nothing`);
}
