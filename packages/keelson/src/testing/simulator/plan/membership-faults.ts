/** Adds to a plan what an operator does to the membership, with nodes to spare and lost disks. */
import { Chance } from "./chance.ts";
import { byTime, drawFaults, withMoreFaults } from "./draw-faults.ts";
import type { ChangeKind, Fault } from "./faults.ts";
import { withLeadershipFaults } from "./leadership-faults.ts";
import type { Plan } from "./plan.ts";

/** What the operator does, drawn at random. Kinds of change that stand twice happen twice as often. */
const CHANGES: readonly ChangeKind[] = [
  "add",
  "add",
  "learn",
  "remove",
  "remove-leader",
  "promote",
  "demote",
  "replace",
  "several",
  "exchange",
  "exchange",
  "move",
  "ghost",
  "reuse",
];

/** How many spare nodes join, one after another, in a run of staged changes. */
const SPARES_IN_STAGED_RUN = 4;

/** More nodes would make elections slow, and find nothing more. */
const NODES_MAX = 8;

/**
 * Some runs move leadership, some change the membership, each by a random source of its own; few do one kind
 * of change only.
 */
export function withOperatorFaults(plan: Plan): Plan {
  const staged = new Chance(plan.seed ^ 0x57a9e);
  if (staged.happens(0.06)) return withStagedChanges(plan, staged);
  return withMembershipFaults(
    withLeadershipFaults(plan, new Chance(plan.seed ^ 0x1ead)),
    new Chance(plan.seed ^ 0xc4a6),
  );
}

/** Only changes of one kind, in a cluster that is small enough for what they are about (M18; M1). */
function withStagedChanges(plan: Plan, chance: Chance): Plan {
  const how = chance.pick(["retire", "exchange"] as const);
  const first = how === "retire" ? 2 : 3;
  const nodes = first + SPARES_IN_STAGED_RUN;
  const everyMs = plan.electionTimeoutMs.max * chance.pick([3, 6]);
  const changes = how === "retire" ? 2 * SPARES_IN_STAGED_RUN : SPARES_IN_STAGED_RUN;
  const faults = Array.from({ length: changes }, (_, at): Fault => {
    return { type: "change", at: (at + 1) * everyMs, how, crashLeaderAfterMs: null };
  });
  return {
    ...plan,
    nodes,
    spares: SPARES_IN_STAGED_RUN,
    clockRates: Array.from({ length: nodes }, () => 1),
    wallOffsetsMs: Array.from({ length: nodes }, () => 0),
    initializers: [0],
    faultyMs: (changes + 2) * everyMs,
    faults,
  };
}

/**
 * Four in ten runs have nodes to spare and an operator who changes the membership; a third of these lose
 * disks.
 */
function withMembershipFaults(plan: Plan, chance: Chance): Plan {
  if (!chance.happens(0.4)) return plan;
  const spares = chance.whole(1, Math.min(4, NODES_MAX - plan.nodes));
  const nodes = plan.nodes + spares;
  const range = Math.max(...plan.clockRates.map((rate) => Math.abs(rate - 1)));
  const rates = Array.from({ length: spares }, () => chance.between(1 - range, 1 + range));
  const offsets = rates.map(() => chance.pick(plan.wallOffsetsMs));
  const kinds = chance.happens(0.3)
    ? [chance.pick(CHANGES), chance.pick(CHANGES), "replace" as const]
    : CHANGES;
  const wipes = chance.happens(0.35) ? 0.25 : 0;
  const everyMs = chance.pick([150, 400, 1_000]);
  const faulty = withMoreFaults(plan, chance, everyMs, (at) =>
    chance.happens(wipes)
      ? { type: "wipe", at, node: chance.whole(0, nodes - 1) }
      : {
          type: "change",
          at,
          how: chance.pick(kinds),
          crashLeaderAfterMs: chance.happens(0.2) ? chance.time(chance.pick([2, 20, 100])) : null,
        },
  );
  return {
    ...faulty,
    nodes,
    spares,
    clockRates: [...plan.clockRates, ...rates],
    wallOffsetsMs: [...plan.wallOffsetsMs, ...offsets],
    // Changes of voters take several steps, and the leader needs time to learn every member's store id.
    faultyMs: Math.max(plan.faultyMs, chance.pick([2_000, 6_000])),
  };
}

/**
 * In few runs nodes are told again to create the cluster: by a program that does so at each start, or in
 * error.
 */
export function withRepeatedInitialize(plan: Plan, chance: Chance): Plan {
  if (!chance.happens(0.06)) return plan;
  const times = { firstMs: 300, everyMs: 700, untilMs: plan.faultyMs };
  const repeated = drawFaults(chance, times, (at) => {
    const node = chance.whole(0, plan.nodes - plan.spares - 1);
    return { type: "found-again", at, node, others: chance.happens(0.4) };
  });
  return { ...plan, faults: byTime([...plan.faults, ...repeated]) };
}
