/**
 * Stages: runs about one part of the protocol. Whatever that part needs is there from the beginning, and
 * hardly anything else happens. A bug that takes three or four rare things at once would otherwise show once
 * in thousands of runs.
 */
import { Chance } from "./chance.ts";
import { byTime, drawFaults } from "./draw-faults.ts";
import { changesAcrossLeadersStage, crowdStage, fullDiskStage } from "./extreme-stages.ts";
import type { Fault } from "./faults.ts";
import { handOverStage } from "./handover-stage.ts";
import {
  callCrowdStage,
  coveredProposalsStage,
  largeSnapshotStage,
  resumedFetchStage,
  supersededLeaderStage,
} from "./interruption-stages.ts";
import { PLAIN_USAGE, WHOLE_LOG_BYTES, type Plan } from "./plan.ts";
import { leaseEndStage, readQuorumStage, soleVoterStage } from "./read-stages.ts";
import { busyClients, cluster, LONG_TTL_MS } from "./stage-cluster.ts";
import {
  drawStagedFaultAt,
  drawStagedFaults,
  learnersJoin,
  lossy,
  type StagedFault,
} from "./stage-faults.ts";

// How long followers may take to catch up in a cluster without faults: so many heartbeats, round trips, and
// calls to the disk. Finding where two logs agree takes a round trip for each term, a snapshot a few for each
// chunk.
const CATCH_UP_HEARTBEATS = 4;
const CATCH_UP_ROUND_TRIPS = 16;
const CATCH_UP_DISK_CALLS = 100;

/** A connection is tried anew after 200 ms at most, and the first try may be under way when the run heals. */
const RECONNECT_MS = 450;

type Stage = (plan: Plan, chance: Chance) => Plan;

/** Of a hundred seeds that have none of `EVEN_STAGES`, how many each stage gets. */
const STAGES: readonly (readonly [percent: number, stage: Stage])[] = [
  [5, forwardingStage],
  [5, snapshotStage],
  [2, leaseStage],
  [3, powerLossStage],
];

/**
 * Stages that were added later, and how many of a hundred of the other runs each gets. Each draws from a
 * random source of its own, whose constant was chosen so that no seed that was kept before became one.
 */
const LATER_STAGES: readonly (readonly [percent: number, constant: number, stage: Stage])[] = [
  [2, 0x29_fa11, failedInstallationStage],
  [2, 0x1d_c0b1, rollBackStage],
  [5, 0xbac_109, backlogStage],
  [5, 0x9_0816, readQuorumStage],
  [3, 0x5111, soleVoterStage],
];

/**
 * Stages of which each is drawn once among so many consecutive seeds: a chance for each seed leaves hundreds
 * of seeds in a row without a stage now and then, and the bugs that need it unfound for as long. Where two
 * are drawn for the same seed, it gets the one that stands first, and the other one gets no seed that time.
 * The constant decides which of the seeds it is, and was chosen so that no seed that was kept before became
 * one.
 */
export const EVEN_STAGES: readonly (readonly [every: number, constant: number, stage: Stage])[] = [
  // First, as it would hardly ever be drawn behind the others.
  [100, 0x1ebf, largeSnapshotStage],
  [40, 0x1edc, coveredProposalsStage],
  [25, 0x1ec0, resumedFetchStage],
  [25, 0x1ec3, callCrowdStage],
  [25, 0x1ec4, supersededLeaderStage],
  [15, 0xb99b, hastyForwardingStage],
  [20, 0x1_3557, restartStage],
  [15, 0x1_5446, tornWriteStage],
  [20, 0x1_9224, bareMajorityStage],
  [40, 0x1ef0, outageStage],
  [10, 0x1ead, changesAcrossLeadersStage],
  [40, 0x1eaf, fullDiskStage],
  [20, 0x1_8002, contestedFetchStage],
  [20, 0x1_b051, busyInstallationStage],
  [60, 0x1eb0, crowdStage],
  [20, 0x1eb2, leaseEndStage],
  [20, 0x1eb9, handOverStage],
];

/** Nodes to spare where leaders remove themselves one after another. */
const SPARES_FOR_REMOVED_LEADERS = 4;

/** More than the eight receivers that a leader serves at once. */
const SPARES_FOR_MANY = 10;

