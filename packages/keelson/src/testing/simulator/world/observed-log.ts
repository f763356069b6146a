import { decodeMembership } from "../../../codec/config.ts";
import { isRuntimeMessage } from "../../../codec/frame-runtime-message.ts";
import { decodeRecord, EntryKind, recordKind } from "../../../codec/record.ts";
import { isJoint } from "../../../core/config.ts";
import type { Message } from "../../../core/message.ts";
import type { LogIndex, NodeId } from "../../../core/position.ts";
import type { Environment } from "../../../environment/environment.ts";
import type { LogBase, LogIdentity, LogStore, LogWrite, StoredLog } from "../../../storage/log-store.ts";
import type { TransportMessage, Transport, TransportHost } from "../../../transport/transport.ts";
import type { ClusterChecker } from "../checkers/cluster-checker.ts";
import type { EventDelivery } from "./process-environment.ts";

/** Moments at which faults are aimed. */
export interface LogEvents {
  /** A vote is durable, and nobody was told of it yet. */
  voteDurable(): void;
  /** An entry that takes this node's vote away is about to be written; then, with `isDurable`, it is. */
  ownRemoval(isDurable: boolean): void;
}

/** A log store with the checker looking over its shoulder. */
export class ObservedLog implements LogStore {
  readonly #inner: LogStore;
  readonly #id: NodeId;
  readonly #checker: ClusterChecker;
  readonly #delivery: EventDelivery;
  readonly #report: (error: unknown) => void;
  readonly #shortReads: boolean;
  readonly #events: LogEvents;
  #incarnation = 0;
  /** Entries up to here are forgotten, or will be in a moment. */
  #base: LogIndex = 0;

  constructor(
    inner: LogStore,
    id: NodeId,
    checker: ClusterChecker,
    delivery: EventDelivery,
    report: (error: unknown) => void,
    shortReads: boolean,
    moments: LogEvents,
  ) {
    this.#events = moments;
    this.#shortReads = shortReads;
    this.#inner = inner;
    this.#id = id;
    this.#checker = checker;
    this.#delivery = delivery;
    this.#report = report;
  }

  async open(identity: LogIdentity, environment: Environment): Promise<StoredLog> {
    const stored = await this.#inner.open(identity, environment);
    const { base, lastIndex } = stored;
    this.#base = base.index;
    const records: Uint8Array[] = [];
    while (base.index + records.length < lastIndex) {
      const from = base.index + records.length + 1;
      records.push(...(await this.#inner.read(from, lastIndex + 1, Number.MAX_SAFE_INTEGER)));
    }
    this.#check(() => {
      this.#checker.stores.opened(this.#id, stored, records);
    });
    this.#incarnation = this.#checker.stores.incarnation(this.#id);
    return stored;
  }

  async append(write: LogWrite): Promise<void> {
    this.#check(() => {
      this.#checker.stores.submitted(this.#id, write);
    });
    const isLeaving = write.records.some((record) => this.#isOwnRemoval(record));
    if (isLeaving) this.#events.ownRemoval(false);
    const appended = this.#inner.append(write);
    if (write.truncateFrom !== null) this.#readOverwritten(write.truncateFrom);
    await appended;
    if (this.#delivery.isDead()) return;
    this.#check(() => {
      this.#checker.stores.durable(this.#id, this.#incarnation, write);
    });
    if (write.hardState !== null && write.hardState.votedFor !== null) this.#events.voteDurable();
    if (isLeaving) this.#events.ownRemoval(true);
    if (write.truncateFrom !== null) this.#readOverwritten(write.truncateFrom);
  }

  /** A configuration, and no step on the way to one, in which this node has no vote. */
  #isOwnRemoval(record: Uint8Array): boolean {
    if (recordKind(record) !== EntryKind.config) return false;
    const { config } = decodeMembership(decodeRecord(record).payload);
    return !isJoint(config) && !config.voters.includes(this.#id);
  }

  /** A store returns at least one entry, and need not return more. */
  read(from: LogIndex, to: LogIndex, bytesMax: number): Promise<Uint8Array[]> {
    return this.#checkedRead(
      from,
      this.#shortReads && to > from ? from + 1 + ((to - from) >> 1) : to,
      bytesMax,
    );
  }

  /** What is read is the log as it was when it was asked for, whatever is written meanwhile. */
  async #checkedRead(from: LogIndex, to: LogIndex, bytesMax: number): Promise<Uint8Array[]> {
    const expected = this.#checker.stores.logOf(this.#id);
    const records = await this.#inner.read(from, to, bytesMax);
    this.#check(() => {
      if (!this.#delivery.isDead()) this.#checker.stores.read(this.#id, from, records, expected);
    });
    return records;
  }

  /** Reads the entries from `wanted` on, as far as they are there, for the checker. */
  async readBack(wanted: LogIndex): Promise<void> {
    const from = Math.max(wanted, this.#base + 1);
    const to = this.#checker.stores.logOf(this.#id).length + 1;
    if (from >= to) return;
    try {
      await this.#checkedRead(from, to, Number.MAX_SAFE_INTEGER);
    } catch (error) {
      // They were forgotten while they were read.
      if (this.#base < from) throw error;
    }
  }

  /** Reads what an overwriting write made of the log: while it is under way, and when it is durable. */
  #readOverwritten(truncatedFrom: LogIndex): void {
    // A disk that fails is no finding, and the node will notice that by itself.
    this.readBack(Math.max(1, truncatedFrom - 1)).catch(() => undefined);
  }

  bytesBetween(from: LogIndex, to: LogIndex): number {
    return this.#inner.bytesBetween(from, to);
  }

  compact(base: LogBase): Promise<void> {
    this.#check(() => {
      this.#checker.stores.replacing(this.#id, base, false);
    });
    this.#base = Math.max(this.#base, base.position.index);
    return this.#inner.compact(base);
  }

  async reset(base: LogBase): Promise<void> {
    this.#check(() => {
      this.#checker.stores.replacing(this.#id, base, true);
    });
    this.#base = base.position.index;
    await this.#inner.reset(base);
    if (this.#delivery.isDead()) return;
    this.#check(() => {
      this.#checker.stores.replaced(this.#id, base);
    });
  }

  setClusterId(clusterId: string): Promise<void> {
    return this.#inner.setClusterId(clusterId);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  /** A broken invariant is the run's to report, not the node's to handle. */
  #check(look: () => void): void {
    try {
      look();
    } catch (error) {
      this.#report(error);
    }
  }
}

