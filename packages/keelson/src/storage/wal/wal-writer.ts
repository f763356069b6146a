import type { ComponentLog } from "../../log-event.ts";
import { assert } from "../../core/assert.ts";
import type { LogIndex } from "../../core/position.ts";
import { recordIndex } from "../../codec/record.ts";
import type { FileHandle } from "../../environment/environment.ts";
import { ClosedError, InvalidOptionError, StorageFailedError, WrongIdentityError } from "../../errors.ts";
import type { LogOutline } from "../log-outline.ts";
import type { LogBase, LogWrite } from "../log-store.ts";
import type { EntryIndex } from "./entry-index.ts";
import { adviceFor } from "../file-advice.ts";
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
import { planReads, readRanges } from "./record-reader.ts";
import { saltOf, summaryOf, type LogSummary } from "./segment-header.ts";
import { SegmentRemover } from "./segment-remover.ts";
import type { Segment, Segments } from "./segments.ts";

/*
 * The open log: it queues writes, puts them on disk in batches, answers reads, and removes segments that are
 * no longer needed.
 *
 * A write takes effect in memory within the call. Then it waits in a queue. One loop takes everything that
 * waits, up to `BATCH_BYTES_MAX`, writes it as one batch, syncs, and only then begins the next batch. This
 * has two consequences. Under load, many writes share one sync. And only the last batch can be torn by a
 * crash, which is what lets recovery tell a torn write from damage (recovery.ts, rule 7).
 */

/**
 * A batch takes in waiting writes up to this size. Beyond it, the bytes and not the sync take most of the
 * time, and a larger batch would only make its first write wait longer.
 */
const BATCH_BYTES_MAX = 4 * 1024 * 1024;

/** The limit on one write. It becomes one batch, and so must fit one buffer and one segment. */
export const WRITE_BYTES_MAX: number = 512 * 1024 * 1024;

/**
 * The buffer in which batches are encoded is kept for the next batch up to this size; larger ones are freed.
 */
const STAGING_BYTES_KEPT = 1024 * 1024;

/** A write that waits for its batch, or is part of the batch being written. */
interface QueuedWrite {
  /** Empty for a write that changes nothing; such a write still resolves only after those before it. */
  readonly items: readonly BatchItem[];
  /** What the items take in a batch. */
  readonly bytes: number;
  /**
   * What the log was before this write. If a new segment begins with this write, the segment's header says
   * it.
   */
  readonly summaryBefore: LogSummary;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** An open log's state. `WalLog` creates it; from then on only `WalWriter` changes it. */
export interface WalState {
  readonly nodeId: string;
  readonly storeId: string;
  /** The log as of the last call, durable or not. */
  readonly outline: LogOutline;
  /** The same entries' lengths, and the locations of those that are durable. */
  readonly index: EntryIndex;
  readonly segments: Segments;
  /** The number that the next batch gets. */
  nextBatch: number;
  /**
   * Where the active segment's free space begins, in bytes from the start of the file; a multiple of
   * `SECTOR_BYTES`.
   */
  end: number;
  /** The active segment's file, open for writing. */
  handle: FileHandle;
}

/**
 * Does the work of `WalLog` while the log is open. The methods that `LogStore` has too are described there.
 */
export class WalWriter {
  readonly #state: WalState;
  /** The initial value of the batches' checksums, so that a batch of another log doesn't match. */
  readonly #salt: number;
  readonly #directory: string;

  /**
   * The records of the entries at the end of the log that are not durable yet: `#unsynced[0]` is entry
   * `#firstUnsynced`. Reads of these entries get them from here.
   */
  #unsynced: Uint8Array[] = [];
  /** The first entry that is not durable; last + 1 if all are. */
  #firstUnsynced: LogIndex;
  /**
   * Writes that wait for a batch, in the order of the calls. The queue has no limit of its own, because the
   * runtime limits the bytes of proposals, and has at most one of each other kind of write in progress.
   */
  #queue: QueuedWrite[] = [];
  /** The loop that writes the queue; null: it's not running, and the queue is empty. */
  #writing: Promise<void> | null = null;
  /** The buffer in which batches are encoded. */
  #staging = new Uint8Array(64 * 1024);
  /**
   * Reads in progress. No segment is removed, and no file closed, before those that may use it have ended.
   */
  readonly #reads = new Set<Promise<unknown>>();

  /** Learns the base's index when it's durable, and removes obsolete segments. */
  readonly #remover: SegmentRemover;

