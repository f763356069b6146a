import { ProtocolViolation } from "../../core/assert.ts";
import { samePosition, type LogIndex } from "../../core/position.ts";
import { recordIndex } from "../../codec/record.ts";
import type { FileSystem } from "../../environment/environment.ts";
import {
  type CorruptLogError,
  DecodeError,
  StorageFailedError,
  UnknownKindError,
  WrongIdentityError,
} from "../../errors.ts";
import { LogOutline } from "../log-outline.ts";
import type { LogIdentity } from "../log-store.ts";
import { corruptLogError } from "./corrupt-log-error.ts";
import { EntryIndex } from "./entry-index.ts";
import {
  BATCH_HEADER_BYTES,
  decodeBatch,
  ITEM_HEADER_BYTES,
  itemBytes,
  readBatchHeader,
  SECTOR_BYTES,
  roundUpToSector,
  type BatchItem,
} from "./batch-format.ts";
import {
  decodeSegmentHeader,
  FORMAT_VERSION,
  HEADER_PREFIX_BYTES,
  saltOf,
  segmentHeaderBytes,
  segmentVersion,
  type SegmentHeader,
} from "./segment-header.ts";
import { segmentName, type Segment, type Segments } from "./segments.ts";

/*
 * Finds out what a log on disk holds when it is opened: reads all segments in order and applies their batches
 * to an empty log. The hazard it must avoid is to take damage for a torn write. Removing entries that were
 * durable lets this node help to elect a leader without them, and so loses committed entries of the whole
 * cluster (D4). The rules:
 *
 * 1. Recovery only reads. It can be interrupted and repeated at any point (D13). `WalLog` changes the disk
 *    afterwards.
 * 2. The segments' numbers have no gap. Each header matches its checksum and belongs to this log. A segment
 *    has its final name only once its header is durable, so a bad header is never a torn write: it is damage
 *    (D5).
 * 3. A segment of another format version is refused, and so is the log of another node or cluster (D15). The
 *    cluster is checked last, because the last batch may be the one that sets the cluster id.
 * 4. The first header says what the log was at that point; the segments before it were deleted. Every later
 *    header must say what the batches before it amount to, or else it is damage.
 * 5. In every segment but the last, all batches are there up to the number at which the next segment begins.
 *    A missing or incomplete one is damage: the next segment was created only after they were durable. What
 *    follows them was left by a torn write that an earlier recovery removed (rule 8), and is ignored.
 * 6. In the last segment, batches follow one another until one is not complete. `decodeBatch` decides whether
 *    that is a torn write (D3), which ends the log, or damage.
 * 7. Behind that end, no later batch may stand. The writer begins a batch only after the one before it is
 *    durable, so a later batch proves that the missing one was durable: damage (D4).
 * 8. If anything else but zeros follows the end, it is a torn write, which nobody was told is durable. The
 *    log ends before it. `WalLog` then starts a new segment, whose header takes over the torn batch's number;
 *    the torn bytes stay, unused.
 * 9. Items that match their checksums but make no sense where they are, such as an entry that leaves a gap,
 *    are damage.
 * 10. Entries that only the first header knows about must be covered by the base at the end. Otherwise the
 *     segments with them should still be there: damage.
 *
 * Damage means `CorruptLogError`, and the node doesn't start. Nothing is repaired, because only the operator
 * knows whether a backup or the other members hold what is missing.
 */

/** What recovery found. */
export interface Recovered {
  readonly storeId: string;
  readonly outline: LogOutline;
  readonly index: EntryIndex;
  /** The number that the next batch gets; a torn batch's number is used again. */
  readonly nextBatch: number;
  /** Where the last segment's free space begins, in bytes from the start of the file. */
  readonly end: number;
  /** The last complete batch of the last segment, with its padding; null: that segment has none. */
  readonly lastBatch: { readonly offset: number; readonly bytes: Uint8Array } | null;
  /** Where a torn write begins; null: the log ends cleanly. */
  readonly torn: { readonly file: string; readonly offset: number } | null;
}

/**
 * Gets what recovery reads, in order, before the items are applied and checked against each other. Arguments
 * are valid only during the call, because the buffer behind them is used again.
 */
export interface RecoveryObserver {
  onSegment(segment: Segment, header: SegmentHeader): void;
  /** `offset` is in the segment of the latest `onSegment`. */
  onBatch(offset: number, items: readonly BatchItem[]): void;
}

