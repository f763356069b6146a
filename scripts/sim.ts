/**
 * Runs the simulator over many seeds: `npm run sim -- --seeds N [--from S] [--minutes M] [--jobs J]`, or one
 * of them again: `npm run sim -- --replay SEED [--trace FILE]`. With `--store kv` the server's state machine
 * is replicated. `--histories DIR` keeps what the clients called and were told, for other programs to check.
 * Exits with 0 only if every invariant held.
 */
import { writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

import type { RunResult } from "keelson/testing";
import { describePlan, failureOf, reportOf } from "./lib/sim-report.ts";
import { makeEmptyDirectory } from "./lib/empty-directory.ts";
import { runSeeds } from "./lib/worker-threads.ts";
import { subjectOfStore, STORES, type Store } from "./sim/stores.ts";

// Whatever runs a seed imports the library itself: the thread that only hands out seeds need not load it.

/** How many failed runs are shrunk and shown in full; further ones are only counted. */
const FAILURES_SHOWN_MAX = 3;

const PROGRESS_EVERY_MS = 5_000;

/** A worker's report of one run. */
interface Outcome {
  readonly seed: number;
  readonly violation: string | null;
  readonly ms: number;
  readonly committed: number;
  readonly writes: number;
  readonly reads: number;
  readonly undecided: boolean;
  readonly faults: readonly (readonly [string, number])[];
  /**
   * The hash of all events of the run. Equal hashes before and after a change of the code mean that it alters
   * no behaviour.
   */
  readonly traceHash: string;
}

/** The settings that all runs of a worker share. */
interface Task {
  readonly store: Store;
  /** Where to write the runs' histories; null: nowhere. */
  readonly histories: string | null;
}

if (isMainThread) process.exitCode = await main(process.argv.slice(2));
else await serveSeeds();

async function serveSeeds(): Promise<void> {
  const { store, histories } = workerData as Task;
  const { planOf, simulate, formatHistory } = await import("keelson/testing");
  const subject = await subjectOfStore(store);
  // Errors are normal in these runs, and a stack trace costs more than most of the calls that fail. A seed
  // that breaks an invariant is run again by `replay`, in a thread that has them.
  Error.stackTraceLimit = 0;
  parentPort?.on("message", (seed: number) => {
    void simulate(planOf(seed), { subject }).then((result) => {
      writeHistory(result, formatHistory, store, histories);
      parentPort?.postMessage(outcomeOf(result));
    });
  });
}

/** The run's history as a file that other programs can check (docs/histories.md). */
function writeHistory(
  { plan, history }: RunResult,
  formatHistory: (history: RunResult["history"]) => string,
  store: Store,
  directory: string | null,
): void {
  if (directory === null) return;
  writeFileSync(path.join(directory, `${store}-seed-${plan.seed}.jsonl`), formatHistory(history));
}

function outcomeOf(result: RunResult): Outcome {
  const { plan, violation, ms, committed, clients, undecided, faults, traceHash } = result;
  const { writesDone: writes, readsDone: reads } = clients;
  const text = violation?.message ?? null;
  return {
    ...{ seed: plan.seed, violation: text, ms, committed, writes, reads, undecided, traceHash },
    faults: [...faults],
  };
}

async function main(args: string[]): Promise<number> {
  try {
    const { values } = parseArgs({
      args,
      options: {
        seeds: { type: "string" },
        from: { type: "string" },
        minutes: { type: "string" },
        jobs: { type: "string" },
        store: { type: "string", default: "sim" },
        replay: { type: "string" },
        trace: { type: "string" },
        hashes: { type: "string" },
        histories: { type: "string" },
        help: { type: "boolean", short: "h" },
      },
    });
    if (values.help === true) return help();
    const store = storeOf(values.store);
    const histories = values.histories ?? null;
    // Histories of an earlier run would be mistaken for this one's.
    if (histories !== null) makeEmptyDirectory("histories", histories);
    if (values.replay !== undefined) {
      const seed = wholeOf("replay", values.replay, 0);
      return await replay(seed, { store, histories }, values.trace ?? null);
    }
    const minutes = values.minutes === undefined ? Infinity : Number(values.minutes);
    if (!(minutes > 0)) throw new Error("--minutes must be a number above 0");
    const defaultSeeds = values.minutes === undefined ? 100 : Number.MAX_SAFE_INTEGER;
    return await runMany({
      task: { store, histories },
      from: wholeOf("from", values.from, 1),
      seeds: wholeOf("seeds", values.seeds, defaultSeeds),
      until: performance.now() + minutes * 60_000,
      jobs: Math.max(1, wholeOf("jobs", values.jobs, availableParallelism())),
      hashes: values.hashes ?? null,
    });
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\nTry: npm run sim -- --help`);
    return 2;
  }
}

function wholeOf(name: string, value: string | undefined, otherwise: number): number {
  if (value === undefined) return otherwise;
  const number = Number(value);
  if (!Number.isSafeInteger(number) || number < 0)
    throw new Error(`--${name} must be a whole number, not ${value}`);
  return number;
}

function storeOf(name: string): Store {
  const store = STORES.find((one) => one === name);
  if (store === undefined) throw new Error(`--store must be ${STORES.join(" or ")}, not ${name}`);
  return store;
}

function help(): number {
  console.log(`Usage: npm run sim -- [--seeds N] [--from S] [--minutes M] [--jobs J] [--store sim|kv] [--hashes FILE]
                         [--histories DIR]
       npm run sim -- --replay SEED [--store sim|kv] [--trace FILE] [--histories DIR]

  --seeds N      how many seeds (default 100; without end if --minutes is given)
  --from S       the first seed (default 1)
  --minutes M    begin no new run after M minutes
  --jobs J       runs at a time (default: one for each core)
  --store S      what is replicated: sim, a store made for the simulation (default), or kv, the server's own
  --hashes FILE  a line with each seed and the hash of its trace, to compare two versions of the code
  --histories DIR  an empty or absent directory, for a file for each run: what its clients called and were
                 told, one call a line (docs/histories.md)
  --replay SEED  one run again, and its smallest failing form if it fails
  --trace FILE   with --replay: every event, a line each`);
  return 0;
}

async function runMany(options: {
  task: Task;
  from: number;
  seeds: number;
  until: number;
  jobs: number;
  hashes: string | null;
}): Promise<number> {
  const { task, from, seeds, until, jobs } = options;
  const began = performance.now();
  const sums = { runs: 0, ms: 0, committed: 0, writes: 0, reads: 0, undecided: 0 };
  const faults = new Map<string, number>();
  const failures: Outcome[] = [];
  const hashes: { readonly seed: number; readonly line: string }[] = [];
  let next = from;
  const progress = setInterval(() => {
    console.log(progressLine(sums, failures.length, began));
  }, PROGRESS_EVERY_MS);
  const take = (): number | null => (next < from + seeds && performance.now() < until ? next++ : null);
  const record = (outcome: Outcome): void => {
    sums.runs += 1;
    sums.ms += outcome.ms;
    sums.committed += outcome.committed;
    sums.writes += outcome.writes;
    sums.reads += outcome.reads;
    sums.undecided += outcome.undecided ? 1 : 0;
    for (const [fault, count] of outcome.faults) faults.set(fault, (faults.get(fault) ?? 0) + count);
    if (options.hashes !== null) {
      const verdict = outcome.violation === null ? "ok" : "failed";
      hashes.push({ seed: outcome.seed, line: `${outcome.seed} ${outcome.traceHash} ${verdict}\n` });
    }
    if (outcome.violation === null) return;
    failures.push(outcome);
    for (const line of failureOf({ seed: outcome.seed, store: task.store }, outcome.violation))
      console.log(line);
  };
  try {
    const makeThread = (): Worker => new Worker(new URL(import.meta.url), { workerData: task });
    const runs = { makeThread, take, record, outcomeOfBroken };
    await Promise.all(Array.from({ length: jobs }, () => runSeeds<Outcome>(runs)));
  } finally {
    clearInterval(progress);
  }
  if (options.hashes !== null) {
    hashes.sort((a, b) => a.seed - b.seed);
    writeFileSync(options.hashes, hashes.map(({ line }) => line).join(""));
  }
  console.log(progressLine(sums, failures.length, began));
  console.log(
    `${sums.committed} entries committed, ${sums.writes} writes and ${sums.reads} reads done, ` +
      `${sums.undecided} histories undecided`,
  );
  console.log(
    `faults: ${[...faults]
      .sort()
      .map(([fault, count]) => `${fault} ${count}`)
      .join(", ")}`,
  );
  for (const { seed } of failures.slice(0, FAILURES_SHOWN_MAX))
    await replay(seed, { ...task, histories: null }, null);
  return failures.length === 0 && sums.runs > 0 ? 0 : 1;
}

/** The outcome of a run that ended its thread. */
function outcomeOfBroken(seed: number, error: unknown): Outcome {
  const violation = `an error that nothing caught ended the run: ${String(error)}`;
  const nothing = {
    ms: 0,
    committed: 0,
    writes: 0,
    reads: 0,
    undecided: false,
    traceHash: "none",
    faults: [],
  };
  return { seed, violation, ...nothing };
}

function progressLine(sums: { runs: number; ms: number }, failures: number, began: number): string {
  const seconds = (performance.now() - began) / 1000;
  return (
    `${sums.runs} runs, ${(sums.ms / 3_600_000).toFixed(2)} simulated hours, ${(sums.runs / seconds).toFixed(1)} runs/s, ` +
    `${Math.round(sums.ms / 1000 / seconds)} times real time, ${failures} failed`
  );
}

async function replay(seed: number, { store, histories }: Task, traceFile: string | null): Promise<number> {
  const { planOf, simulate, shrink, formatHistory } = await import("keelson/testing");
  const subject = await subjectOfStore(store);
  const result = await simulate(planOf(seed), { subject, fullTrace: traceFile !== null });
  writeHistory(result, formatHistory, store, histories);
  if (traceFile !== null) {
    writeFileSync(traceFile, result.trace.map((line) => `${line}\n`).join(""));
    console.log(`${result.trace.length} events in ${traceFile}`);
  }
  console.log(`seed ${seed}: ${describePlan(result)}, trace ${result.traceHash}`);
  if (result.violation === null) {
    console.log("every invariant held");
    return 0;
  }
  console.log(`broke ${result.violation.message}`);
  for (const line of reportOf({ seed, store }, await shrink(result, { subject }))) console.log(line);
  return 1;
}
