// Runs a node's core for the length of one event: the smallest possible driver.
import {
  RaftNode,
  sameConfig,
  type Actions,
  type AddressedMessage,
  type NodeId,
} from "../../../core/index.ts";
import { configsOf, nameOf, type Bounds } from "../shared/bounds.ts";
import { invariant } from "../shared/violation.ts";
import { afterInstall, afterWrite } from "./disk.ts";
import { BLANK, payloadOf, type Entry } from "./entry.ts";
import { HEARTBEAT_MS, LATE_MS, optionsOf } from "./host-options.ts";
import type { AskedRead, Disk, Host, HostEvent, MessageInTransit, SentMessage, Write } from "./host-state.ts";
import { watchWithModel } from "./model.ts";

/**
 * The events that are an input to a running core; crashes, lease ends, ticks and drains are handled
 * elsewhere.
 */
export type Input = Exclude<HostEvent, { type: "crash" | "install-crash" | "lease-ends" | "tick" | "drain" }>;

/** A host that runs for the length of one event. */
export class RunningHost {
  readonly #bounds: Bounds;
  readonly #id: NodeId;
  readonly #node: RaftNode;
  #wanted: Host["wanted"];
  /** The snapshot offer that the event delivered; null: it delivered none. */
  #offered: MessageInTransit | null = null;
  #memory: Entry[];
  #disk: Disk;
  #writes: Write[];
  #hasUndrainedInput: boolean;
  #reads: readonly AskedRead[];
  #model: Host["model"];
  readonly sent: SentMessage[] = [];

