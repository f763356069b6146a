import { Worker } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import { runSeeds } from "./worker-threads.ts";

/** Answers a seed with it as text. Some seeds end the thread instead. */
const THREAD = `
  const { parentPort } = require("node:worker_threads");
  parentPort.on("message", (seed) => {
    if (seed === 2) void Promise.reject(new Error("nobody waits for it"));
    else if (seed === 3) setTimeout(() => { throw new Error("thrown by a timer"); }, 1);
    else if (seed === 5) process.exit(7);
    else parentPort.postMessage(String(seed));
  });
`;

async function outcomesOf(seeds: number): Promise<{ outcomes: string[]; threads: number }> {
  const outcomes: string[] = [];
  let threads = 0;
  let next = 1;
  await runSeeds<string>({
    makeThread: () => {
      threads += 1;
      return new Worker(THREAD, { eval: true });
    },
    take: () => (next <= seeds ? next++ : null),
    record: (outcome) => outcomes.push(outcome),
    outcomeOfBroken: (seed, error) => `${String(seed)} broken: ${String(error)}`,
  });
  return { outcomes, threads };
}

describe("runSeeds", () => {
  it("records each run that ends its thread as broken, and goes on with the next seed in another", async () => {
    const { outcomes, threads } = await outcomesOf(6);
    expect(outcomes).toEqual([
      "1",
      "2 broken: Error: nobody waits for it",
      "3 broken: Error: thrown by a timer",
      "4",
      "5 broken: Error: the thread ended, with code 7",
      "6",
    ]);
    expect(threads).toBe(4);
  });

  it("starts no thread after the last seed, and none without seeds", async () => {
    expect((await outcomesOf(3)).threads).toBe(2);
    expect(await outcomesOf(0)).toEqual({ outcomes: [], threads: 0 });
  });
});
