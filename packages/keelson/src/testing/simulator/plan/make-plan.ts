/**
 * Makes the plan that belongs to a seed, step by step: a base plan; more faults; faults aimed at leaders and
 * members; more ways of using the nodes; or one stage instead of them.
 *
 * Each step draws from a random source of its own, derived from the seed by a constant. So a new step leaves
 * the plans of the seeds that it doesn't apply to as they were, and seeds that once found a bug stay useful.
 */
import { basePlanOf } from "./base-plan.ts";
import { withAddedFaults } from "./basic-faults.ts";
import { Chance } from "./chance.ts";
import { minorityOf, nodesOf } from "./draw-faults.ts";
import type { Fault } from "./faults.ts";
import { withHangingLogs, withHangingParts, withLonelyStalls } from "./hang-faults.ts";
import { withDiscardedLogs, withHostilePeers, withSecondProcesses } from "./intruders.ts";
import { withWeakReads } from "./leadership-faults.ts";
import { withOperatorFaults, withRepeatedInitialize } from "./membership-faults.ts";
import { hasOnlyHarmlessFaults, type Plan } from "./plan.ts";
import { withSlowSnapshotTransfers } from "./snapshot-transfer-faults.ts";
import { withPairs } from "./paired-plans.ts";
import { withStage } from "./stages.ts";
import { withLargeStart } from "./start-values.ts";
import { withTargetedFaults } from "./targeted-faults.ts";
import {
  sessionLimitsOf,
  withClockJumps,
  withLogTime,
  withResumedSessions,
  withSessions,
  withSnapshots,
  withVariedUsage,
} from "./usage.ts";
import { CALLS_MAX } from "./workload.ts";

/** Far longer than any wait in a run should be. */
const OUTAGE_MS = 40_000;

/**
 * Short election timeouts, and with them a short time for recovery after healing (`patienceMs`): a wait that
 * grew with the outage then exceeds it, and is found.
 */
const OUTAGE_TIMINGS = { electionTimeoutMs: { min: 150, max: 300 }, heartbeatMs: 75 } as const;

/**
 * The run that belongs to a seed. Each run has a mix of its own: a random subset of the faults, some of them
 * often (swarm testing: a fault that is always there hides what happens only without it). `isSteered` false:
 * without the plans that are made for rare pairs, to measure what these bring.
 */
export function planOf(seed: number, isSteered = true): Plan {
  const staged = withStage(unstagedPlanOf(seed));
  const steered = isSteered ? withPairs(staged) : staged;
  const jumping = withClockJumps(steered, new Chance(seed ^ 0xc1_0c4));
  const opened = withSecondProcesses(jumping, new Chance(seed ^ 0x2_9c9));
  const discarding = withDiscardedLogs(opened, new Chance(seed ^ 0xd1_5c2));
  const besieged = withHostilePeers(discarding, new Chance(seed ^ 0x40_58e));
  const plan = withLargeStart(besieged, new Chance(seed ^ 0x1a_4c9));
  const window =
    windowOf(plan, new Chance(seed ^ WINDOW_CONSTANT)) ??
    narrowWindowOf(plan, new Chance(seed ^ NARROW_WINDOW_CONSTANT));
  const rests = plan.restsBeforeWriting || new Chance(seed ^ 0x9e57).happens(0.5);
  const sessionLimits = sessionLimitsOf(plan, new Chance(seed ^ SESSION_LIMITS_CONSTANT));
  const used = { ...plan, window, sessionLimits, restsBeforeWriting: rests };
  const timed = withLogTime(used, new Chance(seed ^ LOG_TIME_CONSTANT));
  return withResumedSessions(timed, new Chance(seed ^ RESUMED_CONSTANT));
}

/** The constant was chosen so that no seed that was kept before got small limits. */
const SESSION_LIMITS_CONSTANT = 0x5e_81e6;

/** The constant was chosen so that no seed that was kept before got them: they change the run. */
const RESUMED_CONSTANT = 0x4e_0000;

/** The constant was chosen so that no seed that was kept before got log time, which changes the run. */
const LOG_TIME_CONSTANT = 0x71_0049;

/** The constant was chosen so that no seed that was kept before became one with small windows. */
const WINDOW_CONSTANT = 0x3_1d00;

/**
 * In some runs messages and windows are small. Otherwise no run has enough entries to fill them, and what a
 * leader does at these limits would never be seen (R13, R14). Thousands of entries would take too long. And
 * not where many messages wait for the disk, or overtake each other: `ChainChecker` takes each message that
 * leaves for an answer to those that have just arrived, and would take a long queue of them for a long chain.
 */
