import type {
  Connection,
  ConnectionHandler,
  Environment,
  FileHandle,
  FileSystem,
  Listener,
  Network,
  Timer,
} from "../../../environment/environment.ts";
import type { SimulatedClock } from "../../../environment/simulated/simulated-clock.ts";
import { SIMULATED_EPOCH_MS } from "../../../environment/simulated/simulated-environment.ts";

/**
 * A process, as far as an operating system knows it: everything that the outside wants to tell it
 * passes here. A paused process hears it when it goes on, in order; a dead one never.
 */
export class Gate {
  readonly #clock: SimulatedClock;
  #state: "running" | "paused" | "catching-up" | "dead" = "running";
  /** Bounded by what the simulated world has under way. */
  #waiting: (() => void)[] = [];
  #touched = false;
  /** Timers that are set and have neither fired nor been cancelled. */
  timers = 0;

  constructor(clock: SimulatedClock) {
    this.#clock = clock;
  }

  /** A method, because it may change across any call. */
  isDead(): boolean {
    return this.#state === "dead";
  }

  /** Tells the process something: now, later, or never. */
  pass(news: () => void): void {
    if (this.#state === "running") {
      this.#touched = true;
      news();
    } else if (this.#state !== "dead") this.#waiting.push(news);
  }

  get isPaused(): boolean {
    return this.#state === "paused";
  }

  /** Whether the process was told anything since the last time this was asked. */
  takeTouched(): boolean {
    const touched = this.#touched;
    this.#touched = false;
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
      this.#touched = true;
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
export interface DiskMood {
  /** What each call takes when nothing is wrong. */
  readonly usualMs: number;
  /** Each call takes this much longer. */
  delayMs: number;
  hangs: boolean;
  /** Called before each call that changes something; the process may die of it. `isSync`: it makes writes durable. */
  beforeWrite: ((isSync: boolean) => void) | null;
}

/** How a process's clock goes wrong. */
export interface ClockMood {
  /** 1: right. */
  rate: number;
  /** Timers that are set now fire this much too late, at most. */
  lateByMs: number;
  /** Of `lateByMs`, the least. */
  lateShareMin: number;
  /** By then the last of those that were set to be late has fired. */
  lateUntil: number;
  /** How far the wall clock is ahead of the true time; it says nothing about timers. */
  wallOffsetMs: number;
}

export interface WorldParts {
  readonly clock: SimulatedClock;
  readonly random: () => number;
  readonly files: FileSystem;
  readonly network: Network;
}

/** The world as one process sees it: its clock, its timers, its disk and its sockets, all behind its gate. */
export function gatedEnvironment(
  parts: WorldParts,
  gate: Gate,
  clockMood: ClockMood,
  disk: DiskMood,
): Environment {
  const { clock, random } = parts;
  const origin = clock.now();
  return {
    now: () => origin + (clock.now() - origin) * clockMood.rate,
    wallClock: () => Math.floor(SIMULATED_EPOCH_MS + clockMood.wallOffsetMs + clock.now()),
    random,
    setTimer: (delayMs, callback): Timer => {
      const { lateByMs, lateShareMin } = clockMood;
      const lateMs = lateByMs > 0 ? (lateShareMin + random() * (1 - lateShareMin)) * lateByMs : 0;
      if (lateMs > 0) {
        clockMood.lateUntil = Math.max(clockMood.lateUntil, clock.now() + delayMs / clockMood.rate + lateMs);
      }
      let over = false;
      gate.timers += 1;
      const end = (): boolean => {
        if (over) return false;
        over = true;
        gate.timers -= 1;
        return true;
      };
      const timer = clock.setTimer(delayMs / clockMood.rate + lateMs, () => {
        gate.pass(() => {
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
        gate.pass(callback);
      });
    },
    files: new GatedFiles(parts.files, gate, clock, disk),
    network: gatedNetwork(parts.network, gate),
  };
}

/** Answers of a disk reach a process only while it runs; a dead one waits for ever. */
class DiskGate {
  readonly #gate: Gate;
  readonly #clock: SimulatedClock;
  readonly #mood: DiskMood;

  constructor(gate: Gate, clock: SimulatedClock, mood: DiskMood) {
    this.#gate = gate;
    this.#clock = clock;
    this.#mood = mood;
  }

  async call<T>(run: () => Promise<T>, writes: boolean | "sync"): Promise<T> {
    if (writes !== false) this.#mood.beforeWrite?.(writes === "sync");
    if (this.#gate.isDead()) return new Promise<never>(() => undefined);
    if (this.#mood.hangs) await this.#until(() => !this.#mood.hangs);
    const delayMs = this.#mood.usualMs + this.#mood.delayMs;
    if (delayMs > 0) await this.#wait(delayMs);
    if (this.#gate.isDead()) return new Promise<never>(() => undefined);
    const answer = await settled(run());
    await new Promise<void>((resolve) => {
      this.#gate.pass(resolve);
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
    while (!condition() && !this.#gate.isDead()) await this.#wait(HANG_STEP_MS);
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

class GatedFiles implements FileSystem {
  readonly #inner: FileSystem;
  readonly #disk: DiskGate;

  constructor(inner: FileSystem, gate: Gate, clock: SimulatedClock, mood: DiskMood) {
    this.#inner = inner;
    this.#disk = new DiskGate(gate, clock, mood);
  }

  async open(path: string, mode: "create" | "write" | "read"): Promise<FileHandle> {
    const handle = await this.#disk.call(() => this.#inner.open(path, mode), mode === "create");
    return new GatedHandle(handle, this.#disk);
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

  lock(directory: string): ReturnType<FileSystem["lock"]> {
    return this.#disk.call(() => this.#inner.lock(directory), false);
  }
}

class GatedHandle implements FileHandle {
  readonly #inner: FileHandle;
  readonly #disk: DiskGate;

  constructor(inner: FileHandle, disk: DiskGate) {
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

function gatedNetwork(inner: Network, gate: Gate): Network {
  return {
    listen: async (address, accept): Promise<Listener> => {
      // What a dead process had under way must not take the address from its successor.
      if (gate.isDead()) return new Promise<never>(() => undefined);
      const listener = await inner.listen(address, (connection) => {
        const gated = new GatedConnection(connection, gate);
        gate.pass(() => {
          accept(gated);
        });
      });
      return listener;
    },
    connect: (address) => new GatedConnection(inner.connect(address), gate),
  };
}

class GatedConnection implements Connection {
  handler: ConnectionHandler | null = null;
  readonly #inner: Connection;

  constructor(inner: Connection, gate: Gate) {
    this.#inner = inner;
    inner.handler = {
      onOpen: () => {
        gate.pass(() => this.handler?.onOpen?.());
      },
      onData: (bytes) => {
        // The bytes are lent for the call; a paused process reads them later.
        const copy = bytes.slice();
        gate.pass(() => {
          this.handler?.onData(copy);
          // Whoever kept a view of what was only lent shall see it change.
          copy.fill(0xdb);
        });
      },
      onDrain: () => {
        gate.pass(() => this.handler?.onDrain?.());
      },
      onClose: (reason) => {
        gate.pass(() => this.handler?.onClose(reason));
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