/**
 * An installation of this length outlasts every time limit of its source: the longest is half a minute
 * without a request.
 */
const OUTLASTING_MS = 42_000;

/** How long such a run goes on after its installation began. */
const AFTER_OUTLASTING_MS = 4_000;

/** Whether the seed is the one that is drawn from its block of so many seeds. */
export function isTurnOf(seed: number, every: number, constant: number): boolean {
  const block = Math.floor(seed / every);
  return seed % every === new Chance(block ^ constant).whole(0, every - 1);
}

/** Replaces the plan by a stage in some runs. The plans of all others stay as they are. */
export function withStage(plan: Plan): Plan {
  const turn = turnOf(plan.seed);
  return turn === null ? plan : staged(turn.stage, plan, turn.chance);
}

/** Whether the seed is that of a stage. */
export function isStaged(seed: number): boolean {
  return turnOf(seed) !== null;
}

/** The stage of the seed, and the source of its random decisions; null: the seed has no stage. */
function turnOf(seed: number): { readonly stage: Stage; readonly chance: Chance } | null {
  for (const [every, constant, stage] of EVEN_STAGES)
    if (isTurnOf(seed, every, constant)) return { stage, chance: new Chance(seed ^ constant) };
  // The constant was chosen so that no seed kept before there were stages became one.
  const chance = new Chance(seed ^ 0x57_a601);
  let percent = chance.between(0, 100);
  for (const [share, stage] of STAGES) {
    if (percent < share) return { stage, chance };
    percent -= share;
  }
  for (const [share, constant, stage] of LATER_STAGES) {
    const own = new Chance(seed ^ constant);
    if (own.happens(share / 100)) return { stage, chance: own };
  }
  return null;
}

/** The stage's plan, which bears the name of the stage's function: `forwarding` for `forwardingStage`. */
function staged(stage: Stage, plan: Plan, chance: Chance): Plan {
  return { ...stage(plan, chance), stage: stage.name.replace(/Stage$/, "") };
}

/**
 * Calls are forwarded to the leader (K1, K4). Requests and answers are duplicated, late and lost; leaders
 * transfer leadership, close, and lose their disks. The answer to each call must still be right.
 */
function forwardingStage(plan: Plan, chance: Chance): Plan {
  const isHasty = chance.happens(0.4);
  const hasSessions = chance.happens(0.5);
  const staged = cluster(plan, chance.pick([3, 4, 5, 5]), chance);
  const faults = forwardingFaults(staged, chance);
  const transport = chance.happens(0.75) ? "datagrams" : "tcp";
  return {
    ...staged,
    transport,
    checkQuorum: chance.happens(0.8),
    replayOldMessages: transport === "datagrams" && chance.happens(0.9),
    // With drifting clocks, the node that forwards and the leader don't give up at the same time.
    clockRates: isHasty ? staged.clockRates.map(() => chance.between(0.9, 1.1)) : staged.clockRates,
    linkDelayMs: { min: 0, max: chance.pick([1, 20]) },
    callTimeoutMs: isHasty ? chance.pick([50, 150]) : plan.callTimeoutMs,
    pendingEntriesMax: 65_536,
    pendingBytesMax: chance.pick([65_536, 2_100]),
    valueBytesMax: chance.pick([16, 200]),
    ...busyClients(5, 0.1, staged.faultyMs),
    sessions: hasSessions ? { clients: 5, ttlMs: LONG_TTL_MS } : null,
    usage: { ...PLAIN_USAGE, forward: true, librarySessions: chance.happens(0.3) },
    faults,
  };
}

function forwardingFaults(staged: Plan, chance: Chance): Fault[] {
  const ofLeaders: readonly StagedFault[] = chance.happens(0.5)
    ? ["transfer", "close", "disk-error", "isolated-leader", "one-way", "one-way"]
    : ["transfer", "one-way"];
  const always = chance.happens(0.7) ? [lossy(0, staged.faultyMs, chance.between(0, 0.1), 0.4)] : [];
  const types: readonly StagedFault[] = [
    ...ofLeaders,
    ...chance.some<StagedFault>(
      ["slow-network", "late-copies", "stragglers", "stragglers", "slow-disk"],
      0.6,
    ),
  ];
  const everyMs = chance.pick([150, 300, 600]);
  return byTime([...always, ...drawStagedFaults(chance, staged, everyMs, () => chance.pick(types))]);
}

