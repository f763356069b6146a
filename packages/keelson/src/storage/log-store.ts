import type { HardState } from "../core/action.ts";
import type { ConfigAt, TermRun } from "../core/message.ts";
import type { ClusterConfig } from "../core/config.ts";
import type { LogIndex, LogPosition, NodeId } from "../core/position.ts";
import type { Environment } from "../environment/environment.ts";

/** Whose log this is. A directory of another node or cluster is refused. */
export interface LogIdentity {
  readonly nodeId: NodeId;
  /** null: not known yet, or not given; the store then keeps the one it holds. */
  readonly clusterId: string | null;
}

/** What `open` found: all that the core needs to restart, and nothing that grows with the log. */
export interface StoredLog {
  /** null: the node belongs to no cluster yet. */
  readonly clusterId: string | null;
  /** Chosen at random when the store was made: it tells this disk from another of the same id. */
  readonly storeId: string;
  readonly hardState: HardState;
  /** The last entry that is no longer in the log (compacted away); `ORIGIN`: none. */
  readonly base: LogPosition;
  /** The configuration at `base`; `EMPTY_CONFIG` at `ORIGIN`. */
  readonly baseConfig: ClusterConfig;
  /** The same as the payload of a configuration entry, with the members' addresses; empty at `ORIGIN`. */
  readonly basePayload: Uint8Array;
  /** Of the entries after `base`, ascending; empty for an empty log. */
  readonly terms: readonly TermRun[];
  readonly configs: readonly ConfigAt[];
  /** The last entry's index; equal to `base.index` for an empty log. */
  readonly lastIndex: LogIndex;
}

/** One write. All of it is durable when its promise resolves; after a crash before that, a prefix in the order below may be. */
export interface LogWrite {
  /** Term and vote, replaced as one record; null: unchanged. */
  readonly hardState: HardState | null;
  /** Remove every entry from this index on; null: nothing to remove. */
  readonly truncateFrom: LogIndex | null;
  /** Encoded records (see codec/record.ts) of consecutive entries, the first right after the last stored. */
  readonly records: readonly Uint8Array[];
}

/** The new beginning of a log whose first entries a snapshot covers. */
export interface LogBase {
  readonly position: LogPosition;
  /** The configuration at `position`: an encoded configuration payload (codec/config.ts). */
  readonly config: Uint8Array;
}

/**
 * Where a node keeps its log, its term and its vote. One suite checks every implementation
 * (`keelson/testing`: `describeLogStore`).
 *
 * Writes (`append`, `compact`, `reset`, `setClusterId`) take effect in the order of the calls, may
 * overlap (a store gathers those that wait into one sync), and resolve in that order. `read` and
 * `bytesBetween` see a write as soon as it was called, durable or not.
 *
 * **After any write has failed the store is poisoned**: that call and every later one rejects with
 * the first error as its cause, because after a failed sync nobody knows what the disk holds. The
 * node must stop; opening anew finds out what is there.
 */
export interface LogStore {
  /**
   * Opens the store, makes it if there is none, and recovers from a crash. Fails if another
   * process holds it, if it belongs to another node or cluster, or if what was acknowledged is
   * damaged (`CorruptLogError`: which file, offset and index, and what to do).
   */
  open(identity: LogIdentity, environment: Environment): Promise<StoredLog>;

  /** Writes a batch; resolves when all of it is durable. */
  append(write: LogWrite): Promise<void>;

  /**
   * Records of the entries from `from` on, up to but not including `to`, stopping early at `bytesMax`, or before
   * that where the rest would take long (always at least one entry): whoever wants more asks again. Rejects if
   * `from` is at or below the base or `to` past the end.
   * Records are checked against their checksums; a damaged one rejects with `CorruptLogError`.
   */
  read(from: LogIndex, to: LogIndex, bytesMax: number): Promise<Uint8Array[]>;

  /** The bytes that the records of `[from, to)` take; both within the log (`to` up to last + 1). O(1) or nearly. */
  bytesBetween(from: LogIndex, to: LogIndex): number;

  /**
   * Forgets entries up to `base.position`, which must be in the log. Those after it stay. A crash
   * leaves the old beginning or the new one. May keep more than asked for on disk.
   */
  compact(base: LogBase): Promise<void>;

  /** Replaces the whole log by an empty one that begins after `base`, in one step that survives a crash. */
  reset(base: LogBase): Promise<void>;

  /** Binds a store that has no cluster yet to one, durably; refuses to change it. */
  setClusterId(clusterId: string): Promise<void>;

  /** Waits for writes under way and lets go of everything. Idempotent. */
  close(): Promise<void>;
}