  constructor(bounds: Bounds, host: Host) {
    const { id, node, memory, disk, writes, wanted, hasUndrainedInput, reads, model } = host;
    this.#bounds = bounds;
    this.#id = id;
    this.#wanted = wanted;
    this.#node = RaftNode.revive(optionsOf(bounds, id), node);
    this.#memory = [...memory];
    this.#disk = disk;
    this.#writes = [...writes];
    this.#hasUndrainedInput = hasUndrainedInput;
    this.#reads = reads;
    this.#model = model;
    watchWithModel(this.#node, model, (known) => {
      this.#model = known;
    });
  }

  capture(): Host {
    return {
      id: this.#id,
      node: this.#node.capture(),
      memory: this.#memory,
      disk: this.#disk,
      writes: this.#writes,
      wanted: this.#wanted,
      hasUndrainedInput: this.#hasUndrainedInput,
      reads: this.#reads,
      model: this.#model,
    };
  }

  input(event: Input): void {
    this.#hasUndrainedInput = true;
    switch (event.type) {
      case "timeout":
        // With leases, the common clock must have passed the deadline already. Without, pass it now.
        this.#node.handleTimeout(this.#bounds.leases ? 0 : LATE_MS);
        break;
      case "step-down":
        this.#node.handleTimeout(LATE_MS);
        break;
      case "transfer-expires":
        this.#node.handleTimeout(0);
        break;
      case "transfer":
        this.#node.transferLeadership(nameOf(event.place), 0);
        break;
      case "read":
        this.#reads = [...this.#reads, { id: this.#node.readIndex(0), committed: event.committed }];
        break;
      case "heartbeat":
      case "unanswered-heartbeat":
        this.#node.handleTimeout(HEARTBEAT_MS);
        break;
      case "propose":
        if (this.#node.proposeCommand(0) !== null) {
          this.#memory.push({ term: this.#node.term, payload: event.payload });
        }
        break;
      case "change":
        this.#change(event.target);
        break;
      case "snapshot":
        this.#compact();
        break;
      case "install":
        this.#install();
        break;
      case "deliver":
        this.#receive(event.message);
        break;
      case "persist":
        this.#persist();
        break;
    }
    this.#addEntriesOfCore();
    invariant(
      this.#memory.length === this.#node.log.last.index,
      () => `DRIVER: ${this.#id} has entries that no message and no proposal brought`,
    );
  }

  /** Keeps the entries that the core takes from the message: all from the first that its log did not hold. */
  #receive({ message, entries }: MessageInTransit): void {
    if (message.type === "install-snapshot") this.#offered = { to: this.#id, message, entries };
    if (message.type !== "append-entries") {
      this.#node.handleMessage(message, 0);
      return;
    }
    const { prev } = message.entries;
    const { log } = this.#node;
    const holds = (entry: Entry, at: number): boolean => {
      const index = prev.index + 1 + at;
      return index <= log.base.index || log.termAt(index) === entry.term;
    };
    const first = entries.findIndex((entry, at) => !holds(entry, at));
    this.#node.handleMessage(message, 0);
    const fresh = entries[first];
    if (fresh === undefined || !holds(fresh, first)) {
      // The core took no entry. If it truncated its log, drop the same entries; the invariants check whether
      // it was allowed to.
      this.#memory.length = Math.min(this.#memory.length, this.#node.log.last.index);
      return;
    }
    this.#memory.length = prev.index + first;
    this.#memory.push(...entries.slice(first));
  }

  #persist(): void {
    const [write, ...rest] = this.#writes;
    if (write === undefined) return;
    this.#writes = rest;
    this.#disk = afterWrite(this.#disk, write, Infinity).disk;
    for (const message of write.messagesAfterPersist) this.#send(message);
    this.#node.handlePersisted(write.persistId, 0);
  }

  #change(target: number): void {
    const config = configsOf(this.#bounds).targets[target];
    if (config !== undefined && !sameConfig(config, this.#node.config)) this.#node.proposeConfig(config, 0);
  }

  /** Takes a snapshot of all that is committed and durable, and compacts the core's log up to it. */
  #compact(): void {
    const covered = Math.min(this.#node.commitIndex, this.#node.durableIndex);
    this.#disk = { ...this.#disk, covered };
    this.#node.handleCompacted(covered, 0);
  }

  #install(): void {
    if (this.#wanted === null) return;
    const { offer, entries } = this.#wanted;
    this.#disk = afterInstall(this.#disk, this.#wanted);
    this.#wanted = null;
    if (offer.last.index <= this.#node.log.base.index) return;
    this.#node.handleSnapshotInstalled(offer.last, offer.config, 0);
    this.#memory = [...entries, ...this.#memory.slice(entries.length, this.#node.log.last.index)];
  }

  /**
   * Adds the entries that the core appends by itself: a new leader's blank entry, and a membership change's
   * second step.
   */
  #addEntriesOfCore(): void {
    const { log, role } = this.#node;
    while (role === "leader" && this.#memory.length < log.last.index) {
      const index = this.#memory.length + 1;
      const at = log.configAt(index);
      const payload = at.index === index ? payloadOf(at.config) : BLANK;
      this.#memory.push({ term: log.termAt(index) ?? 0, payload });
    }
  }

  drain(): void {
    const actions = this.#node.takeActions();
    this.#hasUndrainedInput = false;
    const { installSnapshot } = actions;
    if (installSnapshot !== null && this.#offered?.message === installSnapshot) {
      this.#wanted = { offer: installSnapshot, entries: this.#offered.entries };
    }
    for (const { id, index } of actions.reads) this.#answer(id, index);
    for (const { to } of actions.snapshots) this.#send(this.#offerTo(to));
    if (actions.needsPersist) this.#writes.push(this.#writeOf(actions));
    for (const outgoing of actions.messages) this.#send(this.#inTransit(outgoing));
  }

  /** LIN: a read sees everything that was committed when it was asked for. */
  #answer(id: number, index: number | null): void {
    const read = this.#reads.find((asked) => asked.id === id);
    invariant(read !== undefined, () => `LIN: ${this.#id} answers the read ${id}, which nobody waits for`);
    this.#reads = this.#reads.filter((asked) => asked !== read);
    invariant(
      index === null || index >= read.committed,
      () => `LIN: ${this.#id} reads at ${String(index)}; ${read.committed} was committed when the read began`,
    );
  }

  #writeOf({ persistId, hardState, append, messagesAfterPersist }: Actions): Write {
    return {
      persistId,
      hardState,
      truncateFrom: append?.truncateFrom ?? null,
      from: append?.from ?? 0,
      entries: append === null ? [] : this.#memory.slice(append.from - 1, append.to - 1),
      messagesAfterPersist: messagesAfterPersist.map((outgoing) => this.#inTransit(outgoing)),
    };
  }

  #offerTo(to: NodeId): MessageInTransit {
    const { base } = this.#node.log;
    const { baseConfig: config } = this.#node.capture().log;
    const { term } = this.#node;
    const message = { type: "install-snapshot", from: this.#id, term, last: base, config, round: 0 } as const;
    return { to, message, entries: this.#memory.slice(0, base.index) };
  }

  #inTransit({ to, message }: AddressedMessage): MessageInTransit {
    if (message.type !== "append-entries") return { to, message, entries: [] };
    const { prev, lastIndex } = message.entries;
    return { to, message, entries: this.#memory.slice(prev.index, lastIndex) };
  }

  #send(message: MessageInTransit): void {
    this.sent.push({ message, disk: this.#disk });
  }
}
