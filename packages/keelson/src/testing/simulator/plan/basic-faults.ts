/** Draws the faults that any run may have, without regard to who leads or what the cluster is doing. */
import type { Chance } from "./chance.ts";
import { drawFaults, minorityOf, nodesOf, withMoreFaults } from "./draw-faults.ts";
import type { DiskErrorKind, Fault, FaultType } from "./faults.ts";
import { hasOnlyHarmlessFaults, type Plan } from "./plan.ts";

/** The types of fault that `drawBasicFaults` draws. */
export const BASIC_FAULT_TYPES = [
  "cut",
  "partition",
  "bridge",
  "lossy",
  "slow-network",
  "reset",
  "crash",
  "crash-all",
  "crash-at-storage-call",
  "pause",
  "late-timers",
  "slow-disk",
  "hanging-disk",
  "disk-error",
  "bit-flip",
  "slow-apply",
  "state-machine-failure",
  "quiet",
] as const;

/**
 * The types of `withAddedFaults`. They came later than the others, and are drawn from a random source of
 * their own, so that seeds without them kept their plans.
 */
const ADDED_FAULT_TYPES = ["crash-loop", "short-transfers", "lost-write", "lonely-leader"] as const;

export type BasicFaultType = (typeof BASIC_FAULT_TYPES)[number];
type AddedFaultType = (typeof ADDED_FAULT_TYPES)[number];

const DISK_ERRORS: readonly DiskErrorKind[] = [
  "io-error",
  "no-space",
  "short-write",
  "failed-sync",
  "read-error",
];

/** Misdirected writes miss by whole sectors, as disks do. */
const SECTOR_BYTES = 512;

/**
 * What is drawn for every fault, whether it needs it or not: so all faults take the same random numbers
 * before their own.
 */
interface Draw {
  readonly chance: Chance;
  readonly at: number;
  readonly nodes: readonly number[];
  /** The node that it hits, unless the fault chooses otherwise. */
  readonly node: number;
  /** How long it lasts: a mean is drawn first, so that there are short, medium and long faults. */
  readonly ms: number;
  /** The nodes that may lose acknowledged data. */
  readonly damageable: readonly number[];
}

/** How a fault of each type is drawn; null: it can't happen in this run. */
type Drawers<T extends FaultType> = {
  readonly [Type in T]: (draw: Draw) => Extract<Fault, { readonly type: Type }> | null;
};

export const DRAW_BASIC: Drawers<BasicFaultType> = {
  cut: ({ chance, at, node, nodes, ms }) => ({ type: "cut", at, from: node, to: chance.pick(nodes), ms }),
  partition: ({ chance, at, nodes, ms }) => ({
    type: "partition",
    at,
    side: chance.some(nodes, 0.5),
    oneWay: chance.happens(0.3),
    ms,
  }),
  bridge: ({ chance, at, node, nodes, ms }) => ({
    type: "bridge",
    at,
    bridge: node,
    side: chance.some(nodes, 0.5),
    ms,
  }),
  lossy: ({ chance, at, node, nodes, ms }) => ({
    type: "lossy",
    at,
    link: chance.happens(0.5) ? null : [node, chance.pick(nodes)],
    drop: chance.between(0, 0.4),
    duplicate: chance.between(0, 0.4),
    ms: ms * 3,
  }),
  "slow-network": ({ chance, at, ms }) => ({
    type: "slow-network",
    at,
    delayMs: chance.pick([5, 50, 300]),
    ms,
  }),
  reset: ({ chance, at, node, nodes }) => ({ type: "reset", at, a: node, b: chance.pick(nodes) }),
  crash: ({ at, node, ms }) => ({ type: "crash", at, node, ms }),
  "crash-all": ({ at, ms }) => ({ type: "crash-all", at, ms }),
  "crash-at-storage-call": ({ chance, at, node, ms }) => ({
    type: "crash-at-storage-call",
    at,
    node,
    calls: chance.whole(1, 12),
    ms,
  }),
  pause: ({ at, node, ms }) => ({ type: "pause", at, node, ms }),
  "late-timers": ({ chance, at, node, ms }) => ({
    type: "late-timers",
    at,
    node,
    byMs: chance.pick([5, 50, 400]),
    ms,
  }),
  "slow-disk": ({ chance, at, node, ms }) => ({
    type: "slow-disk",
    at,
    node,
    delayMs: chance.pick([1, 10, 100]),
    ms,
  }),
  "hanging-disk": ({ at, node, ms }) => ({ type: "hanging-disk", at, node, ms }),
  "disk-error": ({ chance, at, node }) => ({
    type: "disk-error",
    at,
    node,
    error: chance.pick(DISK_ERRORS),
    powerCutAfterMs: chance.happens(0.5) ? chance.time(400) : null,
  }),
  "bit-flip": ({ chance, at, ms, damageable }) =>
    damageable.length === 0 ? null : { type: "bit-flip", at, node: chance.pick(damageable), ms },
  "slow-apply": ({ chance, at, node, ms }) => ({
    type: "slow-apply",
    at,
    node,
    delayMs: chance.pick([1, 30, 300]),
    ms,
  }),
  "state-machine-failure": ({ at, node }) => ({ type: "state-machine-failure", at, node }),
  quiet: ({ at, ms }) => ({ type: "quiet", at, ms: ms * 2 }),
};

