// Visits every state of a small group within bounds: `node --conditions=source scripts/explore.ts --help`.
import path from "node:path";
import { parseArgs } from "node:util";
import { BREAKS, type Break } from "../packages/keelson/src/testing/explore/breaks.ts";
import {
  CHANGES,
  checkBounds,
  COUNTED,
  PROFILES,
  SWITCHES,
  type Bounds,
} from "../packages/keelson/src/testing/explore/shared/bounds.ts";
import type * as exploration from "../packages/keelson/src/testing/explore/index.ts";
import { changeOf, STARTS } from "../packages/keelson/src/testing/explore/group/start.ts";
import { patchOnLoad } from "./lib/patched-modules.ts";

type Exploration = typeof exploration;

const HELP = `Visits every state that a small group can reach, on the real core, and checks the invariants after every step.

  --bounds NAME      one of ${Object.keys(PROFILES).join(", ")}; default: ci
  ${COUNTED.map((name) => `--${kebab(name)} N`).join("  ")}
  ${SWITCHES.map((name) => `--${kebab(name)} BOOLEAN`).join("  ")}
                     change one of the bounds
  --change NAME      the changes of membership there are: none or ${Object.keys(CHANGES).join(", ")}
  --start NAME       begin at one of ${STARTS.join(", ")}
  --states N         stop at N states; default: none left
  --states-min N     fail if fewer than N were visited
  --break NAME       put a known bug into the core first; exit code 0 if it is found
  --breaks           every known bug, one after another, each until it is found
  --quiet            no progress
Exit code: 0 all held (or: every bug was found); 1 an invariant broke (or: a bug was not found); 2 wrong usage.`;

const CORE = path.join(import.meta.dirname, "../packages/keelson/src/core");
const INDEX = "../packages/keelson/src/testing/explore/index.ts";
/** How often progress is printed. */
const PROGRESS_MS = 5_000;

interface Run {
  readonly bounds: Bounds;
  readonly states: number;
  readonly quiet: boolean;
}

function explore(exploration: Exploration, { bounds, states, quiet }: Run) {
  const began = performance.now();
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
  const trace = result.found === null ? [] : exploration.describeTrace(explorer, result.found);
  return { ...result, seconds, trace };
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      ...Object.fromEntries(
        [...COUNTED, ...SWITCHES].map((name) => [kebab(name), { type: "string" } as const]),
      ),
      bounds: { type: "string", default: "ci" },
      change: { type: "string" },
      start: { type: "string" },
      states: { type: "string", default: "Infinity" },
      "states-min": { type: "string", default: "1" },
      break: { type: "string" },
      breaks: { type: "boolean", default: false },
      quiet: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(HELP);
    return 0;
  }
  const bounds = boundsOf(values.breaks || values.break !== undefined ? "breaks" : values.bounds, values);
  const run = { bounds, states: number("states", values.states), quiet: values.quiet };
  if (values.breaks) return exploreBreaks(BREAKS, run);
  if (values.break !== undefined) return exploreBreaks([breakNamed(values.break)], run);
  return exploreCore(run, number("states-min", values["states-min"]));
}

async function exploreCore(run: Run, statesMin: number): Promise<number> {
  const exploration = (await import(INDEX)) as Exploration;
  console.log(describeBounds(run.bounds));
  const result = explore(exploration, run);
  const rate = Math.round(result.states / result.seconds);
  console.log(
    `${count(result.states)} distinct states (${result.complete ? "all within these bounds" : "stopped there"}), ` +
      `${count(result.transitions)} transitions, depth ${result.depth}; ${count(result.hosts)} states of one node, ` +
      `${count(result.steps)} of its steps; ${result.seconds.toFixed(1)} s, ${count(rate)} states/s`,
  );
  if (result.found !== null) {
    console.log(result.trace.join("\n"));
    return 1;
  }
  if (result.states < statesMin) {
    console.log(`expected at least ${count(statesMin)} states: the exploration has lost some of its events`);
    return 1;
  }
  console.log("every invariant held in every state");
  return 0;
}

async function exploreBreaks(breaks: readonly Break[], run: Run): Promise<number> {
  patchOnLoad(
    CORE,
    "break",
    BREAKS.map((bug) => ({ name: bug.name, changes: [bug] })),
  );
  console.log(describeBounds(run.bounds));
  let missed = 0;
  for (const bug of breaks) {
    const exploration = (await import(`${INDEX}?break=${bug.name}`)) as Exploration;
    const { found, states, seconds, trace } = explore(exploration, {
      ...run,
      bounds: { ...run.bounds, ...bug.bounds },
      quiet: true,
    });
    const outcome =
      found === null
        ? `NOT FOUND in ${count(states)} states`
        : `${count(states)} states, ${found.events.length} steps, ${seconds.toFixed(1)} s: ${found.sentence}`;
    console.log(`${bug.name}: ${outcome}`);
    if (found === null) missed += 1;
    else if (breaks.length === 1) console.log(trace.join("\n"));
  }
  console.log(`${breaks.length - missed} of ${breaks.length} known bugs were found`);
  return missed === 0 ? 0 : 1;
}

function boundsOf(name: string, values: Record<string, unknown>): Bounds {
  const profile = PROFILES[name];
  if (profile === undefined)
    throw new RangeError(`--bounds is one of ${Object.keys(PROFILES).join(", ")}, not ${name}`);
  const changes: Record<string, number | boolean | string> = {};
  if (typeof values["start"] === "string") changes["change"] = changeOf(values["start"]);
  for (const name of ["start", "change"]) {
    if (typeof values[name] === "string") changes[name] = values[name];
  }
  for (const field of COUNTED) {
    const text = values[kebab(field)];
    if (typeof text === "string") changes[field] = number(kebab(field), text);
  }
  for (const field of SWITCHES) {
    const text = values[kebab(field)];
    if (text === undefined) continue;
    if (text !== "true" && text !== "false") throw new RangeError(`--${kebab(field)} is true or false`);
    changes[field] = text === "true";
  }
  const bounds: { -readonly [Name in keyof Bounds]: Bounds[Name] } = { ...profile, ...changes };
  if (values["initialized-nodes"] === undefined)
    bounds.initializedNodes = Math.min(bounds.initializedNodes, bounds.nodes);
  checkBounds(bounds);
  return bounds;
}

function breakNamed(name: string): Break {
  const bug = BREAKS.find((one) => one.name === name);
  if (bug === undefined)
    throw new RangeError(`--break is one of ${BREAKS.map((one) => one.name).join(", ")}`);
  return bug;
}

function number(name: string, text: string): number {
  const value = Number(text);
  if (text === "" || Number.isNaN(value) || value < 0)
    throw new RangeError(`--${name} takes a number, not "${text}"`);
  return value;
}

function describeBounds(bounds: Bounds): string {
  const on = SWITCHES.filter((name) => bounds[name]).map(kebab);
  const change = bounds.change === "none" ? "" : `, to ${bounds.change}`;
  return `from ${bounds.start}${change}: ${COUNTED.map((name) => `${kebab(name)} ${bounds[name]}`).join(", ")}${on.length > 0 ? `; ${on.join(", ")}` : ""}`;
}

function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

function count(value: number): string {
  return value.toLocaleString("en-US");
}

try {
  process.exitCode = await main();
} catch (error) {
  const usage = error instanceof RangeError || (error instanceof TypeError && "code" in error);
  if (!usage) throw error;
  console.error(`${error.message}\n\n${HELP}`);
  process.exitCode = 2;
}
