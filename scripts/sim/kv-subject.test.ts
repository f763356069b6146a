import { planOf, simulate, type Plan } from "keelson/testing";
import { describe, expect, it } from "vitest";

import { kvSubject } from "./kv-subject.ts";

/** Runs are shortened here. `npm run sim -- --store kv` runs whole seeds, in large numbers. */
const SEEDS_EACH = 5;
/** How many seeds are tried to find the first that shows it. */
const SEEDS_MAX = 10;
const SHORT = { faultyMs: 400, clients: 2, thinkMs: 20 } as const;

function shortened(plan: Plan): Plan {
  return { ...plan, ...SHORT, faults: plan.faults.filter(({ at }) => at < SHORT.faultyMs) };
}

describe("the server's state machine, simulated", () => {
  it.each([1, 6, 11, 16])(
    "is linearizable, and equal on all nodes, with the seeds from %i on",
    async (from) => {
      let writes = 0;
      for (let seed = from; seed < from + SEEDS_EACH; seed++) {
        const { violation, clients } = await simulate(shortened(planOf(seed)), { subject: kvSubject });
        expect(violation, `seed ${seed}`).toBeNull();
        writes += clients.writesDone;
      }
      expect(writes).toBeGreaterThan(SEEDS_EACH);
    },
  );

  it("loses part of its state to power cuts, notices it, and recovers the state", async () => {
    const crashes = [200, 350, 500, 650, 800, 950].map((at) => ({ type: "crash-all", at, ms: 20 }) as const);
    const calm = {
      ...planOf(1),
      durableState: true,
      nodes: 3,
      spares: 0,
      clockRates: [1, 1, 1],
      initializers: [0],
    };
    let rebuilt = 0;
    for (let seed = 1; rebuilt === 0 && seed <= SEEDS_MAX; seed++) {
      const plan: Plan = { ...calm, seed, clients: 3, thinkMs: 5, faultyMs: 1_000, faults: crashes };
      const { violation } = await simulate(plan, {
        subject: (of) => kvSubject(of, () => (rebuilt += 1)),
      });
      expect(violation, `seed ${seed}`).toBeNull();
    }
    expect(rebuilt).toBeGreaterThan(0);
  });
});
