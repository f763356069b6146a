import type { Environment, Timer } from "../../environment/environment.ts";

/** Looks at each operation this many times before it counts as stuck. */
const CHECKS_PER_TIMEOUT = 4;

interface PendingOperation {
  readonly description: string;
  checksSeen: number;
}

/**
 * Notices storage that neither succeeds nor fails. One timer looks at everything that is under way,
 * `LOOKS` times in a time limit, and an operation that was seen at all of them is stuck. Counting
 * looks, not time, keeps a process that was itself stopped for a minute from blaming its disk.
 */
export class StorageWatchdog {
  readonly #environment: Environment;
  readonly #timeoutMs: number;
  readonly #onHang: (what: string) => void;
  readonly #pending = new Set<PendingOperation>();
  #timer: Timer | null = null;
  #stopped = false;

  constructor(environment: Environment, timeoutMs: number, onHang: (what: string) => void) {
    this.#environment = environment;
    this.#timeoutMs = timeoutMs;
    this.#onHang = onHang;
  }

  /** Settles as the operation does. */
  async monitor<T>(what: string, operation: () => Promise<T>): Promise<T> {
    const watched: PendingOperation = { description: what, checksSeen: 0 };
    this.#pending.add(watched);
    this.#startTimer();
    try {
      return await operation();
    } finally {
      this.#pending.delete(watched);
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#timer = null;
  }

  #startTimer(): void {
    if (this.#timer !== null || this.#stopped) return;
    this.#timer = this.#environment.setTimer(this.#timeoutMs / CHECKS_PER_TIMEOUT, () => {
      this.#timer = null;
      this.#check();
    });
  }

  #check(): void {
    for (const watched of this.#pending) {
      watched.checksSeen += 1;
      if (watched.checksSeen <= CHECKS_PER_TIMEOUT) continue;
      this.#onHang(`${watched.description} took more than ${String(this.#timeoutMs)} ms`);
      return;
    }
    if (this.#pending.size > 0) this.#startTimer();
  }
}
