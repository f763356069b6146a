import { describe, expect, it } from "vitest";
import type { RaftNode } from "../../core/node.ts";
import { simulatedWorld } from "../../environment/simulated/simulated-environment.ts";
import { LeaderMaintenance } from "./leader-maintenance.ts";

const EVERY_MS = 100;

const nothing = (): void => undefined;

/** A leader "a" of three voters. `transfers`: to whom it began to transfer leadership, in which run. */
function leading() {
  const core = {
    ...{ role: "leader", takesCommands: true, termStartCommitted: true },
    config: { voters: ["a", "b", "c"] },
    progress: (id: string) => (id === "a" ? undefined : { state: "replicate", recentlyActive: true }),
  };
  const priorities = new Map([["b", 5]]);
  const transfers: { to: string; run: number }[] = [];
  const { clock, environment } = simulatedWorld({ seed: 1 });
  const begin = clock.now();
  const maintenance = new LeaderMaintenance({
    core: core as unknown as RaftNode,
    environment: environment("a"),
    ...{ everyMs: EVERY_MS, priority: 0, priorityOf: (id: string) => priorities.get(id) ?? 0 },
    ...{ recordStoreIds: nothing, beginTime: nothing, tellTime: nothing, tellLostMembers: nothing },
    transferTo: (to) => {
      transfers.push({ to, run: (clock.now() - begin) / EVERY_MS });
    },
  });
  maintenance.afterCoreInput();
  const run = (times: number): Promise<void> => clock.advance(times * EVERY_MS);
  return { core, maintenance, priorities, transfers, run };
}

describe("a leader whose voter with a higher priority never takes over", () => {
  it("tries again less and less often", async () => {
    const { transfers, run } = leading();
    await run(1_500);
    expect(transfers.every(({ to }) => to === "b")).toBe(true);
    expect(transfers.map(({ run: at }) => at)).toEqual([1, 12, 33, 74, 155, 316, 637, 958, 1279]);
  });

  it("tries another voter, and the same one when it leads again, without a longer wait", async () => {
    const { core, maintenance, priorities, transfers, run } = leading();
    await run(100);
    expect(transfers.length).toBe(4);
    priorities.set("c", 9);
    await run(1);
    expect(transfers.at(-1)).toEqual({ to: "c", run: 101 });
    core.role = "follower";
    maintenance.afterCoreInput();
    core.role = "leader";
    priorities.delete("c");
    maintenance.afterCoreInput();
    transfers.length = 0;
    await run(12);
    expect(transfers.length).toBe(2);
  });
});
