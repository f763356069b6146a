// Runs the Raft core on real storage, network and time.
//
// Only the driver gives the core input; other parts may read the core's state. The driver encodes the
// entries that are proposed here or appended by the core, carries out the core's writes and sends in
// order, and keeps its timer. It reports everything else (committed entries, reads, snapshots, messages of
// other runtimes) to its `DriverHost`.
//
// One turn, one drain: inputs reach the core at once; its actions are taken once, at the end of the event
// loop's turn. A thousand proposals of one turn therefore become one log write, and one AppendEntries for
// each follower. More load makes batches larger and adds no I/O. The price is that nothing is sent or
// written before the turn ends.

import type { LogFields } from "../../log-event.ts";
import { decodeMembership, encodeMembership, type Membership } from "../../codec/config.ts";
import { isRuntimeMessage, type RuntimeMessage } from "../../codec/frame-runtime-message.ts";
import { decodeRecord, EntryKind } from "../../codec/record.ts";
import type { Actions, AppendAction, AddressedMessage, ReadAction } from "../../core/action.ts";
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
import { reasonOf, type Failure } from "../shared/index.ts";
import { type MembershipAt, type MembershipHistory, membershipOf } from "../members/index.ts";
import { Persister } from "./persister.ts";
import { MessageSender } from "./message-sender.ts";
import type { StorageWatchdog } from "./storage-watchdog.ts";
import type { WriteLatency } from "./write-latency.ts";

/** What a driver is made of. It owns none of these: their maker closes them. */
export interface DriverParts {
  readonly core: RaftNode;
  readonly logRecords: LogRecords;
  readonly memberships: MembershipHistory;
  readonly store: LogStore;
  readonly watchdog: StorageWatchdog;
  readonly latency: WriteLatency;
  /** Told of each write to the log when it is durable, and how many milliseconds that took. */
  readonly written: (write: LogWrite, ms: number) => void;
  readonly transport: Pick<Transport, "send">;
  readonly environment: Environment;
  /**
   * Stops the node. Called after a failed write to the store or a failed assertion: core, buffer and store
   * may then contradict each other.
   */
  readonly failed: (failure: Failure) => void;
  readonly warn: (text: string, fields?: LogFields) => void;
}

/** Describes a snapshot: the last entry that it covers (§7), and the membership in force at that entry. */
export interface SnapshotMetadata {
  readonly position: LogPosition;
  readonly membership: MembershipAt;
}

/**
 * What the driver reports to the rest of the runtime, which attaches itself
 * once (`attach`), before any input.
 */
export interface DriverHost {
  /**
   * Called after each input to the core: its role, leader, term, commit index or membership may have changed.
   */
  coreChanged(): void;
  /**
   * Called before the core's actions are taken. Input given here, such as a read
   * request, joins this turn's batch.
   */
  beforeDrain(): void;
  /** Called after this turn's writes and sends have begun, with the read requests that the core answered. */
  afterDrain(reads: readonly ReadAction[]): void;
  /**
   * A message from another node's runtime (forwarded calls, snapshot chunks) arrived.
   * The core doesn't see it.
   */
  runtimeMessage(message: RuntimeMessage): void;
  /**
   * These followers lack entries that this node has compacted, so each needs a snapshot.
   * Repeated until it has one.
   */
  snapshotsNeeded(followers: readonly NodeId[]): void;
  /**
   * The leader has compacted entries that this node lacks, and offers a snapshot
   * instead. Repeated at each heartbeat.
   */
  snapshotOffered(offer: InstallSnapshot): void;
}

/** Feeds inputs to a `RaftNode`, and carries out its actions once per turn of the event loop. */
export class Driver {
  readonly #core: RaftNode;
  readonly #logRecords: LogRecords;
  readonly #memberships: MembershipHistory;
  readonly #environment: Environment;
  readonly #failed: (failure: Failure) => void;
  readonly #warn: (text: string, fields?: LogFields) => void;
  /** Set once, by `attach`. */
  #attachedHost: DriverHost | null = null;
  readonly #store: LogStore;
  readonly #watchdog: StorageWatchdog;
  readonly #latency: WriteLatency;
  readonly #persister: Persister;
  readonly #messageSender: MessageSender;
  /**
   * Whether a drain is already planned for the end of this turn. Set by `scheduleDrain`,
   * cleared when the drain runs.
   */
  #drainScheduled = false;
  /**
   * True while `installSnapshot` replaces the stored log. The core's pending actions were made for the old
   * log, so none are taken. The drain after the installation takes them.
   */
  #drainPausedForInstall = false;
  /** Set once, by `stop`. From then on no input reaches the core, and no action is carried out. */
  #stopped = false;
  /** The timer that is running, and when it fires, in ms of the monotonic clock; null: none. */
  #timer: { readonly at: number; readonly handle: Timer } | null = null;
  /**
   * When the core wants `handleTimeout`, in ms; null: never. Each drain sets it. `#timer`
   * never fires later than this.
   */
  #coreDeadline: number | null = null;
  /**
   * The core's configuration at the last input. A new one is compared once with
   * the membership that holds addresses.
   */
  #checkedConfig: ClusterConfig;
  /** Messages that arrived since the node was opened, of the core and of the runtime. A metric. */
  #messagesReceived = 0;

