import { Chance } from "./chance.ts";
import type { Fault } from "./faults.ts";
import { PLAIN_USAGE, type Plan } from "./plan.ts";
import { CALL_TIMEOUT_MS, CALLS_MAX } from "./workload.ts";

/**
 * A stage is a run about one part of the protocol: whatever that part needs is there from the beginning, and hardly
 * anything else happens. What takes three or four rare things at once would otherwise be seen once in thousands of runs.
 */
type Stage = (plan: Plan, chance: Chance) => Plan;

/** How many of a hundred runs each stage gets. */
const STAGES: readonly (readonly [percent: number, stage: Stage])[] = [
  [5, forwardingStage],
  [5, snapshotStage],
  [2, leaseStage],
  [3, powerLossStage],
];

/** Nodes that come one after another, where leaders leave. */
const SPARES_FOR_REMOVED_LEADERS = 4;

/** A session that outlives the run. */
const LONG_TTL_MS = 60_000;

/** The runs that are staged; the plans of all others stay what they were. */
export function withStage(plan: Plan): Plan {
  // A number with which none of the seeds kept before there were stages is staged: they go on doing their part.
  const chance = new Chance(plan.seed ^ 0x57_a601);
  let percent = chance.between(0, 100);
  for (const [share, stage] of STAGES) {
    if (percent < share) return stage(plan, chance);
    percent -= share;
  }
  return plan;
}

/**
 * Calls are passed on to the leader (K1, K4): requests and answers are doubled, late and lost, leaders hand over, close
 * and lose their disks, and the answer to each call must still be true.
 */
function forwardingStage(plan: Plan, chance: Chance): Plan {
  const isHasty = chance.happens(0.4);
  const hasSessions = chance.happens(0.5);
  const staged = cluster(plan, chance.pick([3, 4, 5, 5]), chance);
  const ofLeaders: readonly StagedFault[] = chance.happens(0.5)
    ? ["transfer", "close", "disk-error", "strand", "deafen", "deafen"]
    : ["transfer", "deafen"];
  const faults: Fault[] = [];
  if (chance.happens(0.7)) faults.push(lossy(0, staged.faultyMs, chance.between(0, 0.1), 0.4));
  const often: readonly StagedFault[] = [
    ...ofLeaders,
    ...chance.some<StagedFault>(
      ["slow-network", "late-copies", "stragglers", "stragglers", "slow-disk"],
      0.6,
    ),
  ];
  addEvery(faults, chance, staged, chance.pick([150, 300, 600]), () => chance.pick(often));
  const transport = chance.happens(0.75) ? "datagrams" : "tcp";
  return {
    ...staged,
    transport,
    checkQuorum: chance.happens(0.8),
    replayOldMessages: transport === "datagrams" && chance.happens(0.9),
    // Whoever asks and whoever is asked do not give up at the same time.
    clockRates: isHasty ? staged.clockRates.map(() => chance.between(0.9, 1.1)) : staged.clockRates,
    linkDelayMs: { min: 0, max: chance.pick([1, 20]) },
    callTimeoutMs: isHasty ? chance.pick([50, 150]) : plan.callTimeoutMs,
    pendingEntriesMax: 65_536,
    pendingBytesMax: chance.pick([65_536, 2_100]),
    valueBytesMax: chance.pick([16, 200]),
    ...clients(5, 0.1, staged.faultyMs),
    sessions: hasSessions ? { clients: 5, ttlMs: LONG_TTL_MS } : null,
    usage: { ...PLAIN_USAGE, forward: true, librarySessions: chance.happens(0.3) },
    faults: byTime(faults),
  };
}

const SNAPSHOT_FAULTS: Readonly<Record<"batches" | "installing" | "spoiling", readonly StagedFault[]>> = {
  batches: ["snapshot-in-batch"],
  installing: ["snapshot", "absence", "crash-at-snapshot", "crash-at-snapshot"],
  spoiling: ["snapshot", "snapshot", "spoil-snapshot"],
};

