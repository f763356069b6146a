import type {
  Connection,
  ConnectionHandler,
  Environment,
  FileHandle,
  FileSystem,
  Listener,
  LockMode,
  Network,
  Timer,
} from "../../../environment/environment.ts";
import type { SimulatedClock } from "../../../environment/simulated/simulated-clock.ts";
import { SIMULATED_EPOCH_MS } from "../../../environment/simulated/simulated-environment.ts";

/**
 * A process, as far as an operating system knows it: everything that the outside wants to tell it
 * passes here. A paused process hears it when it goes on, in order; a dead one never.
 */
export class EventDelivery {
  readonly #clock: SimulatedClock;
  #state: "running" | "paused" | "catching-up" | "dead" = "running";
  /** Bounded by what the simulated world has under way. */
  #waiting: (() => void)[] = [];
  #wasActive = false;
  /** Timers that are set and have neither fired nor been cancelled. */
  pendingTimers = 0;

  constructor(clock: SimulatedClock) {
    this.#clock = clock;
  }

  /** A method, because it may change across any call. */
  isDead(): boolean {
    return this.#state === "dead";
  }

  /** Tells the process something: now, later, or never. */
  deliver(news: () => void): void {
    if (this.#state === "running") {
      this.#wasActive = true;
      news();
    } else if (this.#state !== "dead") this.#waiting.push(news);
  }

  get isPaused(): boolean {
    return this.#state === "paused";
  }

  /** Whether the process was told anything since the last time this was asked. */
  takeActivity(): boolean {
    const touched = this.#wasActive;
    this.#wasActive = false;
    return touched;
  }

  pause(): void {
    if (!this.isDead()) this.#state = "paused";
  }

  /**
   * What waited is told in the order in which it came, and all in one turn: an event loop that comes round at last
   * reads every socket before it does what was deferred. What comes meanwhile waits behind it, or bytes of one
   * stream would overtake each other.
   */
  resume(): void {
    if (this.#state !== "paused") return;
    this.#state = "catching-up";
    this.#catchUp();
  }

  #catchUp(): void {
    this.#clock.setTimer(0, () => {
      if (this.#state !== "catching-up") return;
      const news = this.#waiting.shift();
      if (news === undefined) {
        this.#state = "running";
        return;
      }
      this.#wasActive = true;
      news();
      this.#catchUp();
    });
  }

  kill(): void {
    this.#state = "dead";
    this.#waiting = [];
  }
}

/** How a disk answers, beyond what it holds. */
export interface DiskConditions {
  /** What each call takes when nothing is wrong. */
  readonly baseDelayMs: number;
  /** Each call takes this much longer. */
  extraDelayMs: number;
  hangs: boolean;
  /** Called before each call that changes something; the process may die of it. `isSync`: it makes writes durable. */
  beforeWrite: ((isSync: boolean) => void) | null;
}

/** How a process's clock goes wrong. */
export interface ClockConditions {
  /** 1: right. */
  rate: number;
  /** Timers that are set now fire this much too late, at most. */
  timersLateByMsMax: number;
  /** Of `lateByMs`, the least. */
  timersLateShareMin: number;
  /** By then the last of those that were set to be late has fired. */
  timersLateUntil: number;
  /** How far the wall clock is ahead of the true time; it says nothing about timers. */
  wallOffsetMs: number;
}

export interface EnvironmentParts {
  readonly clock: SimulatedClock;
  readonly random: () => number;
  readonly files: FileSystem;
  readonly network: Network;
}

/** The world as one process sees it: its clock, its timers, its disk and its sockets, all behind its delivery. */
export function processEnvironment(
  parts: EnvironmentParts,
  delivery: EventDelivery,
  clockConditions: ClockConditions,
  disk: DiskConditions,
): Environment {
  const { clock, random } = parts;
  const origin = clock.now();
  return {
    now: () => origin + (clock.now() - origin) * clockConditions.rate,
    wallClock: () => Math.floor(SIMULATED_EPOCH_MS + clockConditions.wallOffsetMs + clock.now()),
    random,
    setTimer: (delayMs, callback): Timer => {
      const { timersLateByMsMax, timersLateShareMin } = clockConditions;
      const lateMs =
        timersLateByMsMax > 0
          ? (timersLateShareMin + random() * (1 - timersLateShareMin)) * timersLateByMsMax
          : 0;
      if (lateMs > 0) {
        clockConditions.timersLateUntil = Math.max(
          clockConditions.timersLateUntil,
          clock.now() + delayMs / clockConditions.rate + lateMs,
        );
      }
      let over = false;
      delivery.pendingTimers += 1;
      const end = (): boolean => {
        if (over) return false;
        over = true;
        delivery.pendingTimers -= 1;
        return true;
      };
      const timer = clock.setTimer(delayMs / clockConditions.rate + lateMs, () => {
        delivery.deliver(() => {
          if (end()) callback();
        });
      });
      return {
        cancel: () => {
          end();
          timer.cancel();
        },
      };
    },
    defer: (callback) => {
      clock.defer(() => {
        delivery.deliver(callback);
      });
    },
    files: new ProcessFiles(parts.files, delivery, clock, disk),
    network: processNetwork(parts.network, delivery),
  };
}

/** Answers of a disk reach a process only while it runs; a dead one waits for ever. */
class DiskCalls {
  readonly #delivery: EventDelivery;
  readonly #clock: SimulatedClock;
  readonly #conditions: DiskConditions;

