import {
  EMPTY_CONFIG,
  ORIGIN,
  ProtocolViolation,
  RaftNode,
  type Actions,
  type ClusterConfig,
  type ConfigAt,
  type ConfigRefusal,
  type HardState,
  type InstallSnapshot,
  type LogImage,
  type LogPosition,
  type Message,
  type NodeId,
  type RaftNodeOptions,
  type ReadAction,
  type TermRun,
} from "../../core/index.ts";

/** An entry with its payload, as a log store would hold it. */
export interface TestEntry {
  readonly index: number;
  readonly term: number;
  /** A command's text, `""` for a leader's blank entry, or the configuration as JSON. */
  readonly payload: string;
  readonly config: ClusterConfig | null;
}

/**
 * A message that was sent, with the entries it carries; with a snapshot, all entries that the snapshot
 * covers.
 */
export interface MessageInTransit {
  readonly to: NodeId;
  readonly message: Message;
  readonly entries: readonly TestEntry[];
}

/**
 * How much of the unfinished writes survives a crash: the oldest `whole` ones, and the beginning of the next
 * one.
 */
export interface TornWrites {
  readonly whole: number;
  /** Of the next one: nothing (null), or its term, vote, truncation and this many of its entries. */
  readonly entries: number | null;
}

interface PendingWrite {
  readonly actions: Actions;
  readonly entries: readonly TestEntry[];
  readonly messagesAfterPersist: readonly MessageInTransit[];
}

interface Snapshot {
  readonly position: LogPosition;
  readonly config: ClusterConfig;
}

const NO_SNAPSHOT: Snapshot = { position: ORIGIN, config: EMPTY_CONFIG };
const NOTHING_KEPT: TornWrites = { whole: 0, entries: null };

/**
 * The smallest driver of a `RaftNode`. Its disk completes a write when it is told to (`persistOne`); a crash
 * loses all writes that aren't complete. The state machine is the list of applied entries, so a snapshot is a
 * beginning of the log. `stored` and `memory` keep those entries, although the core's log forgets them.
 */
export class CoreHost {
  readonly id: NodeId;
  readonly #options: Partial<RaftNodeOptions>;
  readonly #random: () => number;
  #node: RaftNode | null;
  #stored: TestEntry[] = [];
  #snapshot = NO_SNAPSHOT;
  #hardState: HardState = { term: 0, votedFor: null };
  /** What the node holds in memory: the stored entries and those under way. */
  #memory: TestEntry[] = [];
  #writes: PendingWrite[] = [];
  #timer: number | null = null;
  /** The last offer of a snapshot that was received, and the one that the core wants installed. */
  #offered: MessageInTransit | null = null;
  #wanted: { readonly offer: InstallSnapshot; readonly entries: readonly TestEntry[] } | null = null;
  /**
   * The store holds the wanted snapshot, and the core hasn't been told yet. Nothing else is written
   * meanwhile.
   */
  #installing = false;
  /** Applied entries of this incarnation, in order. */
  applied: TestEntry[] = [];
  /** Answers to reads of this incarnation, in order. */
  reads: ReadAction[] = [];
  /** The actions that the last `drain` took; null before the first. */
  lastActions: Actions | null = null;

  constructor(id: NodeId, random: () => number, options: Partial<RaftNodeOptions> = {}) {
    this.id = id;
    this.#random = random;
    this.#options = options;
    this.#node = RaftNode.start({ ...options, id, random });
  }