/**
 * Calls are forwarded for callers with little time, who repeat what isn't answered within `callTimeoutMs`
 * (K1), and by nodes that close while they wait for the answer (K4). Requests are repeated and late, and the
 * same nodes lead again and again, so that a late request meets the leader it was meant for, in another term.
 */
function hastyForwardingStage(plan: Plan, chance: Chance): Plan {
  const staged = cluster(plan, chance.pick([3, 3, 5]), chance);
  const { faultyMs } = staged;
  const all = [...staged.clockRates.keys()];
  const leadersChange = chance.happens(0.5);
  const types = leadersChange
    ? [
        ...chance.pick<readonly StagedFault[]>([["busy-close"], ["transfer"], ["one-way"]]),
        ...chance.some<StagedFault>(["busy-close", "transfer", "one-way", "burst", "slow-network"], 0.5),
      ]
    : chance.pick<readonly StagedFault[]>([["burst"], ["slow-network"], ["busy-close"]]);
  const everyMs = leadersChange ? chance.pick([100, 200, 400]) : chance.pick([400, 1_000]);
  const stragglers = { share: chance.pick([0.15, 0.3]), byMs: chance.pick([200, 400, 800]) };
  return {
    ...staged,
    transport: "datagrams",
    checkQuorum: chance.happens(0.8),
    replayOldMessages: chance.happens(0.8),
    clockRates: all.map(() => chance.between(0.9, 1.1)),
    priorities: leadersChange && chance.happens(0.4) ? all.map((node) => (node === 0 ? 1 : 0)) : [],
    linkDelayMs: { min: 0, max: chance.pick([5, 20]) },
    callTimeoutMs: chance.pick([50, 100, 150]),
    pendingEntriesMax: 65_536,
    pendingBytesMax: 65_536,
    valueBytesMax: 16,
    ...busyClients(5, 0.1, faultyMs),
    sessions: chance.happens(0.8) ? { clients: 4, ttlMs: LONG_TTL_MS } : null,
    usage: { ...PLAIN_USAGE, forward: true, librarySessions: chance.happens(0.25) },
    faults: byTime([
      lossy(0, faultyMs, chance.between(0, 0.05), chance.pick([0.1, 0.4])),
      { type: "stragglers", at: 0, ms: faultyMs, ...stragglers },
      ...drawStagedFaults(chance, staged, everyMs, () => chance.pick(types)),
    ]),
  };
}

const SNAPSHOT_FAULTS: Readonly<Record<"batches" | "installing" | "damage", readonly StagedFault[]>> = {
  batches: ["snapshot-in-batch"],
  installing: ["snapshot", "absence", "crash-at-snapshot", "snapshot-error-at-rename"],
  damage: ["snapshot", "snapshot", "spoil-snapshot"],
};

/**
 * The interval of snapshots in entries. For a snapshot in the middle of a batch none must be due by itself,
 * as a fault asks for it. An interval of 1000 also makes installations in which only one node has a snapshot,
 * and the others have the whole log.
 */
function everyEntriesOf(about: keyof typeof SNAPSHOT_FAULTS, chance: Chance): number {
  if (about === "batches") return 1_000;
  return chance.pick(about === "installing" ? [3, 15, 60, 1_000, 1_000] : [3, 15, 60]);
}

/**
 * Snapshots are taken in the middle of batches, or sent and installed between crashes, or damaged (S1 to
 * S15).
 */
