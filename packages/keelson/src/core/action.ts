import type { InstallSnapshot, Message } from "./message.ts";
import type { LogIndex, LogPosition, NodeId, Term } from "./position.ts";

/** What a node must never forget besides its log: one record, replaced as a whole (§5.1, Figure 2). */
export interface HardState {
  readonly term: Term;
  /** Who got this node's vote in `term`; null: nobody yet. */
  readonly votedFor: NodeId | null;
}

/** A write to the log, in two steps, in this order; a crash before it is reported durable may leave any part of it that came first. */
export interface AppendAction {
  /** Remove every stored entry from this index on, first; null: there is nothing to remove. */
  readonly truncateFrom: LogIndex | null;
  /** Then write the entries `[from, to)`. */
  readonly from: LogIndex;
  readonly to: LogIndex;
}

/** A message and whom it is for. */
export interface AddressedMessage {
  readonly to: NodeId;
  readonly message: Message;
}

/** The answer to `readIndex`. */
export interface ReadAction {
  readonly id: number;
  /** Serve the read once this index is applied; null: it failed, ask again. */
  readonly index: LogIndex | null;
}

/**
 * A follower that needs a snapshot, because the log no longer holds what it lacks. Repeated with every
 * answer that shows the need, as a transfer may fail: ignore it while one to this follower is under way.
 */
export interface SendSnapshotAction {
  readonly to: NodeId;
}

/**
 * What the node wants done, as one value, in the order in which to do it. What nobody has taken
 * yet merges: a thousand proposals are one append and one message a peer.
 */
export interface Actions extends Iterable<Action> {
  /**
   * Names this batch for `handlePersisted`. Writes are ordered: a batch counts as durable only
   * when all before it are.
   */
  readonly persistId: number;
  /**
   * Call `handleTimeout` at this time; null: never. Replaces the one before. It moves only when it
   * must: a deadline that was put off meanwhile is noticed when the call comes, early, so that a
   * heartbeat costs no timer.
   */
  readonly timer: number | null;
  /** Save term and vote; null: unchanged. Durable together with `append`, or before it. */
  readonly hardState: HardState | null;
  /** Write this range of the log; null: nothing to write. */
  readonly append: AppendAction | null;
  /** Send now. May be lost, doubled and reordered. */
  readonly messages: readonly AddressedMessage[];
  /**
   * Send once `hardState` and `append` of this batch, and all batches before it, are durable.
   * If the batch has nothing to write, that means: once those before it are.
   */
  readonly messagesAfterPersist: readonly AddressedMessage[];
  /** The leader's commit index moved here: entries up to it may be applied once they are durable here; null: unchanged. */
  readonly commit: LogPosition | null;
  /** Read requests that may now be served, or that failed. */
  readonly reads: readonly ReadAction[];
  /** Followers that need a snapshot. */
  readonly snapshots: readonly SendSnapshotAction[];
  /** A leader offers this snapshot; fetch it, install it, then call `handleSnapshotInstalled`. */
  readonly installSnapshot: InstallSnapshot | null;
  /** Whether `hardState`, `append` or `messagesAfterPersist` ask for a `handlePersisted` call. */
  readonly needsPersist: boolean;
}

/** One effect, for drivers that prefer a loop with a switch. */
export type Action =
  | { readonly type: "set-timer"; readonly deadline: number | null }
  | ({ readonly type: "save-hard-state" } & HardState)
  | ({ readonly type: "append-entries" } & AppendAction)
  | { readonly type: "send"; readonly to: NodeId; readonly message: Message }
  | { readonly type: "send-after-persist"; readonly to: NodeId; readonly message: Message }
  | { readonly type: "commit"; readonly position: LogPosition }
  | ({ readonly type: "read" } & ReadAction)
  | ({ readonly type: "send-snapshot" } & SendSnapshotAction)
  | { readonly type: "install-snapshot"; readonly offer: InstallSnapshot };
