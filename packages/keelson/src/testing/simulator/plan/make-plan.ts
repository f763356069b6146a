import { withTargetedFaults } from "./targeted-faults.ts";
import { Chance } from "./chance.ts";
import { withOperatorFaults, withWeakReads } from "./membership-faults.ts";
import type { DiskErrorKind, Fault, FaultType } from "./faults.ts";
import { HARMLESS_FAULTS, hasOnlyHarmlessFaults, PLAIN_USAGE, type Plan } from "./plan.ts";
import { withStage } from "./stages.ts";
import {
  withRepeatedInitialize,
  withSlowSnapshotTransfers,
  withVariedUsage,
} from "./snapshot-transfer-faults.ts";
import { CALL_TIMEOUT_MS, CALLS_MAX } from "./workload.ts";

const FAULT_TYPES: readonly FaultType[] = [
  "cut",
  "partition",
  "bridge",
  "lossy",
  "slow-network",
  "reset",
  "crash",
  "crash-all",
  "crash-at-storage-call",
  "pause",
  "late-timers",
  "slow-disk",
  "hanging-disk",
  "disk-error",
  "bit-flip",
  "slow-apply",
  "state-machine-failure",
  "quiet",
];

/** Those that came later: the plans of most seeds stay what they were before. */
const ADDED_FAULT_TYPES: readonly FaultType[] = [
  "crash-loop",
  "short-transfers",
  "lost-write",
  "lonely-leader",
];

/** Far longer than any wait in the simulation should be. */
const OUTAGE_MS = 40_000;

/** Short, so that a wait which has grown with the outage is longer than the patience after it. */
const OUTAGE_TIMINGS = { electionTimeoutMs: { min: 150, max: 300 }, heartbeatMs: 75 } as const;

/** Misdirected writes miss by whole sectors, as disks do. */
const SECTOR_BYTES = 512;

/** So long that the limit on each call to the disk comes first. */
const STORAGE_STALL_MS = 1_600;

const DISK_ERRORS: readonly DiskErrorKind[] = [
  "io-error",
  "no-space",
  "short-write",
  "failed-sync",
  "read-error",
];

/**
 * The run that belongs to a seed. Each run has its own mix: a random subset of the faults, some of them
 * often (swarm testing: a fault that is always there hides what happens only in its absence).
 */
export function planOf(seed: number): Plan {
  return withStage(unstagedPlanOf(seed));
}

function unstagedPlanOf(seed: number): Plan {
  const strict = linearizablePlanOf(seed);
  const replayOldMessages = strict.transport === "datagrams" && new Chance(seed ^ 0xec_40).happens(0.5);
  const plan = withSnapshots(withWeakReads({ ...strict, replayOldMessages }, hasOnlyHarmlessFaults(strict)));
  const chance = new Chance(seed ^ 0xfa_c37);
  const used = withVariedUsage(plan, chance.fork());
  if (hasOnlyHarmlessFaults(used)) return used;
  const [ofTransfers, ofFounding] = [chance.fork(), chance.fork()];
  return withRepeatedInitialize(
    withSlowSnapshotTransfers(used, ofTransfers, damageableIn(used, ofTransfers)),
    ofFounding,
  );
}

/** Who may still be damaged where some are damaged already. */
function damageableIn(plan: Plan, chance: Chance): readonly number[] {
  const founders = plan.clockRates.map((_, node) => node).slice(0, plan.nodes - plan.spares);
  const damaged = plan.faults.flatMap((fault) =>
    fault.type === "bit-flip" || fault.type === "lost-write" ? [fault.node] : [],
  );
  return minorityOf(founders, [...new Set([...damaged, ...chance.shuffled(founders)])]);
}

function linearizablePlanOf(seed: number): Plan {
  const plan = basicPlanOf(seed);
  // From a source of its own, so that the other seeds stay what they were.
  const chance = new Chance(seed ^ 0x10_0f);
  if (chance.happens(0.03)) return outageOf(plan, chance);
  const diskMs = chance.pick([0, 0.5, 2, 5]);
  const followCommands = chance.happens(0.3) ? chance.pick([1, 7, Infinity]) : null;
  const withSome = withSessions({ ...plan, diskMs, followCommands }, new Chance(seed ^ 0x5e5510));
  const later = withAddedFaults(withSome, new Chance(seed ^ 0xd15c));
  return hasOnlyHarmlessFaults(later) ? later : withOperatorFaults(withTargetedFaults(later));
}

/** In half of the runs the log is forgotten bit by bit, in some of them as soon as it may be. */
function withSnapshots(plan: Plan): Plan {
  const chance = new Chance(plan.seed ^ 0x5a_95);
  if (!chance.happens(0.5)) return plan;
  const snapshots = {
    everyEntries: chance.pick([3, 15, 60]),
    keepEntries: chance.pick([0, 0, 3, 20]),
    transferKeepBytes: chance.pick([0, 1_000, 1_048_576]),
    ballastBytes: 0,
    fetchBytesPerSecond: Infinity,
  };
  if (hasOnlyHarmlessFaults(plan) || !chance.happens(0.4)) return { ...plan, snapshots };
  const faults = [...plan.faults];
  const everyMs = chance.pick([100, 500]);
  for (let at = chance.time(everyMs); at < plan.faultyMs; at += chance.time(everyMs)) {
    faults.push({ type: "snapshot", at, node: chance.whole(0, plan.nodes - 1) });
  }
  return { ...plan, snapshots, faults: faults.sort((a, b) => a.at - b.at) };
}