function snapshotStage(plan: Plan, chance: Chance): Plan {
  const about = chance.pick(["batches", "batches", "installing", "installing", "damage"] as const);
  // A sole node has no minority that may be damaged.
  const staged = cluster(plan, chance.pick(about === "damage" ? [3, 3, 5] : [1, 3, 3, 5]), chance);
  const types = SNAPSHOT_FAULTS[about].concat(
    chance.some<StagedFault>(["snapshot", "transfer", "crash", "lossy"], about === "installing" ? 0.6 : 0.2),
  );
  const everyMs = chance.pick([60, 120, 250]);
  const faults = drawStagedFaults(chance, staged, everyMs, () => chance.pick(types));
  return {
    ...staged,
    durableState: chance.happens(about === "installing" ? 0.4 : 0.1),
    snapshots: {
      everyEntries: everyEntriesOf(about, chance),
      keepEntries: chance.pick([0, 0, 3]),
      transferKeepBytes: chance.pick([0, 1_000, 1_048_576]),
      ballastBytes: chance.pick([0, 5_000, 20_000]),
      fetchBytesPerSecond: chance.pick([20_000, 60_000, Infinity]),
    },
    ...busyClients(5, 0.1, staged.faultyMs),
    sessions: chance.happens(0.5) ? { clients: 5, ttlMs: LONG_TTL_MS } : null,
    faults: byTime(faults),
  };
}

/**
 * A leader with a lease transfers leadership, or removes itself from two voters, and doesn't hear who leads
 * (L5, L6).
 */
function leaseStage(plan: Plan, chance: Chance): Plan {
  const removesItself = chance.happens(0.4);
  const staged = removesItself
    ? cluster(plan, 2, chance, SPARES_FOR_REMOVED_LEADERS)
    : cluster(plan, chance.pick([3, 3, 5]), chance);
  const { max } = staged.electionTimeoutMs;
  const faults: Fault[] = [];
  const everyMs = max * chance.pick([2, 4]);
  for (let at = everyMs; at < staged.faultyMs; at += everyMs) {
    if (removesItself) faults.push({ type: "change", at, how: "bequeath", crashLeaderAfterMs: null });
    else faults.push({ type: "deaf-handover", at, target: "hears", ms: max * chance.between(0.5, 1.5) });
  }
  return {
    ...staged,
    checkQuorum: true,
    clockDriftMax: 0.05,
    keys: 1,
    ...busyClients(4, 0.3, staged.faultyMs),
    leaseShare: 1,
    staleShare: 0,
    faults,
  };
}

/**
 * The power fails in the middle of writes that are several sectors long, and after failed syncs (D2, D3,
 * D13).
 */
function powerLossStage(plan: Plan, chance: Chance): Plan {
  const staged = cluster(plan, chance.pick([1, 3, 3]), chance);
  const type = chance.pick(["crash-loop", "crash-loop", "failed-sync"] as const);
  const everyMs = chance.pick([200, 400]);
  const faults = drawStagedFaults(chance, staged, everyMs, () => type);
  return {
    ...staged,
    durableState: chance.happens(0.5),
    pendingBytesMax: 65_536,
    diskMs: chance.pick([0.5, 2, 5]),
    segmentBytes: 65_536,
    // Only a write of several sectors can be interrupted in the middle.
    valueBytesMax: 2_000,
    ...busyClients(5, 0.1, staged.faultyMs),
    faults: byTime(faults),
  };
}

/**
 * Nodes take snapshots slowly, in the middle of many commands and with sessions in use, and start again from
 * them (S5, Z19). In most of these runs the state is in memory only, so nothing that a node applied survives
 * but by the log and the snapshot.
 */
function restartStage(plan: Plan, chance: Chance): Plan {
  const staged = cluster(plan, chance.pick([1, 3, 3, 5]), chance);
  const types: readonly StagedFault[] = [
    "snapshot-under-load",
    ...chance.some<StagedFault>(["crash-at-snapshot", "transfer", "absence", "snapshot-in-batch"], 0.4),
  ];
  const everyMs = chance.pick([100, 200]);
  return {
    ...staged,
    durableState: chance.happens(0.15),
    diskMs: chance.pick([0.5, 2, 5]),
    snapshots: {
      everyEntries: chance.pick([5, 15, 1_000]),
      keepEntries: chance.pick([0, 0, 3]),
      transferKeepBytes: chance.pick([0, 1_000]),
      ballastBytes: chance.pick([0, 5_000]),
      fetchBytesPerSecond: Infinity,
    },
    pendingBytesMax: 65_536,
    valueBytesMax: chance.pick([16, 200]),
    ...busyClients(5, 0.1, staged.faultyMs),
    sessions: chance.happens(0.85) ? { clients: 4, ttlMs: LONG_TTL_MS } : null,
    usage: { ...PLAIN_USAGE, librarySessions: chance.happens(0.3), closeShare: chance.pick([0, 0.1]) },
    faults: byTime(drawStagedFaults(chance, staged, everyMs, () => chance.pick(types))),
  };
}