export const DRAW_ADDED: Drawers<AddedFaultType> = {
  "crash-loop": ({ chance, at, node }) => {
    const calls = [chance.whole(1, 12), ...[3, 5, 8].map((max) => chance.whole(1, max))];
    return { type: "crash-loop", at, node, calls, ms: chance.pick([1, 20, 200]) };
  },
  "short-transfers": ({ at, node, ms }) => ({ type: "short-transfers", at, node, ms: ms * 2 }),
  "lost-write": ({ chance, at, ms, damageable }) =>
    damageable.length === 0
      ? null
      : {
          type: "lost-write",
          at,
          node: chance.pick(damageable),
          elsewhereBy: chance.happens(0.5) ? null : SECTOR_BYTES * chance.pick([-8, -2, -1, 1, 2, 8]),
          forgotten: chance.happens(0.5),
          ms,
        },
  "lonely-leader": ({ chance, at }) => ({
    type: "lonely-leader",
    at,
    disk: chance.pick(["well", "slow", "hanging", "hanging"]),
    ms: chance.between(100, 900),
  }),
};

/** Faults of these types, all equally likely, at a rate that is drawn for the run. */
export function drawBasicFaults(
  chance: Chance,
  types: readonly BasicFaultType[],
  nodes: readonly number[],
  faultyMs: number,
): Fault[] {
  if (types.length === 0) return [];
  const everyMs = chance.pick([150, 500, 1_500]);
  const damageable = minorityOf(nodes, chance.some(nodes, 1));
  return drawFaults(chance, { everyMs, untilMs: faultyMs }, (at) => {
    const type = chance.pick(types);
    return DRAW_BASIC[type](newDraw(chance, at, nodes, damageable));
  });
}

/**
 * A third of the runs also have faults of one or two added types. A run with only harmless faults stays one.
 */
export function withAddedFaults(plan: Plan, chance: Chance): Plan {
  if (hasOnlyHarmlessFaults(plan) || !chance.happens(0.35)) return plan;
  const nodes = nodesOf(plan);
  const types = [chance.pick(ADDED_FAULT_TYPES), chance.pick(ADDED_FAULT_TYPES)];
  const flipped = plan.faults.flatMap((fault) => (fault.type === "bit-flip" ? [fault.node] : []));
  const damageable = minorityOf(nodes, [...new Set([...flipped, ...chance.shuffled(nodes)])]);
  const everyMs = chance.pick([150, 500, 1_500]);
  const faulty = withMoreFaults(plan, chance, everyMs, (at) => {
    const type = chance.pick(types);
    return DRAW_ADDED[type](newDraw(chance, at, nodes, damageable));
  });
  // Only a write of several sectors can be interrupted in the middle.
  const valueBytesMax = types.includes("crash-loop")
    ? chance.pick([plan.valueBytesMax, 2_000])
    : plan.valueBytesMax;
  return { ...faulty, valueBytesMax };
}

function newDraw(chance: Chance, at: number, nodes: readonly number[], damageable: readonly number[]): Draw {
  const node = chance.pick(nodes);
  const ms = chance.time(chance.pick([50, 300, 1_500]));
  return { chance, at, nodes, node, ms, damageable };
}
