/**
 * A node's core, with the reference model and the checkers of duties beside it: after each input the model is
 * asked whether Raft allows what the core did, the checker of duties whether the core left out what it owed,
 * and the checker of turns whether the runtime carried out in time what the core had decided.
 */
import type { RaftNode } from "../../../core/node.ts";
import type { LogIndex, NodeId } from "../../../core/position.ts";
import { seenOf, watchCore } from "../../core/watched-core.ts";
import type { ModelSettings } from "../../model/index.ts";
import type { DutySettings } from "../checkers/duty.ts";
import type { ModelChecker } from "../checkers/model-checker.ts";
import { NodeDuties } from "../checkers/node-duties.ts";
import type { TurnChecker } from "../checkers/turn-checker.ts";
import { WakeChecker, type WakeTimes } from "../checkers/wake-checker.ts";

export interface ObservedCoreParts {
  readonly checker: ModelChecker;
  readonly turns: TurnChecker;
  readonly settings: ModelSettings & DutySettings;
  /** The time on the process's clock. */
  readonly now: number;
  /** Nothing has damaged the disk, so what was durable when the process ended must be there. */
  readonly keepsDisk: boolean;
  readonly isDead: () => boolean;
  /** The true time, and whether the process could do its work in time. */
  readonly times: () => WakeTimes;
  /** The core has found that it may answer a read under its lease. */
  readonly leaseHeld: (core: RaftNode) => void;
  /** The core has told the runtime that a leader offers a snapshot up to this entry. */
  readonly offered: (from: NodeId, index: LogIndex) => void;
  /** Gets what the model doesn't allow: it is for the run to report, not for the node to handle. */
  readonly report: (error: unknown) => void;
}

/** See the file's header. Called before the core's first input. */
export function observeCore(core: RaftNode, parts: ObservedCoreParts): void {
  const { checker, turns, settings, now, keepsDisk, isDead, times, leaseHeld, offered, report } = parts;
  const { id } = core;
  const check = (ask: () => void): void => {
    try {
      if (!isDead()) ask();
    } catch (error) {
      report(error);
    }
  };
  const duties = new NodeDuties(core, settings, now);
  const wakes = new WakeChecker(id);
  turns.started(id);
  check(() => {
    checker.started(id, settings, seenOf(core), now, keepsDisk);
  });
  watchCore(core, (input) => {
    check(() => {
      checker.stepped(id, input, seenOf(core));
      duties.stepped(input);
      const wakeTimes = times();
      wakes.stepped(input, wakeTimes);
      const { now: trueNow, resumedAt } = wakeTimes;
      turns.stepped(id, input, trueNow, resumedAt);
      const offer = input.type === "take" ? input.actions.installSnapshot : null;
      if (offer !== null) offered(offer.from, offer.last.index);
      if (input.type === "lease-read" && input.answer !== null) leaseHeld(core);
    });
  });
}

/** Whether a process could do its work in time, at this true time. */
export function wakeTimesOf(
  process: { readonly isPaused: boolean; readonly resumedAt: number; readonly timersAreLate: boolean },
  now: number,
): WakeTimes {
  const { isPaused, resumedAt, timersAreLate } = process;
  return { now, resumedAt: isPaused ? Infinity : resumedAt, timersAreLate };
}