/** The power fails during long writes, and again before as much is written anew (D3). */
function tornWriteStage(plan: Plan, chance: Chance): Plan {
  // A follower is sent again what it lost, and writes it in one long write. A sole node goes on with short
  // writes.
  const staged = cluster(plan, chance.pick([1, 1, 3]), chance);
  // The first write after each restart is that of the vote, after an election timeout.
  const everyMs = staged.electionTimeoutMs.max * chance.pick([2, 4]);
  const others = chance.some<StagedFault>(["failed-sync", "crash-loop", "transfer"], 0.2);
  const types: readonly StagedFault[] = ["torn-burst", "torn-burst", ...others];
  return {
    ...staged,
    durableState: chance.happens(0.3),
    pendingEntriesMax: 65_536,
    pendingBytesMax: 65_536,
    diskMs: chance.pick([0.5, 2]),
    segmentBytes: 65_536,
    valueBytesMax: 2_000,
    ...busyClients(3, 0.1, staged.faultyMs),
    faults: byTime(drawStagedFaults(chance, staged, everyMs, () => chance.pick(types))),
  };
}

/**
 * Machines are lost for good until only a majority is left, so that every election needs all that remain, and
 * nobody else can help them out: with what one of them lacks, or with a later term (E11, E12).
 */
function bareMajorityStage(plan: Plan, chance: Chance): Plan {
  const staged = cluster(plan, chance.pick([3, 3, 3, 5]), chance);
  const lost: readonly StagedFault[] = ["destroy", "lost-candidate", "lost-candidate", "lost-candidate"];
  const first = { ...staged, faultyMs: staged.faultyMs / 3 };
  const others = chance.some<StagedFault>(
    ["crash", "transfer", "one-way", "isolated-leader", "slow-network", "lossy", "burst"],
    0.3,
  );
  const everyMs = staged.electionTimeoutMs.max * chance.pick([2, 4]);
  const losses = drawStagedFaults(chance, first, first.faultyMs / 2, () => chance.pick(lost));
  const faults = drawStagedFaults(chance, staged, everyMs, () =>
    chance.pick(others.length === 0 ? lost : others),
  );
  return {
    ...staged,
    checkQuorum: chance.happens(0.9),
    preVote: chance.happens(0.9),
    durableState: chance.happens(0.3),
    ...busyClients(3, 0.3, staged.faultyMs),
    faults: byTime([...losses, ...faults]),
  };
}

/**
 * Nodes are set back to older copies of their disks, under a leader that stays and under leaders that change
 * (Z20).
 */
function rollBackStage(plan: Plan, chance: Chance): Plan {
  const spares = chance.pick([0, 0, 1, 2]);
  const staged = cluster(plan, chance.pick([3, 3, 5]), chance, spares);
  const others = chance.some<StagedFault>(["transfer", "crash", "absence", "slow-network", "snapshot"], 0.3);
  const everyMs = chance.pick([200, 500]);
  const faults = drawStagedFaults(chance, staged, everyMs, () =>
    others.length === 0 || chance.happens(0.5) ? "roll-back" : chance.pick(others),
  );
  const replacing = drawFaults(chance, { everyMs: 1_000, untilMs: staged.faultyMs }, (at) =>
    spares === 0 ? null : { type: "change", at, how: "replace", crashLeaderAfterMs: null },
  );
  return {
    ...staged,
    durableState: chance.happens(0.3),
    ...busyClients(4, 0.2, staged.faultyMs),
    snapshots: chance.happens(0.3)
      ? {
          everyEntries: 20,
          keepEntries: 3,
          transferKeepBytes: 0,
          ballastBytes: 0,
          fetchBytesPerSecond: Infinity,
        }
      : null,
    faults: byTime([...faults, ...replacing]),
  };
}

/**
 * Installations of snapshots fail, and the next leader sends the entries from its log instead, or an older
 * snapshot (Z9). No node takes a snapshot by itself, so the log of a node that wasn't asked for one reaches
 * back to the beginning.
 */