  get node(): RaftNode {
    if (this.#node === null) throw new Error(`${this.id} is down`);
    return this.#node;
  }

  get isUp(): boolean {
    return this.#node !== null;
  }

  get timer(): number | null {
    return this.#timer;
  }

  get hardState(): HardState {
    return this.#hardState;
  }

  get stored(): readonly TestEntry[] {
    return this.#stored;
  }

  get memory(): readonly TestEntry[] {
    return this.#memory;
  }

  get pendingWrites(): number {
    return this.#writes.length;
  }

  /** The writes under way, oldest first. */
  get pendingActions(): readonly Actions[] {
    return this.#writes.map(({ actions }) => actions);
  }

  get snapshotIsWanted(): boolean {
    return this.#wanted !== null && !this.#installing;
  }

  get isInstalling(): boolean {
    return this.#installing;
  }

  createCluster(voters: readonly NodeId[], now: number): LogPosition {
    const position = this.node.createCluster(voters, now);
    const config = this.node.config;
    this.#memory.push({ ...position, payload: JSON.stringify(config), config });
    return position;
  }

  propose(payload: string, now: number): LogPosition | null {
    const position = this.node.proposeCommand(now);
    if (position !== null) this.#memory.push({ ...position, payload, config: null });
    return position;
  }

  proposeConfig(target: ClusterConfig, now: number): LogPosition | ConfigRefusal {
    const proposed = this.node.proposeConfig(target, now);
    this.#addEntriesOfCore();
    return proposed;
  }

  receive(sent: MessageInTransit, now: number): void {
    if (sent.message.type === "install-snapshot") this.#offered = sent;
    const { node } = this;
    const { entries } = sent.message.type === "append-entries" ? sent : { entries: [] };
    const known = (entry: TestEntry): boolean => node.log.termAt(entry.index) === entry.term;
    const first = entries.findIndex((entry) => entry.index > node.log.base.index && !known(entry));
    node.handleMessage(sent.message, now);
    const fresh = entries[first];
    if (fresh !== undefined && known(fresh)) {
      this.#memory = [...this.#memory.slice(0, fresh.index - 1), ...entries.slice(first)];
    }
    this.#addEntriesOfCore();
  }

  timeout(now: number): void {
    this.#timer = null;
    this.node.handleTimeout(now);
  }

  /** Drains the node's actions; what must wait for the disk waits, the rest is returned to be sent. */
  drain(): MessageInTransit[] {
    if (this.#installing) return [];
    const actions = this.node.takeActions();
    this.lastActions = actions;
    this.#timer = actions.timer;
    this.reads.push(...actions.reads);
    const { append, installSnapshot } = actions;
    const messages = [...this.#inTransit(actions.messages), ...this.#snapshotOffers(actions)];
    if (actions.needsPersist) {
      this.#writes.push({
        actions,
        entries: append === null ? [] : this.#memory.slice(append.from - 1, append.to - 1),
        messagesAfterPersist: this.#inTransit(actions.messagesAfterPersist),
      });
    }
    if (installSnapshot !== null && this.#offered?.message === installSnapshot) {
      this.#wanted = { offer: installSnapshot, entries: this.#offered.entries };
    }
    this.#apply();
    return messages;
  }

  /** Completes the oldest write; what waited for it is returned to be sent. */
  persistOne(now: number): readonly MessageInTransit[] {
    const write = this.#writes.shift();
    if (write === undefined) return [];
    const { actions, entries, messagesAfterPersist } = write;
    this.#write(actions, entries);
    this.node.handlePersisted(actions.persistId, now);
    this.#addEntriesOfCore();
    return messagesAfterPersist;
  }

  /** Forgets the log up to `index`, which must be applied. */
  compact(index: number, now: number): void {
    this.node.handleCompacted(index, now);
    this.#snapshot = { position: this.#positionAt(index), config: this.node.log.configAt(index).config };
  }

  /** Puts the wanted snapshot on disk; only when no write is under way. The node may learn of it later. */
  beginInstall(): void {
    if (this.#wanted === null || this.#writes.length > 0) {
      throw new Error("there is nothing to install, or a write is under way");
    }
    this.#installing = true;
    const { offer, entries } = this.#wanted;
    const { last: position, config } = offer;
    if (position.index <= this.#snapshot.position.index) return;
    const held = this.#stored[position.index - 1]?.term === position.term;
    this.#stored = held ? [...entries, ...this.#stored.slice(position.index)] : [...entries];
    this.#snapshot = { position, config };
  }

  finishInstall(now: number): void {
    if (this.#wanted === null || !this.#installing) throw new Error("no snapshot is being installed");
    const { offer, entries } = this.#wanted;
    this.node.handleSnapshotInstalled(offer.last, offer.config, now);
    const kept = this.#memory.slice(offer.last.index, this.node.log.last.index);
    this.#memory = [...entries, ...kept];
    if (this.applied.length < entries.length) this.applied = [...entries];
    this.#wanted = null;
    this.#installing = false;
  }

  /** Loses what is not stored. */
  crash(torn: TornWrites = NOTHING_KEPT): void {
    for (const { actions, entries } of this.#writes.slice(0, torn.whole)) this.#write(actions, entries);
    const next = this.#writes[torn.whole];
    if (next !== undefined && torn.entries !== null) {
      this.#write(next.actions, next.entries.slice(0, torn.entries));
    }
    this.#writes = [];
    this.#memory = [];
    this.#timer = null;
    this.#node = null;
    this.#offered = null;
    this.#wanted = null;
    this.#installing = false;
    this.reads = [];
  }

  restart(now: number): void {
    this.#memory = [...this.#stored];
    this.applied = this.#stored.slice(0, this.#snapshot.position.index);
    const options = { ...this.#options, id: this.id, random: this.#random };
    this.#node =
      this.#stored.length === 0 && this.#hardState.term === 0
        ? RaftNode.start(options)
        : RaftNode.restart({ ...options, now, hardState: this.#hardState, log: this.#image() });
  }

  #write({ hardState, append }: Actions, entries: readonly TestEntry[]): void {
    if (hardState !== null) this.#hardState = hardState;
    if (append === null) return;
    const keptBelow = append.truncateFrom ?? append.from;
    // Refuse what a log store would refuse: an append that leaves a hole, and one at entries that the core
    // hasn't truncated.
    if (append.from <= this.#snapshot.position.index || append.from > this.#stored.length + 1) {
      throw new ProtocolViolation(`an append at ${append.from} leaves a hole in the log of ${this.id}`);
    }
    if (append.truncateFrom === null && append.from <= this.#stored.length) {
      throw new ProtocolViolation(`an append at ${append.from} overwrites the log of ${this.id}`);
    }
    this.#stored = [...this.#stored.slice(0, keptBelow - 1), ...entries];
    for (const [at, entry] of this.#stored.entries()) {
      if (entry.index !== at + 1) throw new ProtocolViolation(`a hole in the stored log of ${this.id}`);
    }
  }

  /**
   * Adds the entries that the core made by itself to `#memory`: a new leader's blank entry, and
   * configurations.
   */
  #addEntriesOfCore(): void {
    const { log } = this.node;
    while (this.#memory.length < log.last.index) {
      const index = this.#memory.length + 1;
      const at = log.configAt(index);
      const config = at.index === index ? at.config : null;
      const payload = config === null ? "" : JSON.stringify(config);
      this.#memory.push({ index, term: log.termAt(index) ?? 0, payload, config });
    }
  }

  #inTransit(outgoing: Actions["messages"]): MessageInTransit[] {
    return outgoing.map(({ to, message }) => {
      if (message.type !== "append-entries") return { to, message, entries: [] };
      const { prev, lastIndex } = message.entries;
      return { to, message, entries: this.#memory.slice(prev.index, lastIndex) };
    });
  }

  #snapshotOffers({ snapshots }: Actions): MessageInTransit[] {
    const { position: last, config } = this.#snapshot;
    return snapshots.map(({ to }) => ({
      to,
      message: { type: "install-snapshot", from: this.id, term: this.node.term, last, config, round: 0 },
      entries: this.#memory.slice(0, last.index),
    }));
  }

  #apply(): void {
    const { commitIndex, durableIndex } = this.node;
    const upTo = Math.min(commitIndex, durableIndex);
    while (this.applied.length < upTo) {
      const entry = this.#memory[this.applied.length];
      if (entry === undefined) throw new ProtocolViolation(`${this.id} has no entry to apply`);
      this.applied.push(entry);
    }
  }

  #positionAt(index: number): LogPosition {
    const entry = this.#memory[index - 1];
    return entry === undefined ? ORIGIN : { term: entry.term, index };
  }

  /** What the core needs to know of the stored log. */
  #image(): LogImage {
    const { position: base, config: baseConfig } = this.#snapshot;
    const terms: TermRun[] = [];
    const configs: ConfigAt[] = [];
    for (const { index, term, config } of this.#stored.slice(base.index)) {
      if (terms.at(-1)?.term !== term) terms.push({ index, term });
      if (config !== null) configs.push({ index, config });
    }
    return { base, baseConfig, terms, configs, lastIndex: this.#stored.length };
  }
}
