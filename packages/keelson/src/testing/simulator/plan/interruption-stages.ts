/**
 * Stages about work that is interrupted when much of it is under way: fetches of snapshots that must go on
 * where they stopped, calls that end together by the hundred, and leaders that learn in one message that they
 * were replaced and what became of everything they had begun.
 */
import type { Chance } from "./chance.ts";
import { byTime } from "./draw-faults.ts";
import type { ChangeKind, Fault, GreetingAct } from "./faults.ts";
import { PLAIN_USAGE, WHOLE_LOG_BYTES, type Plan } from "./plan.ts";
import { busyClients, cluster, LONG_TTL_MS } from "./stage-cluster.ts";

/**
 * The size of snapshots that are fetched with interruptions. What a receiver keeps of an unfinished file is
 * whole blocks of 256 KiB, so a smaller one would always be fetched from the beginning again.
 */
const RESUMED_BYTES = 700_000;

/** So low that a fetch of `RESUMED_BYTES` takes one to two seconds, in chunks that aren't whole blocks. */
const RESUMED_BYTES_PER_SECOND = [400_000, 700_000] as const;

/**
 * How long a follower is away, in milliseconds, and how much of that time passes before others take
 * snapshots.
 */
const ABSENCE_MS = 250;
const SNAPSHOT_AFTER_MS = 200;

/**
 * A follower fetches a large snapshot slowly, and is interrupted again and again: it crashes, it is cut off,
 * its source takes another snapshot, or another node leads. Afterwards it goes on with what it has (S6).
 */
export function resumedFetchStage(plan: Plan, chance: Chance): Plan {
  const staged = cluster(plan, chance.pick([3, 3, 5]), chance);
  const { max } = staged.electionTimeoutMs;
  const everyMs = 3_500;
  const faultyMs = chance.pick([1, 2]) * everyMs;
  const all = [...staged.clockRates.keys()];
  const faults: Fault[] = [];
  for (let at = 300; at < faultyMs - everyMs / 2; at += everyMs) {
    const receiver = chance.pick(all);
    const fetchAt = at + ABSENCE_MS;
    faults.push({ type: "partition", at, side: [receiver], oneWay: false, ms: ABSENCE_MS });
    faults.push({ type: "burst", at: at + 50, node: null, writes: chance.pick([3, 8]) });
    for (const node of all)
      if (node !== receiver) faults.push({ type: "snapshot", at: at + SNAPSHOT_AFTER_MS, node });
    const leadersChange = chance.happens(0.4);
    for (let left = chance.whole(1, 3); left > 0; left--)
      faults.push(interruption(chance, fetchAt + chance.between(100, 1_800), receiver, leadersChange, max));
  }
  return {
    ...staged,
    faultyMs,
    // A byte stream would deliver late what was sent during the cut, and no snapshot would be needed.
    transport: "datagrams",
    linkDelayMs: { min: 0, max: chance.pick([1, 20]) },
    durableState: chance.happens(0.3),
    diskMs: chance.pick([0, 0.5]),
    segmentBytes: 65_536,
    pendingEntriesMax: 65_536,
    pendingBytesMax: 65_536,
    valueBytesMax: 16,
    reopenCommittedAfter: null,
    snapshots: {
      // A newer snapshot of the source ends what was fetched of the one before.
      everyEntries: chance.pick([60, 1_000, 1_000]),
      keepEntries: 0,
      transferKeepBytes: chance.pick([0, WHOLE_LOG_BYTES]),
      ballastBytes: RESUMED_BYTES,
      fetchBytesPerSecond: chance.pick(RESUMED_BYTES_PER_SECOND),
    },
    ...busyClients(2, 0.3, faultyMs),
    restsBeforeWriting: chance.happens(0.7),
    faults: byTime(faults),
  };
}

/**
 * More than the 4 MiB that a source reads at once for one receiver. A count of what is under way that isn't
 * lowered when it has ended stops such a transfer in the middle.
 */
const LARGE_BYTES = 4.5 * 1024 * 1024;

/** A follower that was away fetches a very large snapshot as fast as it can, and nothing interrupts it. */
export function largeSnapshotStage(plan: Plan, chance: Chance): Plan {
  const staged = cluster(plan, 3, chance);
  const at = 300;
  const receiver = chance.whole(0, 2);
  const isTaken = [0, 1, 2].filter((node) => node !== receiver);
  return {
    ...staged,
    faultyMs: 2_000,
    transport: "datagrams",
    linkDelayMs: { min: 0, max: 1 },
    durableState: false,
    segmentBytes: 65_536,
    pendingEntriesMax: 65_536,
    pendingBytesMax: 65_536,
    snapshots: {
      ...{ everyEntries: 1_000, keepEntries: 0, transferKeepBytes: WHOLE_LOG_BYTES },
      ...{ ballastBytes: LARGE_BYTES, fetchBytesPerSecond: Infinity },
    },
    ...busyClients(2, 0.3, 2_000),
    restsBeforeWriting: true,
    faults: byTime([
      { type: "partition", at, side: [receiver], oneWay: false, ms: ABSENCE_MS },
      { type: "burst", at: at + 50, node: null, writes: 3 },
      ...isTaken.map((node) => ({ type: "snapshot" as const, at: at + SNAPSHOT_AFTER_MS, node })),
    ]),
  };
}

