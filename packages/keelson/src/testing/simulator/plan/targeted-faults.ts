/**
 * Adds faults that aim at a moment or a node that the algorithm's rules are about, which random ones seldom
 * hit.
 */
import { Chance } from "./chance.ts";
import { byTime, drawFaults } from "./draw-faults.ts";
import type { Fault } from "./faults.ts";
import type { Plan } from "./plan.ts";

/** "strand-leader" finds the most bugs, so it stands twice and is drawn twice as often. */
const TARGETED_TYPES = [
  "strand-leader",
  "strand-leader",
  "busy",
  "freeze",
  "crash-voter",
  "slow-network",
  "late-copies",
] as const;

export type TargetedType = (typeof TARGETED_TYPES)[number];

/** A caller with little time: many of its calls end before their answers come. */
const SHORT_CALL_TIMEOUT_MS = 50;

/**
 * Four in ten runs have targeted faults, alone or beside the others; one in ten has callers with little time.
 */
export function withTargetedFaults(plan: Plan): Plan {
  // A random source of its own, so that the plans of all other seeds stay the same.
  const chance = new Chance(plan.seed ^ 0xa1_3ed);
  const callTimeoutMs = chance.happens(0.1) ? SHORT_CALL_TIMEOUT_MS : plan.callTimeoutMs;
  if (plan.nodes === 1 || !chance.happens(0.4)) return { ...plan, callTimeoutMs };
  const types = [chance.pick(TARGETED_TYPES), ...chance.some(TARGETED_TYPES, 0.3)];
  // Half of these runs have targeted faults only, and so far apart that there is a leader again to aim at.
  const standAlone = chance.happens(0.5);
  const everyMs = standAlone
    ? plan.electionTimeoutMs.max * chance.pick([4, 8])
    : chance.pick([150, 400, 1_000]);
  const targeted = drawFaults(chance, { everyMs, untilMs: plan.faultyMs }, (at) =>
    targetedFaultOf(chance, chance.pick(types), at, plan),
  );
  const faults = standAlone ? targeted : byTime([...plan.faults, ...targeted]);
  return { ...plan, callTimeoutMs, faults };
}

export function targetedFaultOf(chance: Chance, type: TargetedType, at: number, plan: Plan): Fault {
  const { nodes, electionTimeoutMs } = plan;
  const node = chance.whole(0, nodes - 1);
  // What matters in an election is measured in election timeouts.
  const ms = chance.time(electionTimeoutMs.max * chance.pick([1, 3]));
  switch (type) {
    case "strand-leader":
      return strandedLeader(chance, at, plan);
    case "busy":
      return { type, at, node, turnMs: chance.pick([20, 100, 300]), ms: ms * 2 };
    case "freeze":
      return { type, at, ms: electionTimeoutMs.max * chance.between(0.5, 1.5) };
    case "crash-voter":
      return { type, at, node, ms: chance.time(chance.pick([2, 20])) };
    case "late-copies":
      return { type, at, share: 0.2, byMs: electionTimeoutMs.max * chance.pick([1, 3]), ms: ms * 3 };
    case "slow-network":
      return { type, at, delayMs: electionTimeoutMs.max * chance.pick([1, 2]), ms: ms * 2 };
  }
}

/**
 * One of three kinds: the leader's timers are right, so it notices the cut; they are late, so it doesn't; or
 * its companions hear both leaders at once.
 */
function strandedLeader(chance: Chance, at: number, { nodes, electionTimeoutMs }: Plan): Fault {
  // With the leader they are a minority.
  const companionsMax = Math.max(0, Math.ceil(nodes / 2) - 2);
  const kind = chance.pick(["plain", "unaware", companionsMax > 0 ? "stunned" : "unaware"]);
  const stunned = kind === "stunned";
  const unaware = kind === "unaware";
  return {
    type: "strand-leader",
    at,
    companions: chance.whole(stunned ? 1 : 0, companionsMax),
    writes: chance.pick(stunned ? [2, 20] : [0, 2, 20]),
    readsAfterMs: unaware ? electionTimeoutMs.max * chance.between(0.7, 1.5) : chance.pick([null, 0]),
    lateTimers: unaware,
    answersMs: 0,
    stunned,
    // Mostly long enough for another leader to be elected.
    ms: electionTimeoutMs.max * chance.between(0.5, chance.pick([2, 4])),
  };
}
