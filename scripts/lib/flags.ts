/** The flags of the commands in this folder and in `bench/`. */
import { readFileSync } from "node:fs";
import { parseArgs, type ParseArgsConfig } from "node:util";

/**
 * Parses the flags of `command` ("npm run zoo"). With `--help`, prints `help` and ends the process. What
 * can't be parsed ends it with code 2 and a message that names it, because a stack trace hides a typing
 * mistake.
 */
export function flagsOf<Config extends ParseArgsConfig>(
  command: string,
  help: string,
  config: Config,
): ReturnType<typeof parseArgs<Config>> {
  const args = [...(config.args ?? process.argv.slice(2))];
  if (args.includes("--help") || args.includes("-h")) {
    console.log(help);
    process.exit(0);
  }
  try {
    return parseArgs(config);
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\nTry: ${command} -- --help`);
    process.exit(2);
  }
}

/** The comment that begins the file, as the help of a command whose file says it all. */
export function helpIn(file: string): string {
  return headerOf(readFileSync(file, "utf8"));
}

/** The comment that begins a source text, without its marks. */
export function headerOf(source: string): string {
  const block = /^\/\*\*([\s\S]*?)\*\//.exec(source)?.[1];
  const lines = block?.trim().split("\n") ?? /^(?:\/\/.*\n)*/.exec(source)?.[0].trim().split("\n") ?? [];
  return lines.map((line) => line.replace(/^\s*(?:\*|\/\/) ?/, "")).join("\n");
}
