import type { Outgoing } from "../../core/action.ts";
import type { LogStore, LogWrite } from "../../storage/log-store.ts";
import { reasonOf, type Failure } from "../failure.ts";
import type { StorageWatch } from "./storage-watchdog.ts";

interface Batch {
  readonly persistId: number;
  /** What may be said once this batch, and all before it, are durable. */
  readonly messages: readonly Outgoing[];
  durable: boolean;
}

export interface PersisterHost {
  /** This batch and all before it are durable. Called in order, once for each. */
  persisted(persistId: number, messages: readonly Outgoing[]): void;
  failed(failure: Failure): void;
}

/**
 * Writes what the core wants written, in order, several writes under way at once, and keeps back
 * what must not be said before. After one failure nothing is ever released again: after a failed
 * sync nobody knows what the disk holds.
 */
export class Persister {
  readonly #store: LogStore;
  readonly #watch: StorageWatch;
  readonly #host: PersisterHost;
  /** In order. Bounded by the windows of the core and the limits on proposals: each batch holds entries that both count. */
  #queue: Batch[] = [];
  #idle: (() => void)[] = [];
  #stopped = false;
  writes = 0;
  bytes = 0;

  constructor(store: LogStore, watch: StorageWatch, host: PersisterHost) {
    this.#store = store;
    this.#watch = watch;
    this.#host = host;
  }

  /** `write` null: there is nothing to write, and the batch is durable as soon as those before it are. */
  submit(persistId: number, write: LogWrite | null, messages: readonly Outgoing[]): void {
    const batch: Batch = { persistId, messages, durable: write === null };
    this.#queue.push(batch);
    if (write === null) this.#release();
    else void this.#write(batch, write);
  }

  /** Resolves when nothing is under way any more; the caller sees to it that nothing new begins. */
  idle(): Promise<void> {
    if (this.#queue.length === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  stop(): void {
    this.#stopped = true;
    this.#queue = [];
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  async #write(batch: Batch, write: LogWrite): Promise<void> {
    this.writes += 1;
    for (const record of write.records) this.bytes += record.length;
    try {
      await this.#watch.track("a write to the log", () => this.#store.append(write));
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
    this.#release();
  }

  #release(): void {
    while (!this.#stopped && this.#queue[0]?.durable === true) {
      const batch = this.#queue.shift();
      if (batch !== undefined) this.#host.persisted(batch.persistId, batch.messages);
    }
    if (this.#queue.length > 0) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}
