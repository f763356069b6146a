import type { AddressedMessage } from "../../core/action.ts";
import type { AppendEntries, Message } from "../../core/message.ts";
import type { RaftNode } from "../../core/node.ts";
import type { NodeId } from "../../core/position.ts";
import type { Transport } from "../../transport/transport.ts";
import { checkRecords, termLookup, type LogRecords } from "./log-records.ts";
import { reasonOf, type Failure } from "../failure.ts";

/**
 * AppendEntries that wait for one follower behind a read from disk. The core has at most 64 with
 * entries under way, and a heartbeat now and then; more is dropped like any message.
 */
const QUEUED_APPENDS_MAX = 256;

const NO_RECORDS: readonly Uint8Array[] = [];

/**
 * Attaches the records to AppendEntries and hands messages to the transport. What a follower needs
 * is nearly always in memory; for one that is far behind it is read from the store, one message at
 * a time, and its later AppendEntries wait, because one that overtakes is refused for its gap.
 */
export class MessageSender {
  readonly #core: RaftNode;
  readonly #logRecords: LogRecords;
  readonly #transport: Transport;
  readonly #onFailure: (failure: Failure) => void;
  /** Of each follower for which a read is under way; the first one is being read for. */
  readonly #queuedBehindRead = new Map<NodeId, AppendEntries[]>();
  #stopped = false;
  messagesSent = 0;
  messagesDropped = 0;

  constructor(
    core: RaftNode,
    logRecords: LogRecords,
    transport: Transport,
    onFailure: (failure: Failure) => void,
  ) {
    this.#core = core;
    this.#logRecords = logRecords;
    this.#transport = transport;
    this.#onFailure = onFailure;
  }

  send({ to, message }: AddressedMessage): void {
    if (message.type !== "append-entries") {
      this.#transmit(to, message, NO_RECORDS);
      return;
    }
    const waiting = this.#queuedBehindRead.get(to);
    if (waiting !== undefined) {
      if (waiting.length < QUEUED_APPENDS_MAX) waiting.push(message);
      else this.messagesDropped += 1;
      return;
    }
    const records = this.#recordsInMemory(message);
    if (records !== null) {
      this.#transmit(to, message, records);
      return;
    }
    const queue = [message];
    this.#queuedBehindRead.set(to, queue);
    void this.#sendFromStore(to, queue);
  }

  stop(): void {
    this.#stopped = true;
    this.#queuedBehindRead.clear();
  }

  async #sendFromStore(to: NodeId, queue: AppendEntries[]): Promise<void> {
    for (let message = queue[0]; message !== undefined; message = queue[0]) {
      try {
        const records = this.#recordsInMemory(message) ?? (await this.#recordsFromStore(message));
        if (this.#stopped) return;
        if (records !== null) this.#transmit(to, message, records);
      } catch (error) {
        if (!this.#stopped) this.#onFailure(logReadFailure(error));
        return;
      }
      queue.shift();
    }
    this.#queuedBehindRead.delete(to);
  }

  /** The message's records, if all are in memory. */
  #recordsInMemory(message: AppendEntries): readonly Uint8Array[] | null {
    const { prev, lastIndex } = message.entries;
    if (lastIndex === prev.index) return NO_RECORDS;
    if (!this.#isStillValid(message)) return null;
    const records = this.#logRecords.buffer.slice(prev.index + 1, lastIndex + 1);
    if (records !== null) checkRecords(records, prev.index + 1, termLookup(message.entries));
    return records;
  }

  /** The message's records from the store; null: the log has moved on, and the message is void. */
  async #recordsFromStore(message: AppendEntries): Promise<readonly Uint8Array[] | null> {
    const { prev, lastIndex } = message.entries;
    if (!this.#isStillValid(message)) return null;
    try {
      const records = await this.#logRecords.readAllFromStore(prev.index + 1, lastIndex + 1);
      if (!this.#isStillValid(message)) return null;
      checkRecords(records, prev.index + 1, termLookup(message.entries));
      return records;
    } catch (error) {
      // Between the core's order and the read the log may have been cut; then the error means nothing.
      if (!this.#isStillValid(message)) return null;
      throw error;
    }
  }

  /** Whether this node still leads in the message's term, and still holds its entries: a leader never cuts its log. */
  #isStillValid(message: AppendEntries): boolean {
    const { role, term, log } = this.#core;
    const { prev, lastIndex } = message.entries;
    return (
      role === "leader" &&
      term === message.term &&
      prev.index >= log.base.index &&
      lastIndex <= log.last.index
    );
  }

  #transmit(to: NodeId, message: Message, records: readonly Uint8Array[]): void {
    if (this.#transport.send(to, { message, records })) this.messagesSent += 1;
    else this.messagesDropped += 1;
  }
}

/** Entries that were acknowledged cannot be read back: this node's copy is damaged. */
export function logReadFailure(error: unknown): Failure {
  return {
    kind: "storage",
    message: `the log could not be read, so the node stops: ${reasonOf(error)}`,
    cause: error,
  };
}
