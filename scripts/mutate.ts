// Makes small changes to the code, one at a time, and checks that a test fails: `npm run mutate -- --help`.
import { existsSync, globSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { Stryker } from "@stryker-mutator/core";

import { listSurvivors, replaceTable, scoreOf, tallyFiles, type MutationReport } from "./mutation/report.ts";
import { flagsOf } from "./lib/flags.ts";

const HELP = `Runs the tests of core/ and storage/wal against mutants of their files.

  --files GLOB       the files to mutate; default: all of both folders. May be given more than once
  --jobs N           processes that run tests; default 1
  --score-min N      fail below this score, in percent; default 85
  --docs             write what was found into docs/mutation.md
  --quiet            no progress
Exit code: 0 the score was reached; 1 it was not; 2 wrong usage.`;

const SCORE_MIN = 85;
const TARGETS = ["packages/keelson/src/core/*.ts", "packages/keelson/src/storage/wal/*.ts"];
/** Files that aren't mutated: lists of exports, and the tests. */
const NOT_MUTATED = /(\/index|\.test)\.ts$/;
const REPORT_FILE = "reports/mutation.json";
const DOCS_FILE = "docs/mutation.md";

/** Tests count as looping if they take this much more than 1.5 times as long as usual. */
const TIMEOUT_MS = 5_000;

function usage(text: string): never {
  console.error(`${text}\n\n${HELP}`);
  process.exit(2);
}

function readArguments() {
  const { values } = flagsOf("npm run mutate", HELP, {
    options: {
      files: { type: "string", multiple: true, default: TARGETS },
      jobs: { type: "string", default: "1" },
      "score-min": { type: "string", default: String(SCORE_MIN) },
      docs: { type: "boolean", default: false },
      quiet: { type: "boolean", default: false },
    },
  });
  const jobs = Number(values.jobs);
  if (!Number.isSafeInteger(jobs) || jobs < 1) usage(`--jobs is ${values.jobs}; it must be 1 or more`);
  const scoreMin = Number(values["score-min"]);
  if (!(scoreMin >= 0 && scoreMin <= 100))
    usage(`--score-min is ${values["score-min"]}; it must be 0 to 100`);
  const mutate = values.files.flatMap((glob) => globSync(glob)).filter((file) => !NOT_MUTATED.test(file));
  if (mutate.length === 0) usage(`there is nothing to mutate in ${values.files.join(", ")}`);
  return { jobs, scoreMin, mutate, docs: values.docs, quiet: values.quiet };
}

process.chdir(path.join(import.meta.dirname, ".."));
const { jobs, scoreMin, mutate, docs, quiet } = readArguments();
await mkdir(path.dirname(REPORT_FILE), { recursive: true });

await new Stryker({
  mutate,
  concurrency: jobs,
  testRunner: "in-process",
  plugins: ["./scripts/mutation/test-runner.ts"],
  testRunnerNodeArgs: ["--conditions=source"],
  coverageAnalysis: "perTest",
  timeoutMS: TIMEOUT_MS,
  timeoutFactor: 1.5,
  // A mutant in code that runs when its module is loaded would need a process of its own.
  ignoreStatic: true,
  // Texts for people. Tests of their wording would prevent no bug.
  mutator: { plugins: null, excludedMutations: ["StringLiteral"] },
  ignorePatterns: ["packages/kv", "bench", "examples", "docs", "reports", "coverage"],
  reporters: quiet ? ["json"] : ["json", "progress-append-only"],
  jsonReporter: { fileName: REPORT_FILE },
  disableTypeChecks: false,
  checkers: [],
  allowConsoleColors: false,
}).runMutationTest();

const report = JSON.parse(await readFile(REPORT_FILE, "utf8")) as MutationReport;
const tallies = tallyFiles(report);
for (const line of listSurvivors(report)) console.log(line);
for (const { file, mutants, killed, survived } of tallies) {
  console.log(
    `${file}: ${String(mutants)} mutants, ${String(killed)} killed, ${String(survived)} survived, ` +
      `score ${scoreOf({ mutants, killed }).toFixed(1)}%`,
  );
}
if (docs) await writeFile(DOCS_FILE, replaceTable(await readFile(DOCS_FILE, "utf8"), tallies, existsSync));

const total = { mutants: 0, killed: 0 };
for (const { mutants, killed } of tallies) {
  total.mutants += mutants;
  total.killed += killed;
}
const score = scoreOf(total);
console.log(
  `score ${score.toFixed(1)}% of ${String(total.mutants)} mutants; at least ${String(scoreMin)}% is wanted`,
);
process.exit(score >= scoreMin ? 0 : 1);
