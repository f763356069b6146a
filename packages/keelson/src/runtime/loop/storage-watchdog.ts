import type { Environment, Timer } from "../../environment/environment.ts";

/** Looks at each operation this many times before it counts as stuck. */
const LOOKS = 4;

interface Watched {
  readonly what: string;
  looks: number;
}

/**
 * Notices storage that neither succeeds nor fails. One timer looks at everything that is under way,
 * `LOOKS` times in a time limit, and an operation that was seen at all of them is stuck. Counting
 * looks, not time, keeps a process that was itself stopped for a minute from blaming its disk.
 */
export class StorageWatch {
  readonly #environment: Environment;
  readonly #timeoutMs: number;
  readonly #onStuck: (what: string) => void;
  readonly #underWay = new Set<Watched>();
  #timer: Timer | null = null;
  #stopped = false;

  constructor(environment: Environment, timeoutMs: number, onStuck: (what: string) => void) {
    this.#environment = environment;
    this.#timeoutMs = timeoutMs;
    this.#onStuck = onStuck;
  }

  /** Settles as the operation does. */
  async track<T>(what: string, operation: () => Promise<T>): Promise<T> {
    const watched: Watched = { what, looks: 0 };
    this.#underWay.add(watched);
    this.#arm();
    try {
      return await operation();
    } finally {
      this.#underWay.delete(watched);
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#timer = null;
  }

  #arm(): void {
    if (this.#timer !== null || this.#stopped) return;
    this.#timer = this.#environment.setTimer(this.#timeoutMs / LOOKS, () => {
      this.#timer = null;
      this.#look();
    });
  }

  #look(): void {
    for (const watched of this.#underWay) {
      watched.looks += 1;
      if (watched.looks <= LOOKS) continue;
      this.#onStuck(`${watched.what} took more than ${String(this.#timeoutMs)} ms`);
      return;
    }
    if (this.#underWay.size > 0) this.#arm();
  }
}
