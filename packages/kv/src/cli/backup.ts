/** `keelson backup`: fetches a snapshot from a node into a file. */
import { createWriteStream, existsSync } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import path from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { RaftError } from "keelson";
import { openSnapshotFile } from "keelson/storage/snapshots";
import { authorization } from "../access/token-file.ts";
import { KvClientError } from "../client/client-error.ts";
import { KnownNodes } from "../client/known-nodes.ts";
import { Sender } from "../client/sender.ts";
import { unreachable } from "../client/unreachable.ts";
import {
  CONNECTION_FLAGS,
  CONNECTION_HELP,
  connectionIn,
  parseCommand,
  positionalsOf,
  readCredentials,
  URL_DEFAULT,
  urlsIn,
  type ConnectionFiles,
} from "./arguments.ts";
import { ProgressLine } from "./progress-line.ts";
import { withNotice, type WaitNotice } from "./wait-notice.ts";
import { formatBytes } from "../shared/format.ts";
import { StartError, reasonOf } from "../shared/errors.ts";

/** If a node sends no bytes for this long, it has hung: give up. */
const SILENCE_MS_MAX = 120_000;

/** The text for `--help`. */
export const BACKUP_HELP: string = `Usage: keelson backup FILE [--url URL,...] [--force] [--stale]

Has a node take a snapshot of all keys and values, and keeps it in FILE: everything that was answered before,
as of one moment. Writes go on meanwhile. The file is checked before it gets its name.

  --url URL,...       nodes to ask, by their HTTP addresses (default: ${URL_DEFAULT}); the first that answers
                      sends its state: a follower spares the leader the work
  --force             replace FILE if it is there
${CONNECTION_HELP}  --stale             take what the node holds, though it may not have the latest writes: for a node without a
                      leader
  --help              this text
`;

/** A parsed command line. */
export interface BackupOptions extends ConnectionFiles {
  readonly file: string;
  /** HTTP addresses of the nodes to ask, "host:port". */
  readonly nodes: readonly string[];
  /** Replace the file if it exists. */
  readonly force: boolean;
  /** Take what a node holds, which may lack the latest writes. */
  readonly stale: boolean;
}

/** @returns null if the help was asked for */
export function parseBackupOptions(args: readonly string[]): BackupOptions | null {
  const { values, positionals } = parseCommand(args, {
    url: { type: "string" },
    force: { type: "boolean", default: false },
    stale: { type: "boolean", default: false },
    ...CONNECTION_FLAGS,
  });
  if (values.help) return null;
  const [file] = positionalsOf(positionals, "FILE");
  const connection = connectionIn(values);
  return {
    file,
    nodes: urlsIn(values.url, connection),
    force: values.force,
    stale: values.stale,
    ...connection,
  };
}

/**
 * Fetches a backup into FILE.part, checks it, and renames it. So FILE is always a complete backup, also after
 * a crash. Resolves with the exit code.
 *
 * @throws StartError there is no backup; FILE is as it was
 */
export async function backup(options: BackupOptions, print: (line: string) => void): Promise<number> {
  const { file, force } = options;
  if (existsSync(file) && !force) throw new StartError(`${file} is there already; --force replaces it`);
  const directory = path.dirname(path.resolve(file));
  if (!existsSync(directory)) throw new StartError(`there is no directory ${directory} for the file`);
  const part = `${file}.part`;
  const progress = new ProgressLine();
  try {
    // A part that a crash left may be open to others, or another user may have put a link there.
    await rm(part, { force: true });
    const response = await withNotice("", (notice) => request(options, notice));
    await download(response, part, (done, total) => {
      progress.show(`${formatBytes(done)} of ${formatBytes(total)}`);
    });
    progress.show("checking");
    const { position, bytes } = await verified(part);
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

/** Asks one node after another, and resolves with the first successful answer. */
async function request(options: BackupOptions, notice: WaitNotice): Promise<Response> {
  const { nodes, stale } = options;
  const { token, tls } = await readCredentials(options);
  const known = new KnownNodes(nodes, token !== null);
  const sender = new Sender(tls);
  const get = (node: string): Promise<Response> => {
    notice.waitFor(`waiting for ${node} to take a snapshot`);
    const target = `/snapshot${stale ? "?consistency=stale" : ""}`;
    return sender.send(node, target, { method: "GET", headers: authorization(token) });
  };
  let failure = new StartError("no node was asked");
  for (const node of nodes) {
    try {
      let response = await get(node);
      const location = response.status === 307 ? response.headers.get("location") : null;
      const leader = location === null ? null : known.follow(node, location);
      if (leader !== null) {
        await response.arrayBuffer();
        response = await get(leader);
      }
      if (response.ok) return response;
      const text = await response.text();
      failure = new StartError(`${node}: ${messageIn(text) ?? `status ${response.status}`}`);
    } catch (cause) {
      const message = cause instanceof KvClientError ? cause.message : unreachable(node, cause);
      failure = new StartError(message, { cause });
    }
  }
  throw failure;
}

/** The message in the body of an error answer. null: there is none. */
function messageIn(text: string): string | null {
  try {
    const { error } = JSON.parse(text) as { readonly error?: { readonly message?: unknown } };
    return typeof error?.message === "string" ? error.message : null;
  } catch {
    return null;
  }
}

/** Streams the answer's body into the file `part`, synced. */
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
    await pipeline(
      Readable.fromWeb(response.body),
      counted,
      createWriteStream(part, { flush: true, flags: "wx", mode: 0o600 }),
      {
        signal: silence.signal,
      },
    );
  } catch (error) {
    const reason = silence.signal.aborted ? String(silence.signal.reason) : reasonOf(error);
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

/** Verifies every checksum of the file, and resolves with the snapshot's position and size. */
async function verified(file: string) {
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

/** Makes the rename durable. Windows can't sync directories. */
async function syncDirectoryOf(file: string): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await open(path.dirname(path.resolve(file)), "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
