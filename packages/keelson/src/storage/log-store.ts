import type { ComponentLog } from "../log-event.ts";
import type { HardState } from "../core/action.ts";
import type { ConfigAt, TermRun } from "../core/message.ts";
import type { ClusterConfig } from "../core/config.ts";
import type { LogIndex, LogPosition, NodeId } from "../core/position.ts";
import type { Environment } from "../environment/environment.ts";

/*
 * The interface behind which a node keeps its log, its term and its vote. Implementations: memory/ and wal/.
 * One suite checks every implementation (`describeLogStore` in keelson/testing); write one of your own
 * against it.
 */

/**
 * The owner that `LogStore.open` is called for. A store that belongs to another node or cluster refuses to
 * open.
 */
export interface LogIdentity {
  readonly nodeId: NodeId;
  /**
   * A store that belongs to no cluster yet is bound to this one when it is opened. null: the caller doesn't
   * know its cluster; the store keeps the cluster id that it holds, if any.
   */
  readonly clusterId: string | null;
}

/**
 * What `LogStore.open` found: everything the core needs to restart. Its size doesn't grow with the number of
 * commands.
 */
export interface StoredLog {
  /** null: the node belongs to no cluster yet. */
  readonly clusterId: string | null;
  /**
   * Drawn at random when the store is created, and never changed. Other members use it to notice that a node
   * came back with new, empty storage under its old id, and so has forgotten its votes.
   */
  readonly storeId: string;
  readonly hardState: HardState;
  /** The last entry that is no longer in the log, because a snapshot covers it; `ORIGIN`: none. */
  readonly base: LogPosition;
  /** The configuration in force at `base`; `EMPTY_CONFIG` at `ORIGIN`. */
  readonly baseConfig: ClusterConfig;
  /**
   * `baseConfig` with the members' addresses, encoded as a configuration entry's payload; empty at `ORIGIN`.
   */
  readonly basePayload: Uint8Array;
  /** The term runs of the entries after `base`, ascending by index; empty for an empty log. */
  readonly terms: readonly TermRun[];
  /** The configuration entries after `base`, ascending by index. */
  readonly configs: readonly ConfigAt[];
  /** The last entry's index; equal to `base.index` for an empty log. */
  readonly lastIndex: LogIndex;
}

/**
 * One write. It takes effect in the order of its fields: hard state, truncation, records. A crash before it
 * is durable may keep the first part of it, in that order, but never a later step without the earlier ones.
 */
export interface LogWrite {
  /** Term and vote, replaced together in one atomic step; null: unchanged. */
  readonly hardState: HardState | null;
  /** Remove every entry from this index on; from above the base up to last + 1. null: remove nothing. */
  readonly truncateFrom: LogIndex | null;
  /**
   * Encoded records (codec/record.ts) of consecutive entries. The first one follows directly after the last
   * entry that `truncateFrom` leaves. The store keeps these arrays without copying them, so their bytes must
   * not change any more.
   */
  readonly records: readonly Uint8Array[];
}

/** Where a log begins whose first entries a snapshot covers. */
export interface LogBase {
  /** The last entry that the snapshot covers. */
  readonly position: LogPosition;
  /** The configuration in force at `position`: the payload of a configuration entry (codec/config.ts). */
  readonly config: Uint8Array;
}

