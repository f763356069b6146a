/**
 * Feeds damaged, mistaken and random bytes to everything that reads bytes from the outside:
 * `npm run fuzz -- [--minutes M | --inputs N] [--target NAME]`. Exits with 0 only if nothing crashed,
 * hung, grew or took what it should not.
 */
import { parseArgs } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

import { emptyTally, feed, inputOf, type Failure, type Tally } from "./fuzz/runner.ts";
import { TARGETS } from "./fuzz/targets.ts";

/** An input that takes longer counts as a hang. The limit is generous, because the machine may be busy. */
const INPUT_MS_MAX = 10_000;
const PROGRESS_EVERY_MS = 10_000;
const FAILURES_SHOWN_MAX = 5;
/** How many inputs are fed between two readings of the clock. */
const BLOCK = 100;
/**
 * How many inputs are fed before memory is first measured. By then, everything that is allocated only once
 * exists.
 */
const WARM_UP_INPUTS = 2000;
/** How many more bytes may be in use after all inputs than after the first. */
const GROWTH_BYTES_MAX = 48 * 1024 * 1024;

interface Job {
  readonly targets: readonly string[];
  readonly seed: number;
  readonly inputs: number;
  readonly ms: number;
  /** The worker's current target and input, for the report of a hang. */
  readonly at: SharedArrayBuffer;
}

type Report =
  | { readonly type: "progress"; readonly tallies: ReadonlyMap<string, Tally> }
  | { readonly type: "failure"; readonly failure: Failure }
  | { readonly type: "end"; readonly tallies: ReadonlyMap<string, Tally>; readonly grownBytes: number };

async function work({ targets: names, seed, inputs, ms, at }: Job): Promise<void> {
  const place = new Int32Array(at);
  const targets = names.map((name) => TARGETS[name]?.()).filter((target) => target !== undefined);
  const shares = targets.reduce((sum, { share }) => sum + share, 0);
  const tallies = new Map(names.map((name) => [name, emptyTally()]));
  const done = targets.map(() => 0);
  const report = (message: Report): void => parentPort?.postMessage(message);
  const until = performance.now() + ms;
  let total = 0;
  let begunBytes: number | null = null;
  let reportAt = performance.now() + PROGRESS_EVERY_MS;
  while (total < inputs && performance.now() < until) {
    for (const [which, target] of targets.entries()) {
      // Targets take turns by their shares, so that the run may end at any time.
      const due = Math.ceil(((total + BLOCK) * target.share) / shares) - (done[which] ?? 0);
      for (let left = due; left > 0; left--) {
        const number = done[which] ?? 0;
        Atomics.store(place, 0, which);
        Atomics.store(place, 1, number);
        Atomics.add(place, 2, 1);
        const failure = await feed(target, seed, number, tallies.get(target.name) ?? emptyTally());
        if (failure !== null) report({ type: "failure", failure });
        done[which] = number + 1;
      }
    }
    total = done.reduce((sum, count) => sum + count, 0);
    if (total >= WARM_UP_INPUTS) begunBytes ??= bytesInUse();
    if (performance.now() < reportAt) continue;
    report({ type: "progress", tallies });
    reportAt = performance.now() + PROGRESS_EVERY_MS;
  }
  for (const target of targets) await target.close?.();
  report({ type: "end", tallies, grownBytes: bytesInUse() - (begunBytes ?? bytesInUse()) });
}