/**
 * A leader is cut off when the others have what its callers wrote, and before it hears that they do. Its
 * successor commits these entries, takes a snapshot of them and forgets them. The old leader returns while
 * its callers still wait, and learns by that snapshot alone that something stands where their commands were:
 * it can't tell what became of them (S13).
 */
export function coveredProposalsStage(plan: Plan, chance: Chance): Plan {
  const staged = cluster(plan, 3, chance);
  const { max } = staged.electionTimeoutMs;
  const at = 300;
  const cutMs = 4 * max;
  // The answers to what it wrote just before the cut come after the cut.
  const answersMs = cutMs + max / 2;
  const cutAt = at + staged.heartbeatMs + answersMs;
  const cut = { companions: 0, writes: chance.pick([0, 2]), readsAfterMs: null, lateTimers: false };
  const faults: Fault[] = [
    { type: "strand-leader", at, ...cut, answersMs, stunned: false, ms: cutMs },
    { type: "burst", at: cutAt - 4, node: null, writes: chance.pick([3, 8]) },
  ];
  for (const ms of [2.5 * max, 3.2 * max])
    for (const node of [0, 1, 2]) faults.push({ type: "snapshot", at: cutAt + ms, node });
  const faultyMs = cutAt + cutMs + 2 * max;
  return {
    ...staged,
    faultyMs,
    transport: "datagrams",
    linkDelayMs: { min: 0, max: 1 },
    diskMs: 0,
    // A leader that looks for a majority would end its calls before it hears of its successor.
    checkQuorum: false,
    preVote: chance.happens(0.5),
    pendingEntriesMax: 65_536,
    pendingBytesMax: 65_536,
    ...busyClients(2, 0.2, faultyMs),
    callTimeoutMs: PATIENT_MS,
    snapshots: {
      ...{ everyEntries: chance.pick([1, 3, 1_000]), keepEntries: 0, transferKeepBytes: 0 },
      ...{ ballastBytes: 0, fetchBytesPerSecond: Infinity },
    },
    faults: byTime(faults),
  };
}

function interruption(
  chance: Chance,
  at: number,
  receiver: number,
  leadersChange: boolean,
  timeoutMs: number,
): Fault {
  const type = chance.pick(["crash", "crash", "absence", leadersChange ? "leader" : "crash"] as const);
  if (type === "crash") return { type, at, node: receiver, ms: chance.pick([1, 20, 200]) };
  const ms = timeoutMs * chance.between(0.5, 4);
  if (type === "absence") return { type: "partition", at, side: [receiver], oneWay: false, ms };
  return chance.happens(0.5) ? { type: "transfer", at } : { type: "lonely-leader", at, disk: "well", ms };
}

/** More calls than are ended in one turn of the event loop. */
const CROWD_CALLS = [200, 350] as const;

/**
 * For so many milliseconds nobody leads: longer than the short time limits of a crowd, and than a call may
 * pass its limit without being reported.
 */
const LEADERLESS_MS = 1_600;

/** The last crowd is made so long before the run heals, while each node is alone. */
const LAST_CROWD_MS = 300;

/**
 * Longer than everything after healing may take: what waits for a leader must be done because there is one.
 */
const PATIENT_MS = 60_000;

/**
 * Hundreds of calls are made in one turn, with one time limit, and end together: when that limit is over, as
 * nobody leads; when their leader learns that it was replaced; when a snapshot takes the place of their
 * entries; or when there is a leader again (Z19). Nobody calls meanwhile, so that no other call sets the
 * ending of these going again.
 */
