/** Parsing that several commands share. */
import { parseArgs, type ParseArgsConfig } from "node:util";
import { parseAddress } from "../shared/addresses.ts";
import { UsageError } from "../shared/errors.ts";

/** The address that commands ask if `--url` is absent: the first node of `keelson demo`. */
export const URL_DEFAULT = "http://127.0.0.1:9001";

type Flags = NonNullable<ParseArgsConfig["options"]>;

/**
 * The flags and positional arguments of a command line; every command has `--help`.
 *
 * @throws UsageError a flag isn't in `flags`, or has no valid value
 */
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

/**
 * Checks that there is exactly one positional argument for each name, and returns them.
 *
 * @throws UsageError one is missing or empty, or there are too many
 */
export function positionalsOf<const Names extends readonly string[]>(
  positionals: readonly string[],
  ...names: Names
): { readonly [At in keyof Names]: string } {
  const missing = names[positionals.length];
  if (missing !== undefined) throw new UsageError(`${missing} is missing`);
  const extra = positionals[names.length];
  if (extra !== undefined) throw new UsageError(`"${extra}" is one word too many`);
  const empty = names.find((_, at) => positionals[at] === "");
  if (empty !== undefined) throw new UsageError(`${empty} is empty`);
  return positionals as unknown as { readonly [At in keyof Names]: string };
}

/**
 * The nodes that the value of `--url` names: "host:port" or "http://host:port", separated by commas. Returns
 * them as "host:port".
 */
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
