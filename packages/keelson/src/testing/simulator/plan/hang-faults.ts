/** Adds state machines and snapshots' files that hang to a plan. */
import { Chance } from "./chance.ts";
import { byTime, withMoreFaults } from "./draw-faults.ts";
import type { Fault } from "./faults.ts";
import { hasOnlyHarmlessFaults, type Plan } from "./plan.ts";

/** The option `stateStallMs` of simulated nodes. A slow command (`slow-apply`) takes less. */
export const STATE_STALL_MS = 700;

/** The option `stateTimeoutMs` of simulated nodes. */
export const STATE_TIMEOUT_MS = 2_500;

/**
 * The option `storageTimeoutMs` of simulated nodes: a call to the disk that takes longer stops the node.
 * Faults that are meant to be survived are shorter.
 */
export const STORAGE_TIMEOUT_MS = 1_000;

/** So many milliseconds are added to the length of each hang, so that the node surely notices it. */
const NOTICED_MS = 600;

/**
 * In a quarter of the runs a part of a node other than its log hangs: for so long that another node should
 * lead, and sometimes for so long that the node should stop.
 */
export function withHangingParts(plan: Plan): Plan {
  const chance = new Chance(plan.seed ^ 0x4a_96);
  if (hasOnlyHarmlessFaults(plan) || !chance.happens(0.25)) return plan;
  const parts = plan.snapshots === null ? ["state-machine" as const] : PARTS;
  const everyMs = chance.pick([1_000, 3_000]);
  return withMoreFaults(plan, chance, everyMs, (at) => ({
    type: "hang-part",
    at,
    node: chance.happens(0.7) ? null : chance.whole(0, plan.nodes - 1),
    part: chance.pick(parts),
    ms: NOTICED_MS + (chance.happens(0.7) ? 2 * STATE_STALL_MS : 1.3 * STATE_TIMEOUT_MS),
  }));
}

const PARTS = ["state-machine", "snapshots"] as const;

/** The constant was chosen so that no seed that was kept before got such faults. */
const LONELY_STALLS_CONSTANT = 0x57_a101;

/**
 * In some of the runs with parts that hang, the leader whose state machine hangs is cut off as well. It has
 * resigned and is looking for votes when its stall is noticed.
 */
export function withLonelyStalls(plan: Plan): Plan {
  const chance = new Chance(plan.seed ^ LONELY_STALLS_CONSTANT);
  const hangs = plan.faults.filter(({ type }) => type === "hang-part");
  if (hangs.length === 0 || !chance.happens(0.5)) return plan;
  const cuts = hangs.map(({ at }): Fault => {
    return { type: "lonely-leader", at: at + 1, disk: "well", ms: 2 * STATE_STALL_MS };
  });
  return { ...plan, faults: byTime([...plan.faults, ...cuts]) };
}

/** The constant was chosen so that no seed that was kept before got such faults. */
const HANGING_LOGS_CONSTANT = 0x10_73b4;

/** So many writes begin a call to each disk that hangs. */
const HANGING_WRITES = 2;

/**
 * In a quarter of the runs disks hang for longer than a node may wait, each with one write under way, and
 * then clients stop calling: a node must notice a single call that doesn't return, without others after it.
 */
export function withHangingLogs(plan: Plan): Plan {
  const chance = new Chance(plan.seed ^ HANGING_LOGS_CONSTANT);
  if (hasOnlyHarmlessFaults(plan) || !chance.happens(0.25)) return plan;
  const ms = NOTICED_MS + 2 * STORAGE_TIMEOUT_MS;
  return withMoreFaults(plan, chance, ms, (at) => [
    { type: "hanging-disk", at, node: chance.whole(0, plan.nodes - 1), ms },
    { type: "burst", at: at + 1, node: null, writes: HANGING_WRITES },
    { type: "quiet", at: at + 2, ms },
  ]);
}
