/** Parsing that several commands share. */
import { parseArgs, type ParseArgsConfig } from "node:util";
import { TOKEN_FILE_VARIABLE, tokenFileIn, tokenToSend } from "../access/token-file.ts";
import type { ClientTls } from "../client/sender.ts";
import { parseAddress } from "../shared/addresses.ts";
import { UsageError } from "../shared/errors.ts";
import { readFileOf } from "../shared/secret-file.ts";

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

/** What `parse` asks of Node's `parseArgs`. */
interface Parsing<T extends Flags> {
  readonly args: string[];
  readonly options: T & { readonly help: { readonly type: "boolean"; readonly default: false } };
  readonly allowPositionals: true;
  readonly strict: true;
}

function parse<const T extends Flags>(
  args: readonly string[],
  flags: T,
): ReturnType<typeof parseArgs<Parsing<T>>> {
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
 * The nodes that the value of `--url` names: "host:port", "http://host:port" or "https://host:port",
 * separated by commas. Returns them as "host:port", and those with TLS as "https://host:port". `usesTls`:
 * what is meant without a scheme; then a node without TLS is refused.
 */
export function nodesIn(text: string, flag = "--url", usesTls = false): string[] {
  return text.split(",").map((part) => {
    const [, scheme, address = ""] = /^(?:(https?):\/\/)?(.*?)\/?$/.exec(part.trim()) ?? [];
    if (parseAddress(address) === null) {
      throw new UsageError(
        `${flag}: "${part}" is not http://HOST:PORT or https://HOST:PORT, such as http://127.0.0.1:9001`,
      );
    }
    if (scheme === "http" && usesTls)
      throw new UsageError(
        `${flag}: "${part}" is without TLS; leave the flags of TLS out, or give https://${address}`,
      );
    return scheme === "https" || usesTls ? `https://${address}` : address;
  });
}

/** The nodes of `--url`, or else the first of `keelson demo`. */
export function urlsIn(text: string | undefined, files: ConnectionFiles): string[] {
  return nodesIn(text ?? URL_DEFAULT.replace("http://", ""), "--url", usesTls(files));
}

/** The flags of every command that asks nodes. */
export const CONNECTION_FLAGS = {
  "token-file": { type: "string" },
  "admin-token-file": { type: "string" },
  "tls-ca": { type: "string" },
  "tls-cert": { type: "string" },
  "tls-key": { type: "string" },
} as const;

/** The lines of the help for `CONNECTION_FLAGS`. */
export const CONNECTION_HELP: string = `  --token-file FILE   send the token in FILE, to the nodes in --url only (default: what the environment variable
                      ${TOKEN_FILE_VARIABLE} names, if it is set); --admin-token-file is the same
  --tls-ca FILE       use TLS, and trust the authorities whose certificates are in FILE (default for https://
                      addresses: those that Node knows)
  --tls-cert FILE, --tls-key FILE
                      use TLS, and show this certificate, for nodes that require one
`;

/** The files by which a command proves who it is, and checks whom it asks. */
export interface ConnectionFiles {
  /** undefined: not given on the command line. */
  readonly tokenFile?: string | undefined;
  readonly tlsCa?: string | undefined;
  readonly tlsCert?: string | undefined;
  readonly tlsKey?: string | undefined;
}

type ConnectionValues = { readonly [Flag in keyof typeof CONNECTION_FLAGS]?: string | undefined };

/** @throws UsageError the flags don't go together */
export function connectionIn(values: ConnectionValues): ConnectionFiles {
  const files = {
    tokenFile: tokenFileIn(values),
    tlsCa: values["tls-ca"],
    tlsCert: values["tls-cert"],
    tlsKey: values["tls-key"],
  };
  if ((files.tlsCert === undefined) !== (files.tlsKey === undefined))
    throw new UsageError("--tls-cert and --tls-key belong together: give both");
  return files;
}

/** Whether a flag of TLS was given. */
export function usesTls({ tlsCa, tlsCert }: ConnectionFiles): boolean {
  return tlsCa !== undefined || tlsCert !== undefined;
}

/** What a client sends to prove who it is, and how it checks nodes. */
export interface Credentials {
  readonly token: string | null;
  readonly tls: ClientTls;
}

/**
 * Reads the files.
 *
 * @throws StartError one of them can't be read, or a secret is open to others
 */
export async function readCredentials(files: ConnectionFiles): Promise<Credentials> {
  const read = async (
    file: string | undefined,
    what: string,
    isSecret: boolean,
  ): Promise<string | undefined> => (file === undefined ? undefined : readFileOf(file, what, isSecret));
  return {
    token: await tokenToSend(files.tokenFile),
    tls: {
      ca: await read(files.tlsCa, "the list of authorities", false),
      cert: await read(files.tlsCert, "the certificate", false),
      key: await read(files.tlsKey, "the private key", true),
    },
  };
}
