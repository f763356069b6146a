/**
 * Runs the tests of mutants in Stryker's own process, the fastest first, until one fails. Node loads the
 * modules once, and a global variable switches the mutants in them. So a mutant that fails at once costs
 * milliseconds, while a vitest worker for each mutant would cost most of a second.
 */
import { globSync, readFileSync, writeFileSync } from "node:fs";
import { registerHooks } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import type { StrykerOptions } from "@stryker-mutator/api/core";
import { commonTokens, declareClassPlugin, PluginKind, tokens } from "@stryker-mutator/api/plugin";
import {
  determineHitLimitReached,
  DryRunStatus,
  TestStatus,
  toMutantRunResult,
  type CompleteDryRunResult,
  type DryRunResult,
  type MutantRunOptions,
  type MutantRunResult,
  type TestResult,
  type TestRunner,
} from "@stryker-mutator/api/test-runner";

import { beginFile, gathered, type GatheredTest } from "./vitest-in-process.ts";

/**
 * The global variable by which Stryker and the instrumented code share which mutant is active, and which code
 * ran.
 */
interface Switchboard {
  activeMutant?: string | undefined;
  currentTestId?: string | undefined;
  hitCount?: number | undefined;
  hitLimit?: number | undefined;
  mutantCoverage?: CompleteDryRunResult["mutantCoverage"];
}

const STAND_IN = new URL("./vitest-in-process.ts", import.meta.url).href;
/**
 * Holds how long the tests took. It is a file, because a process ends with each mutant that loops without
 * end.
 */
const TIMES_FILE = ".mutation-times.json";

/**
 * Tests that are too expensive to run for each mutant: many seeds, a crash at each operation of a long
 * workload, real processes, real disks.
 */
const SLOW_FILES = /random\.test\.ts$|\.process\.test\.ts$|crash\.test\.ts$/;
const SLOW_TESTS = /on a real disk/;

/**
 * A test that takes more than this part of the total time runs only for mutants of the file that it is named
 * after. For other mutants it would cost more than all the other tests together. So a mutant may be reported
 * as a survivor although such a test would kill it, but never the other way round.
 */
const SHARE_MAX = 1 / 20;

/** The tests in the folders of the mutated files. */
export function testFilesOf(mutated: readonly string[]): string[] {
  const folders = new Set(mutated.map((file) => path.dirname(file)));
  return [...folders]
    .flatMap((folder) => globSync(`${folder}/*.test.ts`))
    .filter((file) => !SLOW_FILES.test(file))
    .sort();
}

/** Whether a test is in `x.test.ts`, and `file` is `x.ts`. */
function isNamedFor(testId: string, file: string): boolean {
  return testId.includes(`/${path.basename(file, ".ts")}.test.ts > `);
}

interface Times {
  readonly longMs: number;
  readonly times: Readonly<Record<string, number>>;
}

function readTimes(): Times {
  return JSON.parse(readFileSync(TIMES_FILE, "utf8")) as Times;
}

class InProcessRunner implements TestRunner {
  static readonly inject = tokens(commonTokens.options);
  readonly #mutated: readonly string[];
  readonly #files: readonly string[];
  readonly #switchboard: Switchboard;
  #loaded = false;

  constructor(options: StrykerOptions) {
    this.#mutated = options.mutate;
    this.#files = testFilesOf(this.#mutated);
    const shared = globalThis as unknown as { __stryker__?: Switchboard };
    this.#switchboard = shared.__stryker__ ??= {};
    registerHooks({
      resolve: (specifier, context, next) =>
        specifier === "vitest" && context.parentURL !== STAND_IN
          ? { url: STAND_IN, shortCircuit: true }
          : next(specifier, context),
    });
    // A failed test may leave work running that fails later. That says nothing about later mutants.
    process.on("unhandledRejection", () => undefined);
    process.on("uncaughtException", () => undefined);
  }

  capabilities() {
    return { reloadEnvironment: false };
  }

