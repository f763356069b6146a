/**
 * Adds ways of using the nodes to a plan: snapshots, sessions, and rarely used options. None of it is a
 * fault.
 */
import {
  ANSWER_OVERHEAD_BYTES,
  SESSION_LIMITS,
  SESSION_OVERHEAD_BYTES,
} from "../../../runtime/sessions/index.ts";
import { Chance } from "./chance.ts";
import { withMoreFaults } from "./draw-faults.ts";
import { hasOnlyHarmlessFaults, PLAIN_USAGE, type Plan, type Usage } from "./plan.ts";

/**
 * Half of the runs take snapshots and compact the log. Some of them keep no entry that a snapshot covers, and
 * in some of them faults also ask nodes for snapshots.
 */
export function withSnapshots(plan: Plan): Plan {
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
  const everyMs = chance.pick([100, 500]);
  const asked = withMoreFaults(plan, chance, everyMs, (at) => ({
    type: "snapshot",
    at,
    node: chance.whole(0, plan.nodes - 1),
  }));
  return { ...asked, snapshots };
}

/** How far off a wall clock may be that was never set. */
const TEN_YEARS_MS = 10 * 365 * 86_400_000;

/**
 * In a third of the runs some clients use sessions. Wall clocks, which sessions must not expire by, may be
 * wrong then.
 */
export function withSessions(plan: Plan, chance: Chance): Plan {
  if (!chance.happens(0.35)) return plan;
  const ttlMs = chance.pick([1_000, 1_000, 3_000, 60_000]);
  const skewMs = chance.pick([0, 300, 3_600_000, TEN_YEARS_MS]);
  return {
    ...plan,
    sessions: { clients: chance.whole(1, plan.clients), ttlMs },
    wallOffsetsMs: plan.clockRates.map(() => Math.round(chance.between(-skewMs, skewMs))),
  };
}

/**
 * In three quarters of the runs with sessions the table is small. No run has enough sessions, answers or
 * bytes to fill the real one, so what happens at its limits would never be seen: sessions that others push
 * out, results that are forgotten, commands beyond the window, and expiry that goes on with the next entry
 * (Z27).
 */
export function sessionLimitsOf({ sessions }: Plan, chance: Chance): Plan["sessionLimits"] {
  if (sessions === null || !chance.happens(0.75)) return null;
  const windowMax = chance.pick([2, 4, SESSION_LIMITS.windowMax]);
  const answerBytesMax = chance.pick([10, 60, SESSION_LIMITS.answerBytesMax]);
  const ofOneSession = SESSION_OVERHEAD_BYTES + windowMax * ANSWER_OVERHEAD_BYTES + answerBytesMax;
  return {
    sessionsMax: chance.pick([1, 2, 3, SESSION_LIMITS.sessionsMax]),
    windowMax,
    answerBytesMax,
    bytesMax: ofOneSession + chance.pick([0, 1_000, 4_000, SESSION_LIMITS.bytesMax]),
    expiryRecordsMax: chance.pick([1, 2, SESSION_LIMITS.expiryRecordsMax]),
  };
}

/** In a third of the runs with sessions, wall clocks jump while the sessions are in use (Z13). */
export function withClockJumps(plan: Plan, chance: Chance): Plan {
  if (plan.sessions === null || !chance.happens(0.35)) return plan;
  const jumpMs = chance.pick([3_000, 3_600_000, TEN_YEARS_MS]);
  return withMoreFaults(plan, chance, plan.faultyMs / 2, (at) => {
    const byMs = Math.round(chance.between(-jumpMs, jumpMs));
    return { type: "clock-jump", at, node: chance.whole(0, plan.nodes - 1), byMs };
  });
}

/**
 * In a fifth of the runs the state machine uses log time. No workload by name (`features.ts`): the list of
 * combinations, and with it the plans of steered seeds, would become another one.
 */
export function withLogTime(plan: Plan, chance: Chance): Plan {
  if (!chance.happens(0.2)) return plan;
  return { ...plan, logTimeStepMs: chance.pick([10, 10, 50, 200, 5_000]) };
}

/** In half of the runs with the library's sessions, clients continue theirs after a restart. */
export function withResumedSessions(plan: Plan, chance: Chance): Plan {
  const { usage, sessions } = plan;
  if (sessions === null || !usage.librarySessions || !chance.happens(0.5)) return plan;
  return { ...plan, usage: { ...usage, resumesSessions: true } };
}

/** A fifth of the runs use the nodes in other ways than the plain one. */
export function withVariedUsage(plan: Plan, chance: Chance): Plan {
  if (!chance.happens(0.2)) return plan;
  const usage: Usage = {
    forward: chance.happens(0.6),
    abortShare: chance.happens(0.3) ? 0.2 : 0,
    pendingReadsMax: chance.happens(0.3) ? chance.pick([1, 3]) : PLAIN_USAGE.pendingReadsMax,
    queryMs: chance.happens(0.3) ? chance.pick([1, 30]) : 0,
    listeners: chance.happens(0.3)
      ? { changesMax: 4, pauseMs: chance.pick([50, 400]), leaveAfter: chance.pick([2, 10]) }
      : null,
    librarySessions: chance.happens(0.5),
    resumesSessions: false,
    closeShare: chance.pick([0, 0.1]),
  };
  const sessions =
    plan.sessions ?? (chance.happens(0.4) ? { clients: chance.whole(1, plan.clients), ttlMs: 1_000 } : null);
  return { ...plan, usage, sessions };
}
