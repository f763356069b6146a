// Measures how long the log's writes take, and warns of a slow disk. A disk that is slow without failing
// raises no error, and costs every client of the cluster latency, or the cluster its leader.
import type { Environment } from "../../environment/environment.ts";
import type { ComponentLog } from "../../log-event.ts";
import type { LatencyMetrics, RaftTimings } from "../shared/index.ts";

/** The upper ends of the histogram's buckets, in ms. */
const BUCKETS_MS = [0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000] as const;

/** The longest write is remembered for one to two of these, in ms. */
const RECENT_MS = 10_000;

/** Between two warnings of slow writes, in ms: a disk that is slow is slow for each of many writes. */
const WARNING_EVERY_MS = 10_000;

export interface WriteLatencyParts {
  readonly environment: Pick<Environment, "now">;
  readonly timings: Pick<RaftTimings, "heartbeatMs" | "storageStallMs" | "storageTimeoutMs">;
  /** The log of the component "storage". */
  readonly log: ComponentLog;
}

/**
 * The time from handing a write to the log store until it is durable: append and sync, and the wait for the
 * write before it. Writes end in the order in which they began.
 *
 * It sets no timer. A write that hangs is noticed with the next turn in which the core does something: a
 * follower's next heartbeat, a leader's, or the next call.
 */
export class WriteLatency {
  readonly #parts: WriteLatencyParts;
  /** When the writes under way began, in ms, the oldest first. */
  readonly #pending: number[] = [];
  /** How many writes ended in each bucket; the last one is for those that took longer than all buckets. */
  readonly #counts: number[] = [...BUCKETS_MS.map(() => 0), 0];
  #count = 0;
  #sumMs = 0;
  #lastMs = 0;
  /**
   * The longest write of the present window and of the one before it, and when the present one began, in ms.
   */
  #longest = { now: 0, before: 0, at: -Infinity };
  /** When the last warning of a slow write was given, in ms. */
  #warnedAt = -Infinity;
  /** Slow writes since then that weren't warned of. */
  #unwarned = 0;
  /** Whether it was warned that the oldest write under way has stalled. */
  #hasWarnedOfStall = false;

  constructor(parts: WriteLatencyParts) {
    this.#parts = parts;
  }

  /** A write is handed to the store. */
  begun(): void {
    this.#pending.push(this.#parts.environment.now());
  }

  /** The oldest write under way is durable. Returns how long it took, in ms. */
  ended(): number {
    const now = this.#parts.environment.now();
    const ms = now - (this.#pending.shift() ?? now);
    this.#count += 1;
    this.#sumMs += ms;
    this.#lastMs = ms;
    let bucket = 0;
    while (ms > (BUCKETS_MS[bucket] ?? Infinity)) bucket += 1;
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#startWindow(now);
    this.#longest.now = Math.max(this.#longest.now, ms);
    this.#judge(ms, now);
    return ms;
  }

  /** Warns of a write under way that has stalled. Called once in each turn. */
  check(): void {
    const [begunAt] = this.#pending;
    if (begunAt === undefined || this.#hasWarnedOfStall) return;
    const { environment, timings, log } = this.#parts;
    const ms = environment.now() - begunAt;
    if (ms < timings.storageStallMs) return;
    this.#hasWarnedOfStall = true;
    log(
      "warn",
      `a write to the log hangs: it has taken ${shown(ms)} ms so far, and timings.storageStallMs is ` +
        `${String(timings.storageStallMs)} ms. Until it ends, this node neither leads nor stands for election, ` +
        "unless it is the only voter, and acknowledges nothing; after " +
        `${String(timings.storageTimeoutMs)} ms (timings.storageTimeoutMs) it stops. Look at its disk`,
      { ms },
    );
  }

  get metrics(): LatencyMetrics {
    const now = this.#parts.environment.now();
    this.#startWindow(now);
    const [oldest] = this.#pending;
    let count = 0;
    return {
      count: this.#count,
      sumMs: this.#sumMs,
      lastMs: this.#lastMs,
      recentMaxMs: Math.max(this.#longest.now, this.#longest.before, oldest === undefined ? 0 : now - oldest),
      buckets: BUCKETS_MS.map((toMs, at) => ({ toMs, count: (count += this.#counts[at] ?? 0) })),
    };
  }

  #startWindow(now: number): void {
    const { now: longest, at } = this.#longest;
    if (now - at < RECENT_MS) return;
    this.#longest = { now: 0, before: now - at < 2 * RECENT_MS ? longest : 0, at: now };
  }

  /** A write took so long: warns if that is slow. */
  #judge(ms: number, now: number): void {
    const { timings, log } = this.#parts;
    if (this.#hasWarnedOfStall) {
      this.#hasWarnedOfStall = false;
      log("info", `the write to the log that hung has ended, after ${shown(ms)} ms`, { ms });
      return;
    }
    if (ms <= timings.heartbeatMs) return;
    if (now - this.#warnedAt < WARNING_EVERY_MS) {
      this.#unwarned += 1;
      return;
    }
    const more =
      this.#unwarned === 0 ? "" : `; ${String(this.#unwarned)} more were as slow since the last warning`;
    this.#warnedAt = now;
    this.#unwarned = 0;
    log(
      "warn",
      `a write to the log took ${shown(ms)} ms, longer than the heartbeat interval ` +
        `(timings.heartbeatMs, ${String(timings.heartbeatMs)} ms)${more}. Every entry that waits for this node's disk ` +
        `takes that long to commit; a write over ${String(timings.storageStallMs)} ms (timings.storageStallMs) costs a ` +
        "leader its leadership. Look at its disk",
      { ms },
    );
  }
}

function shown(ms: number): string {
  return String(Math.round(ms));
}
