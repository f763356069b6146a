/** Measures the longest turn of this process's event loop. */
import { monitorEventLoopDelay } from "node:perf_hooks";

/** How often the meter looks. A turn counts as up to this much longer than it is. */
const TICK_MS = 1;

/** The longest turns while a meter ran, in milliseconds. */
export interface Turns {
  /**
   * By Node's histogram of event loop delays. Includes the time in which other processes had the processor.
   */
  readonly longestMs: number;
  /** Processor time of this thread alone, between two ticks; null: this version of Node can't tell. */
  readonly longestCpuMs: number | null;
}

export class TurnMeter {
  readonly #histogram = monitorEventLoopDelay({ resolution: TICK_MS });
  readonly #timer: NodeJS.Timeout;
  #longestCpuMs = 0;

  constructor() {
    let before = cpuMs();
    this.#timer = setInterval(() => {
      const now = cpuMs();
      this.#longestCpuMs = Math.max(this.#longestCpuMs, now - before);
      before = now;
    }, TICK_MS);
    this.#histogram.enable();
  }

  stop(): Turns {
    clearInterval(this.#timer);
    this.#histogram.disable();
    const longestCpuMs = "threadCpuUsage" in process ? this.#longestCpuMs : null;
    return { longestMs: this.#histogram.max / 1e6, longestCpuMs };
  }
}

/** Processor time of this thread, in milliseconds; 0 where Node can't tell. */
function cpuMs(): number {
  if (!("threadCpuUsage" in process)) return 0;
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}
