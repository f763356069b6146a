import type { RunResult } from "keelson/testing";

/** Of the steps that led to a failure, so many are shown. */
const STEPS_SHOWN_MAX = 40;

/** All that it takes to see a run again: the plan is made from the seed alone. */
export interface RunName {
  readonly seed: number;
  /** What `--store` was: `sim` is the default. */
  readonly store: string;
}

function again({ seed, store }: RunName): string {
  return `again: npm run sim -- --replay ${seed}${store === "sim" ? "" : ` --store ${store}`}`;
}

/** What is told of a seed as soon as it has failed. */
export function failureOf(run: RunName, violation: string): string[] {
  return [`seed ${run.seed} broke ${violation}`, `  ${again(run)}`];
}

/** What is told of a failing seed, given the smallest run that breaks the same. */
export function reportOf(run: RunName, small: RunResult): string[] {
  return [
    `the smallest run that breaks it: ${describePlan(small)}`,
    ...small.plan.faults.map((fault) => `  ${JSON.stringify(fault)}`),
    `broke ${small.violation?.message ?? ""}; the steps that led there:`,
    ...small.trace.slice(-STEPS_SHOWN_MAX).map((line) => `  ${line}`),
    again(run),
  ];
}

/** A run in one line. */
export function describePlan({ plan, ms, committed }: RunResult): string {
  return (
    `${plan.nodes} nodes over ${plan.transport}, ${plan.clients} clients, ${plan.faults.length} faults, ` +
    `${(ms / 1000).toFixed(1)} simulated seconds, ${committed} entries`
  );
}
