import { assert } from "../../core/assert.ts";
import type { LogIndex } from "../../core/position.ts";
import type { FileHandle, FileSystem } from "../../environment/environment.ts";
import { hasCode } from "./file-error.ts";
import { SECTOR_BYTES, roundUpToSector } from "./batch-format.ts";
import { encodeSegmentHeader, type SegmentHeader } from "./segment-header.ts";

/*
 * The files that the log consists of: `0000000000000001.wal` and so on, numbered without a gap. The last one
 * is the active segment, to which batches are written; the others are only read, and removed oldest first.
 * This file creates, opens and removes them, and knows nothing of what is in them but the header.
 */

/**
 * One file of the log. Each sector of it is written once and never overwritten, so a torn write can't hurt
 * older data.
 */
export interface Segment {
  /** Its number, from 1. */
  readonly sequence: number;
  readonly path: string;
  /** The size of the file in bytes. */
  readonly bytes: number;
  /**
   * The highest index of the entries in it that may still be needed; 0: none. The writer and recovery raise
   * it, and a reset of the log sets it to 0. Once the base is at or above it, the segment may be removed.
   */
  indexMax: LogIndex;
}

/**
 * How many segments stay open, the active one among them: a bound on file descriptors, of which a segment
 * that this process wrote may have two. While reads are in progress there may be more, as their files can't
 * be closed.
 */
const OPEN_SEGMENTS_MAX = 32;

/**
 * The first segment is small, because its zeros are written and synced before a new log is open. Each next
 * one has twice the size, up to `segmentBytes`.
 */
export const FIRST_SEGMENT_BYTES: number = 1024 * 1024;

const SEGMENT_NAME = /^\d{16}\.wal$/;

/** The name of a preallocated file until it becomes a segment. One that a crash left behind is replaced. */
const PREALLOCATED_NAME = "prepared.tmp";

/**
 * Files are preallocated in steps of this size, with a sync after each. The log's own syncs queue behind
 * these on the disk, so a large step would delay the writes of running commands.
 */
const ALLOCATION_STEP_BYTES = 1024 * 1024;

interface OpenFile {
  readonly handle: Promise<FileHandle>;
  /** Reads in progress, plus one for the writer. A file with users is not closed to make room for another. */
  users: number;
}

/** The file name of the segment with this number. */
export function segmentName(sequence: number): string {
  return `${String(sequence).padStart(16, "0")}.wal`;
}

/** The numbers of the segments among the file names of a directory, ascending. */
export function segmentSequences(names: readonly string[]): number[] {
  return names
    .filter((name) => SEGMENT_NAME.test(name))
    .map((name) => parseInt(name, 10))
    .sort((a, b) => a - b);
}

/**
 * Grows a file with zeros to `bytes`. When it resolves, size and blocks are durable, so later `dataSync`
 * calls need not write the file's metadata as well, which would cost a second write to the disk each time.
 */
async function preallocate(handle: FileHandle, bytes: number): Promise<void> {
  for (let done = await handle.size(); done < bytes;) {
    done = Math.min(bytes, done + ALLOCATION_STEP_BYTES);
    await handle.allocate(done);
    await handle.dataSync();
  }
}

/** The segments of one log. */
export class Segments {
  readonly #files: FileSystem;
  readonly #directory: string;
  /** The size in bytes that segments grow to. */
  readonly #segmentBytes: number;
  /** Ascending by number and without a gap; the last one is the active segment. */
  readonly #segments: Segment[] = [];
  /** The open files, least recently used first. */
  readonly #open = new Map<Segment, OpenFile>();
  /** The segment whose file the writer uses: the active one from `create` or `openActive` on; null before. */
  #writeSegment: Segment | null = null;
  /** The next segment's file, being preallocated or ready; null: not begun. Rejects if it failed. */
  #preallocated: Promise<FileHandle> | null = null;

  constructor(files: FileSystem, directory: string, segmentBytes: number) {
    this.#files = files;
    this.#directory = directory;
    this.#segmentBytes = segmentBytes;
  }

