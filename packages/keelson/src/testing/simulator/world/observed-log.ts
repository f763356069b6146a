/** A node's log store, with a checker that sees each write as it is given, and again when it is durable. */
import { decodeMembership } from "../../../codec/config.ts";
import { decodeRecord, EntryKind, recordKind } from "../../../codec/record.ts";
import { isJoint } from "../../../core/config.ts";
import type { LogIndex, NodeId } from "../../../core/position.ts";
import type { Environment } from "../../../environment/environment.ts";
import type { LogBase, LogIdentity, LogStore, LogWrite, StoredLog } from "../../../storage/log-store.ts";
import type { StoreChecker } from "../checkers/store-checker.ts";
import type { EventDelivery } from "./event-delivery.ts";

/** Moments in the log's life at which faults strike. */
export interface LogEvents {
  /** A vote is durable, and no node has been told. */
  voteDurable(votedFor: string): void;
  /**
   * An entry that takes away this node's vote is about to be written; then, with `isDurable`, it is durable.
   */
  ownRemoval(isDurable: boolean): void;
  /** A configuration is about to be written. */
  configWritten(): void;
}

export interface ObservedLogParts {
  readonly id: NodeId;
  readonly checker: StoreChecker;
  readonly delivery: EventDelivery;
  /** Gets what a check throws: a broken invariant is for the run to report, not for the node to handle. */
  readonly report: (error: unknown) => void;
  /** Reads return fewer entries than asked for, as they may. */
  readonly shortReads: boolean;
  readonly events: LogEvents;
}

/** See the file's header. */
export class ObservedLog implements LogStore {
  readonly #inner: LogStore;
  readonly #parts: ObservedLogParts;
  /** The node's incarnation since `open`. */
  #incarnation = 0;
  /** Entries up to here are compacted, or are being compacted. */
  #base: LogIndex = 0;

  constructor(inner: LogStore, parts: ObservedLogParts) {
    this.#inner = inner;
    this.#parts = parts;
  }

  async open(identity: LogIdentity, environment: Environment): Promise<StoredLog> {
    const { id, checker } = this.#parts;
    const stored = await this.#inner.open(identity, environment);
    const { base, lastIndex } = stored;
    this.#base = base.index;
    const records: Uint8Array[] = [];
    while (base.index + records.length < lastIndex) {
      const from = base.index + records.length + 1;
      records.push(...(await this.#inner.read(from, lastIndex + 1, Number.MAX_SAFE_INTEGER)));
    }
    this.#check(() => {
      checker.opened(id, stored, records);
    });
    this.#incarnation = checker.incarnation(id);
    return stored;
  }

  async append(write: LogWrite): Promise<void> {
    const { id, checker, delivery, events } = this.#parts;
    this.#check(() => {
      checker.submitted(id, write);
    });
    const isOwnRemoval = write.records.some((record) => this.#isOwnRemoval(record));
    if (isOwnRemoval) events.ownRemoval(false);
    if (write.records.some((record) => recordKind(record) === EntryKind.config)) events.configWritten();
    const appended = this.#inner.append(write);
    if (write.truncateFrom !== null) this.#readOverwritten(write.truncateFrom);
    await appended;
    if (delivery.isDead()) return;
    this.#check(() => {
      checker.durable(id, this.#incarnation, write);
    });
    const votedFor = write.hardState?.votedFor ?? null;
    if (votedFor !== null) events.voteDurable(votedFor);
    if (isOwnRemoval) events.ownRemoval(true);
    if (write.truncateFrom !== null) this.#readOverwritten(write.truncateFrom);
  }

  /** Whether the record is a configuration that isn't joint and in which this node has no vote. */
  #isOwnRemoval(record: Uint8Array): boolean {
    if (recordKind(record) !== EntryKind.config) return false;
    const { config } = decodeMembership(decodeRecord(record).payload);
    return !isJoint(config) && !config.voters.includes(this.#parts.id);
  }

  read(from: LogIndex, to: LogIndex, bytesMax: number): Promise<Uint8Array[]> {
    const shortTo = from + 1 + ((to - from) >> 1);
    return this.#checkedRead(from, this.#parts.shortReads && to > from ? shortTo : to, bytesMax);
  }

  /** A read returns the log as it was when the read began, whatever is written meanwhile. */
  async #checkedRead(from: LogIndex, to: LogIndex, bytesMax: number): Promise<Uint8Array[]> {
    const { id, checker, delivery } = this.#parts;
    const expected = checker.expect(id, from, to);
    const records = await this.#inner.read(from, to, bytesMax);
    this.#check(() => {
      if (!delivery.isDead()) checker.read(id, from, records, expected);
    });
    return records;
  }

  /** Reads all entries from `wanted` on for the checker. Rejects as the store does. */
  async readBack(wanted: LogIndex): Promise<void> {
    const from = Math.max(wanted, this.#base + 1);
    const to = this.#parts.checker.endOf(this.#parts.id);
    if (from >= to) return;
    try {
      await this.#checkedRead(from, to, Number.MAX_SAFE_INTEGER);
    } catch (error) {
      // If the log was compacted meanwhile, the entries are rightly gone.
      if (this.#base < from) throw error;
    }
  }

  /**
   * Reads what an overwriting write leaves of the log, while it is under way and after it: the checker
   * notices if the store still returns entries that were overwritten.
   */
  #readOverwritten(truncatedFrom: LogIndex): void {
    // A failing disk fails this read, too. The node itself notices that.
    this.readBack(Math.max(1, truncatedFrom - 1)).catch(() => undefined);
  }

  bytesBetween(from: LogIndex, to: LogIndex): number {
    return this.#inner.bytesBetween(from, to);
  }

  compact(base: LogBase): Promise<void> {
    this.#check(() => {
      this.#parts.checker.replacing(this.#parts.id, base, false);
    });
    this.#base = Math.max(this.#base, base.position.index);
    return this.#inner.compact(base);
  }

  async reset(base: LogBase): Promise<void> {
    const { id, checker, delivery } = this.#parts;
    this.#check(() => {
      checker.replacing(id, base, true);
    });
    this.#base = base.position.index;
    await this.#inner.reset(base);
    if (delivery.isDead()) return;
    this.#check(() => {
      checker.replaced(id, base);
    });
  }

  setClusterId(clusterId: string): Promise<void> {
    return this.#inner.setClusterId(clusterId);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  #check(check: () => void): void {
    try {
      check();
    } catch (error) {
      this.#parts.report(error);
    }
  }
}