function failedInstallationStage(plan: Plan, chance: Chance): Plan {
  const staged = cluster(plan, chance.pick([3, 3, 5]), chance);
  const everyMs = chance.pick([600, 1_200]);
  const others = chance.some<StagedFault>(["crash", "lossy", "transfer"], 0.3);
  const faults = drawStagedFaults(chance, staged, everyMs, () =>
    others.length === 0 || chance.happens(0.7) ? "failed-installation" : chance.pick(others),
  );
  return {
    ...staged,
    // A byte stream would deliver late what was sent during the cut, and no snapshot would be needed.
    transport: "datagrams",
    durableState: chance.happens(0.3),
    snapshots: {
      everyEntries: 1_000,
      keepEntries: 0,
      transferKeepBytes: 0,
      ballastBytes: chance.pick([0, 5_000]),
      fetchBytesPerSecond: Infinity,
    },
    ...busyClients(5, 0.1, staged.faultyMs),
    sessions: chance.happens(0.3) ? { clients: 5, ttlMs: LONG_TTL_MS } : null,
    faults: byTime(faults),
  };
}

/**
 * Snapshots are fetched while another leader sends the entries that they cover, and are installed over writes
 * and batches that are under way (S5, S18). No node takes a snapshot by itself, so the logs of all but the
 * leader that was asked for one reach back to the beginning.
 */
function contestedFetchStage(plan: Plan, chance: Chance): Plan {
  const staged = cluster(plan, chance.pick([3, 3, 5]), chance);
  const everyMs = chance.pick([500, 900]);
  const others = chance.some<StagedFault>(["crash", "transfer", "lossy", "slow-network", "snapshot"], 0.3);
  const faults = drawStagedFaults(chance, staged, everyMs, () =>
    others.length === 0 || chance.happens(0.7) ? "contested-fetch" : chance.pick(others),
  );
  return {
    ...staged,
    // A byte stream would deliver late what was sent during the cut, and no snapshot would be needed.
    transport: "datagrams",
    durableState: chance.happens(0.5),
    diskMs: chance.pick([0, 0.5, 2]),
    shortReads: chance.happens(0.5),
    cacheBytes: chance.pick([1_024, 1_048_576]),
    snapshots: {
      everyEntries: 1_000,
      keepEntries: 0,
      transferKeepBytes: chance.pick([0, 1_048_576]),
      ballastBytes: chance.pick([0, 5_000, 20_000]),
      fetchBytesPerSecond: chance.pick([60_000, 200_000, Infinity]),
    },
    ...busyClients(5, 0.1, staged.faultyMs),
    sessions: chance.happens(0.6) ? { clients: 5, ttlMs: LONG_TTL_MS } : null,
    faults: byTime(faults),
    // The offers of the leader before come again, too.
    replayOldMessages: true,
  };
}

/**
 * Followers come back from a long absence, or are new, and have hundreds or thousands of entries to catch up
 * with: by the log, by a snapshot, or after removing as many of their own that were never committed. How long
 * that may take is measured in round trips (Q2, S12).
 */
function backlogStage(plan: Plan, chance: Chance): Plan {
  const isJoined = chance.happens(0.3);
  const failsSnapshots = chance.happens(0.3);
  const staged = cluster(plan, chance.pick([3, 3, 5, 7]), chance, isJoined ? 2 : 0);
  const { heartbeatMs } = staged;
  const transport = chance.pick(["tcp", "datagrams"] as const);
  const linkDelayMs = { min: 0, max: chance.pick([1, 1, 20]) };
  const diskMs = chance.pick([0, 0, 0.5]);
  const snapshots = {
    everyEntries: chance.pick([15, 60, 500]),
    keepEntries: chance.pick([0, 0, 3, 100]),
    transferKeepBytes: chance.pick([0, 1_000, 1_048_576]),
    ballastBytes: chance.pick([0, 20_000]),
    fetchBytesPerSecond: Infinity,
  };
  return {
    ...staged,
    ...{ transport, linkDelayMs, diskMs },
    preVote: true,
    checkQuorum: true,
    snapshots: failsSnapshots || chance.happens(0.6) ? snapshots : null,
    cacheBytes: chance.pick([1_024, 1_048_576]),
    segmentBytes: 65_536,
    pendingEntriesMax: 65_536,
    pendingBytesMax: 1_048_576,
    valueBytesMax: 16,
    // A stream that is opened anew after each of thousands of commands decodes most of them each time.
    reopenCommittedAfter: null,
    ...busyClients(2, 0.3, staged.faultyMs),
    faults: byTime([
      ...backlogFaults(staged, isJoined, chance),
      ...(failsSnapshots ? failedSnapshots(staged, chance) : []),
    ]),
    restsBeforeWriting: true,
    // A node pauses after a failed snapshot, and may then exceed the bound.
    catchUpMs: failsSnapshots ? null : catchUpMsOf({ heartbeatMs, linkDelayMs, diskMs, transport }),
  };
}

