/** Worker threads that run simulations of broken code, in which an error may go uncaught. */
import type { Worker } from "node:worker_threads";

/**
 * The thread's next message. Rejects if the thread ends before it has sent one, by an error that nothing
 * caught or by `process.exit`: the message would never come.
 */
export function messageOf<Message>(worker: Worker): Promise<Message> {
  return new Promise((resolve, reject) => {
    worker.removeAllListeners();
    worker.once("message", resolve);
    worker.once("error", reject);
    worker.once("exit", (code) => {
      reject(new Error(`the thread ended, with code ${String(code)}`));
    });
  });
}

/** What `runSeeds` needs. */
export interface SeedRuns<Outcome> {
  /** Starts a thread that answers each message, a seed, with the run's outcome. */
  readonly makeThread: () => Worker;
  /** The next seed; null: there are no more. */
  readonly take: () => number | null;
  readonly record: (outcome: Outcome) => void;
  /** The outcome of a run that ended its thread. */
  readonly outcomeOfBroken: (seed: number, error: unknown) => Outcome;
}

/** Runs seeds in one thread after another: a run that ends its thread is recorded, and the next goes on. */
export async function runSeeds<Outcome>(runs: SeedRuns<Outcome>): Promise<void> {
  const { makeThread, take, record, outcomeOfBroken } = runs;
  let worker: Worker | null = null;
  for (let seed = take(); seed !== null; seed = take()) {
    worker ??= makeThread();
    const answer = messageOf<Outcome>(worker);
    worker.postMessage(seed);
    const [result] = await Promise.allSettled([answer]);
    if (result.status === "fulfilled") {
      record(result.value);
    } else {
      record(outcomeOfBroken(seed, result.reason));
      worker = null;
    }
  }
  await worker?.terminate();
}
