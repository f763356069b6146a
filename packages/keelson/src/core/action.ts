// What a node asks its caller to do: `RaftNode.takeActions` returns `Actions`.
import type { InstallSnapshot, Message } from "./message.ts";
import type { LogIndex, LogPosition, NodeId, Term } from "./position.ts";

/**
 * Everything that a node wants done since actions were last taken, as one value. Iterating over it gives the
 * same as single `Action`s, in an order that is always safe.
 *
 * **Order.** Batches are numbered by `persistId`, and their writes must reach the disk in that order. Within
 * a batch: `hardState` not after `append`; `messagesAfterPersist` after both are durable. `messages` may
 * leave at any time, also before the write: a leader replicates while its own disk is still writing.
 *
 * **Loss.** A crash may lose any batch that was not reported by `handlePersisted`, and any message. While the
 * process runs, writes, `timer`, `reads` and `commit` must not be dropped; messages and snapshots may be.
 *
 * **Merging.** What was not taken yet merges: a thousand proposals are one append and one message per peer.
 * So it pays to feed many inputs to the node and then to take its actions once.
 */
export interface Actions extends Iterable<Action> {
  /**
   * The number of this batch. Report it with `handlePersisted` once this batch and all before it are durable;
   * reporting only the last of several is enough. Not needed if `needsPersist` is false.
   */
  readonly persistId: number;
  /**
   * When to call `handleTimeout`, in milliseconds on the clock of `now`; null: never. Replaces the timer of
   * earlier actions. Each heartbeat moves the deadline later; so that the caller need not set its timer anew
   * each time, a timer that is running keeps its time, and `handleTimeout` then only names a later one.
   */
  readonly timer: number | null;
  /** The term and vote to save, as one record that replaces the last one; null: unchanged. */
  readonly hardState: HardState | null;
  /** The change to the stored log; null: none. */
  readonly append: AppendAction | null;
  /** Messages to send now. Each may be lost, duplicated, delayed or reordered. */
  readonly messages: readonly AddressedMessage[];
  /**
   * Messages to send once this batch and all before it are durable, also if this batch has nothing to write.
   * They assert the term or the vote that these batches save. Like any message, they may then be lost.
   * (Acknowledgements of entries are in `messages`: the core first waits for `handlePersisted`.)
   */
  readonly messagesAfterPersist: readonly AddressedMessage[];
  /**
   * The new commit index, with its term; null: unchanged. Entries up to it may be applied once they are
   * durable on this node too (`RaftNode.durableIndex`): otherwise a crash could take back what a client has
   * seen.
   */
  readonly commit: LogPosition | null;
  /** Answers to calls of `readIndex`, each id once. */
  readonly reads: readonly ReadAction[];
  /** Followers that need a snapshot instead of entries. */
  readonly snapshots: readonly SendSnapshotAction[];
  /**
   * The leader's offer of a snapshot that this node needs; null: none. Fetch it from `from`, install it, then
   * call `handleSnapshotInstalled`. The leader repeats the offer until then, so it may be ignored while
   * another snapshot is being fetched.
   */
  readonly installSnapshot: InstallSnapshot | null;
  /**
   * Whether the batch has something to write, or messages that wait: only then must `handlePersisted` be
   * called.
   */
  readonly needsPersist: boolean;
}

/**
 * What a node must remember besides its log (§5.1, Figure 2): saved as one record, so that a crash can't
 * leave the vote of one term beside another term.
 */
export interface HardState {
  readonly term: Term;
  /** The node that has this node's vote in `term`; null: not given yet. */
  readonly votedFor: NodeId | null;
}

/**
 * A change to the stored log, in two steps: remove, then write. Until it is reported durable, a crash may
 * leave any beginning of it: nothing, the removal, or the removal and some of the first entries.
 */
export interface AppendAction {
  /** First remove every stored entry from this index on; null: there is nothing to remove. */
  readonly truncateFrom: LogIndex | null;
  /** Then write the entries `[from, to)`, which follow the last entry that is left. */
  readonly from: LogIndex;
  readonly to: LogIndex;
}

/** A message, and the node to send it to. The caller attaches the payloads of its entries. */
export interface AddressedMessage {
  readonly to: NodeId;
  readonly message: Message;
}

/** The answer to a call of `readIndex`. */
export interface ReadAction {
  /** What `readIndex` returned. */
  readonly id: number;
  /** Serve the read once this index is applied; null: the read failed and can be tried again. */
  readonly index: LogIndex | null;
}

/**
 * A follower that needs a snapshot, because the log no longer holds the entries that it lacks: send it an
 * `install-snapshot` message for the newest snapshot. The core repeats this action with each answer that
 * still shows the need, because an offer may be lost. So ignore it while this follower is fetching a
 * snapshot.
 */
export interface SendSnapshotAction {
  readonly to: NodeId;
}

/** One effect, for callers that prefer a loop with a switch. The fields are those of `Actions`. */
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
