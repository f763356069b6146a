// Sends the core's messages, and gives AppendEntries the records of their entries.
//
// Nearly always the records are in the entry buffer, and the message leaves at once. For a follower that
// is far behind they are read from the store, one message at a time. Hazard: if a later AppendEntries
// were sent during that read, the follower would refuse it, because the entries before it are missing,
// and the leader would back up and resend. So later AppendEntries to that follower queue behind the read.
// Its heartbeat can't wait: while a slow disk is read, the follower would hear nothing and depose a leader
// that works. So each heartbeat round that a waiting message would have carried leaves at once, without
// entries, for the position before those that are being read. Other messages leave at once too.

import type { AddressedMessage } from "../../core/action.ts";
import type { AppendEntries, Message } from "../../core/message.ts";
import type { RaftNode } from "../../core/node.ts";
import type { NodeId } from "../../core/position.ts";
import type { Transport } from "../../transport/transport.ts";
import { checkRecords, logReadFailure, termLookup, type LogRecords } from "./log-records.ts";
import type { Failure } from "../shared/index.ts";

/**
 * AppendEntries with entries for one follower that may wait for a read from the store. The core keeps at
 * most 64 in flight, so this is ample. Further ones are dropped; Raft tolerates lost messages.
 */
const QUEUED_APPENDS_MAX = 256;

/** The AppendEntries of one follower that wait for a read. */
interface QueuedAppends {
  /** With entries, in the core's order; at most `QUEUED_APPENDS_MAX`. */
  readonly messages: AppendEntries[];
  /** The message whose heartbeat was sent last; null: none was. */
  latest: AppendEntries | null;
}

const NO_RECORDS: readonly Uint8Array[] = [];

/** Attaches records to AppendEntries, and passes all of the core's messages to the transport. */
export class MessageSender {
  readonly #core: RaftNode;
  readonly #logRecords: LogRecords;
  readonly #transport: Pick<Transport, "send">;
  readonly #onFailure: (failure: Failure) => void;
  /**
   * The AppendEntries of each follower for which the store is being read, in the core's order. The read is
   * for the first one. No entry: nothing is being read, and messages to that follower leave at once.
   */
  readonly #queuedBehindRead = new Map<NodeId, QueuedAppends>();
  /** Set once, by `stop`. No message leaves after that. */
  #stopped = false;
  /** Messages that the transport accepted, since the node was opened. A metric. */
  messagesSent = 0;
  /** Messages that the transport refused, or that found a full queue. A metric. */
  messagesDropped = 0;

  constructor(
    core: RaftNode,
    logRecords: LogRecords,
    transport: Pick<Transport, "send">,
    onFailure: (failure: Failure) => void,
  ) {
    this.#core = core;
    this.#logRecords = logRecords;
    this.#transport = transport;
    this.#onFailure = onFailure;
  }

  /** Sends a message now, or once its records are read. It may be lost, like any message. */
  send({ to, message }: AddressedMessage): void {
    if (message.type !== "append-entries") {
      this.#transmit(to, message, NO_RECORDS);
      return;
    }
    const waiting = this.#queuedBehindRead.get(to);
    if (waiting !== undefined) {
      this.#sendHeartbeat(waiting, to, message);
      if (isHeartbeat(message)) return;
      if (waiting.messages.length < QUEUED_APPENDS_MAX) waiting.messages.push(message);
      else this.messagesDropped += 1;
      return;
    }
    const records = this.#recordsInMemory(message);
    if (records !== null) {
      this.#transmit(to, message, records);
      return;
    }
    const queue: QueuedAppends = { messages: [message], latest: null };
    this.#queuedBehindRead.set(to, queue);
    this.#sendHeartbeat(queue, to, message);
    void this.#sendFromStore(to, queue.messages);
  }

  /**
   * Sends the heartbeat that a waiting message stands for, once per round. The message may be for a position
   * after the entries that are being read, which the follower would refuse; the position before them says the
   * same about the leader, its round and its commit index.
   */
  #sendHeartbeat(queue: QueuedAppends, to: NodeId, message: AppendEntries): void {
    const { latest } = queue;
    if (latest?.term === message.term && latest.round >= message.round) return;
    queue.latest = message;
    // What waits from an earlier term is obsolete: it says nothing about where the logs agree now.
    const first = queue.messages.find(({ term }) => term === message.term) ?? message;
    const { prev } = first.entries;
    const entries = { prev, lastIndex: prev.index, terms: [], configs: [] };
    this.#transmit(to, { ...message, entries }, NO_RECORDS);
  }

  /** Stops for good: messages that wait for a read are never sent. */
  stop(): void {
    this.#stopped = true;
    this.#queuedBehindRead.clear();
  }

  /** Sends the queued messages one after another, then lets later ones leave at once again. */
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

  /** The message's records; null: not all are in memory, or the message is obsolete. */
  #recordsInMemory(message: AppendEntries): readonly Uint8Array[] | null {
    const { prev, lastIndex } = message.entries;
    if (lastIndex === prev.index) return NO_RECORDS;
    if (!this.#isStillValid(message)) return null;
    const records = this.#logRecords.buffer.slice(prev.index + 1, lastIndex + 1);
    if (records !== null) checkRecords(records, prev.index + 1, termLookup(message.entries));
    return records;
  }

  /** The message's records from the store; null: the message is obsolete, and must not be sent. */
  async #recordsFromStore(message: AppendEntries): Promise<readonly Uint8Array[] | null> {
    const { prev, lastIndex } = message.entries;
    if (!this.#isStillValid(message)) return null;
    try {
      const records = await this.#logRecords.readAllFromStore(prev.index + 1, lastIndex + 1);
      if (!this.#isStillValid(message)) return null;
      checkRecords(records, prev.index + 1, termLookup(message.entries));
      return records;
    } catch (error) {
      // This node may have stopped leading during the read, and its log have been truncated or compacted.
      // Then the entries aren't there, and that is no storage failure.
      if (!this.#isStillValid(message)) return null;
      throw error;
    }
  }

  /**
   * Whether the message is still this leader's, and its entries are still in the log. A leader never
   * truncates its own log, so in the message's term the entries are those that the core meant.
   */
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

/** An AppendEntries without entries. */
function isHeartbeat({ entries }: AppendEntries): boolean {
  return entries.lastIndex === entries.prev.index;
}
