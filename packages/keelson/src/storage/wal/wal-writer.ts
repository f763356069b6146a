import type { HardState } from "../../core/action.ts";
import { assert } from "../../core/assert.ts";
import type { LogIndex, LogPosition } from "../../core/position.ts";
import { recordIndex, recordIsIntact, recordLength } from "../../codec/record.ts";
import type { FileHandle } from "../../environment/environment.ts";
import { ClosedError, InvalidOptionError, StorageFailedError, WrongIdentityError } from "../../errors.ts";
import type { LogOutline } from "../log-outline.ts";
import type { LogBase, LogWrite } from "../log-store.ts";
import type { EntryIndex } from "./entry-index.ts";
import { asError } from "./file-error.ts";
import {
  BATCH_HEADER_BYTES,
  batchBytes,
  encodeBatch,
  ITEM_HEADER_BYTES,
  itemBytes,
  roundUpToSector,
  type BatchItem,
} from "./batch-format.ts";
import { corruptLogError } from "./corrupt-log-error.ts";
import { saltOf } from "./segment-header.ts";
import type { Segment, Segments } from "./segments.ts";

/** Writes that wait are gathered into one batch up to this size: more would not make the sync any cheaper. */
const BATCH_BYTES_MAX = 4 * 1024 * 1024;

/** One write may not be larger, because it becomes one batch in one segment. */
export const WRITE_BYTES_MAX = 512 * 1024 * 1024;

/** The buffer in which batches are put together is kept up to this size. */
const STAGING_BYTES_KEPT = 1024 * 1024;

/**
 * The places that one read goes to, each with an operation of the disk or two: a read that takes long looks
 * like a disk that hangs. Who asked for more asks again.
 */
const READ_RANGES_MAX = 16;

/** Entries with more than this between them on disk (overwritten ones, say) are read by separate reads. */
const READ_GAP_BYTES_MAX = 64 * 1024;

/** All that a segment's header says of what came before it. */
interface LogSummary {
  readonly clusterId: string | null;
  readonly hardState: HardState;
  readonly base: LogPosition;
  readonly basePayload: Uint8Array;
  readonly last: LogPosition;
}

/** A write that waits for its batch, or is part of the one under way. */
interface QueuedWrite {
  readonly items: readonly BatchItem[];
  readonly bytes: number;
  /** What the log was before it. */
  readonly summaryBefore: LogSummary;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export interface WalState {
  readonly nodeId: string;
  readonly storeId: string;
  readonly outline: LogOutline;
  readonly index: EntryIndex;
  readonly segments: Segments;
  nextBatch: number;
  /** Where the active segment's free space begins. */
  end: number;
  handle: FileHandle;
}

export type WalLogger = (
  level: "info" | "warn",
  text: string,
  fields?: Readonly<Record<string, unknown>>,
) => void;

/**
 * An open log. Calls take effect in memory at once, in their order, and wait in a queue for the disk.
 *
 * **One batch at a time**: what waits is written as one batch and synced, and only then the next batch
 * is begun. So all that a crash can leave half-written is the last batch, which is what lets recovery
 * tell an interrupted write from damage, and a busy log needs few syncs.
 */
export class WalWriter {
  readonly #state: WalState;
  readonly #salt: number;
  readonly #directory: string;
  readonly #log: WalLogger;

  /** Records that are not durable yet; the first is that of entry `#recentFirst`. */
  #unsynced: Uint8Array[] = [];
  #firstUnsynced: LogIndex;
  /** Bounded by whoever calls: the runtime limits what it proposes, and asks for the rest one at a time. */
  #queue: QueuedWrite[] = [];
  #writing: Promise<void> | null = null;
  #staging = new Uint8Array(64 * 1024);
  /** Those under way from the disk: while one may need a segment, it is not removed, nor let go of. */
  readonly #reads = new Set<Promise<unknown>>();

  /** The base as of the last durable batch: what is below may be deleted. */
  #durableBase: LogIndex;
  #removal: Promise<void> | null = null;
  #removalFailed = false;

  #poisonedBy: StorageFailedError | null = null;
  #closing = false;

  constructor(state: WalState, directory: string, log: WalLogger) {
    this.#state = state;
    this.#salt = saltOf(state.storeId);
    this.#directory = directory;
    this.#log = log;
    this.#firstUnsynced = state.outline.lastIndex + 1;
    this.#durableBase = state.outline.base.index;
    this.#preallocateIfNeeded();
    this.#startRemoval();
  }