/**
 * Within how many milliseconds all nodes must have caught up with the leader while all links and disks work.
 */
function catchUpMsOf(plan: Pick<Plan, "heartbeatMs" | "linkDelayMs" | "diskMs" | "transport">): number {
  const { heartbeatMs, linkDelayMs, diskMs, transport } = plan;
  return (
    CATCH_UP_HEARTBEATS * heartbeatMs +
    CATCH_UP_ROUND_TRIPS * 2 * linkDelayMs.max +
    CATCH_UP_DISK_CALLS * diskMs +
    (transport === "tcp" ? RECONNECT_MS : 0)
  );
}

/**
 * Some nodes are out of reach for as long as everything that backs off takes to reach its limit, or to exceed
 * every limit that it should have (W5). Once they are in reach again, they must be up to date within
 * `catchUpMs`.
 */
function outageStage(plan: Plan, chance: Chance): Plan {
  const staged = cluster(plan, chance.pick([2, 3, 3, 5]), chance);
  const faultyMs = chance.pick([10_000, 20_000]);
  const members = chance.shuffled([...staged.clockRates.keys()]);
  // Half of the nodes may be on either side: then nobody leads meanwhile.
  const side = members.slice(0, chance.whole(1, Math.floor(members.length / 2)));
  const transport = chance.happens(0.8) ? "tcp" : "datagrams";
  const bounded = { ...staged, faultyMs, transport, linkDelayMs: { min: 0, max: 1 }, diskMs: 0 } as const;
  return {
    ...bounded,
    preVote: true,
    checkQuorum: true,
    pendingEntriesMax: 65_536,
    pendingBytesMax: 65_536,
    ...busyClients(3, 0.3, faultyMs),
    restsBeforeWriting: true,
    catchUpMs: catchUpMsOf(bounded),
    faults: [
      chance.happens(0.7)
        ? { type: "unreachable", at: 500, side, ms: 2 * faultyMs }
        : { type: "partition", at: 500, side, oneWay: false, ms: 2 * faultyMs },
    ],
  };
}

/** On some nodes the last snapshots before the run heals fail. */
function failedSnapshots({ clockRates, faultyMs }: Plan, chance: Chance): Fault[] {
  const at = faultyMs * 0.65;
  return chance.some([...clockRates.keys()], 0.5).map((node) => ({
    type: "snapshot-disk-error",
    at,
    node,
    error: chance.pick(["io-error", "no-handles"]),
  }));
}

/**
 * Installations of snapshots meet something: commands that are still being applied, snapshots of the node's
 * own, or time limits of the source that the installation outlasts (S19). Or many nodes join, one after
 * another. The operator waits for each, so the leader is never asked for more transfers than it serves at
 * once.
 */
