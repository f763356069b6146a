/**
 * Plans that are steered to pairs of faults and workloads. Random plans meet most pairs soon and some pairs
 * hardly ever: of a hundred plans perhaps one has a rare fault, and one of ten thousand two of them.
 *
 * A fixed list of combinations contains each pair that a run can have (a covering design). Steered plans take
 * one combination after another, so that as many seeds as there are combinations cover all pairs once. Which
 * one a plan takes depends on its seed alone.
 */
import { DRAW_ADDED, DRAW_BASIC } from "./basic-faults.ts";
import { Chance } from "./chance.ts";
import { byTime, minorityOf } from "./draw-faults.ts";
import {
  FAILING_FETCHES,
  FAULT_NAMES,
  OF_DATAGRAMS,
  OF_STREAMS,
  whyNever,
  WORKLOAD_NAMES,
  type Feature,
  type Workload,
} from "./features.ts";
import type { ChangeKind, DiskErrorKind, Fault, FaultType } from "./faults.ts";
import type { Plan } from "./plan.ts";
import { DRAW_STAGED, type StagedFault } from "./stage-faults.ts";
import { busyClients, cluster } from "./stage-cluster.ts";
import { isStaged } from "./stages.ts";
import { targetedFaultOf, type TargetedType } from "./targeted-faults.ts";

/**
 * Of each block of so many consecutive seeds, one is steered. The constant was chosen so that no seed that is
 * kept as a regression test became one.
 */
export const PAIRED_EVERY = 9;
const PAIRED_CONSTANT = 0x952;

/** More at once would leave hardly any moment in which the cluster works. */
const FAULTS_IN_COMBINATION = 6;
const WORKLOADS_IN_COMBINATION = 4;

/**
 * How often each fault of the combination comes in a run: it may find nothing to strike, such as no leader,
 * no snapshot or no vote.
 */
const TIMES = 3;

/** Types and workloads that the run has together. */
export interface Combination {
  readonly faults: readonly FaultType[];
  readonly workloads: readonly Workload[];
}

/**
 * The plan of a seed. If the seed is steered, it is a plan with one of the combinations, the next in turn,
 * instead of `plan`.
 */
export function withPairs(plan: Plan): Plan {
  if (!isSteered(plan.seed)) return plan;
  const all = combinations();
  const combination = all[Math.floor(plan.seed / PAIRED_EVERY) % all.length];
  return combination === undefined ? plan : combine(plan, combination);
}

/**
 * Whether the seed's plan is steered: that of a random seed of each block is, or of the next seed of the
 * block that has no stage.
 */
export function isSteered(seed: number): boolean {
  const first = seed - (seed % PAIRED_EVERY);
  const from = new Chance((first / PAIRED_EVERY) ^ PAIRED_CONSTANT).whole(0, PAIRED_EVERY - 1);
  for (let n = 0; n < PAIRED_EVERY; n++) {
    const one = first + ((from + n) % PAIRED_EVERY);
    if (!isStaged(one)) return one === seed;
  }
  return false;
}

let made: readonly Combination[] | null = null;

/** Combinations that contain each pair of faults and workloads that a run can have. Always the same. */
export function combinations(): readonly Combination[] {
  return (made ??= makeCombinations());
}

/**
 * Begins each combination with a pair that none has, and adds whatever brings the most pairs that none has.
 */
function makeCombinations(): Combination[] {
  const features: readonly Feature[] = [...FAULT_NAMES, ...WORKLOAD_NAMES];
  const places = [...features.keys()];
  const isFault = (one: number): boolean => one < FAULT_NAMES.length;
  const possible = features.map((a) => features.map((b) => a !== b && whyNever(a, b) === null));
  const missing = possible.map((row) => [...row]);
  const gainOf = (one: number, taken: readonly number[]): number =>
    taken.filter((other) => missing[one]?.[other] === true).length;
  const fits = (one: number, taken: readonly number[]): boolean => {
    const most = isFault(one) ? FAULTS_IN_COMBINATION : WORKLOADS_IN_COMBINATION;
    const isRoom = taken.filter((other) => isFault(other) === isFault(one)).length < most;
    return isRoom && taken.every((other) => possible[one]?.[other] === true);
  };
  const chance = new Chance(0xc0_ffee);
  const result: Combination[] = [];
  for (const first of places)
    for (;;) {
      const second = missing[first]?.indexOf(true) ?? -1;
      if (second === -1) break;
      const taken = [first, second];
      for (;;) {
        let best = { one: -1, gain: 0 };
        for (const one of chance.shuffled(places)) {
          const gain = gainOf(one, taken);
          if (gain > best.gain && fits(one, taken)) best = { one, gain };
        }
        if (best.gain === 0) break;
        taken.push(best.one);
      }
      for (const a of taken) for (const b of taken) if (missing[a] !== undefined) missing[a][b] = false;
      result.push({
        faults: taken.filter(isFault).flatMap((one) => FAULT_NAMES[one] ?? []),
        workloads: taken.flatMap((one) => WORKLOAD_NAMES[one - FAULT_NAMES.length] ?? []),
      });
    }
  return result;
}

