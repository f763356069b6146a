/**
 * Adds to a plan what comes from outside the cluster: peers that lie, and other processes on its directories.
 */
import type { Chance } from "./chance.ts";
import { withMoreFaults } from "./draw-faults.ts";
import { hasOnlyHarmlessFaults, type Plan } from "./plan.ts";

/** The share of runs that have peers that lie. */
const BESIEGED_SHARE = 0.08;

/** In some runs there are peers that lie, one after another or several at once. */
export function withHostilePeers(plan: Plan, chance: Chance): Plan {
  if (hasOnlyHarmlessFaults(plan) || !chance.happens(BESIEGED_SHARE)) return plan;
  const removes = plan.faults.some(({ type }) => type === "change" || type === "interrupt-change");
  return withMoreFaults(plan, chance, plan.faultyMs / 4, (at) => ({
    ...{ type: "hostile-peer", at, as: removes && chance.happens(0.5) ? "removed member" : "stranger" },
    everyMs: chance.pick([5, 50]),
    ms: plan.faultyMs * chance.between(0.1, 0.5),
  }));
}

/** Of the runs, the share in which another process opens nodes' logs. */
const OPENED_TWICE_SHARE = 0.1;

/** In some runs another process opens the log of a running node. It changes nothing else in the run. */
export function withSecondProcesses(plan: Plan, chance: Chance): Plan {
  if (!chance.happens(OPENED_TWICE_SHARE)) return plan;
  return withMoreFaults(plan, chance, plan.faultyMs / 4, (at) => ({
    ...{ type: "second-process", at, node: chance.whole(0, plan.nodes - 1) },
  }));
}

/** Of the runs, the share in which somebody tries to discard the logs of nodes. */
const BEGUN_ANEW_SHARE = 0.06;

/**
 * In some runs nodes die, and somebody wants them to begin anew with corrected addresses of the first
 * members.
 */
export function withDiscardedLogs(plan: Plan, chance: Chance): Plan {
  if (hasOnlyHarmlessFaults(plan) || !chance.happens(BEGUN_ANEW_SHARE)) return plan;
  return withMoreFaults(plan, chance, plan.faultyMs / 4, (at) => ({
    ...{ type: "begin-anew", at, node: chance.whole(0, plan.nodes - 1), ms: chance.time(100) },
  }));
}
