import { decodeMembership, encodeMembership, type Membership } from "../../codec/config.ts";
import { isRuntimeMessage, type RuntimeMessage } from "../../codec/frame-runtime-message.ts";
import { decodeRecord, encodeRecord, EntryKind } from "../../codec/record.ts";
import type { Actions, AppendAction, Outgoing, ReadAction } from "../../core/action.ts";
import { assert } from "../../core/assert.ts";
import { sameConfig, type ClusterConfig } from "../../core/config.ts";
import type { AppendEntries, InstallSnapshot } from "../../core/message.ts";
import type { RaftNode } from "../../core/node.ts";
import type { ConfigRefusal } from "../../core/membership.ts";
import type { LogIndex, LogPosition, NodeId } from "../../core/position.ts";
import type { TransferRefusal } from "../../core/transfer.ts";
import type { Environment, Timer } from "../../environment/environment.ts";
import type { LogStore, LogWrite } from "../../storage/log-store.ts";
import type { Transport, TransportMessage } from "../../transport/transport.ts";
import { checkRecords, termLookup, type LogRecords } from "./log-records.ts";
import { reasonOf, type Failure } from "../failure.ts";
import type { MembershipAt, MembershipHistory } from "../members/membership.ts";
import { membershipIn } from "../members/membership-changes.ts";
import { Persister } from "./persister.ts";
import { MessageSender } from "./message-sender.ts";
import type { StorageWatchdog } from "./storage-watchdog.ts";

export interface DriverParts {
  readonly core: RaftNode;
  readonly logRecords: LogRecords;
  readonly memberships: MembershipHistory;
  readonly store: LogStore;
  readonly watchdog: StorageWatchdog;
  readonly transport: Transport;
  readonly environment: Environment;
}

/** A place in the log up to which a snapshot covers it, and the membership in force there. */
export interface SnapshotMetadata {
  readonly position: LogPosition;
  readonly membership: MembershipAt;
}

/** What the driver tells the rest of the runtime. */
export interface DriverHost {
  /** After each input: role, leader, term, commit index or membership may have moved. */
  coreChanged(): void;
  /** Just before the actions are taken: the last chance for input that belongs to this turn. */
  beforeDrain(): void;
  /** The actions of this turn are on their way; these reads were answered. */
  afterDrain(reads: readonly ReadAction[]): void;
  /** Another node's runtime says something to ours; the core hears nothing of it. */
  serviceMessage(message: RuntimeMessage): void;
  /** These followers need a snapshot: this node's log does not reach back to what they lack. */
  snapshotsNeeded(followers: readonly NodeId[]): void;
  /** The leader offers a snapshot, because its log does not reach back to what this node lacks. */
  snapshotOffered(offer: InstallSnapshot): void;
  failed(failure: Failure): void;
  warn(text: string, fields?: Readonly<Record<string, unknown>>): void;
}

/**
 * Runs a `RaftNode` on real parts. Inputs go to the core at once; the end of the turn takes its
 * actions, once, however many inputs there were: one write to the log, one message each.
 */
export class Driver {
  readonly #core: RaftNode;
  readonly #logRecords: LogRecords;
  readonly #memberships: MembershipHistory;
  readonly #environment: Environment;
  readonly #host: DriverHost;
  readonly #store: LogStore;
  readonly #watchdog: StorageWatchdog;
  readonly #persister: Persister;
  readonly #messageSender: MessageSender;
  #drainScheduled = false;
  /** The log is being replaced: nothing may be written that was meant for the old one. */
  #drainPausedForInstall = false;
  #stopped = false;
  #timer: { readonly at: number; readonly handle: Timer } | null = null;
  /** What the core wants; the timer may be set for earlier. */
  #coreDeadline: number | null = null;
  /** The configuration that the addresses were last compared with. */
  #checkedConfig: ClusterConfig;
  #messagesReceived = 0;

