import { Chance } from "./chance.ts";
import type { Fault, Plan } from "./plan.ts";

/** A fault that seeks out a moment or a node that the algorithm's rules are about, which blind chance seldom hits. */
export type AimedFault =
  /** Whoever leads is cut off with a minority, and clients who do not know go on asking it. */
  | {
      readonly type: "strand-leader";
      readonly companions: number;
      /** At once, at the beginning. */
      readonly writes: number;
      /** So long after the cut it is asked for the first time, and then until it is over; null: it is not. */
      readonly readsAfterMs: number | null;
      /** Its timers do not come meanwhile, so that it does not notice. */
      readonly lateTimers: boolean;
      /** All that it hears takes so much longer, from before the cut until it is over; what was on its way still comes. */
      readonly answersMs: number;
      /** The companions stand still from before until after, and then hear both leaders in one turn. */
      readonly stunned: boolean;
      readonly ms: number;
    }
  /** The event loop comes round only so often, and then hears all that came meanwhile in one turn. */
  | { readonly type: "busy"; readonly node: number; readonly turnMs: number; readonly ms: number }
  /** All processes stand still and go on at the same time, as their elections then begin. */
  | { readonly type: "freeze"; readonly ms: number }
  /** Of some messages a copy comes again much later, in another term perhaps. Streams have no such copies. */
  | { readonly type: "late-copies"; readonly share: number; readonly byMs: number; readonly ms: number }
  /** A process dies when its next vote is durable, and is back before that election is over. */
  | { readonly type: "crash-voter"; readonly node: number; readonly ms: number };

type AimedType = AimedFault["type"] | "slow-network";

/** The one that finds most comes most. */
const AIMED_TYPES: readonly AimedType[] = [
  "strand-leader",
  "strand-leader",
  "busy",
  "freeze",
  "crash-voter",
  "slow-network",
  "late-copies",
];

/** A caller may be in a hurry: many calls then end before their answer comes. */
const HASTY_CALL_MS = 50;

/** Some runs have aimed faults, alone or on top of the others, and some have callers in a hurry. */
export function withAimedFaults(plan: Plan): Plan {
  // From a source of its own, so that all other seeds stay what they were.
  const chance = new Chance(plan.seed ^ 0xa1_3ed);
  const callTimeoutMs = chance.happens(0.1) ? HASTY_CALL_MS : plan.callTimeoutMs;
  if (plan.nodes === 1 || !chance.happens(0.4)) return { ...plan, callTimeoutMs };
  const types = [chance.pick(AIMED_TYPES), ...chance.some(AIMED_TYPES, 0.3)];
  // Some of them alone, and so seldom that there is a leader again to aim at.
  const isStaged = chance.happens(0.5);
  const everyMs = isStaged
    ? plan.electionTimeoutMs.max * chance.pick([4, 8])
    : chance.pick([150, 400, 1_000]);
  const faults = isStaged ? [] : [...plan.faults];
  for (let at = chance.time(everyMs); at < plan.faultyMs; at += chance.time(everyMs)) {
    faults.push(aimedFaultOf(chance, chance.pick(types), at, plan));
  }
  return { ...plan, callTimeoutMs, faults: faults.sort((a, b) => a.at - b.at) };
}

function aimedFaultOf(chance: Chance, type: AimedType, at: number, plan: Plan): Fault {
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
