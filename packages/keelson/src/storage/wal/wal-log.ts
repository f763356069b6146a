import type { LogIndex, NodeId } from "../../core/position.ts";
import type { Environment, FileLock, FileSystem } from "../../environment/environment.ts";
import {
  ClosedError,
  DirectoryLockedError,
  InvalidOptionError,
  RaftError,
  StorageFailedError,
} from "../../errors.ts";
import { LogOutline } from "../log-outline.ts";
import type { LogBase, LogIdentity, LogStore, LogWrite, StoredLog } from "../log-store.ts";
import { EntryIndex } from "./entry-index.ts";
import { asError, hasCode } from "./file-error.ts";
import { SECTOR_BYTES } from "./batch-format.ts";
import { Recovery, type Recovered } from "./recovery.ts";
import { Segments, segmentSequences } from "./segments.ts";
import { WalWriter, type WalLogger, type WalState } from "./wal-writer.ts";

/** Options of `wal`. */
export interface WalOptions {
  /**
   * The size that segments grow to, in bytes; the first one is smaller. Compaction gives space back
   * in whole segments. Default 16 MiB; 4 KiB to 1 GiB.
   */
  readonly segmentBytes?: number;
  /** Where messages for people go, such as that an interrupted write was cut off. Default: nowhere. */
  readonly onLog?: WalLogger;
}

const SEGMENT_BYTES_DEFAULT = 16 * 1024 * 1024;
const SEGMENT_BYTES_MIN = 4 * 1024;
const SEGMENT_BYTES_MAX = 1024 * 1024 * 1024;

const NODE_ID_CHARS_MAX = 255;

/**
 * A log on disk: in `directory`, which it makes if need be and holds for itself while it is open.
 *
 * @example
 * const log = wal("./data/a");
 */
export function wal(directory: string, options: WalOptions = {}): LogStore {
  return new WalLog(directory, options);
}

/** For `forceNewCluster`, which does to a log what no running node may do. */
export class WalLog implements LogStore {
  readonly #directory: string;
  readonly #segmentBytes: number;
  readonly #log: WalLogger;
  #opening = false;
  #open: { readonly writer: WalWriter; readonly lock: FileLock } | null = null;
  #closed: Promise<void> | null = null;

  constructor(directory: string, { segmentBytes = SEGMENT_BYTES_DEFAULT, onLog }: WalOptions = {}) {
    if (directory.length === 0) throw new InvalidOptionError("the log's directory has no name");
    if (!(segmentBytes >= SEGMENT_BYTES_MIN && segmentBytes <= SEGMENT_BYTES_MAX)) {
      throw new InvalidOptionError(
        `segmentBytes is ${String(segmentBytes)}; it must be from ${String(SEGMENT_BYTES_MIN)} to ${String(SEGMENT_BYTES_MAX)}`,
      );
    }
    this.#directory = directory;
    this.#segmentBytes = Math.ceil(segmentBytes / SECTOR_BYTES) * SECTOR_BYTES;
    this.#log = onLog ?? (() => undefined);
  }

