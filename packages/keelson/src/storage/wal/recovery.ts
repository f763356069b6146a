import { ProtocolViolation } from "../../core/assert.ts";
import { samePosition, type LogIndex } from "../../core/position.ts";
import { recordIndex } from "../../codec/record.ts";
import type { FileSystem } from "../../environment/environment.ts";
import { CorruptLogError, DecodeError, StorageFailedError, WrongIdentityError } from "../../errors.ts";
import { LogOutline } from "../log-outline.ts";
import type { LogIdentity } from "../log-store.ts";
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

/** What was found. Recovery reads and changes nothing, so it can be repeated as often as it takes. */
export interface Recovered {
  readonly storeId: string;
  readonly outline: LogOutline;
  readonly index: EntryIndex;
  readonly nextBatch: number;
  /** Where the last segment's free space begins. */
  readonly end: number;
  /** The last batch of the last segment; null: that has none. */
  readonly lastBatch: { readonly offset: number; readonly bytes: Uint8Array } | null;
  /** The last write was interrupted: what is left of it begins here. */
  readonly torn: { readonly file: string; readonly offset: number } | null;
}

/** Is told what recovery reads, in order, before it is checked any further. What it is given is valid during the call. */
export interface RecoveryObserver {
  onSegment(segment: Segment, header: SegmentHeader): void;
  onBatch(offset: number, items: readonly BatchItem[]): void;
}

const WHAT_TO_DO =
  "Nothing was changed. Restore this node's directory from a backup of it, or remove the node from its " +
  "cluster, and add a new one with another id and an empty directory: it gets the log from the others.";

/** Reads all segments in order, and makes of their batches what the log was. */
export class Recovery {
  readonly #files: FileSystem;
  readonly #segments: Segments;
  readonly #observer: RecoveryObserver | null;
  readonly #outline = new LogOutline();
  readonly #index = new EntryIndex();
  /** Entries after the base up to here are known only from a header, because their segments were deleted. */
  #deletedTo: LogIndex = 0;
  #nextBatch = 0;
  #salt = 0;
  #buffer = new Uint8Array(0);
  #lastBatch: Recovered["lastBatch"] = null;

  constructor(files: FileSystem, segments: Segments, observer: RecoveryObserver | null = null) {
    this.#files = files;
    this.#segments = segments;
    this.#observer = observer;
  }

  /** Also after `run` has thrown: what was recovered until then. */
  get outline(): LogOutline {
    return this.#outline;
  }

  get index(): EntryIndex {
    return this.#index;
  }

  /** `sequences` are those of the segments in the directory, ascending; at least one. `identity`: null: anyone's. */
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

  /** Takes over what the segments before the first one that is left amounted to. */
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