/** Snapshots are taken in the middle of batches, sent, installed and started from, and what befalls them then (S1-S15). */
function snapshotStage(plan: Plan, chance: Chance): Plan {
  const about = chance.pick(["batches", "batches", "installing", "installing", "spoiling"] as const);
  // Of a single node nothing may be damaged.
  const staged = cluster(plan, chance.pick(about === "spoiling" ? [3, 3, 5] : [1, 3, 3, 5]), chance);
  const types = SNAPSHOT_FAULTS[about].concat(
    chance.some<StagedFault>(["snapshot", "transfer", "crash", "lossy"], about === "installing" ? 0.6 : 0.2),
  );
  const faults: Fault[] = [];
  addEvery(faults, chance, staged, chance.pick([60, 120, 250]), () => chance.pick(types));
  return {
    ...staged,
    durableState: chance.happens(about === "installing" ? 0.4 : 0.1),
    snapshots: {
      // In the middle of a batch none is due: somebody asks for it.
      everyEntries: about === "batches" ? 1_000 : chance.pick([3, 15, 60]),
      keepEntries: chance.pick([0, 0, 3]),
      transferKeepBytes: chance.pick([0, 1_000, 1_048_576]),
      ballastBytes: chance.pick([0, 5_000, 20_000]),
      fetchBytesPerSecond: chance.pick([20_000, 60_000, Infinity]),
    },
    ...clients(5, 0.1, staged.faultyMs),
    sessions: chance.happens(0.5) ? { clients: 5, ttlMs: LONG_TTL_MS } : null,
    faults: byTime(faults),
  };
}

/** Leadership is handed over under a lease, or left to an heir; the one who had it does not hear that it has gone (L5, L6). */
function leaseStage(plan: Plan, chance: Chance): Plan {
  const isLeft = chance.happens(0.4);
  const staged = isLeft
    ? cluster(plan, 2, chance, SPARES_FOR_REMOVED_LEADERS)
    : cluster(plan, chance.pick([3, 3, 5]), chance);
  const { max } = staged.electionTimeoutMs;
  const faults: Fault[] = [];
  const everyMs = max * chance.pick([2, 4]);
  for (let at = everyMs; at < staged.faultyMs; at += everyMs) {
    if (isLeft) faults.push({ type: "change", at, how: "bequeath", crashLeaderAfterMs: null });
    else faults.push({ type: "deaf-handover", at, ms: max * chance.between(0.5, 1.5) });
  }
  return {
    ...staged,
    checkQuorum: true,
    clockDriftMax: 0.05,
    keys: 1,
    ...clients(4, 0.3, staged.faultyMs),
    leaseShare: 1,
    staleShare: 0,
    faults,
  };
}

/** The power fails in the middle of writes that are several sectors long, and syncs fail before it (D3, D13). */
function powerLossStage(plan: Plan, chance: Chance): Plan {
  const staged = cluster(plan, chance.pick([1, 3, 3]), chance);
  const type = chance.pick(["crash-loop", "crash-loop", "failed-sync"] as const);
  const faults: Fault[] = [];
  addEvery(faults, chance, staged, chance.pick([200, 400]), () => type);
  return {
    ...staged,
    durableState: chance.happens(0.5),
    pendingBytesMax: 65_536,
    diskMs: chance.pick([0.5, 2, 5]),
    segmentBytes: 65_536,
    // Only a write of several sectors can be torn.
    valueBytesMax: 2_000,
    ...clients(5, 0.1, staged.faultyMs),
    faults: byTime(faults),
  };
}

/** So many clients, who ask as often as they can without asking too much; of their calls, so many are reads. */
function clients(
  count: number,
  readShare: number,
  faultyMs: number,
): Pick<Plan, "clients" | "thinkMs" | "readShare"> {
  return { clients: count, thinkMs: (count * faultyMs) / CALLS_MAX, readShare };
}

/** So many members, and others that may come to be some, whose clocks are right. */
function cluster(plan: Plan, members: number, chance: Chance, spares = 0): Plan {
  const all = Array.from({ length: members + spares }, (_, node) => node);
  return {
    ...plan,
    nodes: all.length,
    spares,
    clockRates: all.map(() => 1),
    wallOffsetsMs: all.map(() => 0),
    initializers: [0],
    initializeAfterMs: 0,
    priorities: [],
    callTimeoutMs: CALL_TIMEOUT_MS,
    leaseShare: 0,
    staleShare: 0,
    usage: PLAIN_USAGE,
    sessions: null,
    snapshots: null,
    shortReads: false,
    electionTimeoutMs: { min: 150, max: 300 },
    heartbeatMs: 40,
    faultyMs: chance.pick([2_000, 4_000]),
  };
}

