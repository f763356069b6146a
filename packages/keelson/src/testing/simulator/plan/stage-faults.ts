/**
 * Draws the faults of stages. One name may stand for several faults that only together bring something about.
 */
import type { Chance } from "./chance.ts";
import { drawFaults } from "./draw-faults.ts";
import type { Fault } from "./faults.ts";
import type { Plan } from "./plan.ts";

/** How long a state machine is slow, and a snapshot of it may be asked for. */
const SLOW_APPLY_MS = 150;

/**
 * How long until a process that stopped by itself runs again. `faults/process-faults.ts` restarts it after
 * 200 ms.
 */
const RESTARTED_AFTER_MS = 210;

/** What is drawn for every fault, whether it needs it or not. */
interface Draw {
  readonly chance: Chance;
  readonly plan: Plan;
  readonly at: number;
  readonly node: number;
  /** The longest election timeout. */
  readonly timeoutMs: number;
  readonly ms: number;
}

/** Faults of leaders, of the processes and of the network. */
const DRAW_COMMON = {
  transfer: ({ at }: Draw): Fault[] => [{ type: "transfer", at }],
  close: ({ at, node }: Draw): Fault[] => [{ type: "close", at, node }],
  crash: ({ at, node, chance }: Draw): Fault[] => [{ type: "crash", at, node, ms: chance.time(100) }],
  /** The leader is alone for a while, with entries that it told others of and couldn't commit. */
  "isolated-leader": ({ at, chance }: Draw): Fault[] => [
    { type: "lonely-leader", at, disk: "well", ms: chance.between(100, 600) },
  ],
  /**
   * Half of the nodes hear the others and aren't heard by them. A leader among the others hears from no
   * majority and steps down, although what it sent is stored, and may be committed by the next leader.
   */
  "one-way": ({ at, chance, plan, timeoutMs }: Draw): Fault[] => {
    const nodes = chance.shuffled([...plan.clockRates.keys()]);
    const side = nodes.slice(0, Math.ceil(plan.nodes / 2));
    return [{ type: "partition", at, side, oneWay: true, ms: timeoutMs * chance.between(2, 3.5) }];
  },
  /** A node is cut off and falls behind. */
  absence: ({ at, node, ms }: Draw): Fault[] => [{ type: "partition", at, side: [node], oneWay: false, ms }],
  lossy: ({ at, ms }: Draw): Fault[] => [lossy(at, ms, 0.2, 0.3)],
  "slow-network": ({ at, chance, ms }: Draw): Fault[] => [
    { type: "slow-network", at, delayMs: chance.pick([50, 150, 300]), ms },
  ],
  "late-copies": ({ at, chance, timeoutMs, ms }: Draw): Fault[] => [
    { type: "late-copies", at, share: 0.3, byMs: timeoutMs * chance.pick([0.5, 2]), ms: 3 * ms },
  ],
  stragglers: ({ at, chance, ms }: Draw): Fault[] => [
    { type: "stragglers", at, share: 0.2, byMs: chance.pick([200, 400]), ms: 3 * ms },
  ],
};

/** Faults of disks and snapshots. */
const DRAW_STORAGE = {
  "slow-disk": ({ at, node, chance, ms }: Draw): Fault[] => [
    { type: "slow-disk", at, node, delayMs: chance.pick([20, 100]), ms: 2 * ms },
  ],
  "disk-error": ({ at, node }: Draw): Fault[] => [
    { type: "disk-error", at, node, error: "io-error", powerCutAfterMs: null },
  ],
  /** A sync fails, the node stops, and the power fails soon after it was started again. */
  "failed-sync": ({ at, node, chance }: Draw): Fault[] => {
    const powerCutAfterMs = RESTARTED_AFTER_MS + chance.time(60);
    return [{ type: "disk-error", at, node, error: "failed-sync", powerCutAfterMs }];
  },
  "crash-loop": ({ at, node, chance }: Draw): Fault[] => {
    const calls = [chance.whole(1, 6), ...[3, 5, 8].map((most) => chance.whole(1, most))];
    return [{ type: "crash-loop", at, node, calls, ms: chance.pick([1, 20]) }];
  },
  /** A virtual machine is set back to how it was a moment or a while ago. */
  "roll-back": ({ at, node, chance }: Draw): Fault[] => [
    { type: "roll-back", at, node, ms: chance.pick([20, 100, 400]) },
  ],
  snapshot: ({ at, node }: Draw): Fault[] => [{ type: "snapshot", at, node }],
  /**
   * A snapshot is asked for while a batch is applied slowly. Then the node crashes, and starts from that
   * snapshot.
   */
  "snapshot-in-batch": ({ at, node, chance }: Draw): Fault[] => [
    { type: "slow-apply", at, node, delayMs: chance.pick([2, 10, 50]), ms: SLOW_APPLY_MS },
    { type: "snapshot", at: at + chance.between(0, SLOW_APPLY_MS), node },
    { type: "crash", at: at + SLOW_APPLY_MS + chance.time(50), node, ms: 20 },
  ],
  "snapshot-error-at-rename": ({ at, node, chance }: Draw): Fault[] => {
    const error = chance.pick(["no-handles", "no-handles", "read-error"] as const);
    return [{ type: "snapshot-error-at-rename", at, node, error, after: chance.pick([0, 0, 0, 1, 2]) }];
  },
  "failed-installation": ({ at, chance, timeoutMs }: Draw): Fault[] => [
    {
      type: "failed-installation",
      at,
      error: chance.pick(["no-handles", "no-handles", "read-error"] as const),
      hasOlder: chance.happens(0.5),
      ms: chance.between(150, 500),
      pauseMs: timeoutMs * chance.between(1.5, 3),
    },
  ],
  "crash-at-snapshot": ({ at, node, chance }: Draw): Fault[] => [
    { type: "crash-at-snapshot", at, node, calls: chance.whole(1, 6), ms: chance.pick([1, 20, 200]) },
  ],
  /** Always the same node, since only a minority may be damaged. It then starts from what it finds. */
  "spoil-snapshot": ({ at }: Draw): Fault[] => [
    { type: "spoil-snapshot", at, node: 0, patienceMs: 0, crashShare: 0.9 },
  ],
};

const DRAW_STAGED = { ...DRAW_COMMON, ...DRAW_STORAGE };

export type StagedFault = keyof typeof DRAW_STAGED;

/** Faults that `pick` names, at random times, for as long as the plan has any. */
export function drawStagedFaults(
  chance: Chance,
  plan: Plan,
  everyMs: number,
  pick: () => StagedFault,
): Fault[] {
  return drawFaults(chance, { everyMs, untilMs: plan.faultyMs }, (at) => {
    const type = pick();
    const node = chance.whole(0, plan.nodes - 1);
    const timeoutMs = plan.electionTimeoutMs.max;
    const ms = chance.time(timeoutMs);
    return DRAW_STAGED[type]({ chance, plan, at, node, timeoutMs, ms });
  });
}

/** All links lose and duplicate datagrams. */
export function lossy(at: number, ms: number, drop: number, duplicate: number): Fault {
  return { type: "lossy", at, link: null, drop, duplicate, ms };
}
