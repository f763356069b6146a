// Runs one exploration, and describes it in one line.
import type * as exploration from "../../packages/keelson/src/testing/explore/index.ts";
import type { Bounds, Result } from "../../packages/keelson/src/testing/explore/index.ts";

export type Exploration = typeof exploration;

export const INDEX = "../../packages/keelson/src/testing/explore/index.ts";

/** How often progress is printed. */
const PROGRESS_MS = 5_000;

export interface Run {
  readonly bounds: Bounds;
  /** Stops at this number of states. */
  readonly states: number;
  readonly quiet: boolean;
}

/** The result of a run, and what it took. */
export interface Finished extends Result {
  /** Seconds of processor time, and on the clock. */
  readonly cpuSeconds: number;
  readonly seconds: number;
  /** How the violation came about; empty if there was none. */
  readonly trace: readonly string[];
}

export function explore(
  exploration: Pick<Exploration, "Explorer" | "describeTrace">,
  { bounds, states, quiet }: Run,
): Finished {
  const began = performance.now();
  const cpuBegan = process.cpuUsage();
  let told = began;
  const explorer = new exploration.Explorer(bounds, states);
  const result = explorer.run((progress) => {
    const now = performance.now();
    if (quiet || now - told < PROGRESS_MS) return true;
    told = now;
    const rate = Math.round((progress.states / (now - began)) * 1000);
    console.log(
      `${count(progress.states)} states, depth ${progress.depth}, frontier ${count(progress.frontier)}, ${count(rate)} states/s`,
    );
    return true;
  });
  const seconds = (performance.now() - began) / 1000;
  const { user, system } = process.cpuUsage(cpuBegan);
  const trace = result.found === null ? [] : exploration.describeTrace(explorer, result.found);
  return { ...result, seconds, cpuSeconds: (user + system) / 1e6, trace };
}

/** What a run visited, and how long it took. */
export function describeRun(result: Finished): string {
  const { states, transitions, depth, hosts, steps, complete, seconds, cpuSeconds } = result;
  return (
    `${count(states)} states (${complete ? "all" : "stopped there"}), ${count(transitions)} transitions, depth ${depth}, ` +
    `${count(hosts)} states of one node, ${count(steps)} of its steps; ${cpuSeconds.toFixed(1)} s of processor time ` +
    `(${seconds.toFixed(1)} s), ${count(Math.round(states / cpuSeconds))} states/s`
  );
}

export function count(value: number): string {
  return value.toLocaleString("en-US");
}
