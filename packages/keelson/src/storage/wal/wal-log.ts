import type { ComponentLog } from "../../log-event.ts";
import type { LogIndex, NodeId } from "../../core/position.ts";
import type { Environment, FileLock, FileSystem } from "../../environment/environment.ts";
import {
  ClosedError,
  DirectoryLockedError,
  InvalidOptionError,
  RaftError,
  StorageFailedError,
} from "../../errors.ts";
import { lockStore } from "../lock-store.ts";
import { LogOutline } from "../log-outline.ts";
import type { LogBase, LogIdentity, LogStore, LogWrite, StoredLog } from "../log-store.ts";
import { EntryIndex } from "./entry-index.ts";
import { adviceFor } from "../file-advice.ts";
import { asError } from "./file-error.ts";
import { randomId } from "../random-id.ts";
import { SECTOR_BYTES } from "./batch-format.ts";
import { Recovery, type Recovered } from "./recovery.ts";
import { summaryOf } from "./segment-header.ts";
import { Segments, segmentSequences } from "./segments.ts";
import { WalWriter, type WalState } from "./wal-writer.ts";

/*
 * The log on disk: `wal` and the class behind it. The class opens and closes a log. It takes the directory's
 * lock, has `Recovery` read what is there, makes that durable or creates a new log, and then passes all calls
 * on to a `WalWriter`.
 */

/** Options of `wal`. */
export interface WalOptions {
  /**
   * The size that segments grow to, in bytes; the first ones are smaller. Compaction frees space in whole
   * segments. Default 16 MiB; 4 KiB to 1 GiB.
   */
  readonly segmentBytes?: number | undefined;
}

const SEGMENT_BYTES_DEFAULT = 16 * 1024 * 1024;
const SEGMENT_BYTES_MIN = 4 * 1024;
const SEGMENT_BYTES_MAX = 1024 * 1024 * 1024;

const NODE_ID_CHARS_MAX = 255;

/**
 * A log on disk, in `directory`. The directory is created if it isn't there, and locked while the log is
 * open.
 *
 * @example
 * const log = wal("./data/a");
 */
export function wal(directory: string, options: WalOptions = {}): LogStore {
  return new WalLog(directory, options);
}

/**
 * Exported for `restoreWal` and `forceNewCluster`, which pass the directory's lock to `open`; the latter also
 * calls `appendInNewCluster`. Users get a `LogStore` from `wal`, without that method: a running node must
 * never replace its cluster's id.
 */
export class WalLog implements LogStore {
  readonly #directory: string;
  /** Rounded up to whole sectors. */
  readonly #segmentBytes: number;
  /** Set by `logTo`. Without it, messages for people are dropped. */
  #log: ComponentLog = () => undefined;
  /** Whether `open` is in progress. */
  #opening = false;
  /** null: not open. Set by `open`, cleared when `close` is done. */
  #open: { readonly writer: WalWriter; readonly lock: FileLock } | null = null;
  /** What `close` returned since the log was last opened; null: it was not called. */
  #closed: Promise<void> | null = null;

  constructor(directory: string, { segmentBytes = SEGMENT_BYTES_DEFAULT }: WalOptions = {}) {
    if (directory.length === 0) throw new InvalidOptionError("the log's directory has no name");
    if (!(segmentBytes >= SEGMENT_BYTES_MIN && segmentBytes <= SEGMENT_BYTES_MAX)) {
      throw new InvalidOptionError(
        `segmentBytes is ${String(segmentBytes)}; it must be from ${String(SEGMENT_BYTES_MIN)} to ${String(SEGMENT_BYTES_MAX)}`,
      );
    }
    this.#directory = directory;
    this.#segmentBytes = Math.ceil(segmentBytes / SECTOR_BYTES) * SECTOR_BYTES;
  }

  /**
   * @param held the directory's lock, if the caller has taken it already. The log takes it over, and releases
   *   it when it is closed or fails to open.
   */
  async open(identity: LogIdentity, environment: Environment, held?: FileLock): Promise<StoredLog> {
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
      const lock = held ?? (await lockStore(files, this.#directory));
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
      const advice = adviceFor(error);
      throw new StorageFailedError(advice === "" ? text : `${text}.${advice}`, "not-done", { cause: error });
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

  logTo(log: ComponentLog): void {
    this.#log = log;
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
      // Every write that was acknowledged is durable; only closing files or removing the preallocated one
      // failed.
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

  /** Recovers the log in the directory, or creates one if there is none. */
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

  /** Creates the first segment of a new log. */
  async #create(
    segments: Segments,
    { nodeId, clusterId }: LogIdentity,
    environment: Environment,
  ): Promise<WalState> {
    const storeId = randomId(() => environment.random());
    const outline = new LogOutline();
    outline.clusterId = clusterId;
    const firstBatch = 1;
    const header = { nodeId, storeId, firstBatch, ...summaryOf(outline) };
    const { handle, end } = await segments.create(header, 0);
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
   * Prepares a recovered log for writing. First makes everything that was found durable: an earlier process
   * may have ended between a write and its sync, and the node is about to act on what it found (D13).
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
      // Removing a torn write by overwriting it could be interrupted itself. So leave its bytes and start a
      // new segment, whose header takes over the torn batch's number. That takes effect in one step, when the
      // file gets its name.
      this.#log(
        "warn",
        `the last write to the log was interrupted, and is cut off; it was never acknowledged`,
        {
          ...torn,
          lastIndex: outline.lastIndex,
        },
      );
      const header = { nodeId, storeId, firstBatch: nextBatch, ...summaryOf(outline) };
      const { handle, end } = await segments.create(header, 0);
      return { ...rest, handle, end };
    }
    const handle = await segments.openActive();
    // If a sync of an earlier process failed, the operating system may still show the data from memory and
    // never write it, and a new sync alone wouldn't change that (D2). Only the last batch can be in this
    // state, because the writer stops after a failed sync. So write it again before the sync.
    if (lastBatch !== null) await handle.write([lastBatch.bytes], lastBatch.offset);
    await handle.dataSync();
    return { ...rest, handle, end: recovered.end };
  }

  /**
   * Binds the log to the cluster that `open` was called for. Recovery has refused a log of another cluster.
   */
  async #bind(stored: StoredLog, clusterId: string | null): Promise<StoredLog> {
    if (clusterId === null) return stored;
    await this.setClusterId(clusterId);
    return { ...stored, clusterId };
  }
}