  constructor(parts: DriverParts, host: DriverHost) {
    this.#core = parts.core;
    this.#checkedConfig = parts.core.config;
    this.#logRecords = parts.logRecords;
    this.#memberships = parts.memberships;
    this.#environment = parts.environment;
    this.#store = parts.store;
    this.#watchdog = parts.watchdog;
    this.#host = host;
    const onFailure = (failure: Failure): void => {
      host.failed(failure);
    };
    this.#persister = new Persister(parts.store, parts.watchdog, {
      persisted: (persistId, messages) => {
        this.#onPersisted(persistId, messages);
      },
      failed: onFailure,
    });
    this.#messageSender = new MessageSender(parts.core, parts.logRecords, parts.transport, onFailure);
  }

  get counters(): {
    logWrites: number;
    logBytes: number;
    messagesSent: number;
    messagesDropped: number;
    messagesReceived: number;
  } {
    return {
      logWrites: this.#persister.writesSubmitted,
      logBytes: this.#persister.bytesSubmitted,
      messagesSent: this.#messageSender.messagesSent,
      messagesDropped: this.#messageSender.messagesDropped,
      messagesReceived: this.#messagesReceived,
    };
  }

  // --- Inputs ------------------------------------------------------------------------------------

  /** Proposes an entry, which is a command or belongs to a session; null: this node does not lead. */
  propose(kind: EntryKind, payload: Uint8Array): LogPosition | null {
    return this.#feedCore(() => {
      const position = this.#core.proposeCommand(this.#environment.now());
      if (position !== null) {
        const { index, term } = position;
        // The only encoding in the entry's life: these bytes go to every disk and every socket.
        this.#logRecords.buffer.append(encodeRecord(index, term, kind, payload));
      }
      return position;
    });
  }

  /** Writes the first entry of a new cluster. The node's log must be empty. */
  createCluster(membership: Membership, payload: Uint8Array): LogPosition | null {
    return this.#feedCore(() => {
      const { voters } = membership.config;
      const { index, term } = this.#core.createCluster(voters, this.#environment.now());
      this.#logRecords.buffer.append(encodeRecord(index, term, EntryKind.config, payload));
      this.#memberships.add({ index, membership });
      return { index, term };
    });
  }

  /** Begins a change of membership, or says why not; null: the node stopped. */
  proposeMembership(target: Membership): LogPosition | ConfigRefusal | null {
    return this.#feedCore(() => {
      const proposed = this.#core.proposeConfig(target.config, this.#environment.now());
      if (typeof proposed !== "string") this.#encodeOwnEntries(target);
      return proposed;
    });
  }

  transferLeadership(to: NodeId | null): { readonly to: NodeId } | TransferRefusal | null {
    return this.#feedCore(() => this.#core.transferLeadership(to, this.#environment.now()));
  }

  receive({ message, records }: TransportMessage): void {
    this.#messagesReceived += 1;
    if (isRuntimeMessage(message)) {
      this.#failNodeOnThrow(() => {
        this.#host.serviceMessage(message);
      });
      return;
    }
    this.#feedCore(() => {
      if (message.type === "append-entries") {
        this.#receiveEntries(message, records);
      } else {
        this.#core.handleMessage(message, this.#environment.now());
      }
    });
  }

  /** Offers a snapshot to a follower that needs one; it asks for the rest itself. */
  offerSnapshot(to: NodeId, { position: last, membership }: SnapshotMetadata): void {
    const { id: from, term } = this.#core;
    const { config } = membership.membership;
    this.#messageSender.send({
      to,
      message: { type: "install-snapshot", from, term, last, config, round: 0 },
    });
  }

  /** The entries up to `position`, which a snapshot covers, are forgotten. The entries after them stay. */
  compact({ position, membership }: SnapshotMetadata): void {
    this.#feedCore(() => {
      const { index } = position;
      // The store first: the core speaks up if they disagree, and the store is only asked to forget what it may keep.
      void this.#writeToStore("forgetting the beginning of the log", () =>
        this.#store.compact({ position, config: encodeMembership(membership.membership) }),
      );
      this.#core.handleCompacted(index, this.#environment.now());
      this.#memberships.compact(index);
    });
  }

  /**
   * The state machine holds a snapshot of another node: the log begins after it now. Resolves when that is durable and
   * the core knows; false: the node stopped. What the core wants done meanwhile waits, as it was meant for the old log.
   */
  async installSnapshot(at: SnapshotMetadata): Promise<boolean> {
    const { position, membership } = at;
    this.#drainPausedForInstall = true;
    await this.#persister.whenIdle();
    if (this.#isStopped()) return false;
    // Figure 13, step 6: if the log on disk holds the snapshot's last entry, what follows it stays.
    const keepsLog = this.#core.durableIndex >= position.index && this.#core.log.contains(position);
    const base = { position, config: encodeMembership(membership.membership) };
    const isOld = position.index <= this.#core.log.base.index;
    const isDone =
      isOld ||
      (await this.#writeToStore("replacing the log by a snapshot", () =>
        keepsLog ? this.#store.compact(base) : this.#store.reset(base),
      ));
    this.#drainPausedForInstall = false;
    if (!isDone || this.#isStopped()) return false;
    const installed = this.#feedCore(() => {
      if (isOld) return true;
      const { log } = this.#core;
      assert(!keepsLog || log.contains(position), "what a snapshot covers is not cut off");
      const goesOn = log.contains(position);
      this.#core.handleSnapshotInstalled(position, membership.membership.config, this.#environment.now());
      this.#logRecords.buffer.discardThrough(position.index, log.last.index + 1);
      if (goesOn) this.#memberships.compact(position.index);
      else this.#memberships.reset(membership);
      return true;
    });
    return installed === true;
  }

  /** Asked anew after each wait. */
  #isStopped(): boolean {
    return this.#stopped;
  }

  /** False: it failed, or nobody will hear of it, and the node stops. */
  async #writeToStore(what: string, write: () => Promise<void>): Promise<boolean> {
    try {
      await this.#watchdog.monitor(what, write);
      return true;
    } catch (error) {
      if (this.#stopped) return false;
      this.#host.failed({
        kind: "storage",
        message: `${what} failed, so the node stops: ${reasonOf(error)}`,
        cause: error,
      });
      return false;
    }
  }

  /** Asks for an index to read at; the answer comes with `turnEnded`. Only for use in `turnEnding`. */
  readIndex(): number {
    return this.#core.readIndex(this.#environment.now());
  }

  /** Takes the actions at the end of this turn. */
  scheduleDrain(): void {
    if (this.#drainScheduled || this.#stopped) return;
    this.#drainScheduled = true;
    this.#environment.defer(() => {
      this.#drainScheduled = false;
      this.#failNodeOnThrow(() => {
        this.#drain();
      });
    });
  }

  /** From now on nothing goes in and nothing comes out. */
  stop(): void {
    this.#stopped = true;
    this.#timer?.handle.cancel();
    this.#timer = null;
    this.#persister.stop();
    this.#messageSender.stop();
  }

  #feedCore<T>(run: () => T): T | null {
    return this.#failNodeOnThrow(() => {
      const result = run();
      this.#afterInput();
      return result;
    });
  }

  /** What the core rules out, and whatever else goes wrong on the way, ends the node: it must not go on from half a step. */
  #failNodeOnThrow<T>(run: () => T): T | null {
    if (this.#stopped) return null;
    try {
      return run();
    } catch (error) {
      this.#host.failed({
        kind: "node",
        message: `something happened that must not, so the node stops: ${reasonOf(error)}`,
        cause: error,
      });
      return null;
    }
  }

  #afterInput(): void {
    this.#encodeOwnEntries();
    const { log, config } = this.#core;
    assert(this.#logRecords.buffer.end === log.last.index + 1, "the buffer ends where the core's log does");
    if (config !== this.#checkedConfig) {
      this.#checkedConfig = config;
      const membership = this.#memberships.current?.membership;
      assert(
        membership !== undefined && sameConfig(membership.config, config),
        "the addresses are those of the configuration in force",
      );
    }
    this.#host.coreChanged();
    this.scheduleDrain();
  }

  /**
   * What the core appends by itself, and whose records are ours to make: a new leader's blank entry (§8), and the steps
   * of a change of membership (§6), to `target` if one begins now.
   */
  #encodeOwnEntries(target?: Membership): void {
    const { log } = this.#core;
    const { buffer } = this.#logRecords;
    while (buffer.end <= log.last.index) {
      const index = buffer.end;
      const term = log.termAt(index);
      assert(term === this.#core.term, "a node appends entries of its own term only");
      const at = log.configAt(index);
      if (at.index !== index) {
        buffer.append(encodeRecord(index, term, EntryKind.blank, NO_PAYLOAD));
        continue;
      }
      const current = this.#memberships.current?.membership;
      assert(current !== undefined, "only a member changes the membership");
      const membership = membershipIn(at.config, current, target);
      buffer.append(encodeRecord(index, term, EntryKind.config, encodeMembership(membership)));
      this.#memberships.add({ index, membership });
    }
  }

  /** The records of the entries that the core takes from the message are kept, as the bytes they are. */
  #receiveEntries(message: AppendEntries, records: readonly Uint8Array[]): void {
    const { prev, lastIndex } = message.entries;
    if (records.length !== lastIndex - prev.index) {
      this.#host.warn("dropped a message whose records are not those it names", { from: message.from });
      return;
    }
    checkRecords(records, prev.index + 1, termLookup(message.entries));
    const termOf = termLookup(message.entries);
    const { log } = this.#core;
    // Before the core sees them: the first entry that its log does not hold yet.
    let first = Math.max(prev.index, log.base.index) + 1;
    let term = termOf(first);
    while (first <= lastIndex && log.termAt(first) === term) term = termOf(++first);
    this.#core.handleMessage(message, this.#environment.now());
    // After: if its log holds that one now, it took it, and all that follow.
    if (first > lastIndex || log.termAt(first) !== term) return;
    assert(
      log.last.index === lastIndex,
      "the core takes all entries of a message from the first that it lacks",
    );
    const taken = records.slice(first - prev.index - 1);
    this.#logRecords.buffer.replaceFrom(first, taken);
    this.#memberships.truncate(first);
    for (const { index } of message.entries.configs) {
      const record = records[index - prev.index - 1];
      if (index < first || record === undefined) continue;
      this.#memberships.add({ index, membership: decodeMembership(decodeRecord(record).payload) });
    }
  }

  // --- The end of a turn -------------------------------------------------------------------------

  #drain(): void {
    // The end of the installation asks again.
    if (this.#drainPausedForInstall) return;
    this.#host.beforeDrain();
    const actions = this.#core.takeActions();
    this.#setTimer(actions.timer);
    this.#submitWrite(actions);
    for (const outgoing of actions.messages) this.#messageSender.send(outgoing);
    if (actions.snapshots.length > 0) this.#host.snapshotsNeeded(actions.snapshots.map(({ to }) => to));
    if (actions.installSnapshot !== null) this.#host.snapshotOffered(actions.installSnapshot);
    this.#host.afterDrain(actions.reads);
  }

  /** The write is begun before anything is sent, so that the disk works while the messages travel. */
  #submitWrite(actions: Actions): void {
    if (!actions.needsPersist) return;
    const { persistId, hardState, append, messagesAfterPersist } = actions;
    let write: LogWrite | null = null;
    if (hardState !== null || append !== null) {
      const records = append === null ? [] : this.#recordsOf(append);
      write = { hardState, truncateFrom: append?.truncateFrom ?? null, records };
    }
    if (append !== null) this.#logRecords.buffer.markSubmitted(append.to);
    this.#persister.submit(persistId, write, messagesAfterPersist);
  }

  #recordsOf({ from, to }: AppendAction): readonly Uint8Array[] {
    const { buffer } = this.#logRecords;
    assert(
      from === buffer.submittedEnd,
      "the log is written in order, from where the store's agrees with it",
    );
    const records = buffer.slice(from, to);
    assert(records !== null, "what was never written is in the buffer");
    checkRecords(records, from, (index: LogIndex) => this.#core.log.termAt(index));
    return records;
  }

  #onPersisted(persistId: number, messages: readonly Outgoing[]): void {
    this.#feedCore(() => {
      for (const outgoing of messages) this.#messageSender.send(outgoing);
      this.#core.handlePersisted(persistId, this.#environment.now());
    });
  }

  /**
   * Deadlines move with every message, nearly always to later. So a timer that is set for earlier
   * is left alone, and looks again when it fires.
   */
  #setTimer(deadline: number | null): void {
    this.#coreDeadline = deadline;
    if (deadline === null || (this.#timer !== null && this.#timer.at <= deadline)) return;
    this.#timer?.handle.cancel();
    const handle = this.#environment.setTimer(Math.max(0, deadline - this.#environment.now()), () => {
      this.#timer = null;
      this.#timerFired();
    });
    this.#timer = { at: deadline, handle };
  }

  #timerFired(): void {
    const now = this.#environment.now();
    if (this.#coreDeadline === null) return;
    if (now < this.#coreDeadline) {
      this.#setTimer(this.#coreDeadline);
      return;
    }
    this.#feedCore(() => {
      this.#core.handleTimeout(now);
    });
  }
}

const NO_PAYLOAD = new Uint8Array(0);
