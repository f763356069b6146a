/**
 * Stages about changes of the membership that other leaders finish, disks that are full for long, and more
 * learners than a leader serves with snapshots at once.
 */
import type { Chance } from "./chance.ts";
import { byTime, drawFaults } from "./draw-faults.ts";
import type { ChangeKind, Fault, GreetingAct } from "./faults.ts";
import type { Plan } from "./plan.ts";
import { busyClients, cluster } from "./stage-cluster.ts";
import { drawStagedFaults, learnersJoin, type StagedFault } from "./stage-faults.ts";

/** Kinds of change that are interrupted. Those that stand twice are drawn twice as often. */
const INTERRUPTED_CHANGES: readonly ChangeKind[] = [
  "add",
  "add",
  "learn",
  "promote",
  "promote",
  "demote",
  "demote",
  "remove",
  "remove-leader",
  "replace",
  "replace",
  "several",
  "exchange",
];

/**
 * Leaders change in the middle of changes of the membership, so that a leader begins over another's
 * uncommitted change, is asked for the next one in its first turn, and is elected by voters whose
 * configurations are older or newer than its own (M1, M20, M21).
 */
export function changesAcrossLeadersStage(plan: Plan, chance: Chance): Plan {
  const staged = cluster(plan, chance.pick([3, 3, 4, 5]), chance, chance.pick([2, 3, 4]));
  const timeoutMs = staged.electionTimeoutMs.max;
  const faultyMs = chance.pick([4_000, 6_000]);
  const kinds = chance.some(INTERRUPTED_CHANGES, 0.6);
  const how = (): ChangeKind => chance.pick(kinds.length === 0 ? INTERRUPTED_CHANGES : kinds);
  const acts = chance.some<GreetingAct>(["transfer", "write", "read", "snapshot"], 0.4);
  const everyMs = timeoutMs * chance.pick([2, 4]);
  const isBesieged = chance.happens(0.3);
  const drawInterruption = (at: number): Fault[] => {
    const interruption = {
      ...{ type: "interrupt-change" as const, at, how: how() },
      step: chance.pick([1, 1, 2, 3]),
      reached: chance.pick([0, 1, 1, 2]),
      crashAfterMs: chance.happens(0.4) ? chance.between(1, 50) : null,
      ms: timeoutMs * chance.between(1, 3),
    };
    const greeting = { type: "greet-leader" as const, at, acts: [...acts, "change" as const], how: how() };
    const others: readonly StagedFault[] = ["absence", "transfer", "crash", "isolated-leader"];
    const more = chance.happens(0.4)
      ? drawStagedFaults(chance, { ...staged, faultyMs: timeoutMs }, timeoutMs / 2, () => chance.pick(others))
      : [];
    // The peer lies until about the next interruption. By then another member may have been removed, whose
    // name the next peer takes.
    const lies = { type: "hostile-peer" as const, at, as: "removed member" as const, everyMs: 20 };
    const hostile = isBesieged ? [{ ...lies, ms: everyMs }] : [];
    return [interruption, greeting, ...hostile, ...more.map((fault) => ({ ...fault, at: at + fault.at }))];
  };
  return {
    ...staged,
    faultyMs,
    transport: chance.happens(0.7) ? "datagrams" : "tcp",
    linkDelayMs: { min: 0, max: chance.pick([1, 1, 20]) },
    diskMs: chance.pick([0, 0.5, 2]),
    preVote: chance.happens(0.8),
    checkQuorum: chance.happens(0.8),
    pendingEntriesMax: 65_536,
    pendingBytesMax: 65_536,
    ...busyClients(3, 0.3, faultyMs),
    snapshots: chance.happens(0.4)
      ? {
          everyEntries: chance.pick([8, 60]),
          keepEntries: chance.pick([0, 3]),
          transferKeepBytes: 0,
          ballastBytes: 0,
          fetchBytesPerSecond: Infinity,
        }
      : null,
    faults: byTime(drawFaults(chance, { everyMs, untilMs: faultyMs }, drawInterruption)).filter(
      ({ at }) => at < faultyMs,
    ),
  };
}

/**
 * Disks are full for up to a minute, of a minority, a majority or all, while the processes stop and are
 * started again. When there is space, everything that was acknowledged must be there, and every node go on by
 * itself (Z5, D3).
 */
export function fullDiskStage(plan: Plan, chance: Chance): Plan {
  const staged = cluster(plan, chance.pick([1, 3, 3]), chance);
  const fullMs = chance.pick([1_000, 4_000, 4_000, 60_000]);
  const faultyMs = 2 * fullMs;
  const others = chance.some<StagedFault>(["crash", "crash", "snapshot", "transfer"], 0.5);
  const faults = drawFaults(chance, { everyMs: fullMs / 2, untilMs: faultyMs }, (at) => {
    const nodes = chance.some([...staged.clockRates.keys()], chance.pick([0.3, 1]));
    return nodes.map((node) => ({
      ...{ type: "full-disk" as const, at: at + chance.between(0, 300), node },
      ms: fullMs * chance.between(0.3, 1),
    }));
  });
  const more =
    others.length === 0
      ? []
      : drawStagedFaults(chance, { ...staged, faultyMs }, fullMs / 4, () => chance.pick(others));
  return {
    ...staged,
    faultyMs,
    durableState: chance.happens(0.3),
    diskMs: chance.pick([0, 0.5]),
    segmentBytes: chance.pick([4_096, 65_536]),
    pendingBytesMax: 65_536,
    valueBytesMax: chance.pick([16, 2_000]),
    ...busyClients(3, 0.2, faultyMs),
    snapshots: chance.happens(0.6)
      ? {
          everyEntries: chance.pick([8, 60]),
          keepEntries: 0,
          transferKeepBytes: 0,
          ballastBytes: chance.pick([0, 5_000]),
          fetchBytesPerSecond: Infinity,
        }
      : null,
    faults: byTime([...faults, ...more]),
  };
}

/**
 * More learners than a leader serves with snapshots at once come back together, after its log was compacted
 * (Z24). Those that it can't serve yet wait for their turn.
 */
export function crowdStage(plan: Plan, chance: Chance): Plan {
  const members = 3;
  const learners = chance.pick([9, 11]);
  const staged = cluster(plan, members, chance, learners);
  const joinEveryMs = 150;
  const joinedAtMs = (learners + 2) * joinEveryMs;
  const side = Array.from({ length: learners }, (_, learner) => members + learner);
  const absentMs = chance.pick([300, 600]);
  const fetchMs = chance.pick([500, 2_000]);
  return {
    ...staged,
    transport: chance.pick(["tcp", "datagrams"]),
    faultyMs: joinedAtMs + absentMs + fetchMs,
    pendingEntriesMax: 65_536,
    pendingBytesMax: 1_048_576,
    valueBytesMax: 16,
    reopenCommittedAfter: null,
    ...busyClients(2, 0.3, joinedAtMs),
    snapshots: {
      everyEntries: 30,
      keepEntries: 0,
      transferKeepBytes: 0,
      ballastBytes: chance.pick([5_000, 20_000]),
      fetchBytesPerSecond: chance.pick([20_000, 60_000]),
    },
    faults: byTime([
      ...learnersJoin(learners, 0, joinEveryMs),
      { type: "partition", at: joinedAtMs, side, oneWay: false, ms: absentMs },
      { type: "bulk", at: joinedAtMs + absentMs / 2, writes: 200 },
    ]),
  };
}
