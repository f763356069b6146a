import type { FileSystem } from "../../environment/environment.ts";
import { CorruptSnapshotError, StorageFailedError } from "../../errors.ts";
import type { DamagedSnapshot, StoredSnapshot } from "../snapshot-store.ts";
import { fileKind, parseSnapshotName } from "./file-names.ts";
import { checkLastBlock, readHeader } from "./format.ts";

/** The complete snapshots in a directory. */
export interface FoundSnapshots {
  /** Those that pass the checks of their header and their last block; ascending by index. */
  readonly complete: readonly { readonly path: string; readonly snapshot: StoredSnapshot }[];
  /** Files that by their names are newer than all of `complete`, and are damaged; descending by index. */
  readonly damaged: readonly DamagedSnapshot[];
}

/**
 * Reads the complete snapshots among the files with these names. Changes nothing.
 *
 * @throws StorageFailedError one of them is of another version of the format
 */
export async function findSnapshots(
  files: FileSystem,
  directory: string,
  names: readonly string[],
): Promise<FoundSnapshots> {
  const damaged: DamagedSnapshot[] = [];
  const complete: { readonly path: string; readonly snapshot: StoredSnapshot }[] = [];
  for (const name of [...names].sort().reverse()) {
    const kind = fileKind(name);
    if (kind !== "taken" && kind !== "received") continue;
    const path = `${directory}/${name}`;
    try {
      const snapshot = await readSummary(files, path, kind);
      checkName(path, name, snapshot);
      complete.unshift({ path, snapshot });
    } catch (error) {
      if (!(error instanceof CorruptSnapshotError)) throw error;
      if (error.otherVersion !== null) throw ofOtherVersion(error);
      // A damaged snapshot matters only if it may be newer than all intact ones.
      if (complete.length === 0) damaged.push({ file: path, reason: error.message });
    }
  }
  return { complete, damaged };
}

/** Reads a complete file's header and checks its end block. */
export async function readSummary(
  files: FileSystem,
  path: string,
  origin: StoredSnapshot["origin"],
): Promise<StoredSnapshot> {
  const handle = await files.open(path, "read");
  try {
    const file = { handle, path, bytes: await handle.size() };
    const { header } = await readHeader(file);
    await checkLastBlock(file);
    return { ...header, bytes: file.bytes, origin };
  } finally {
    await handle.close();
  }
}

/** Throws unless the file's name and its header tell the same position and id. */
function checkName(path: string, name: string, { position, id }: StoredSnapshot): void {
  const named = parseSnapshotName(name);
  if (named.index === position.index && named.term === position.term && named.id === id) return;
  throw new CorruptSnapshotError(path, 0, `the snapshot ${path} has the name of another`);
}

/** The refusal of a file that may be intact and can't be read. */
function ofOtherVersion(error: CorruptSnapshotError): StorageFailedError {
  const text = `${error.message}. Nothing was changed. Run the version of the program that wrote it.`;
  return new StorageFailedError(text, "not-done", { cause: error });
}