  /** The first failed write; null: none. Once set, every write is refused (D2). */
  #poisonedBy: StorageFailedError | null = null;
  /** Set for good by `close`. */
  #closing = false;

  constructor(state: WalState, directory: string, log: ComponentLog) {
    this.#state = state;
    this.#salt = saltOf(state.storeId);
    this.#directory = directory;
    this.#firstUnsynced = state.outline.lastIndex + 1;
    this.#preallocateIfNeeded();
    this.#remover = new SegmentRemover(state.segments, this.#reads, log);
    this.#remover.baseIsDurable(state.outline.base.index);
  }

  append(write: LogWrite): Promise<void> {
    return this.#append([], write, noChange);
  }

  /** Appends `items` and the items of `write`; `also` applies `items` to the outline. */
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
   * Replaces the cluster id and appends `write`, in one batch. A crash keeps both or neither, so the log
   * never has the new cluster's id with the former configuration, or the other way round. For
   * `forceNewCluster` only.
   */
  appendInNewCluster(clusterId: string, write: LogWrite): Promise<void> {
    const items: BatchItem[] = [{ type: "cluster-id", clusterId }];
    return this.#append(items, write, (outline) => {
      outline.clusterId = clusterId;
    });
  }

  compact(base: LogBase): Promise<void> {
    // The log begins there or later already.
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
    const { outline, index, segments } = this.#state;
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

    // Decide now where every record comes from, the disk or `#unsynced`. While the disk works, entries may
    // become durable or be truncated; the result must be the log as it was when this was called.
    const stored = planReads(index, segments, from, Math.min(end, this.#firstUnsynced));
    const count = stored.reduce((sum, { offsets }) => sum + offsets.length, 0);
    // The plan may cover only the first of the durable entries. Then don't skip over the rest of them.
    if (from + count < this.#firstUnsynced) end = from + count;
    const unsynced = this.#unsynced.slice(
      Math.max(0, from - this.#firstUnsynced),
      Math.max(0, end - this.#firstUnsynced),
    );
    const reading = readRanges(segments, stored);
    this.#reads.add(reading);
    try {
      return (await reading).concat(unsynced);
    } finally {
      this.#reads.delete(reading);
    }
  }

  /** Refuses further calls, and waits for those in progress. */
  async close(): Promise<void> {
    this.#closing = true;
    await this.#writing;
    await this.#remover.inProgress;
    await Promise.allSettled(this.#reads);
    await this.#state.segments.close();
  }

  #truncate(from: LogIndex): void {
    this.#state.index.truncate(from);
    this.#unsynced.length = Math.max(0, Math.min(this.#unsynced.length, from - this.#firstUnsynced));
    this.#firstUnsynced = Math.min(this.#firstUnsynced, from);
  }

  /**
   * The common path of all writes. Either rejects, if the log is poisoned or closing or `check` throws; or
   * applies the write in memory with `takeEffect` and queues `items`. Resolves when they are durable.
   */
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
    const summaryBefore = summaryOf(outline);
    takeEffect(outline);
    return new Promise((resolve, reject) => {
      this.#queue.push({ items, bytes, summaryBefore, resolve, reject });
      this.#writing ??= this.#writeQueue();
    });
  }

  /** Writes batches until the queue is empty, or one fails. */
  async #writeQueue(): Promise<void> {
    // Let the other calls of the same turn come first, so that they share a batch.
    await Promise.resolve();
    while (this.#queue.length > 0) {
      const writes = this.#takeBatch();
      try {
        await this.#write(writes);
      } catch (cause) {
        this.#poison(asError(cause), writes);
        break;
      }
      for (const write of writes) write.resolve();
    }
    this.#writing = null;
  }

  /**
   * Takes the writes of the next batch off the queue: at least one, more as long as `BATCH_BYTES_MAX` allows.
   */
  #takeBatch(): QueuedWrite[] {
    let count = 0;
    let bytes = 0;
    for (const write of this.#queue) {
      bytes += write.bytes;
      if (count > 0 && bytes > BATCH_BYTES_MAX) break;
      count += 1;
    }
    return this.#queue.splice(0, count);
  }

  /** Writes one batch and makes it durable. */
  async #write(writes: readonly QueuedWrite[]): Promise<void> {
    const items: BatchItem[] = [];
    let bytes = 0;
    for (const write of writes) {
      bytes += write.bytes;
      for (const item of write.items) items.push(item);
    }
    const first = writes.find((write) => write.items.length > 0);
    if (first === undefined) return;

    const state = this.#state;
    const room = roundUpToSector(batchBytes(bytes));
    if (state.end + room > this.#active.bytes) await this.#startSegment(first.summaryBefore, room);
    const staging = this.#stagingBuffer(room);
    const length = encodeBatch(staging, items, state.nextBatch, this.#salt);
    await state.handle.writeDurably([staging.subarray(0, length)], state.end);
    this.#noteWritten(items);
    state.end += length;
    state.nextBatch += 1;
    this.#preallocateIfNeeded();
  }

  /** Starts a new segment for the next batch; its header sums up the log before that batch. */
  async #startSegment(before: LogSummary, room: number): Promise<void> {
    const { nodeId, storeId, nextBatch, segments } = this.#state;
    const header = { nodeId, storeId, firstBatch: nextBatch, ...before };
    const { handle, end } = await segments.create(header, room);
    this.#state.handle = handle;
    this.#state.end = end;
  }

  /**
   * The batch at `WalState.end` became durable. Records where its entries are, drops their records from
   * memory, and starts to remove segments if the base rose.
   */
  #noteWritten(items: readonly BatchItem[]): void {
    const active = this.#active;
    let at = this.#state.end + BATCH_HEADER_BYTES;
    let durableCount = 0;
    for (const item of items) {
      if (item.type === "entries") {
        let recordAt = at + ITEM_HEADER_BYTES;
        for (const record of item.records) {
          const index = recordIndex(record);
          active.indexMax = Math.max(active.indexMax, index);
          // While the batch was written, the entry may have been truncated, and another appended at the same
          // index. That one is not durable, so compare the records, not the indexes (D8).
          if (this.#unsynced[index - this.#firstUnsynced] === record) {
            this.#state.index.setLocation(index, active.sequence, recordAt);
            durableCount = Math.max(durableCount, index - this.#firstUnsynced + 1);
          }
          recordAt += record.length;
        }
      } else if (item.type === "compact" || item.type === "reset") {
        if (item.type === "reset") this.#state.segments.forgetEntries();
        this.#remover.baseIsDurable(item.base.position.index);
      }
      at += itemBytes(item);
    }
    this.#unsynced.splice(0, durableCount);
    this.#firstUnsynced += durableCount;
  }

  /**
   * Preallocates the next segment once half of the active one is used, so that it's ready when it's needed.
   */
  #preallocateIfNeeded(): void {
    if (this.#state.end > this.#active.bytes / 2) this.#state.segments.preallocateNext();
  }

  /** A buffer of at least `bytes` bytes for one batch. */
  #stagingBuffer(bytes: number): Uint8Array {
    if (bytes <= this.#staging.length) return this.#staging;
    const staging = new Uint8Array(bytes);
    if (bytes <= STAGING_BYTES_KEPT) this.#staging = staging;
    return staging;
  }

  /**
   * Writing a batch failed. Whether it's on disk is unknown, so its writes reject with the outcome "unknown";
   * those that still waited reject with "not-done".
   */
  #poison(cause: Error, writes: readonly QueuedWrite[]): void {
    const why = `the log in ${this.#directory} could not be written: ${cause.message}`;
    const what =
      "What this write left on disk is not known, so nothing more is written; restart the node to find out.";
    this.#poisonedBy = new StorageFailedError(`${why}. ${what}${adviceFor(cause)}`, "unknown", { cause });
    const waiting = this.#queue;
    this.#queue = [];
    for (const write of writes) write.reject(this.#poisonedBy);
    for (const write of waiting) write.reject(this.#poisonedError());
  }

  /** The error of a write that comes after the failed one. */
  #poisonedError(): StorageFailedError {
    return new StorageFailedError(
      `the log in ${this.#directory} takes no more writes, because an earlier one failed`,
      "not-done",
      { cause: this.#poisonedBy?.cause },
    );
  }

  get #active(): Segment {
    const { active } = this.#state.segments;
    assert(active !== undefined, "an open log has a segment to write to");
    return active;
  }
}

function noChange(): void {
  // For writes that change nothing. They still resolve after the writes before them.
}

/** A copy, so that the caller can't change what waits for its batch. */
function copyOf(base: LogBase): LogBase {
  return { position: { ...base.position }, config: new Uint8Array(base.config) };
}
