/** What stages begin with: a cluster without anything special, and clients that keep it busy. */
import type { Chance } from "./chance.ts";
import { PLAIN_USAGE, type Plan } from "./plan.ts";
import { CALL_TIMEOUT_MS, CALLS_MAX } from "./workload.ts";

/** A session with this time to live outlives the run. */
export const LONG_TTL_MS = 60_000;

/** Clients that call as often as the limit on calls in one run allows. */
export function busyClients(
  count: number,
  readShare: number,
  faultyMs: number,
): Pick<Plan, "clients" | "thinkMs" | "readShare"> {
  return { clients: count, thinkMs: (count * faultyMs) / CALLS_MAX, readShare };
}

/** A plan without anything special: so many members, so many nodes to spare, clocks that are right. */
export function cluster(plan: Plan, members: number, chance: Chance, spares = 0): Plan {
  const all = Array.from({ length: members + spares }, (_, node) => node);
  return {
    ...plan,
    nodes: all.length,
    spares,
    clockRates: all.map(() => 1),
    wallOffsetsMs: all.map(() => 0),
    initializers: [0],
    initializeAfterMs: 0,
    priorities: [],
    callTimeoutMs: CALL_TIMEOUT_MS,
    leaseShare: 0,
    staleShare: 0,
    usage: PLAIN_USAGE,
    sessions: null,
    snapshots: null,
    shortReads: false,
    electionTimeoutMs: { min: 150, max: 300 },
    heartbeatMs: 40,
    faultyMs: chance.pick([2_000, 4_000]),
  };
}
