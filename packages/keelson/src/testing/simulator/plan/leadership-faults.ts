/**
 * Adds faults of leadership to a plan: transfers, closing nodes, stalled disks; and to some plans lease
 * reads, with leaders that are cut off while they are read from.
 */
import { Chance } from "./chance.ts";
import { withMoreFaults } from "./draw-faults.ts";
import type { FaultType } from "./faults.ts";
import type { Plan } from "./plan.ts";

const LEADERSHIP_FAULTS = ["transfer", "close"] as const satisfies readonly FaultType[];

/**
 * The disk of a leader hangs for so many milliseconds more than `storageStallMs`, so that the leader notices
 * it.
 */
const STALL_MARGIN_MS = 350;

/**
 * Three in ten runs move leadership about; some of them have priorities, and leaders that must not wait for
 * their disk.
 */
export function withLeadershipFaults(plan: Plan, chance: Chance): Plan {
  if (plan.nodes === 1 || !chance.happens(0.3)) return plan;
  const everyMs = chance.pick([200, 600, 1_500]);
  const types = chance.happens(0.5) ? LEADERSHIP_FAULTS : [chance.pick(LEADERSHIP_FAULTS)];
  const faulty = withMoreFaults(plan, chance, everyMs, (at) =>
    chance.pick(types) === "transfer"
      ? { type: "transfer", at }
      : { type: "close", at, node: chance.whole(0, plan.nodes - 1) },
  );
  const hasPriorities = chance.happens(0.3);
  const priorities = hasPriorities ? plan.clockRates.map(() => chance.whole(0, 2)) : plan.priorities;
  const storageStallMs = chance.pick([plan.storageStallMs, 300, 600]);
  const led = { ...faulty, priorities, storageStallMs };
  return storageStallMs < plan.storageStallMs ? withLeaderStalls(led) : led;
}

/**
 * In half of the runs whose `storageStallMs` is shorter than usual, leaders' disks hang for longer than that.
 */
function withLeaderStalls(plan: Plan): Plan {
  const chance = new Chance(plan.seed ^ 0x57a_11);
  if (!chance.happens(0.5)) return plan;
  // Shorter than `storageTimeoutMs`, or the node would stop.
  const ms = plan.storageStallMs + STALL_MARGIN_MS;
  return withMoreFaults(plan, chance, 3 * ms, (at) => ({ type: "stall-leader", at, ms }));
}

/**
 * A third of the runs have lease reads, a fifth stale reads. In runs with lease reads, the nodes are told
 * exactly how far their clocks drift, so a leader that trusts its lease for any longer is wrong.
 */
export function withWeakReads(plan: Plan, isHarmless: boolean): Plan {
  const chance = new Chance(plan.seed ^ 0x1ea5e);
  const leaseShare = chance.happens(0.35) ? chance.pick([0.5, 1]) : 0;
  const staleShare = chance.happens(0.2) ? 0.2 : 0;
  const drift = Math.max(...plan.clockRates.map((rate) => Math.abs(rate - 1)));
  if (leaseShare === 0) return { ...plan, staleShare };
  const weak = { ...plan, leaseShare, staleShare, clockDriftMax: drift };
  if (!plan.checkQuorum || plan.nodes - plan.spares < 3 || isHarmless) return weak;
  return chance.happens(0.6) ? withIsolatedLeaseholders(weak, chance) : weak;
}

/**
 * Adds leaders that are cut off, mostly without noticing it, and are read from while another may lead
 * already: only then can a lease be wrong.
 */
function withIsolatedLeaseholders(plan: Plan, chance: Chance): Plan {
  const { min, max } = plan.electionTimeoutMs;
  const slow = new Chance(plan.seed ^ 0x51_0e);
  const answersMs = slow.happens(0.4) ? max * slow.between(0.5, 0.9) : 0;
  return withMoreFaults(plan, chance, max * chance.pick([4, 8]), (at) => ({
    type: "strand-leader",
    at,
    companions: 0,
    writes: chance.pick([0, 2]),
    readsAfterMs: min * chance.between(0.5, 1.5),
    lateTimers: chance.happens(0.7),
    answersMs,
    stunned: false,
    ms: max * chance.between(1.5, 3),
  }));
}
