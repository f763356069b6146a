// Counts log time on the leader: the clock of the session entries that it proposes.
import { LOG_TIME_STEP_MS_MAX } from "../../codec/session-entry.ts";
import type { RaftNode } from "../../core/node.ts";
import type { Term } from "../../core/position.ts";
import type { Environment } from "../../environment/environment.ts";
import type { SessionTable } from "./session-table.ts";

/**
 * A leader moves log time forward when it has stood still for so many milliseconds, if anything depends on
 * it: open sessions, or a state machine that uses it. Half of a step, because one entry moves log time by a
 * step at most: waiting for longer could let it fall behind.
 */
const STILL_MS_MAX = LOG_TIME_STEP_MS_MAX / 2;

export interface LogClockParts {
  readonly core: Pick<RaftNode, "term">;
  readonly environment: Pick<Environment, "now">;
  readonly table: Pick<SessionTable, "logTimeMs" | "size" | "isKnown">;
  /** The precision that the state machine wants (`StateMachine.logTimeStepMs`); null: it wants no time. */
  readonly stepMs: number | null;
}

/**
 * Counts log time by this node's monotonic clock while it leads (Z13).
 *
 * The wall clock is not used: it may be set an hour ahead, which would end sessions that were used a second
 * ago, or back, and then none would end for an hour. A leader goes on from the log time that its table has,
 * and adds the time that passes while it leads. So log time stands still during elections, and while a
 * machine is suspended: sessions then live longer, which only costs memory.
 *
 * A reading is never more than one step above the applied log time. Otherwise a leader that could propose
 * nothing for an hour would move log time by the whole hour with its next few entries, and end sessions that
 * are in use.
 */
export class LogClock {
  readonly #parts: LogClockParts;
  /** The term for which the fields below count; 0: none yet. */
  #term: Term = 0;
  /**
   * The last reading, in whole milliseconds of log time. Never above the applied log time by more than a
   * step.
   */
  #readingMs = 0;
  /** The time of the last reading, in milliseconds of the environment's clock. */
  #readAt = 0;

  constructor(parts: LogClockParts) {
    this.#parts = parts;
  }

  /** Called while the node leads. In each term, time counts from the first call on. */
  begin(): void {
    const { core, environment, table } = this.#parts;
    if (core.term === this.#term) return;
    this.#term = core.term;
    this.#readingMs = table.logTimeMs;
    this.#readAt = environment.now();
  }

  /** The log time to put into an entry that is proposed now. */
  read(): number {
    this.begin();
    const { environment, table } = this.#parts;
    const passed = Math.floor(environment.now() - this.#readAt);
    const counted = Math.max(this.#readingMs + passed, table.logTimeMs);
    this.#readingMs = Math.min(counted, table.logTimeMs + LOG_TIME_STEP_MS_MAX);
    this.#readAt += passed;
    return this.#readingMs;
  }

  /**
   * Whether to propose an entry that only moves log time: sessions are open, or the state machine uses log
   * time, and this leader has read it for no entry within `STILL_MS_MAX`. Without such entries, sessions that
   * nobody uses would never expire, and log time would fall behind while no command comes.
   */
  get isTickDue(): boolean {
    const { environment, table } = this.#parts;
    const isUsed = table.size > 0 || this.#tellsStateMachine;
    return isUsed && environment.now() - this.#readAt >= STILL_MS_MAX;
  }

  /**
   * Whether to propose such an entry right before a command: the state machine uses log time, and this leader
   * has read it for no entry within its step.
   */
  get isStepDue(): boolean {
    const { stepMs, environment } = this.#parts;
    if (stepMs === null || !this.#tellsStateMachine) return false;
    this.begin();
    return environment.now() - this.#readAt >= stepMs;
  }

  /**
   * Whether log time has to move for the state machine. A table that isn't known has no log time: an entry
   * that moves it would stop this node.
   */
  get #tellsStateMachine(): boolean {
    const { stepMs, table } = this.#parts;
    return stepMs !== null && table.isKnown;
  }
}