function busyInstallationStage(plan: Plan, chance: Chance): Plan {
  const about = chance.pick(["busy", "busy", "busy", "busy", "long", "many"] as const);
  const isMany = about === "many";
  const staged = isMany
    ? cluster(plan, 3, chance, SPARES_FOR_MANY)
    : cluster(plan, chance.pick([3, 5, 5]), chance);
  const isLong = about === "long";
  const faultyMs = isLong ? OUTLASTING_MS + AFTER_OUTLASTING_MS : staged.faultyMs;
  const withFaults = { ...staged, faultyMs };
  // Learners are asked for much faster than they can fetch a snapshot; the operator adds one after another.
  const faults = isMany ? learnersJoin(SPARES_FOR_MANY, 200, 150) : busyReceivers(withFaults, isLong, chance);
  return {
    ...withFaults,
    // A byte stream would deliver late what was sent during a cut, and no snapshot would be needed.
    transport: isMany ? chance.pick(["tcp", "datagrams"]) : "datagrams",
    durableState: chance.happens(0.3),
    diskMs: chance.pick([0, 0.5, 2]),
    snapshots: {
      // With an interval of 1000 the next leader may still have the whole log.
      everyEntries: isMany || isLong ? 15 : chance.pick([15, 60, 1_000, 1_000]),
      keepEntries: 0,
      transferKeepBytes: WHOLE_LOG_BYTES,
      ballastBytes: isMany ? 40_000 : isLong ? 0 : chance.pick([0, 5_000, 20_000]),
      fetchBytesPerSecond: isMany ? 20_000 : chance.pick([20_000, 60_000, Infinity]),
    },
    pendingEntriesMax: 65_536,
    pendingBytesMax: 1_048_576,
    valueBytesMax: 16,
    reopenCommittedAfter: null,
    ...busyClients(3, 0.2, faultyMs),
    sessions: chance.happens(0.3) ? { clients: 3, ttlMs: LONG_TTL_MS } : null,
    faults: byTime(faults),
    restsBeforeWriting: chance.happens(0.7),
    restartsAtEnd: true,
  };
}

function busyReceivers(staged: Plan, isLong: boolean, chance: Chance): Fault[] {
  const writes = (): number => chance.pick([20, 100, 300]);
  const busy = (at: number, restoreMs: number): Fault => {
    const ms = chance.between(100, 500);
    return {
      type: "busy-receivers",
      at,
      receivers: chance.whole(1, 2),
      backlog: writes(),
      writes: writes(),
      applyMs: chance.pick([0, 2, 10, 50]),
      restoreMs,
      takesOwn: chance.happens(0.6),
      handsOverAfterMs: restoreMs <= 1_000 && chance.happens(0.5) ? chance.pick([20, 100, 300]) : null,
      ms,
      busyMs: ms + (restoreMs > 1_000 ? staged.faultyMs : chance.between(300, 1_500)),
    };
  };
  if (isLong) return [busy(500, OUTLASTING_MS)];
  const others = chance.some<StagedFault>(
    ["transfer", "transfer", "crash", "snapshot", "absence", "lossy"],
    0.4,
  );
  const everyMs = chance.pick([400, 800]);
  const drawn = drawFaults(chance, { everyMs, firstMs: 2 * everyMs, untilMs: staged.faultyMs }, (at) =>
    others.length === 0 || chance.happens(0.5)
      ? [busy(at, chance.pick([0, 0, 50, 400]))]
      : drawStagedFaultAt(chance, staged, at, chance.pick(others)),
  );
  return [busy(300, 0), ...drawn];
}

function backlogFaults(staged: Plan, isJoined: boolean, chance: Chance): Fault[] {
  const { faultyMs, nodes, spares } = staged;
  const writes = (): number => chance.pick([200, 600, 2_000]);
  const members = chance.shuffled(Array.from({ length: nodes - spares }, (_, node) => node));
  const side = members.slice(0, chance.whole(1, (members.length - 1) >> 1));
  const faults: Fault[] = [];
  if (chance.happens(0.5)) {
    // The leader appends entries that it can't commit, and others commit theirs at the same indexes.
    const at = faultyMs * 0.1;
    const stranded = { companions: 0, readsAfterMs: null, lateTimers: false, answersMs: 0, stunned: false };
    faults.push({ type: "strand-leader", at, writes: writes(), ms: faultyMs * 0.9, ...stranded });
  } else {
    faults.push({ type: "partition", at: faultyMs * 0.2, side, oneWay: false, ms: faultyMs * 0.8 });
  }
  for (const share of [0.5, 0.6, 0.7])
    if (chance.happens(0.7)) faults.push({ type: "bulk", at: faultyMs * share, writes: writes() });
  if (isJoined) faults.push({ type: "change", at: faultyMs * 0.8, how: "add", crashLeaderAfterMs: null });
  return byTime(faults);
}