export function callCrowdStage(plan: Plan, chance: Chance): Plan {
  const staged = cluster(plan, 3, chance);
  const { max } = staged.electionTimeoutMs;
  const everyMs = 3_000;
  const faultyMs = 400 + 2 * everyMs;
  const faults: Fault[] = [];
  const separate = (at: number, ms: number): void => {
    faults.push({ type: "partition", at, side: [0], oneWay: false, ms });
    faults.push({ type: "partition", at, side: [1], oneWay: false, ms });
  };
  for (let at = 400; at < faultyMs - everyMs / 2; at += everyMs) {
    const isLeaderAlone = chance.happens(0.5);
    const ms = isLeaderAlone ? max * chance.between(1.5, 4) : LEADERLESS_MS + max * chance.between(0, 2);
    const crowd = (): Omit<Extract<Fault, { type: "bulk" }>, "at" | "node"> => ({
      ...{ type: "bulk", writes: chance.pick(CROWD_CALLS), reads: chance.pick([0, ...CROWD_CALLS]) },
      timeoutMs: chance.pick([100, 400, isLeaderAlone ? 2_000 : 400]),
    });
    faults.push({ type: "quiet", at: at - 1, ms: ms + 2 * max });
    if (isLeaderAlone) {
      // The leader has begun these calls, and can't commit what they wrote.
      faults.push({ type: "lonely-leader", at, disk: "well", ms });
      faults.push({ at: at + 5, ...crowd() });
    } else separate(at, ms);
    const node = chance.whole(0, 2);
    faults.push({ at: at + chance.between(10, 2 * max), node, ...crowd() });
    if (chance.happens(0.3)) faults.push({ type: "snapshot", at: at + ms / 2, node: chance.whole(0, 2) });
  }
  separate(faultyMs - LAST_CROWD_MS - 2 * max, everyMs);
  const patient = { type: "bulk", writes: chance.pick(CROWD_CALLS), timeoutMs: PATIENT_MS } as const;
  faults.push({ at: faultyMs - LAST_CROWD_MS, node: chance.whole(0, 2), ...patient });
  return {
    ...staged,
    faultyMs,
    transport: chance.pick(["tcp", "datagrams"]),
    checkQuorum: chance.happens(0.6),
    linkDelayMs: { min: 0, max: chance.pick([1, 20]) },
    diskMs: chance.pick([0, 0.5]),
    segmentBytes: 65_536,
    pendingEntriesMax: 65_536,
    pendingBytesMax: 1_048_576,
    valueBytesMax: 16,
    reopenCommittedAfter: null,
    ...busyClients(2, 0.3, faultyMs),
    usage: { ...PLAIN_USAGE, forward: chance.happens(0.6) },
    snapshots: chance.happens(0.4)
      ? {
          ...{ everyEntries: chance.pick([15, 60]), keepEntries: 0, transferKeepBytes: 0, ballastBytes: 0 },
          fetchBytesPerSecond: Infinity,
        }
      : null,
    restsBeforeWriting: chance.happens(0.5),
    faults: byTime(faults),
  };
}

/** Changes whose last step is the one that is interrupted, and changes that take one step. */
const INTERRUPTED: readonly ChangeKind[] = ["demote", "remove", "promote", "learn", "replace"];
const RIVALS: readonly ChangeKind[] = ["learn", "learn", "learn", "remove", "add"];

/**
 * A leader is cut off alone with writes and a change of members under way, and mostly doesn't notice.
 * Meanwhile the others elect a successor, and agree on other writes, other changes, and snapshots of them.
 * Then the old leader can hear its successor, while nobody can hear the old leader yet. So one message tells
 * it that it was replaced, which entries stand in the place of its own, and that they are committed. Its
 * calls, and its change, must end with the right outcome (pitfalls Z6, K4 and S13).
 */
export function supersededLeaderStage(plan: Plan, chance: Chance): Plan {
  const staged = cluster(plan, chance.pick([3, 3, 5]), chance, 3);
  const { max } = staged.electionTimeoutMs;
  const everyMs = 7 * max;
  const faultyMs = 3 * everyMs;
  const acts: readonly GreetingAct[] = ["change", ...chance.some<GreetingAct>(["write", "snapshot"], 0.5)];
  const faults: Fault[] = [];
  for (let at = 300; at < faultyMs; at += everyMs) {
    const how = chance.pick(INTERRUPTED);
    const cut = { step: 1, reached: 0, crashAfterMs: null, ms: max * chance.between(2.5, 4) };
    // It hears a heartbeat of its successor that carries entries. A later one would carry none: its successor
    // then waits for an answer.
    const hearsSuccessorAfterMs = staged.heartbeatMs * chance.between(0, 1);
    faults.push({ type: "interrupt-change", at, how, ...cut, hearsSuccessorAfterMs });
    faults.push({ type: "greet-leader", at, acts, how: chance.pick(RIVALS) });
    // The only leader at that time is the one that was cut off.
    faults.push({ type: "burst", at: at + 25, node: null, writes: chance.pick([3, 8, 15]) });
  }
  return {
    ...staged,
    faultyMs,
    transport: "datagrams",
    // A leader that looks for a majority would step down before it hears of its successor.
    checkQuorum: chance.happens(0.2),
    linkDelayMs: { min: 0, max: chance.pick([1, 1, 20]) },
    diskMs: chance.pick([0, 0.5]),
    pendingEntriesMax: 65_536,
    pendingBytesMax: 65_536,
    valueBytesMax: 16,
    ...busyClients(3, 0.2, faultyMs),
    sessions: chance.happens(0.3) ? { clients: 3, ttlMs: LONG_TTL_MS } : null,
    snapshots: chance.happens(0.5)
      ? {
          ...{ everyEntries: chance.pick([3, 8]), keepEntries: 0, transferKeepBytes: 0, ballastBytes: 0 },
          fetchBytesPerSecond: Infinity,
        }
      : null,
    faults: byTime(faults),
  };
}