  async open(identity: LogIdentity, environment: Environment): Promise<StoredLog> {
    if (this.#opening || this.#open !== null) {
      throw new DirectoryLockedError(`${this.#directory} is open already, through this same object`);
    }
    if (identity.nodeId.length === 0 || identity.nodeId.length > NODE_ID_CHARS_MAX) {
      throw new InvalidOptionError(`a node's id has 1 to ${String(NODE_ID_CHARS_MAX)} characters`);
    }
    this.#opening = true;
    try {
      const { files } = environment;
      await files.makeDirectory(this.#directory);
      const lock = await this.#lock(files);
      try {
        const state = await this.#load(identity, environment);
        const stored = state.outline.toStoredLog(state.storeId);
        this.#open = { writer: new WalWriter(state, this.#directory, this.#log), lock };
        this.#closed = null;
        return await this.#bind(stored, identity.clusterId);
      } catch (error) {
        if (this.#open === null) await lock.release();
        else await this.close();
        throw error;
      }
    } catch (error) {
      if (error instanceof RaftError) throw error;
      const text = `the log in ${this.#directory} could not be opened: ${asError(error).message}`;
      throw new StorageFailedError(text, "not-done", { cause: error });
    } finally {
      this.#opening = false;
    }
  }

  append(write: LogWrite): Promise<void> {
    return this.#withWriter((writer) => writer.append(write));
  }

  read(from: LogIndex, to: LogIndex, bytesMax: number): Promise<Uint8Array[]> {
    return this.#withWriter((writer) => writer.read(from, to, bytesMax));
  }

  bytesBetween(from: LogIndex, to: LogIndex): number {
    if (this.#open === null) throw new ClosedError();
    return this.#open.writer.bytesBetween(from, to);
  }

  compact(base: LogBase): Promise<void> {
    return this.#withWriter((writer) => writer.compact(base));
  }

  reset(base: LogBase): Promise<void> {
    return this.#withWriter((writer) => writer.reset(base));
  }

  setClusterId(clusterId: string): Promise<void> {
    return this.#withWriter((writer) => writer.setClusterId(clusterId));
  }

  /** See `WalWriter.appendInNewCluster`. */
  appendInNewCluster(clusterId: string, write: LogWrite): Promise<void> {
    return this.#withWriter((writer) => writer.appendInNewCluster(clusterId, write));
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const open = this.#open;
    if (open === null) return;
    try {
      await open.writer.close();
    } catch (error) {
      // Whatever was promised is durable; what failed is tidying up.
      this.#log(
        "warn",
        `the log in ${this.#directory} was not closed in good order: ${asError(error).message}`,
      );
    } finally {
      await open.lock.release();
      this.#open = null;
    }
  }

  #withWriter<T>(use: (writer: WalWriter) => Promise<T>): Promise<T> {
    return this.#open === null ? Promise.reject(new ClosedError()) : use(this.#open.writer);
  }

  async #lock(files: FileSystem): Promise<FileLock> {
    try {
      return await files.lock(this.#directory);
    } catch (error) {
      if (!hasCode(error, "ELOCKED")) throw error;
      throw new DirectoryLockedError(asError(error).message, { cause: error });
    }
  }

  async #load(identity: LogIdentity, environment: Environment): Promise<WalState> {
    const { files } = environment;
    const segments = new Segments(files, this.#directory, this.#segmentBytes);
    try {
      const sequences = segmentSequences(await files.list(this.#directory));
      if (sequences.length === 0) return await this.#create(segments, identity, environment);
      const recovered = await new Recovery(files, segments).run(sequences, identity);
      return await this.#resume(files, segments, identity.nodeId, recovered);
    } catch (error) {
      await segments.close().catch(() => undefined);
      throw error;
    }
  }

  async #create(
    segments: Segments,
    { nodeId, clusterId }: LogIdentity,
    environment: Environment,
  ): Promise<WalState> {
    const storeId = randomId(() => environment.random());
    const outline = new LogOutline();
    outline.clusterId = clusterId;
    const firstBatch = 1;
    const { handle, end } = await segments.create(headerFields(nodeId, storeId, firstBatch, outline), 0);
    return {
      nodeId,
      storeId,
      outline,
      index: new EntryIndex(),
      segments,
      nextBatch: firstBatch,
      end,
      handle,
    };
  }

  /**
   * Makes what was found durable, since an earlier run may have ended before it was; then goes on behind it.
   */
  async #resume(
    files: FileSystem,
    segments: Segments,
    nodeId: NodeId,
    recovered: Recovered,
  ): Promise<WalState> {
    const { storeId, outline, index, nextBatch, lastBatch, torn } = recovered;
    await files.syncDirectory(this.#directory);
    const rest = { nodeId, storeId, outline, index, segments, nextBatch };
    if (torn !== null) {
      // What is left of the interrupted write stays where it is: a new segment says that the log goes on
      // there. So cutting off takes effect in one step, the segment's name, and destroys nothing.
      this.#log(
        "warn",
        `the last write to the log was interrupted, and is cut off; it was never acknowledged`,
        {
          ...torn,
          lastIndex: outline.lastIndex,
        },
      );
      const { handle, end } = await segments.create(headerFields(nodeId, storeId, nextBatch, outline), 0);
      return { ...rest, handle, end };
    }
    const handle = await segments.openActive();
    // After a failed sync, the operating system may show data that it never wrote and will not write.
    // Only the last batch can be such data; writing it again makes it what it seems to be.
    if (lastBatch !== null) await handle.write([lastBatch.bytes], lastBatch.offset);
    await handle.dataSync();
    return { ...rest, handle, end: recovered.end };
  }

  /** Binds a log without a cluster to the one that its node was told; recovery has refused any other's. */
  async #bind(stored: StoredLog, clusterId: string | null): Promise<StoredLog> {
    if (clusterId === null) return stored;
    await this.setClusterId(clusterId);
    return { ...stored, clusterId };
  }
}

function headerFields(nodeId: NodeId, storeId: string, firstBatch: number, outline: LogOutline) {
  const { clusterId, hardState, base, basePayload, last } = outline;
  return { nodeId, storeId, firstBatch, clusterId, hardState, base, basePayload, last };
}

const ID_BYTES = 16;

/** 128 random bits as hexadecimal digits. */
function randomId(random: () => number): string {
  const bytes = Uint8Array.from({ length: ID_BYTES }, () => Math.floor(random() * 256));
  return Buffer.from(bytes).toString("hex");
}
