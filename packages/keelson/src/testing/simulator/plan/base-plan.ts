/**
 * Draws the plan that everything else is added to: a cluster, its configuration, its clients, and its basic
 * faults.
 */
import { BASIC_FAULT_TYPES, drawBasicFaults } from "./basic-faults.ts";
import { Chance } from "./chance.ts";
import { HARMLESS_FAULTS, PLAIN_USAGE, type Plan } from "./plan.ts";
import { CALL_TIMEOUT_MS, CALLS_MAX } from "./workload.ts";

/**
 * 1 ms below `storageTimeoutMs` of simulated nodes: a leader with a hanging disk steps down just before its
 * node stops at that limit.
 */
const STORAGE_STALL_MS = 999;

/** Parts of the plan that the base leaves plain. Only later steps of drawing the plan change them. */
const NOTHING_SPECIAL = {
  stage: null,
  start: { clockMs: 1_000, term: 0 },
  spares: 0,
  diskMs: 0,
  snapshots: null,
  reopenCommittedAfter: null,
  replayOldMessages: false,
  checksModel: true,
  window: null,
  callTimeoutMs: CALL_TIMEOUT_MS,
  leaseShare: 0,
  staleShare: 0,
  clockDriftMax: 0.05,
  priorities: [],
  storageStallMs: STORAGE_STALL_MS,
  sessions: null,
  sessionLimits: null,
  logTimeStepMs: null,
  usage: PLAIN_USAGE,
  catchUpMs: null,
  restsBeforeWriting: false,
  restartsAtEnd: false,
} satisfies Partial<Plan>;

/**
 * The base of the run that belongs to a seed. The values are drawn in a fixed order: another order would
 * change the plans of all seeds.
 */
export function basePlanOf(seed: number): Plan {
  const chance = new Chance(seed);
  const nodes = chance.pick([1, 2, 3, 3, 3, 3, 4, 5, 5, 5, 6, 7]);
  const all = Array.from({ length: nodes }, (_, node) => node);
  const timeoutMinMs = chance.pick([100, 150, 300, 400]);
  const faultyMs = chance.pick([1_000, 2_000, 4_000, 8_000]);
  // Swarm testing: each run has a random subset of the faults, since a fault that is always there hides
  // others.
  const types = chance.happens(0.06)
    ? HARMLESS_FAULTS
    : chance.some(BASIC_FAULT_TYPES, chance.pick([0.1, 0.25, 0.5]));
  const drifting = chance.happens(0.3);
  const clients = chance.whole(1, 5);
  return {
    ...NOTHING_SPECIAL,
    seed,
    nodes,
    faultyMs,
    clients,
    ...nodeOptions(chance, timeoutMinMs),
    clockRates: all.map(() => (drifting ? chance.between(0.9, 1.1) : 1)),
    wallOffsetsMs: all.map(() => 0),
    ...storageOptions(chance),
    linkDelayMs: chance.pick([
      { min: 0, max: 1 },
      { min: 0, max: 1 },
      { min: 1, max: 20 },
    ]),
    initializers: chance.happens(0.5) ? all : [chance.pick(all)],
    initializeAfterMs: chance.pick([0, 0, 500, 1_500]),
    keys: chance.whole(1, 4),
    thinkMs: Math.max(chance.pick([5, 20, 50, 200]), (clients * faultyMs) / CALLS_MAX),
    readShare: chance.pick([0.1, 0.3, 0.6]),
    valueBytesMax: chance.pick([16, 16, 200, 2_000]),
    faults: drawBasicFaults(chance, types, all, faultyMs),
  };
}

function nodeOptions(chance: Chance, timeoutMinMs: number) {
  return {
    transport: chance.happens(0.5) ? ("tcp" as const) : ("datagrams" as const),
    durableState: chance.happens(0.5),
    preVote: chance.happens(0.8),
    checkQuorum: chance.happens(0.8),
    electionTimeoutMs: { min: timeoutMinMs, max: timeoutMinMs * chance.pick([1.5, 2, 2]) },
    heartbeatMs: timeoutMinMs / chance.pick([3, 5, 8]),
  };
}

function storageOptions(chance: Chance) {
  return {
    segmentBytes: chance.pick([4_096, 16_384, 65_536]),
    cacheBytes: chance.pick([1_024, 16_384, 1_048_576]),
    pendingEntriesMax: chance.pick([65_536, 65_536, 3]),
    pendingBytesMax: chance.pick([65_536, 65_536, 2_100]),
    shortReads: chance.happens(0.3),
  };
}