/** In a third of the runs, some clients use sessions, and clocks may be wrong as clocks are. */
function withSessions(plan: Plan, chance: Chance): Plan {
  if (!chance.happens(0.35)) return plan;
  const ttlMs = chance.pick([1_000, 1_000, 3_000, 60_000]);
  const skewMs = chance.pick([0, 0, 300, 5_000]);
  return {
    ...plan,
    sessions: { clients: chance.whole(1, plan.clients), ttlMs },
    wallOffsetsMs: plan.clockRates.map(() => Math.round(chance.between(-skewMs, skewMs))),
  };
}

/** A third of the runs suffer from these as well; a calm run stays one. */
function withAddedFaults(plan: Plan, chance: Chance): Plan {
  if (hasOnlyHarmlessFaults(plan) || !chance.happens(0.35)) return plan;
  const nodes = plan.clockRates.map((_, node) => node);
  const types = [chance.pick(ADDED_FAULT_TYPES), chance.pick(ADDED_FAULT_TYPES)];
  const flipped = plan.faults.flatMap((fault) => (fault.type === "bit-flip" ? [fault.node] : []));
  const damageable = minorityOf(nodes, [...new Set([...flipped, ...chance.shuffled(nodes)])]);
  const faults = [...plan.faults];
  const everyMs = chance.pick([150, 500, 1_500]);
  for (let at = chance.time(everyMs); at < plan.faultyMs; at += chance.time(everyMs)) {
    const fault = addedFaultOf(chance, chance.pick(types), at, nodes, damageable);
    if (fault !== null) faults.push(fault);
  }
  // Only a write of several sectors can be torn.
  const valueBytesMax = types.includes("crash-loop")
    ? chance.pick([plan.valueBytesMax, 2_000])
    : plan.valueBytesMax;
  return { ...plan, valueBytesMax, faults: faults.sort((a, b) => a.at - b.at) };
}

function addedFaultOf(
  chance: Chance,
  type: FaultType,
  at: number,
  nodes: readonly number[],
  damageable: readonly number[],
): Fault | null {
  const node = chance.pick(nodes);
  const ms = chance.time(chance.pick([50, 300, 1_500]));
  switch (type) {
    case "crash-loop": {
      const calls = [chance.whole(1, 12), ...[3, 5, 8].map((max) => chance.whole(1, max))];
      return { type, at, node, calls, ms: chance.pick([1, 20, 200]) };
    }
    case "short-transfers":
      return { type, at, node, ms: ms * 2 };
    case "lost-write":
      return damageable.length === 0
        ? null
        : {
            type,
            at,
            node: chance.pick(damageable),
            elsewhereBy: chance.happens(0.5) ? null : SECTOR_BYTES * chance.pick([-8, -2, -1, 1, 2, 8]),
            forgotten: chance.happens(0.5),
            ms,
          };
    default:
      return {
        type: "lonely-leader",
        at,
        disk: chance.pick(["well", "slow", "hanging", "hanging"]),
        ms: chance.between(100, 900),
      };
  }
}

/** Damaged data that was acknowledged takes a node out for good: only a minority may have any. */
function minorityOf(nodes: readonly number[], candidates: readonly number[]): readonly number[] {
  return candidates.slice(0, Math.floor((nodes.length - 1) / 2));
}

/** One partition, for so long that whatever backs off, backs off to its limit. */
function outageOf(plan: Plan, chance: Chance): Plan {
  const first = chance.whole(0, plan.nodes - 1);
  const side = plan.clockRates.map((_, node) => node).filter((node) => node === first || chance.happens(0.4));
  const faults: Fault[] = [{ type: "partition", at: 500, side, oneWay: false, ms: 2 * OUTAGE_MS }];
  const thinkMs = Math.max(plan.thinkMs, (plan.clients * OUTAGE_MS) / CALLS_MAX);
  return { ...plan, ...OUTAGE_TIMINGS, transport: "tcp", faultyMs: OUTAGE_MS, faults, thinkMs };
}

