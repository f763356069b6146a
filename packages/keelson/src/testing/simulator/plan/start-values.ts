/** Adds to a plan where its clocks and terms begin: in some runs just below or far above what is usual. */
import { TERM_MAX } from "../../../core/position.ts";
import type { Chance } from "./chance.ts";
import type { Plan } from "./plan.ts";

/** Of the runs, the share whose clocks begin late, and the share whose terms begin late. */
const LATE_CLOCK_SHARE = 0.06;
const LATE_TERM_SHARE = 0.05;

/**
 * How long before 2^53 ms a clock begins: longer than any run. From there on not every millisecond can be
 * told from the next.
 */
const LONGEST_RUN_MS = 2_000_000;

/**
 * How many terms below a power of two, and below the limit of terms, a run begins. A run's elections pass the
 * power of two, but they are too few to reach the limit.
 */
const ELECTIONS_BEFORE = 3;
const ELECTIONS_BEFORE_LIMIT = 100_000;

/**
 * Some runs begin where numbers get large: with clocks just below 2^31 or 2^32 ms or near 2^53, or with terms
 * just below a power of two or their limit.
 */
export function withLargeStart(plan: Plan, chance: Chance): Plan {
  const clockMs = chance.happens(LATE_CLOCK_SHARE) ? lateClockMs(plan, chance) : plan.start.clockMs;
  const term = chance.happens(LATE_TERM_SHARE) && keepsDisks(plan) ? lateTerm(chance) : 0;
  return { ...plan, start: { clockMs, term } };
}

/** The clock passes the power of two at a random time of the run, except 2^53, which it stays below. */
function lateClockMs({ faultyMs }: Plan, chance: Chance): number {
  const passedAtMs = chance.between(0, faultyMs);
  return chance.pick([2 ** 31 - passedAtMs, 2 ** 32 - passedAtMs, 2 ** 53 - LONGEST_RUN_MS]);
}

function lateTerm(chance: Chance): number {
  return chance.pick([
    2 ** 31 - ELECTIONS_BEFORE,
    2 ** 32 - ELECTIONS_BEFORE,
    TERM_MAX - ELECTIONS_BEFORE_LIMIT,
  ]);
}

/**
 * Whether no node gets a new, empty disk. Such a node takes a leader's term in steps of `TERM_JUMP_MAX`, and
 * to reach a late term would take it longer than a run.
 */
function keepsDisks({ faults }: Plan): boolean {
  return !faults.some((fault) => fault.type === "wipe" || (fault.type === "change" && fault.how === "reuse"));
}
