import type { ComponentLog } from "../log-event.ts";
import type { LogPosition } from "../core/position.ts";
import type { Environment } from "../environment/environment.ts";

/*
 * The interface behind which a node keeps its snapshots. snapshots/ implements it, on disk and in memory.
 *
 * A snapshot is one file with the same bytes on every node. Three kinds of objects write or read one: a
 * `SnapshotDraft` writes one of this node's own state, an `IncomingSnapshot` writes one that another node
 * sends, and a `SnapshotReader` reads a complete one.
 */

/** What a snapshot's file says about it before the state begins. */
export interface SnapshotHeader {
  /** Drawn at random by the node that takes it, 32 hexadecimal digits. Copies on other nodes keep the id. */
  readonly id: string;
  readonly clusterId: string;
  /** The last entry whose effects the snapshot holds. */
  readonly position: LogPosition;
  /** The membership in force at `position`: the payload of a configuration entry (codec/config.ts). */
  readonly membership: Uint8Array;
}

/** A snapshot that is complete and durable. */
export interface StoredSnapshot extends SnapshotHeader {
  /** The size of the whole file. */
  readonly bytes: number;
  /** Whether this node took it from its own state, or received it from another node. */
  readonly origin: "taken" | "received";
}

/** A file that has a complete snapshot's name and fails a check. */
export interface DamagedSnapshot {
  readonly file: string;
  /** What is wrong with it, for people. */
  readonly reason: string;
}

/** What `SnapshotStore.open` found. */
export interface OpenedSnapshots {
  /** The newest complete snapshot that passes the checks of its header and its last block; null: none. */
  readonly newest: StoredSnapshot | null;
  /** Files that by their names are newer than `newest`, and are damaged. */
  readonly damaged: readonly DamagedSnapshot[];
}

/**
 * Writes a snapshot of this node's own state. The store doesn't offer it to readers before `finish` resolves;
 * a crash before that leaves a file that the next `open` removes. Calls must not overlap. After a call has
 * rejected, the caller must `abort` the draft.
 */
export interface SnapshotDraft {
  /**
   * Adds the next bytes of the state; chunks may be cut anywhere. Copies `chunk`. Resolves when more may
   * come.
   */
  write(chunk: Uint8Array): Promise<void>;
  /**
   * Makes the snapshot durable, and then, in one atomic step, the store's newest. Older ones are removed when
   * no reader has them open. If the store holds one of a later entry, that one stays the newest, and this one
   * is removed.
   */
  finish(): Promise<StoredSnapshot>;
  /** Removes the file. */
  abort(): Promise<void>;
}

/**
 * Writes a snapshot that another node sends. The store doesn't offer it to readers before `finish` resolves.
 * But what was written survives `suspend`, and a crash as far as it was synced: `SnapshotStore.receive` with
 * the same id goes on from there. Calls must not overlap.
 */
export interface IncomingSnapshot {
  readonly id: string;
  /** The size that the whole file will have. */
  readonly bytes: number;
  /** How many bytes the file holds so far, from its start: `write` adds after them. */
  readonly offset: number;
  /** Adds the next bytes of the file. The chunk must not change until the promise settles. */
  write(chunk: Uint8Array): Promise<void>;
  /**
   * Reads the whole file back, checks it, makes it durable, and then, in one atomic step, the store's newest
   * snapshot. If the store holds one of a later entry, that one stays the newest, and this one is removed.
   *
   * @throws CorruptSnapshotError a check failed, or the file is another snapshot; the file was removed
   */
  finish(): Promise<StoredSnapshot>;
  /** Closes the file and keeps it, so that a later `receive` can go on. */
  suspend(): Promise<void>;
  /** Removes the file. */
  abort(): Promise<void>;
}

/**
 * One complete snapshot, opened to be sent or restored. The store doesn't remove it before it is closed.
 * Reads may overlap.
 */
export interface SnapshotReader {
  readonly snapshot: StoredSnapshot;
  /**
   * The file's bytes from `offset` on, unchecked; fewer than `bytes` only at its end. The array belongs to
   * the caller, who sends it: the reader must not use its buffer again.
   */
  read(offset: number, bytes: number): Promise<Uint8Array>;
  /**
   * Reads and checks the whole file; rejects with `CorruptSnapshotError` if anything is not as it was
   * written.
   */
  verify(): Promise<void>;
  /**
   * The bytes of the sessions that were given to `SnapshotStore.create`, each block checked before it is
   * given out, cut anywhere. Throws `CorruptSnapshotError`.
   */
  sessions(): AsyncIterable<Uint8Array>;
  /**
   * The state's bytes, each block checked before it is given out, cut anywhere. Throws
   * `CorruptSnapshotError`.
   */
  state(): AsyncIterable<Uint8Array>;
  /** Idempotent. */
  close(): Promise<void>;
}

/**
 * Where a node keeps its snapshots: the newest, and each older one only until its last reader closes it.
 *
 * - *Durable.* `SnapshotDraft.finish` and `IncomingSnapshot.finish` resolve when the file and its name are
 *   durable. The node compacts its log only after that.
 * - *Atomic.* After a crash before `finish` resolved, the newest snapshot is either the former one,
 *   unchanged, or the new one, complete.
 * - *Concurrency.* One snapshot is received at a time. Apart from that, drafts, an incoming snapshot and
 *   readers may be in use at once.
 * - *Errors.* A failed write spoils the snapshot that it was for and nothing else: no other file is affected,
 *   and a snapshot is used only after it was written, synced and renamed. (A `LogStore` takes no more writes
 *   after one that failed.) Except in `open`, failed file operations reject as the file system reported them;
 *   a file that is no longer needed and can't be removed is only logged. All methods but `open`, `logTo` and
 *   `close` throw `ClosedError` unless the store is open.
 */
export interface SnapshotStore {
  /**
   * Opens the store, creates it if there is none, and removes drafts that a crash left. Incoming snapshots
   * stay, so that they can be continued. Damaged snapshots are reported, not removed, until there is a new
   * one.
   *
   * @throws DirectoryLockedError another process, or this object, has it open; StorageFailedError it can't be
   *   read or written, or a snapshot in it is of another version of the format
   */
  open(environment: Environment): Promise<OpenedSnapshots>;

  /**
   * Names where the store writes what people should know. A node calls it before `open`, with its own log.
   * Absent: the store has nothing to say.
   */
  logTo?(log: ComponentLog): void;
  /** The newest complete snapshot; null: there is none, or the store is not open. */
  readonly newest: StoredSnapshot | null;
  /**
   * Begins a snapshot of this node's own state. The store adds the id. `sessions` are the bytes of the
   * encoded session table, stored before the state; chunks may be cut anywhere, and each is valid until the
   * next one is asked for.
   */
  create(
    header: Omit<SnapshotHeader, "id">,
    sessions: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  ): Promise<SnapshotDraft>;
  /**
   * Begins to receive a snapshot of `bytes` bytes, or continues it if its file is here already. Removes
   * what was received of any other one.
   */
  receive(id: string, bytes: number): Promise<IncomingSnapshot>;
  /** Opens a complete snapshot; null: there is none with this id, or none any more. */
  read(id: string): Promise<SnapshotReader | null>;
  /**
   * Gives up a snapshot that turned out to be damaged: its file is removed when its last reader closes it.
   */
  discard(id: string): Promise<void>;
  /** Releases the lock and forgets everything. Idempotent. */
  close(): Promise<void>;
}
