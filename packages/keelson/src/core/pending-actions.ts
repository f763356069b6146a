import type { Action, Actions, AppendAction, HardState, AddressedMessage, ReadAction } from "./action.ts";
import type { InstallSnapshot, Message } from "./message.ts";
import type { LogIndex, LogPosition, NodeId } from "./position.ts";

/** An `PendingActions` as plain values: what was gathered and not taken. */
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

/** Gathers effects until somebody takes them; what can be merged is merged on the way in. */
export class PendingActions {
  #persistId = 1;
  #hardState: HardState | null = null;
  #append: AppendAction | null = null;
  #messages: AddressedMessage[] = [];
  #messagesAfterPersist: AddressedMessage[] = [];
  #commit: LogPosition | null = null;
  #reads: ReadAction[] = [];
  #snapshots: NodeId[] = [];
  #installSnapshot: InstallSnapshot | null = null;

  restore(image: PendingActionsImage): void {
    this.#persistId = image.persistId;
    this.#hardState = image.hardState;
    this.#append = image.append;
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
      append: this.#append,
      messages: [...this.#messages],
      messagesAfterPersist: [...this.#messagesAfterPersist],
      commit: this.#commit,
      reads: [...this.#reads],
      snapshots: [...this.#snapshots],
      installSnapshot: this.#installSnapshot,
    };
  }

  /** The batch that is being gathered. */
  get persistId(): number {
    return this.#persistId;
  }

  saveHardState(hardState: HardState): void {
    // §5.1: what was promised in an older term and has not left yet is void, and better left unsaid.
    if (this.#hardState !== null && this.#hardState.term < hardState.term) {
      this.#messages = this.#messages.filter(({ message }) => !isVote(message));
      this.#messagesAfterPersist = [];
    }
    this.#hardState = hardState;
  }

  append(from: LogIndex, to: LogIndex): void {
    this.#append =
      this.#append === null
        ? { truncateFrom: null, from, to }
        : { truncateFrom: this.#append.truncateFrom, from: Math.min(this.#append.from, from), to };
  }

  /** Entries from `index` on are gone; those of them that nobody took yet were never written. */
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

  /** A snapshot covers the entries up to `index`: of what is to be written, only the rest is left, on an empty log. */
  dropCovered(index: LogIndex): void {
    const pending = this.#append;
    if (pending === null || pending.from > index) return;
    this.#append = pending.to > index + 1 ? { truncateFrom: null, from: index + 1, to: pending.to } : null;
  }

  /** The log was replaced by a snapshot, durably and as a whole: nothing of it is left to write. */
  dropAppend(): void {
    this.#append = null;
  }

  send(to: NodeId, message: Message): void {
    this.#messages.push({ to, message });
  }

  sendAfterPersist(to: NodeId, message: Message): void {
    this.#messagesAfterPersist.push({ to, message });
  }

  commit(position: LogPosition): void {
    this.#commit = position;
  }

  read(id: number, index: LogIndex | null): void {
    this.#reads.push({ id, index });
  }

  sendSnapshot(to: NodeId): void {
    if (!this.#snapshots.includes(to)) this.#snapshots.push(to);
  }

  /** Who does not lead offers no snapshots. */
  dropSnapshotOffers(): void {
    this.#snapshots = [];
  }

  installSnapshot(offer: InstallSnapshot): void {
    this.#installSnapshot = offer;
  }

  take(timer: number | null): TakenActions {
    const taken = new TakenActions({
      persistId: this.#persistId,
      timer,
      hardState: this.#hardState,
      append: this.#append,
      messages: this.#messages,
      messagesAfterPersist: this.#messagesAfterPersist,
      commit: this.#commit,
      reads: this.#reads,
      snapshots: this.#snapshots.map((to) => ({ to })),
      installSnapshot: this.#installSnapshot,
    });
    this.#persistId += 1;
    this.#hardState = null;
    this.#append = null;
    this.#messages = [];
    this.#messagesAfterPersist = [];
    this.#commit = null;
    this.#reads = [];
    this.#snapshots = [];
    this.#installSnapshot = null;
    return taken;
  }
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
