import { assert } from "../../core/assert.ts";
import type { FileHandle } from "../../environment/environment.ts";
import { CorruptSnapshotError, StorageFailedError } from "../../errors.ts";
import { SYNC_EVERY_BYTES, type SnapshotFileOwner } from "./draft-file.ts";
import { readBlocks, type SnapshotFile } from "./format.ts";
import type { IncomingSnapshot, StoredSnapshot } from "../snapshot-store.ts";

/**
 * The file of a snapshot that another node sends. It writes the bytes as they come and checks them only when
 * the file is complete.
 */
export class IncomingFile implements IncomingSnapshot {
  readonly id: string;
  readonly bytes: number;
  /** `#file.bytes` is the size of the complete file. */
  readonly #file: SnapshotFile;
  readonly #owner: SnapshotFileOwner;
  /** Bytes written so far. */
  #offset: number;
  /** Bytes known to be durable; at most `#offset`. */
  #synced: number;
  /** Whether the file's handle is open. */
  #isOpen = true;
  /** Whether a write or a sync failed: then it isn't known what the file holds. Never goes back to false. */
  #isSpoiled = false;

  /** `offset`: how many bytes at the start of the file are there already, were checked, and are durable. */
  constructor(id: string, file: SnapshotFile, offset: number, owner: SnapshotFileOwner) {
    this.id = id;
    this.bytes = file.bytes;
    this.#file = file;
    this.#owner = owner;
    this.#offset = offset;
    this.#synced = offset;
  }

  get offset(): number {
    return this.#offset;
  }

  async write(chunk: Uint8Array): Promise<void> {
    assert(this.#isOpen, "a snapshot is received before it is finished");
    assert(this.#offset + chunk.length <= this.bytes, "no more is received than was announced");
    assert(chunk.length <= SYNC_EVERY_BYTES, "a chunk keeps to its limit");
    await this.#orSpoil(() => this.#handle.write([chunk], this.#offset));
    this.#offset += chunk.length;
    if (this.#offset - this.#synced < SYNC_EVERY_BYTES) return;
    await this.#orSpoil(() => this.#handle.dataSync());
    this.#synced = this.#offset;
  }

  async finish(): Promise<StoredSnapshot> {
    assert(this.#isOpen && this.#offset === this.bytes, "a snapshot is finished when all of it is there");
    try {
      for await (const _ of readBlocks(this.#file));
      await this.#orSpoil(() => this.#handle.dataSync());
      await this.#close();
      return await this.#owner.publish();
    } catch (error) {
      // If the damaged file stayed, the next attempt would continue it instead of fetching it anew, and fail
      // again.
      if (error instanceof CorruptSnapshotError) await this.abort();
      throw error;
    }
  }

  async suspend(): Promise<void> {
    if (this.#isSpoiled) return this.abort();
    // Tell the store also if the file can't be closed: otherwise it would never receive another snapshot
    // (Z9).
    try {
      await this.#close();
    } finally {
      this.#owner.suspended?.();
    }
  }

  async abort(): Promise<void> {
    try {
      await this.#close();
    } finally {
      await this.#owner.discard();
    }
  }

  /**
   * Runs a write or a sync. After one has failed, a later sync may succeed without having written what the
   * failed one left out (D2), so the file is not used any more.
   */
  async #orSpoil(operation: () => Promise<void>): Promise<void> {
    if (this.#isSpoiled) throw new StorageFailedError(SPOILED, "not-done");
    try {
      await operation();
    } catch (error) {
      this.#isSpoiled = true;
      throw error;
    }
  }

  get #handle(): FileHandle {
    return this.#file.handle;
  }

  async #close(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    await this.#handle.close();
  }
}

const SPOILED = "an earlier write to the file of this snapshot failed, so it is not used any more";

/**
 * The most bytes at the end of an incomplete file that may not be durable: the writer syncs as soon as
 * `SYNC_EVERY_BYTES` are not, and a chunk isn't longer than that.
 */
const UNSYNCED_BYTES_MAX = 2 * SYNC_EVERY_BYTES;

/** The size of the pieces in which bytes are written again. */
const REWRITE_BYTES = 1024 * 1024;

/**
 * Makes the first `offset` bytes of a file durable that an earlier process, or an earlier attempt, wrote. If
 * its last sync failed, the operating system may still show the data from memory and never write it, and a
 * new sync alone wouldn't change that (D2). So those bytes that may not be durable are written again before
 * the sync.
 */
export async function makePrefixDurable(handle: FileHandle, offset: number): Promise<void> {
  for (let at = Math.max(0, offset - UNSYNCED_BYTES_MAX); at < offset; at += REWRITE_BYTES) {
    const bytes = new Uint8Array(Math.min(REWRITE_BYTES, offset - at));
    const count = await handle.read(bytes, at);
    await handle.write([bytes.subarray(0, count)], at);
  }
  await handle.dataSync();
}

/**
 * How many bytes at the start of an incomplete file can be kept: the header and the complete blocks that
 * match their checksums. After a power cut, bytes that were not synced may be anything (S6).
 */
export async function intactPrefixBytes(file: SnapshotFile): Promise<number> {
  let intact = 0;
  try {
    for await (const { end } of readBlocks(file)) intact = end;
  } catch (error) {
    if (!(error instanceof CorruptSnapshotError)) throw error;
  }
  return intact;
}
