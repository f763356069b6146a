import {
  EMPTY_LOG,
  ProtocolViolation,
  RaftNode,
  type Actions,
  type ClusterConfig,
  type ConfigAt,
  type HardState,
  type LogImage,
  type LogPosition,
  type Message,
  type NodeId,
  type RaftNodeOptions,
  type TermRun,
} from "../core/index.ts";

/** An entry with its payload, as a log store would hold it. */
export interface TestEntry {
  readonly index: number;
  readonly term: number;
  /** A command's text, `""` for a leader's blank entry, or the configuration as JSON. */
  readonly payload: string;
  readonly config: ClusterConfig | null;
}

/** A message on its way, with the payloads of its entries. */
export interface Letter {
  readonly to: NodeId;
  readonly message: Message;
  readonly entries: readonly TestEntry[];
}

interface PendingWrite {
  readonly actions: Actions;
  readonly entries: readonly TestEntry[];
  readonly letters: readonly Letter[];
}

/**
 * The smallest driver of a `RaftNode`: a disk that keeps what was written when it is told to, and
 * nothing else. A crash loses all that was not.
 */
export class CoreHost {
  readonly id: NodeId;
  readonly #options: Partial<RaftNodeOptions>;
  readonly #random: () => number;
  #node: RaftNode | null;
  #stored: TestEntry[] = [];
  #hardState: HardState = { term: 0, votedFor: null };
  /** What the node holds in memory: the stored entries and those under way. */
  #memory: TestEntry[] = [];
  #writes: PendingWrite[] = [];
  #timer: number | null = null;
  /** Applied entries of this incarnation, in order. */
  applied: TestEntry[] = [];
  reads: { id: number; index: number | null }[] = [];

  constructor(id: NodeId, random: () => number, options: Partial<RaftNodeOptions>) {
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

  receive(letter: Letter, now: number): void {
    const { node } = this;
    const known = (entry: TestEntry): boolean => node.log.termAt(entry.index) === entry.term;
    const first = letter.entries.findIndex((entry) => entry.index > node.log.base.index && !known(entry));
    node.handleMessage(letter.message, now);
    const fresh = letter.entries[first];
    if (fresh !== undefined && known(fresh)) {
      this.#memory = this.#memory.filter((entry) => entry.index < fresh.index);
      this.#memory.push(...letter.entries.slice(first));
    }
    this.#addBlank();
  }

  timeout(now: number): void {
    this.#timer = null;
    this.node.handleTimeout(now);
  }

  /** Drains the node's actions; what must wait for the disk waits, the rest is returned to be sent. */
  drain(): Letter[] {
    const { node } = this;
    const actions = node.takeActions();
    this.#timer = actions.timer;
    this.reads.push(...actions.reads);
    const { append } = actions;
    const letters = this.#letters(actions.messages);
    if (actions.needsPersist) {
      this.#writes.push({
        actions,
        entries: append === null ? [] : this.#memory.filter((e) => e.index >= append.from && e.index < append.to),
        letters: this.#letters(actions.messagesAfterPersist),
      });
    }
    this.#apply();
    return letters;
  }

  /** Completes the oldest write; what waited for it is returned to be sent. */
  persistOne(now: number): readonly Letter[] {
    const write = this.#writes.shift();
    if (write === undefined) return [];
    const { actions, entries, letters } = write;
    this.#write(actions, entries);
    this.node.handlePersisted(actions.persistId, now);
    this.#addBlank();
    return letters;
  }

  /** Loses what is not stored; `torn` keeps the oldest write that was under way, unreported. */
  crash(torn = false): void {
    const write = torn ? this.#writes[0] : undefined;
    if (write !== undefined) this.#write(write.actions, write.entries);
    this.#writes = [];
    this.#memory = [];
    this.#timer = null;
    this.#node = null;
    this.reads = [];
  }

  restart(now: number): void {
    this.#memory = [...this.#stored];
    this.applied = [];
    this.#node =
      this.#stored.length === 0 && this.#hardState.term === 0
        ? RaftNode.start({ ...this.#options, id: this.id, random: this.#random })
        : RaftNode.restart({
            ...this.#options,
            id: this.id,
            random: this.#random,
            now,
            hardState: this.#hardState,
            log: imageOf(this.#stored),
          });
  }

  #write({ hardState, append }: Actions, entries: readonly TestEntry[]): void {
    if (hardState !== null) this.#hardState = hardState;
    if (append === null) return;
    const keepBelow = append.truncateFrom ?? append.from;
    this.#stored = this.#stored.filter((entry) => entry.index < keepBelow);
    this.#stored.push(...entries);
    for (const [at, entry] of this.#stored.entries()) {
      if (entry.index !== at + 1) throw new ProtocolViolation(`a hole in the stored log of ${this.id}`);
    }
  }

  /** A new leader's first entry is the node's own: it has no payload. */
  #addBlank(): void {
    const { last } = this.node.log;
    if (this.#memory.length === last.index - 1) {
      this.#memory.push({ ...last, payload: "", config: null });
    }
  }

  #letters(outgoing: Actions["messages"]): Letter[] {
    return outgoing.map(({ to, message }) => {
      if (message.type !== "append-entries") return { to, message, entries: [] };
      const { prev, lastIndex } = message.entries;
      return { to, message, entries: this.#memory.slice(prev.index, lastIndex) };
    });
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
}

/** What the core needs to know of a stored log that begins at 1. */
export function imageOf(entries: readonly TestEntry[]): LogImage {
  const terms: TermRun[] = [];
  const configs: ConfigAt[] = [];
  for (const { index, term, config } of entries) {
    if (terms.at(-1)?.term !== term) terms.push({ index, term });
    if (config !== null) configs.push({ index, config });
  }
  return { ...EMPTY_LOG, terms, configs, lastIndex: entries.length };
}
