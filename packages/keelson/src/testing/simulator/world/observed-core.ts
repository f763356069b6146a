/**
 * A node's core, with the reference model and the checker of duties beside it: after each input the model is
 * asked whether Raft allows what the core did, and the checker whether the core left out what it owed.
 */
import type { RaftNode } from "../../../core/node.ts";
import { seenOf, watchCore } from "../../core/watched-core.ts";
import type { ModelSettings } from "../../model/index.ts";
import type { DutySettings } from "../checkers/duty.ts";
import type { ModelChecker } from "../checkers/model-checker.ts";
import { NodeDuties } from "../checkers/node-duties.ts";

export interface ObservedCoreParts {
  readonly checker: ModelChecker;
  readonly settings: ModelSettings & DutySettings;
  /** The time on the process's clock. */
  readonly now: number;
  /** Nothing has damaged the disk, so what was durable when the process ended must be there. */
  readonly keepsDisk: boolean;
  readonly isDead: () => boolean;
  /** The core has found that it may answer a read under its lease. */
  readonly leaseHeld: (core: RaftNode) => void;
  /** Gets what the model doesn't allow: it is for the run to report, not for the node to handle. */
  readonly report: (error: unknown) => void;
}

/** See the file's header. Called before the core's first input. */
export function observeCore(core: RaftNode, parts: ObservedCoreParts): void {
  const { checker, settings, now, keepsDisk, isDead, leaseHeld, report } = parts;
  const { id } = core;
  const check = (ask: () => void): void => {
    try {
      if (!isDead()) ask();
    } catch (error) {
      report(error);
    }
  };
  const duties = new NodeDuties(core, settings, now);
  check(() => {
    checker.started(id, settings, seenOf(core), now, keepsDisk);
  });
  watchCore(core, (input) => {
    check(() => {
      checker.stepped(id, input, seenOf(core));
      duties.stepped(input);
      if (input.type === "lease-read" && input.answer !== null) leaseHeld(core);
    });
  });
}