/**
 * Where a node keeps its log, its term and its vote.
 *
 * **Writes** are `append`, `compact`, `reset` and `setClusterId`.
 *
 * - *Order.* They may overlap: the caller need not wait for one before it makes the next, and a store is free
 *   to make several durable with one sync. They take effect in the order of the calls, become durable in that
 *   order, and their promises resolve in that order.
 * - *Visible.* `read` and `bytesBetween` see a write as soon as the call returns its promise, durable or not.
 * - *Durable.* When a write's promise resolves, that write and all earlier ones survive a crash and a power
 *   cut.
 * - *May be lost.* A crash before that may lose the write; then all later writes are lost too, and no earlier
 *   one.
 * - *Atomic.* A crash keeps `compact`, `reset` and `setClusterId` whole or not at all. Of an `append` it may
 *   keep a first part (see `LogWrite`).
 *
 * **Errors**
 *
 * - *Mistakes of the caller.* A write that can't follow what is stored (a gap, a falling term, bytes that are
 *   no record) rejects with `ProtocolViolation`, `DecodeError`, `InvalidOptionError` or `WrongIdentityError`.
 *   It changes nothing, and the store stays usable.
 * - *Failures of the disk.* The write rejects with a `StorageFailedError` whose outcome is "unknown", and the
 *   store is poisoned: every other write, queued or later, rejects with "not-done" and the first failure as
 *   its cause. The store must not try again: after a failed sync the operating system may drop the data and
 *   still report the next sync as done, so data would be acknowledged that is lost (D2). The node must stop;
 *   opening the store again finds out what is on disk.
 * - *Not open.* Every method but `open`, `logTo` and `close` rejects with `ClosedError`; `bytesBetween`
 *   throws it.
 */
export interface LogStore {
  /**
   * Opens the store, creates it if there is none, and recovers from a crash. When the promise resolves,
   * everything in the result is durable. Not to be called while the store is open; it may be opened again
   * after `close`.
   *
   * @throws DirectoryLockedError another process, or this object, has it open; WrongIdentityError it belongs
   *   to another node or cluster; CorruptLogError something that was once durable is damaged (says which
   *   file, offset and index, and what to do); StorageFailedError it can't be read or written;
   *   InvalidOptionError
   */
  open(identity: LogIdentity, environment: Environment): Promise<StoredLog>;

  /**
   * Names where the store writes what people should know, such as that an interrupted write was cut off. A
   * node calls it before `open`, with its own log. Absent: the store has nothing to say.
   */
  logTo?(log: ComponentLog): void;

  /**
   * Replaces the hard state, removes entries from the end, and adds entries: whatever `write` asks for, in
   * that order.
   */
  append(write: LogWrite): Promise<void>;

  /**
   * Resolves with the records of the entries `[from, to)`, or with the first of them: it stops early at
   * `bytesMax` bytes, and may stop earlier where the rest would take many more disk operations. It returns at
   * least one record unless the range is empty; the caller asks again for the rest. Sees the log as it is
   * when it is called, whatever is written meanwhile. May overlap with writes and other reads. The records'
   * bytes belong to the store and must not be changed.
   *
   * The caller may keep the arrays, which must not change any more: neither the store nor the caller writes
   * to them, because a store in memory returns the arrays that it holds.
   *
   * @throws InvalidOptionError `from` is at or below the base or above `to`, or `to` is past last + 1;
   *   CorruptLogError a record doesn't match its checksum; StorageFailedError
   */
  read(from: LogIndex, to: LogIndex, bytesMax: number): Promise<Uint8Array[]>;

  /**
   * The bytes that the records of `[from, to)` take; both within the log (`to` up to last + 1). O(1) or
   * nearly.
   */
  bytesBetween(from: LogIndex, to: LogIndex): number;

  /**
   * Forgets the entries up to `base.position`, which must be in the log; later entries stay. A base at or
   * below the present one changes nothing. A crash leaves the old base or the new one. The store may delete
   * the bytes later, and in larger units than was asked for.
   */
  compact(base: LogBase): Promise<void>;

  /** Replaces the whole log by an empty one that begins after `base`, atomically. The hard state stays. */
  reset(base: LogBase): Promise<void>;

  /**
   * Binds a store that has no cluster yet to one. The same id again changes nothing.
   *
   * @throws WrongIdentityError it belongs to another cluster
   */
  setClusterId(clusterId: string): Promise<void>;

  /**
   * Waits for the writes and reads in progress, then releases files and lock. Calling it again does nothing.
   */
  close(): Promise<void>;
}