const OF_SNAPSHOTS: readonly Feature[] = [
  ...(["snapshots", "large snapshots", "snapshot", "spoil-snapshot", "snapshot-disk-error"] as const),
  ...(["snapshot-error-at-rename", "crash-at-snapshot"] as const),
  ...FAILING_FETCHES,
];

/** What needs nodes that aren't members at first. */
const OF_SPARES: readonly Feature[] = [
  ...(["new members", "change", "wipe", "greet-leader", "interrupt-change"] as const),
  "leader-without-voters",
];

/** Faults after which a node may be useless for good. */
const LOSSES: readonly FaultType[] = [
  "bit-flip",
  "lost-write",
  "spoil-snapshot",
  "wipe",
  "roll-back",
  "destroy",
];

/** A plan with exactly these faults and workloads, and what they need. */
function combine(plan: Plan, { faults, workloads }: Combination): Plan {
  const chance = new Chance(plan.seed ^ 0x9a_125);
  const has = (workload: Workload): boolean => workloads.includes(workload);
  const isAny = (some: readonly Feature[]): boolean =>
    [...faults, ...workloads].some((feature) => some.includes(feature));
  // Two kinds of losses can strike only if two nodes can be lost.
  const losses = faults.filter((type) => LOSSES.includes(type)).length;
  const members = has("one node") ? 1 : has("many nodes") || losses > 1 ? 5 : 3;
  const spares = isAny(OF_SPARES) ? chance.whole(1, 2) : 0;
  const base = cluster(plan, members, chance, spares);
  const isTcp = isAny(OF_STREAMS) || (!isAny(OF_DATAGRAMS) && chance.happens(0.5));
  const faultyMs = chance.pick([4_000, 6_000]);
  const used: Plan = {
    ...base,
    faultyMs,
    transport: isTcp ? "tcp" : "datagrams",
    replayOldMessages: has("old messages"),
    preVote: !has("no pre-vote"),
    checkQuorum: !has("no check-quorum"),
    priorities: has("priorities") ? base.clockRates.map(() => chance.whole(0, 2)) : [],
    clockRates: base.clockRates.map(() => (has("drifting clocks") ? chance.between(0.9, 1.1) : 1)),
    wallOffsetsMs: base.clockRates.map(() =>
      has("wrong wall clocks") ? chance.whole(-3_600_000, 3_600_000) : 0,
    ),
    diskMs: has("slow disks") ? chance.pick([0.5, 2, 5]) : 0,
    durableState: has("durable state"),
    snapshots: isAny(OF_SNAPSHOTS)
      ? snapshotsOf(has("large snapshots"), isAny(FAILING_FETCHES), chance)
      : null,
    pendingEntriesMax: has("full queues") ? 3 : 65_536,
    pendingBytesMax: 65_536,
    valueBytesMax: has("long values") ? 2_000 : 16,
    reopenCommittedAfter: has("committed stream") ? chance.pick([1, 7, Infinity]) : null,
    ...busyClients(4, 0.3, faultyMs),
    callTimeoutMs: has("hasty calls") ? 100 : base.callTimeoutMs,
    leaseShare: has("lease reads") ? 0.5 : 0,
    staleShare: has("stale reads") ? 0.2 : 0,
    sessions:
      has("sessions") || has("library sessions") ? { clients: 3, ttlMs: chance.pick([1_000, 60_000]) } : null,
    usage: {
      ...base.usage,
      forward: has("forwarding"),
      librarySessions: has("library sessions"),
      abortShare: has("aborted calls") ? 0.2 : 0,
      queryMs: has("slow queries") ? chance.pick([1, 30]) : 0,
      listeners: has("slow listeners") ? { changesMax: 4, pauseMs: 50, leaveAfter: 10 } : null,
    },
    restsBeforeWriting: has("rest before writing"),
    faults: [],
  };
  const drift = Math.max(...used.clockRates.map((rate) => Math.abs(rate - 1)));
  const bounded = { ...used, clockDriftMax: Math.max(drift, 0.05) };
  return { ...bounded, faults: faultsOf(bounded, faults, chance) };
}

function snapshotsOf(isLarge: boolean, isAsked: boolean, chance: Chance): Plan["snapshots"] {
  return {
    // Installations fail on purpose only where the leader alone has a snapshot.
    everyEntries: isAsked ? 1_000 : chance.pick([5, 15, 60]),
    keepEntries: chance.pick([0, 0, 3]),
    transferKeepBytes: chance.pick([0, 1_000]),
    ballastBytes: isLarge ? chance.pick([5_000, 20_000]) : 0,
    fetchBytesPerSecond: isLarge ? chance.pick([60_000, Infinity]) : Infinity,
  };
}