  async dryRun(): Promise<DryRunResult> {
    await this.#load();
    const tried = await this.#run(
      gathered.filter(({ id }) => !SLOW_TESTS.test(id)),
      false,
    );
    const longMs = SHARE_MAX * tried.tests.reduce((sum, { timeSpentMs }) => sum + timeSpentMs, 0);
    // Tests that are left out here don't count for a mutant's time limit, either.
    const tests = tried.tests.filter(
      ({ id, timeSpentMs }) => timeSpentMs <= longMs || this.#mutated.some((file) => isNamedFor(id, file)),
    );
    const result = { ...tried, tests };
    const times = Object.fromEntries(tests.map(({ id, timeSpentMs }) => [id, timeSpentMs]));
    writeFileSync(TIMES_FILE, JSON.stringify({ longMs, times } satisfies Times));
    const { mutantCoverage } = this.#switchboard;
    if (mutantCoverage === undefined) return result;
    const perTest = Object.fromEntries(Object.entries(mutantCoverage.perTest).filter(([id]) => id in times));
    return { ...result, mutantCoverage: { ...mutantCoverage, perTest } };
  }

  async mutantRun(options: MutantRunOptions): Promise<MutantRunResult> {
    const { activeMutant, hitLimit, mutantActivation, testFilter } = options;
    if (mutantActivation === "static") this.#switchboard.activeMutant = activeMutant.id;
    try {
      await this.#load();
    } catch (error) {
      // A mutant with which the modules don't load counts as killed.
      const failureMessage = String(error);
      return toMutantRunResult({
        status: DryRunStatus.Complete,
        tests: [{ id: "load", name: "load", timeSpentMs: 0, status: TestStatus.Failed, failureMessage }],
      });
    }
    this.#switchboard.activeMutant = activeMutant.id;
    this.#switchboard.hitCount = hitLimit === undefined ? undefined : 0;
    this.#switchboard.hitLimit = hitLimit;
    const wanted = testFilter === undefined ? null : new Set(testFilter);
    const { longMs, times } = readTimes();
    const tests = gathered
      .filter(({ id }) => wanted === null || wanted.has(id))
      .filter(({ id }) => {
        const time = times[id];
        return time !== undefined && (time <= longMs || isNamedFor(id, activeMutant.fileName));
      })
      .sort((a, b) => (times[a.id] ?? 0) - (times[b.id] ?? 0));
    const result = await this.#run(tests, true);
    const endless = determineHitLimitReached(this.#switchboard.hitCount, hitLimit);
    return toMutantRunResult(endless ?? result);
  }

  async #load(): Promise<void> {
    if (this.#loaded) return;
    for (const file of this.#files) {
      beginFile(file);
      await import(pathToFileURL(path.resolve(file)).href);
    }
    this.#loaded = true;
  }

  async #run(tests: readonly GatheredTest[], untilOneFails: boolean): Promise<CompleteDryRunResult> {
    const results: TestResult[] = [];
    for (const test of tests) {
      this.#switchboard.currentTestId = test.id;
      const result = await runTest(test);
      this.#switchboard.currentTestId = undefined;
      results.push(result);
      if (untilOneFails && result.status === TestStatus.Failed) break;
    }
    return { status: DryRunStatus.Complete, tests: results };
  }
}

async function runTest({ id, body, timeoutMs }: GatheredTest): Promise<TestResult> {
  const began = performance.now();
  const result = (): { id: string; name: string; timeSpentMs: number } => ({
    id,
    name: id,
    timeSpentMs: performance.now() - began,
  });
  let timer: NodeJS.Timeout | undefined;
  try {
    const tooLate = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(new Error("the test did not end"));
      }, timeoutMs);
    });
    await Promise.race([body(), tooLate]);
    return { ...result(), status: TestStatus.Success };
  } catch (error) {
    const failureMessage = error instanceof Error ? error.message : String(error);
    return { ...result(), status: TestStatus.Failed, failureMessage };
  } finally {
    clearTimeout(timer);
  }
}

export const strykerPlugins = [declareClassPlugin(PluginKind.TestRunner, "in-process", InProcessRunner)];
