import { assert } from "../../core/assert.ts";
import type { LogIndex } from "../../core/position.ts";
import type { FileHandle, FileSystem } from "../../environment/environment.ts";
import { hasCode } from "./file-error.ts";
import { SECTOR_BYTES, roundUpToSector } from "./batch-format.ts";
import { encodeSegmentHeader, type SegmentHeader } from "./segment-header.ts";

/** A file of the log. Space in it is written once, and never again for something else. */
export interface Segment {
  readonly sequence: number;
  readonly path: string;
  /** The size of the file. */
  readonly bytes: number;
  /** The highest entry that was ever written to it and may still be wanted; 0: none. */
  indexMax: LogIndex;
}

/** Segments kept open, the one that is written among them. A bound on descriptors, not on reads. */
const OPEN_SEGMENTS_MAX = 32;

/** The first segment is small, so that a new log is there at once; each is twice as large as the one before. */
export const FIRST_SEGMENT_BYTES = 1024 * 1024;

const SEGMENT_NAME = /^\d{16}\.wal$/;

/** A segment that has no name yet. Left over after a crash, it means nothing, and the next one replaces it. */
const PREALLOCATED_NAME = "prepared.tmp";

/**
 * Space is made ready in steps of this size, each one synced, so that a write that is made meanwhile
 * waits for a step and not for the whole.
 */
const ALLOCATION_STEP_BYTES = 1024 * 1024;

interface OpenFile {
  readonly handle: Promise<FileHandle>;
  /** Reads under way, and the writer: while there are any, it is not closed to make room for others. */
  users: number;
}

export function segmentName(sequence: number): string {
  return `${String(sequence).padStart(16, "0")}.wal`;
}

/** The numbers of the segments among the names of a directory, ascending. */
export function segmentSequences(names: readonly string[]): number[] {
  return names
    .filter((name) => SEGMENT_NAME.test(name))
    .map((name) => parseInt(name, 10))
    .sort((a, b) => a - b);
}

/** The size and the blocks are durable at the end, so that the syncs to come move data alone. */
async function preallocate(handle: FileHandle, bytes: number): Promise<void> {
  for (let done = await handle.size(); done < bytes;) {
    done = Math.min(bytes, done + ALLOCATION_STEP_BYTES);
    await handle.allocate(done);
    await handle.dataSync();
  }
}

/** The files of the log: makes them ahead of need, opens them for reading, removes them. */
export class Segments {
  readonly #files: FileSystem;
  readonly #directory: string;
  readonly #segmentBytes: number;
  /** Ascending and without a gap; the last one is written. */
  readonly #segments: Segment[] = [];
  /** Least recently used first. */
  readonly #open = new Map<Segment, OpenFile>();
  /** The one that is kept open for the writer. */
  #writeSegment: Segment | null = null;
  #preallocated: Promise<FileHandle> | null = null;

  constructor(files: FileSystem, directory: string, segmentBytes: number) {
    this.#files = files;
    this.#directory = directory;
    this.#segmentBytes = segmentBytes;
  }

  get active(): Segment | undefined {
    return this.#segments.at(-1);
  }

  get(sequence: number): Segment {
    const segment = this.#segments[sequence - (this.#segments[0]?.sequence ?? 0)];
    assert(segment !== undefined, "an entry of the log is in a segment of the log");
    return segment;
  }

  pathOf(name: string): string {
    return `${this.#directory}/${name}`;
  }

  /** Takes in a segment that was found on disk. */
  add(sequence: number, bytes: number): Segment {
    const segment = { sequence, bytes, path: this.pathOf(segmentName(sequence)), indexMax: 0 };
    this.#segments.push(segment);
    return segment;
  }

