// Simulate your own state machine: whole clusters of it, their clients, and everything that goes wrong.
//
// The nodes are real: the algorithm, the runtime, the log on disk and the transport run as they are, on a
// simulated clock, network and disk, in one thread. A seed decides everything, so a run that fails can be run
// again, and made smaller. You say what to replicate (a state machine), what clients ask of it, and what it
// would do if there were one copy and no faults (a model). The simulator says whether the cluster can be told
// from that.
//
//   node --conditions=source examples/simulate-your-own.ts [SEED]
import assert from "node:assert/strict";

import type { StateMachine } from "keelson";
import {
  planOf,
  shrink,
  simulate,
  type MakeSubject,
  type Model,
  type Plan,
  type Subject,
} from "keelson/testing";

/** A counter that hands out tickets: each `take` gets the next number, and nobody gets one twice. */
class Tickets implements StateMachine<"take", number> {
  taken = 0;

  open() {
    return { term: 0, index: 0 };
  }

  apply(): number {
    this.taken += 1;
    return this.taken;
  }
}

/** The same with one counter, one client after another, and no faults. */
const model: Model<number, "take" | "look", number> = {
  initial: 0,
  // Operations on different keys are checked separately. Here all concern one counter.
  keyOf: () => "counter",
  step: (taken, call, answer) => {
    const after = call === "take" ? taken + 1 : taken;
    // Without an answer, any result is possible.
    return answer === undefined || answer === after ? after : undefined;
  },
  fingerprint: (taken) => `${taken}`,
  isEffectless: (call) => call === "look",
  overwrites: () => false,
  describe: (call) => call,
  describeOutput: (_call, answer) => `${answer}`,
  expected: (taken, call) => `${call === "take" ? taken + 1 : taken}`,
};

type TicketSubject = Subject<Tickets, "take", number, "take" | "look", number>;

/** What is replicated, and what clients do with it. Each run gets a new one. */
const tickets = (): TicketSubject => ({
  model,
  machine: () => new Tickets(),
  write: () => ({ command: "take", input: "take", output: (number) => number }),
  read: () => ({ input: "look", query: (machine) => machine.taken }),
  describe: (command) => command,
  digest: (machine) => `${machine.taken}`,
});

/**
 * The same with a common bug: the state survives a crash, but its position in the log doesn't, so entries are
 * applied again.
 */
const forgetful = (): TicketSubject => {
  const kept = new Map<string, Tickets>();
  return {
    ...tickets(),
    machine: ({ id }) => {
      const machine = kept.get(id) ?? new Tickets();
      kept.set(id, machine);
      return machine;
    },
  };
};

/**
 * The seed's plan, shortened so that this program ends soon. For real tests, use `planOf(seed)` unchanged.
 */
function shortPlanOf(seed: number): Plan {
  const plan = planOf(seed);
  const faultyMs = 1_000;
  return { ...plan, faultyMs, clients: 2, faults: plan.faults.filter(({ at }) => at < faultyMs) };
}

/** The first of these seeds that fails, and its violation; null: none fails. */
async function firstFailure(subject: MakeSubject, seeds: readonly number[]) {
  for (const seed of seeds) {
    const result = await simulate(shortPlanOf(seed), { subject });
    if (result.violation !== null) return result;
  }
  return null;
}

const [seed] = process.argv.slice(2);
const seedsFrom1 = (count: number): number[] => Array.from({ length: count }, (_, at) => at + 1);
const seeds = seed === undefined ? seedsFrom1(5) : [Number(seed)];

const sound = await firstFailure(tickets, seeds);
assert(sound === null, `seed ${sound?.plan.seed} broke ${sound?.violation?.message}`);
console.log(`${seeds.length} runs of the tickets: every invariant held`);

// Not every run has a crash that shows the bug.
const broken = await firstFailure(forgetful, seed === undefined ? seedsFrom1(100) : seeds);
assert(broken !== null || seed !== undefined, "the mistake is found");
if (broken !== null) {
  console.log(`the forgetful tickets, seed ${broken.plan.seed}: ${broken.violation?.message.split("\n")[0]}`);
  // The same failure with as few faults and clients as possible.
  const small = await shrink(broken, { subject: forgetful, runsMax: 3 });
  console.log(`the smallest run found has ${small.plan.clients} clients and these faults:`);
  for (const fault of small.plan.faults) console.log(`  ${JSON.stringify(fault)}`);
}
