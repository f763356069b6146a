import type { LogPosition } from "../core/position.ts";
import type { Environment } from "../environment/environment.ts";

/** What a snapshot says of itself. */
export interface SnapshotHeader {
  /** Chosen at random by the node that took it: the same bytes keep it wherever they are copied to. */
  readonly id: string;
  readonly clusterId: string;
  /** The last entry whose effects it holds. */
  readonly position: LogPosition;
  /** The membership in force at `position`: an encoded configuration payload (codec/config.ts). */
  readonly membership: Uint8Array;
}

/** A snapshot that is complete and durable. */
export interface StoredSnapshot extends SnapshotHeader {
  /** Of the whole file. */
  readonly bytes: number;
  /** Whether this node took it from its own state, or got it from another node. */
  readonly origin: "taken" | "received";
}

/** A snapshot that can be seen to be damaged. */
export interface DamagedSnapshot {
  readonly file: string;
  /** What is wrong with it. */
  readonly reason: string;
}

/** What `open` found. */
export interface OpenedSnapshots {
  /** The newest that is whole, as far as can be told without reading all of it. */
  readonly newest: StoredSnapshot | null;
  /** Those that are newer, and damaged. */
  readonly damaged: readonly DamagedSnapshot[];
}

/** A snapshot of this node's own state that is being written. Nothing of it counts before `finish` has resolved. */
export interface SnapshotDraft {
  /** The next bytes of the state, cut anywhere. Resolves when more may come. */
  write(chunk: Uint8Array): Promise<void>;
  /** Makes it durable, and then the newest; older ones that nobody reads go. */
  finish(): Promise<StoredSnapshot>;
  /** Throws it away. */
  abort(): Promise<void>;
}

/** Another node's snapshot that is being fetched. What has come survives a lost connection, and a restart. */
export interface IncomingSnapshot {
  readonly id: string;
  /** Of the whole file. */
  readonly bytes: number;
  /** Bytes that are here: the next ones to write are those from this offset on. */
  readonly offset: number;
  write(chunk: Uint8Array): Promise<void>;
  /**
   * Reads all of it back and makes it durable and the newest. Rejects with `CorruptSnapshotError` if it is not whole
   * and right, and throws it away.
   */
  finish(): Promise<StoredSnapshot>;
  /** Stops for now, and keeps what is here. */
  suspend(): Promise<void>;
  /** Throws it away. */
  abort(): Promise<void>;
}

/** One snapshot, opened to be sent or restored. It is not deleted before it is closed. */
export interface SnapshotReader {
  readonly snapshot: StoredSnapshot;
  /** Bytes of the file as they are, from `offset` on; fewer only at its end. */
  read(offset: number, bytes: number): Promise<Uint8Array>;
  /** Reads all of it; rejects with `CorruptSnapshotError` if anything is not as it was written. */
  verify(): Promise<void>;
  /** What was given to `create`. */
  sessions(): Promise<Uint8Array>;
  /** The state's bytes, checked, cut anywhere. Throws `CorruptSnapshotError` where it is damaged. */
  state(): AsyncIterable<Uint8Array>;
  close(): Promise<void>;
}

/**
 * Where a node keeps its snapshots: the newest one, and older ones for as long as they are read.
 *
 * A failed write spoils the snapshot that it was for and nothing else: none is trusted before it was
 * written, synced, and given its name.
 */
export interface SnapshotStore {
  /** Opens the store, makes it if there is none, and clears away what a crash left half-written. */
  open(environment: Environment): Promise<OpenedSnapshots>;
  /** The newest; null: there is none. */
  readonly newest: StoredSnapshot | null;
  /** Begins a snapshot of this node's own state. `sessions` is kept beside the state. */
  create(header: Omit<SnapshotHeader, "id">, sessions: Uint8Array): Promise<SnapshotDraft>;
  /** Begins, or goes on with, a snapshot of another node: one at a time. */
  receive(id: string, bytes: number): Promise<IncomingSnapshot>;
  /** null: there is no such snapshot (any more). */
  read(id: string): Promise<SnapshotReader | null>;
  /** Throws a snapshot away that turned out to be damaged. */
  discard(id: string): Promise<void>;
  /** Lets go of everything. Idempotent. */
  close(): Promise<void>;
}