  async #readSegment(segment: Segment): Promise<Uint8Array> {
    if (this.#buffer.length < segment.bytes) this.#buffer = new Uint8Array(segment.bytes);
    const bytes = this.#buffer.subarray(0, segment.bytes);
    const count = await this.#segments.read(segment, bytes, 0);
    if (count < segment.bytes) {
      throw this.#corruptLogError(
        segment,
        count,
        `the file was made with ${String(segment.bytes)} bytes and is cut short`,
      );
    }
    return bytes;
  }

  /** What a header says of all that came before must be what came before; `#replay` has seen to its batches. */
  #checkSummary(segment: Segment, header: SegmentHeader): void {
    const { clusterId, hardState, base, last, lastIndex } = this.#outline;
    const same =
      header.clusterId === clusterId &&
      header.hardState.term === hardState.term &&
      header.hardState.votedFor === hardState.votedFor &&
      samePosition(header.base, base) &&
      // The terms of entries that were deleted are not known.
      (lastIndex <= this.#deletedTo ? header.last.index === lastIndex : samePosition(header.last, last));
    if (!same) throw this.#corruptLogError(segment, 0, "its header does not continue the segment before it");
  }

  /** Takes over the batches from `offset` on, up to number `stop`; returns where they end. */
  #replay(segment: Segment, bytes: Uint8Array, offset: number, stop: number | null): number {
    let at = offset;
    this.#lastBatch = null;
    while (at < bytes.length && this.#nextBatch !== stop) {
      const found = this.#decodeBatch(segment, bytes, at);
      if (found.state === "damaged") throw this.#corruptLogError(segment, at, found.why);
      if (found.state === "unfinished") break;
      const padded = roundUpToSector(found.length);
      this.#applyBatch(segment, at, found.items);
      this.#observer?.onBatch(at, found.items);
      this.#lastBatch = { offset: at, bytes: bytes.subarray(at, at + padded) };
      this.#nextBatch += 1;
      at += padded;
    }
    if (stop !== null && this.#nextBatch !== stop) {
      throw this.#corruptLogError(segment, at, `batch ${String(this.#nextBatch)} is missing`);
    }
    return at;
  }

  #decodeBatch(segment: Segment, bytes: Uint8Array, at: number): ReturnType<typeof decodeBatch> {
    try {
      return decodeBatch(bytes, at, this.#nextBatch, this.#salt);
    } catch (cause) {
      if (!(cause instanceof DecodeError)) throw cause;
      throw this.#corruptLogError(segment, at, cause.message, cause);
    }
  }

  #applyBatch(segment: Segment, offset: number, items: readonly BatchItem[]): void {
    let at = offset + BATCH_HEADER_BYTES;
    for (const item of items) {
      try {
        this.#applyItem(segment, at + ITEM_HEADER_BYTES, item);
      } catch (cause) {
        // The batch is as it was written, and still makes no sense where it stands.
        if (!(cause instanceof DecodeError || cause instanceof ProtocolViolation)) throw cause;
        throw this.#corruptLogError(segment, at, cause.message, cause);
      }
      at += itemBytes(item);
    }
  }

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
        // Of entries whose segments were removed the term is not known, but that they were there is.
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
   * Looks at what follows the last batch of the last segment. A later batch would have been written
   * only after what is missing here was durable; so if there is one, this is damage. Otherwise,
   * anything but zeros is what an interrupted write left.
   */
  #findTornWrite(segment: Segment, bytes: Uint8Array, end: number): Recovered["torn"] {
    for (let at = end; at + SECTOR_BYTES <= bytes.length; at += SECTOR_BYTES) {
      const later = readBatchHeader(bytes, at, this.#salt);
      if (later !== null && later.sequence > this.#nextBatch) {
        throw this.#corruptLogError(
          segment,
          end,
          `batch ${String(this.#nextBatch)} is damaged, though batch ${String(later.sequence)} was written after it`,
        );
      }
    }
    // On whole words: the free space of a segment is megabytes of zeros.
    const words = new Int32Array(bytes.buffer, bytes.byteOffset + end, Math.floor((bytes.length - end) / 4));
    return words.some((word) => word !== 0) ? { file: segment.path, offset: end } : null;
  }

  #checkNothingDeletedIsNeeded(first: SegmentHeader): void {
    const { base } = this.#outline;
    if (this.#deletedTo <= base.index) return;
    const path = this.#segments.pathOf(segmentName(first.segment));
    const entries = `entries ${String(base.index + 1)} to ${String(this.#deletedTo)}`;
    throw corruptLogError(path, 0, base.index + 1, `${entries} were in earlier segments, which are missing`);
  }

  #corruptLogError(segment: Segment, offset: number, why: string, cause?: unknown): CorruptLogError {
    return corruptLogError(segment.path, offset, this.#outline.lastIndex + 1, why, cause);
  }
}

/** Says what is wrong, where, and what to do. */
export function corruptLogError(
  file: string,
  offset: number,
  index: LogIndex | null,
  why: string,
  cause?: unknown,
): CorruptLogError {
  const entries = index === null ? "" : ` Entry ${String(index)} and later ones may be affected.`;
  const text = `the log is damaged: ${file}, offset ${String(offset)}: ${why}.${entries} ${WHAT_TO_DO}`;
  return new CorruptLogError(file, offset, index, text, cause === undefined ? undefined : { cause });
}

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