  constructor(parts: DriverParts) {
    this.#core = parts.core;
    this.#checkedConfig = parts.core.config;
    this.#logRecords = parts.logRecords;
    this.#memberships = parts.memberships;
    this.#environment = parts.environment;
    this.#store = parts.store;
    this.#watchdog = parts.watchdog;
    this.#failed = parts.failed;
    this.#warn = parts.warn;
    this.#latency = parts.latency;
    this.#persister = new Persister(parts.store, parts.watchdog, parts.latency, {
      persisted: (persistId, messages) => {
        this.#onPersisted(persistId, messages);
      },
      written: parts.written,
      failed: parts.failed,
    });
    this.#messageSender = new MessageSender(parts.core, parts.logRecords, parts.transport, parts.failed);
  }

  /**
   * Names the host that hears of everything from now on. The parts behind it use the driver,
   * so it can't exist before.
   */
  attach(host: DriverHost): void {
    assert(this.#attachedHost === null, "a driver has one host");
    this.#attachedHost = host;
  }

  get #host(): DriverHost {
    assert(this.#attachedHost !== null, "a host is attached before the first input");
    return this.#attachedHost;
  }

  /** Totals since the node was opened, for metrics. */
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

  /**
   * Proposes a command, or an entry of a session. Returns its position; null: the core takes
   * none, or the node stopped.
   */
  propose(kind: EntryKind, payload: Uint8Array): LogPosition | null {
    return this.#feedCore(() => {
      const position = this.#core.proposeCommand(this.#environment.now());
      if (position !== null) {
        const { buffer } = this.#logRecords;
        assert(position.index === buffer.end, "a proposal is the entry after the last one");
        // The entry is encoded here and nowhere else. Every disk and every socket gets these bytes.
        buffer.encode(position.term, kind, payload);
      }
      return position;
    });
  }

  /** Appends the first entry of a new cluster, its configuration, to an empty log; null: the node stopped. */
  createCluster(membership: Membership, payload: Uint8Array): LogPosition | null {
    return this.#feedCore(() => {
      const { voters } = membership.config;
      const { index, term } = this.#core.createCluster(voters, this.#environment.now());
      assert(index === this.#logRecords.buffer.end, "a new cluster's log is empty");
      this.#logRecords.buffer.encode(term, EntryKind.config, payload);
      this.#memberships.add({ index, membership });
      return { index, term };
    });
  }

  /**
   * Begins a change of membership. Returns the entry's position, or why the core
   * refused; null: the node stopped.
   */
  proposeMembership(target: Membership): LogPosition | ConfigRefusal | null {
    return this.#feedCore(() => {
      const proposed = this.#core.proposeConfig(target.config, this.#environment.now());
      if (typeof proposed !== "string") this.#encodeOwnEntries(target);
      return proposed;
    });
  }

  /**
   * Begins a leadership transfer to `to`; null: the core chooses the target. Returns the target, or why the
   * core refused; null: the node stopped.
   */
  transferLeadership(to: NodeId | null): { readonly to: NodeId } | TransferRefusal | null {
    return this.#feedCore(() => this.#core.transferLeadership(to, this.#environment.now()));
  }

  /**
   * A part of the node outside of the log has stalled, or none is stalled any more: see
   * `RaftNode.handleServiceStall`.
   */
  reportServiceStall(isStalled: boolean): void {
    this.#feedCore(() => {
      this.#core.handleServiceStall(isStalled, this.#environment.now());
    });
  }

  /** Takes a message from the transport: one for the core, or one for the runtime. */
  receive({ message, records }: TransportMessage): void {
    this.#messagesReceived += 1;
    if (isRuntimeMessage(message)) {
      this.#failNodeOnThrow(() => {
        this.#host.runtimeMessage(message);
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

  /** Offers a snapshot to a follower that needs one. The follower then requests its bytes, chunk by chunk. */
  offerSnapshot(to: NodeId, { position: last, membership }: SnapshotMetadata): void {
    const { id: from, term } = this.#core;
    const { config } = membership.membership;
    this.#messageSender.send({
      to,
      message: { type: "install-snapshot", from, term, last, config, round: 0 },
    });
  }

  /** Drops the log up to `position`, which a durable snapshot must cover. Later entries stay. */
  compact({ position, membership }: SnapshotMetadata): void {
    this.#feedCore(() => {
      const { index } = position;
      // The store may begin before the core has checked the index: it only drops entries that a durable
      // snapshot covers. The core then asserts that the index is committed and durable; a failed assertion
      // stops the node.
      void this.#writeToStore("forgetting the beginning of the log", () =>
        this.#store.compact({ position, config: encodeMembership(membership.membership) }),
      );
      this.#core.handleCompacted(index, this.#environment.now());
      this.#memberships.compact(index);
    });
  }

  /**
   * Replaces the log by one that begins after a snapshot, which the state machine has restored. Resolves with
   * true when the new log is durable and the core knows of the snapshot; with false if the node stopped.
   *
   * Hazard: until the core learns of the snapshot, the appends that it asks for continue the old log, and
   * would leave a gap in the new one. So the driver (1) takes no actions, (2) waits until the writes in
   * flight have ended, (3) replaces the stored log, and (4) tells the core, which drops the pending writes
   * that the snapshot covers. The core still accepts messages meanwhile, but this node answers none of them
   * until the installation has ended.
   */
  async installSnapshot(snapshot: SnapshotMetadata): Promise<boolean> {
    const { position, membership } = snapshot;
    this.#drainPausedForInstall = true;
    await this.#persister.whenIdle();
    if (this.#isStopped()) return false;
    // Figure 13, step 6: if the stored log holds the snapshot's last entry, the entries after it stay.
    const storeKeepsTail = this.#core.durableIndex >= position.index && this.#core.log.contains(position);
    const base = { position, config: encodeMembership(membership.membership) };
    // The log already begins after this snapshot: there is nothing to replace.
    const isObsolete = position.index <= this.#core.log.base.index;
    const isDone =
      isObsolete ||
      (await this.#writeToStore("replacing the log by a snapshot", () =>
        storeKeepsTail ? this.#store.compact(base) : this.#store.reset(base),
      ));
    this.#drainPausedForInstall = false;
    if (!isDone || this.#isStopped()) return false;
    const installed = this.#feedCore(() => {
      if (!isObsolete) this.#adoptInstalledSnapshot(snapshot, storeKeepsTail);
      return true;
    });
    return installed === true;
  }

  /** The stored log begins after the snapshot: the core, the buffer and the memberships follow. */
  #adoptInstalledSnapshot({ position, membership }: SnapshotMetadata, storeKeepsTail: boolean): void {
    const { log } = this.#core;
    assert(!storeKeepsTail || log.contains(position), "what a snapshot covers is not cut off");
    // The core may have taken more entries during the replacement, so this can be
    // true where `storeKeepsTail` is not.
    const coreKeepsTail = log.contains(position);
    this.#core.handleSnapshotInstalled(position, membership.membership.config, this.#environment.now());
    this.#logRecords.buffer.discardThrough(position.index, log.last.index + 1);
    if (coreKeepsTail) this.#memberships.compact(position.index);
    else this.#memberships.reset(membership);
  }

  /** A method, because TypeScript would otherwise assume that the field is unchanged after an `await`. */
  #isStopped(): boolean {
    return this.#stopped;
  }

  /**
   * Runs one write to the store. Resolves with false if it failed, which stops the node, or
   * if the node had stopped.
   */
  async #writeToStore(what: string, write: () => Promise<void>): Promise<boolean> {
    try {
      await this.#watchdog.monitor(what, write);
      return true;
    } catch (error) {
      if (this.#stopped) return false;
      this.#failed({
        kind: "storage",
        message: `${what} failed, so the node stops: ${reasonOf(error)}`,
        cause: error,
      });
      return false;
    }
  }

  /**
   * Requests a read index (dissertation 6.4), and returns the request's id; `afterDrain` brings the answer.
   * Only to be called from `beforeDrain`: it plans no drain of its own.
   */
  readIndex(): number {
    return this.#core.readIndex(this.#environment.now());
  }

  /** Makes sure that the core's actions are taken at the end of this turn. */
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

  /** Stops for good: later inputs are ignored, and what is in flight is never acknowledged. */
  stop(): void {
    this.#stopped = true;
    this.#timer?.handle.cancel();
    this.#timer = null;
    this.#persister.stop();
    this.#messageSender.stop();
  }

  /**
   * Gives the core one input, and does what every input needs afterwards. Returns null
   * if the node has stopped.
   */
  #feedCore<T>(run: () => T): T | null {
    return this.#failNodeOnThrow(() => {
      const result = run();
      this.#afterInput();
      return result;
    });
  }

  /**
   * Runs a step of this node; a throw stops the node. The core throws `ProtocolViolation` for input that the
   * protocol rules out. Whatever the cause, core, buffer and store may disagree after half a step, so none of
   * them may be used.
   */
  #failNodeOnThrow<T>(run: () => T): T | null {
    if (this.#stopped) return null;
    try {
      return run();
    } catch (error) {
      this.#failed({
        kind: "node",
        message: `something happened that must not, so the node stops: ${reasonOf(error)}`,
        cause: error,
      });
      return null;
    }
  }

  /**
   * Brings everything that follows the core in step with it: records of its own entries,
   * the host, the next drain.
   */
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
   * Encodes the entries that the core has appended by itself: a new leader's blank entry (§8), and the
   * configurations of a change of membership (§6). The core holds positions and ids only, so the driver
   * makes their records. `target` is the membership of a change that begins now; it brings the addresses
   * of members that are new.
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
        buffer.encode(term, EntryKind.blank, NO_PAYLOAD);
        continue;
      }
      const current = this.#memberships.current?.membership;
      assert(current !== undefined, "only a member changes the membership");
      const membership = membershipOf(at.config, current, target);
      buffer.encode(term, EntryKind.config, encodeMembership(membership));
      this.#memberships.add({ index, membership });
    }
  }

  /**
   * Feeds an AppendEntries to the core, and buffers the records of the entries that the core took. The
   * core skips entries that its log already holds, and doesn't report which ones it took. So the driver
   * finds the first entry that is missing or conflicts before the call, and sees after the call whether
   * the core's log holds it.
   */
  #receiveEntries(message: AppendEntries, records: readonly Uint8Array[]): void {
    const { prev, lastIndex } = message.entries;
    if (records.length !== lastIndex - prev.index) {
      this.#warn("dropped a message whose records are not those it names", { from: message.from });
      return;
    }
    checkRecords(records, prev.index + 1, termLookup(message.entries));
    const termOf = termLookup(message.entries);
    const { log } = this.#core;
    let first = Math.max(prev.index, log.base.index) + 1;
    let term = termOf(first);
    while (first <= lastIndex && log.termAt(first) === term) term = termOf(++first);
    this.#core.handleMessage(message, this.#environment.now());
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

  // --- The drain: carrying out the core's actions ---------------------------------------------------

  #drain(): void {
    if (this.#drainPausedForInstall) return;
    this.#host.beforeDrain();
    const actions = this.#core.takeActions();
    this.#setTimer(actions.timer);
    // Start the write before sending anything, so that the disk works while the messages travel.
    this.#submitWrite(actions);
    for (const message of actions.messages) this.#messageSender.send(message);
    if (actions.snapshots.length > 0) this.#host.snapshotsNeeded(actions.snapshots.map(({ to }) => to));
    if (actions.installSnapshot !== null) this.#host.snapshotOffered(actions.installSnapshot);
    this.#host.afterDrain(actions.reads);
    this.#latency.check();
  }

  /**
   * Begins this turn's log write. Persist before reply: the persister holds back `messagesAfterPersist`
   * (votes, acknowledgements) until this write and all earlier ones are durable. The core, too, counts this
   * node's own copy towards a quorum only after `handlePersisted`.
   */
  #submitWrite(actions: Actions): void {
    if (!actions.needsPersist) return;
    const { persistId, hardState, append, messagesAfterPersist } = actions;
    let write: LogWrite | null = null;
    if (hardState !== null || append !== null) {
      const records = append === null ? [] : this.#recordsToWrite(append);
      write = { hardState, truncateFrom: append?.truncateFrom ?? null, records };
    }
    if (append !== null) this.#logRecords.buffer.markSubmitted(append.to);
    this.#persister.submit(persistId, write, messagesAfterPersist);
  }

  /** The records of the range that the core wants written, checked against its log once more. */
  #recordsToWrite({ from, to }: AppendAction): readonly Uint8Array[] {
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

  #onPersisted(persistId: number, messages: readonly AddressedMessage[]): void {
    this.#feedCore(() => {
      for (const message of messages) this.#messageSender.send(message);
      this.#core.handlePersisted(persistId, this.#environment.now());
    });
  }

  /**
   * Sets the timer for the core's deadline. Nearly every message moves the deadline to a later time, and
   * setting a timer anew each time would cost more than handling the message. So a timer that is due earlier
   * keeps running, and compares with the deadline when it fires.
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
