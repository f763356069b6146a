/**
 * How much of the code the simulator reaches by itself, without any other test:
 * `npm run sim:coverage -- [--seeds N] [--from S] [--missed] [--lines-min PERCENT]`.
 * Exits with 0 only if each of core/, runtime/ and storage/wal/ reaches the wanted share of lines.
 */
import { readdirSync, readFileSync } from "node:fs";
import { Session } from "node:inspector/promises";
import path from "node:path";
import { pathToFileURL } from "node:url";

import { coverageOf, type CountedRange, type FileCoverage } from "./coverage/covered-lines.ts";
import { flagsOf } from "./lib/flags.ts";

const HELP = `Usage: npm run sim:coverage -- [--seeds N] [--from S] [--missed] [--lines-min PERCENT]

  --seeds N            how many seeds (default 300), one after another
  --from S             the first seed (default 1)
  --missed             also list the lines that no seed reached
  --lines-min PERCENT  what core/, runtime/ and storage/wal/ must reach each (default 90)`;

const SOURCE = path.join(import.meta.dirname, "../packages/keelson/src");

/** The folders whose coverage has a minimum, and those that are only shown. */
const WANTED = ["core", "runtime", "storage/wal"];
const SHOWN = [...WANTED, "storage", "codec", "transport", "transport/tcp"];

/** Tools to inspect or rescue the log of a stopped node: no cluster uses them. */
const OFFLINE = [
  "storage/wal/inspect-wal.ts",
  "storage/wal/force-new-cluster.ts",
  "storage/wal/restore-wal.ts",
];

/** Only the explorer makes images of the core's state (`npm run explore`). */
const EXPLORED = ["capture", "revive"];

process.exitCode = await main();

async function main(): Promise<number> {
  const { values } = flagsOf("npm run sim:coverage", HELP, {
    options: {
      seeds: { type: "string", default: "300" },
      from: { type: "string", default: "1" },
      missed: { type: "boolean", default: false },
      "lines-min": { type: "string", default: "90" },
    },
  });
  const [seeds, from, linesMin] = [Number(values.seeds), Number(values.from), Number(values["lines-min"])];
  if (!Number.isSafeInteger(seeds) || seeds < 1 || !Number.isSafeInteger(from) || !(linesMin >= 0)) {
    console.error(`--seeds and --from must be whole numbers, and --lines-min a percentage\n${HELP}`);
    return 2;
  }
  const counts = await countWhile(() => runSeeds(from, seeds));
  return report(counts, values.missed, linesMin);
}

/** Counts what runs in `body`, and in the modules that it loads first; by the URL of the module. */
async function countWhile(body: () => Promise<void>): Promise<Map<string, CountedRange[]>> {
  const session = new Session();
  session.connect();
  await session.post("Profiler.enable");
  await session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
  await body();
  const { result } = await session.post("Profiler.takePreciseCoverage");
  session.disconnect();
  return new Map(result.map(({ url, functions }) => [url, functions.flatMap(({ ranges }) => ranges)]));
}

async function runSeeds(from: number, seeds: number): Promise<void> {
  // Loaded only here, so that counting has begun.
  const { planOf, simulate } = await import("keelson/testing");
  for (let seed = from; seed < from + seeds; seed++) {
    const { violation } = await simulate(planOf(seed));
    if (violation !== null) throw new Error(`seed ${String(seed)} broke ${violation.message}`);
    if ((seed - from + 1) % 50 === 0) console.log(`${String(seed - from + 1)} of ${String(seeds)} seeds`);
  }
}

function report(counts: ReadonlyMap<string, CountedRange[]>, showsMissed: boolean, linesMin: number): number {
  const tooLow: string[] = [];
  for (const folder of SHOWN) {
    const files = filesOf(folder).map((file) => ({ file, coverage: coverageIn(file, counts) }));
    const { lines, statements } = sharesOf(files.map(({ coverage }) => coverage));
    if (WANTED.includes(folder) && lines < linesMin) tooLow.push(folder);
    console.log(`\n${folder}/: ${lines.toFixed(1)} % of lines, ${statements.toFixed(1)} % of statements`);
    for (const { file, coverage } of files) {
      const [covered, all] = [coverage.covered.length, coverage.covered.length + coverage.missed.length];
      if (all === 0) continue;
      console.log(
        `  ${path.basename(file).padEnd(24)} ${String(covered).padStart(4)} of ${String(all).padStart(4)} lines`,
      );
      if (showsMissed) listLines(file, coverage.missed);
    }
  }
  console.log("");
  if (tooLow.length > 0) console.error(`below ${String(linesMin)} %: ${tooLow.join(", ")}`);
  return tooLow.length === 0 ? 0 : 1;
}

function listLines(file: string, lines: readonly number[]): void {
  const text = readFileSync(file, "utf8").split("\n");
  for (const line of lines) console.log(`    ${String(line)}: ${text[line - 1]?.trim() ?? ""}`);
}

/** The files directly in the folder, without lists of exports and tests, which contain no code to reach. */
function filesOf(folder: string): string[] {
  return readdirSync(path.join(SOURCE, folder))
    .filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts") && name !== "index.ts")
    .filter((name) => !OFFLINE.includes(`${folder}/${name}`))
    .map((name) => path.join(SOURCE, folder, name));
}

function coverageIn(file: string, counts: ReadonlyMap<string, CountedRange[]>): FileCoverage {
  return coverageOf(readFileSync(file, "utf8"), counts.get(pathToFileURL(file).href) ?? [], EXPLORED);
}

function sharesOf(files: readonly FileCoverage[]): { lines: number; statements: number } {
  const sum = (of: (file: FileCoverage) => number): number =>
    files.reduce((total, file) => total + of(file), 0);
  const covered = sum((file) => file.covered.length);
  return {
    lines: percent(covered, covered + sum((file) => file.missed.length)),
    statements: percent(
      sum((file) => file.statementsCovered),
      sum((file) => file.statements),
    ),
  };
}

function percent(part: number, whole: number): number {
  return whole === 0 ? 100 : (100 * part) / whole;
}
