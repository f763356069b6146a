import { parseArgs, type ParseArgsConfig } from "node:util";
import { parseAddress } from "../shared/addresses.ts";
import { UsageError } from "../shared/errors.ts";

type Flags = NonNullable<ParseArgsConfig["options"]>;

/** The flags and the other words of a command line. Throws `UsageError` for what is not among `flags`. */
export function parseCommand<const T extends Flags>(
  args: readonly string[],
  flags: T,
): ReturnType<typeof parse<T>> {
  try {
    return parse(args, flags);
  } catch (error) {
    // Node's message names the flag and what is wrong with it.
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function parse<const T extends Flags>(args: readonly string[], flags: T) {
  return parseArgs({
    args: [...args],
    options: { ...flags, help: { type: "boolean", default: false } } as const,
    allowPositionals: true,
    strict: true,
  });
}

/** The words of a command that are no flags, by name; there must be exactly these. */
export function wordsOf<const Names extends readonly string[]>(
  words: readonly string[],
  ...names: Names
): { readonly [At in keyof Names]: string } {
  const missing = names[words.length];
  if (missing !== undefined) throw new UsageError(`${missing} is missing`);
  const extra = words[names.length];
  if (extra !== undefined) throw new UsageError(`"${extra}" is one word too many`);
  const empty = names.find((_, at) => words[at] === "");
  if (empty !== undefined) throw new UsageError(`${empty} is empty`);
  return words as unknown as { readonly [At in keyof Names]: string };
}

/** The addresses in the value of `--url`: "host:port" or "http://host:port", several with commas in between. */
export function nodesIn(text: string, flag = "--url"): string[] {
  return text.split(",").map((part) => {
    const address = part
      .trim()
      .replace(/^http:\/\//, "")
      .replace(/\/$/, "");
    if (parseAddress(address) === null) {
      throw new UsageError(`${flag}: "${part}" is not http://HOST:PORT, such as http://127.0.0.1:9001`);
    }
    return address;
  });
}
