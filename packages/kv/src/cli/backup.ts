import { createWriteStream, existsSync } from "node:fs";
import { open, readdir, rename, rm } from "node:fs/promises";
import path from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { RaftError } from "keelson";
import { openSnapshotFile } from "keelson/storage/snapshots";
import { restoreWal } from "keelson/storage/wal";
import { parseAddress } from "../shared/addresses.ts";
import { authorization, TOKEN_FILE_VARIABLE, tokenToSend } from "../http/admin-access.ts";
import { unreachable } from "../client/admin-client.ts";
import { nodesIn, parseCommand, wordsOf } from "./arguments.ts";
import { dataDirectory } from "../node/data-directory.ts";
import { ProgressLine } from "./progress-line.ts";
import { formatBytes } from "./terminal.ts";
import { StartError, UsageError } from "../shared/errors.ts";

const URL_DEFAULT = "http://127.0.0.1:9001";
/** A node that says nothing for this long has hung. */
const SILENCE_MS_MAX = 120_000;

export const BACKUP_HELP = `Usage: keelson backup FILE [--url URL,...] [--force] [--stale]

Has a node take a snapshot of all keys and values, and keeps it in FILE: everything that was answered before,
as of one moment. Writes go on meanwhile. The file is checked before it gets its name.

  --url URL,...   nodes to ask, by their HTTP addresses (default: ${URL_DEFAULT}); the first that answers
                  sends its state: a follower spares the leader the work
  --force         replace FILE if it is there
  --admin-token-file FILE
                  send the token in FILE, for nodes that were started with --admin-token-file (default: what
                  the environment variable ${TOKEN_FILE_VARIABLE} names, if it is set)
  --stale         take what the node holds, though it may not have the latest writes: for a node without a leader
  --help          this text
`;

export const RESTORE_HELP = `Usage: keelson restore FILE DIR --id ID --address ADDRESS [--cluster-id NAME]

Makes DIR, which must be new or empty, the --data directory of the first node of a new cluster that begins with
what FILE holds, a backup. The new cluster has nothing to do with the old one, and never talks to it.

  --id ID              the node's id
  --address ADDRESS    where other nodes will reach it (HOST:PORT)
  --cluster-id NAME    the new cluster's name, as for keelson serve
  --help               this text

Then start it: keelson serve --id ID --listen ADDRESS --data DIR ..., and let others join.
`;

export interface BackupOptions {
  readonly file: string;
  readonly nodes: readonly string[];
  readonly force: boolean;
  readonly stale: boolean;
  /** The file of the token to send; undefined: not given. */
  readonly tokenFile?: string | undefined;
}

export interface RestoreCommand {
  readonly file: string;
  readonly directory: string;
  readonly id: string;
  readonly address: string;
  readonly clusterName: string | null;
}

/** @returns null if only the help was asked for */
export function parseBackupOptions(args: readonly string[]): BackupOptions | null {
  const { values, positionals } = parseCommand(args, {
    url: { type: "string", default: URL_DEFAULT },
    force: { type: "boolean", default: false },
    stale: { type: "boolean", default: false },
    "admin-token-file": { type: "string" },
  });
  if (values.help) return null;
  const [file] = wordsOf(positionals, "FILE");
  return {
    file,
    nodes: nodesIn(values.url),
    force: values.force,
    stale: values.stale,
    tokenFile: values["admin-token-file"],
  };
}

/** @returns null if only the help was asked for */
export function parseRestoreOptions(args: readonly string[]): RestoreCommand | null {
  const { values, positionals } = parseCommand(args, {
    id: { type: "string" },
    address: { type: "string" },
    "cluster-id": { type: "string" },
  });
  if (values.help) return null;
  const [file, directory] = wordsOf(positionals, "FILE", "DIR");
  const { id, address } = values;
  if (id === undefined) throw new UsageError("--id is missing");
  checkName(id, "id");
  if (address === undefined) throw new UsageError("--address is missing");
  if (parseAddress(address) === null) {
    throw new UsageError(`--address "${address}" is not HOST:PORT, such as 10.0.0.1:7001`);
  }
  const clusterName = values["cluster-id"] ?? null;
  if (clusterName !== null) checkName(clusterName, "cluster-id");
  return { file, directory, id, address, clusterName };
}

function checkName(text: string, flag: string): void {
  if (/^[A-Za-z0-9._-]{1,64}$/.test(text)) return;
  throw new UsageError(`--${flag} "${text}": it is 1 to 64 of A-Z a-z 0-9 . _ -`);
}

