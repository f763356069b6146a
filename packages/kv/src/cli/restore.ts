/** `keelson restore`: makes a new data directory from a backup. */
import { readdir } from "node:fs/promises";
import { restoreWal } from "keelson/storage/wal";
import { dataDirectory, LOG_DIRECTORY, SNAPSHOTS_DIRECTORY } from "../node/data-directory.ts";
import { parseAddress } from "../shared/addresses.ts";
import { StartError, UsageError } from "../shared/errors.ts";
import { parseCommand, positionalsOf } from "./arguments.ts";
import { ProgressLine } from "./progress-line.ts";

/** The text for `--help`. */
export const RESTORE_HELP = `Usage: keelson restore FILE DIR --id ID --address ADDRESS [--cluster-id NAME]

Makes DIR, which must be new or empty, the --data directory of the first node of a new cluster that begins with
what FILE holds, a backup. The new cluster has nothing to do with the old one, and never talks to it.

  --id ID              the node's id
  --address ADDRESS    where other nodes will reach it (HOST:PORT)
  --cluster-id NAME    the new cluster's name, as for keelson serve
  --help               this text

Then start it: keelson serve --id ID --listen ADDRESS --data DIR ..., and let others join.
`;

/** A parsed command line. */
export interface RestoreOptions {
  /** The backup. */
  readonly file: string;
  /** The data directory to make. */
  readonly directory: string;
  /** The id of the new cluster's only node. */
  readonly id: string;
  /** Where other nodes will reach that node, "host:port". */
  readonly address: string;
  /** The new cluster's name. null: one derived from the node. */
  readonly clusterName: string | null;
}

/** @returns null if the help was asked for */
export function parseRestoreOptions(args: readonly string[]): RestoreOptions | null {
  const { values, positionals } = parseCommand(args, {
    id: { type: "string" },
    address: { type: "string" },
    "cluster-id": { type: "string" },
  });
  if (values.help) return null;
  const [file, directory] = positionalsOf(positionals, "FILE", "DIR");
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

/** Checks a node id or a cluster's name, which have the same form. */
function checkName(text: string, flag: string): void {
  if (/^[A-Za-z0-9._-]{1,64}$/.test(text)) return;
  throw new UsageError(`--${flag} "${text}": it is 1 to 64 of A-Z a-z 0-9 . _ -`);
}

/**
 * Throws unless the directory is new or empty: a state or snapshot that lay there already would be taken for
 * a part of what is restored. The directories of log and snapshots may be there, and are checked later: a
 * restore that failed leaves them, empty but for their locks.
 */
async function checkEmpty(directory: string): Promise<void> {
  try {
    const names = await readdir(directory);
    const name = names.find((one) => one !== LOG_DIRECTORY && one !== SNAPSHOTS_DIRECTORY);
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

/** Makes the data directory, and prints how to start the node. Resolves with the exit code. */
export async function restore(options: RestoreOptions, print: (line: string) => void): Promise<number> {
  const { file, directory, id, address, clusterName } = options;
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
    print(
      `It is a cluster of ONE node. Let the other machines join it with empty directories (keelson serve --join): ` +
        `the same backup restored on another machine would be another cluster`,
    );
    return 0;
  } finally {
    progress.end();
  }
}
