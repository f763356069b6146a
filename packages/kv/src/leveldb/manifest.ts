/**
 * Reads which files a LevelDB consists of, from its manifest (`db/version_edit.cc`): a list of edits, each of
 * which adds and removes files.
 */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { ByteCursor, MalformedError } from "./byte-cursor.ts";
import { readLogRecords } from "./log-records.ts";

/** The fields of an edit, by their tags. */
const Tag = {
  comparator: 1,
  logNumber: 2,
  nextFile: 3,
  lastSequence: 4,
  compactPointer: 5,
  deletedFile: 6,
  newFile: 7,
  previousLog: 9,
} as const;

/** A table (a file of sorted entries) that the database consists of at present. */
export interface TableFile {
  readonly name: string;
  readonly bytes: number;
}

/** What the manifest says. */
export interface Manifest {
  readonly name: string;
  readonly tables: readonly TableFile[];
  /**
   * LevelDB's own log files with at least this number, and the one with the number `previousLog`, hold
   * entries that are in no table yet.
   */
  readonly logNumber: number;
  readonly previousLog: number;
}

/**
 * Reads the manifest that `CURRENT` names.
 *
 * @throws MalformedError `CURRENT` or the manifest is damaged. Errors of the file system are passed on
 */
export async function readManifest(directory: string): Promise<Manifest> {
  const name = (await readFile(path.join(directory, "CURRENT"), "utf8")).trimEnd();
  if (!/^MANIFEST-\d+$/.test(name)) throw new MalformedError("CURRENT does not name a manifest");
  const { records, damagedAt } = readLogRecords(await readFile(path.join(directory, name)));
  if (damagedAt !== null)
    throw new MalformedError(`${name}, offset ${damagedAt}: a record does not match its checksum`);
  const tables = new Map<number, number>();
  const numbers = { logNumber: 0, previousLog: 0 };
  for (const record of records) applyEdit(record, tables, numbers);
  return {
    name,
    tables: [...tables].map(([number, bytes]) => ({ name: fileName(number, "ldb"), bytes })),
    ...numbers,
  };
}

/** Applies one edit to the tables (number to size) and the numbers of log files. */
function applyEdit(
  record: Uint8Array,
  tables: Map<number, number>,
  numbers: { logNumber: number; previousLog: number },
): void {
  const edit = new ByteCursor(record);
  while (!edit.isAtEnd) {
    const tag = edit.varint();
    switch (tag) {
      case Tag.comparator:
        edit.string();
        break;
      case Tag.logNumber:
        numbers.logNumber = edit.varint();
        break;
      case Tag.previousLog:
        numbers.previousLog = edit.varint();
        break;
      case Tag.nextFile:
      case Tag.lastSequence:
        edit.varint();
        break;
      case Tag.compactPointer:
        edit.varint();
        edit.string();
        break;
      case Tag.deletedFile:
        edit.varint();
        tables.delete(edit.varint());
        break;
      case Tag.newFile: {
        edit.varint();
        const number = edit.varint();
        tables.set(number, edit.varint());
        edit.string();
        edit.string();
        break;
      }
      default:
        throw new MalformedError(`the manifest has a field of the unknown type ${tag}`);
    }
  }
}

/** The name that LevelDB gives to the file with this number, such as "000012.ldb". */
export function fileName(number: number, extension: string): string {
  return `${String(number).padStart(6, "0")}.${extension}`;
}