type StagedFault =
  | "transfer"
  | "close"
  | "disk-error"
  | "strand"
  | "deafen"
  | "slow-network"
  | "late-copies"
  | "stragglers"
  | "slow-disk"
  | "snapshot"
  | "snapshot-in-batch"
  | "crash"
  | "lossy"
  | "spoil-snapshot"
  | "crash-at-snapshot"
  | "absence"
  | "crash-loop"
  | "failed-sync";

function addEvery(
  faults: Fault[],
  chance: Chance,
  plan: Plan,
  everyMs: number,
  pick: () => StagedFault,
): void {
  for (let at = chance.time(everyMs); at < plan.faultyMs; at += chance.time(everyMs)) {
    faults.push(...stagedFaults(pick(), at, chance, plan));
  }
}

/** How long a state machine is slow, and a snapshot of it may be asked for. */
const SLOW_APPLY_MS = 150;

/** How long it takes until somebody starts a process that stopped by itself; its log is open a little later. */
const RESTARTED_AFTER_MS = 210;

function stagedFaults(type: StagedFault, at: number, chance: Chance, plan: Plan): Fault[] {
  const node = chance.whole(0, plan.nodes - 1);
  const { max } = plan.electionTimeoutMs;
  const ms = chance.time(max);
  switch (type) {
    case "transfer":
      return [{ type, at }];
    case "close":
    case "snapshot":
      return [{ type, at, node }];
    case "disk-error":
      return [{ type, at, node, error: "io-error", powerCutAfterMs: null }];
    case "strand":
      // It hears who comes after it, and has told others of what it had not committed.
      return [{ type: "lonely-leader", at, disk: "well", ms: chance.between(100, 600) }];
    case "deafen": {
      // A leader among the others is heard and hears no majority, so it stops leading, and what it wrote is committed.
      const side = chance
        .shuffled(plan.clockRates.map((_, other) => other))
        .slice(0, Math.ceil(plan.nodes / 2));
      return [{ type: "partition", at, side, oneWay: true, ms: max * chance.between(2, 3.5) }];
    }
    case "slow-network":
      return [{ type, at, delayMs: chance.pick([50, 150, 300]), ms }];
    case "late-copies":
      return [{ type, at, share: 0.3, byMs: max * chance.pick([0.5, 2]), ms: 3 * ms }];
    case "stragglers":
      return [{ type, at, share: 0.2, byMs: chance.pick([200, 400]), ms: 3 * ms }];
    case "slow-disk":
      return [{ type, at, node, delayMs: chance.pick([20, 100]), ms: 2 * ms }];
    case "lossy":
      return [lossy(at, ms, 0.2, 0.3)];
    case "snapshot-in-batch": {
      const slow: Fault = {
        type: "slow-apply",
        at,
        node,
        delayMs: chance.pick([2, 10, 50]),
        ms: SLOW_APPLY_MS,
      };
      const snapshot: Fault = { type: "snapshot", at: at + chance.between(0, SLOW_APPLY_MS), node };
      // What it then starts from is that snapshot.
      const crash: Fault = { type: "crash", at: at + SLOW_APPLY_MS + chance.time(50), node, ms: 20 };
      return [slow, snapshot, crash];
    }
    case "crash":
      return [{ type, at, node, ms: chance.time(100) }];
    case "absence":
      return [{ type: "partition", at, side: [node], oneWay: false, ms }];
    case "crash-at-snapshot":
      return [{ type, at, node, calls: chance.whole(1, 6), ms: chance.pick([1, 20, 200]) }];
    case "spoil-snapshot":
      // Always the same one, for a minority alone may be damaged; and it starts from what it finds.
      return [{ type, at, node: 0, patienceMs: 0, crashShare: 0.9 }];
    case "crash-loop": {
      const calls = [chance.whole(1, 6), ...[3, 5, 8].map((most) => chance.whole(1, most))];
      return [{ type, at, node, calls, ms: chance.pick([1, 20]) }];
    }
    case "failed-sync": {
      const powerCutAfterMs = RESTARTED_AFTER_MS + chance.time(60);
      return [{ type: "disk-error", at, node, error: "failed-sync", powerCutAfterMs }];
    }
  }
}

function lossy(at: number, ms: number, drop: number, duplicate: number): Fault {
  return { type: "lossy", at, link: null, drop, duplicate, ms };
}

function byTime(faults: readonly Fault[]): Fault[] {
  return [...faults].sort((a, b) => a.at - b.at);
}
