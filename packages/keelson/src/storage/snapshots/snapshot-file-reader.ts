import { BlockType, readBlocks, type SnapshotFile } from "./format.ts";
import type { SnapshotReader, StoredSnapshot } from "../snapshot-store.ts";

/**
 * Reads the file of a complete snapshot. It owns the handle, and calls `release` once, when the handle is
 * closed.
 */
export class SnapshotFileReader implements SnapshotReader {
  readonly snapshot: StoredSnapshot;
  readonly #file: SnapshotFile;
  readonly #release: () => Promise<void>;
  /** What `close` returned; null: it was not called. */
  #closed: Promise<void> | null = null;

  constructor(snapshot: StoredSnapshot, file: SnapshotFile, release: () => Promise<void>) {
    this.snapshot = snapshot;
    this.#file = file;
    this.#release = release;
  }

  async read(offset: number, bytes: number): Promise<Uint8Array> {
    const target = new Uint8Array(Math.max(0, Math.min(bytes, this.#file.bytes - offset)));
    const read = await this.#file.handle.read(target, offset);
    return target.subarray(0, read);
  }

  async verify(): Promise<void> {
    for await (const _ of readBlocks(this.#file));
  }

  async *sessions(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const { type, payload } of readBlocks(this.#file)) {
      // The sessions' blocks come first.
      if (type !== BlockType.sessions) return;
      yield payload;
    }
  }

  async *state(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const { type, payload } of readBlocks(this.#file)) {
      if (type === BlockType.state) yield payload;
    }
  }

  close(): Promise<void> {
    // Release the snapshot also if its file can't be closed: otherwise the store would never remove the file.
    this.#closed ??= this.#file.handle.close().finally(() => this.#release());
    return this.#closed;
  }
}