  constructor(delivery: EventDelivery, clock: SimulatedClock, conditions: DiskConditions) {
    this.#delivery = delivery;
    this.#clock = clock;
    this.#conditions = conditions;
  }

  async call<T>(run: () => Promise<T>, writes: boolean | "sync"): Promise<T> {
    if (writes !== false) this.#conditions.beforeWrite?.(writes === "sync");
    if (this.#delivery.isDead()) return new Promise<never>(() => undefined);
    if (this.#conditions.hangs) await this.#until(() => !this.#conditions.hangs);
    const delayMs = this.#conditions.baseDelayMs + this.#conditions.extraDelayMs;
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

  async #until(condition: () => boolean): Promise<void> {
    while (!condition() && !this.#delivery.isDead()) await this.#wait(HANG_STEP_MS);
  }
}

/** How often a hanging call looks whether the disk answers again. */
const HANG_STEP_MS = 5;

async function settled<T>(promise: Promise<T>): Promise<{ value: T } | { error: unknown }> {
  try {
    return { value: await promise };
  } catch (error) {
    return { error };
  }
}

class ProcessFiles implements FileSystem {
  readonly #inner: FileSystem;
  readonly #disk: DiskCalls;

  constructor(inner: FileSystem, delivery: EventDelivery, clock: SimulatedClock, conditions: DiskConditions) {
    this.#inner = inner;
    this.#disk = new DiskCalls(delivery, clock, conditions);
  }

  async open(path: string, mode: "create" | "write" | "read"): Promise<FileHandle> {
    const handle = await this.#disk.call(() => this.#inner.open(path, mode), mode === "create");
    return new ProcessFileHandle(handle, this.#disk);
  }

  list(directory: string): Promise<string[]> {
    return this.#disk.call(() => this.#inner.list(directory), false);
  }

  makeDirectory(path: string): Promise<void> {
    return this.#disk.call(() => this.#inner.makeDirectory(path), true);
  }

  remove(path: string): Promise<void> {
    return this.#disk.call(() => this.#inner.remove(path), true);
  }

  rename(from: string, to: string): Promise<void> {
    return this.#disk.call(() => this.#inner.rename(from, to), true);
  }

  syncDirectory(path: string): Promise<void> {
    return this.#disk.call(() => this.#inner.syncDirectory(path), true);
  }

  lock(directory: string, mode?: LockMode): ReturnType<FileSystem["lock"]> {
    return this.#disk.call(() => this.#inner.lock(directory, mode), false);
  }
}

class ProcessFileHandle implements FileHandle {
  readonly #inner: FileHandle;
  readonly #disk: DiskCalls;

  constructor(inner: FileHandle, disk: DiskCalls) {
    this.#inner = inner;
    this.#disk = disk;
  }

  size(): Promise<number> {
    return this.#disk.call(() => this.#inner.size(), false);
  }

  read(target: Uint8Array, position: number): Promise<number> {
    return this.#disk.call(() => this.#inner.read(target, position), false);
  }

  write(chunks: readonly Uint8Array[], position: number): Promise<void> {
    return this.#disk.call(() => this.#inner.write(chunks, position), true);
  }

  allocate(bytes: number): Promise<void> {
    return this.#disk.call(() => this.#inner.allocate(bytes), true);
  }

  truncate(bytes: number): Promise<void> {
    return this.#disk.call(() => this.#inner.truncate(bytes), true);
  }

  dataSync(): Promise<void> {
    return this.#disk.call(() => this.#inner.dataSync(), "sync");
  }

  close(): Promise<void> {
    return this.#disk.call(() => this.#inner.close(), false);
  }
}

function processNetwork(inner: Network, delivery: EventDelivery): Network {
  return {
    listen: async (address, accept): Promise<Listener> => {
      // What a dead process had under way must not take the address from its successor.
      if (delivery.isDead()) return new Promise<never>(() => undefined);
      const listener = await inner.listen(address, (connection) => {
        const gated = new ProcessConnection(connection, delivery);
        delivery.deliver(() => {
          accept(gated);
        });
      });
      return listener;
    },
    connect: (address) => new ProcessConnection(inner.connect(address), delivery),
  };
}

class ProcessConnection implements Connection {
  handler: ConnectionHandler | null = null;
  readonly #inner: Connection;

  constructor(inner: Connection, delivery: EventDelivery) {
    this.#inner = inner;
    inner.handler = {
      onOpen: () => {
        delivery.deliver(() => this.handler?.onOpen?.());
      },
      onData: (bytes) => {
        // The bytes are lent for the call; a paused process reads them later.
        const copy = bytes.slice();
        delivery.deliver(() => {
          this.handler?.onData(copy);
          // Whoever kept a view of what was only lent shall see it change.
          copy.fill(0xdb);
        });
      },
      onDrain: () => {
        delivery.deliver(() => this.handler?.onDrain?.());
      },
      onClose: (reason) => {
        delivery.deliver(() => this.handler?.onClose(reason));
      },
    };
  }

  get peer(): string {
    return this.#inner.peer;
  }

  get bufferedBytes(): number {
    return this.#inner.bufferedBytes;
  }

  write(bytes: Uint8Array): void {
    this.#inner.write(bytes);
  }

  pause(): void {
    this.#inner.pause();
  }

  resume(): void {
    this.#inner.resume();
  }

  destroy(reason?: string): void {
    this.#inner.destroy(reason);
  }
}
