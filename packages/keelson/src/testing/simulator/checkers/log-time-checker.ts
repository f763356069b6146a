/**
 * Checks the log time that state machines are given.
 *
 * - TIME: at each index, every node's state machine is given the same log time, at whatever time and after
 *   whatever restarts, snapshots and changes of leader. It never falls from one command to the next, one
 *   entry moves it by `LOG_TIME_STEP_MS_MAX` at most, and it never runs ahead of the fastest clock.
 *
 * It knows nothing of how nodes compute log time. A node that begins at 0 after a snapshot, reads a clock of
 * its own, or takes a leader's reading for log time differs from the others, or from itself before.
 */
import { LOG_TIME_STEP_MS_MAX } from "../../../codec/session-entry.ts";
import type { LogIndex, NodeId } from "../../../core/position.ts";
import type { ApplyContext } from "../../../runtime/shared/index.ts";
import { assertInvariant } from "./violation.ts";

/** Log time is whole milliseconds, and a run's time is not. */
const ROUNDING_MS = 1;

/** See the file's header. */
export class LogTimeChecker {
  readonly #clockRateMax: number;
  /** By index of a command: what the node was told that applied it first. Grows with the run. */
  readonly #given = new Map<LogIndex, { readonly id: NodeId; readonly timeMs: number }>();

  /** `clockRateMax`: how fast the fastest clock of a node runs; 1 is right. */
  constructor(clockRateMax: number) {
    this.#clockRateMax = clockRateMax;
  }

  /** A node's state machine is given a command. `elapsedMs`: the true time since the run began. */
  applying(id: NodeId, { index, logTimeMs }: ApplyContext, elapsedMs: number): void {
    const text = `${id} tells its state machine ${String(logTimeMs)} ms of log time at ${String(index)}`;
    assertInvariant(Number.isSafeInteger(logTimeMs) && logTimeMs >= 0, "TIME", () => text);
    const first = this.#given.get(index);
    if (first !== undefined) {
      assertInvariant(
        first.timeMs === logTimeMs,
        "TIME",
        () => `${text}, and ${first.id} told its own ${String(first.timeMs)} ms there`,
      );
      return;
    }
    this.#given.set(index, { id, timeMs: logTimeMs });
    const before = this.#before(index);
    const movedMs = logTimeMs - before.timeMs;
    assertInvariant(
      movedMs >= 0,
      "TIME",
      () => `${text}, and it was ${String(before.timeMs)} ms at ${String(before.index)}`,
    );
    const entries = index - before.index;
    assertInvariant(
      movedMs <= entries * LOG_TIME_STEP_MS_MAX,
      "TIME",
      () => `${text}: ${String(movedMs)} ms more than ${String(entries)} entries before`,
    );
    assertInvariant(
      logTimeMs <= elapsedMs * this.#clockRateMax + ROUNDING_MS,
      "TIME",
      () => `${text}, and the cluster is ${String(elapsedMs)} ms old`,
    );
  }

  /**
   * The command before an entry. Some node has applied each command before any node applies a later one, so
   * it is known, and few entries hold no command.
   */
  #before(index: LogIndex): { readonly index: LogIndex; readonly timeMs: number } {
    for (let at = index - 1; at > 0; at--) {
      const given = this.#given.get(at);
      if (given !== undefined) return { index: at, timeMs: given.timeMs };
    }
    return { index: 0, timeMs: 0 };
  }
}