/** Measured after garbage collection. */
function bytesInUse(): number {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

async function main(args: string[]): Promise<number> {
  try {
    const { values } = parseArgs({
      args,
      options: {
        minutes: { type: "string" },
        inputs: { type: "string" },
        target: { type: "string", default: "all" },
        seed: { type: "string", default: String(Math.floor(Math.random() * 2 ** 31)) },
        replay: { type: "string" },
        help: { type: "boolean", short: "h", default: false },
      },
    });
    if (values.help) return help();
    const seed = wholeOf("seed", values.seed);
    if (values.replay !== undefined)
      return await replay(values.target, seed, wholeOf("replay", values.replay));
    const targets = values.target === "all" ? Object.keys(TARGETS) : values.target.split(",");
    for (const name of targets) targetNamed(name);
    const minutes = values.minutes === undefined ? Infinity : Number(values.minutes);
    if (!(minutes > 0)) throw new Error("--minutes is a number above 0");
    const inputsDefault = values.minutes === undefined ? 1_000_000 : Number.MAX_SAFE_INTEGER;
    const inputs = values.inputs === undefined ? inputsDefault : wholeOf("inputs", values.inputs);
    return await run({ targets, seed, inputs, ms: minutes * 60_000, at: new SharedArrayBuffer(12) });
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\nTry: npm run fuzz -- --help`);
    return 2;
  }
}

function help(): number {
  console.log(`Usage: npm run fuzz -- [--minutes M | --inputs N] [--target NAME,...] [--seed S]
       npm run fuzz -- --target NAME --seed S --replay NUMBER

  --minutes M      for so long
  --inputs N       so many inputs, all targets together (default 1,000,000)
  --target NAME    ${Object.keys(TARGETS).join(", ")}, or all (default)
  --seed S         which inputs (default: drawn, and printed)
  --replay NUMBER  one input again, shown, with what becomes of it`);
  return 0;
}

function wholeOf(name: string, text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new Error(`--${name} is a whole number, not "${text}"`);
}

function targetNamed(name: string): () => ReturnType<(typeof TARGETS)[string]> {
  const make = Object.hasOwn(TARGETS, name) ? TARGETS[name] : undefined;
  if (make === undefined)
    throw new Error(`--target is one of ${Object.keys(TARGETS).join(", ")} or all, not "${name}"`);
  return make;
}

async function replay(name: string, seed: number, number: number): Promise<number> {
  const target = targetNamed(name)();
  const { input, isValid } = inputOf(target, seed, number);
  console.log(`${name}, seed ${seed}, input ${number}: ${input.length} bytes${isValid ? ", valid" : ""}`);
  console.log(Buffer.from(input).toString("base64"));
  const tally = emptyTally();
  const failure = await feed(target, seed, number, tally);
  await target.close?.();
  console.log(failure === null ? (tally.taken > 0 ? "taken" : "refused") : failure.error);
  return failure === null ? 0 : 1;
}

function run(job: Job): Promise<number> {
  console.log(`seed ${job.seed}: ${job.targets.join(", ")}`);
  const begun = performance.now();
  const worker = new Worker(new URL(import.meta.url), { workerData: job });
  const failures: Failure[] = [];
  return new Promise((resolve, reject) => {
    const stop = watch(job, (hang) => {
      console.log(hang);
      void worker.terminate();
      resolve(1);
    });
    worker.on("error", (error) => {
      stop();
      reject(error instanceof Error ? error : new Error(String(error)));
    });
    worker.on("message", (report: Report) => {
      if (report.type === "progress") console.log(progressLine(report.tallies, failures, begun));
      else if (report.type === "failure") {
        failures.push(report.failure);
        if (failures.length <= FAILURES_SHOWN_MAX) console.log(describe(report.failure));
      } else {
        stop();
        console.log(progressLine(report.tallies, failures, begun));
        resolve(summarize(report.tallies, failures, report.grownBytes));
      }
    });
  });
}

/** Reports when the worker takes too long for one input. Returns a function that ends the watch. */
function watch({ targets, seed, at }: Job, onHang: (text: string) => void): () => void {
  const place = new Int32Array(at);
  let [seen, since] = [0, performance.now()];
  const timer = setInterval(() => {
    const count = Atomics.load(place, 2);
    if (count !== seen) [seen, since] = [count, performance.now()];
    // Before the first input and after the last one, the worker sets up and cleans up.
    else if (count > 0 && performance.now() - since > INPUT_MS_MAX * 2) {
      const name = targets[Atomics.load(place, 0)] ?? "";
      onHang(`HANGS on: npm run fuzz -- --target ${name} --seed ${seed} --replay ${Atomics.load(place, 1)}`);
    }
  }, 1000);
  return () => {
    clearInterval(timer);
  };
}

function describe({ target, seed, number, input, error }: Failure): string {
  return `FAILED: ${error}\n  input: ${input}\n  again: npm run fuzz -- --target ${target} --seed ${seed} --replay ${number}`;
}

function progressLine(
  tallies: ReadonlyMap<string, Tally>,
  failures: readonly Failure[],
  begun: number,
): string {
  const inputs = [...tallies.values()].reduce((sum, tally) => sum + tally.inputs, 0);
  const seconds = (performance.now() - begun) / 1000;
  return `${seconds.toFixed(0)} s, ${inputs} inputs, ${Math.round(inputs / seconds)} a second, ${failures.length} failed`;
}

function summarize(
  tallies: ReadonlyMap<string, Tally>,
  failures: readonly Failure[],
  grownBytes: number,
): number {
  for (const [name, { inputs, taken, refused, bytes, longestMs }] of tallies)
    console.log(
      `${name}: ${inputs} inputs (${(bytes / 1e6).toFixed(1)} MB), ${taken} taken, ${refused} refused, longest ${longestMs.toFixed(1)} ms`,
    );
  const grown = Math.round(grownBytes / 1024);
  console.log(`memory in use: ${grown} KiB more after the last input than after ${WARM_UP_INPUTS}`);
  const slow = [...tallies].filter(([, { longestMs }]) => longestMs > INPUT_MS_MAX).map(([name]) => name);
  if (slow.length > 0)
    console.log(`FAILED: an input took longer than ${INPUT_MS_MAX} ms: ${slow.join(", ")}`);
  if (grownBytes > GROWTH_BYTES_MAX)
    console.log(`FAILED: memory grew by more than ${GROWTH_BYTES_MAX} bytes`);
  const isWell = failures.length === 0 && slow.length === 0 && grownBytes <= GROWTH_BYTES_MAX;
  if (isWell) console.log("nothing crashed, hung or grew");
  return isWell ? 0 : 1;
}

if (isMainThread) process.exitCode = await main(process.argv.slice(2));
else await work(workerData as Job);
