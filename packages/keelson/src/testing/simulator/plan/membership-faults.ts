import { Chance } from "./chance.ts";
import type { ChangeKind, OperatorFault, Fault } from "./faults.ts";
import type { Plan } from "./plan.ts";

type ChurnType = OperatorFault["type"];

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

/** What the operator does apart from the others: it needs no nodes to spare. */
const LEADERSHIP_FAULTS: readonly ChurnType[] = ["transfer", "close"];

const STALL_MARGIN_MS = 350;

/** Nodes that come one after another in a staged run. */
const SPARES_IN_STAGED_RUN = 4;

/** More would make elections slow, and find no more. */
const NODES_MAX = 8;

/** Some runs change their members, some move their leader, some read on leases: each from a source of chance of its own. */
export function withOperatorFaults(plan: Plan): Plan {
  const staged = new Chance(plan.seed ^ 0x57a9e);
  if (staged.happens(0.06)) return withStagedChanges(plan, staged);
  return withMembershipFaults(
    withLeadershipFaults(plan, new Chance(plan.seed ^ 0x1ead)),
    new Chance(plan.seed ^ 0xc4a6),
  );
}

/** What the rules for changes are about, and nothing else: it takes a few members, in a state that chance seldom brings about. */
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

/** In a third of the runs, some reads trust the lease; clocks may go just as wrong as the nodes were told they may. */
export function withWeakReads(plan: Plan, isCalm: boolean): Plan {
  const chance = new Chance(plan.seed ^ 0x1ea5e);
  const leaseShare = chance.happens(0.35) ? chance.pick([0.5, 1]) : 0;
  const staleShare = chance.happens(0.2) ? 0.2 : 0;
  const drift = Math.max(...plan.clockRates.map((rate) => Math.abs(rate - 1)));
  if (leaseShare === 0) return { ...plan, staleShare };
  const weak = { ...plan, leaseShare, staleShare, clockDriftMax: drift };
  if (!plan.checkQuorum || plan.nodes - plan.spares < 3 || isCalm) return weak;
  return chance.happens(0.6) ? withIsolatedLeaseholders(weak, chance) : weak;
}

/** A lease matters when a leader is alone, does not notice, and is asked while another may lead already. */
function withIsolatedLeaseholders(plan: Plan, chance: Chance): Plan {
  const { min, max } = plan.electionTimeoutMs;
  const slow = new Chance(plan.seed ^ 0x51_0e);
  const answersMs = slow.happens(0.4) ? max * slow.between(0.5, 0.9) : 0;
  const faults = addEvery(chance, max * chance.pick([4, 8]), plan, (at) => ({
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
  return { ...plan, faults };
}

function withLeadershipFaults(plan: Plan, chance: Chance): Plan {
  if (plan.nodes === 1 || !chance.happens(0.3)) return plan;
  const everyMs = chance.pick([200, 600, 1_500]);
  const types = chance.happens(0.5) ? LEADERSHIP_FAULTS : [chance.pick(LEADERSHIP_FAULTS)];
  const faults = addEvery(chance, everyMs, plan, (at) =>
    chance.pick(types) === "transfer"
      ? { type: "transfer", at }
      : { type: "close", at, node: chance.whole(0, plan.nodes - 1) },
  );
  const hasPriorities = chance.happens(0.3);
  const priorities = hasPriorities ? plan.clockRates.map(() => chance.whole(0, 2)) : plan.priorities;
  const storageStallMs = chance.pick([plan.storageStallMs, 300, 600]);
  const led = { ...plan, faults, priorities, storageStallMs };
  return storageStallMs < plan.storageStallMs ? withLeaderStalls(led) : led;
}

/** Where leaders must not wait long for their disks, their disks let them wait. */
function withLeaderStalls(plan: Plan): Plan {
  const chance = new Chance(plan.seed ^ 0x57a_11);
  if (!chance.happens(0.5)) return plan;
  // Longer than a leader may take to notice, and shorter than a call to the disk may take.
  const ms = plan.storageStallMs + STALL_MARGIN_MS;
  const faults = addEvery(chance, 3 * ms, plan, (at) => ({ type: "stall-leader", at, ms }));
  return { ...plan, faults };
}

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
  const faults = addEvery(chance, everyMs, plan, (at) =>
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
    ...plan,
    nodes,
    spares,
    clockRates: [...plan.clockRates, ...rates],
    wallOffsetsMs: [...plan.wallOffsetsMs, ...offsets],
    // An operator has time, and what a disk must be known by takes some.
    faultyMs: Math.max(plan.faultyMs, chance.pick([2_000, 6_000])),
    faults,
  };
}

function addEvery(chance: Chance, everyMs: number, plan: Plan, make: (at: number) => Fault): Fault[] {
  const faults = [...plan.faults];
  for (let at = chance.time(everyMs); at < plan.faultyMs; at += chance.time(everyMs)) faults.push(make(at));
  return faults.sort((a, b) => a.at - b.at);
}
