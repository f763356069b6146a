// Writes the core's batches to the log store, and releases what asserts durable state only once it is
// durable: a vote, an acknowledgement, a leader's count of its own copy (persist before reply). There is no
// other way to send those.
//
// Hazard: a node that votes or acknowledges, and then loses the vote or the entry in a crash, can help to
// elect two leaders in one term, or make the leader commit an entry that no majority holds. Rule: messages
// that assert durable state wait here until the write that they depend on, and all earlier writes, have
// ended. Writes overlap, so the wait costs latency, not throughput.
//
// After a failed write nothing is released again and the node stops: after a failed sync nobody can tell what
// the disk holds, and a retried sync may report success for data that was lost (fail-stop).

import type { AddressedMessage } from "../../core/action.ts";
import type { LogStore, LogWrite } from "../../storage/log-store.ts";
import { reasonOf, type Failure } from "../shared/index.ts";
import type { StorageWatchdog } from "./storage-watchdog.ts";
import type { WriteLatency } from "./write-latency.ts";

/** One batch of the core's actions that isn't known to be durable yet. */
interface PendingBatch {
  /** The core's name for the batch (`Actions.persistId`). */
  readonly persistId: number;
  /** Messages that assert what this batch, or an earlier one, writes. */
  readonly messagesAfterPersist: readonly AddressedMessage[];
  /** Whether this batch's own write has ended. */
  durable: boolean;
}

/** What the persister reports to the driver. */
export interface PersisterHost {
  /** This batch and all earlier ones are durable. Called once for each batch, in order. */
  persisted(persistId: number, messagesAfterPersist: readonly AddressedMessage[]): void;
  /** A write is durable, `ms` milliseconds after it was given to the store. */
  written(write: LogWrite, ms: number): void;
  /** A write to the log has failed, with this failure. The driver stops the node. */
  failed(failure: Failure): void;
}

/** Writes batches to the log store, and reports each one when it and all earlier ones are durable. */
export class Persister {
  readonly #store: LogStore;
  readonly #watchdog: StorageWatchdog;
  readonly #latency: WriteLatency;
  readonly #host: PersisterHost;
  /**
   * Batches that aren't reported yet, oldest first. Bounded, as each holds entries of proposals or of
   * AppendEntries in flight, and both are limited.
   */
  #pendingBatches: PendingBatch[] = [];
  /** Resolve the promises of `whenIdle` that wait for `#pendingBatches` to empty. */
  #idleWaiters: (() => void)[] = [];
  /** Set once, by `stop`. No batch is reported after that. */
  #stopped = false;
  /** Writes given to the store since the node was opened. A metric. */
  writesSubmitted = 0;
  /** The bytes of the records in those writes. A metric. */
  bytesSubmitted = 0;

  constructor(store: LogStore, watchdog: StorageWatchdog, latency: WriteLatency, host: PersisterHost) {
    this.#store = store;
    this.#watchdog = watchdog;
    this.#latency = latency;
    this.#host = host;
  }

  /**
   * Takes the next batch. `write` null: it has nothing to write, so it is durable as
   * soon as earlier batches are.
   */
  submit(persistId: number, write: LogWrite | null, messagesAfterPersist: readonly AddressedMessage[]): void {
    const batch: PendingBatch = { persistId, messagesAfterPersist, durable: write === null };
    this.#pendingBatches.push(batch);
    if (write === null) this.#reportDurable();
    else void this.#write(batch, write);
  }

  /** Resolves when all batches are reported, or the node stops. The caller must submit nothing meanwhile. */
  whenIdle(): Promise<void> {
    if (this.#pendingBatches.length === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idleWaiters.push(resolve));
  }

  /** Forgets all batches: none of their messages will be sent. Writes in flight may still reach the disk. */
  stop(): void {
    this.#stopped = true;
    this.#pendingBatches = [];
    for (const resolve of this.#idleWaiters.splice(0)) resolve();
  }

  async #write(batch: PendingBatch, write: LogWrite): Promise<void> {
    this.writesSubmitted += 1;
    for (const record of write.records) this.bytesSubmitted += record.length;
    this.#latency.begun();
    try {
      await this.#watchdog.monitor("a write to the log", () => this.#store.append(write));
    } catch (error) {
      if (this.#stopped) return;
      this.#host.failed({
        kind: "storage",
        message: `the log could not be written, so the node stops: ${reasonOf(error)}`,
        cause: error,
      });
      return;
    }
    this.#host.written(write, this.#latency.ended());
    batch.durable = true;
    this.#reportDurable();
  }

  /**
   * Reports the leading batches that are durable. A later one waits: a `LogStore` promises to end its writes
   * in their order, but a mistake there must not become a vote or an acknowledgement that a crash takes back.
   */
  #reportDurable(): void {
    while (!this.#stopped && this.#pendingBatches[0]?.durable === true) {
      const batch = this.#pendingBatches.shift();
      if (batch !== undefined) this.#host.persisted(batch.persistId, batch.messagesAfterPersist);
    }
    if (this.#pendingBatches.length > 0) return;
    for (const resolve of this.#idleWaiters.splice(0)) resolve();
  }
}
