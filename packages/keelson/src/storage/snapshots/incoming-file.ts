import { assert } from "../../core/assert.ts";
import type { FileHandle } from "../../environment/environment.ts";
import { CorruptSnapshotError } from "../../errors.ts";
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
  /** Bytes known to be durable, or found on disk; at most `#offset`. */
  #synced: number;
  /** Whether the file's handle is open. */
  #isOpen = true;

  /** `offset`: how many bytes at the start of the file are there already and were checked. */
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
    await this.#handle.write([chunk], this.#offset);
    this.#offset += chunk.length;
    if (this.#offset - this.#synced < SYNC_EVERY_BYTES) return;
    await this.#handle.dataSync();
    this.#synced = this.#offset;
  }

  async finish(): Promise<StoredSnapshot> {
    assert(this.#isOpen && this.#offset === this.bytes, "a snapshot is finished when all of it is there");
    try {
      for await (const _ of readBlocks(this.#file));
    } catch (error) {
      if (error instanceof CorruptSnapshotError) await this.abort();
      throw error;
    }
    await this.#handle.dataSync();
    await this.#close();
    return await this.#owner.publish();
  }

  async suspend(): Promise<void> {
    await this.#close();
    this.#owner.suspended?.();
  }

  async abort(): Promise<void> {
    await this.#close();
    await this.#owner.discard();
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