  /** The segment that batches are written to; undefined for a log that has no segment yet. */
  get active(): Segment | undefined {
    return this.#segments.at(-1);
  }

  /** The segment with this number, which must be there. */
  get(sequence: number): Segment {
    const segment = this.#segments[sequence - (this.#segments[0]?.sequence ?? 0)];
    assert(segment !== undefined, "an entry of the log is in a segment of the log");
    return segment;
  }

  /** The path of a file in the log's directory. */
  pathOf(name: string): string {
    return `${this.#directory}/${name}`;
  }

  /** Adds a segment whose file exists, with the number after that of the last one. */
  add(sequence: number, bytes: number): Segment {
    const segment = { sequence, bytes, path: this.pathOf(segmentName(sequence)), indexMax: 0 };
    this.#segments.push(segment);
    return segment;
  }

  /** Starts to preallocate the next segment in the background, unless that has begun. */
  preallocateNext(): void {
    if (this.#preallocated !== null) return;
    this.#preallocated = this.#createPreallocated(this.#nextBytes());
    // `create` tries again and reports the error. Until then nothing depends on this file.
    this.#preallocated.catch(() => undefined);
  }

  /**
   * Creates the next segment, with room for `room` bytes after its header, and makes it the active one. It is
   * durable when this resolves. The file gets its name only after its contents are durable. So a crash leaves
   * either no segment or a complete one, and recovery can treat a segment without a valid header as damaged
   * (D5, D7).
   *
   * Resolves with the file, opened for writing, and with the offset at which the first batch goes.
   */
  async create(
    header: Omit<SegmentHeader, "segment" | "bytes">,
    room: number,
  ): Promise<{ handle: FileHandle; end: number; segment: Segment }> {
    const sequence = (this.active?.sequence ?? 0) + 1;
    const end = encodeSegmentHeader({ ...header, segment: sequence, bytes: 0 }).length;
    const handle = await this.#takePreallocated();
    let bytes: number;
    try {
      bytes = Math.max(await handle.size(), roundUpToSector(end + room));
      await preallocate(handle, bytes);
      await handle.write([encodeSegmentHeader({ ...header, segment: sequence, bytes })], 0);
      await handle.dataSync();
      await this.#files.rename(this.pathOf(PREALLOCATED_NAME), this.pathOf(segmentName(sequence)));
      await this.#files.syncDirectory(this.#directory);
    } catch (error) {
      await handle.close().catch(() => undefined);
      throw error;
    }
    const segment = this.add(sequence, bytes);
    this.#setWriteHandle(segment, handle);
    return { handle, end, segment };
  }

  /** Opens the active segment for writing, after recovery. */
  async openActive(): Promise<FileHandle> {
    const { active } = this;
    assert(active !== undefined, "a log has a segment");
    const handle = await this.#files.open(active.path, "write");
    this.#setWriteHandle(active, handle);
    return handle;
  }

  /**
   * Reads from a segment's file into `target`; resolves with the number of bytes read, fewer only at its end.
   */
  async read(segment: Segment, target: Uint8Array, offset: number): Promise<number> {
    const handle = await this.#acquire(segment);
    try {
      return await handle.read(target, offset);
    } finally {
      this.#release(segment);
    }
  }

  /** The oldest segment, if it has no entry after `index` and is not the active one. */
  firstObsolete(index: LogIndex): Segment | undefined {
    const [first] = this.#segments;
    return first !== undefined && first !== this.active && first.indexMax <= index ? first : undefined;
  }

  /**
   * Removes the oldest segment, durably. Without the sync, a crash could undo this removal and keep a later
   * one, which would leave a gap in the numbers. The caller makes sure that no read uses the segment.
   */
  async removeFirst(segment: Segment): Promise<void> {
    assert(segment === this.#segments[0] && segment !== this.active, "segments are removed oldest first");
    await this.#files.remove(segment.path);
    this.#segments.shift();
    this.#dispose(segment);
    await this.#files.syncDirectory(this.#directory);
  }

  /** The log was reset: no entry in any segment is needed any more. */
  forgetEntries(): void {
    for (const segment of this.#segments) segment.indexMax = 0;
  }

  /**
   * Closes all files, also after one of them failed to close; rejects if any failed. The caller makes sure
   * that no read is in progress.
   */
  async close(): Promise<void> {
    const closing = [...this.#open.values()].map(async ({ handle }) => (await handle).close());
    this.#open.clear();
    await Promise.all([...closing, this.#discardPreallocated()]);
  }

  /** Removes the preallocated file, which no segment will need. */
  async #discardPreallocated(): Promise<void> {
    const prepared = await this.#preallocated?.catch(() => undefined);
    this.#preallocated = null;
    if (prepared === undefined) return;
    await prepared.close();
    await this.#files.remove(this.pathOf(PREALLOCATED_NAME));
  }

  /** The size of the next segment in bytes. */
  #nextBytes(): number {
    const grown = this.active === undefined ? FIRST_SEGMENT_BYTES : this.active.bytes * 2;
    return Math.max(SECTOR_BYTES, Math.min(this.#segmentBytes, grown));
  }

  /** The preallocated file; creates it if it isn't there, or again if it failed. */
  async #takePreallocated(): Promise<FileHandle> {
    const prepared = await this.#preallocated?.catch(() => undefined);
    this.#preallocated = null;
    return prepared ?? this.#createPreallocated(this.#nextBytes());
  }

  /** Creates a file of zeros under `PREALLOCATED_NAME`. */
  async #createPreallocated(bytes: number): Promise<FileHandle> {
    const path = this.pathOf(PREALLOCATED_NAME);
    const handle = await this.#files.open(path, "create").catch(async (error: unknown) => {
      // A failed attempt, or an earlier process, has left the file. Replace it.
      if (!hasCode(error, "EEXIST")) throw error;
      await this.#files.remove(path);
      return this.#files.open(path, "create");
    });
    try {
      await preallocate(handle, bytes);
      return handle;
    } catch (error) {
      await handle.close().catch(() => undefined);
      throw error;
    }
  }

  /** The segment's file, opened if need be, and counted as in use until `#release`. */
  #acquire(segment: Segment): Promise<FileHandle> {
    let file = this.#open.get(segment);
    if (file === undefined) {
      file = { handle: this.#files.open(segment.path, "read"), users: 0 };
      // Don't keep the rejected promise, so that the next read tries to open the file again.
      file.handle.catch(() => this.#open.delete(segment));
    } else this.#open.delete(segment);
    this.#open.set(segment, file);
    file.users += 1;
    return file.handle;
  }

  /**
   * Ends one use of a segment's file, and closes the least recently used files without users above the limit.
   */
  #release(segment: Segment): void {
    const file = this.#open.get(segment);
    if (file === undefined) return;
    file.users -= 1;
    for (const [other, { users }] of this.#open) {
      if (this.#open.size <= OPEN_SEGMENTS_MAX) break;
      if (users === 0) this.#dispose(other);
    }
  }

  /**
   * Keeps `handle` as the file of the active segment; the former active segment becomes one of those only
   * read.
   */
  #setWriteHandle(segment: Segment, handle: FileHandle): void {
    // Recovery may have opened the file for reading.
    this.#dispose(segment);
    this.#open.set(segment, { handle: Promise.resolve(handle), users: 1 });
    if (this.#writeSegment !== null) this.#release(this.#writeSegment);
    this.#writeSegment = segment;
  }

  /** Closes a segment's file in the background, if it is open. */
  #dispose(segment: Segment): void {
    const file = this.#open.get(segment);
    this.#open.delete(segment);
    // Everything that was written through it is durable, so a failure to close loses nothing.
    file?.handle.then((handle) => handle.close()).catch(() => undefined);
  }
}
