import path from "node:path";

/** The directory of the program that Node runs; where it was started, if it runs none (a REPL, `--eval`). */
export function programDirectory(): string {
  const program = process.argv[1];
  return program === undefined ? process.cwd() : path.dirname(program);
}
