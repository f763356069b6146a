import type { RunResult } from "keelson/testing";

/** How many of the last steps before a failure are shown. */
const STEPS_SHOWN_MAX = 40;

/** What is needed to repeat a run. The plan is derived from the seed. */
export interface RunName {
  readonly seed: number;
  /** The value of `--store`; `sim` is the default. */
  readonly store: string;
}

function again({ seed, store }: RunName): string {
  return `again: npm run sim -- --replay ${seed}${store === "sim" ? "" : ` --store ${store}`}`;
}

/** The text for a seed that has just failed. */
export function failureOf(run: RunName, violation: string): string[] {
  return [`seed ${run.seed} broke ${violation}`, `  ${again(run)}`];
}

/** The report of a failing seed, with the smallest run that violates the same invariant. */
export function reportOf(run: RunName, small: RunResult): string[] {
  return [
    `the smallest run that breaks it: ${describePlan(small)}`,
    ...small.plan.faults.map((fault) => `  ${JSON.stringify(fault)}`),
    `broke ${small.violation?.message ?? ""}; the steps that led there:`,
    ...small.trace.slice(-STEPS_SHOWN_MAX).map((line) => `  ${line}`),
    again(run),
  ];
}

/** A description of a run in one line. */
export function describePlan({ plan, ms, committed }: RunResult): string {
  return (
    `${plan.nodes} nodes over ${plan.transport}, ${plan.clients} clients, ${plan.faults.length} faults, ` +
    `${(ms / 1000).toFixed(1)} simulated seconds, ${committed} entries`
  );
}