function faultsOf(plan: Plan, types: readonly FaultType[], chance: Chance): Fault[] {
  const first = Array.from({ length: plan.nodes - plan.spares }, (_, node) => node);
  const damageable = minorityOf(first, chance.shuffled(first));
  const faults = types.flatMap((type) =>
    Array.from({ length: TIMES }, (): Fault[] => {
      const at = plan.faultyMs * chance.between(0.03, 0.9);
      const drawn = draw(type, { chance, plan, at, damageable, nodes: first });
      return drawn === null ? [] : [drawn].flat();
    }).flat(),
  );
  return byTime(faults.filter((fault) => types.includes(fault.type)));
}

interface Draw {
  readonly chance: Chance;
  readonly plan: Plan;
  readonly at: number;
  readonly damageable: readonly number[];
  /** The members that the run begins with. */
  readonly nodes: readonly number[];
}

function draw(type: FaultType, { chance, plan, at, damageable, nodes }: Draw): Fault | Fault[] | null {
  const node = chance.pick(nodes);
  const timeoutMs = plan.electionTimeoutMs.max;
  const ms = chance.time(timeoutMs * chance.pick([0.5, 2]));
  if (type in DRAW_BASIC || type in DRAW_ADDED) {
    const drawers = { ...DRAW_BASIC, ...DRAW_ADDED };
    return drawers[type as keyof typeof drawers]({ chance, at, nodes, node, ms, damageable });
  }
  if (TARGETED.includes(type as TargetedType)) return targetedFaultOf(chance, type as TargetedType, at, plan);
  if (type === "spoil-snapshot") {
    if (damageable.length === 0) return null;
    return { type, at, node: chance.pick(damageable), patienceMs: 500, crashShare: 0.5 };
  }
  if (type in DRAW_STAGED) return DRAW_STAGED[type as StagedFault]({ chance, plan, at, node, timeoutMs, ms });
  return drawOther(type, { chance, plan, at, node, ms });
}

const TARGETED: readonly TargetedType[] = ["strand-leader", "busy", "freeze", "crash-voter"];

const CHANGES: readonly ChangeKind[] = [
  "add",
  "learn",
  "remove",
  "promote",
  "demote",
  "replace",
  "several",
  "move",
];

const SNAPSHOT_ERRORS: readonly DiskErrorKind[] = ["io-error", "failed-sync", "no-handles", "failed-rename"];

/** Faults that are drawn nowhere else by themselves. */
function drawOther(
  type: FaultType,
  { chance, plan, at, node, ms }: { chance: Chance; plan: Plan; at: number; node: number; ms: number },
): Fault | null {
  const timeoutMs = plan.electionTimeoutMs.max;
  switch (type) {
    case "unreachable":
      return { type, at, side: [node], ms };
    case "clock-jump":
      return { type, at, node, byMs: chance.whole(-3_600_000, 3_600_000) };
    case "hang-part":
      return { type, at, node: null, part: chance.pick(PARTS), ms: chance.pick([300, 2_000]) };
    case "snapshot-disk-error":
      return { type, at, node, error: chance.pick(SNAPSHOT_ERRORS) };
    case "stall-leader":
      return { type, at, ms: chance.pick([100, 700]) };
    case "deaf-handover":
      return { type, at, target: "hears", ms: timeoutMs * chance.between(0.5, 1.5) };
    case "busy-receivers": {
      const slow = { applyMs: chance.pick([2, 10]), restoreMs: chance.pick([0, 400]), busyMs: 1_000 };
      return {
        type,
        at,
        receivers: 1,
        backlog: 50,
        writes: 50,
        ...slow,
        takesOwn: true,
        handsOverAfterMs: null,
        ms,
      };
    }
    case "change":
      return { type, at, how: chance.pick(CHANGES), crashLeaderAfterMs: chance.pick([null, null, 20]) };
    case "wipe":
      return { type, at, node };
    case "found-again":
      return { type, at: Math.max(at, 300), node, others: chance.happens(0.4) };
    case "bulk":
      return { type, at, writes: 200 };
    case "hostile-peer":
      return { type, at, as: chance.pick(["stranger", "removed member"]), everyMs: 20, ms: 2 * timeoutMs };
    case "full-disk":
      return { type, at, node, ms };
    case "restart-under-reads":
      return { type, at, node, ms, readsMs: timeoutMs };
    case "leader-without-voters":
      return { type, at, hears: chance.pick(["learners", "removed"]), ms: 2 * timeoutMs };
    case "begin-anew":
      return { type, at, node, ms };
    case "second-process":
      return { type, at, node };
    case "greet-leader":
      return { type, at, acts: ["change", "write", "read"], how: chance.pick(CHANGES) };
    case "interrupt-change": {
      const [step, reached] = [chance.pick([1, 1, 2]), chance.pick([0, 1])];
      return { type, at, how: chance.pick(CHANGES), step, reached, crashAfterMs: null, ms: 2 * timeoutMs };
    }
    default:
      return null;
  }
}

const PARTS = ["state-machine", "snapshots"] as const;