function windowOf({ catchUpMs, faults, transport, diskMs }: Plan, chance: Chance): Plan["window"] {
  const isBulky = faults.some(({ type }) => type === "bulk" || type === "busy-receivers");
  const isQueued = transport !== "tcp" || diskMs > 0;
  if (!chance.happens(0.5) || catchUpMs !== null || isBulky || isQueued) return null;
  return {
    messageEntriesMax: chance.pick([2, 5, 20]),
    messageBytesMax: chance.pick([200, 2_000, 1_048_576]),
    inflightMessagesMax: chance.pick([3, 8, 64]),
    inflightBytesMax: chance.pick([5_000, 20_000, IN_FLIGHT_BYTES_MAX, IN_FLIGHT_BYTES_MAX]),
  };
}

/** The constant was chosen so that no seed that was kept before got a narrow window. */
const NARROW_WINDOW_CONSTANT = 0x3_2def;

/**
 * In a fifth of the runs less may be under way to a follower, in messages of the usual size. That makes no
 * more messages, so it suits slow disks and lossy networks, too.
 */
function narrowWindowOf({ catchUpMs, faults }: Plan, chance: Chance): Plan["window"] {
  const isBulky = faults.some(({ type }) => type === "bulk" || type === "busy-receivers");
  if (catchUpMs !== null || isBulky || !chance.happens(0.2)) return null;
  return {
    ...{ messageEntriesMax: 4_096, messageBytesMax: 1_048_576 },
    inflightMessagesMax: chance.pick([2, 8, 64]),
    inflightBytesMax: chance.pick([300, 1_000, 5_000]),
  };
}

/** The core's default. */
const IN_FLIGHT_BYTES_MAX = 8 * 1024 * 1024;

function unstagedPlanOf(seed: number): Plan {
  const faulty = faultyPlanOf(seed);
  const replayOldMessages = faulty.transport === "datagrams" && new Chance(seed ^ 0xec_40).happens(0.5);
  const plan = withSnapshots(withWeakReads({ ...faulty, replayOldMessages }, hasOnlyHarmlessFaults(faulty)));
  const chance = new Chance(seed ^ 0xfa_c37);
  const used = withVariedUsage(plan, chance.fork());
  if (hasOnlyHarmlessFaults(used)) return used;
  const [ofTransfers, ofInitialize] = [chance.fork(), chance.fork()];
  const damageable = stillDamageable(used, ofTransfers);
  const transferring = withSlowSnapshotTransfers(used, ofTransfers, damageable);
  return withHangingLogs(
    withLonelyStalls(withHangingParts(withRepeatedInitialize(transferring, ofInitialize))),
  );
}

/** The base plan, with all faults but those of snapshots and `initialize`. */
function faultyPlanOf(seed: number): Plan {
  const plan = basePlanOf(seed);
  const chance = new Chance(seed ^ 0x10_0f);
  if (chance.happens(0.03)) return outageOf(plan, chance);
  const diskMs = chance.pick([0, 0.5, 2, 5]);
  const reopenCommittedAfter = chance.happens(0.3) ? chance.pick([1, 7, Infinity]) : null;
  const used = withSessions({ ...plan, diskMs, reopenCommittedAfter }, new Chance(seed ^ 0x5e5510));
  const faulty = withAddedFaults(used, new Chance(seed ^ 0xd15c));
  return hasOnlyHarmlessFaults(faulty) ? faulty : withOperatorFaults(withTargetedFaults(faulty));
}

/** The nodes that may still lose acknowledged data: with those that the plan damages already, a minority. */
function stillDamageable(plan: Plan, chance: Chance): readonly number[] {
  const first = nodesOf(plan).slice(0, plan.nodes - plan.spares);
  const damaged = plan.faults.flatMap((fault) =>
    fault.type === "bit-flip" || fault.type === "lost-write" ? [fault.node] : [],
  );
  return minorityOf(first, [...new Set([...damaged, ...chance.shuffled(first)])]);
}

/** One partition for so long that everything that backs off reaches its limit (W5). */
function outageOf(plan: Plan, chance: Chance): Plan {
  const first = chance.whole(0, plan.nodes - 1);
  const side = nodesOf(plan).filter((node) => node === first || chance.happens(0.4));
  const faults: Fault[] = [{ type: "partition", at: 500, side, oneWay: false, ms: 2 * OUTAGE_MS }];
  const thinkMs = Math.max(plan.thinkMs, (plan.clients * OUTAGE_MS) / CALLS_MAX);
  return { ...plan, ...OUTAGE_TIMINGS, transport: "tcp", faultyMs: OUTAGE_MS, faults, thinkMs };
}