/** What `ObservedTransport` sees. */
export interface TransportObserver {
  sending(to: NodeId, transportMessage: TransportMessage): void;
  /** Just before the node is given a message, and just after. */
  receiving(message: Message): void;
  received(message: Message): void;
}

/**
 * A network that keeps a copy of the last acknowledgement from each node, and of the last call that it passed on, and
 * delivers them when they can do most harm: when the same node leads again, in a later term, and knows nothing of the
 * others yet.
 */
export class MessageReplayer {
  /** By type and sender. */
  readonly #kept = new Map<string, { readonly transportMessage: TransportMessage; readonly term: number }>();
  /** The term that this node leads; null: it does not. */
  readonly #leads: () => number | null;

  constructor(leads: () => number | null) {
    this.#leads = leads;
  }

  /** What comes again before this message does. */
  dueBefore(transportMessage: TransportMessage): TransportMessage[] {
    const term = this.#leads();
    const due = [...this.#kept].filter(([, kept]) => term !== null && kept.term < term);
    for (const [key] of due) this.#kept.delete(key);
    const { message } = transportMessage;
    const isAcknowledgement = message.type === "append-entries-reply" && message.outcome.accepted;
    if (isAcknowledgement || message.type === "forward-request") {
      this.#kept.set(`${message.type} ${message.from}`, { transportMessage, term: message.term });
    }
    return due.map(([, kept]) => kept.transportMessage);
  }
}

/** A transport with the checker looking over its shoulder; what arrives passes the process's delivery. */
export class ObservedTransport implements Transport {
  readonly #inner: Transport;
  readonly #delivery: EventDelivery;
  readonly #observer: TransportObserver;
  readonly #replayer: MessageReplayer | null;

  /** `replayer`: what comes again long after; null: nothing does. */
  constructor(
    inner: Transport,
    delivery: EventDelivery,
    observer: TransportObserver,
    replayer: MessageReplayer | null,
  ) {
    this.#inner = inner;
    this.#delivery = delivery;
    this.#observer = observer;
    this.#replayer = replayer;
  }

  get address(): string {
    return this.#inner.address;
  }

  start(host: TransportHost): Promise<void> {
    if (this.#delivery.isDead()) return new Promise<never>(() => undefined);
    const gated: TransportHost = {
      environment: host.environment,
      self: host.self,
      clusterId: () => host.clusterId(),
      adoptClusterId: (clusterId) => host.adoptClusterId(clusterId),
      refusalOf: (peer, isVouchedFor) => host.refusalOf?.(peer, isVouchedFor) ?? null,
      storeIdOf: (id) => host.storeIdOf?.(id) ?? null,
      onPeer: (peer) => {
        host.onPeer(peer);
      },
      receive: (transportMessage) => {
        this.#delivery.deliver(() => {
          for (const echo of this.#replayer?.dueBefore(transportMessage) ?? []) this.#pass(host, echo);
          this.#pass(host, transportMessage);
        });
      },
      log: (level, text, fields) => {
        host.log(level, text, fields);
      },
    };
    return this.#inner.start(gated);
  }

  #pass(host: TransportHost, transportMessage: TransportMessage): void {
    const { message } = transportMessage;
    if (!isRuntimeMessage(message)) this.#observer.receiving(message);
    host.receive(transportMessage);
    if (!isRuntimeMessage(message)) this.#observer.received(message);
  }

  setPeers(peers: ReadonlyMap<NodeId, readonly string[]>): void {
    this.#inner.setPeers(peers);
  }

  send(to: NodeId, transportMessage: TransportMessage): boolean {
    if (this.#delivery.isDead()) return false;
    this.#observer.sending(to, transportMessage);
    return this.#inner.send(to, transportMessage);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}
