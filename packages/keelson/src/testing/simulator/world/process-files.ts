/**
 * One simulated process's view of its disk: slow or hanging if the conditions say so, and silent once it is
 * dead.
 */
import type { FileHandle, FileSystem } from "../../../environment/environment.ts";
import type { SimulatedClock } from "../../../environment/simulated/simulated-clock.ts";
import type { DiskConditions } from "./conditions.ts";
import type { EventDelivery } from "./event-delivery.ts";

/** How often a hanging call checks whether the disk answers again, in milliseconds. */
const HANG_POLL_MS = 5;

/** Whether a call changes the disk; `sync`: it makes earlier writes durable. */
type Effect = "none" | "write" | "sync";

/**
 * Makes the calls to the disk. An answer reaches the process while it runs; a dead process waits without end.
 */
class DiskCalls {
  readonly #delivery: EventDelivery;
  readonly #clock: SimulatedClock;
  readonly #conditions: DiskConditions;

  constructor(delivery: EventDelivery, clock: SimulatedClock, conditions: DiskConditions) {
    this.#delivery = delivery;
    this.#clock = clock;
    this.#conditions = conditions;
  }

  async call<T>(effect: Effect, run: () => Promise<T>): Promise<T> {
    const conditions = this.#conditions;
    if (effect !== "none") conditions.beforeWrite?.(effect === "sync");
    if (this.#delivery.isDead()) return new Promise<never>(() => undefined);
    if (conditions.hangs) await this.#untilItAnswers();
    const delayMs = conditions.baseDelayMs + conditions.extraDelayMs;
    if (delayMs > 0) await this.#wait(delayMs);
    if (this.#delivery.isDead()) return new Promise<never>(() => undefined);
    const answer = await settled(run());
    await new Promise<void>((resolve) => {
      this.#delivery.deliver(resolve);
    });
    if ("error" in answer) throw answer.error;
    return answer.value;
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#clock.setTimer(ms, resolve);
    });
  }

  async #untilItAnswers(): Promise<void> {
    while (this.#conditions.hangs && !this.#delivery.isDead()) await this.#wait(HANG_POLL_MS);
  }
}

async function settled<T>(promise: Promise<T>): Promise<{ value: T } | { error: unknown }> {
  try {
    return { value: await promise };
  } catch (error) {
    return { error };
  }
}

/** See the file's header. */
export class ProcessFiles implements FileSystem {
  readonly #inner: FileSystem;
  readonly #calls: DiskCalls;

  constructor(inner: FileSystem, delivery: EventDelivery, clock: SimulatedClock, conditions: DiskConditions) {
    this.#inner = inner;
    this.#calls = new DiskCalls(delivery, clock, conditions);
  }

  async open(path: string, mode: "create" | "write" | "read"): Promise<FileHandle> {
    const effect = mode === "create" ? "write" : "none";
    const handle = await this.#calls.call(effect, () => this.#inner.open(path, mode));
    return new ProcessFileHandle(handle, this.#calls);
  }

  list(directory: string): Promise<string[]> {
    return this.#calls.call("none", () => this.#inner.list(directory));
  }

  makeDirectory(path: string): Promise<void> {
    return this.#calls.call("write", () => this.#inner.makeDirectory(path));
  }

  remove(path: string): Promise<void> {
    return this.#calls.call("write", () => this.#inner.remove(path));
  }

  rename(from: string, to: string): Promise<void> {
    return this.#calls.call("write", () => this.#inner.rename(from, to));
  }

  syncDirectory(path: string): Promise<void> {
    return this.#calls.call("write", () => this.#inner.syncDirectory(path));
  }

  lock(directory: string): ReturnType<FileSystem["lock"]> {
    return this.#calls.call("none", () => this.#inner.lock(directory));
  }
}

class ProcessFileHandle implements FileHandle {
  readonly #inner: FileHandle;
  readonly #calls: DiskCalls;

  constructor(inner: FileHandle, calls: DiskCalls) {
    this.#inner = inner;
    this.#calls = calls;
  }

  size(): Promise<number> {
    return this.#calls.call("none", () => this.#inner.size());
  }

  read(target: Uint8Array, position: number): Promise<number> {
    return this.#calls.call("none", () => this.#inner.read(target, position));
  }

  write(chunks: readonly Uint8Array[], position: number): Promise<void> {
    return this.#calls.call("write", () => this.#inner.write(chunks, position));
  }

  allocate(bytes: number): Promise<void> {
    return this.#calls.call("write", () => this.#inner.allocate(bytes));
  }

  truncate(bytes: number): Promise<void> {
    return this.#calls.call("write", () => this.#inner.truncate(bytes));
  }

  dataSync(): Promise<void> {
    return this.#calls.call("sync", () => this.#inner.dataSync());
  }

  close(): Promise<void> {
    return this.#calls.call("none", () => this.#inner.close());
  }
}
