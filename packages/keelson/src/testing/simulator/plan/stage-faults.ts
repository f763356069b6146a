/**
 * Draws the faults of stages. One name may stand for several faults that only together bring something about.
 */
import type { Chance } from "./chance.ts";
import { drawFaults } from "./draw-faults.ts";
import type { Fault } from "./faults.ts";
import type { Plan } from "./plan.ts";

/** How long a state machine is slow. Within this time it is asked for a snapshot. */
const SLOW_APPLY_MS = 150;

/** About how long the writes of a burst are under way, in milliseconds. */
const BUSY_MS = 20;

/**
 * How long until a process that stopped by itself runs again. `faults/process-faults.ts` restarts it after
 * 200 ms.
 */
const RESTARTED_AFTER_MS = 210;

/**
 * What is drawn for every fault, whether it needs it or not: so all faults take the same random numbers
 * before their own.
 */
interface Draw {
  readonly chance: Chance;
  readonly plan: Plan;
  readonly at: number;
  readonly node: number;
  /** The longest election timeout. */
  readonly timeoutMs: number;
  readonly ms: number;
}

/** How each fault of leaders, processes and the network is drawn. */
const DRAW_COMMON = {
  transfer: ({ at }: Draw): Fault[] => [{ type: "transfer", at }],
  close: ({ at, node }: Draw): Fault[] => [{ type: "close", at, node }],
  crash: ({ at, node, chance }: Draw): Fault[] => [{ type: "crash", at, node, ms: chance.time(100) }],
  /** The leader gets more writes at once than one turn, or one write to a disk, takes. */
  burst: ({ at, chance }: Draw): Fault[] => [burst(at, null, chance)],
  /** A node gets writes, and closes or crashes while they are under way. */
  "busy-close": ({ at, node, chance }: Draw): Fault[] => {
    const ends: Fault = { type: "close", at: at + chance.between(0, BUSY_MS), node };
    return [burst(at, node, chance), ends];
  },
  destroy: ({ at, node }: Draw): Fault[] => [{ type: "destroy", at, node, atVote: false }],
  /**
   * The leader is cut off with entries that it can't commit, and the node that would succeed it is lost as it
   * gets its vote. Then the nodes that voted for it have the later term, and the old leader has the longer
   * log.
   */
  "lost-candidate": ({ at, node, chance, timeoutMs }: Draw): Fault[] => {
    const ms = timeoutMs * chance.between(1.5, 4);
    const stranded = { companions: 0, readsAfterMs: null, lateTimers: false, answersMs: 0, stunned: false };
    return [
      { type: "strand-leader", at, writes: chance.pick([0, 2, 5]), ms, ...stranded },
      { type: "destroy", at: at + 1, node, atVote: true },
    ];
  },
  /** The leader is cut off alone, with entries that it has sent and couldn't commit. */
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

/** How each fault of disks and snapshots is drawn. */
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
  /**
   * The power fails in the middle of one long write, and then again and again soon after the node is up, when
   * it has written little: what the first failure left of the long write still stands behind that.
   */
  "torn-burst": ({ at, node, chance }: Draw): Fault[] => {
    const calls = [2, ...[6, 9, 9, 9].map((most) => chance.whole(3, most))];
    return [{ type: "crash-loop", at, node, calls, ms: chance.pick([1, 20]) }, burst(at, null, chance)];
  },
  /** A virtual machine is set back to how it was 20 to 400 ms before. */
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
  /**
   * A snapshot is taken slowly while commands go on, and the node starts again from it, or another node is
   * sent it.
   */
  "snapshot-under-load": ({ at, node, chance, timeoutMs }: Draw): Fault[] => {
    const takenAfterMs = chance.between(0, 20);
    const endsAt = at + takenAfterMs + chance.between(40, 150);
    return [
      burst(at, null, chance),
      { type: "slow-disk", at, node, delayMs: chance.pick([2, 10]), ms: SLOW_APPLY_MS },
      { type: "slow-apply", at, node, delayMs: chance.pick([1, 2, 10]), ms: SLOW_APPLY_MS },
      { type: "snapshot", at: at + takenAfterMs, node },
      chance.happens(0.7)
        ? { type: "crash", at: endsAt, node, ms: chance.pick([1, 20]) }
        : { type: "partition", at: endsAt, side: [node], oneWay: false, ms: timeoutMs },
    ];
  },
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
  "contested-fetch": ({ at, chance }: Draw): Fault[] => [
    {
      type: "contested-fetch",
      at,
      ms: chance.between(100, 300),
      logDelayMs: chance.pick([0, 5, 20]),
      applyDelayMs: chance.pick([0, 5, 20]),
      until: chance.pick(["log", "state"]),
      entriesLeft: chance.whole(0, 4),
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

export const DRAW_STAGED: Readonly<Record<StagedFault, (draw: Draw) => Fault[]>> = {
  ...DRAW_COMMON,
  ...DRAW_STORAGE,
};

export type StagedFault = keyof typeof DRAW_COMMON | keyof typeof DRAW_STORAGE;

/** Faults that `pick` names, at random times, for as long as the plan has any. */
export function drawStagedFaults(
  chance: Chance,
  plan: Plan,
  everyMs: number,
  pick: () => StagedFault,
): Fault[] {
  return drawFaults(chance, { everyMs, untilMs: plan.faultyMs }, (at) =>
    drawStagedFaultAt(chance, plan, at, pick()),
  );
}

/** A fault of this name at this time. */
export function drawStagedFaultAt(chance: Chance, plan: Plan, at: number, type: StagedFault): Fault[] {
  const node = chance.whole(0, plan.nodes - 1);
  const timeoutMs = plan.electionTimeoutMs.max;
  const ms = chance.time(timeoutMs);
  return DRAW_STAGED[type]({ chance, plan, at, node, timeoutMs, ms });
}

function burst(at: number, node: number | null, chance: Chance): Fault {
  return { type: "burst", at, node, writes: chance.pick([3, 8, 15]) };
}

/** The operator is asked for so many learners, one after another. */
export function learnersJoin(count: number, firstAt: number, everyMs: number): Fault[] {
  return Array.from({ length: count }, (_, number) => ({
    ...{ type: "change", at: firstAt + everyMs * number, how: "learn", crashLeaderAfterMs: null },
  }));
}

/** All links lose and duplicate datagrams. */
export function lossy(at: number, ms: number, drop: number, duplicate: number): Fault {
  return { type: "lossy", at, link: null, drop, duplicate, ms };
}
