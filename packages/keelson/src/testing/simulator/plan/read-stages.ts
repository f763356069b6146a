/** Stages about reads: of leaders that hear only nodes without a vote, and of sole voters that restart. */
import type { Chance } from "./chance.ts";
import { byTime, drawFaults } from "./draw-faults.ts";
import type { Fault } from "./faults.ts";
import type { Plan } from "./plan.ts";
import { busyClients, cluster } from "./stage-cluster.ts";

/**
 * Leaders are cut off with nodes that have no vote, while clients read from them: with their learners, or
 * with the members that they are removing (Q6). So many of these nodes answer that they would be a majority
 * if they counted.
 */
export function readQuorumStage(plan: Plan, chance: Chance): Plan {
  const hears = chance.pick(["learners", "removed"] as const);
  const staged = cluster(plan, 3, chance, hears === "learners" ? 2 : 3);
  const { max } = staged.electionTimeoutMs;
  const faults: Fault[] = [];
  const change = (at: number, how: "learn" | "add"): Fault => ({
    ...{ type: "change", at, how, crashLeaderAfterMs: null },
  });
  if (hears === "learners") faults.push(change(0, "learn"), change(max / 2, "learn"));
  const everyMs = max * chance.pick([3, 5]);
  for (let at = everyMs; at < staged.faultyMs; at += everyMs) {
    faults.push({ type: "leader-without-voters", at, hears, ms: max * chance.between(1, 2.5) });
    // The removed one's place is taken, so that another can be removed.
    if (hears === "removed") faults.push(change(at + everyMs * chance.between(0.3, 0.9), "add"));
  }
  return {
    ...staged,
    // Without it, a leader that hears no voter goes on leading until it hears of a later term.
    checkQuorum: chance.happens(0.5),
    keys: 2,
    ...busyClients(4, 0.5, staged.faultyMs),
    faults: byTime(faults),
  };
}

/**
 * A sole voter restarts again and again, and is asked as soon as it runs: it wins its election alone, but
 * what it had committed counts as committed only when an entry of its new term is durable (Q6, L1).
 */
export function soleVoterStage(plan: Plan, chance: Chance): Plan {
  const staged = cluster(plan, 1, chance);
  const everyMs = chance.pick([400, 700]);
  return {
    ...staged,
    durableState: chance.happens(0.3),
    diskMs: chance.pick([0.5, 2, 5]),
    keys: 2,
    leaseShare: chance.pick([0, 0.5]),
    ...busyClients(4, 0.5, staged.faultyMs),
    faults: drawFaults(chance, { everyMs, untilMs: staged.faultyMs }, (at) => ({
      ...{ type: "restart-under-reads", at, node: 0, ms: chance.pick([1, 20]), readsMs: everyMs / 2 },
    })),
  };
}
