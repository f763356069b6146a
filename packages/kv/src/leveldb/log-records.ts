/**
 * Reads the format of LevelDB's log files and manifest (`db/log_format.h`): records that are cut into
 * fragments, so that none crosses a block of 32 KiB. A fragment is u32 checksum, u16 length, u8 type,
 * content.
 */
import { uint32At } from "./byte-cursor.ts";
import { crc32c, unmasked } from "./crc32c.ts";

const BLOCK_BYTES = 32_768;
const HEADER_BYTES = 7;
const Type = { none: 0, full: 1, first: 2, middle: 3, last: 4 } as const;

/** The records of a file. */
export interface LogRecords {
  readonly records: readonly Uint8Array[];
  /**
   * Bytes after the last whole record. If nothing is damaged, they are a record that was being written when
   * the process or the machine stopped.
   */
  readonly incompleteBytes: number;
  /**
   * The offset of the first damaged fragment: its checksum or its length is wrong, or it continues a record
   * that never began. null: there is none.
   */
  readonly damagedAt: number | null;
}

/** Reads the records up to the first damaged fragment. */
export function readLogRecords(file: Uint8Array): LogRecords {
  const records: Uint8Array[] = [];
  let fragments: Uint8Array[] = [];
  /** The offset at which the last whole record ends. */
  let whole = 0;
  const end = (damagedAt: number | null): LogRecords => ({
    records,
    incompleteBytes: file.length - whole,
    damagedAt,
  });
  for (let at = 0; at < file.length;) {
    const inBlock = BLOCK_BYTES - (at % BLOCK_BYTES);
    if (inBlock < HEADER_BYTES) {
      at += inBlock;
      continue;
    }
    if (file.length - at < HEADER_BYTES) break;
    const length = (file[at + 4] ?? 0) | ((file[at + 5] ?? 0) << 8);
    const type = file[at + 6];
    const next = at + HEADER_BYTES + length;
    // Zeros are no damage: a power cut leaves them where the file had grown and its content hadn't reached
    // the disk.
    if (type === Type.none && length === 0 && file.subarray(at).every((byte) => byte === 0)) break;
    if (HEADER_BYTES + length > inBlock) return end(at);
    if (next > file.length) break;
    if (crc32c(file, at + 6, next) !== unmasked(uint32At(file, at))) return end(at);
    if (type === Type.full || type === Type.first) fragments = [];
    else if (fragments.length === 0) return end(at);
    fragments.push(file.subarray(at + HEADER_BYTES, next));
    at = next;
    if (type !== Type.full && type !== Type.last) continue;
    records.push(Buffer.concat(fragments));
    fragments = [];
    whole = at;
  }
  return end(null);
}