/** Fetches a backup, checks it, and gives it its name; resolves with the exit code. */
export async function backup(options: BackupOptions, print: (line: string) => void): Promise<number> {
  const { file, force } = options;
  if (existsSync(file) && !force) throw new StartError(`${file} is there already; --force replaces it`);
  const directory = path.dirname(path.resolve(file));
  if (!existsSync(directory)) throw new StartError(`there is no directory ${directory} for the file`);
  const part = `${file}.part`;
  const progress = new ProgressLine();
  try {
    const response = await request(options);
    await download(response, part, (done, total) => {
      progress.show(`${formatBytes(done)} of ${formatBytes(total)}`);
    });
    progress.show("checking");
    const { position, bytes } = await checked(part);
    await rename(part, file);
    await syncDirectoryOf(file);
    progress.end();
    print(
      `${file}: ${formatBytes(bytes)}, all that was written up to entry ${position.index} of term ${position.term}`,
    );
    return 0;
  } catch (error) {
    progress.end();
    await rm(part, { force: true });
    throw error;
  }
}

/** From the first node that answers. */
async function request({ nodes, stale, tokenFile }: BackupOptions): Promise<Response> {
  const headers = authorization(await tokenToSend(tokenFile));
  let failure = new StartError("no node was asked");
  for (const node of nodes) {
    try {
      const response = await fetch(`http://${node}/snapshot${stale ? "?consistency=stale" : ""}`, {
        headers,
      });
      if (response.ok) return response;
      const text = await response.text();
      failure = new StartError(`${node}: ${messageIn(text) ?? `status ${response.status}`}`);
    } catch (cause) {
      failure = new StartError(unreachable(node, cause), { cause });
    }
  }
  throw failure;
}

function messageIn(text: string): string | null {
  try {
    const { error } = JSON.parse(text) as { readonly error?: { readonly message?: unknown } };
    return typeof error?.message === "string" ? error.message : null;
  } catch {
    return null;
  }
}

async function download(
  response: Response,
  part: string,
  onProgress: (bytesDone: number, bytesTotal: number) => void,
): Promise<void> {
  if (response.body === null) throw new StartError("the node sent nothing");
  const total = Number(response.headers.get("content-length") ?? 0);
  let done = 0;
  const silence = new AbortController();
  const watch = setTimeout(() => {
    silence.abort(new Error(`nothing came for ${SILENCE_MS_MAX / 1000} s`));
  }, SILENCE_MS_MAX);
  try {
    const counted = async function* (chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
      for await (const chunk of chunks) {
        watch.refresh();
        done += chunk.length;
        onProgress(done, Math.max(done, total));
        yield chunk;
      }
    };
    await pipeline(Readable.fromWeb(response.body), counted, createWriteStream(part, { flush: true }), {
      signal: silence.signal,
    });
  } catch (error) {
    const reason = silence.signal.aborted
      ? String(silence.signal.reason)
      : error instanceof Error
        ? error.message
        : String(error);
    throw new StartError(
      `the backup broke off after ${formatBytes(done)}: ${reason}. Nothing was kept; try again`,
      {
        cause: error,
      },
    );
  } finally {
    clearTimeout(watch);
  }
}

async function checked(file: string) {
  try {
    const reader = await openSnapshotFile(file);
    try {
      await reader.verify();
      return reader.snapshot;
    } finally {
      await reader.close();
    }
  } catch (error) {
    if (!(error instanceof RaftError)) throw error;
    throw new StartError(`what came is no sound snapshot, and nothing was kept: ${error.message}`, {
      cause: error,
    });
  }
}

async function syncDirectoryOf(file: string): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await open(path.dirname(path.resolve(file)), "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Nothing of what is there could be told from what is restored. */
async function checkEmpty(directory: string): Promise<void> {
  try {
    const [name] = await readdir(directory);
    if (name === undefined) return;
    throw new StartError(
      `${directory} is not empty, it has ${name}; a backup is restored into a directory that is new or empty`,
    );
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? cause.code : null;
    if (code === "ENOENT") return;
    if (code === "ENOTDIR") throw new StartError(`${directory} is not a directory`, { cause });
    throw cause;
  }
}

/** Makes a data directory from a backup; resolves with the exit code. */
export async function restore(command: RestoreCommand, print: (line: string) => void): Promise<number> {
  const { file, directory, id, address, clusterName } = command;
  const { log, snapshots } = dataDirectory(directory);
  await checkEmpty(directory);
  const progress = new ProgressLine();
  try {
    const restored = await restoreWal({
      ...{ snapshot: file, log, snapshots, nodeId: id, address },
      ...(clusterName === null ? {} : { clusterName }),
      onProgress: (done, total) => {
        progress.show(
          `${done * 2 < total ? "checking" : "copying"}: ${Math.floor((done / Math.max(1, total)) * 100)}%`,
        );
      },
    });
    progress.end();
    print(
      `${directory}: node ${id} of the new cluster ${restored.clusterId}, from entry ${restored.position.index} on`,
    );
    print(
      `Start it: keelson serve --id ${id} --listen ${address} --data ${directory} --line ADDRESS --http ADDRESS`,
    );
    return 0;
  } finally {
    progress.end();
  }
}