  /** Begins to make the next segment ready, if that has not begun yet. */
  preallocateNext(): void {
    if (this.#preallocated !== null) return;
    this.#preallocated = this.#createPreallocated(this.#nextBytes());
    // Whoever needs the segment tries again and then sees the error; nobody needs it yet.
    this.#preallocated.catch(() => undefined);
  }

  /**
   * Makes a segment that has room for `room` bytes after its header, durably, with its name.
   * Before the name is there, everything in it is durable: a segment with a name and no whole
   * header has been damaged.
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

  /** Opens the last segment for writing. */
  async openActive(): Promise<FileHandle> {
    const { active } = this;
    assert(active !== undefined, "a log has a segment");
    const handle = await this.#files.open(active.path, "write");
    this.#setWriteHandle(active, handle);
    return handle;
  }

  /** Fills `target` from a segment; resolves with the bytes read. */
  async read(segment: Segment, target: Uint8Array, offset: number): Promise<number> {
    const handle = await this.#acquire(segment);
    try {
      return await handle.read(target, offset);
    } finally {
      this.#release(segment);
    }
  }

  /** The oldest segment that holds nothing after `index`, unless it is the one being written. */
  firstObsolete(index: LogIndex): Segment | undefined {
    const [first] = this.#segments;
    return first !== undefined && first !== this.active && first.indexMax <= index ? first : undefined;
  }

  /**
   * Removes the oldest segment, durably: removed in order, the others stay without a gap,
   * whatever a crash keeps. Nobody may be reading it.
   */
  async removeFirst(segment: Segment): Promise<void> {
    assert(segment === this.#segments[0] && segment !== this.active, "segments are removed oldest first");
    await this.#files.remove(segment.path);
    this.#segments.shift();
    this.#dispose(segment);
    await this.#files.syncDirectory(this.#directory);
  }

  /** After an empty beginning or a reset, what earlier batches wrote is not wanted any more. */
  forgetEntries(): void {
    for (const segment of this.#segments) segment.indexMax = 0;
  }

  /** Lets go of all files, of each one also if another cannot be closed. Nobody may be reading. */
  async close(): Promise<void> {
    const closing = [...this.#open.values()].map(async ({ handle }) => (await handle).close());
    this.#open.clear();
    await Promise.all([...closing, this.#discardPreallocated()]);
  }

  async #discardPreallocated(): Promise<void> {
    const prepared = await this.#preallocated?.catch(() => undefined);
    this.#preallocated = null;
    if (prepared === undefined) return;
    await prepared.close();
    await this.#files.remove(this.pathOf(PREALLOCATED_NAME));
  }

  #nextBytes(): number {
    const grown = this.active === undefined ? FIRST_SEGMENT_BYTES : this.active.bytes * 2;
    return Math.max(SECTOR_BYTES, Math.min(this.#segmentBytes, grown));
  }

  async #takePreallocated(): Promise<FileHandle> {
    const prepared = await this.#preallocated?.catch(() => undefined);
    this.#preallocated = null;
    return prepared ?? this.#createPreallocated(this.#nextBytes());
  }

  async #createPreallocated(bytes: number): Promise<FileHandle> {
    const path = this.pathOf(PREALLOCATED_NAME);
    const handle = await this.#files.open(path, "create").catch(async (error: unknown) => {
      // Left by an attempt that failed, or by a run that ended.
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

  #acquire(segment: Segment): Promise<FileHandle> {
    let file = this.#open.get(segment);
    if (file === undefined) {
      file = { handle: this.#files.open(segment.path, "read"), users: 0 };
      // One that cannot be opened is not kept: the next read tries again.
      file.handle.catch(() => this.#open.delete(segment));
    } else this.#open.delete(segment);
    this.#open.set(segment, file);
    file.users += 1;
    return file.handle;
  }

  #release(segment: Segment): void {
    const file = this.#open.get(segment);
    if (file === undefined) return;
    file.users -= 1;
    for (const [other, { users }] of this.#open) {
      if (this.#open.size <= OPEN_SEGMENTS_MAX) break;
      if (users === 0) this.#dispose(other);
    }
  }

  #setWriteHandle(segment: Segment, handle: FileHandle): void {
    // Recovery has it open already, for reading.
    this.#dispose(segment);
    this.#open.set(segment, { handle: Promise.resolve(handle), users: 1 });
    if (this.#writeSegment !== null) this.#release(this.#writeSegment);
    this.#writeSegment = segment;
  }

  #dispose(segment: Segment): void {
    const file = this.#open.get(segment);
    this.#open.delete(segment);
    // Nothing was written through it that is not durable, so a failure to close loses nothing.
    file?.handle.then((handle) => handle.close()).catch(() => undefined);
  }
}