/** One recovery of one log. */
export class Recovery {
  readonly #files: FileSystem;
  /** Gets each segment as it is read. */
  readonly #segments: Segments;
  readonly #observer: RecoveryObserver | null;
  /** The log, up to the last batch that was applied. */
  readonly #outline = new LogOutline();
  /** The same entries' lengths and locations. */
  readonly #index = new EntryIndex();
  /**
   * Entries after the base up to here are known only from the first header, because their segments were
   * deleted. At or below the base: there are none (any more).
   */
  #deletedTo: LogIndex = 0;
  /** The number of the next batch to read. */
  #nextBatch = 0;
  /** The initial value of the checksums in this log. */
  #salt = 0;
  /** Holds one segment at a time; grows to the largest. */
  #buffer = new Uint8Array(0);
  /** The batch applied last, if it is in the segment being read; a view of `#buffer`. */
  #lastBatch: Recovered["lastBatch"] = null;

  constructor(files: FileSystem, segments: Segments, observer: RecoveryObserver | null = null) {
    this.#files = files;
    this.#segments = segments;
    this.#observer = observer;
  }

  /** What was recovered so far. If `run` rejected: everything before the damage. */
  get outline(): LogOutline {
    return this.#outline;
  }

  /** As `outline`. */
  get index(): EntryIndex {
    return this.#index;
  }

  /**
   * Recovers the log from the segments with these numbers, ascending, at least one. `identity` null: the log
   * may belong to any node and cluster.
   *
   * @throws CorruptLogError, WrongIdentityError; StorageFailedError another version of the format
   */
  async run(sequences: readonly number[], identity: LogIdentity | null): Promise<Recovered> {
    const headers: SegmentHeader[] = [];
    for (const sequence of sequences) headers.push(await this.#readHeader(sequence, headers.at(-1)));
    const [first] = headers;
    if (first === undefined) throw new RangeError("there is no segment to recover from");
    if (identity !== null) checkIdentity(first, identity, this.#segments.pathOf(""));
    this.#startFrom(first);

    let end = 0;
    let torn: Recovered["torn"] = null;
    for (const [at, header] of headers.entries()) {
      const segment = this.#segments.add(header.segment, header.bytes);
      const next = headers[at + 1];
      this.#observer?.onSegment(segment, header);
      this.#checkSummary(segment, header);
      const bytes = await this.#readSegment(segment);
      end = this.#replay(segment, bytes, headerEnd(bytes), next?.firstBatch ?? null);
      if (next === undefined) torn = this.#findTornWrite(segment, bytes, end);
    }
    this.#checkNothingDeletedIsNeeded(first);
    if (identity !== null) checkCluster(this.#outline.clusterId, identity, this.#segments.pathOf(""));
    return {
      storeId: first.storeId,
      outline: this.#outline,
      index: this.#index,
      nextBatch: this.#nextBatch,
      end,
      lastBatch: this.#lastBatch,
      torn,
    };
  }

  /**
   * Starts with what the first remaining segment's header says about the deleted segments before it (rule 4).
   */
  #startFrom(first: SegmentHeader): void {
    this.#salt = saltOf(first.storeId);
    this.#nextBatch = first.firstBatch;
    this.#outline.clusterId = first.clusterId;
    this.#outline.hardState = first.hardState;
    this.#outline.restore(first.base, first.basePayload, first.last);
    this.#index.reset(first.base.index + 1);
    for (let index = first.base.index; index < first.last.index; index++) this.#index.append(0);
    this.#deletedTo = first.last.index;
  }

  /** Reads and checks one header (rules 2 and 3); `before` is that of the segment before it. */
  async #readHeader(sequence: number, before: SegmentHeader | undefined): Promise<SegmentHeader> {
    const path = this.#segments.pathOf(segmentName(sequence));
    const fault = (why: string) => corruptLogError(path, 0, null, why);
    if (before !== undefined && sequence !== before.segment + 1) {
      throw fault(`the segment before it, ${segmentName(sequence - 1)}, is missing`);
    }
    const bytes = await this.#readStart(path);
    const version = segmentVersion(bytes);
    if (version === null) throw fault("the header of the segment is damaged");
    if (version !== FORMAT_VERSION) {
      throw new StorageFailedError(
        `${path} has version ${String(version)} of the log's format; this program reads version ` +
          `${String(FORMAT_VERSION)}. Nothing was changed. Run the version of the program that wrote it.`,
        "not-done",
      );
    }
    const header = decodeSegmentHeader(bytes);
    if (header.segment !== sequence)
      throw fault(`it is segment ${String(header.segment)} under another name`);
    if (before !== undefined && header.storeId !== before.storeId) throw fault("it belongs to another log");
    return header;
  }

  /** The bytes of a segment's header; empty if its length can't be read. */
  async #readStart(path: string): Promise<Uint8Array> {
    const handle = await this.#files.open(path, "read");
    try {
      const prefix = new Uint8Array(HEADER_PREFIX_BYTES);
      await handle.read(prefix, 0);
      const bytes = new Uint8Array(segmentHeaderBytes(prefix) ?? 0);
      await handle.read(bytes, 0);
      return bytes;
    } finally {
      await handle.close();
    }
  }

