// What the core has decided and the caller has not taken yet. New decisions merge into it.
import type { Action, Actions, AppendAction, HardState, AddressedMessage, ReadAction } from "./action.ts";
import type { InstallSnapshot, Message } from "./message.ts";
import type { LogIndex, LogPosition, NodeId } from "./position.ts";

/** `PendingActions` as plain values. */
export interface PendingActionsImage {
  readonly persistId: number;
  readonly hardState: HardState | null;
  readonly append: AppendAction | null;
  readonly messages: readonly AddressedMessage[];
  readonly messagesAfterPersist: readonly AddressedMessage[];
  readonly commit: LogPosition | null;
  readonly reads: readonly ReadAction[];
  readonly snapshots: readonly NodeId[];
  readonly installSnapshot: InstallSnapshot | null;
}

/** An `AppendAction` that is still being collected. */
type PendingAppend = { -readonly [Field in keyof AppendAction]: AppendAction[Field] };

/** Collects actions until the caller takes them, and merges appends, saved terms and commit indexes. */
export class PendingActions {
  /** The number of the batch that is being collected. Raised by `take`. */
  #persistId = 1;
  #hardState: HardState | null = null;
  /** Changed in place until it is taken: a thousand proposals are one object. */
  #append: PendingAppend | null = null;
  #messages: AddressedMessage[] = [];
  #messagesAfterPersist: AddressedMessage[] = [];
  #commit: LogPosition | null = null;
  #reads: ReadAction[] = [];
  #snapshots: NodeId[] = [];
  #installSnapshot: InstallSnapshot | null = null;

  restore(image: PendingActionsImage): void {
    this.#persistId = image.persistId;
    this.#hardState = image.hardState;
    this.#append = image.append === null ? null : { ...image.append };
    this.#messages = [...image.messages];
    this.#messagesAfterPersist = [...image.messagesAfterPersist];
    this.#commit = image.commit;
    this.#reads = [...image.reads];
    this.#snapshots = [...image.snapshots];
    this.#installSnapshot = image.installSnapshot;
  }

