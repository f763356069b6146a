// Simulate your own state machine: whole clusters of it, their clients, and everything that goes wrong.
//
// The nodes are real: the algorithm, the runtime, the log on disk and the transport run as they are, on a
// simulated clock, network and disk, in one thread. A seed decides everything, so a run that fails can be run
// again, and made smaller. You say what to replicate (a state machine) and what clients ask of it. The
// simulator says whether the cluster can be told from a single copy of it that never fails.
//
//   node --conditions=source examples/simulate-your-own.ts [SEED]
import assert from "node:assert/strict";

import type { StateMachine } from "keelson";
import { planOf, shrink, simulate, subjectOf, type MakeSubject, type Plan } from "keelson/testing";

/** A counter that hands out tickets: each `take` gets the next ones, and nobody gets one twice. */
class Tickets implements StateMachine<{ take: number }, { last: number }> {
  taken = 0;

  apply({ take }: { take: number }) {
    this.taken += take;
    return { last: this.taken };
  }

  async *snapshot() {
    yield await Promise.resolve(new TextEncoder().encode(`${this.taken}`));
  }

  async restore(state: AsyncIterable<Uint8Array>) {
    const chunks: Uint8Array[] = [];
    for await (const chunk of state) chunks.push(chunk.slice());
    this.taken = Number(Buffer.concat(chunks).toString());
  }
}

/** What is replicated, what clients ask of it, and its whole state as a text. */
const tickets = subjectOf({
  stateMachine: () => new Tickets(),
  commands: ({ chance }) => ({ take: chance.whole(1, 3) }),
  digest: ({ taken }) => `${taken}`,
});

/** The same with a mistake: each node draws another number, where the command should hold one for all. */
class LuckyTickets extends Tickets {
  override apply({ take }: { take: number }) {
    return super.apply({ take: Math.random() < 0.1 ? take + 1 : take });
  }
}

const lucky = subjectOf({
  stateMachine: () => new LuckyTickets(),
  commands: () => ({ take: 1 }),
  digest: ({ taken }) => `${taken}`,
});

/**
 * The same with a common bug: the state survives a crash, but its position in the log doesn't, so entries are
 * applied again.
 */
const forgetful: MakeSubject = (plan) => {
  const kept = new Map<string, Tickets>();
  return {
    ...tickets(plan),
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

// Real clocks and random numbers are trapped in your code: with them, a run that fails can't be repeated.
const random = await firstFailure(lucky, seeds);
assert(random?.violation?.code === "DET", "the random number is found");
console.log(`the lucky tickets: ${random.violation.message.split("\n")[0]}`);

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
