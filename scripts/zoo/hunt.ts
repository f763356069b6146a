import path from "node:path";

import type * as exploration from "../../packages/keelson/src/testing/explore/index.ts";
import type * as simulator from "../../packages/keelson/src/testing/simulator/index.ts";
import { patchOnLoad } from "../lib/patched-modules.ts";
import type { Bug } from "./bug.ts";
import { patchOf } from "./bugs.ts";
import type * as stores from "../sim/stores.ts";
import type * as states from "./state-suite.ts";
import type * as suites from "./suites.ts";

/** The root of the files that bugs change. */
export const SOURCE = path.join(import.meta.dirname, "../../packages/keelson/src");

/** The distance between the first seeds of two trials. No seed is used by two trials. */
const SEEDS_BETWEEN_TRIALS = 10_000;

/** The most states of one exploration. */
const STATES_MAX = 3_000_000;

export interface HuntOptions {
  readonly seedsMax: number;
  readonly trials: number;
  /** The first seed of the first trial. */
  readonly from: number;
}

/** The result of one trial: how many seeds it took, and what was violated. */
export interface Trial {
  readonly seeds: number;
  readonly seed: number;
  readonly by: string;
  readonly text: string;
}

/**
 * Loads the modules with the bug, and looks for it until it is found, once for each trial. Runs in a worker
 * thread of its own.
 */
export async function hunt(bug: Bug, options: HuntOptions): Promise<(Trial | null)[]> {
  patchOnLoad(SOURCE, "patch", [patchOf(bug)]);
  if (bug.finder === "exploration") return [await explore(bug)];
  if (bug.finder !== undefined) return [await huntBySuite(bug.code, bug.finder)];
  const { planOf, simulate } = (await import(
    `${path.join(SOURCE, "testing/simulator/index.ts")}?patch=${bug.code}`
  )) as typeof simulator;
  const { subjectOfStore } = (await import(
    `${path.join(import.meta.dirname, "../sim/stores.ts")}?patch=${bug.code}`
  )) as typeof stores;
  const subject = await subjectOfStore(bug.store ?? "sim");
  const holdsWithoutBug = await healthyRun(bug);
  const trials: (Trial | null)[] = [];
  for (let trial = 0; trial < options.trials; trial++) {
    const first = options.from + trial * SEEDS_BETWEEN_TRIALS;
    let found: Trial | null = null;
    for (let seeds = 1; seeds <= options.seedsMax && found === null; seeds++) {
      const seed = first + seeds - 1;
      const { violation } = await simulate(planOf(seed), { subject });
      if (violation === null) continue;
      checkItIsTheBug(bug, violation.message);
      // A seed that fails without the bug, too, says nothing about the bug.
      if (!(await holdsWithoutBug(seed))) continue;
      found = { seeds, seed, by: violation.code, text: violation.message };
    }
    trials.push(found);
    // One trial that doesn't find the bug is enough to know that it can be missed.
    if (found === null) return trials;
  }
  return trials;
}

/** Whether every invariant holds in the run of a seed without the bug. */
async function healthyRun({ store = "sim" }: Bug): Promise<(seed: number) => Promise<boolean>> {
  const { planOf, simulate } = (await import(
    path.join(SOURCE, "testing/simulator/index.ts")
  )) as typeof simulator;
  const { subjectOfStore } = (await import(
    path.join(import.meta.dirname, "../sim/stores.ts")
  )) as typeof stores;
  const subject = await subjectOfStore(store);
  return async (seed) => (await simulate(planOf(seed), { subject })).violation === null;
}

async function explore({ code, bounds }: Bug): Promise<Trial | null> {
  const { Explorer, SMALL } = (await import(
    `${path.join(SOURCE, "testing/explore/index.ts")}?patch=${code}`
  )) as typeof exploration;
  const { found } = new Explorer({ ...SMALL, ...bounds }, STATES_MAX).run();
  return found === null ? null : { seeds: 1, seed: 0, by: "exploration", text: found.sentence };
}

type Suite = Exclude<Bug["finder"], "exploration" | undefined>;

async function huntBySuite(code: string, finder: Suite): Promise<Trial | null> {
  const text = await runSuite(finder, `?patch=${code}`);
  if (text === null) return null;
  checkItIsTheBug({ code }, text);
  // A suite that fails without the bug, too, says nothing about the bug.
  const withoutBug = await runSuite(finder, "");
  if (withoutBug !== null) throw new Error(`the ${finder} fails without bug ${code}, too: ${withoutBug}`);
  return { seeds: 1, seed: 0, by: finder, text };
}

/** Runs a suite on the modules that the query names. Resolves with its first failure; null: none. */
async function runSuite(finder: Suite, query: string): Promise<string | null> {
  const { transportSuite, logStoreSuite, storageSuite, memorySuite, peerSuite } = (await import(
    `${path.join(import.meta.dirname, "suites.ts")}${query}`
  )) as typeof suites;
  const { stateSuite } = (await import(
    `${path.join(import.meta.dirname, "state-suite.ts")}${query}`
  )) as typeof states;
  const suite = {
    "transport suite": transportSuite,
    "log store suite": logStoreSuite,
    "storage suite": storageSuite,
    "memory suite": memorySuite,
    "peer suite": peerSuite,
    "state suite": () => stateSuite(),
  }[finder];
  return await suite();
}

/** A patch that doesn't even load would be "found" by every run. */
function checkItIsTheBug({ code }: Pick<Bug, "code">, text: string): void {
  if (/is not defined|is not a function|is not a constructor|before initialization/.test(text)) {
    throw new Error(`${code}: the patch does not run: ${text}`);
  }
}
