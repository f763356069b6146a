// Notices calls to the state machine and to the snapshot store that make no progress.
//
// Hazard: heartbeats depend on neither part. Without a watch, a leader whose state machine hangs would lead
// on and serve nothing, and a node whose snapshot store hangs would never catch up, or would let its log grow
// without an end. Rule: after a stall (`stateStallMs` without progress) the node neither leads nor campaigns;
// after a hang (`stateTimeoutMs`) it stops, with an error that names the part and the call. A restart may
// find the part working again.
//
// The time since a call's last progress counts, not its total time: restoring a large snapshot takes as long
// as it takes.
//
// Like the storage watchdog, it counts checks and not time: a paused process (a debugger, a suspended
// machine) must not look like a hang. A pause adds one check, and answers that came meanwhile are handled
// before the next.
import type { Environment, Timer } from "../../environment/environment.ts";
import type { RaftTimings, StallMetrics, WatchedPart } from "../shared/index.ts";

/** Checks during `stateStallMs`. A stall is noticed up to one check interval after that time. */
const CHECKS_PER_STALL = 4;

/** The parts as log lines and errors name them. */
const NAMES: Readonly<Record<WatchedPart, string>> = {
  log: "the log",
  "state-machine": "the state machine",
  "snapshot-store": "the snapshot store",
};

/** A call that is being watched. */
interface PendingCall {
  readonly part: WatchedPart;
  /** What the call is, for messages: "applying entry 17". */
  readonly what: string;
  /** How many checks have found it pending since its last progress. */
  checksSeen: number;
  /** When it began or made progress last, in ms of the environment's clock. Only for messages and metrics. */
  progressAt: number;
  /**
   * Whether it waits for another part. That part's calls are watched themselves, so the wait isn't held
   * against this call.
   */
  isWaiting: boolean;
  /** Whether `StallWatch.progress` counts for it. */
  readonly sharesProgress: boolean;
}

/** What a watched call reports about itself. */
export interface WatchedCall {
  /** It has done a piece of its work. Also ends a wait. */
  progress(): void;
  /** It waits for another part, until `progress`. That time doesn't count. */
  wait(): void;
}

/** A call that has made no progress for so long that it is given up. */
export interface Hang {
  readonly part: WatchedPart;
  /** A clause for messages that names the part, the call and the limit. */
  readonly message: string;
}

/** What a watch reports, apart from its log lines. */
export interface StallWatchHost {
  /**
   * Called with true when a call stalls while no other is stalled, and with false when none is stalled any
   * more.
   */
  stallChanged(isStalled: boolean): void;
  /** Called when a call hangs, which means that the node must stop. */
  hung(hang: Hang): void;
}

/** How a call is watched. */
export interface WatchedCallOptions {
  /** Whether `StallWatch.progress` counts for this call. Default true. */
  readonly sharesProgress?: boolean;
}

/** Watches calls: tells its host when one has stalled, when none is stalled any more, and when one hangs. */
export class StallWatch {
  readonly #environment: Environment;
  readonly #log: (level: "info" | "warn", text: string) => void;
  /** Between two checks, in ms. */
  readonly #intervalMs: number;
  readonly #stallMs: number;
  readonly #timeoutMs: number;
  /** Set by `attach`: by the opening of the node, and then by the node. */
  #host: StallWatchHost | null = null;
  /** The calls in progress, oldest first. */
  readonly #pending = new Set<PendingCall>();
  /** Those of them that have stalled, in the order in which they did. */
  readonly #stalled = new Set<PendingCall>();
  /** Fires at the next check; null: nothing is pending, so an idle node has no timer. */
  #timer: Timer | null = null;
  /** Set once, by `stop`. No check happens after that. */
  #stopped = false;

  constructor(
    environment: Environment,
    { stateStallMs, stateTimeoutMs }: RaftTimings,
    log: (level: "info" | "warn", text: string) => void,
  ) {
    this.#environment = environment;
    this.#log = log;
    this.#stallMs = stateStallMs;
    this.#timeoutMs = stateTimeoutMs;
    this.#intervalMs = stateStallMs / CHECKS_PER_STALL;
  }

  /** Names the host that is told from now on. It is told of a present stall at once. */
  attach(host: StallWatchHost): void {
    this.#host = host;
    if (this.#stalled.size > 0) host.stallChanged(true);
  }

  /** The call that has stalled for the longest; null: none has. */
  get stall(): StallMetrics | null {
    const [first] = this.#stalled;
    if (first === undefined) return null;
    return { part: first.part, call: first.what, ms: this.#environment.now() - first.progressAt };
  }

  /** Runs a call, watches it until it settles, and settles with its outcome. A hang doesn't end it. */
  async monitor<T>(
    part: WatchedPart,
    what: string,
    run: (call: WatchedCall) => Promise<T>,
    { sharesProgress = true }: WatchedCallOptions = {},
  ): Promise<T> {
    const pending: PendingCall = {
      ...{ part, what, sharesProgress },
      ...{ checksSeen: 0, progressAt: this.#environment.now(), isWaiting: false },
    };
    this.#pending.add(pending);
    this.#startTimer();
    try {
      return await run({
        progress: () => {
          this.#progress(pending);
        },
        wait: () => {
          this.#progress(pending);
          pending.isWaiting = true;
        },
      });
    } finally {
      this.#pending.delete(pending);
      this.#endStall(pending);
    }
  }

  /** The part has done a piece of its work: its calls that share progress count as begun just now. */
  progress(part: WatchedPart): void {
    for (const pending of this.#pending) {
      if (pending.part === part && pending.sharesProgress && !pending.isWaiting) this.#progress(pending);
    }
  }

  /** Ends all watching. A node that has stopped reports nothing. */
  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#timer = null;
  }

  #progress(pending: PendingCall): void {
    pending.checksSeen = 0;
    pending.progressAt = this.#environment.now();
    pending.isWaiting = false;
    this.#endStall(pending);
  }

  #endStall(pending: PendingCall): void {
    if (!this.#stalled.delete(pending) || this.#stalled.size > 0 || this.#stopped) return;
    this.#log("info", `${NAMES[pending.part]} goes on after a stall: ${pending.what}`);
    this.#host?.stallChanged(false);
  }

  #startTimer(): void {
    if (this.#timer !== null || this.#stopped) return;
    this.#timer = this.#environment.setTimer(this.#intervalMs, () => {
      this.#timer = null;
      this.#check();
    });
  }

  #check(): void {
    for (const pending of [...this.#pending]) {
      if (pending.isWaiting) continue;
      pending.checksSeen += 1;
      if (pending.checksSeen > CHECKS_PER_STALL && !this.#stalled.has(pending)) this.#onStall(pending);
      if (pending.checksSeen * this.#intervalMs > this.#timeoutMs) {
        this.#onHang(pending);
        if (this.#stopped) return;
      }
    }
    if (this.#pending.size > 0) this.#startTimer();
  }

  #onStall(pending: PendingCall): void {
    this.#stalled.add(pending);
    this.#log(
      "warn",
      `${NAMES[pending.part]} makes no progress: ${pending.what} has taken more than ${String(this.#stallMs)} ms`,
    );
    if (this.#stalled.size === 1) this.#host?.stallChanged(true);
  }

  #onHang(pending: PendingCall): void {
    const { part, what } = pending;
    this.#pending.delete(pending);
    const message = `${NAMES[part]} hangs: ${what} has made no progress for ${String(this.#timeoutMs)} ms`;
    this.#host?.hung({ part, message });
  }
}
