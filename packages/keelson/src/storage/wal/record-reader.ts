import type { LogIndex } from "../../core/position.ts";
import { recordIndex, recordIsIntact, recordLength } from "../../codec/record.ts";
import { StorageFailedError } from "../../errors.ts";
import { corruptLogError } from "./corrupt-log-error.ts";
import type { EntryIndex } from "./entry-index.ts";
import { asError } from "./file-error.ts";
import type { Segment, Segments } from "./segments.ts";

/*
 * Reads durable records from the segments' files. Planning and reading are separate: `planReads` decides at
 * once where the records are, and what it decided stays true while the disk works, because nothing in a
 * segment is ever overwritten. The caller only has to make sure that no segment is removed meanwhile.
 */

/**
 * A read covers at most this many ranges of the disk. Each range takes a disk operation or two, and if one
 * read takes very long, the runtime concludes that the disk hangs, and stops the node.
 */
const READ_RANGES_MAX = 16;

/**
 * Entries that are further apart on disk than this are read by separate operations. What is between them,
 * such as overwritten entries, would be read for nothing.
 */
const READ_GAP_BYTES_MAX = 64 * 1024;

/** Consecutive entries that one disk operation reads. */
export interface ReadRange {
  readonly segment: Segment;
  /** The first entry. */
  readonly first: LogIndex;
  /** Where each entry's record begins, in bytes from the start of the file; ascending. */
  readonly offsets: number[];
  /** Where the last record ends. */
  end: number;
}

/**
 * Plans how to read the entries `[from, to)`, which must be on disk, with few and large operations. If that
 * takes more than `READ_RANGES_MAX` ranges, the plan covers the first entries only.
 */
export function planReads(index: EntryIndex, segments: Segments, from: LogIndex, to: LogIndex): ReadRange[] {
  const ranges: ReadRange[] = [];
  for (let at = from; at < to; at++) {
    const { segment, offset, length } = index.locationOf(at);
    const range = ranges.at(-1);
    const gap = offset - (range?.end ?? 0);
    if (range?.segment.sequence === segment && gap <= READ_GAP_BYTES_MAX) {
      range.offsets.push(offset);
      range.end = offset + length;
    } else if (ranges.length >= READ_RANGES_MAX) break;
    else ranges.push({ segment: segments.get(segment), first: at, offsets: [offset], end: offset + length });
  }
  return ranges;
}

/**
 * Reads and checks the records of these ranges.
 *
 * @throws StorageFailedError the file can't be read; CorruptLogError a record isn't the one that was written
 *   there
 */
export async function readRanges(segments: Segments, ranges: readonly ReadRange[]): Promise<Uint8Array[]> {
  const records: Uint8Array[] = [];
  for (const range of ranges) {
    for (const record of await readRange(segments, range)) records.push(record);
  }
  return records;
}

async function readRange(
  segments: Segments,
  { segment, first, offsets, end }: ReadRange,
): Promise<Uint8Array[]> {
  const start = offsets[0] ?? 0;
  const bytes = new Uint8Array(end - start);
  let count: number;
  try {
    count = await segments.read(segment, bytes, start);
  } catch (cause) {
    const why = `entry ${String(first)} could not be read from ${segment.path}: ${asError(cause).message}`;
    throw new StorageFailedError(why, "not-done", { cause });
  }
  return offsets.map((offset, at) => {
    const index = first + at;
    const from = offset - start;
    const until = (offsets[at + 1] ?? end) - start;
    const length = recordLength(bytes, from);
    if (count < bytes.length) throw corruptLogError(segment.path, offset, index, "the file is cut short");
    if (recordIndex(bytes, from) !== index || length > until - from || !recordIsIntact(bytes, from)) {
      throw corruptLogError(
        segment.path,
        offset,
        index,
        `the record of entry ${String(index)} does not match its checksum`,
      );
    }
    return bytes.subarray(from, from + length);
  });
}