  /** The whole segment, in `#buffer`. */
  async #readSegment(segment: Segment): Promise<Uint8Array> {
    if (this.#buffer.length < segment.bytes) this.#buffer = new Uint8Array(segment.bytes);
    const bytes = this.#buffer.subarray(0, segment.bytes);
    const count = await this.#segments.read(segment, bytes, 0);
    if (count < segment.bytes) {
      throw this.#damage(
        segment,
        count,
        `the file was made with ${String(segment.bytes)} bytes and is cut short`,
      );
    }
    return bytes;
  }

  /**
   * A header must say what the log is at this point (rule 4). `#replay` has checked that no batch is missing.
   */
  #checkSummary(segment: Segment, header: SegmentHeader): void {
    const { clusterId, hardState, base, last, lastIndex } = this.#outline;
    const same =
      header.clusterId === clusterId &&
      header.hardState.term === hardState.term &&
      header.hardState.votedFor === hardState.votedFor &&
      samePosition(header.base, base) &&
      // The terms of entries in deleted segments are not known.
      (lastIndex <= this.#deletedTo ? header.last.index === lastIndex : samePosition(header.last, last));
    if (!same) throw this.#damage(segment, 0, "its header does not continue the segment before it");
  }

  /**
   * Applies the batches from `offset` on, until number `stop` (rule 5), or, if `stop` is null, until one
   * isn't complete (rule 6). Returns where they end.
   */
  #replay(segment: Segment, bytes: Uint8Array, offset: number, stop: number | null): number {
    let at = offset;
    this.#lastBatch = null;
    while (at < bytes.length && this.#nextBatch !== stop) {
      const found = this.#decodeBatch(segment, bytes, at);
      if (found.state === "damaged") throw this.#damage(segment, at, found.why);
      if (found.state === "unfinished") break;
      const padded = roundUpToSector(found.length);
      this.#applyBatch(segment, at, found.items);
      this.#observer?.onBatch(at, found.items);
      this.#lastBatch = { offset: at, bytes: bytes.subarray(at, at + padded) };
      this.#nextBatch += 1;
      at += padded;
    }
    if (stop !== null && this.#nextBatch !== stop) {
      throw this.#damage(segment, at, `batch ${String(this.#nextBatch)} is missing`);
    }
    return at;
  }

  #decodeBatch(segment: Segment, bytes: Uint8Array, at: number): ReturnType<typeof decodeBatch> {
    try {
      return decodeBatch(bytes, at, this.#nextBatch, this.#salt);
    } catch (cause) {
      if (!(cause instanceof DecodeError)) throw cause;
      throw this.#unreadable(segment, at, cause);
    }
  }

  #applyBatch(segment: Segment, offset: number, items: readonly BatchItem[]): void {
    let at = offset + BATCH_HEADER_BYTES;
    for (const item of items) {
      try {
        this.#applyItem(segment, at + ITEM_HEADER_BYTES, item);
      } catch (cause) {
        // Rule 9: the checksum is right, so the batch was written like this, or belongs elsewhere.
        if (!(cause instanceof DecodeError || cause instanceof ProtocolViolation)) throw cause;
        throw this.#unreadable(segment, at, cause);
      }
      at += itemBytes(item);
    }
  }

  /** `body` is the offset of the item's body in the segment. */
  #applyItem(segment: Segment, body: number, item: BatchItem): void {
    switch (item.type) {
      case "entries": {
        let at = body;
        for (const record of item.records) {
          this.#outline.appendRecord(record);
          const index = recordIndex(record);
          this.#index.append(record.length);
          this.#index.setLocation(index, segment.sequence, at);
          segment.indexMax = Math.max(segment.indexMax, index);
          at += record.length;
        }
        break;
      }
      case "hard-state":
        this.#outline.hardState = item.hardState;
        break;
      case "truncate":
        this.#outline.truncate(item.from);
        this.#index.truncate(item.from);
        this.#deletedTo = Math.min(this.#deletedTo, item.from - 1);
        break;
      case "cluster-id":
        this.#outline.clusterId = item.clusterId;
        break;
      case "compact":
        // Don't compare the base's term with the log's, as the writer does before it compacts: if the entry
        // was in a deleted segment, its term isn't known here.
        if (item.base.position.index > this.#outline.lastIndex) {
          throw new DecodeError("the log is compacted beyond its last entry");
        }
        this.#outline.compact(item.base);
        this.#index.compact(item.base.position.index + 1);
        break;
      case "reset":
        this.#outline.reset(item.base);
        this.#index.reset(item.base.position.index + 1);
        this.#segments.forgetEntries();
        this.#deletedTo = 0;
        break;
    }
  }

  /**
   * Looks behind the last batch of the last segment, at `end`, for later batches (rule 7) and torn writes
   * (rule 8).
   */
  #findTornWrite(segment: Segment, bytes: Uint8Array, end: number): Recovered["torn"] {
    for (let at = end; at + SECTOR_BYTES <= bytes.length; at += SECTOR_BYTES) {
      const later = readBatchHeader(bytes, at, this.#salt);
      if (later !== null && later.sequence > this.#nextBatch) {
        throw this.#damage(
          segment,
          end,
          `batch ${String(this.#nextBatch)} is damaged, though batch ${String(later.sequence)} was written after it`,
        );
      }
    }
    // Word by word, because the free space is megabytes of zeros.
    const words = new Int32Array(bytes.buffer, bytes.byteOffset + end, Math.floor((bytes.length - end) / 4));
    return words.some((word) => word !== 0) ? { file: segment.path, offset: end } : null;
  }

  /** Rule 10. */
  #checkNothingDeletedIsNeeded(first: SegmentHeader): void {
    const { base } = this.#outline;
    if (this.#deletedTo <= base.index) return;
    const path = this.#segments.pathOf(segmentName(first.segment));
    const entries = `entries ${String(base.index + 1)} to ${String(this.#deletedTo)}`;
    throw corruptLogError(path, 0, base.index + 1, `${entries} were in earlier segments, which are missing`);
  }

  /**
   * The error for a batch whose checksum is right, but which can't be decoded or applied. If it holds a kind
   * of thing that only another version knows, it isn't damaged.
   */
  #unreadable(segment: Segment, offset: number, cause: Error): CorruptLogError | StorageFailedError {
    if (!(cause instanceof UnknownKindError)) return this.#damage(segment, offset, cause.message, cause);
    const [version, advice] = cause.isOld
      ? ["an earlier", "Start the node with that version, or begin with empty directories"]
      : ["a later", "Start the node with that version, or one after it"];
    const text = `${version} version of Keelson wrote the log, and this one can't read it: ${segment.path}, offset ${String(offset)}: ${cause.message}. Nothing was changed. ${advice}.`;
    return new StorageFailedError(text, "not-done", { cause });
  }

  #damage(segment: Segment, offset: number, why: string, cause?: unknown): CorruptLogError {
    return corruptLogError(segment.path, offset, this.#outline.lastIndex + 1, why, cause);
  }
}

/** Where a segment's first batch begins. */
function headerEnd(bytes: Uint8Array): number {
  return roundUpToSector(segmentHeaderBytes(bytes) ?? 0);
}

function checkIdentity(header: SegmentHeader, identity: LogIdentity, directory: string): void {
  if (header.nodeId === identity.nodeId) return;
  throw new WrongIdentityError(
    `${directory} holds the log of node ${header.nodeId}, not of ${identity.nodeId}. ` +
      `Start the node with its own directory, or an empty one.`,
  );
}

function checkCluster(stored: string | null, identity: LogIdentity, place: string): void {
  if (stored === null || identity.clusterId === null || stored === identity.clusterId) return;
  throw new WrongIdentityError(
    `${place} belongs to cluster ${stored}, not to ${identity.clusterId}. ` +
      `Start the node with a directory of its own cluster, or an empty one.`,
  );
}
