import { crc32 } from "#platform";
import { assert } from "../../core/assert.ts";
import type { FileHandle } from "../../environment/environment.ts";
import { BLOCK_BYTES_MAX, BlockType, encodeBlock, encodeEnd, encodeHeader } from "./format.ts";
import type { SnapshotDraft, SnapshotHeader, StoredSnapshot } from "../snapshot-store.ts";

/**
 * A file that is being written is synced each time this many bytes were added. A single sync at the end could
 * write a gigabyte, and hold up the log's syncs on the same disk for seconds.
 */
export const SYNC_EVERY_BYTES: number = 16 * 1024 * 1024;

/** What the store does when a file that is being written ends. */
export interface SnapshotFileOwner {
  /** The file is complete, synced and closed: gives it its final name, durably. */
  publish(): Promise<StoredSnapshot>;
  /** Removes the file. */
  discard(): Promise<void>;
  /** The file was closed and stays, so that it can be continued later. */
  suspended?(): void;
}

/** The file of a snapshot that this node takes. Cuts the state into blocks and computes the end block. */
export class DraftFile implements SnapshotDraft {
  readonly #handle: FileHandle;
  readonly #owner: SnapshotFileOwner;
  /** Bytes written so far. */
  #at = 0;
  /** Bytes known to be durable; at most `#at`. */
  #synced = 0;
  /** CRC-32 of the bytes written so far. */
  #checksum = 0;
  /**
   * Where the contents of the next block are gathered, first of the sessions, then of the state: the first
   * `#filled` bytes are not in the file yet.
   */
  readonly #block = new Uint8Array(BLOCK_BYTES_MAX);
  #filled = 0;
  /** Whether `#handle` is open. */
  #isOpen = true;
  /**
   * Whether a write or a sync failed: then a later sync may succeed without having written what the failed
   * one left out (D2). Never goes back to false.
   */
  #isSpoiled = false;

  constructor(handle: FileHandle, owner: SnapshotFileOwner) {
    this.#handle = handle;
    this.#owner = owner;
  }

  /** Writes the header and the sessions' blocks. Called once, before everything else. */
  async begin(
    header: SnapshotHeader,
    sessions: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  ): Promise<void> {
    await this.#put([encodeHeader(header)]);
    for await (const chunk of sessions) await this.#add(BlockType.sessions, chunk);
    await this.#flush(BlockType.sessions);
  }

  async write(chunk: Uint8Array): Promise<void> {
    assert(this.#isOpen, "a snapshot is written before it is finished");
    await this.#add(BlockType.state, chunk);
  }

  /** Copies the chunk into blocks, and writes those that are full. */
  async #add(type: number, chunk: Uint8Array): Promise<void> {
    let rest = chunk;
    while (rest.length > 0) {
      const part = rest.subarray(0, BLOCK_BYTES_MAX - this.#filled);
      this.#block.set(part, this.#filled);
      this.#filled += part.length;
      rest = rest.subarray(part.length);
      if (this.#filled === BLOCK_BYTES_MAX) await this.#flush(type);
    }
  }

  async finish(): Promise<StoredSnapshot> {
    assert(this.#isOpen, "a snapshot is finished once");
    await this.#flush(BlockType.state);
    await this.#put(encodeEnd(this.#at, this.#checksum));
    await this.#sync();
    this.#isOpen = false;
    await this.#handle.close();
    return await this.#owner.publish();
  }

  async abort(): Promise<void> {
    try {
      if (this.#isOpen) {
        this.#isOpen = false;
        await this.#handle.close();
      }
    } finally {
      await this.#owner.discard();
    }
  }

  /** Writes what `#block` holds as a block, if it holds anything. */
  async #flush(type: number): Promise<void> {
    if (this.#filled === 0) return;
    const block = this.#block.subarray(0, this.#filled);
    this.#filled = 0;
    await this.#put(encodeBlock(type, block));
  }

  /** Adds bytes to the file. */
  async #put(pieces: readonly Uint8Array[]): Promise<void> {
    await this.#orSpoil(() => this.#handle.write(pieces, this.#at));
    for (const piece of pieces) {
      this.#checksum = crc32(piece, this.#checksum);
      this.#at += piece.length;
    }
    if (this.#at - this.#synced >= SYNC_EVERY_BYTES) await this.#sync();
  }

  async #sync(): Promise<void> {
    await this.#orSpoil(() => this.#handle.dataSync());
    this.#synced = this.#at;
  }

  async #orSpoil(operation: () => Promise<void>): Promise<void> {
    assert(!this.#isSpoiled, "after a failed write, a draft is aborted");
    try {
      await operation();
    } catch (error) {
      this.#isSpoiled = true;
      throw error;
    }
  }
}
