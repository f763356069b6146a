/**
 * One simulated process's view of its disk: slow or hanging if the conditions say so, and silent once it is
 * dead.
 */
import type { FileHandle, FileSystem } from "../../../environment/environment.ts";
import type { SimulatedClock } from "../../../environment/simulated/simulated-clock.ts";
import type { SimulatedHandle, SimulatedMount } from "../../../environment/simulated/simulated-files.ts";
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
    // Those of the process before this one are no concern of it.
    conditions.hungSnapshotCalls.clear();
    conditions.hungLogCalls.clear();
  }

  async call<T>(effect: Effect, path: string, run: () => Promise<T>): Promise<T> {
    const conditions = this.#conditions;
    if (effect !== "none") conditions.beforeWrite?.(effect === "sync");
    if (this.#delivery.isDead()) return new Promise<never>(() => undefined);
    if (this.#hangs(path)) await this.#untilItAnswers(path);
    const logDelayMs = isOfSnapshots(path) ? 0 : conditions.logDelayMs;
    const delayMs = conditions.baseDelayMs + conditions.extraDelayMs + logDelayMs;
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

  #hangs(path: string): boolean {
    const { hangs, snapshotsHang } = this.#conditions;
    return hangs || (snapshotsHang && isOfSnapshots(path));
  }

  async #untilItAnswers(path: string): Promise<void> {
    const { hungSnapshotCalls, hungLogCalls } = this.#conditions;
    const hung = isOfSnapshots(path) ? hungSnapshotCalls : hungLogCalls;
    const call = {};
    hung.add(call);
    while (this.#hangs(path) && !this.#delivery.isDead()) await this.#wait(HANG_POLL_MS);
    hung.delete(call);
  }
}

/** Whether a path is that of a node's snapshots: of one of the files, or of their directory. */
function isOfSnapshots(path: string): boolean {
  return path.includes(".snapshots");
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
  readonly #inner: SimulatedMount;
  readonly #calls: DiskCalls;

  constructor(
    inner: SimulatedMount,
    delivery: EventDelivery,
    clock: SimulatedClock,
    conditions: DiskConditions,
  ) {
    this.#inner = inner;
    this.#calls = new DiskCalls(delivery, clock, conditions);
  }

  async open(path: string, mode: "create" | "write" | "read"): Promise<FileHandle> {
    const effect = mode === "create" ? "write" : "none";
    const handle = await this.#calls.call(effect, path, () => this.#inner.open(path, mode));
    return new ProcessFileHandle(handle, path, this.#calls);
  }

  list(directory: string): Promise<string[]> {
    return this.#calls.call("none", directory, () => this.#inner.list(directory));
  }

  makeDirectory(path: string): Promise<void> {
    return this.#calls.call("write", path, () => this.#inner.makeDirectory(path));
  }

  remove(path: string): Promise<void> {
    return this.#calls.call("write", path, () => this.#inner.remove(path));
  }

  rename(from: string, to: string): Promise<void> {
    return this.#calls.call("write", from, () => this.#inner.rename(from, to));
  }

  syncDirectory(path: string): Promise<void> {
    return this.#calls.call("write", path, () => this.#inner.syncDirectory(path));
  }

  lock(directory: string): ReturnType<FileSystem["lock"]> {
    return this.#calls.call("none", directory, () => this.#inner.lock(directory));
  }
}

class ProcessFileHandle implements FileHandle {
  readonly #inner: SimulatedHandle;
  readonly #path: string;
  readonly #calls: DiskCalls;

  constructor(inner: SimulatedHandle, path: string, calls: DiskCalls) {
    this.#inner = inner;
    this.#path = path;
    this.#calls = calls;
  }

  size(): Promise<number> {
    return this.#calls.call("none", this.#path, () => this.#inner.size());
  }

  read(target: Uint8Array, position: number): Promise<number> {
    return this.#calls.call("none", this.#path, () => this.#inner.read(target, position));
  }

  write(chunks: readonly Uint8Array[], position: number): Promise<void> {
    return this.#calls.call("write", this.#path, () => this.#inner.write(chunks, position));
  }

  /** In two calls, so that the process can end, or the power fail, between the write and its sync. */
  async writeDurably(chunks: readonly Uint8Array[], position: number): Promise<void> {
    await this.write(chunks, position);
    const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    await this.#calls.call("sync", this.#path, () => this.#inner.syncRange(position, length));
  }

  allocate(bytes: number): Promise<void> {
    return this.#calls.call("write", this.#path, () => this.#inner.allocate(bytes));
  }

  truncate(bytes: number): Promise<void> {
    return this.#calls.call("write", this.#path, () => this.#inner.truncate(bytes));
  }

  dataSync(): Promise<void> {
    return this.#calls.call("sync", this.#path, () => this.#inner.dataSync());
  }

  close(): Promise<void> {
    return this.#calls.call("none", this.#path, () => this.#inner.close());
  }
}
