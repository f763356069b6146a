// `npm run check`: everything that must hold, with a summary at the end.
//
//   --no-tests              all but the tests
//   --tests-report FILE     all but the tests, whose results are taken from vitest's JSON report;
//   --tests-exit CODE       and from its exit code
//
// The last line printed is "N passed, N failed": test cases and checks together.
import { readFile } from "node:fs/promises";
import path from "node:path";
import { parseArgs } from "node:util";

import { run } from "./commands.ts";

interface Tally {
  passed: number;
  failed: number;
}

interface Check {
  readonly name: string;
  readonly script: string;
}

/**
 * Two lanes, for two cores; within a lane one after another. The check of the packages builds into the
 * folders that the type check writes too, so they share a lane.
 */
const LANES: readonly (readonly Check[])[] = [
  [
    { name: "types", script: "types" },
    { name: "packages", script: "packages" },
  ],
  [
    { name: "lint", script: "lint" },
    { name: "layers", script: "layers" },
    { name: "format", script: "format:check" },
    { name: "examples", script: "examples" },
  ],
];

const CHECK_SECONDS_MAX = 300;
const root = path.join(import.meta.dirname, "..");

async function runLane(lane: readonly Check[], tally: Tally): Promise<void> {
  for (const { name, script } of lane) {
    const { code, output, seconds } = await run("npm", ["run", "--silent", script], {
      cwd: root,
      secondsMax: CHECK_SECONDS_MAX,
    });
    if (code === 0) {
      tally.passed++;
      console.log(`ok     ${name} (${seconds.toFixed(1)} s)`);
    } else {
      tally.failed++;
      console.log(`FAILED ${name} (${seconds.toFixed(1)} s): npm run ${script}\n${output.trimEnd()}`);
    }
  }
}

/** The parts of vitest's JSON report that are counted. */
interface TestReport {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numFailedTestSuites: number;
}

/** Adds the tests that were run before; a run that failed counts as failed even if no test did. */
async function addTests(file: string, exitCode: number, tally: Tally): Promise<void> {
  let report: TestReport;
  try {
    report = JSON.parse(await readFile(file, "utf8")) as TestReport;
  } catch (error) {
    console.log(`FAILED tests: there is no report to read: ${String(error)}`);
    tally.failed++;
    return;
  }
  const { numPassedTests: passed, numFailedTests: failed } = report;
  console.log(
    `${failed === 0 && exitCode === 0 ? "ok    " : "FAILED"} tests (${passed} passed, ${failed} failed)`,
  );
  tally.passed += passed;
  tally.failed += failed;
  const failedOtherwise = failed === 0 && (exitCode !== 0 || passed === 0 || report.numFailedTestSuites > 0);
  if (failedOtherwise) {
    console.log(`FAILED test run: vitest exited with ${exitCode}, see above`);
    tally.failed++;
  }
}

const { values } = parseArgs({
  options: {
    "no-tests": { type: "boolean", default: false },
    "tests-report": { type: "string" },
    "tests-exit": { type: "string", default: "0" },
  },
});

const tally: Tally = { passed: 0, failed: 0 };
const report = values["tests-report"];
if (report !== undefined) {
  await addTests(report, Number(values["tests-exit"]), tally);
} else if (!values["no-tests"]) {
  await runLane([{ name: "tests", script: "test" }], tally);
}
await Promise.all(LANES.map((lane) => runLane(lane, tally)));

console.log(`${tally.passed} passed, ${tally.failed} failed`);
process.exitCode = tally.failed === 0 ? 0 : 1;
