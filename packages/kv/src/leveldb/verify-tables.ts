/**
 * Verifies the tables of a LevelDB.
 *
 * Hazard: LevelDB verifies the checksums of its tables only if told to, and the package classic-level can't
 * tell it to. A flipped bit in a value is found by the value's own checksum (`store/state-layout.ts`). But a
 * flipped bit in a key, in the index or in the filter of a table makes LevelDB not find a key at all, and no
 * checksum of ours says so: a read would answer that the key does not exist. So before the database is
 * opened, all blocks of its tables are verified, and again before each snapshot of it, which would otherwise
 * carry the loss to other nodes.
 */
import { open } from "node:fs/promises";
import path from "node:path";
import { setImmediate } from "node:timers/promises";
import { MalformedError } from "./byte-cursor.ts";
import { readManifest, type TableFile } from "./manifest.ts";
import { readTableBlocks, verifyBlock } from "./table.ts";

/** Bytes that are verified in one turn of the event loop, which takes about a millisecond. */
const SLICE_BYTES = 512 * 1024;

/**
 * What is damaged in the tables that the database consists of. null: nothing.
 *
 * What LevelDB itself finds when it is opened is not looked for: a missing file, or a damaged manifest. A
 * table that the manifest doesn't name is left out: it is obsolete, or a crash interrupted its writing. The
 * database may be open. `progress`: called for each table.
 */
export async function damageInTables(
  directory: string,
  progress: () => void = () => undefined,
): Promise<string | null> {
  const reader = new TableReader(directory);
  for (const table of await tablesOf(directory)) {
    progress();
    const damage = await damageIn(table, reader);
    if (damage !== null) return `${path.join(directory, table.name)}: ${damage}`;
  }
  return null;
}

async function tablesOf(directory: string): Promise<readonly TableFile[]> {
  try {
    return (await readManifest(directory)).tables;
  } catch (error) {
    if (error instanceof MalformedError || isMissing(error)) return [];
    throw error;
  }
}

/**
 * Reads one table after another into the same memory: thousands of tables must not become so many buffers.
 */
export class TableReader {
  readonly #directory: string;
  #buffer = Buffer.alloc(0);

  constructor(directory: string) {
    this.#directory = directory;
  }

  /**
   * The bytes of the table's file, valid until the next call. null: there is no such file, because it is
   * obsolete now, or was lost.
   *
   * @throws MalformedError its size is not the one in the manifest. It is not read: a damaged size may be so
   *   large that the buffer for it can't be had
   */
  async read({ name, bytes }: TableFile): Promise<Buffer | null> {
    try {
      const file = await open(path.join(this.#directory, name), "r");
      try {
        const { size } = await file.stat();
        if (size !== bytes) throw new MalformedError(`it has ${size} bytes instead of ${bytes}`);
        if (size > this.#buffer.length) this.#buffer = Buffer.allocUnsafeSlow(size);
        const { bytesRead } = await file.read(this.#buffer, 0, size, 0);
        return this.#buffer.subarray(0, bytesRead);
      } finally {
        await file.close();
      }
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
  }
}

/** What is damaged in one table. null: nothing. */
async function damageIn(table: TableFile, reader: TableReader): Promise<string | null> {
  try {
    const contents = await reader.read(table);
    if (contents === null) return null;
    let inTurn = 0;
    for (const block of readTableBlocks(contents).data) {
      verifyBlock(contents, block);
      inTurn += block.bytes;
      if (inTurn < SLICE_BYTES) continue;
      await setImmediate();
      inTurn = 0;
    }
    return null;
  } catch (error) {
    if (error instanceof MalformedError) return error.message;
    throw error;
  }
}

/** Whether the error says that a file doesn't exist. */
export function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");
}
