import { describe, expect, it } from "vitest";

import type { Fault } from "../plan/faults.ts";
import { planOf } from "../plan/make-plan.ts";
import type { SimProcess } from "../world/sim-process.ts";
import { StruckFaults } from "./struck-faults.ts";

const CHANGE = { at: 0, how: "add", step: 1, reached: 0, crashAfterMs: null, ms: 100 } as const;

/** Faults whose handler does nothing where no node leads. */
const OF_LEADERS: readonly Fault[] = [
  { type: "stall-leader", at: 0, ms: 100 },
  { type: "leader-without-voters", at: 0, hears: "learners", ms: 100 },
  { type: "interrupt-change", ...CHANGE },
  {
    ...{ type: "busy-receivers", at: 0, receivers: 1, backlog: 5, writes: 5, applyMs: 2, restoreMs: 0 },
    ...{ takesOwn: false, handsOverAfterMs: null, ms: 100, busyMs: 100 },
  },
];

describe("StruckFaults", () => {
  it.each(OF_LEADERS)("counts a fault of leaders only if a node leads: $type", (fault) => {
    for (const leads of [false, true]) {
      // Of a process, these faults are asked only for whether it leads.
      const struck = new StruckFaults(planOf(1), [{ leads, isUp: true } as unknown as SimProcess]);
      struck.watch(fault, () => undefined);
      expect([...struck.types]).toEqual(leads ? [fault.type] : []);
    }
  });
});