function basicPlanOf(seed: number): Plan {
  const chance = new Chance(seed);
  const nodes = chance.pick([1, 2, 3, 3, 3, 3, 4, 5, 5, 5, 6, 7]);
  const all = Array.from({ length: nodes }, (_, node) => node);
  const min = chance.pick([100, 150, 300, 400]);
  const faultyMs = chance.pick([1_000, 2_000, 4_000, 8_000]);
  const types = chance.happens(0.06)
    ? HARMLESS_FAULTS
    : chance.some(FAULT_TYPES, chance.pick([0.1, 0.25, 0.5]));
  const drifting = chance.happens(0.3);
  const clients = chance.whole(1, 5);
  return {
    seed,
    nodes,
    spares: 0,
    transport: chance.happens(0.5) ? "tcp" : "datagrams",
    durableState: chance.happens(0.5),
    preVote: chance.happens(0.8),
    checkQuorum: chance.happens(0.8),
    electionTimeoutMs: { min, max: min * chance.pick([1.5, 2, 2]) },
    heartbeatMs: min / chance.pick([3, 5, 8]),
    clockRates: all.map(() => (drifting ? chance.between(0.9, 1.1) : 1)),
    segmentBytes: chance.pick([4_096, 16_384, 65_536]),
    cacheBytes: chance.pick([1_024, 16_384, 1_048_576]),
    diskMs: 0,
    pendingEntriesMax: chance.pick([65_536, 65_536, 3]),
    pendingBytesMax: chance.pick([65_536, 65_536, 2_100]),
    snapshots: null,
    shortReads: chance.happens(0.3),
    followCommands: null,
    replayOldMessages: false,
    linkDelayMs: chance.pick([
      { min: 0, max: 1 },
      { min: 0, max: 1 },
      { min: 1, max: 20 },
    ]),
    initializers: chance.happens(0.5) ? all : [chance.pick(all)],
    initializeAfterMs: chance.pick([0, 0, 500, 1_500]),
    clients,
    keys: chance.whole(1, 4),
    thinkMs: Math.max(chance.pick([5, 20, 50, 200]), (clients * faultyMs) / CALLS_MAX),
    callTimeoutMs: CALL_TIMEOUT_MS,
    readShare: chance.pick([0.1, 0.3, 0.6]),
    valueBytesMax: chance.pick([16, 16, 200, 2_000]),
    leaseShare: 0,
    staleShare: 0,
    clockDriftMax: 0.05,
    priorities: [],
    storageStallMs: STORAGE_STALL_MS,
    sessions: null,
    usage: PLAIN_USAGE,
    wallOffsetsMs: all.map(() => 0),
    faultyMs,
    faults: faultsOf(chance, types, all, faultyMs),
  };
}

function faultsOf(
  chance: Chance,
  types: readonly FaultType[],
  nodes: readonly number[],
  faultyMs: number,
): Fault[] {
  if (types.length === 0) return [];
  const faults: Fault[] = [];
  const everyMs = chance.pick([150, 500, 1_500]);
  const damageable = minorityOf(nodes, chance.some(nodes, 1));
  for (let at = chance.time(everyMs); at < faultyMs; at += chance.time(everyMs)) {
    const fault = faultOf(chance, chance.pick(types), at, nodes, damageable);
    if (fault !== null) faults.push(fault);
  }
  return faults;
}

function faultOf(
  chance: Chance,
  type: FaultType,
  at: number,
  nodes: readonly number[],
  damageable: readonly number[],
): Fault | null {
  const node = chance.pick(nodes);
  const ms = chance.time(chance.pick([50, 300, 1_500]));
  switch (type) {
    case "cut":
      return { type, at, from: node, to: chance.pick(nodes), ms };
    case "partition":
      return { type, at, side: chance.some(nodes, 0.5), oneWay: chance.happens(0.3), ms };
    case "bridge":
      return { type, at, bridge: node, side: chance.some(nodes, 0.5), ms };
    case "lossy":
      return {
        type,
        at,
        link: chance.happens(0.5) ? null : [node, chance.pick(nodes)],
        drop: chance.between(0, 0.4),
        duplicate: chance.between(0, 0.4),
        ms: ms * 3,
      };
    case "slow-network":
      return { type, at, delayMs: chance.pick([5, 50, 300]), ms };
    case "reset":
      return { type, at, a: node, b: chance.pick(nodes) };
    case "crash":
    case "pause":
    case "hanging-disk":
      return { type, at, node, ms };
    case "crash-all":
      return { type, at, ms };
    case "crash-at-storage-call":
      return { type, at, node, calls: chance.whole(1, 12), ms };
    case "late-timers":
      return { type, at, node, byMs: chance.pick([5, 50, 400]), ms };
    case "slow-disk":
      return { type, at, node, delayMs: chance.pick([1, 10, 100]), ms };
    case "disk-error":
      return {
        type,
        at,
        node,
        error: chance.pick(DISK_ERRORS),
        powerCutAfterMs: chance.happens(0.5) ? chance.time(400) : null,
      };
    case "bit-flip":
      return damageable.length === 0 ? null : { type, at, node: chance.pick(damageable), ms };
    case "slow-apply":
      return { type, at, node, delayMs: chance.pick([1, 30, 300]), ms };
    case "state-machine-failure":
      return { type, at, node };
    case "quiet":
      return { type, at, ms: ms * 2 };
    default:
      return addedFaultOf(chance, type, at, nodes, damageable);
  }
}
