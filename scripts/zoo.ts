/**
 * Puts known bugs back into the real code, one at a time, and checks that each is found:
 * `npm run zoo -- --help`. Exits with 0 only if all were.
 */
import path from "node:path";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

import { messageOf } from "./lib/worker-threads.ts";
import { BUGS } from "./zoo/bugs.ts";
import type { Bug } from "./zoo/bug.ts";
import { hunt, type HuntOptions, type Trial } from "./zoo/hunt.ts";
import { lineOf, type Line } from "./zoo/report.ts";
import { StoredResults } from "./zoo/results.ts";
import { flagsOf } from "./lib/flags.ts";

const HELP = `Usage: npm run zoo -- [--only CODE,...] [--seeds-max N] [--trials N] [--from S] [--jobs J] [--update] [--list] [--text]

  --only CODE,...  look for these bugs only, and write no file; without it, docs/zoo.md and docs/zoo.json are written
  --update         write results to the files also with --only; bugs that were not looked for keep what is stored,
                   also if the run is interrupted, or another process writes results meanwhile
  --seeds-max N    give up on a bug after N seeds (default 2000)
  --trials N       how often each bug is looked for, each time from another first seed (default 5)
  --from S         the first seed of the first trial (default 1); the other trials begin 10,000 seeds apart
  --jobs J         how many bugs to look for at the same time (default 1)
  --list           print the bugs, and run nothing
  --text           write the files again with the present titles and the stored results, and run nothing`;

const DOCS = path.join(import.meta.dirname, "../docs");

/** What a worker thread is given, and what it sends back. */
interface Task {
  readonly code: string;
  readonly options: HuntOptions;
}
type Answer = { readonly trials: readonly (Trial | null)[] } | { readonly error: string };

if (isMainThread) process.exitCode = await main(process.argv.slice(2));
else parentPort?.postMessage(await work(workerData as Task));

async function work({ code, options }: Task): Promise<Answer> {
  // A bug may forget to wait for a promise that rejects later. That must not end the search.
  process.on("unhandledRejection", () => undefined);
  try {
    return { trials: await hunt(bugOf(code), options) };
  } catch (error) {
    return { error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}

async function main(args: string[]): Promise<number> {
  const { values } = flagsOf("npm run zoo", HELP, {
    args,
    options: {
      only: { type: "string" },
      "seeds-max": { type: "string", default: "2000" },
      trials: { type: "string", default: "5" },
      from: { type: "string", default: "1" },
      jobs: { type: "string", default: "1" },
      update: { type: "boolean", default: false },
      list: { type: "boolean", default: false },
      text: { type: "boolean", default: false },
    },
  });
  const bugs = values.only === undefined ? BUGS : values.only.split(",").map(bugOf);
  if (values.list) {
    for (const { code, title } of bugs) console.log(`${code}: ${title}`);
    return 0;
  }
  const options = {
    seedsMax: numberOf("seeds-max", values["seeds-max"]),
    trials: numberOf("trials", values.trials),
    from: numberOf("from", values.from),
  };
  const results = new StoredResults(DOCS, BUGS);
  if (values.text) {
    const titles = new Map(BUGS.map(({ code, title }) => [code, title]));
    await results.replaceAll(
      results.lines.map((line) => ({ ...line, title: titles.get(line.code) ?? line.title })),
    );
    return 0;
  }
  const jobs = numberOf("jobs", values.jobs);
  // After each bug, so that an interrupted run keeps its results.
  const lines = await huntAll(bugs, options, jobs, async (line, done) => {
    if (values.update) await results.record(line);
    else if (values.only === undefined) await results.replaceAll(done);
  });
  const missed = lines.filter(({ found }) => !found).map(({ code }) => code);
  console.log(`${lines.length - missed.length} of ${lines.length} bugs were found`);
  if (missed.length > 0) console.log(`not found: ${missed.join(", ")}`);
  return missed.length === 0 ? 0 : 1;
}

async function huntAll(
  bugs: readonly Bug[],
  options: HuntOptions,
  jobs: number,
  onProgress: (line: Line, done: readonly Line[]) => Promise<void>,
): Promise<Line[]> {
  const lines = new Map<string, Line>();
  const left = [...bugs];
  const workOff = async (): Promise<void> => {
    for (let bug = left.shift(); bug !== undefined; bug = left.shift()) {
      const began = performance.now();
      const answer = await inThread({ code: bug.code, options });
      if ("error" in answer) throw new Error(`${bug.code}: ${answer.error}`);
      const line = lineOf(bug, answer.trials);
      lines.set(bug.code, line);
      await onProgress(line, [...lines.values()]);
      tell(line, answer.trials, performance.now() - began);
    }
  };
  await Promise.all(Array.from({ length: jobs }, workOff));
  return bugs.map(({ code }) => lines.get(code)).filter((line) => line !== undefined);
}

async function inThread(task: Task): Promise<Answer> {
  const worker = new Worker(new URL(import.meta.url), { workerData: task });
  try {
    return await messageOf<Answer>(worker);
  } catch (error) {
    return { error: `an error that nothing caught ended the search: ${String(error)}` };
  } finally {
    await worker.terminate();
  }
}

function tell({ code, found, by, median, worst }: Line, trials: readonly (Trial | null)[], ms: number): void {
  const seconds = (ms / 1000).toFixed(1);
  if (!found) {
    console.log(
      `${code}: NOT FOUND in ${trials.filter((trial) => trial === null).length} of ${trials.length} trials (${seconds} s)`,
    );
    return;
  }
  const example = trials.find((trial) => trial !== null);
  console.log(`${code}: median ${String(median)}, worst ${String(worst)} seeds, by ${by} (${seconds} s)`);
  console.log(`    seed ${String(example?.seed)}: ${example?.text.split("\n")[0]?.slice(0, 200) ?? ""}`);
}

function bugOf(code: string): Bug {
  const bug = BUGS.find((one) => one.code === code);
  if (bug === undefined)
    throw new Error(`there is no bug ${code}; there are ${BUGS.map((one) => one.code).join(", ")}`);
  return bug;
}

function numberOf(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new Error(`--${name} must be a whole number from 1, not ${text}`);
  return value;
}