  append(write: LogWrite): Promise<void> {
    return this.#append([], write, noChange);
  }

  #append(items: BatchItem[], write: LogWrite, also: (outline: LogOutline) => void): Promise<void> {
    const { hardState, truncateFrom, records } = write;
    if (hardState !== null) items.push({ type: "hard-state", hardState });
    if (truncateFrom !== null) items.push({ type: "truncate", from: truncateFrom });
    if (records.length > 0) items.push({ type: "entries", records: [...records] });
    return this.#enqueue(
      items,
      (outline) => outline.checkWrite(write),
      (outline) => {
        also(outline);
        outline.write(write);
        if (truncateFrom !== null) this.#truncate(truncateFrom);
        for (const record of records) {
          this.#state.index.append(record.length);
          this.#unsynced.push(record);
        }
      },
    );
  }

  setClusterId(clusterId: string): Promise<void> {
    const stored = this.#state.outline.clusterId;
    return this.#enqueue(
      stored === clusterId ? [] : [{ type: "cluster-id", clusterId }],
      () => {
        if (stored === null || stored === clusterId) return;
        throw new WrongIdentityError(
          `this log belongs to cluster ${stored} and cannot be given to ${clusterId}`,
        );
      },
      (outline) => {
        outline.clusterId = clusterId;
      },
    );
  }

  /**
   * Gives the log to a new incarnation of its cluster, with its first term, vote and entry, in one batch: a
   * crash leaves all of it or none.
   */
  appendInNewCluster(clusterId: string, write: LogWrite): Promise<void> {
    const items: BatchItem[] = [{ type: "cluster-id", clusterId }];
    return this.#append(items, write, (outline) => {
      outline.clusterId = clusterId;
    });
  }

  compact(base: LogBase): Promise<void> {
    // What is forgotten already needs no second time.
    if (base.position.index <= this.#state.outline.base.index) return this.#enqueue([], noChange, noChange);
    return this.#enqueue(
      [{ type: "compact", base: copyOf(base) }],
      (outline) => outline.checkCompact(base),
      (outline) => {
        outline.compact(base);
        this.#state.index.compact(base.position.index + 1);
      },
    );
  }

  reset(base: LogBase): Promise<void> {
    return this.#enqueue(
      [{ type: "reset", base: copyOf(base) }],
      (outline) => outline.checkReset(base),
      (outline) => {
        outline.reset(base);
        this.#state.index.reset(base.position.index + 1);
        this.#unsynced = [];
        this.#firstUnsynced = base.position.index + 1;
      },
    );
  }

  bytesBetween(from: LogIndex, to: LogIndex): number {
    return this.#state.index.bytesBetween(from, to);
  }

  async read(from: LogIndex, to: LogIndex, bytesMax: number): Promise<Uint8Array[]> {
    const { outline, index } = this.#state;
    if (this.#closing) throw new ClosedError();
    if (from <= outline.base.index || to > outline.lastIndex + 1 || from > to) {
      throw new InvalidOptionError(
        `entries [${String(from)}, ${String(to)}) are not in the log, which holds ` +
          `[${String(outline.base.index + 1)}, ${String(outline.lastIndex + 1)})`,
      );
    }
    if (from === to) return [];
    let end = from + 1;
    while (end < to && index.bytesBetween(from, end + 1) <= bytesMax) end += 1;

    // Both parts are chosen now: whatever is written or truncated while the disk works, this is the
    // log as it was when it was asked for, and nothing on disk is ever overwritten.
    const stored = this.#planReads(from, Math.min(end, this.#firstUnsynced));
    const count = stored.reduce((sum, { offsets }) => sum + offsets.length, 0);
    if (from + count < this.#firstUnsynced) end = from + count;
    const recent = this.#unsynced.slice(
      Math.max(0, from - this.#firstUnsynced),
      Math.max(0, end - this.#firstUnsynced),
    );
    const reading = this.#readRanges(stored);
    this.#reads.add(reading);
    try {
      return (await reading).concat(recent);
    } finally {
      this.#reads.delete(reading);
    }
  }

  /** Waits for what was asked for; after that, nothing is accepted. */
  async close(): Promise<void> {
    this.#closing = true;
    await this.#writing;
    await this.#removal;
    await Promise.allSettled(this.#reads);
    await this.#state.segments.close();
  }

  #truncate(from: LogIndex): void {
    this.#state.index.truncate(from);
    this.#unsynced.length = Math.max(0, Math.min(this.#unsynced.length, from - this.#firstUnsynced));
    this.#firstUnsynced = Math.min(this.#firstUnsynced, from);
  }

  /** Refuses, or takes effect in memory and waits for the disk. */
  #enqueue(
    items: readonly BatchItem[],
    check: (outline: LogOutline) => void,
    takeEffect: (outline: LogOutline) => void,
  ): Promise<void> {
    const { outline } = this.#state;
    let bytes = 0;
    try {
      if (this.#poisonedBy !== null) throw this.#poisonedError();
      if (this.#closing) throw new ClosedError();
      check(outline);
      for (const item of items) bytes += itemBytes(item);
      if (bytes > WRITE_BYTES_MAX) {
        throw new InvalidOptionError(
          `one write to the log has ${String(bytes)} bytes; the limit is ${String(WRITE_BYTES_MAX)}: split it`,
        );
      }
    } catch (error) {
      return Promise.reject(asError(error));
    }
    const { clusterId, hardState, base, basePayload, last } = outline;
    const summaryBefore = { clusterId, hardState, base, basePayload, last };
    takeEffect(outline);
    return new Promise((resolve, reject) => {
      this.#queue.push({ items, bytes, summaryBefore, resolve, reject });
      this.#writing ??= this.#writeQueue();
    });
  }

  async #writeQueue(): Promise<void> {
    // Calls made in this same turn go together.
    await Promise.resolve();
    while (this.#queue.length > 0) {
      const operations = this.#takeBatch();
      try {
        await this.#write(operations);
      } catch (cause) {
        this.#poison(asError(cause), operations);
        break;
      }
      for (const operation of operations) operation.resolve();
    }
    this.#writing = null;
  }

  #takeBatch(): QueuedWrite[] {
    let count = 0;
    let bytes = 0;
    for (const operation of this.#queue) {
      bytes += operation.bytes;
      if (count > 0 && bytes > BATCH_BYTES_MAX) break;
      count += 1;
    }
    return this.#queue.splice(0, count);
  }

  async #write(operations: readonly QueuedWrite[]): Promise<void> {
    const items: BatchItem[] = [];
    let bytes = 0;
    for (const operation of operations) {
      bytes += operation.bytes;
      for (const item of operation.items) items.push(item);
    }
    const first = operations.find((operation) => operation.items.length > 0);
    if (first === undefined) return;

    const state = this.#state;
    const room = roundUpToSector(batchBytes(bytes));
    if (state.end + room > this.#active.bytes) await this.#startSegment(first.summaryBefore, room);
    const staging = this.#stagingBuffer(room);
    const length = encodeBatch(staging, items, state.nextBatch, this.#salt);
    await state.handle.write([staging.subarray(0, length)], state.end);
    await state.handle.dataSync();
    this.#noteWritten(items);
    state.end += length;
    state.nextBatch += 1;
    this.#preallocateIfNeeded();
  }

  /** Goes on in a new segment, whose header says what the log is before the batch to come. */
  async #startSegment(before: LogSummary, room: number): Promise<void> {
    const { nodeId, storeId, nextBatch, segments } = this.#state;
    const header = { nodeId, storeId, firstBatch: nextBatch, ...before };
    const { handle, end } = await segments.create(header, room);
    this.#state.handle = handle;
    this.#state.end = end;
  }

  /** Notes where the entries of the batch just made durable are, and what they allow to forget. */
  #noteWritten(items: readonly BatchItem[]): void {
    const active = this.#active;
    let at = this.#state.end + BATCH_HEADER_BYTES;
    let settled = 0;
    for (const item of items) {
      if (item.type === "entries") {
        let recordAt = at + ITEM_HEADER_BYTES;
        for (const record of item.records) {
          const index = recordIndex(record);
          active.indexMax = Math.max(active.indexMax, index);
          // An entry that was overwritten meanwhile is another entry, also at the same index.
          if (this.#unsynced[index - this.#firstUnsynced] === record) {
            this.#state.index.setLocation(index, active.sequence, recordAt);
            settled = Math.max(settled, index - this.#firstUnsynced + 1);
          }
          recordAt += record.length;
        }
      } else if (item.type === "compact" || item.type === "reset") {
        if (item.type === "reset") this.#state.segments.forgetEntries();
        this.#durableBase = item.base.position.index;
        this.#startRemoval();
      }
      at += itemBytes(item);
    }
    this.#unsynced.splice(0, settled);
    this.#firstUnsynced += settled;
  }

  /** Deletes segments that nobody needs, in the background. */
  #startRemoval(): void {
    this.#removal ??= this.#removeObsolete().finally(() => {
      this.#removal = null;
    });
  }

  async #removeObsolete(): Promise<void> {
    const { segments } = this.#state;
    for (;;) {
      const obsolete = segments.firstObsolete(this.#durableBase);
      if (obsolete === undefined || this.#removalFailed) return;
      // Those that began since do not need it: it holds nothing that is in the log.
      await Promise.allSettled(this.#reads);
      try {
        await segments.removeFirst(obsolete);
      } catch (error) {
        // It costs space and nothing else. But what is removed must be removed in order, durably, so
        // nothing more is removed until the log is opened again.
        this.#removalFailed = true;
        const { message } = asError(error);
        this.#log("warn", `a segment that is no longer needed could not be removed: ${message}`, {
          file: obsolete.path,
        });
      }
    }
  }

  #preallocateIfNeeded(): void {
    if (this.#state.end > this.#active.bytes / 2) this.#state.segments.preallocateNext();
  }

  #stagingBuffer(bytes: number): Uint8Array {
    if (bytes <= this.#staging.length) return this.#staging;
    const staging = new Uint8Array(bytes);
    if (bytes <= STAGING_BYTES_KEPT) this.#staging = staging;
    return staging;
  }

  #poison(cause: Error, operations: readonly QueuedWrite[]): void {
    const why = `the log in ${this.#directory} could not be written: ${cause.message}`;
    const what =
      "What this write left on disk is not known, so nothing more is written; restart the node to find out.";
    this.#poisonedBy = new StorageFailedError(`${why}. ${what}`, "unknown", { cause });
    const waiting = this.#queue;
    this.#queue = [];
    for (const operation of operations) operation.reject(this.#poisonedBy);
    for (const operation of waiting) operation.reject(this.#poisonedError());
  }

  #poisonedError(): StorageFailedError {
    return new StorageFailedError(
      `the log in ${this.#directory} takes no more writes, because an earlier one failed`,
      "not-done",
      { cause: this.#poisonedBy?.cause },
    );
  }

  /**
   * What to read of the stored entries `[from, to)`: as few and large reads as possible. Of the first of
   * them, if all would be too many.
   */
  #planReads(from: LogIndex, to: LogIndex): ReadRange[] {
    const { index, segments } = this.#state;
    const parts: ReadRange[] = [];
    for (let at = from; at < to; at++) {
      const { segment, offset, length } = index.locationOf(at);
      const part = parts.at(-1);
      const gap = offset - (part?.end ?? 0);
      if (part?.segment.sequence === segment && gap <= READ_GAP_BYTES_MAX) {
        part.offsets.push(offset);
        part.end = offset + length;
      } else if (parts.length >= READ_RANGES_MAX) break;
      else parts.push({ segment: segments.get(segment), first: at, offsets: [offset], end: offset + length });
    }
    return parts;
  }

  async #readRanges(parts: readonly ReadRange[]): Promise<Uint8Array[]> {
    const records: Uint8Array[] = [];
    for (const part of parts) {
      for (const record of await this.#readRange(part)) records.push(record);
    }
    return records;
  }

  async #readRange({ segment, first, offsets, end }: ReadRange): Promise<Uint8Array[]> {
    const start = offsets[0] ?? 0;
    const bytes = new Uint8Array(end - start);
    let count: number;
    try {
      count = await this.#state.segments.read(segment, bytes, start);
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

  get #active(): Segment {
    const { active } = this.#state.segments;
    assert(active !== undefined, "an open log has a segment to write to");
    return active;
  }
}

/** Stored entries that one read gets. */
interface ReadRange {
  readonly segment: Segment;
  readonly first: LogIndex;
  readonly offsets: number[];
  end: number;
}

function noChange(): void {
  // An operation that changes nothing still waits for those before it.
}

function copyOf(base: LogBase): LogBase {
  return { position: { ...base.position }, config: new Uint8Array(base.config) };
}