  capture(): PendingActionsImage {
    return {
      persistId: this.#persistId,
      hardState: this.#hardState,
      append: this.#append === null ? null : { ...this.#append },
      messages: [...this.#messages],
      messagesAfterPersist: [...this.#messagesAfterPersist],
      commit: this.#commit,
      reads: [...this.#reads],
      snapshots: [...this.#snapshots],
      installSnapshot: this.#installSnapshot,
    };
  }

  /** The number of the batch that is being collected: what is added now is durable when this batch is. */
  get persistId(): number {
    return this.#persistId;
  }

  saveHardState(hardState: HardState): void {
    // New term (§5.1): drop queued votes, and the messages that waited for the old term to be durable. No
    // node has seen them, and losing a message is always safe.
    if (this.#hardState !== null && this.#hardState.term < hardState.term) {
      this.#messages = this.#messages.filter(({ message }) => !isVote(message));
      this.#messagesAfterPersist = [];
    }
    this.#hardState = hardState;
  }

  /** Entries `[from, to)` were appended to the log. */
  append(from: LogIndex, to: LogIndex): void {
    if (this.#append === null) this.#append = { truncateFrom: null, from, to };
    else {
      this.#append.from = Math.min(this.#append.from, from);
      this.#append.to = to;
    }
  }

  /**
   * Entries from `index` on were removed from the log. Those that the caller hasn't taken yet were never
   * written, so they need not be removed from the disk.
   */
  truncate(index: LogIndex): void {
    const pending = this.#append;
    if (pending !== null && pending.from < index) {
      this.#append = { ...pending, to: Math.min(pending.to, index) };
      return;
    }
    this.#append = {
      truncateFrom: Math.min(pending?.truncateFrom ?? index, index),
      from: index,
      to: index,
    };
  }

  /**
   * An installed snapshot covers the entries up to `index`, and the stored log begins after it. Only later
   * entries are left to write, and nothing to remove.
   */
  dropCovered(index: LogIndex): void {
    const pending = this.#append;
    if (pending === null || pending.from > index) return;
    this.#append = pending.to > index + 1 ? { truncateFrom: null, from: index + 1, to: pending.to } : null;
  }

  /** An installed snapshot has durably replaced the whole log: nothing is left to write. */
  dropAppend(): void {
    this.#append = null;
  }

  /** Sends at once. */
  send(to: NodeId, message: Message): void {
    this.#messages.push({ to, message });
  }

  /** Sends once this batch is durable. */
  sendAfterPersist(to: NodeId, message: Message): void {
    this.#messagesAfterPersist.push({ to, message });
  }

  /** The commit index has moved to `position`. */
  commit(position: LogPosition): void {
    this.#commit = position;
  }

  /** A read of this node's client may be served at `index`; null: it failed. */
  read(id: number, index: LogIndex | null): void {
    this.#reads.push({ id, index });
  }

  /** The follower `to` needs a snapshot. */
  sendSnapshot(to: NodeId): void {
    if (!this.#snapshots.includes(to)) this.#snapshots.push(to);
  }

  /** This node no longer leads, so it offers no snapshots. */
  dropSnapshotOffers(): void {
    this.#snapshots = [];
  }

  /** The leader offers a snapshot that this node needs. A later offer replaces it. */
  installSnapshot(offer: InstallSnapshot): void {
    this.#installSnapshot = offer;
  }

  /** Returns the collected actions, and starts the next batch. */
  take(timer: number | null): TakenActions {
    const taken = new TakenActions({
      persistId: this.#persistId,
      timer,
      hardState: this.#hardState,
      append: this.#append,
      messages: handedOut(this.#messages),
      messagesAfterPersist: handedOut(this.#messagesAfterPersist),
      commit: this.#commit,
      reads: handedOut(this.#reads),
      snapshots: this.#snapshots.length === 0 ? NONE : this.#snapshots.map((to) => ({ to })),
      installSnapshot: this.#installSnapshot,
    });
    this.#persistId += 1;
    this.#hardState = null;
    this.#append = null;
    if (this.#messages.length > 0) this.#messages = [];
    if (this.#messagesAfterPersist.length > 0) this.#messagesAfterPersist = [];
    this.#commit = null;
    if (this.#reads.length > 0) this.#reads = [];
    if (this.#snapshots.length > 0) this.#snapshots = [];
    this.#installSnapshot = null;
    return taken;
  }
}

/** The empty list of every batch, so that what a node has nothing of costs no memory. */
const NONE: readonly never[] = [];

/**
 * What a batch gets of a list. An empty one stays with `PendingActions`, which would add to it under the
 * caller's eyes.
 */
function handedOut<T>(list: readonly T[]): readonly T[] {
  return list.length === 0 ? NONE : list;
}

type ActionFields = Omit<Actions, "needsPersist" | typeof Symbol.iterator>;

class TakenActions implements Actions {
  readonly persistId: number;
  readonly timer: number | null;
  readonly hardState: HardState | null;
  readonly append: AppendAction | null;
  readonly messages: readonly AddressedMessage[];
  readonly messagesAfterPersist: readonly AddressedMessage[];
  readonly commit: LogPosition | null;
  readonly reads: readonly ReadAction[];
  readonly snapshots: Actions["snapshots"];
  readonly installSnapshot: InstallSnapshot | null;

  constructor(fields: ActionFields) {
    this.persistId = fields.persistId;
    this.timer = fields.timer;
    this.hardState = fields.hardState;
    this.append = fields.append;
    this.messages = fields.messages;
    this.messagesAfterPersist = fields.messagesAfterPersist;
    this.commit = fields.commit;
    this.reads = fields.reads;
    this.snapshots = fields.snapshots;
    this.installSnapshot = fields.installSnapshot;
  }

  get needsPersist(): boolean {
    return this.hardState !== null || this.append !== null || this.messagesAfterPersist.length > 0;
  }

  *[Symbol.iterator](): Iterator<Action> {
    yield { type: "set-timer", deadline: this.timer };
    for (const { to, message } of this.messages) yield { type: "send", to, message };
    if (this.hardState !== null) yield { type: "save-hard-state", ...this.hardState };
    if (this.append !== null) yield { type: "append-entries", ...this.append };
    for (const { to, message } of this.messagesAfterPersist) {
      yield { type: "send-after-persist", to, message };
    }
    if (this.commit !== null) yield { type: "commit", position: this.commit };
    for (const read of this.reads) yield { type: "read", ...read };
    for (const snapshot of this.snapshots) yield { type: "send-snapshot", ...snapshot };
    if (this.installSnapshot !== null) {
      yield { type: "install-snapshot", offer: this.installSnapshot };
    }
  }
}

function isVote(message: Message): boolean {
  switch (message.type) {
    case "pre-vote":
    case "pre-vote-reply":
    case "request-vote":
    case "request-vote-reply":
      return true;
    default:
      return false;
  }
}
