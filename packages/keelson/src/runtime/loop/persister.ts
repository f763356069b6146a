import type { AddressedMessage } from "../../core/action.ts";
import type { LogStore, LogWrite } from "../../storage/log-store.ts";
import { reasonOf, type Failure } from "../failure.ts";
import type { StorageWatchdog } from "./storage-watchdog.ts";

interface PendingBatch {
  readonly persistId: number;
  /** What may be said once this batch, and all before it, are durable. */
  readonly messagesAfterPersist: readonly AddressedMessage[];
  durable: boolean;
}

export interface PersisterHost {
  /** This batch and all before it are durable. Called in order, once for each. */
  persisted(persistId: number, messages: readonly AddressedMessage[]): void;
  failed(failure: Failure): void;
}

/**
 * Writes what the core wants written, in order, several writes under way at once, and keeps back
 * what must not be said before. After one failure nothing is ever released again: after a failed
 * sync nobody knows what the disk holds.
 */
export class Persister {
  readonly #store: LogStore;
  readonly #watchdog: StorageWatchdog;
  readonly #host: PersisterHost;
  /** In order. Bounded by the windows of the core and the limits on proposals: each batch holds entries that both count. */
  #pendingBatches: PendingBatch[] = [];
  #idleWaiters: (() => void)[] = [];
  #stopped = false;
  writesSubmitted = 0;
  bytesSubmitted = 0;

  constructor(store: LogStore, watchdog: StorageWatchdog, host: PersisterHost) {
    this.#store = store;
    this.#watchdog = watchdog;
    this.#host = host;
  }

  /** `write` null: there is nothing to write, and the batch is durable as soon as those before it are. */
  submit(persistId: number, write: LogWrite | null, messages: readonly AddressedMessage[]): void {
    const batch: PendingBatch = { persistId, messagesAfterPersist: messages, durable: write === null };
    this.#pendingBatches.push(batch);
    if (write === null) this.#reportDurable();
    else void this.#write(batch, write);
  }

  /** Resolves when nothing is under way any more; the caller sees to it that nothing new begins. */
  whenIdle(): Promise<void> {
    if (this.#pendingBatches.length === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idleWaiters.push(resolve));
  }

  stop(): void {
    this.#stopped = true;
    this.#pendingBatches = [];
    for (const resolve of this.#idleWaiters.splice(0)) resolve();
  }

  async #write(batch: PendingBatch, write: LogWrite): Promise<void> {
    this.writesSubmitted += 1;
    for (const record of write.records) this.bytesSubmitted += record.length;
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
    batch.durable = true;
    this.#reportDurable();
  }

  #reportDurable(): void {
    while (!this.#stopped && this.#pendingBatches[0]?.durable === true) {
      const batch = this.#pendingBatches.shift();
      if (batch !== undefined) this.#host.persisted(batch.persistId, batch.messagesAfterPersist);
    }
    if (this.#pendingBatches.length > 0) return;
    for (const resolve of this.#idleWaiters.splice(0)) resolve();
  }
}
