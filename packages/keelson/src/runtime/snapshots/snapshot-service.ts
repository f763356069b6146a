// The face of snapshots to the rest of the node.
import type { SnapshotMessage } from "../../codec/frame-runtime-message.ts";
import type { InstallSnapshot } from "../../core/message.ts";
import type { LogIndex, NodeId } from "../../core/position.ts";
import type { CallOptions } from "../calls/index.ts";
import type { SnapshotMetrics, SnapshotsMetrics } from "../shared/index.ts";

/** What a node does with snapshots, whether it was opened with a snapshot store or without one. */
export interface SnapshotService {
  /** null: the node was opened without snapshots. */
  readonly metrics: SnapshotsMetrics | null;
  /** The last entry that the newest snapshot covers; null: there is none. */
  readonly newestIndex: LogIndex | null;
  /** Whether a received snapshot is replacing the state and the log. */
  readonly isInstalling: boolean;
  /** Called once, when the node begins its work. */
  start(): void;
  /** A batch was applied. */
  applied(): void;
  /** Takes a snapshot for a caller. Resolves when it is durable. */
  take(options: CallOptions): Promise<SnapshotMetrics>;
  /** These followers lack entries that this leader's log no longer holds. */
  snapshotsNeeded(followers: readonly NodeId[]): void;
  /** The leader offers a snapshot to this node. */
  snapshotOffered(offer: InstallSnapshot): void;
  /** A message about a transfer, from the node that fetches a snapshot or the one that sends it. */
  onMessage(message: SnapshotMessage): void;
  /** The node stops: nothing new begins. The registry of calls has ended the calls. */
  stop(): void;
  /** After `stop`: ends all transfers. Resolves when no snapshot file is in use, nor the state machine. */
  finish(): Promise<void>;
  /** Closes the store, whether its files are in use or not. */
  close(): Promise<void>;
}
