// `npm run check`: everything that must hold, with a summary at the end.
//
//   --no-tests              all but the tests
//   --tests-report FILE     all but the tests, whose results are taken from vitest's JSON report;
//   --tests-exit CODE       and from its exit code
//
// The last line printed is "N passed, N failed", and ", N skipped" if a check lacks what it needs on this
// machine: test cases and checks together.
import { readFile } from "node:fs/promises";
import path from "node:path";
import { parseArgs } from "node:util";

import { run } from "./commands.ts";
import { closingLine, tallyTests, wasSkipped, type TestReport } from "./tally.ts";

interface Check {
  readonly name: string;
  readonly script: string;
  readonly args?: readonly string[];
}

/**
 * Two lanes of checks run in parallel, for two cores; the checks of a lane run one after another. The second
 * check of the packages uses what the first one left, so they are in one lane.
 */
const LANES: readonly (readonly Check[])[] = [
  [
    { name: "types", script: "types" },
    { name: "packages", script: "packages" },
    // With the archives that the check above left, on the oldest and the newest Node; the check above ran on
    // the one between. Skipped where the registry of packages can't be reached.
    { name: "packages on other Nodes", script: "packages:installed", args: ["--packed", "--nodes", "22,26"] },
    // A short version of each long test. The long versions have their own commands.
    { name: "simulation", script: "sim", args: ["--seeds", "60", "--jobs", "1"] },
    {
      name: "zoo",
      script: "zoo",
      args: ["--only", "E3,E20,C2b,C5b,C7,M16", "--trials", "1", "--seeds-max", "40"],
    },
    { name: "exploration", script: "explore", args: ["--quiet"] },
    {
      name: "mutation",
      script: "mutate",
      args: ["--quiet", "--files", "packages/keelson/src/core/quorum.ts", "--score-min", "90"],
    },
  ],
  [
    { name: "lint", script: "lint" },
    { name: "layers", script: "layers" },
    { name: "docs", script: "docs" },
    { name: "site", script: "site" },
    { name: "format", script: "format:check" },
    { name: "examples", script: "examples" },
    // Histories of a few seeds, checked by a program that we didn't write; without Go it is skipped.
    { name: "porcupine", script: "porcupine", args: ["--seeds", "6", "--random", "1000"] },
    // Servers in network namespaces; without root, nft or socat it is skipped.
    { name: "separate hosts", script: "netns", args: ["--short"] },
    // Without the validator it is skipped.
    { name: "kubernetes", script: "kubernetes" },
    { name: "hostile clients", script: "hostile", args: ["--short", "--hold", "1"] },
    // Hot parts against a reference loop of the same run, by CPU time.
    { name: "hot parts", script: "bench", args: ["micro", "--short"] },
    { name: "attack without rights", script: "attack", args: ["--short"] },
    {
      // Within this time, this seed transfers leadership, loses a disk, and replaces the leader.
      name: "torture",
      script: "torture",
      args: [
        ...["--minutes", "0.3", "--seed", "24228", "--nodes", "3", "--clients", "3"],
        ...["--network", "proxies"],
      ],
    },
  ],
];

/** The time limit of a check. Far above what any check takes; it ends a check that hangs. */
const CHECK_SECONDS_MAX = 600;
const root = path.join(import.meta.dirname, "..");
/** Aborted by Ctrl-C: the running checks are interrupted, and no other begins. */
const interrupted = new AbortController();

/** Test cases and checks together, as they end. */
interface RunningTally {
  passed: number;
  failed: number;
  skipped: number;
}

async function runLane(lane: readonly Check[], tally: RunningTally): Promise<void> {
  for (const { name, script, args = [] } of lane) {
    if (interrupted.signal.aborted) return;
    const { code, output, seconds } = await run("npm", ["run", "--silent", script, "--", ...args], {
      cwd: root,
      secondsMax: CHECK_SECONDS_MAX,
      interrupt: interrupted.signal,
    });
    if (code === 0 && wasSkipped(output)) {
      tally.skipped++;
      console.log(`skipped ${name}: ${output.trimEnd()}`);
    } else if (code === 0) {
      tally.passed++;
      console.log(`ok     ${name} (${seconds.toFixed(1)} s)`);
    } else {
      tally.failed++;
      console.log(
        `FAILED ${name} (${seconds.toFixed(1)} s): npm run ${[script, "--", ...args].join(" ")}\n${output.trimEnd()}`,
      );
    }
  }
}

async function readReport(file: string): Promise<TestReport | null> {
  try {
    return JSON.parse(await readFile(file, "utf8")) as TestReport;
  } catch (error) {
    console.log(`there is no test report to read: ${String(error)}`);
    return null;
  }
}

const { values } = parseArgs({
  options: {
    "no-tests": { type: "boolean", default: false },
    "tests-report": { type: "string" },
    "tests-exit": { type: "string", default: "0" },
  },
});

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    interrupted.abort();
  });
}

const tally: RunningTally = { passed: 0, failed: 0, skipped: 0 };
const report = values["tests-report"];
if (report !== undefined) {
  const exitCode = Number(values["tests-exit"]);
  const { passed, failed } = tallyTests(await readReport(report), exitCode);
  console.log(
    `${failed === 0 ? "ok    " : "FAILED"} tests: ${passed} passed, ${failed} failed, exit code ${exitCode}`,
  );
  tally.passed += passed;
  tally.failed += failed;
} else if (!values["no-tests"]) {
  await runLane([{ name: "tests", script: "test" }], tally);
}
await Promise.all(LANES.map((lane) => runLane(lane, tally)));

if (interrupted.signal.aborted) {
  console.log("interrupted: not all was checked");
  process.exitCode = 1;
} else {
  console.log(closingLine(tally, tally.skipped));
  process.exitCode = tally.failed === 0 ? 0 : 1;
}
