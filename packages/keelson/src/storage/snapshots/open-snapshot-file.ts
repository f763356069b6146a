import type { Environment } from "../../environment/environment.ts";
import { nodeEnvironment } from "#node-environment";
import { InvalidOptionError, RaftError, StorageFailedError, textOfThrown } from "../../errors.ts";
import { SnapshotFileReader } from "./snapshot-file-reader.ts";
import { checkLastBlock, readHeader } from "./format.ts";
import type { SnapshotReader } from "../snapshot-store.ts";

/**
 * Opens one snapshot outside of a store, such as a backup, for reading. Checks its header and its end block;
 * call `verify` to check the rest. `StoredSnapshot.origin` is "taken", whatever the file's name.
 *
 * @throws InvalidOptionError there is no such file; CorruptSnapshotError it's no snapshot, or cut short;
 *   StorageFailedError it can't be read
 */
export async function openSnapshotFile(
  path: string,
  environment: Environment = nodeEnvironment(),
): Promise<SnapshotReader> {
  try {
    const handle = await environment.files.open(path, "read");
    try {
      const file = { handle, path, bytes: await handle.size() };
      const { header } = await readHeader(file);
      await checkLastBlock(file);
      return new SnapshotFileReader({ ...header, bytes: file.bytes, origin: "taken" }, file, () =>
        Promise.resolve(),
      );
    } catch (error) {
      await handle.close();
      throw error;
    }
  } catch (error) {
    if (error instanceof RaftError) throw error;
    if (error instanceof Error && "code" in error && error.code === "ENOENT") {
      throw new InvalidOptionError(`there is no file ${path}`);
    }
    const reason = textOfThrown(error);
    throw new StorageFailedError(`${path} could not be read: ${reason}`, "not-done", { cause: error });
  }
}
