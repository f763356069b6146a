// Puts known bugs back into the core, one at a time, and looks for each by exploring.
import path from "node:path";

import {
  BREAKS,
  SEARCH_BREAKS,
  SEARCHES,
  versionOf,
  type Break,
  type Search,
  type SearchBreak,
} from "../../packages/keelson/src/testing/explore/index.ts";
import { PROFILES, type Bounds } from "../../packages/keelson/src/testing/explore/shared/bounds.ts";
import { patchOnLoad } from "../lib/patched-modules.ts";
import { BUGS, patchOf } from "../zoo/bugs.ts";
import { changesOf } from "../zoo/bug.ts";
import { count, explore, INDEX, type Exploration } from "./run.ts";

const SOURCE = path.join(import.meta.dirname, "../../packages/keelson/src");
const CORE = "core/";

/** All bugs that the explorer knows: those of the searches name theirs. */
export const KNOWN: readonly (Break | SearchBreak)[] = [...BREAKS, ...SEARCH_BREAKS];

/** Looks for each bug until it is found. Returns how many were not. */
export async function exploreBreaks(
  breaks: readonly (Break | SearchBreak)[],
  boundsMore: Partial<Bounds>,
  statesMax: number,
): Promise<number> {
  patchOnLoad(
    SOURCE,
    "break",
    KNOWN.map((bug) => ({
      name: bug.name,
      changes: [bug, ...(bug.also ?? [])].map((change) => ({ ...change, file: `${CORE}${change.file}` })),
    })),
  );
  let missed = 0;
  for (const bug of breaks) {
    const exploration = (await import(`${INDEX}?break=${bug.name}`)) as Exploration;
    const search = "search" in bug ? searchNamed(bug.search) : null;
    const { bounds, states } =
      search === null
        ? { bounds: { ...PROFILES["breaks"], ...boundsMore } as Bounds, states: Infinity }
        : versionOf(search, true);
    const result = explore(exploration, {
      bounds: { ...bounds, ...bug.bounds },
      states: Math.min(states, statesMax),
      quiet: true,
    });
    const { found, trace } = result;
    const by = search === null ? "" : ` by ${search.name}`;
    const outcome =
      found === null
        ? `NOT FOUND in ${count(result.states)} states`
        : `${count(result.states)} states, ${found.events.length} steps, ${result.cpuSeconds.toFixed(1)} s: ${found.sentence}`;
    console.log(`${bug.name}${by}: ${outcome}`);
    if (found === null) missed += 1;
    else if (breaks.length === 1) console.log(trace.join("\n"));
  }
  console.log(`${breaks.length - missed} of ${breaks.length} known bugs were found`);
  return missed;
}

/**
 * Puts each of the zoo's bugs that are in the core alone back, and runs the short searches, until one finds
 * it. Returns the number of bugs that a search found.
 */
export async function exploreZoo(codes: readonly string[] | null): Promise<number> {
  const bugs = BUGS.filter(
    (bug) =>
      changesOf(bug).every(({ file }) => file.startsWith(CORE)) &&
      (codes === null || codes.includes(bug.code)),
  );
  patchOnLoad(SOURCE, "patch", bugs.map(patchOf));
  let foundCount = 0;
  for (const { code, title } of bugs) {
    const exploration = (await import(`${INDEX}?patch=${code}`)) as Exploration;
    let line = `${code}: found by no search (${title})`;
    for (const search of SEARCHES) {
      const { found, states } = explore(exploration, { ...versionOf(search, true), quiet: true });
      if (found === null) continue;
      line = `${code}: by ${search.name}, ${count(states)} states, ${found.events.length} steps: ${found.sentence}`;
      foundCount += 1;
      break;
    }
    console.log(line);
  }
  console.log(`${foundCount} of the zoo's ${bugs.length} bugs of the core were found`);
  return foundCount;
}

export function searchNamed(name: string): Search {
  const search = SEARCHES.find((one) => one.name === name);
  if (search === undefined) {
    throw new RangeError(
      `--search is all or one of ${SEARCHES.map((one) => one.name).join(", ")}, not ${name}`,
    );
  }
  return search;
}
