/** What all draws of faults share: random times, and how many nodes may lose acknowledged data. */
import type { Chance } from "./chance.ts";
import type { Fault } from "./faults.ts";
import type { Plan } from "./plan.ts";

/**
 * Draws faults at random times until `untilMs`. `firstMs` is the mean time to the first, `everyMs` between
 * two.
 */
export function drawFaults(
  chance: Chance,
  { everyMs, firstMs = everyMs, untilMs }: { everyMs: number; firstMs?: number; untilMs: number },
  draw: (at: number) => Fault | readonly Fault[] | null,
): Fault[] {
  const faults: Fault[] = [];
  for (let at = chance.time(firstMs); at < untilMs; at += chance.time(everyMs)) {
    const drawn = draw(at);
    if (drawn !== null) faults.push(...[drawn].flat());
  }
  return faults;
}

/** The plan with more faults, drawn until its faulty time is over. */
export function withMoreFaults(
  plan: Plan,
  chance: Chance,
  everyMs: number,
  draw: (at: number) => Fault | readonly Fault[] | null,
): Plan {
  const more = drawFaults(chance, { everyMs, untilMs: plan.faultyMs }, draw);
  return { ...plan, faults: byTime([...plan.faults, ...more]) };
}

/** The faults in order of time, as a plan has them. */
export function byTime(faults: readonly Fault[]): Fault[] {
  return [...faults].sort((a, b) => a.at - b.at);
}

/** The numbers of the plan's nodes. */
export function nodesOf({ clockRates }: Pick<Plan, "clockRates">): readonly number[] {
  return [...clockRates.keys()];
}

/**
 * The first of the candidates, as many as are a minority of the nodes. Damaged data that was acknowledged
 * makes a node useless for good, which a cluster survives only in a minority.
 */
export function minorityOf(nodes: readonly number[], candidates: readonly number[]): readonly number[] {
  return candidates.slice(0, Math.floor((nodes.length - 1) / 2));
}
