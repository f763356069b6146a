import { Chance } from "./chance.ts";
import type { TargetedFault, Fault } from "./faults.ts";
import type { Plan } from "./plan.ts";

type TargetedType = TargetedFault["type"] | "slow-network";

/** The one that finds most comes most. */
const TARGETED_TYPES: readonly TargetedType[] = [
  "strand-leader",
  "strand-leader",
  "busy",
  "freeze",
  "crash-voter",
  "slow-network",
  "late-copies",
];

/** A caller may be in a hurry: many calls then end before their answer comes. */
const SHORT_CALL_TIMEOUT_MS = 50;

/** Some runs have aimed faults, alone or on top of the others, and some have callers in a hurry. */
export function withTargetedFaults(plan: Plan): Plan {
  // From a source of its own, so that all other seeds stay what they were.
  const chance = new Chance(plan.seed ^ 0xa1_3ed);
  const callTimeoutMs = chance.happens(0.1) ? SHORT_CALL_TIMEOUT_MS : plan.callTimeoutMs;
  if (plan.nodes === 1 || !chance.happens(0.4)) return { ...plan, callTimeoutMs };
  const types = [chance.pick(TARGETED_TYPES), ...chance.some(TARGETED_TYPES, 0.3)];
  // Some of them alone, and so seldom that there is a leader again to aim at.
  const isStaged = chance.happens(0.5);
  const everyMs = isStaged
    ? plan.electionTimeoutMs.max * chance.pick([4, 8])
    : chance.pick([150, 400, 1_000]);
  const faults = isStaged ? [] : [...plan.faults];
  for (let at = chance.time(everyMs); at < plan.faultyMs; at += chance.time(everyMs)) {
    faults.push(targetedFaultOf(chance, chance.pick(types), at, plan));
  }
  return { ...plan, callTimeoutMs, faults: faults.sort((a, b) => a.at - b.at) };
}

function targetedFaultOf(chance: Chance, type: TargetedType, at: number, plan: Plan): Fault {
  const { nodes, electionTimeoutMs } = plan;
  const node = chance.whole(0, nodes - 1);
  // What counts in an election is measured by the time that elections take.
  const ms = chance.time(electionTimeoutMs.max * chance.pick([1, 3]));
  switch (type) {
    case "strand-leader": {
      // With the leader they are one less than a majority, at most.
      const companionsMax = Math.max(0, Math.ceil(nodes / 2) - 2);
      const kind = chance.pick(["plain", "unaware", companionsMax > 0 ? "stunned" : "unaware"]);
      const stunned = kind === "stunned";
      const unaware = kind === "unaware";
      return {
        type,
        at,
        companions: chance.whole(stunned ? 1 : 0, companionsMax),
        writes: chance.pick(stunned ? [2, 20] : [0, 2, 20]),
        readsAfterMs: unaware ? electionTimeoutMs.max * chance.between(0.7, 1.5) : chance.pick([null, 0]),
        lateTimers: unaware,
        answersMs: 0,
        stunned,
        // Long enough for another leader, mostly.
        ms: electionTimeoutMs.max * chance.between(0.5, chance.pick([2, 4])),
      };
    }
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
